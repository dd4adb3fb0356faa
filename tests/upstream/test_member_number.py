"""Logging in by a member number: a code goes to the contact on file, and nobody learns whether there is one."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_asyncio
from joserfc import jws, jwt
from joserfc.jwk import KeySet

from broker.core.membership import OnFile
from broker.notify.ports import Reason, Rejected
from broker.stores.memory import MemoryState
from broker.stores.ports import Op
from broker.upstream.email_code import EmailCodeConnect, EmailCodeConnector
from tests.downstream.register import Register, open_register
from tests.stage import ISSUER, Answer, Browser, Clock, Stage, open_stage
from tests.upstream.codes import E164, MAJA, NUMBER, PlayedSender, Post, offering_only, open_post, said

MEMBER = "M-1042"
NOBODY = "M-9999"
ON_FILE = {"known": True, "member_number": MEMBER, "email": MAJA, "phone_number": E164}


class CountedState(MemoryState):
    """``runs``: for each round trip, the kinds of its operations. ``clock``: the stage's, once there is one."""

    def __init__(self) -> None:
        super().__init__(clock=lambda: self.clock.monotonic())
        self.clock = Clock()
        self.runs: list[tuple[str, ...]] = []

    async def run(self, *ops: Op) -> Any:
        self.runs.append(tuple(f"{type(op).__name__} {op.key.partition(':')[0]}" for op in ops))
        return await super().run(*ops)

    def taken(self) -> list[tuple[str, ...]]:
        """The round trips since it was last asked for them."""
        taken, self.runs = self.runs, []
        return taken


def edit(register: Register, contact: str = "email", **also: str) -> dict[str, str]:
    terms = f"{{formats: ['M-####', 'CLUB ??##'], contact: {contact}}}"
    members = f"    members: {{uri: {register.url}, timeout: 1s, by_number: {terms}}}\n"
    return {
        "claims: [name, email]\n": "claims: [name, email, phone_number, member_number]\n",
        "      consent: implied\n": f"      consent: implied\n{members}",
        **also,
    }


@pytest_asyncio.fixture
async def register() -> AsyncIterator[Register]:
    async with open_register() as opened:
        opened.answer = {"known": False}
        opened.members[MEMBER] = ON_FILE
        yield opened


@asynccontextmanager
async def open_counted(folder: Path, changed: dict[str, str]) -> AsyncIterator[Post]:
    state = CountedState()
    async with open_post(folder, edit=changed, state=state) as opened:
        state.clock = opened.stage.clock
        opened.stage.shop.scope = "openid email phone membership"
        yield opened


@pytest_asyncio.fixture
async def post(stage_folder: Path, register: Register) -> AsyncIterator[Post]:
    async with open_counted(stage_folder, edit(register)) as opened:
        yield opened


@pytest_asyncio.fixture
async def texted(stage_folder: Path, register: Register) -> AsyncIterator[Post]:
    """The merchant's codes go to phones."""
    async with open_counted(stage_folder, edit(register, "phone_number")) as opened:
        yield opened


async def told(post: Post, answer: Answer) -> dict[str, Any]:
    """What the shop is told of her."""
    tokens = await post.stage.shop.exchange(answer)
    found: dict[str, Any] = (await post.stage.shop.userinfo(tokens["access_token"])).json
    return found | {"acr": tokens["claims"].get("acr"), "amr": tokens["claims"].get("amr")}


async def again(post: Post, browser: Browser) -> dict[str, Any]:
    """She comes back to the shop and is logged in there without doing anything."""
    return await told(post, await browser.get(post.stage.shop.request(prompt="none")))


def plain(page: Answer) -> str:
    """A page without what is another on every page."""
    journey = page.url.rpartition("/j/")[2].split("/")[0]
    text = page.text.replace(journey, "JOURNEY")
    text = re.sub(r'(name="csrf" value=")[^"]+', r"\1CSRF", text)
    text = re.sub(r'(data-options|name="mark" value)="[^"]+"', r"\1", text)
    return re.sub(r'(id="reference"[^>]*>)[^<]+', r"\1REFERENCE", text)


def state_of(post: Post) -> CountedState:
    state = post.stage.state
    assert isinstance(state, CountedState)
    return state


async def start(post: Post) -> Browser:
    """She comes from the shop and reads how she may log in."""
    browser = post.stage.browser()
    await browser.follow(await browser.get(post.stage.shop.request()))
    return browser


async def give(post: Post, browser: Browser, typed: str) -> tuple[Answer, list[tuple[str, ...]]]:
    """What she sees who typed that, while the register and the messages are still to come; and what was asked of the store."""
    state_of(post).taken()
    answer = await browser.follow(await browser.press("identify", ("identifier", typed)))
    return answer, state_of(post).taken()


class TestWhoProvesTheCode:
    async def test_is_logged_in_with_the_number(self, post: Post, register: Register) -> None:
        """As the customer with that contact, by the assurance of the contact; nobody asked her to sign up."""
        browser = post.stage.browser()
        page = await post.arrived(browser, MEMBER)
        assert MAJA not in page.text
        assert "Nordhjul" in page.text
        found = await told(post, await post.typed(browser, post.mail.code))
        assert (found["email"], found["email_verified"], found["member_number"]) == (MAJA, True, MEMBER)
        assert (found["acr"], found["amr"]) == ("contact", ["otp", "email"])
        (lookup,) = register.lookups
        keys = KeySet.import_key_set((await post.stage.client.get("/jwks")).json())
        assert jws.extract_compact(lookup.encode()).headers()["typ"] == "member-number-lookup+jwt"
        claims = jwt.decode(lookup, keys, algorithms=["ES256"]).claims
        assert {**claims, "iat": 0, "exp": 0, "jti": ""} == {
            "iss": ISSUER,
            "aud": register.url,
            "client_id": "nordhjul-web",
            "member_number": MEMBER,
            "iat": 0,
            "exp": 0,
            "jti": "",
        }

    async def test_is_the_same_customer_as_by_the_contact(self, post: Post) -> None:
        """A number is another way to say where the code goes, and nobody new."""
        first = await told(post, await self._logged_in(post, MAJA))
        assert "member_number" not in first
        second = await told(post, await self._logged_in(post, MEMBER))
        assert (second["sub"], second["member_number"]) == (first["sub"], MEMBER)

    async def test_has_it_linked(self, post: Post, register: Register) -> None:
        """Later she comes by the address alone; the register, which would not know her by it, is not asked any more."""
        await told(post, await self._logged_in(post, MEMBER))
        await post.stage.broker.context.audit.flush()
        found = await told(post, await self._logged_in(post, MAJA))
        assert found["member_number"] == MEMBER
        post.stage.clock.forward(hours=1)
        assert len(register.lookups) == 1

    @pytest.mark.parametrize("typed", ["m1042", " M-10 42 ", "m\u20131042", "\uff2d1042", "M.1042"])
    async def test_writes_the_number_as_she_likes(self, post: Post, typed: str, register: Register) -> None:
        """The register hears it as it is written there."""
        await self._logged_in(post, typed)
        assert len(register.lookups) == 1

    async def test_by_the_link_in_the_mail(self, post: Post) -> None:
        """The link proves the same."""
        browser = post.stage.browser()
        await post.arrived(browser, MEMBER)
        await browser.get(post.mail.link)
        answer = await browser.follow(await browser.press("follow"))
        assert (await told(post, answer))["member_number"] == MEMBER

    async def test_by_text_message(self, texted: Post) -> None:
        """Where the merchant's codes go to phones."""
        browser = texted.stage.browser()
        await texted.arrived(browser, MEMBER)
        found = await told(texted, await texted.typed(browser, texted.sms.code))
        assert (found["phone_number"], found["member_number"]) == (E164, MEMBER)
        assert texted.mail.sent == []

    async def test_with_another_code(self, post: Post, register: Register) -> None:
        """The register is asked anew, and the newest code counts."""
        browser = post.stage.browser()
        await post.arrived(browser, MEMBER)
        old = post.mail.code
        post.stage.clock.forward(seconds=31)
        await post.again(browser)
        assert len(register.lookups) == 2
        assert said(await post.typed(browser, old)).startswith("That is an earlier code")
        assert (await told(post, await post.typed(browser, post.mail.code)))["member_number"] == MEMBER

    async def _logged_in(self, post: Post, typed: str) -> Answer:
        browser = post.stage.browser()
        await post.arrived(browser, typed)
        return await post.typed(browser, post.mail.code)


ILL = {
    "unknown": {"known": False},
    "no-contact": {"known": True, "member_number": MEMBER},
    "another-kind": {"known": True, "member_number": MEMBER, "phone_number": E164},
    "no-number": {"known": True, "email": MAJA},
    "no-address": {"known": True, "member_number": MEMBER, "email": "maja"},
    "no-text": {"known": True, "member_number": MEMBER, "email": [MAJA]},
    "two-lines": {"known": True, "member_number": MEMBER, "email": f"{MAJA}\nBcc: eve@example.com"},
    "nonsense": ["no"],
    "down": 500,
    "gone": 404,
    "elsewhere": 302,
}


class TestItRevealsNobody:
    async def test_nobody_waits_for_the_register(self, post: Post, register: Register) -> None:
        """Same page, status, headers and store operations for somebody and nobody, before the register has said a word."""
        register.gate.clear()
        (known, asked), (unknown, asked_too) = [
            await give(post, await start(post), typed) for typed in (MEMBER, NOBODY)
        ]
        assert (known.status, plain(known)) == (unknown.status, plain(unknown))
        assert {**known.headers, "x-reference": ""} == {**unknown.headers, "x-reference": ""}
        assert len(known.text) == len(unknown.text)
        assert asked == asked_too
        register.gate.set()
        await post.idle()
        assert len(post.mail.sent) == 1

    @pytest.mark.parametrize("answer", ILL.values(), ids=ILL)
    async def test_whatever_the_register_says(self, post: Post, register: Register, answer: Any) -> None:
        """The page, what is stored for it, and each step after it are those of a member; nothing is sent."""
        seen = []
        for said_by_register in (ON_FILE, answer):
            register.members[MEMBER] = said_by_register
            post.stage.clock.forward(minutes=11)
            browser = await start(post)
            sent = len(post.mail.sent)
            page, operations = await give(post, browser, MEMBER)
            await post.idle()
            state_of(post).taken()
            post.stage.clock.forward(seconds=3)
            polled = await browser.get(f"{page.url}/poll")
            again = await browser.get(page.url)
            wrong = await post.typed(browser, post.wrong(post.mail))
            seen.append((plain(page), operations, polled.status, plain(again), plain(wrong), state_of(post).taken()))
        assert seen[0] == seen[1]
        assert len(post.mail.sent) == sent

    async def test_a_slow_register(self, post: Post, register: Register) -> None:
        """The operator's time limit holds, and she is none the wiser; other messages are not held up by it."""
        register.gate.clear()
        browser = await start(post)
        await give(post, browser, MEMBER)
        other = post.stage.browser()
        await other.follow(await other.get(post.stage.shop.request()))
        await other.follow(await other.press("identify", ("identifier", "karl@example.com")))
        await asyncio.wait_for(post.connectors["email"].courier.idle(), 0.5)
        assert [mail.to for mail in post.mail.sent] == ["karl@example.com"]
        await post.idle()
        assert len(post.mail.sent) == 1
        assert said(await post.typed(browser, "000000")).startswith("That is not the code")

    async def test_nobodys_code_is_no_code(self, post: Post) -> None:
        """Not even the one that was drawn and went nowhere; it is tried as often as anybody's, and then void."""
        connector: Any = post.connectors["email"]
        connector._draw = lambda: "123456"
        browser = post.stage.browser()
        await post.arrived(browser, NOBODY)
        heard = []
        for _ in range(5):
            post.stage.clock.forward(seconds=10)
            heard.append(said(await post.typed(browser, "123456")))
        assert post.mail.sent == []
        assert all(each.startswith("That is not the code") for each in heard[:4])
        assert heard[4].startswith("The code was wrong too many times")

    async def test_tries_are_told_alike(self, post: Post) -> None:
        """Five of a code, ten of a number in an hour, over all logins; then even the right one is not looked at."""
        seen: dict[str, list[str]] = {MEMBER: [], NOBODY: []}
        for typed, heard in seen.items():
            for tries in (5, 5, 0):
                browser = post.stage.browser()
                heard.append(plain(await post.arrived(browser, typed)))
                for _ in range(tries):
                    post.stage.clock.forward(seconds=10)
                    heard.append(plain(await post.typed(browser, post.wrong(post.mail))))
            heard.append(said(await post.typed(browser, post.mail.code)))
        assert seen[MEMBER] == seen[NOBODY]
        assert seen[NOBODY][-1].startswith("Too many codes have been tried")

    async def test_messages_are_limited_alike(self, post: Post, register: Register) -> None:
        """Three in ten minutes for one number; the fourth is refused aloud, and the register is not asked for it."""
        seen = []
        for typed in (MEMBER, NOBODY):
            for _ in range(3):
                await post.arrived(post.stage.browser(), typed)
            seen.append(plain(await post.arrived(post.stage.browser(), typed)))
        assert seen[0] == seen[1]
        assert "Several codes have been sent there lately" in seen[0]
        assert len(register.lookups) == 6

    async def test_what_became_of_the_message_is_nobodys_to_know(self, post: Post) -> None:
        """A mailbox that does not exist, or a mail server that is ill, would tell that there was somebody to write to."""
        seen = []
        for typed, answer in (
            (NOBODY, None),
            (MEMBER, Rejected(Reason.RECIPIENT)),
            (MEMBER, Rejected(Reason.UNREACHABLE)),
        ):
            post.mail.answer = answer or post.mail.answer
            browser = post.stage.browser()
            page = await post.arrived(browser, typed)
            for _ in range(3):
                post.stage.clock.forward(seconds=7)
                await browser.get(f"{page.url}/poll")
            seen.append(plain(await browser.get(page.url)))
        assert seen[0] == seen[1] == seen[2]

    async def test_the_contact_has_its_own_limits_in_silence(self, post: Post, register: Register) -> None:
        """Several numbers of one mailbox: it gets no more than any, and the page says nothing of it."""
        numbers = [f"M-200{last}" for last in range(4)]
        for number in numbers:
            register.members[number] = {**ON_FILE, "member_number": number}
        pages = [plain(await post.arrived(post.stage.browser(), number)) for number in numbers]
        assert len(set(pages)) == 1
        assert len(post.mail.sent) == 3

    async def test_what_was_sent_by_the_address_counts_for_the_number(self, post: Post) -> None:
        """Whose mailbox is full of codes gets none by her number either, and whoever gave it does not see that."""
        before = plain(await post.arrived(post.stage.browser(), MEMBER))
        for _ in range(3):
            await post.arrived(post.stage.browser(), MAJA)
        sent = len(post.mail.sent)
        browser = post.stage.browser()
        assert plain(await post.arrived(browser, MEMBER)) == before
        assert len(post.mail.sent) == sent
        assert said(await post.typed(browser, post.mail.code)).startswith("That is not the code")

    async def test_a_number_does_not_use_up_the_address(self, post: Post) -> None:
        """Else whoever guesses an address would see by its limit that it is the one on file."""
        for _ in range(3):
            await post.arrived(post.stage.browser(), MEMBER)
        page = await post.arrived(post.stage.browser(), MAJA)
        assert "send-code" in page.ids
        assert len(post.mail.sent) == 4

    async def test_tries_of_a_contact_are_counted_in_silence(self, post: Post, register: Register) -> None:
        """After ten wrong ones by several numbers the right one is wrong too, and nothing says why."""
        for last in range(3):
            register.members[f"M-200{last}"] = {**ON_FILE, "member_number": f"M-200{last}"}
        for last in range(2):
            browser = post.stage.browser()
            await post.arrived(browser, f"M-200{last}")
            for _ in range(5):
                post.stage.clock.forward(seconds=10)
                await post.typed(browser, post.wrong(post.mail))
        await post.arrived(browser, "M-2002")
        assert said(await post.typed(browser, post.mail.code)).startswith("That is not the code")

    async def test_another_members_code(self, post: Post, register: Register) -> None:
        """A code is for the login it was sent for."""
        await post.arrived(post.stage.browser(), MEMBER)
        code, other = post.mail.code, post.stage.browser()
        await post.arrived(other, NOBODY)
        assert said(await post.typed(other, code)).startswith("That is not the code")

    async def test_it_is_not_logged_nor_in_addresses_nor_cookies(
        self, post: Post, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Neither the number nor the contact, and no state key holds either."""
        browser = post.stage.browser()
        page = await post.arrived(browser, MEMBER)
        answer = await post.typed(browser, post.mail.code)
        told_of = "".join(capsys.readouterr()) + page.url + answer.location + repr(browser.cookies)
        assert "member.number_asked" in told_of
        for secret in (MEMBER, "1042", MAJA, "maja"):
            assert secret not in told_of

    async def test_a_register_that_is_ill_rests(self, post: Post, register: Register) -> None:
        """For ten seconds it is not asked by number; who proves an address meanwhile is recognised all the same."""
        register.members[MEMBER] = 500
        await post.arrived(post.stage.browser(), MEMBER)
        await post.arrived(post.stage.browser(), MEMBER)
        assert len(register.lookups) == 1
        register.answer = {"known": True, "member_number": "M-77"}
        browser = post.stage.browser()
        await post.arrived(browser, MAJA)
        assert (await told(post, await post.typed(browser, post.mail.code)))["member_number"] == "M-77"


class TestWhatSheMayType:
    async def test_the_field_says_so(self, post: Post) -> None:
        """Beside an address and a phone number, at the merchant that takes it and nowhere else."""
        assert "member number" in (await start(post)).page.text  # type: ignore[union-attr]
        browser = post.stage.browser()
        page = await browser.follow(await browser.get(post.stage.garage.request()))
        assert "identify" in page.ids
        assert "member number" not in page.text

    @pytest.mark.parametrize(("typed", "way"), [(MAJA, "mail"), (NUMBER, "sms"), (E164, "sms")])
    async def test_addresses_and_numbers_are_what_they_were(self, post: Post, typed: str, way: str) -> None:
        """No register is asked."""
        await post.arrived(post.stage.browser(), typed)
        assert (len(post.mail.sent), len(post.sms.sent)) == ((1, 0) if way == "mail" else (0, 1))

    @pytest.mark.parametrize("typed", ["M-104", "M-10421", "X-1042", "M-104a", "1042", "", "CLUB 1234", "M\u00e4-1042"])
    async def test_what_has_no_numbers_form(self, post: Post, register: Register, typed: str) -> None:
        """Is told at once, as for anybody; the forms are no secret."""
        browser = await start(post)
        page, _ = await give(post, browser, typed)
        await post.idle()
        assert page.status == 422
        assert register.lookups == []

    async def test_at_another_partner(self, post: Post, register: Register) -> None:
        """Only the merchant's own customers are asked about at its register."""
        browser = post.stage.browser()
        await browser.follow(await browser.get(post.stage.garage.request()))
        page, _ = await give(post, browser, MEMBER)
        assert page.status == 422
        assert register.lookups == []

    async def test_on_our_own_pages(self, post: Post, register: Register) -> None:
        """There is no merchant whose member she could be."""
        browser = post.stage.browser()
        await browser.follow(await browser.get("/shared/log-in"))
        page, _ = await give(post, browser, MEMBER)
        assert page.status == 422
        assert register.lookups == []

    async def test_where_no_code_is_enough(self, post: Post, register: Register) -> None:
        """A login that must be stronger has no such field."""
        browser = post.stage.browser()
        claims = '{"id_token":{"acr":{"essential":true,"values":["http://eidas.europa.eu/LoA/substantial"]}}}'
        page = await browser.follow(await browser.get(post.stage.shop.request(claims=claims)))
        assert "identify" not in page.ids
        assert "member number" not in page.text

    async def test_after_the_merchant_took_another_way_out(self, stage_folder: Path, register: Register) -> None:
        """Codes by mail only: the field takes a member number beside the address, and no phone number."""
        more = offering_only("email", "sms")
        async with open_counted(stage_folder, {**edit(register), **more}) as post:
            page = await post.arrived(post.stage.browser(), MEMBER)
            assert "send-code" in page.ids
            assert len(post.mail.sent) == 1
            refused, _ = await give(post, await start(post), NUMBER)
            assert refused.status == 422


class TestOneNumberOnly:
    @pytest_asyncio.fixture
    async def linked(self, post: Post, register: Register) -> Post:
        """Somebody of her household, who reads the same mails, has another number."""
        register.members["M-2000"] = {**ON_FILE, "member_number": "M-2000"}
        browser = post.stage.browser()
        await post.arrived(browser, MEMBER)
        await told(post, await post.typed(browser, post.mail.code))
        await post.stage.broker.context.audit.flush()
        return post

    async def _other(self, post: Post) -> tuple[Browser, Answer]:
        browser = post.stage.browser()
        await post.arrived(browser, "M-2000")
        return browser, await post.typed(browser, post.mail.code)

    async def test_another_is_explained_and_replaces_nothing(self, linked: Post) -> None:
        """She reads why, and goes on with the number there is."""
        browser, page = await self._other(linked)
        assert "another member number" in page.text
        assert {"apart", "cancel"} <= page.ids
        assert "join" not in page.ids
        found = await told(linked, await browser.follow(await browser.press("apart")))
        assert (found["member_number"], found["email"]) == (MEMBER, MAJA)
        linked.stage.clock.forward(hours=1)
        assert (await again(linked, browser))["member_number"] == MEMBER

    async def test_who_does_not_go_on_is_not_logged_in(self, linked: Post) -> None:
        """Back to the shop, without a session."""
        browser, _ = await self._other(linked)
        await browser.press("cancel")
        answer = await browser.get(linked.stage.shop.request(prompt="none"))
        assert answer.query["error"] == "login_required"

    async def test_it_is_explained_to_whoever_else_is_logged_in(self, linked: Post) -> None:
        """In a browser where another customer is in: whose the address is, is not told before, and she may go on as that one."""
        browser = linked.stage.browser()
        await linked.arrived(browser, "karl@example.com")
        karl = await told(linked, await linked.typed(browser, linked.mail.code))
        linked.stage.clock.forward(minutes=2)
        await browser.follow(await browser.get(linked.stage.shop.request(prompt="login")))
        await linked.given(browser, "M-2000")
        page = await linked.typed(browser, linked.mail.code)
        assert "apart" in page.ids
        found = await told(linked, await browser.follow(await browser.press("apart")))
        assert found["sub"] != karl["sub"]
        assert found["member_number"] == MEMBER

    async def test_a_made_up_yes_joins_nothing(self, linked: Post) -> None:
        """There is nothing to agree to."""
        browser, page = await self._other(linked)
        csrf = page.text.split('name="csrf" value="')[1].split('"')[0]
        answer = await browser.post(f"{page.url}/join", {"csrf": csrf, "answer": "join"})
        shown = await browser.follow(answer)
        assert "another member number" in shown.text

    async def test_she_takes_it_out_herself(self, linked: Post, register: Register) -> None:
        """On her own page, for all her browsers at once; then the other one may be linked."""
        elsewhere, browser = linked.stage.browser(), linked.stage.browser()
        for each in (elsewhere, browser):
            await linked.arrived(each, MEMBER if each is browser else MAJA)
            await told(linked, await linked.typed(each, linked.mail.code))
        assert (await again(linked, elsewhere))["member_number"] == MEMBER
        page = await browser.get("/shared")
        assert "•••42" in page.text
        assert MEMBER not in page.text
        page = await browser.follow(await browser.press("unlink-1"))
        assert "linked no more" in page.text
        assert "unlink-1" not in page.ids
        for each in (elsewhere, browser):
            assert "member_number" not in await again(linked, each)
        linked.stage.clock.forward(minutes=11)
        _, answer = await self._other(linked)
        assert (await told(linked, answer))["member_number"] == "M-2000"

    async def test_a_form_from_elsewhere_takes_nothing_out(self, linked: Post) -> None:
        """Without our token, or without a session, nothing happens."""
        browser = linked.stage.browser()
        await linked.arrived(browser, MEMBER)
        await told(linked, await linked.typed(browser, linked.mail.code))
        assert (await browser.post("/shared/ways/number", {"partner": "tyre-shop", "csrf": "x"})).status == 403
        stranger = linked.stage.browser()
        assert (await stranger.post("/shared/ways/number", {"partner": "tyre-shop"})).location.endswith("/shared")
        assert (await again(linked, browser))["member_number"] == MEMBER

    async def test_no_other_partner_hears_of_it(self, linked: Post) -> None:
        """It is the merchant's own."""
        browser = linked.stage.browser()
        await linked.arrived(browser, MEMBER)
        await told(linked, await linked.typed(browser, linked.mail.code))
        linked.stage.garage.scope = "openid email membership"
        answer = await browser.follow(await browser.get(linked.stage.garage.request()))
        answer = await browser.press("share", ("field", "email")) if "share" in answer.ids else answer
        tokens = await linked.stage.garage.exchange(answer)
        assert "member_number" not in (await linked.stage.garage.userinfo(tokens["access_token"])).json

    async def test_a_site_that_may_not_have_it(self, linked: Post) -> None:
        """Scope and config decide, as for every claim."""
        linked.stage.shop.scope = "openid email"
        browser = linked.stage.browser()
        await linked.arrived(browser, MEMBER)
        assert "member_number" not in await told(linked, await linked.typed(browser, linked.mail.code))

    async def test_it_is_on_record(self, linked: Post) -> None:
        """Who, where and by what; not which number."""
        browser = linked.stage.browser()
        await linked.arrived(browser, MEMBER)
        found = await told(linked, await linked.typed(browser, linked.mail.code))
        customer = await linked.stage.records.customer_of_subject("tyre-shop", found["sub"])
        assert customer is not None
        await linked.stage.broker.context.audit.flush()
        events = await linked.stage.records.audit_of(customer, 50)
        assert [each.partner for each in events if each.action == "member.linked"] == ["tyre-shop"]
        assert not any(secret in repr(events) for secret in (MEMBER, "1042", MAJA))


class KnownMembers:
    """Everybody's contact is the one given."""

    async def on_file(self, partner: str, number: str) -> OnFile | None:
        return OnFile(number, MAJA)


class TestBesideAnotherWay:
    @pytest_asyncio.fixture
    async def both(self, stage_folder: Path, register: Register) -> AsyncIterator[tuple[Stage, PlayedSender]]:
        """Google is played; codes by mail are as they are."""
        async with open_stage(stage_folder, edit=edit(register)) as stage:
            sender, played = PlayedSender(), cast(dict[str, Any], stage.connectors)
            played["email"] = _email(stage, sender)
            stage.shop.scope = "openid email membership"
            yield stage, sender
            await played["email"].close()

    async def _asked(self, stage: Stage, sender: PlayedSender, browser: Browser) -> Answer:
        """Logged in by Google, she is asked to log in anew and gives her number."""
        await stage.shop_login(browser, "google", "karl")
        stage.clock.forward(minutes=2)
        await browser.follow(await browser.get(stage.shop.request(prompt="login")))
        await browser.follow(await browser.press("identify", ("identifier", MEMBER)))
        connector: Any = stage.connectors["email"]
        await connector.lookups.idle()
        await connector.courier.idle()
        return await browser.follow(await browser.press("send-code", ("code", sender.code)))

    async def test_it_is_linked_with_the_way_in_after_a_yes(self, both: tuple[Stage, PlayedSender]) -> None:
        """She is asked as for any new way in; with it comes the number, also when she comes by Google again."""
        stage, sender = both
        browser = stage.browser()
        page = await self._asked(stage, sender, browser)
        assert "join" in page.ids
        tokens = await stage.shop.exchange(await browser.follow(await browser.press("join")))
        assert (await stage.shop.userinfo(tokens["access_token"])).json["member_number"] == MEMBER
        await stage.broker.context.audit.flush()
        later = await stage.shop_login(stage.browser(), "google", "karl")
        assert later["claims"]["sub"] == tokens["claims"]["sub"]
        assert (await stage.shop.userinfo(later["access_token"])).json["member_number"] == MEMBER

    async def test_a_no_leaves_it_to_the_other_account(self, both: tuple[Stage, PlayedSender]) -> None:
        """The number goes with the contact it is on file with, and Google's account has none."""
        stage, sender = both
        browser = stage.browser()
        await self._asked(stage, sender, browser)
        tokens = await stage.shop.exchange(await browser.follow(await browser.press("apart")))
        assert (await stage.shop.userinfo(tokens["access_token"])).json["member_number"] == MEMBER
        await stage.broker.context.audit.flush()
        later = await stage.shop_login(stage.browser(), "google", "karl")
        assert later["claims"]["sub"] != tokens["claims"]["sub"]
        assert "member_number" not in (await stage.shop.userinfo(later["access_token"])).json


def _email(stage: Stage, sender: PlayedSender) -> EmailCodeConnector:
    context = stage.broker.context
    return EmailCodeConnector("email", EmailCodeConnect(), mail=sender, context=context, members=KnownMembers())
