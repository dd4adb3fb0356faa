"""Member numbers, attacked: by what others share, by spelling, by many at once, and by stores that die in between."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from broker.errors import StoreDown
from broker.stores.ports import Op
from tests.downstream.register import Register, open_register
from tests.upstream.codes import MAJA, Post, open_post, said
from tests.upstream.test_member_number import MEMBER, NOBODY, ON_FILE, CountedState, edit, open_counted, plain, start

NEIGHBOURS = [f"+4670174{last}" for last in (1001, 1002, 1003, 1004, 1005, 1006)]


@pytest_asyncio.fixture
async def register() -> AsyncIterator[Register]:
    async with open_register() as opened:
        opened.answer = {"known": False}
        opened.members[MEMBER] = ON_FILE
        yield opened


@pytest_asyncio.fixture
async def post(stage_folder: Path, register: Register) -> AsyncIterator[Post]:
    async with open_counted(stage_folder, edit(register)) as opened:
        yield opened


async def neighbourhood(folder: Path, register: Register, typed: str) -> str:
    """What the fifth of a block of numbers reads, where four were written to by name and *typed* was given before."""
    async with open_counted(folder, edit(register, "phone_number")) as post:
        sms: Any = post.connectors["sms"]
        sms._limits._limits = sms._limits._limits.model_copy(update={"per_block_10_minutes": 5})
        for number in NEIGHBOURS[:4]:
            await post.arrived(post.stage.browser(), number)
        await post.arrived(post.stage.browser(), typed)
        return plain(await post.arrived(post.stage.browser(), NEIGHBOURS[4]))


async def test_a_block_of_numbers_tells_of_no_member(stage_folder: Path, register: Register) -> None:
    """Whoever fills a block by name does not see by its limit that a member's number is among them."""
    seen = [await neighbourhood(stage_folder, register, typed) for typed in (NOBODY, MEMBER)]
    assert seen[0] == seen[1]


async def test_a_range_tells_of_no_member(stage_folder: Path, register: Register) -> None:
    """Nor by whether a range is stopped whose codes nobody uses."""
    seen = []
    for typed in (NOBODY, MEMBER):
        async with open_counted(stage_folder, edit(register, "phone_number")) as post:
            for last in range(19):
                await post.arrived(post.stage.browser(), f"+467017{last:02}123")
            await post.arrived(post.stage.browser(), typed)
            post.stage.clock.forward(minutes=6)
            seen.append(plain(await post.arrived(post.stage.browser(), "+46701799123")))
    assert seen[0] == seen[1]


async def test_tries_of_a_contact_are_counted_however_it_is_written(post: Post, register: Register) -> None:
    """A register writes one mailbox in several ways; it is one mailbox."""
    spelled = ["maja@example.com", "Maja@example.com", "MAJA@EXAMPLE.COM"]
    for last, address in enumerate(spelled):
        register.members[f"M-200{last}"] = {"known": True, "member_number": f"M-200{last}", "email": address}
    browser = post.stage.browser()
    for last in range(2):
        browser = post.stage.browser()
        await post.arrived(browser, f"M-200{last}")
        for _ in range(5):
            post.stage.clock.forward(seconds=10)
            await post.typed(browser, post.wrong(post.mail))
    browser = post.stage.browser()
    await post.arrived(browser, "M-2002")
    assert said(await post.typed(browser, post.mail.code)).startswith("That is not the code")


async def test_fifty_presses_at_once_ask_the_register_once(post: Post, register: Register) -> None:
    """In as many tabs; one code, one question."""
    browser = await start(post)
    page = browser.page
    tabs = [browser.copy() for _ in range(50)]
    for tab in tabs:
        tab.page = page
    seen = await asyncio.gather(*(tab.press("identify", ("identifier", MEMBER)) for tab in tabs))
    await post.idle()
    assert {each.status for each in seen} == {303}
    assert (len(register.lookups), len(post.mail.sent)) == (1, 1)


async def test_no_number_opens_a_handoff(stage_folder: Path, register: Register) -> None:
    """At a recipient that takes numbers: in its own login she may give one, where it redeems a handoff she may not."""
    theirs = "claims: [name, email, phone_number]\n      consent: ask\n"
    members = f"    members: {{uri: {register.url}, by_number: {{formats: ['M-####'], contact: email}}}}\n"
    garages = {theirs: f"claims: [name, email, phone_number, member_number]\n      consent: ask\n{members}"}
    async with open_post(stage_folder, edit=edit(register, **garages)) as post:
        stage, browser = post.stage, post.stage.browser()
        own = await browser.follow(await browser.get(stage.garage.request()))
        assert "member number" in own.text
        await post.arrived(browser, MAJA)
        at_shop = await stage.shop.exchange(await post.typed(browser, post.mail.code))
        offered = await stage.offer(at_shop["claims"]["sub"])
        await browser.follow(await browser.get(offered.json["link"]))
        started = await browser.press("share", ("field", "customer.phone"))
        stranger, before = stage.browser(), len(register.lookups)
        hinted = stage.garage.request(login_hint=started.query["login_hint"])
        page = await stranger.follow(await stranger.get(hinted))
        assert "identify" in page.ids
        assert "member number" not in page.text
        assert (await post.given(stranger, MEMBER)).status == 422
        assert len(register.lookups) == before


class Dying(CountedState):
    """``after``: so many round trips go well, then one does not; it was carried out if ``is_late``."""

    after = -1
    is_late = False

    async def run(self, *ops: Op) -> Any:
        self.after -= 1
        if self.after == -1:
            if self.is_late:
                await super().run(*ops)
            raise StoreDown("played")
        return await super().run(*ops)


@pytest.mark.parametrize("is_late", [False, True])
async def test_a_store_that_dies_leaves_no_dead_button(stage_folder: Path, register: Register, is_late: bool) -> None:
    """At each round trip of a press: pressed again at once, she gets a code."""
    state = Dying()
    async with open_post(stage_folder, edit=edit(register), state=state) as post:
        state.clock = post.stage.clock
        post.stage.shop.scope = "openid email phone membership"
        for after in range(12):
            post.stage.clock.forward(minutes=11)
            browser = await start(post)
            page = browser.page
            state.after, state.is_late = after, is_late
            first = await browser.press("identify", ("identifier", MEMBER))
            has_died, state.after = state.after < 0, -1
            await post.idle()
            browser.page = page
            done = await browser.follow(await browser.press("identify", ("identifier", MEMBER)))
            await post.idle()
            assert "send-code" in done.ids, after
            if not has_died:
                assert first.status == 303
                return
    raise AssertionError("it never got through")
