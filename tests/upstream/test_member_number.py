"""Logging in by a member number: a code goes to the contact on file, and nobody learns whether there is one."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from joserfc import jws, jwt
from joserfc.jwk import KeySet

from broker.stores.memory import MemoryState
from broker.stores.ports import Op
from tests.downstream.register import Register, open_register
from tests.stage import ISSUER, Answer, Browser
from tests.upstream.codes import E164, MAJA, Post, open_post, said

MEMBER = "M-1042"
NOBODY = "M-9999"
ON_FILE = {"known": True, "member_number": MEMBER, "email": MAJA, "phone_number": E164}


class CountedState(MemoryState):
    """``runs``: for each round trip, the kinds of its operations."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
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


@pytest_asyncio.fixture
async def post(stage_folder: Path, register: Register) -> AsyncIterator[Post]:
    async with open_post(stage_folder, edit=edit(register), state=CountedState()) as opened:
        opened.stage.shop.scope = "openid email phone membership"
        yield opened


@pytest_asyncio.fixture
async def texted(stage_folder: Path, register: Register) -> AsyncIterator[Post]:
    """The merchant's codes go to phones."""
    async with open_post(stage_folder, edit=edit(register, "phone_number"), state=CountedState()) as opened:
        opened.stage.shop.scope = "openid email phone membership"
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
    """A page without what is random on every page."""
    journey = page.url.rpartition("/")[2].encode()
    text = page.text.replace(journey.decode(), "JOURNEY")
    text = re.sub(r'(name="csrf" value=")[^"]+', r"\1CSRF", text)
    return re.sub(r"<code[^>]*>[^<]*</code>|data-reference=\"[^\"]*\"", "", text)


def counted(post: Post) -> CountedState:
    state = post.stage.state
    assert isinstance(state, CountedState)
    return state


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
