"""Whole stories that must not come true: somebody else's link, callback, page or browser."""

import re
from urllib.parse import urlencode, urlsplit

import pytest

from broker.stores.ports import Put
from tests.stage import GARAGE_CALLBACK, ISSUER, PAYLOAD, SHOP_CALLBACK, Answer, Browser, Stage

PERSONAL = ("ABC 12D", "Maja", "Lind", "maja@example.com", "+46701234567", "NH-1001", "Volvo")


def has_a_way_on(page: Answer) -> bool:
    """An HTML page that leads somewhere: a partner, a fresh start, a form, or a retry."""
    ways = re.findall(r'<a [^>]*id="([^"]+)"', page.text)
    return (
        bool({way for way in ways if not way.startswith(("language-", "what-i-share", "help"))}) or "<form" in page.text
    )


def no_session_made(answer: Answer) -> bool:
    """Nobody was logged in by this answer."""
    return not any("session=" in line and "Max-Age=0" not in line for line in answer.headers.get_list("set-cookie"))


async def at_provider(stage: Stage, browser: Browser, method: str = "bankid") -> str:
    """A login begun at the shop stands at its provider; the address the provider will send the browser to."""
    await browser.follow(await browser.get(stage.shop.request()))
    gone = await browser.press(f"method-{method}")
    return f"/up/{method}/callback?{urlencode({'state': gone.query['state'], 'who': 'maja'})}"


async def offered(stage: Stage, who: str | None = "maja", **changed: object) -> tuple[str, str]:
    """A handoff of the shop for *who* (None: a guest order): its link and id."""
    sub = None
    if who is not None:
        sub = (await stage.shop_login(stage.browser(), who=who))["claims"]["sub"]
    created = await stage.offer(sub, **changed)
    assert created.status == 201, created.text
    return created.json["link"], created.json["handoff_id"]


async def state_of(stage: Stage, handoff: str) -> str:
    raw = await stage.client.get(f"/handoffs/{handoff}/status", auth=stage.shop.auth)
    return str(raw.json()["state"])


class TestTheCallback:
    """What a provider sends back, in the wrong place or time (docs/security.md A1, A2)."""

    async def test_in_another_browser_logs_nobody_in(self, staged: Stage) -> None:
        """Login CSRF: a valid state with no cookie, or with another browser's, reaches no provider."""
        browser = staged.browser()
        callback = await at_provider(staged, browser)
        stranger = staged.browser()
        await at_provider(staged, stranger, "google")
        for other in (staged.browser(), stranger):
            answer = await other.get(callback)
            assert answer.status in {400, 403}
            assert no_session_made(answer)
            assert has_a_way_on(answer)
        assert staged.connectors["bankid"].resumed == 0
        assert "code" in (await browser.follow(await browser.get(callback))).query

    async def test_a_second_time_is_not_taken_again(self, staged: Stage) -> None:
        """Replay: the provider is not asked again, no further session is made, and she is led on."""
        browser = staged.browser()
        callback = await at_provider(staged, browser)
        await browser.follow(await browser.get(callback))
        session = dict(browser.cookies)
        for _ in range(2):
            again = await browser.get(callback)
            assert no_session_made(again)
            assert "code" not in again.query
            onward = await browser.follow(again)
            assert onward.location == "http://127.0.0.1:8701/"
        assert staged.connectors["bankid"].resumed == 1
        assert browser.cookies == session

    async def test_at_another_providers_address_is_a_mix_up(self, staged: Stage) -> None:
        """RFC 9700 section 4.4: Google's state at BankID's address: neither provider hears of it."""
        browser = staged.browser()
        callback = await at_provider(staged, browser, "google")
        answer = await browser.get(callback.replace("/up/google/", "/up/bankid/"))
        assert answer.status == 410
        assert no_session_made(answer)
        assert has_a_way_on(answer)
        assert [connector.resumed for connector in staged.connectors.values()] == [0, 0]

    @pytest.mark.parametrize(
        "query",
        [
            "", "state=", "state=x", "state=.", "state=x.y", "state=a.b.c", f"state={'a' * 300}.b", "state=%C3%A5.b",
            "state=%00.b", "state=a.b&state=a.b", "code=x", "state=../../x.y", "state=a%20b.c",
        ],
    )  # fmt: skip
    async def test_without_a_state_of_ours_is_nothing(self, staged: Stage, query: str) -> None:
        """Malformed, doubled or made-up states end on a page, with a way on, at every provider."""
        for upstream in ("bankid", "google", "unknown", "%C3%A5"):
            answer = await staged.browser().get(f"/up/{upstream}/callback?{query}")
            assert answer.status in {400, 410}, (upstream, answer.status)
            assert has_a_way_on(answer)
        assert [connector.resumed for connector in staged.connectors.values()] == [0, 0]

    async def test_of_an_attempt_that_was_replaced_is_not_taken(self, staged: Stage) -> None:
        """She went back and chose another way; the first provider's late answer does not count."""
        browser = staged.browser()
        late = await at_provider(staged, browser, "google")
        assert browser.page is not None
        journey = browser.page.url
        await browser.follow(await browser.get(journey))
        gone = await browser.press("method-bankid")
        answer = await browser.get(late)
        assert no_session_made(answer)
        assert staged.connectors["google"].resumed == 0
        done = await browser.get(f"/up/bankid/callback?state={gone.query['state']}&who=maja")
        assert "code" in (await browser.follow(done)).query

    async def test_a_refusal_or_failure_there_gives_another_try(self, staged: Stage) -> None:
        """Cancelled, refused, down: back at the choice with a word about it; the next try works."""
        for error in ("access_denied", "server_error"):
            browser = staged.browser()
            callback = await at_provider(staged, browser)
            page = await browser.follow(await browser.get(f"{callback}&error={error}"))
            assert page.status == 200
            assert {"method-bankid", "method-google", "cancel"} <= page.ids
            assert "code" in (await browser.log_in("google", "maja")).query
        browser = staged.browser()
        callback = await at_provider(staged, browser)
        staged.connectors["bankid"].is_down = True
        page = await browser.follow(await browser.get(callback))
        assert "method-google" in page.ids
        page = await browser.follow(await browser.press("method-bankid"))
        assert "method-google" in page.ids
        assert "code" in (await browser.log_in("google", "maja")).query


class TestTheSession:
    """Who is logged in, and where."""

    async def test_gets_a_new_id_at_every_login(self, staged: Stage) -> None:
        """Fixation: a planted session id is never taken over, an own one is replaced and dies."""
        browser = staged.browser()
        browser.cookies["__Host-stafett-session"] = "A" * 43
        await staged.shop_login(browser)
        first = browser.cookies["__Host-stafett-session"]
        assert first != "A" * 43
        staged.clock.forward(seconds=1)
        await browser.follow(await browser.get(staged.shop.request(prompt="login")))
        await browser.log_in("bankid", "maja")
        assert browser.cookies["__Host-stafett-session"] != first
        old = staged.browser()
        old.cookies = {"__Host-stafett-session": first}
        assert (await old.get(staged.shop.request(prompt="none"))).query["error"] == "login_required"

    @pytest.mark.parametrize("name", ["stafett-session", "__Secure-stafett-session", "__host-stafett-session"])
    async def test_is_not_read_from_another_cookie(self, staged: Stage, name: str) -> None:
        """Only the __Host- name, which no other host can set."""
        browser = staged.browser()
        await staged.shop_login(browser)
        other = staged.browser()
        other.cookies = {name: browser.cookies["__Host-stafett-session"]}
        assert (await other.get(staged.shop.request(prompt="none"))).query["error"] == "login_required"

    async def test_cookies_are_opaque_and_bound_to_our_host(self, staged: Stage) -> None:
        """__Host-, Secure, HttpOnly, SameSite=Lax, Path=/, no Domain, 256 random bits, nothing else."""
        browser = staged.browser()
        begun = await browser.get(staged.shop.request())
        await browser.follow(begun)
        gone = await browser.press("method-bankid")
        done = await browser.get(f"/up/bankid/callback?state={gone.query['state']}&who=maja")
        lines = [*begun.headers.get_list("set-cookie"), *done.headers.get_list("set-cookie")]
        assert len(lines) >= 2
        for line in lines:
            name, _, rest = line.partition("=")
            value, *attributes = [part.strip() for part in rest.split(";")]
            assert name in {"__Host-stafett-browser", "__Host-stafett-session", "__Host-stafett-device"}
            assert re.fullmatch(r"[A-Za-z0-9_-]{43}", value)
            named = {attribute.split("=")[0].lower() for attribute in attributes}
            assert {"secure", "httponly", "path", "samesite"} <= named
            assert "domain" not in named
            assert "SameSite=lax" in attributes
            assert "Path=/" in attributes

    async def test_ends_after_idling_and_after_a_day(self, staged: Stage) -> None:
        """8 hours without use; 24 hours whatever the use."""
        idle = staged.browser()
        await staged.shop_login(idle)
        staged.clock.forward(hours=8, seconds=1)
        assert (await idle.get(staged.shop.request(prompt="none"))).query["error"] == "login_required"
        busy = staged.browser()
        await staged.shop_login(busy)
        for _ in range(3):
            staged.clock.forward(hours=7)
            assert "code" in (await busy.get(staged.shop.request(prompt="none"))).query
        staged.clock.forward(hours=4)
        assert (await busy.get(staged.shop.request(prompt="none"))).query["error"] == "login_required"

    async def test_two_people_on_one_browser_do_not_mix(self, staged: Stage) -> None:
        """Karl logs in after Maja: her handoff page, still open, does not show him hers nor share for him."""
        browser = staged.browser()
        at_shop = await staged.shop_login(browser)
        created = await staged.offer(at_shop["claims"]["sub"])
        await browser.follow(await browser.get(created.json["link"]))
        hers = browser.copy()
        hers.page = browser.page
        staged.clock.forward(seconds=1)
        await browser.follow(await browser.get(staged.shop.request(prompt="login")))
        await browser.log_in("bankid", "karl")
        answer = await hers.follow(await hers.press("share"))
        assert "login_hint" not in answer.query
        assert "continue-guest" in answer.ids
        assert not [word for word in PERSONAL if word in answer.text]
        assert await state_of(staged, created.json["handoff_id"]) == "opened"
        assert "withdraw-" not in (await browser.get("/shared")).text


class TestTheLink:
    """A handoff link in the wrong hands (docs/handoff.md)."""

    async def test_opened_by_another_customer_shows_nothing_and_changes_nothing(self, staged: Stage) -> None:
        """Neither plate nor name nor order; the right customer's handoff is as it was."""
        link, handoff = await offered(staged)
        karl = staged.browser()
        await staged.shop_login(karl, who="karl")
        page = await karl.follow(await karl.get(link))
        assert page.status == 200
        assert not [word for word in PERSONAL if word in page.text]
        assert {"continue-guest"} <= page.ids
        assert "share" not in page.ids
        assert await state_of(staged, handoff) == "created"
        assert (await karl.press("continue-guest")).location.startswith("http://127.0.0.1:8702/guest?ref=")
        assert await state_of(staged, handoff) == "created"
        maja = staged.browser()
        await staged.shop_login(maja)
        assert "share" in (await maja.follow(await maja.get(link))).ids

    async def test_opened_by_a_scanner_has_no_effect(self, staged: Stage) -> None:
        """GET three times and HEAD, without cookies: nothing personal, nothing used up."""
        link, handoff = await offered(staged)
        for _ in range(3):
            scanner = staged.browser()
            page = await scanner.follow(await scanner.get(link))
            assert page.status == 200
            assert not [word for word in PERSONAL if word in page.text]
        assert (await staged.client.head(link)).status_code == 303
        assert await state_of(staged, handoff) == "created"
        maja = staged.browser()
        await staged.shop_login(maja)
        assert "share" in (await maja.follow(await maja.get(link))).ids

    async def test_without_a_session_says_where_it_leads_first(self, staged: Stage) -> None:
        """A welcome page, then the login, then the right customer only."""
        link, handoff = await offered(staged)
        browser = staged.browser()
        page = await browser.follow(await browser.get(link))
        assert "Verkstan i Hammarby" in page.text
        assert "Nordhjul" in page.text
        assert not [word for word in PERSONAL if word in page.text]
        assert await state_of(staged, handoff) == "created"
        await browser.follow(await browser.press("continue"))
        page = await browser.log_in("bankid", "karl")
        assert "continue-guest" in page.ids
        assert not [word for word in PERSONAL if word in page.text]
        assert await state_of(staged, handoff) == "opened", "bound to nobody"

    @pytest.mark.parametrize("change", ["cut", "flipped", "garbage", "empty", "long", "unicode", "guessed id"])
    async def test_changed_is_no_link(self, staged: Stage, change: str) -> None:
        """A page with a way on; the real link is untouched."""
        link, handoff = await offered(staged)
        head, _, handle = link.rpartition("/")
        changed = {
            "cut": handle[:-3],
            "flipped": ("A" if handle[20] != "A" else "B").join((handle[:20], handle[21:])),
            "garbage": "garbage",
            "empty": "",
            "long": "A" * 4000,
            "unicode": "%C3%A5%E2%80%AE",
            "guessed id": handoff,
        }[change]
        answer = await staged.browser().get(f"{head}/{changed}")
        assert answer.status in {404, 410}
        assert has_a_way_on(answer)

    async def test_of_a_guest_order_wants_its_contact_proven(self, staged: Stage) -> None:
        """No known customer: the login must prove the order's own address; holding the link proves nothing."""
        link, handoff = await offered(staged, None, contact={"email": "MAJA@example.com"})
        for method, who, is_hers in (
            ("bankid", "maja", False),
            ("google", "karl", False),
            ("google", "maja", True),
            ("google", "karl", False),
        ):
            browser = staged.browser()
            await staged.shop_login(browser, method, who)
            page = await browser.follow(await browser.get(link))
            assert ("share" in page.ids) == is_hers, (method, who)
            assert ("ABC 12D" in page.text) == is_hers
        assert await state_of(staged, handoff) == "opened"

    async def test_of_an_order_without_contact_is_nobodys(self, staged: Stage) -> None:
        """Nothing to prove, so nobody may share; the guest way is open."""
        link, _ = await offered(staged, None)
        browser = staged.browser()
        await staged.shop_login(browser, "google")
        page = await browser.follow(await browser.get(link))
        assert "share" not in page.ids
        assert "continue-guest" in page.ids

    async def test_stays_with_who_proved_to_be_its_customer(self, staged: Stage) -> None:
        """Once bound, another customer with the same proven address does not get it either."""
        link, _ = await offered(staged, None, contact={"email": "maja@example.com"})
        maja = staged.browser()
        await staged.shop_login(maja, "google")
        assert "share" in (await maja.follow(await maja.get(link))).ids
        await maja.press("share")
        karl = staged.browser()
        await staged.shop_login(karl, "google", "karl")
        assert "login_hint" not in (await karl.follow(await karl.get(link))).query


class TestTheReference:
    """``login_hint=ho_...`` at the recipient is a hint, not a credential."""

    async def test_in_another_customers_browser_gives_her_nothing(self, staged: Stage) -> None:
        """Karl replays Maja's reference in his own session: no code, no data, no name."""
        maja = staged.browser()
        at_shop = await staged.shop_login(maja)
        created = await staged.offer(at_shop["claims"]["sub"])
        await maja.follow(await maja.get(created.json["link"]))
        started = await maja.press("share")
        karl = staged.browser()
        await staged.shop_login(karl, who="karl")
        page = await staged.arrive(karl, started)
        assert "code" not in page.query
        assert not [word for word in PERSONAL if word in page.text]
        silent = staged.garage.request(login_hint=started.query["login_hint"], prompt="none")
        assert (await karl.get(silent)).query["error"] == "interaction_required"
        assert (await staged.browser().get(silent)).query["error"] == "login_required"
        assert (await staged.garage.exchange(await staged.arrive(maja, started)))["claims"]["handoff"]

    async def test_expires(self, staged: Stage) -> None:
        """After a quarter of an hour it is a hint like any other: an ordinary login, without the data."""
        browser = staged.browser()
        at_shop = await staged.shop_login(browser)
        created = await staged.offer(at_shop["claims"]["sub"])
        await browser.follow(await browser.get(created.json["link"]))
        started = await browser.press("share")
        staged.clock.forward(minutes=16)
        page = await staged.arrive(browser, started)
        assert "ABC 12D" not in page.text
        again = await browser.get(created.json["link"])
        assert (await staged.garage.exchange(await staged.arrive(browser, again)))["claims"]["handoff"]


class TestTheConsentPage:
    """Posted by somebody else, or to something else (docs/security.md C3, A16)."""

    async def at_consent(self, stage: Stage) -> tuple[Browser, str]:
        browser = stage.browser()
        at_shop = await stage.shop_login(browser)
        created = await stage.offer(at_shop["claims"]["sub"])
        await browser.follow(await browser.get(created.json["link"]))
        return browser, created.json["handoff_id"]

    def fields(self, browser: Browser) -> tuple[str, dict[str, str]]:
        """Action and members of the consent form."""
        assert browser.page is not None
        text = browser.page.text
        hidden = dict(re.findall(r'name="(csrf|digest)" value="([^"]+)"', text))
        action = re.search(r'action="(/j/[^"]+/consent)"', text)
        assert action is not None
        return action[1], {**hidden, "answer": "share"}

    @pytest.mark.parametrize(
        ("change", "headers"),
        [
            ({"csrf": ""}, {}),
            ({"csrf": "A" * 43}, {}),
            ({"csrf": "å"}, {}),
            ({}, {"origin": "https://evil.example"}),
            ({}, {"origin": "http://127.0.0.1:8701"}),
            ({}, {"origin": f"{ISSUER}."}),
            ({}, {"sec-fetch-site": "cross-site"}),
            ({}, {"sec-fetch-site": "same-site"}),
            ({}, {"sec-fetch-site": "none"}),
        ],
    )
    async def test_needs_its_token_and_its_origin(
        self, staged: Stage, change: dict[str, str], headers: dict[str, str]
    ) -> None:
        """Without either nothing is shared; the page itself still works."""
        browser, handoff = await self.at_consent(staged)
        kept = browser.page
        action, fields = self.fields(browser)
        refused = await browser.post(action, {**fields, **change}, **headers)
        assert refused.status == 403
        assert has_a_way_on(refused)
        assert await state_of(staged, handoff) == "opened"
        browser.page = kept
        assert "login_hint" in (await browser.press("share")).query

    async def test_does_not_take_another_journeys_token(self, staged: Stage) -> None:
        """Each journey has its own; an attacker's own valid one is worth nothing here."""
        browser, handoff = await self.at_consent(staged)
        action, fields = self.fields(browser)
        other = browser.copy()
        await other.follow(await other.get("/shared/log-in"))
        stranger, _ = await self.at_consent(staged)
        _, foreign = self.fields(stranger)
        assert (await browser.post(action, {**fields, "csrf": foreign["csrf"]})).status == 403
        assert (await stranger.post(action, fields)).status == 403
        assert await state_of(staged, handoff) == "opened"

    async def test_a_double_or_missing_answer_is_no_answer(self, staged: Stage) -> None:
        """Parameter pollution and unknown words."""
        browser, handoff = await self.at_consent(staged)
        action, fields = self.fields(browser)
        for sent in (
            [*fields.items(), ("answer", "cancel")],
            [*fields.items(), ("csrf", fields["csrf"])],
            list({**fields, "answer": "yes"}.items()),
            list({**fields, "answer": ""}.items()),
        ):
            assert (await browser.post(action, sent)).status in {400, 403}
        assert (await browser.post(f"{action}?answer=share", list(fields.items()))).status in {400, 403}
        assert await state_of(staged, handoff) == "opened"

    async def test_an_answer_to_something_else_is_asked_again(self, staged: Stage) -> None:
        """The digest binds the answer to what was shown; a stale or foreign one shows the page anew."""
        browser, handoff = await self.at_consent(staged)
        action, fields = self.fields(browser)
        for digest in ("", "0" * 64, "å"):
            again = await browser.follow(await browser.post(action, {**fields, "digest": digest}))
            assert "share" in again.ids
        assert await state_of(staged, handoff) == "opened"

    async def test_fields_nobody_offered_are_not_shared(self, staged: Stage) -> None:
        """Extra field names in the form do nothing."""
        browser, _ = await self.at_consent(staged)
        started = await browser.press(
            "share", ("field", "order.paid"), ("field", "booking.note"), ("field", "customer.ssn"), ("field", "å")
        )
        tokens = await staged.garage.exchange(await staged.arrive(browser, started))
        data = await staged.garage.read(tokens["claims"]["handoff"]["id"], tokens["access_token"])
        assert "booking" not in data.json["claims"]
        assert set(data.json["claims"]["customer"]) == {"name"}
        assert data.json["claims"]["order"] == {"reference": "NH-1001", "paid": True}

    async def test_is_never_framed(self, staged: Stage) -> None:
        """frame-ancestors 'none' and X-Frame-Options; no script but our own file."""
        browser, _ = await self.at_consent(staged)
        assert browser.page is not None
        policy = browser.page.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert browser.page.headers["x-frame-options"] == "DENY"
        assert not re.search(r"<script(?![^>]*src=)|<style|\son[a-z]+=|style=", browser.page.text)

    async def test_withdrawing_between_code_and_token_counts(self, staged: Stage) -> None:
        """The code is out, the consent is taken back: the token is refused and nothing can be read."""
        browser, handoff = await self.at_consent(staged)
        started = await browser.press("share")
        arrived = await staged.arrive(browser, started)
        shared = await browser.get("/shared")
        await browser.press(next(each for each in shared.ids if each.startswith("withdraw-")))
        refused = await staged.garage.token(arrived.query["code"])
        assert (refused.status, refused.json["error"]) == (400, "invalid_grant")
        assert await state_of(staged, handoff) == "expired"

    async def test_withdrawing_a_login_consent_ends_its_tokens(self, staged: Stage) -> None:
        """Also a plain login's: userinfo says 401, and the next login asks again."""
        browser = staged.browser()
        await staged.shop_login(browser)
        await browser.follow(await browser.get(staged.garage.request()))
        tokens = await staged.garage.exchange(await browser.press("share", ("field", "name"), ("remember", "yes")))
        told = await staged.garage.userinfo(tokens["access_token"])
        assert told.json == {"sub": tokens["claims"]["sub"], "name": "Maja Lind"}
        code = (await browser.get(staged.garage.request(prompt="none"))).query["code"]
        shared = await browser.get("/shared")
        await browser.press(next(each for each in shared.ids if each.startswith("withdraw-")))
        assert (await staged.garage.userinfo(tokens["access_token"])).status == 401
        assert (await staged.garage.token(code)).json["error"] == "invalid_grant"
        silent = await browser.get(staged.garage.request(prompt="none"))
        assert silent.query["error"] == "consent_required"


class TestWhatIShare:
    """The page and its one button."""

    async def test_is_each_customers_own(self, staged: Stage) -> None:
        """Karl can neither see nor withdraw what Maja shares; a forged or missing token does nothing."""
        maja = staged.browser()
        at_shop = await staged.shop_login(maja)
        created = await staged.offer(at_shop["claims"]["sub"])
        await maja.follow(await maja.get(created.json["link"]))
        await maja.press("share", ("remember", "yes"))
        shared = await maja.get("/shared")
        hers = next(each for each in shared.ids if each.startswith("withdraw-")).removeprefix("withdraw-")
        token = re.search(r'name="csrf" value="([^"]+)"', shared.text)
        assert token is not None

        karl = staged.browser()
        await staged.shop_login(karl, who="karl")
        his = await karl.get("/shared")
        assert hers not in his.text
        own = re.search(r'name="csrf" value="([^"]+)"', his.text)
        if own is not None:
            answer = await karl.post("/shared/withdraw", {"csrf": own[1], "consent": hers})
            assert answer.status == 410
            assert has_a_way_on(answer)
        for fields, headers in (
            ({"consent": hers}, {}),
            ({"consent": hers, "csrf": "A" * 64}, {}),
            ({"consent": hers, "csrf": token[1]}, {"origin": "https://evil.example"}),
            ({"consent": hers, "csrf": token[1]}, {"sec-fetch-site": "cross-site"}),
        ):
            assert (await maja.post("/shared/withdraw", fields, **headers)).status == 403
        nobody = await staged.browser().post("/shared/withdraw", {"consent": hers, "csrf": token[1]})
        assert nobody.location.endswith("/shared")
        assert f"withdraw-{hers}" in (await maja.get("/shared")).ids
        assert (await maja.post("/shared/withdraw", {"csrf": token[1], "consent": hers})).status == 303
        assert (await maja.post("/shared/withdraw", {"csrf": token[1], "consent": hers})).status in {303, 410}

    async def test_needs_a_login(self, staged: Stage) -> None:
        """Without one it offers it, and comes back afterwards."""
        browser = staged.browser()
        page = await browser.get("/shared")
        assert "Maja" not in page.text
        await browser.follow(await browser.get("/shared/log-in"))
        assert "Maja Lind" in (await browser.log_in("bankid", "maja")).text


async def test_a_partner_never_sees_another_partners_words(staged: Stage) -> None:
    """docs/security.md F3: subs, sids, consent and handoff ids: nothing two partners could compare."""
    browser = staged.browser()
    at_shop = await staged.shop_login(browser)
    created = await staged.offer(at_shop["claims"]["sub"])
    await browser.follow(await browser.get(created.json["link"]))
    tokens = await staged.garage.exchange(await staged.arrive(browser, await browser.press("share")))
    data = await staged.garage.read(tokens["claims"]["handoff"]["id"], tokens["access_token"])
    told = f"{tokens['claims']} {data.text}"
    for own in ("sub", "sid"):
        assert at_shop["claims"][own] not in told
    assert PAYLOAD["customer"]["email"] not in told


HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "{{7*7}}${7*7}#{7*7}",
    "</td></table><form action=//evil.example>",
    '" onmouseover="alert(1)',
    "\u202eDROWSSAP\u2066",
    "javascript:alert(1)",
)


@pytest.mark.parametrize("hostile", HOSTILE)
async def test_what_a_source_writes_stays_words(staged: Stage, hostile: str) -> None:
    """docs/security.md C5: markup, templates and direction marks in a payload are shown as they are, on every page."""
    browser = staged.browser()
    at_shop = await staged.shop_login(browser)
    payload = {
        **PAYLOAD,
        "vehicle": {**PAYLOAD["vehicle"], "make": hostile[:40], "model": hostile[:40]},
        "items": [{**PAYLOAD["items"][0], "description": hostile}],
        "customer": {**PAYLOAD["customer"], "name": hostile},
        "booking": {"note": hostile},
    }
    created = await staged.offer(at_shop["claims"]["sub"], payload=payload)
    assert created.status == 201, created.text
    page = await browser.follow(await browser.get(created.json["link"]))
    assert "share" in page.ids
    for raw in ("<script>alert", "<img src=x", "<form action=//evil", '" onmouseover="', 'href="javascript'):
        assert raw not in page.text
    assert "{{7*7}}" not in hostile or "{{7*7}}" in page.text
    tokens = await staged.garage.exchange(await staged.arrive(browser, await browser.press("share")))
    data = await staged.garage.read(tokens["claims"]["handoff"]["id"], tokens["access_token"])
    assert data.headers["content-type"] == "application/json"
    assert data.json["claims"]["customer"]["name"] == hostile


async def test_too_many_logins_from_one_place_are_slowed_down(staged: Stage) -> None:
    """429 with a time to come back and a way on; somebody known already goes through."""
    known = staged.browser()
    await staged.shop_login(known)
    digest = staged.broker.context.lookup.digest("address", "127.0.0.1")[:32]
    await staged.state.run(Put(f"rate:journeys:{digest}", b"300", 60))
    page = await staged.browser().get(staged.shop.request())
    assert page.status == 429
    assert page.headers["retry-after"] == "60"
    assert has_a_way_on(page)
    assert "code" in (await known.get(staged.shop.request(prompt="none"))).query
    staged.clock.forward(seconds=61)
    assert (await staged.browser().get(staged.shop.request())).status == 303


async def test_no_answer_leaves_for_an_unregistered_place(staged: Stage) -> None:
    """Every address a journey ends at is one of the trust config's, whatever the request says."""
    browser = staged.browser()
    for hostile in (
        {"target_link_uri": "https://evil.example"},
        {"return_uri": "https://evil.example"},
        {"next": "//evil"},
    ):
        answer = await browser.follow(await browser.get(f"{staged.shop.request()}&{urlencode(hostile)}"))
        assert "evil" not in answer.text
    left = await browser.press("cancel")
    assert left.location.startswith(f"{SHOP_CALLBACK}?")
    assert left.query["error"] == "access_denied"
    assert urlsplit(GARAGE_CALLBACK).port == 8702
