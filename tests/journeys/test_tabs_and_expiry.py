"""Any number of tabs, the back button, reload, an expired page: all of them end well."""

import re
from urllib.parse import urlencode

import pytest

from tests.journeys.test_refusals import has_a_way_on
from tests.stage import PAYLOAD, SHOP_CALLBACK, Browser, Stage

SHOP_HOME = "http://127.0.0.1:8701/"
GARAGE_START = "http://127.0.0.1:8702/login/start"


async def begun(stage: Stage, browser: Browser, **changed: str) -> str:
    """A login at the shop stands at its choice page; the journey's path."""
    page = await browser.follow(await browser.get(stage.shop.request(**changed)))
    assert page.status == 200
    return page.url.removeprefix("http://localhost:8700")


class TestTabs:
    """Journeys do not know each other, but for the session they share."""

    async def test_interleaved_logins_each_reach_their_own_partner(self, staged: Stage) -> None:
        """Shop by BankID in one tab, garage by Google in another, step by step in turn: no answer goes astray."""
        one = staged.browser()
        await one.follow(await one.get(staged.shop.request(state="state of tab one")))
        two = one.copy()
        await two.follow(await two.get(staged.garage.request(state="state of tab two")))
        gone_one = await one.press("method-bankid")
        gone_two = await two.press("method-google")
        back_two = await two.follow(
            await two.get(f"/up/google/callback?{urlencode({'state': gone_two.query['state'], 'who': 'karl'})}")
        )
        back_one = await one.follow(
            await one.get(f"/up/bankid/callback?{urlencode({'state': gone_one.query['state'], 'who': 'maja'})}")
        )
        assert back_one.location.startswith(SHOP_CALLBACK)
        assert back_one.query["state"] == "state of tab one"
        tokens = await staged.shop.token(back_one.query["code"])
        assert tokens.status == 200
        assert "share" in back_two.ids
        assert "Karl Berg" in back_two.text
        # The browser's customer is Maja now: what Karl was asked is not answered for her.
        after = await two.follow(await two.press("share"))
        assert "Karl" not in after.text
        assert "code" not in after.query

    async def test_many_tabs_of_one_login_all_end_at_the_partner(self, staged: Stage) -> None:
        """One tab logs in; the others, reloaded or pressed, go through without a second login."""
        first = staged.browser()
        await begun(staged, first)
        tabs = [first.copy() for _ in range(4)]
        paths = [await begun(staged, tab) for tab in tabs]
        assert "code" in (await first.log_in("bankid", "maja")).query
        assert "code" in (await tabs[0].get(paths[0])).query
        pressed = await tabs[1].follow(await tabs[1].press("method-google"))
        assert "code" in pressed.query or pressed.location.startswith("https://google.test/")
        cancelled = await tabs[2].press("cancel")
        assert cancelled.query["error"] == "access_denied"
        assert "code" in (await tabs[3].get(paths[3])).query

    async def test_two_links_at_once_stay_apart(self, staged: Stage) -> None:
        """Two orders in two tabs: each is decided by its own page."""
        browser = staged.browser()
        sub = (await staged.shop_login(browser))["claims"]["sub"]
        links = [(await staged.offer(sub)).json for _ in range(2)]
        one, two = browser.copy(), browser.copy()
        await one.follow(await one.get(links[0]["link"]))
        await two.follow(await two.get(links[1]["link"]))
        guest = await two.press("continue-guest")
        assert "ref" in guest.query
        tokens = await staged.garage.exchange(await staged.arrive(one, await one.press("share")))
        assert tokens["claims"]["handoff"]["id"] == links[0]["handoff_id"]

    async def test_one_link_in_two_tabs_is_decided_once(self, staged: Stage) -> None:
        """Shared in one tab, refused in the other a moment later: the first answer holds, nobody sees an error."""
        browser = staged.browser()
        sub = (await staged.shop_login(browser))["claims"]["sub"]
        link = (await staged.offer(sub)).json["link"]
        one, two, three = browser.copy(), browser.copy(), browser.copy()
        for tab in (one, two, three):
            await tab.follow(await tab.get(link))
        started = await one.press("share")
        again = await two.press("share", ("field", "customer.phone"))
        assert again.location.startswith(GARAGE_START)
        tokens = await staged.garage.exchange(await staged.arrive(browser, again))
        data = await staged.garage.read(tokens["claims"]["handoff"]["id"], tokens["access_token"])
        assert "phone" not in data.json["claims"]["customer"]
        late = await three.follow(await three.press("continue-guest"))
        assert late.status in {200, 303}
        assert started.location.startswith(GARAGE_START)

    async def test_the_latest_answer_never_shares_more_than_it_says(self, staged: Stage) -> None:
        """All remembered in one tab, less ticked in another that was open already: from there, less goes out."""
        one = staged.browser()
        await staged.shop_login(one, "google")
        two = one.copy()
        await one.follow(await one.get(staged.garage.request()))
        await two.follow(await two.get(staged.garage.request()))
        more = await staged.garage.exchange(
            await one.press("share", ("field", "name"), ("field", "email"), ("remember", "yes"))
        )
        assert "email" in (await staged.garage.userinfo(more["access_token"])).json
        less = await staged.garage.exchange(await two.press("share", ("field", "name")))
        assert set((await staged.garage.userinfo(less["access_token"])).json) == {"sub", "name"}

        sub = (await staged.shop.exchange(await two.get(staged.shop.request(prompt="none"))))["claims"]["sub"]
        links = [(await staged.offer(sub)).json["link"] for _ in range(2)]
        await one.follow(await one.get(links[0]))
        await two.follow(await two.get(links[1]))
        await one.press("share", ("field", "vehicle.model"), ("remember", "yes"))
        tokens = await staged.garage.exchange(await staged.arrive(two, await two.press("share")))
        data = await staged.garage.read(tokens["claims"]["handoff"]["id"], tokens["access_token"])
        assert "model" not in data.json["claims"]["vehicle"]
        assert data.json["claims"]["vehicle"]["registration_number"] == "ABC 12D"


class TestBackAndReload:
    """Every address a browser's history may hold."""

    async def test_a_page_may_be_reloaded_at_every_step(self, staged: Stage) -> None:
        """Choice, welcome, consent: the same page again, with a working form."""
        browser = staged.browser()
        path = await begun(staged, browser)
        for _ in range(3):
            assert "method-bankid" in (await browser.get(path)).ids
        assert "code" in (await browser.log_in("bankid", "maja")).query

    async def test_back_from_the_provider_offers_the_choice_again(self, staged: Stage) -> None:
        """She went to one provider, came back, and takes the other."""
        browser = staged.browser()
        path = await begun(staged, browser)
        await browser.press("method-google")
        assert "method-bankid" in (await browser.get(path)).ids
        assert "code" in (await browser.log_in("bankid", "maja")).query

    @pytest.mark.parametrize("form", ["choose", "wait", "consent", "welcome"])
    async def test_a_forms_own_address_leads_back_to_the_page(self, staged: Stage, form: str) -> None:
        """A browser's history holds it after a POST that was answered by a page."""
        browser = staged.browser()
        path = await begun(staged, browser)
        again = await browser.follow(await browser.get(f"{path}/{form}"))
        assert "method-bankid" in again.ids

    async def test_a_finished_login_leads_on(self, staged: Stage) -> None:
        """Back to the choice page, or its form pressed again: on to the partner, and no second code."""
        browser = staged.browser()
        path = await begun(staged, browser)
        old = browser.page
        await browser.log_in("bankid", "maja")
        assert (await browser.get(path)).location == SHOP_HOME
        for button in ("method-google", "cancel"):
            browser.page = old
            assert (await browser.follow(await browser.press(button))).location == SHOP_HOME

    async def test_a_cancelled_login_leads_on(self, staged: Stage) -> None:
        """Back after cancelling: to the partner, where she can begin again; at the garage by its own login start."""
        browser = staged.browser()
        path = await begun(staged, browser)
        await browser.press("cancel")
        assert (await browser.get(path)).location == SHOP_HOME
        page = await browser.follow(await browser.get(staged.garage.request()))
        path = page.url
        await browser.press("cancel")
        assert (await browser.get(path)).location.startswith(f"{GARAGE_START}?iss=")

    async def test_a_cancelled_handoff_can_be_taken_up_again(self, staged: Stage) -> None:
        """Back after cancelling leads to the same offer, not to the garage."""
        browser = staged.browser()
        sub = (await staged.shop_login(browser))["claims"]["sub"]
        page = await browser.follow(await browser.get((await staged.offer(sub)).json["link"]))
        await browser.press("cancel")
        again = await browser.follow(await browser.get(page.url))
        assert "share" in again.ids
        assert (await browser.press("share")).location.startswith(GARAGE_START)

    async def test_a_consent_page_gone_back_to_after_sharing_leads_on(self, staged: Stage) -> None:
        """Reload or press again: to the garage while it may fetch, to its front page afterwards."""
        browser = staged.browser()
        sub = (await staged.shop_login(browser))["claims"]["sub"]
        page = await browser.follow(await browser.get((await staged.offer(sub)).json["link"]))
        started = await browser.press("share")
        assert (await browser.get(page.url)).location.startswith(GARAGE_START)
        await staged.garage.exchange(await staged.arrive(browser, started))
        assert (await browser.get(page.url)).location.endswith("/?handoff=already")
        for button in ("share", "continue-guest", "cancel"):
            browser.page = page
            answer = await browser.follow(await browser.press(button))
            assert answer.status in {200, 303}
            assert "login_hint" not in answer.query
            assert "ABC 12D" not in answer.text

    async def test_another_language_is_another_look_at_the_same_step(self, staged: Stage) -> None:
        """?lang= changes the words and nothing else."""
        browser = staged.browser()
        path = await begun(staged, browser)
        for language in ("sv", "fi", "pl", "en", "xx"):
            page = await browser.get(f"{path}?lang={language}")
            assert page.status == 200
            assert f'<html lang="{language if language != "xx" else "en"}"' in page.text
        assert "code" in (await browser.log_in("bankid", "maja")).query

    @pytest.mark.parametrize(
        ("shop", "chosen", "language"),
        [("fi", "", "fi"), ("fi", "?lang=pl", "pl"), (None, "", "sv"), (None, "?lang=xx", "sv")],
    )
    async def test_a_link_goes_on_in_the_language_of_the_shop(
        self, staged: Stage, shop: str | None, chosen: str, language: str
    ) -> None:
        """What she reads at the shop counts for more than her browser's language, and what she chooses here for more still."""
        link = (await staged.offer(None, **({"language": shop} if shop else {}))).json["link"]
        browser = staged.browser()
        page = await browser.follow(await browser.get(f"{link}{chosen}", **{"accept-language": "sv-SE,en;q=0.5"}))
        assert page.status == 200
        assert f'<html lang="{language}"' in page.text


class TestAnotherBrowser:
    """A journey's address is worth nothing where it did not begin."""

    @pytest.mark.parametrize("suffix", ["", "/poll", "/qr", "/guest", "/return", "/return?n=x"])
    async def test_reading_is_refused(self, staged: Stage, suffix: str) -> None:
        """With no cookie, and with another browser's: a page that says so, with a way on."""
        browser = staged.browser()
        path = await begun(staged, browser)
        other = staged.browser()
        await begun(staged, other)
        for stranger in (staged.browser(), other):
            answer = await stranger.get(f"{path}{suffix}")
            assert answer.status in {400, 403}
            assert has_a_way_on(answer)
            assert "csrf" not in answer.text

    @pytest.mark.parametrize("form", ["welcome", "choose", "wait", "consent"])
    async def test_posting_is_refused(self, staged: Stage, form: str) -> None:
        """Even with the right token."""
        browser = staged.browser()
        path = await begun(staged, browser)
        assert browser.page is not None
        token = re.search(r'name="csrf" value="([^"]+)"', browser.page.text)
        assert token is not None
        fields = {"csrf": token[1], "method": "bankid", "answer": "cancel", "do": "cancel"}
        other = staged.browser()
        await begun(staged, other)
        for stranger in (staged.browser(), other):
            answer = await stranger.post(f"{path}/{form}", fields)
            assert answer.status in {400, 403}
            assert has_a_way_on(answer)
        assert "code" in (await browser.log_in("bankid", "maja")).query

    async def test_a_browser_that_drops_cookies_is_told(self, staged: Stage) -> None:
        """On the first page already, not after the login."""
        browser = staged.browser()
        moved = await browser.get(staged.shop.request())
        browser.cookies.clear()
        page = await browser.get(moved.location)
        assert page.status == 400
        assert "cookie" in page.text.lower()
        assert has_a_way_on(page)

    @pytest.mark.parametrize("journey", ["x", "A" * 22, "A" * 300, "%C3%A5", "%00", "..%2f..", "a b", "%25"])
    async def test_an_address_nobody_gave_out_is_answered(self, staged: Stage, journey: str) -> None:
        """Unknown, malformed, far too long: a page, not an error of ours."""
        browser = staged.browser()
        await begun(staged, browser)
        for suffix in ("", "/poll", "/return", "/choose"):
            answer = await browser.follow(await browser.get(f"/j/{journey}{suffix}"))
            assert answer.status in {404, 410}
            assert has_a_way_on(answer)


class TestExpiry:
    """Half an hour later, at every step."""

    async def test_of_the_choice(self, staged: Stage) -> None:
        """Shown, pressed or cancelled late: 410 with a fresh start at the partner."""
        browser = staged.browser()
        path = await begun(staged, browser)
        old = browser.page
        staged.clock.forward(minutes=31)
        pages = [await browser.get(path)]
        for button in ("method-google", "cancel"):
            browser.page = old
            pages.append(await browser.follow(await browser.press(button)))
        for page in pages:
            assert page.status == 410
            assert 'id="start-again"' in page.text
            assert SHOP_HOME in page.text

    async def test_at_the_provider(self, staged: Stage) -> None:
        """The answer comes too late: not taken, nobody logged in, a fresh start offered."""
        browser = staged.browser()
        await begun(staged, browser)
        gone = await browser.press("method-bankid")
        staged.clock.forward(minutes=31)
        page = await browser.get(f"/up/bankid/callback?state={gone.query['state']}&who=maja")
        assert page.status == 410
        assert 'id="start-again"' in page.text
        assert staged.connectors["bankid"].resumed == 0
        assert "__Host-stafett-session" not in browser.cookies

    async def test_of_the_consent_page(self, staged: Stage) -> None:
        """A late answer shares nothing; she is asked once more on a fresh page and can go on."""
        browser = staged.browser()
        sub = (await staged.shop_login(browser))["claims"]["sub"]
        created = (await staged.offer(sub)).json
        await browser.follow(await browser.get(created["link"]))
        old = browser.page
        for button in ("share", "continue-guest", "cancel"):
            browser.page = old
            staged.clock.forward(minutes=31)
            page = await browser.follow(await browser.press(button))
            assert "share" in page.ids, button
        raw = await staged.client.get(f"/handoffs/{created['handoff_id']}/status", auth=staged.shop.auth)
        assert raw.json()["state"] == "opened"
        assert (await browser.press("share")).location.startswith(GARAGE_START)

    async def test_of_the_link(self, staged: Stage) -> None:
        """Before, during and after the login: said so, with the way back to the shop to make a new one."""
        browser = staged.browser()
        sub = (await staged.shop_login(staged.browser()))["claims"]["sub"]
        link = (await staged.offer(sub)).json["link"]
        staged.clock.forward(hours=23, minutes=50)
        await browser.follow(await browser.get(link))
        await browser.follow(await browser.press("continue"))
        gone = await browser.press("method-bankid")
        staged.clock.forward(minutes=11)
        after = await browser.follow(await browser.get(f"/up/bankid/callback?state={gone.query['state']}&who=maja"))
        anew = await browser.follow(await browser.get(link))
        for page in (after, anew):
            assert page.status == 200
            assert "back-to-shop" in page.ids
            assert "ABC 12D" not in page.text
        staged.clock.forward(days=60)
        forgotten = await browser.follow(await browser.get(link))
        assert forgotten.status == 410
        assert has_a_way_on(forgotten)

    async def test_between_consent_and_redemption(self, staged: Stage) -> None:
        """The link died while the garage held the code: invalid_grant, nothing is read, and the link says so."""
        sub = (await staged.shop_login(staged.browser()))["claims"]["sub"]
        link = (await staged.offer(sub)).json["link"]
        staged.clock.forward(hours=23, minutes=59, seconds=30)
        browser = staged.browser()
        await staged.shop_login(browser)
        await browser.follow(await browser.get(link))
        arrived = await staged.arrive(browser, await browser.press("share"))
        staged.clock.forward(seconds=31)
        refused = await staged.garage.token(arrived.query["code"])
        assert (refused.status, refused.json["error"]) == (400, "invalid_grant")
        assert "back-to-shop" in (await browser.follow(await browser.get(link))).ids

    async def test_of_a_session_in_the_middle_of_a_consent(self, staged: Stage) -> None:
        """Logged out in another tab: the answer is not taken, the login is asked, then the consent again."""
        browser = staged.browser()
        sub = (await staged.shop_login(browser))["claims"]["sub"]
        await browser.follow(await browser.get((await staged.offer(sub)).json["link"]))
        other = browser.copy()
        await other.get("/logout/confirm")
        await other.press("log-out")
        page = await browser.follow(await browser.press("share"))
        assert "login_hint" not in page.query
        assert {"continue", "method-bankid"} & page.ids


async def test_a_policy_that_changed_is_asked_about_again(staged: Stage) -> None:
    """What was remembered covers what was shown: a field nobody showed her before is asked about."""
    browser = staged.browser()
    sub = (await staged.shop_login(browser))["claims"]["sub"]
    await browser.follow(await browser.get((await staged.offer(sub)).json["link"]))
    await browser.press("share", ("remember", "yes"))
    longer = (await staged.offer(sub, payload={**PAYLOAD, "booking": {"note": "Ring first"}})).json["link"]
    page = await browser.follow(await browser.get(longer))
    assert "share" in page.ids
    assert "Ring first" in page.text
