"""Consents taken back while something else goes on: between two looks, in another tab, with a store that fails meanwhile."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from broker.core.assurance import Assurance
from broker.core.changing import replace
from broker.core.identity import Evidence
from broker.core.naming import name_of
from broker.core.session import Session
from broker.errors import StoreDown
from broker.flows.consent import Consents
from broker.flows.handoff import Handoffs
from broker.flows.login import Logins
from broker.flows.receipts import Receipts
from broker.stores.memory import MemoryState
from broker.stores.ports import Op, Records, Swap
from tests.stage import Answer, Browser, Clock, PlayedConnector, Stage, open_stage


class Between(MemoryState):
    """Lets something else happen just before the next change of a handoff, or what else is kept ``of``."""

    def __init__(self) -> None:
        super().__init__()
        self.of = "handoff"
        self.then: Callable[[], Awaitable[Any]] | None = None

    async def run(self, *ops: Op) -> Sequence[Any]:
        then = self.then
        if then is not None and any(isinstance(op, Swap) and op.key.startswith(f"{self.of}:") for op in ops):
            self.then = None
            await then()
        return await super().run(*ops)


class OneByOne(Between):
    """
    A batch is no transaction: what others do may come between its operations. Lets something else happen just before the next
    ``swaps`` of one kind, and something else just ``after`` the batch.
    """

    def __init__(self) -> None:
        super().__init__()
        self.after: Callable[[], Awaitable[Any]] | None = None

    async def run(self, *ops: Op) -> Sequence[Any]:
        if self.then is None or not any(isinstance(op, Swap) and op.key.startswith(f"{self.of}:") for op in ops):
            return await super().run(*ops)
        after, self.after = self.after, None
        results = [(await super(OneByOne, self).run(op))[0] for op in ops]
        if after is not None:
            await after()
        return results


class Failing:
    """Records of which one method fails when told to."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self.down: str | None = None

    def __getattr__(self, name: str) -> Any:
        if name == self.down:
            raise StoreDown("played to be down")
        return getattr(self._records, name)


class Scene:
    """Maja, logged in at the shop, and what she shares."""

    def __init__(self, stage: Stage, state: Between, records: Failing) -> None:
        self.stage, self.state, self.records = stage, state, records
        self.browser = stage.browser()
        self.subject = ""

    async def log_in(self) -> None:
        self.subject = str((await self.stage.shop_login(self.browser))["claims"]["sub"])

    async def link(self) -> str:
        return str((await self.stage.offer(self.subject)).json["link"])

    async def share(self, *extra: tuple[str, str]) -> dict[str, Any]:
        """A new handoff by way of the consent page; the garage's token response."""
        await self.browser.follow(await self.browser.get(await self.link()))
        return await self.stage.garage.exchange(
            await self.stage.arrive(self.browser, await self.browser.press("share", *extra))
        )

    async def session(self, browser: Browser) -> Session:
        shelf = self.stage.broker.context.shelves.sessions
        for value in browser.cookies.values():
            name = name_of(value)
            if (held := shelf.read(name, (await self.state.run(shelf.get(name)))[0])) is not None:
                return held.value
        raise AssertionError("nobody is logged in")

    async def withdraw(self, browser: Browser) -> Answer:
        shared = await browser.get("/shared")
        return await browser.press(next(each for each in shared.ids if each.startswith("withdraw-")))

    async def states(self) -> list[tuple[str, bool]]:
        """Of her receipts, the oldest first: the state, and whether the payload is kept."""
        await self.stage.broker.context.audit.flush()
        customer = await self.stage.records.customer_of_subject("tyre-shop", self.subject)
        assert customer is not None
        found = sorted(await self.stage.records.transfers_of(customer, 99), key=lambda each: each.created_at)
        return [(each.state, each.payload is not None) for each in found]


@pytest_asyncio.fixture
async def scene(stage_folder: Path, request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    state, played = getattr(request, "param", Between)(), []

    def wrap(records: Records) -> Any:
        played.append(Failing(records))
        return played[0]

    async with open_stage(stage_folder, state=state, wrap=wrap) as stage:
        opened = Scene(stage, state, played[0])
        await opened.log_in()
        yield opened


async def test_nothing_starts_on_a_consent_taken_back_since_it_was_looked_at(scene: Scene) -> None:
    """She withdraws elsewhere between the look and the start: nothing is on its way, no data is kept for it, and she is asked."""
    await scene.share(("remember", "yes"))
    link = await scene.link()
    scene.stage.clock.forward(seconds=1)
    other = scene.stage.browser()
    await scene.stage.shop_login(other)
    scene.state.then = lambda: scene.withdraw(other)
    answer = await scene.browser.get(link)
    assert "login_hint" not in answer.query
    assert await scene.states() == [("revoked", False)]
    assert "share" in (await scene.browser.follow(answer)).ids
    started = await scene.browser.press("share")
    tokens = await scene.stage.garage.exchange(await scene.stage.arrive(scene.browser, started))
    assert (await scene.stage.garage.read(tokens["claims"]["handoff"]["id"], tokens["access_token"])).status == 200


@pytest.mark.parametrize("scene", [OneByOne], indirect=True)
async def test_whoever_withdraws_finds_what_starts_right_before(scene: Scene) -> None:
    """Another process catches up with receipts between a handoff's entry and its start, and then she withdraws."""
    await scene.share(("remember", "yes"))
    await scene.browser.get(await scene.link())
    context, other = scene.stage.broker.context, scene.stage.browser()
    await scene.stage.shop_login(other)
    await context.audit.flush()
    link, state = await scene.link(), scene.state
    assert isinstance(state, OneByOne)
    beside = Consents(context, Logins(context), Handoffs(context, Receipts(context)), Receipts(context))

    async def withdraw() -> None:
        customer = await scene.stage.records.customer_of_subject("tyre-shop", scene.subject)
        (consent,) = await scene.stage.records.live_consents(customer or "", scene.stage.clock.now)
        await beside.withdraw(consent.id, await scene.session(scene.browser))

    state.then, state.after = Receipts(context).write_all, withdraw
    assert "login_hint" in (await scene.browser.get(link)).query
    assert state.then is None
    assert await scene.states() == [("revoked", False)] * 3


@pytest.mark.parametrize("scene", [OneByOne], indirect=True)
async def test_a_withdrawal_between_look_and_end_of_a_journey_is_asked_again(scene: Scene) -> None:
    """Its mark comes after it was looked for and before the journey ends: she is asked, and reads no error."""
    reader, other = scene.stage.garage, scene.stage.browser()
    page = await scene.browser.follow(await scene.browser.get(reader.request()))
    assert "share" in page.ids
    tab = scene.browser.copy()
    scene.stage.clock.forward(seconds=5)
    await tab.follow(await tab.get(reader.request()))
    assert "code" in (await tab.press("share", ("remember", "yes"))).query
    assert "code" in (await tab.get(reader.request(prompt="none"))).query
    await scene.stage.shop_login(other)
    scene.state.of, scene.state.then = "journey", lambda: scene.withdraw(other)
    again = await scene.browser.follow(await scene.browser.get(page.url))
    assert scene.state.then is None
    assert "share" in again.ids


async def test_a_session_never_keeps_in_mind_what_is_withdrawn_just_then(scene: Scene) -> None:
    """She withdraws elsewhere after the database said that it holds, and before her session knows it: she is asked, once."""
    await scene.share(("remember", "yes"))
    new, other = scene.stage.browser(), scene.stage.browser()
    await scene.stage.shop_login(new)
    await scene.stage.shop_login(other)
    scene.state.of, scene.state.then = "session", lambda: scene.withdraw(other)
    asked = await new.follow(await new.get(await scene.link()))
    assert scene.state.then is None
    assert "share" in asked.ids
    await new.press("share", ("remember", "yes"))
    assert "login_hint" in (await new.get(await scene.link())).query


async def test_the_records_know_of_it_last(scene: Scene) -> None:
    """The database fails right then: nothing goes out under it meanwhile, and whoever tries again ends it for good."""
    await scene.share(("remember", "yes"))
    link = await scene.link()
    scene.records.down = "withdraw_consent"
    assert (await scene.withdraw(scene.browser)).status == 503
    for browser in (scene.browser, scene.stage.browser()):
        if browser is not scene.browser:
            await scene.stage.shop_login(browser)
        asked = await browser.follow(await browser.get(link))
        assert "share" in asked.ids
    scene.records.down = None
    assert (await scene.withdraw(scene.browser)).status == 303
    assert "share" in (await scene.browser.follow(await scene.browser.get(await scene.link()))).ids


async def test_an_older_consent_to_the_same_is_none_either(scene: Scene) -> None:
    """Two answers at once left two consents; both are withdrawn, and the records know of neither yet."""
    await scene.share(("remember", "yes"))
    customer = await scene.stage.records.customer_of_subject("tyre-shop", scene.subject)
    assert customer is not None
    (first,) = await scene.stage.records.live_consents(customer, scene.stage.clock.now)
    await scene.stage.records.add_consent(
        replace(first, id="s" * 22, created_at=first.created_at + timedelta(seconds=1))
    )
    new = scene.stage.browser()
    await scene.stage.shop_login(new)
    link = await scene.link()
    scene.records.down = "withdraw_consent"
    assert (await scene.withdraw(scene.browser)).status == 503
    for browser in (scene.browser, new):
        assert "share" in (await browser.follow(await browser.get(link))).ids


async def test_the_same_yes_after_taking_it_back_is_a_new_one(scene: Scene) -> None:
    """A yes that came to nothing, withdrawn, and given once more to the same handoff: it counts."""
    link = await scene.link()
    await scene.browser.follow(await scene.browser.get(link))

    async def fail() -> None:
        raise StoreDown("played to be down")

    scene.state.then = fail
    assert (await scene.browser.press("share", ("remember", "yes"))).status == 503
    assert (await scene.withdraw(scene.browser)).status == 303
    await scene.browser.follow(await scene.browser.get(link))
    started = await scene.browser.press("share", ("remember", "yes"))
    tokens = await scene.stage.garage.exchange(await scene.stage.arrive(scene.browser, started))
    read = await scene.stage.garage.read(tokens["claims"]["handoff"]["id"], tokens["access_token"])
    assert read.status == 200


async def test_a_link_from_before_says_so_to_her_alone(scene: Scene) -> None:
    """She reads that she stopped it, and where to begin anew; anybody else, the source included, has a link that is too old."""
    link = await scene.link()
    await scene.browser.follow(await scene.browser.get(link))
    await scene.stage.garage.exchange(await scene.stage.arrive(scene.browser, await scene.browser.press("share")))
    await scene.withdraw(scene.browser)
    stranger = scene.stage.browser()
    for browser, told in ((scene.browser, "You stopped sharing this"), (stranger, "The link has become too old")):
        page = await browser.follow(await browser.get(link))
        assert told in page.text
        assert "handoff=expired" in page.text
        assert "handoff=withdrawn" not in page.text


@pytest.mark.parametrize("method", ["transfers_of", "revoke_transfers"])
async def test_a_second_try_finishes_what_the_first_began(scene: Scene, method: str) -> None:
    """All that rested on any consent of that sharing ends, also on those that the first try had ended already."""
    await scene.share()
    await scene.stage.broker.context.audit.flush()
    scene.stage.clock.forward(seconds=1)
    await scene.share()
    page = await scene.browser.get("/shared")
    button = next(each for each in page.ids if each.startswith("withdraw-"))
    scene.records.down = method
    assert (await scene.browser.press(button)).status == 503
    scene.records.down = None
    scene.browser.page = page
    assert (await scene.browser.press(button)).status == 303
    assert await scene.states() == [("revoked", False), ("revoked", False)]


class Namesakes(PlayedConnector):
    """Everybody is called Maja Lind."""

    def _evidence(self, who: str) -> Evidence:
        return replace(super()._evidence(who), name="Maja Lind")


async def test_a_yes_counts_for_whoever_saw_the_page(stage_folder: Path) -> None:
    """Two of one name at one browser: what the first was shown, the second does not agree to by a click on that page."""

    def cast(clock: Clock) -> dict[str, Any]:
        return {"bankid": Namesakes("bankid", Assurance.SUBSTANTIAL, clock)}

    async with open_stage(stage_folder, cast=cast) as stage:
        browser = stage.browser()
        await browser.follow(await browser.get(stage.garage.request(scope="openid profile")))
        page = await browser.log_in("bankid", "maja")
        assert "share" in page.ids
        other_tab = browser.copy()
        stage.clock.forward(seconds=90)
        await other_tab.follow(await other_tab.get(stage.shop.request(prompt="login")))
        assert "code" in (await other_tab.log_in("bankid", "karl")).query
        browser.page = page
        answer = await browser.press("share")
        assert "code" not in answer.query
        assert "share" in (await browser.follow(answer)).ids
