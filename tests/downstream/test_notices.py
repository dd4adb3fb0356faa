"""Partners that are slow, down, wrong or gone, and logouts all the same: nothing is lost, nobody waits, nobody is lied to."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from broker.core.assurance import Assurance
from broker.core.logout import Why
from broker.core.notice import Kind
from broker.errors import StoreDown
from broker.stores.ports import Notice, Records
from broker.stores.sql import SqlRecords
from broker.upstream.port import Done, Pending, Reply
from tests.downstream.receiver import Village, open_village
from tests.stage import Answer, Browser, Clock, PlayedConnector


@pytest.fixture
async def village(stage_folder: Path) -> AsyncIterator[Village]:
    """Patient for as long as a test needs it to be seen that nobody waits longer."""
    async with open_village(stage_folder, patience_s=0.2) as opened:
        yield opened


async def gone(village: Village, browser: Browser) -> Answer:
    """She logs out on the broker's own page; what she reads afterwards."""
    return await browser.get((await village.log_out(browser)).location)


@pytest.mark.parametrize("status", [500, 502, 503, 404, 401, 403, 429, 301, 302, 307, 308, 201, 202, 0])
async def test_an_answer_that_is_none_is_tried_again_and_admitted(village: Village, status: int) -> None:
    """Errors, redirects (not followed), another success than the specification's, hanging up: she reads that it failed."""
    village.bakery_server.answers = [status, 200]
    browser = village.stage.browser()
    await village.log_in(browser, village.bakery)
    page = await gone(village, browser)
    assert "still-bakery" in page.ids
    assert "keep trying" in page.text
    (waiting,) = await village.waiting()
    assert waiting.result == ("blocked" if 300 <= status < 400 else str(status) if status else "unreachable")
    assert not await village.is_logged_in(browser)
    await village.round(seconds=5)
    assert await village.waiting() == []
    assert len(village.bakery_server.calls) == 2
    assert "still-bakery" not in (await browser.get(page.url)).ids


async def test_a_refusal_is_final_and_admitted(village: Village) -> None:
    """400 (Back-Channel Logout section 2.8): never again, and the page says that it was not confirmed."""
    village.bakery_server.answers = [400]
    browser = village.stage.browser()
    await village.log_in(browser, village.bakery)
    page = await gone(village, browser)
    assert "did not confirm" in page.text
    await village.round(days=1)
    assert len(village.bakery_server.calls) == 1
    (settled,) = await village.settled()
    assert (settled.state, settled.result) == ("refused", "400")


@pytest.mark.parametrize("status", [200, 204])
async def test_told_is_told_once(village: Village, status: int) -> None:
    """What was delivered is forgotten, and not sent again."""
    village.bakery_server.answers = [status]
    browser = village.stage.browser()
    await village.log_in(browser, village.bakery)
    page = await gone(village, browser)
    assert "told" in page.ids
    assert "still" not in page.ids
    await village.round(days=1)
    assert len(village.bakery_server.calls) == 1
    (settled,) = await village.settled()
    assert (settled.state, settled.sealed) == ("delivered", None)


async def test_a_slow_partner_keeps_nobody_waiting(village: Village) -> None:
    """She reads after a moment that one is told and the other not yet; its late answer still counts."""
    village.bakery_server.gate.clear()
    browser = village.stage.browser()
    await village.log_in(browser, village.bakery, village.dairy)
    async with asyncio.timeout(2):
        page = await gone(village, browser)
    assert "still-bakery" in page.ids
    assert "still-dairy" not in page.ids
    village.bakery_server.gate.set()
    async with asyncio.timeout(2):
        while await village.waiting():
            await asyncio.sleep(0)
    assert "still" not in (await browser.get(page.url)).ids


async def test_a_partner_that_is_down_for_hours_is_told_when_it_is_back(village: Village) -> None:
    """With a fresh token: an old one would be refused as expired."""
    village.bakery_server.answers = [503, 503, 503, 200]
    browser = village.stage.browser()
    await village.log_in(browser, village.bakery)
    await gone(village, browser)
    for _ in range(3):
        await village.round(hours=2)
    assert await village.waiting() == []
    tokens = [await village.logout_token(call) for call in village.bakery_server.calls]
    assert tokens[-1]["iat"] == int(village.stage.clock.now.timestamp())
    assert len({token["jti"] for token in tokens}) == 4
    assert len({token["sid"] for token in tokens}) == 1


async def test_after_a_day_it_is_given_up_and_kept_for_the_operator(village: Village) -> None:
    """Until `stafett logouts retry` has it told after all."""
    village.bakery_server.answers = [503]
    browser = village.stage.browser()
    await village.log_in(browser, village.bakery)
    await gone(village, browser)
    for _ in range(40):
        await village.round(hours=1)
    (settled,) = await village.settled()
    assert settled.state == "given_up"
    calls = len(village.bakery_server.calls)
    await village.round(days=3)
    assert len(village.bakery_server.calls) == calls < 30
    village.bakery_server.answers = [200]
    now = village.stage.clock.now
    assert await village.stage.records.revive_notices(now, now + (settled.give_up_at - settled.created_at)) == 1
    await village.round()
    assert (await village.settled())[0].state == "delivered"


async def test_two_brokers_share_the_work_and_never_tell_at_once(village: Village) -> None:
    """Both look at the same moment: each notice is told by one."""
    village.bakery_server.answers = [503]
    for _ in range(6):
        browser = village.stage.browser()
        await village.log_in(browser, village.bakery)
        await gone(village, browser)
    village.bakery_server.answers, calls = [200], len(village.bakery_server.calls)
    village.stage.clock.forward(minutes=1)
    notices = village.stage.broker.notices
    await asyncio.gather(notices.round(), notices.round(), notices.round())
    assert len(village.bakery_server.calls) == calls + 6
    assert village.bakery_server.most_at_once <= 4
    assert await village.waiting() == []


async def test_a_process_that_dies_after_writing_it_down_leaves_it_to_the_others(village: Village) -> None:
    """Between the write and the call nothing is lost: when the lease is over, somebody else tells it."""
    stage = village.stage
    await stage.broker.notices.stop()
    browser = stage.browser()
    await village.log_in(browser, village.bakery)
    await gone(village, browser)
    assert village.bakery_server.calls == []
    assert len(await village.waiting()) == 1
    await village.round(seconds=29)
    assert village.bakery_server.calls == []
    await village.round(seconds=1)
    assert len(village.bakery_server.calls) == 1
    assert await village.waiting() == []


async def test_it_is_written_down_before_the_session_is_gone(stage_folder: Path) -> None:
    """A store that fails in between: she is still logged in, and the partner hears too much rather than too little."""

    class Dying:
        def __init__(self, inner: Records) -> None:
            self._inner = inner
            self.order: list[str] = []

        def __getattr__(self, name: str) -> object:
            if name in {"add_notices"}:
                self.order.append(name)
            return getattr(self._inner, name)

    seen: list[Dying] = []

    def wrap(inner: Records) -> Records:
        seen.append(Dying(inner))
        return seen[0]  # type: ignore[return-value]

    async with open_village(stage_folder, wrap=wrap) as village:
        browser = village.stage.browser()
        await village.log_in(browser, village.bakery)
        run = village.stage.state.run

        async def fails(*ops: object) -> object:
            if any(type(op).__name__ == "Take" and "session:" in op.key for op in ops):  # type: ignore[attr-defined]
                raise StoreDown("played to be down")
            return await run(*ops)  # type: ignore[arg-type]

        village.stage.state.run = fails  # type: ignore[method-assign, assignment]
        assert (await village.log_out(browser)).status == 503
        village.stage.state.run = run  # type: ignore[method-assign]
        assert seen[0].order == ["add_notices"]
        assert await village.is_logged_in(browser)


async def test_without_a_database_she_is_logged_out_and_partners_are_told_once(stage_folder: Path) -> None:
    """Better than being kept logged in; the log says that nothing was kept."""

    class Away:
        def __init__(self, inner: SqlRecords) -> None:
            self._inner = inner

        def __getattr__(self, name: str) -> object:
            if name.endswith("_notices") or name in {"settle_notice", "notices_of", "notices_waiting"}:

                async def down(*_: object, **__: object) -> None:
                    raise StoreDown("played to be down")

                return down
            return getattr(self._inner, name)

    async with open_village(stage_folder, wrap=lambda inner: Away(inner)) as village:
        browser = village.stage.browser()
        await village.log_in(browser, village.bakery)
        page = await gone(village, browser)
        assert page.status == 200
        assert len(village.bakery_server.calls) == 1
        assert not await village.is_logged_in(browser)


async def test_a_partner_without_any_channel_is_named(village: Village) -> None:
    """The museum cannot be told: she reads it, with a way there."""
    browser = village.stage.browser()
    await village.log_in(browser, village.museum)
    page = await gone(village, browser)
    assert "still-museum" in page.ids
    assert "on its own site only" in page.text


async def test_the_partner_that_asked_is_not_among_those(village: Village) -> None:
    """It ended its own session before; but one that somebody only pretends asked is."""
    browser = village.stage.browser()
    (given,) = await village.log_in(browser, village.museum)
    bye = {"id_token_hint": given["id_token"], "post_logout_redirect_uri": "https://museum.example/bye"}
    assert (await browser.get(f"/logout?{urlencode(bye)}")).location == "https://museum.example/bye"
    other = village.stage.browser()
    await village.log_in(other, village.museum, who="karl", method="google")
    await other.follow(await other.get(f"/logout?{urlencode(bye)}"))
    page = await other.follow(await other.press("log-out"))
    assert "still-museum" in page.ids


async def test_with_something_to_tell_she_is_not_sent_on_unasked(village: Village) -> None:
    """One partner does not answer: she reads so, and goes on by herself."""
    village.dairy_server.answers = [500]
    browser = village.stage.browser()
    bakery, _ = await village.log_in(browser, village.bakery, village.dairy)
    bye = {"id_token_hint": bakery["id_token"], "post_logout_redirect_uri": "https://bakery.example/bye", "state": "x"}
    page = await browser.follow(await browser.get(f"/logout?{urlencode(bye)}"))
    assert {"still-dairy", "onward"} <= page.ids
    assert "http-equiv" not in page.text
    assert 'href="https://bakery.example/bye?state=x"' in page.text


async def test_private_addresses_are_not_called(stage_folder: Path) -> None:
    """The fetcher's rules hold here too (SSRF): an address the operator did not allow is never connected to."""
    edit = {"    allow_private_networks:\n      - 127.0.0.0/8\n": "    allow_private_networks:\n      - 10.9.0.0/16\n"}
    async with open_village(stage_folder, edit=edit) as village:
        browser = village.stage.browser()
        await village.log_in(browser, village.bakery)
        page = await gone(village, browser)
        assert "still-bakery" in page.ids
        assert village.bakery_server.calls == []
        assert [each.result for each in await village.waiting()] == ["blocked"]


async def test_running_out_of_time_tells_nobody(village: Village) -> None:
    """Idle or old: the session is no more, and that is no logout."""
    browser = village.stage.browser()
    await village.log_in(browser, village.bakery)
    village.stage.clock.forward(hours=9)
    assert not await village.is_logged_in(browser)
    await browser.get("/logout")
    assert await village.waiting() == [] == await village.settled()
    assert village.bakery_server.calls == []


async def test_another_customer_on_this_browser_ends_the_first_ones_session(village: Village) -> None:
    """Replaced means ended: the first one's partners are told."""
    browser = village.stage.browser()
    await village.log_in(browser, village.bakery)
    village.stage.clock.forward(minutes=5)
    await browser.follow(await browser.get(village.dairy.request(prompt="login")))
    await browser.log_in("google", "karl")
    async with asyncio.timeout(2):
        await village.bakery_server.called.wait()
    await village.stage.broker.context.audit.flush()
    assert village.dairy_server.calls == []


async def test_logging_in_again_as_herself_ends_nothing(village: Village) -> None:
    """The session goes on, with the sids its partners know: a logout later reaches all of them."""
    browser = village.stage.browser()
    (first,) = await village.log_in(browser, village.bakery)
    village.stage.clock.forward(minutes=5)
    await browser.follow(await browser.get(village.dairy.request(prompt="login")))
    await browser.log_in("bankid", "maja")
    assert village.bakery_server.calls == []
    await gone(village, browser)
    (call,) = village.bakery_server.calls
    assert (await village.logout_token(call))["sid"] == first["claims"]["sid"]
    assert len(village.dairy_server.calls) == 1


class Patient(PlayedConnector):
    """Its provider takes its time, and something else happens meanwhile."""

    async def resume(self, state: bytes, reply: Reply) -> Done | Pending:
        if "meanwhile" in reply.data:
            await self.meanwhile()
        return await super().resume(state, reply)

    async def meanwhile(self) -> None:
        """Given by the test."""


async def test_a_partner_that_came_while_the_provider_was_asked_is_told(stage_folder: Path) -> None:
    """Another tab logs in at the dairy while this one logs in anew: a logout later reaches the dairy."""

    def cast(clock: Clock) -> dict[str, PlayedConnector]:
        return {"bankid": Patient("bankid", Assurance.SUBSTANTIAL, clock)}

    async with open_village(stage_folder, patience_s=0.2, cast=cast) as village:
        browser = village.stage.browser()
        await village.log_in(browser, village.bakery)
        village.stage.clock.forward(minutes=5)
        await browser.follow(await browser.get(village.bakery.request(prompt="login")))
        state = (await browser.press("method-bankid")).query["state"]
        connector = village.stage.connectors["bankid"]
        assert isinstance(connector, Patient)
        given = []

        async def meanwhile() -> None:
            given.extend(await village.log_in(browser.copy(), village.dairy))

        connector.meanwhile = meanwhile  # type: ignore[method-assign]
        asked = {"state": state, "who": "maja", "meanwhile": "1"}
        assert "code" in (await browser.get(f"/up/bankid/callback?{urlencode(asked)}")).query
        await gone(village, browser)
        assert len(village.bakery_server.calls) == 1
        (call,) = village.dairy_server.calls
        assert (await village.logout_token(call))["sid"] == given[0]["claims"]["sid"]


async def test_the_notice_tells_nothing_to_who_reads_the_database(village: Village) -> None:
    """Subject and sid stand sealed, each bound to its row."""
    village.bakery_server.answers = [503]
    browser = village.stage.browser()
    (given,) = await village.log_in(browser, village.bakery)
    await gone(village, browser)
    (waiting,) = await village.waiting()
    assert given["claims"]["sid"].encode() not in (waiting.sealed or b"")
    moved = Notice(**{**{name: getattr(waiting, name) for name in Notice.__struct_fields__}, "id": "elsewhere"})
    await village.stage.records.add_notices([moved])
    village.bakery_server.answers, before = [200], len(village.bakery_server.calls)
    await village.round(minutes=1)
    assert len(village.bakery_server.calls) == before + 1
    assert {each.result for each in await village.settled()} == {"200", "unreadable"}


async def test_a_partner_that_left_is_not_called(village: Village) -> None:
    """Its address is read from the config of now, and there is none."""
    outbox = village.stage.broker.context.outbox
    context = village.stage.broker.context
    life = context.policy().broker.lifetimes.logout_notice
    await outbox.post(
        [
            outbox.notice(
                "n1", Kind.LOGOUT, "b1", partner="closed", customer="c", content={"sub": "s", "sid": "x"}, life=life
            )
        ]
    )
    async with asyncio.timeout(2):
        while await village.waiting():
            await asyncio.sleep(0)
    assert [each.result for each in await village.settled()] == ["no_address"]


async def test_a_logout_token_is_nothing_else(village: Village) -> None:
    """Cross-JWT confusion: it opens neither the logout endpoint as a hint, nor the token endpoint, nor userinfo."""
    browser = village.stage.browser()
    await village.log_in(browser, village.bakery)
    await gone(village, browser)
    (call,) = village.bakery_server.calls
    other = village.stage.browser()
    await village.log_in(other, village.bakery)
    bye = {"id_token_hint": call.token, "post_logout_redirect_uri": "https://bakery.example/bye"}
    assert (await other.get(f"/logout?{urlencode(bye)}")).status == 400
    hinted = await other.get(village.bakery.request(prompt="none", id_token_hint=call.token))
    assert hinted.query["error"] == "invalid_request"
    assert (await village.bakery.userinfo(call.token)).status == 401
    assert (await village.bakery.token(call.token)).json["error"] == "invalid_grant"
    assert await village.is_logged_in(other)


async def test_the_operator_reads_what_became_of_it(village: Village) -> None:
    """The audit trail names the end, why, and each partner's answer."""
    village.dairy_server.answers = [400]
    browser = village.stage.browser()
    await village.log_in(browser, village.bakery, village.dairy)
    await gone(village, browser)
    context = village.stage.broker.context
    await context.audit.flush()
    (notice,) = [each for each in await village.settled() if each.partner == "dairy"]
    assert notice.customer is not None
    trail = {each.action: each for each in await village.stage.records.audit_of(notice.customer, 50)}
    assert f'"why":"{Why.CUSTOMER.value}"' in trail["session.ended"].facts
    assert trail["logout.delivered"].partner == "bakery"
    assert (trail["logout.refused"].partner, '"result":"400"' in trail["logout.refused"].facts) == ("dairy", True)
