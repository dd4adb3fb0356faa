"""What an attacker would think of: each of these worked once."""

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

from broker.cli.serve import bind, server
from broker.core.changing import replace
from broker.flows import login
from broker.stores.memory import MemoryState
from broker.stores.ports import Drop, Op, Put, PutNew
from tests.stage import Partner, Stage, open_stage


class TestARefusalIsNobodyElsesBusiness:
    """The source has the link of its own offer; what the link shows a stranger, it shows the source."""

    async def test_the_link_of_a_declined_offer_looks_as_before(self, staged: Stage) -> None:
        """She says no: the page a stranger gets is the one that everybody gets before anybody decided."""
        browser, stranger = staged.browser(), staged.browser()
        at_shop = await staged.shop_login(browser)
        link = (await staged.offer(at_shop["claims"]["sub"])).json["link"]
        before = await stranger.follow(await stranger.get(link))
        await browser.follow(await browser.get(link))
        assert "ref" in (await browser.press("continue-guest")).query
        after = await stranger.follow(await stranger.get(link))
        assert after.ids == before.ids
        assert "continue" in after.ids
        assert "continue-guest" in (await browser.follow(await browser.get(link))).ids

    async def test_nor_does_somebody_else_who_logs_in_learn_it(self, staged: Stage) -> None:
        """Whoever logs in as another customer reads that the offer is somebody else's, as before the refusal."""
        browser, other = staged.browser(), staged.browser()
        at_shop = await staged.shop_login(browser)
        link = (await staged.offer(at_shop["claims"]["sub"])).json["link"]
        await browser.follow(await browser.get(link))
        await browser.press("continue-guest")
        await staged.shop_login(other, who="karl")
        assert "switch" in (await other.follow(await other.get(link))).ids


class TestAFreshLoginIsOne:
    """prompt=login and max_age speak of the customer, not of our session (docs/security.md A13)."""

    async def test_an_old_login_in_another_tab_does_not_answer_prompt_login(self, staged: Stage) -> None:
        """A second tab asks for no fresh login and gets a new session from the provider's old one: not fresh."""
        browser = staged.browser()
        await browser.follow(await browser.get(staged.shop.request(prompt="login")))
        waiting = browser.page
        staged.clock.forward(minutes=1)
        staged.connectors["google"].authenticated_at = staged.clock.now - timedelta(days=30)
        tab = browser.copy()
        await tab.follow(await tab.get(staged.garage.request()))
        await tab.log_in("google", "maja")
        assert waiting is not None
        back = await browser.get(waiting.url)
        assert "code" not in back.query
        assert "method-bankid" in back.ids

    async def test_a_login_of_unknown_age_is_told_no_time(self, staged: Stage) -> None:
        """A provider that does not say when it authenticated lends its session no auth_time, nor serves max_age."""
        browser = staged.browser()
        staged.connectors["google"].tells_time = False
        first = await staged.shop_login(browser, "google")
        assert "auth_time" not in first["claims"]
        silent = await browser.get(staged.shop.request(max_age="3600", prompt="none"))
        assert silent.query["error"] == "login_required"
        assert "code" in (await browser.get(staged.shop.request(prompt="none"))).query


async def test_an_answer_under_another_config_is_asked_for_again(stage_folder: Path) -> None:
    """What she may leave out on the page becomes required meanwhile: her unticked box is not overruled in silence."""
    state = MemoryState()
    now_required = {
        "        - customer.email\n        - customer.phone\n": "        - customer.phone\n",
        "        - order.reference\n": "        - order.reference\n        - customer.email\n",
    }
    async with (
        open_stage(stage_folder, state=state) as old,
        open_stage(stage_folder, state=state, edit=now_required) as new,
    ):
        before, after = old.browser(), new.browser()
        at_shop = await old.shop_login(before)
        created = await old.offer(at_shop["claims"]["sub"])
        page = await before.follow(await before.get(created.json["link"]))
        assert 'value="customer.email"' in page.text
        after.cookies, after.page = before.cookies, page
        again = await after.follow(await after.press("share"))
        assert "login_hint" not in again.query
        assert "share" in again.ids
        assert "login_hint" in (await after.press("share")).query


class TestNobodyFillsTheStore:
    """What costs us memory or a provider's patience is counted, or not done for strangers at all."""

    async def test_invented_callbacks_leave_nothing_behind(
        self, staged: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Neither a state that never was, nor a real one with cookies made up for each request."""
        browser = staged.browser()
        await browser.follow(await browser.get(staged.shop.request()))
        state = (await browser.press("method-google")).query["state"]
        run, written = staged.state.run, []

        async def watched(*ops: Any) -> Any:
            written.extend(op.key for op in ops if isinstance(op, Put | PutNew))
            return await run(*ops)

        monkeypatch.setattr(staged.state, "run", watched)
        for index, sent in enumerate([state, f"{state.partition('.')[0]}.x", "invented.x"]):
            stranger = staged.browser()
            stranger.cookies = {"__Host-stafett-browser": f"{index:043d}"}
            answer = await stranger.get(f"/up/google/callback?state={sent}&who=maja")
            assert answer.status in {403, 410}
        assert written == []
        monkeypatch.undo()
        assert "code" in (await browser.get(f"/up/google/callback?state={state}&who=maja")).query

    async def test_logins_opened_at_providers_are_counted(self, staged: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        """One journey, one button, pressed without end: the provider hears of it a limited number of times."""
        monkeypatch.setattr(login, "_OPENED_PER_MINUTE", 3)
        browser = staged.browser()
        await browser.follow(await browser.get(staged.shop.request()))
        page = browser.page
        answers = []
        for _ in range(5):
            browser.page = page
            answers.append((await browser.press("method-google")).status)
        assert answers == [200, 200, 200, 429, 429]
        assert len(staged.connectors["google"].asks) == 3


@pytest.mark.parametrize("endless", [b"a" * 1000, b"x: " + b"a" * 995 + b"\r\n"], ids=["one header", "many headers"])
async def test_headers_without_end_are_hung_up_on(endless: bytes, staged: Stage) -> None:
    """The HTTP parser has no bound of its own: one connection took all memory there was."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await receive()
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body", "body": b""})

    listening = bind("127.0.0.1", 0, "test")
    running = server(replace(staged.broker, app=application))
    running.config.lifespan = "off"
    serving = asyncio.create_task(running.serve(sockets=[listening]))
    try:
        reader, writer = await asyncio.open_connection(*listening.getsockname())
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"b" * 8000 + b"\r\n\r\n")
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 204")
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: ")
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < 5_000_000:
                writer.write(endless)
                await writer.drain()
                sent += len(endless)
        assert sent < 5_000_000
        assert b"204" not in await reader.read()
    except ConnectionError:
        pass
    finally:
        running.should_exit = True
        await serving


async def test_what_the_operator_took_out_is_not_read_any_more(stage_folder: Path) -> None:
    """She agreed and the garage fetched; a field that left the agreement since then does not leave the broker."""
    state = MemoryState()
    narrower = {"        - customer.email\n        - customer.phone\n": "        - customer.email\n"}
    async with (
        open_stage(stage_folder, state=state) as old,
        open_stage(stage_folder, state=state, edit=narrower) as new,
    ):
        browser = old.browser()
        at_shop = await old.shop_login(browser)
        created = await old.offer(at_shop["claims"]["sub"])
        await browser.follow(await browser.get(created.json["link"]))
        started = await browser.press("share", ("field", "customer.email"), ("field", "customer.phone"))
        tokens = await old.garage.exchange(await old.arrive(browser, started))
        at = created.json["handoff_id"], tokens["access_token"]
        assert set((await old.garage.read(*at)).json["claims"]["customer"]) == {"name", "email", "phone"}
        assert set((await new.garage.read(*at)).json["claims"]["customer"]) == {"name", "email"}


async def test_nor_is_a_claim_of_the_login_told_any_more(stage_folder: Path) -> None:
    """A refresh token lives a month: what it still tells of the customer, in either place, is what the partner may get today."""
    state = MemoryState()
    may_stay = {"      client_id: nordhjul-web\n": "      client_id: nordhjul-web\n      refresh_tokens: {}\n"}
    narrower = {"      claims: [name, email]": "      claims: [name]"}
    async with (
        open_stage(stage_folder, state=state, edit=may_stay) as old,
        open_stage(stage_folder, state=state, edit=may_stay | narrower) as new,
    ):
        browser = old.browser()
        asked = old.shop.request(scope="openid profile email offline_access", claims='{"id_token": {"email": null}}')
        await browser.follow(await browser.get(asked))
        given = await old.shop.exchange(await browser.log_in("google", "maja"))
        assert given["claims"]["email"] == "maja@example.com"
        told = (await new.shop.userinfo(given["access_token"])).json
        assert told.keys() == {"sub", "name"}
        form = {"grant_type": "refresh_token", "refresh_token": given["refresh_token"]}
        refreshed = (await new.client.post("/token", data=form, auth=new.shop.auth)).json()
        assert not {"email", "email_verified"} & (await new.id_token(refreshed["id_token"])).keys()
        assert "email" not in (await new.shop.userinfo(refreshed["access_token"])).json


_AN_APP = {
    "\npartners:\n": """
partners:
  app:
    names: {en: App}
    home_uri: https://app.example/
    oidc: {client_id: some-app, auth: none, redirect_uris: [https://app.example/cb]}
    login: {upstreams: [google], claims: [name], consent: implied}
"""
}


async def test_what_is_too_much_does_not_fill_the_store(stage_folder: Path) -> None:
    """The store is everybody's: what one address is refused leaves nothing there, be it a login or an app's pushed request."""
    store = MemoryState()
    async with open_stage(stage_folder, state=store, edit=_AN_APP) as stage:
        app = Partner(stage, "some-app", "https://app.example/cb")
        digest = stage.broker.context.lookup.digest("address", "127.0.0.1")[:32]
        await stage.state.run(*(Put(f"rate:{what}:{digest}", b"299", 60) for what in ("journeys", "pushed")))
        for expected in (201, 429):
            pushed = await stage.client.post("/par", data=dict(parse_qsl(app.request().partition("?")[2])))
            assert pushed.status_code == expected
        assert pushed.headers["retry-after"] == "60"
        for expected in (303, 429):
            assert (await stage.browser().get(stage.shop.request())).status == expected
        kinds = [key.partition(":")[0] for key in store._entries]
        assert (kinds.count("pushed"), kinds.count("journey")) == (1, 1)


async def test_codes_that_nobody_redeems_are_soon_forgotten(stage_folder: Path) -> None:
    """What a refresh token needs for weeks is kept from its first token on, not from every request that might lead to one."""
    may_stay = {"      client_id: nordhjul-web\n": "      client_id: nordhjul-web\n      refresh_tokens: {}\n"}
    async with open_stage(stage_folder, edit=may_stay) as stage:
        stage.shop.scope = "openid offline_access"
        browser = stage.browser()
        tokens = await stage.shop_login(browser)
        for _ in range(3):
            assert "code" in (await browser.get(stage.shop.request(prompt="none"))).query
        stage.clock.forward(minutes=11)
        form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
        assert (await stage.client.post("/token", data=form, auth=stage.shop.auth)).status_code == 200
        assert isinstance(store := stage.state, MemoryState)
        assert sum(key.startswith("grant:") for key in store._entries) == 1


async def test_a_logout_that_is_faster_leaves_no_partner_logged_in_unknown(stage_folder: Path) -> None:
    """Another tab logs out while the garage is being answered for the first time: nobody would tell it, so it gets no code."""

    class Faster(MemoryState):
        is_armed = False

        async def run(self, *ops: Op) -> Sequence[Any]:
            if self.is_armed and any(isinstance(op, PutNew) and op.key.startswith("code:") for op in ops):
                for key in [key for key in self._entries if key.startswith("session:")]:
                    await super().run(Drop(key))
            return await super().run(*ops)

    store = Faster()
    implied = {"      consent: ask\n": "      consent: implied\n"}
    async with open_stage(stage_folder, state=store, edit=implied) as stage:
        browser = stage.browser()
        await stage.shop_login(browser)
        store.is_armed = True
        answer = await browser.get(stage.garage.request())
        assert "code" not in answer.query
        assert answer.status == 410


async def test_refresh_tokens_end_when_the_operator_says_so(stage_folder: Path) -> None:
    """A family that began while the partner might have one ends with the switch, not after its thirty days."""
    state = MemoryState()
    allowed = {"      client_id: nordhjul-web\n": "      client_id: nordhjul-web\n      refresh_tokens: {}\n"}
    async with (
        open_stage(stage_folder, state=state, edit=allowed) as old,
        open_stage(stage_folder, state=state) as new,
    ):
        old.shop.scope = "openid offline_access"
        given = (await old.shop_login(old.browser()))["refresh_token"]
        form = {"grant_type": "refresh_token", "refresh_token": given}
        assert (await new.client.post("/token", data=form, auth=new.shop.auth)).status_code == 400
        assert (await old.client.post("/token", data=form, auth=old.shop.auth)).status_code == 200


async def test_the_way_back_to_the_shop_does_not_tell_of_a_refusal(staged: Stage) -> None:
    """She said no and goes back: the shop reads the same as after any cancellation."""
    browser = staged.browser()
    at_shop = await staged.shop_login(browser)
    created = await staged.offer(at_shop["claims"]["sub"])
    await browser.follow(await browser.get(created.json["link"]))
    await browser.press("continue-guest")
    page = await browser.follow(await browser.get(created.json["link"]))
    assert "back-to-shop" in page.ids
    assert "handoff=cancelled" in page.text
    assert "handoff=declined" not in page.text
