"""
One story in spans, with the broker's own connectors: Google and BankID are the demo's simulators, called over the network,
and the handoff goes to a partner without an OpenID Connect client. What is personal in it is in no span, figure or log line.
"""

import io
import json
import re
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, parse_qsl, urlsplit

import httpx2
import pytest_asyncio
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind

from broker.demo.providers.bankid.people import PEOPLE
from broker.demo.providers.google import ACCOUNTS, GoogleClient, create_app
from broker.observe.tracing import digest
from tests.demo.bankid_server import BankIdServer, bankid_server
from tests.downstream.service import Services, open_services
from tests.journeys.test_canary import PERSONAL, found, payload
from tests.journeys.test_refusals_of_curiosity import listening
from tests.observe.conftest import Watched, watchers
from tests.observe.test_tracing import ALLOWED, attributes
from tests.stage import ISSUER, SECRET, Answer, Browser
from tests.upstream.test_oidc import KEYS, PLAIN, on_loopback

MAJA = next(account for account in ACCOUNTS if account.key == "maja")
ANDERS = PEOPLE["anders"]


@dataclass
class Whole:
    """The stage, what was seen of it, and the people at the providers."""

    services: Services
    watched: Watched
    log: io.StringIO
    bankid: BankIdServer
    secrets: set[str]

    async def by_google(self, browser: Browser) -> Answer:
        """Maja chooses her account there and comes back."""
        gone = await browser.press("method-google")
        async with httpx2.AsyncClient(verify=PLAIN, trust_env=False) as her:
            page = await her.get(gone.location)
            form = {"request": re.search(r'name="request" value="([^"]+)"', page.text)[1], "account": MAJA.key}
            back = await her.post(f"{page.url.copy_with(path='/signin/choose', query=None)}", data=form)
        address = back.headers["location"]
        self.secrets |= {value for _, value in parse_qsl(urlsplit(address).query) if len(value) > 20}
        return await browser.follow(await browser.get(address.removeprefix(ISSUER)))

    async def by_bankid(self, browser: Browser) -> Answer:
        """Anders approves in the app on this device, which sends him back."""
        await browser.follow(await browser.press("method-bankid"))
        await browser.follow(await browser.press("device-same"))
        assert browser.page is not None
        launch = re.search(r'id="launch"[^>]* href="([^"]+)"', browser.page.text)
        assert launch is not None
        token = parse_qs(urlsplit(launch[1].replace("&amp;", "&")).query)["autostarttoken"][0]
        order = self.bankid.simulator.orders.open_by_autostart(token)
        self.bankid.simulator.orders.choose(order.handle, ANDERS.key)
        self.bankid.simulator.orders.approve(order.handle)
        self.secrets |= {token, order.order_ref}
        back = await browser.follow(await browser.get(str(order.request.return_url).removeprefix(ISSUER)))
        self.bankid.clock.advance(3)
        self.services.stage.clock.forward(seconds=3)
        polled = await browser.get(f"{urlsplit(back.url).path}/poll")
        return await browser.follow(await browser.get(polled.json["next"]))

    async def story(self) -> str:
        """Both log in at the shop; Maja is handed over to the depot, which redeems her artifact. The handoff's id."""
        stage, depot = self.services.stage, self.services.depot
        browser, other = stage.browser(), stage.browser()
        await browser.follow(await browser.get(stage.shop.request()))
        at_shop = await stage.shop.exchange(await self.by_google(browser))
        created = await stage.offer(
            at_shop["claims"]["sub"], partner="depot", purpose="storing", payload=payload(), return_uri=RETURN
        )
        await browser.follow(await browser.get(created.json["link"]))
        artifact = await depot.confirmed(browser, await browser.press("share"))
        redeemed = await depot.redeem(artifact)
        handoff = str((await depot.token(redeemed)).claims["handoff"]["id"])
        done = await depot.call(f"/handoffs/{handoff}/acknowledgement", {"result": "booked"})
        assert done.status == 200
        await other.follow(await other.get(stage.shop.request()))
        assert (await stage.shop.exchange(await self.by_bankid(other)))["claims"]["sub"]
        await stage.broker.context.audit.flush()
        self.secrets |= {artifact, redeemed.json["handoff_token"], at_shop["access_token"], created.json["link"][-40:]}
        self.secrets |= {*browser.cookies.values(), *other.cookies.values(), SECRET}
        return handoff

    def below(self, call: ReadableSpan) -> ReadableSpan:
        """The request that made *call*."""
        return next(
            each for each in self.watched.requests
            if each.context and call.parent and each.context.span_id == call.parent.span_id
        )  # fmt: skip


RETURN = "http://127.0.0.1:8701/booking-return"


@pytest_asyncio.fixture
async def whole(prepared_stage: Path, tmp_path: Path) -> AsyncIterator[Whole]:
    """The broker with its own connectors, and both simulators on ports of their own."""
    prepared = tmp_path / "stage" / "prepared"
    shutil.copytree(prepared_stage, prepared)
    telemetry, exporter, metrics = watchers()
    client = GoogleClient("Stafett", SECRET, frozenset({f"{ISSUER}/up/google/callback"}))
    with bankid_server(prepared / "bankid") as bankid, listening() as log:
        async with on_loopback(
            lambda origin: create_app(issuer=origin, clients={"stafett": client}, clock=bankid.clock, keys=KEYS)
        ) as google:
            edit = {
                "https://127.0.0.1:8704/rp/v6.0/": bankid.url,
                "issuer: http://127.0.0.1:8703": f"issuer: {google}",
                '["127.0.0.1:8703"]': json.dumps([urlsplit(google).netloc]),
            }
            async with open_services(prepared, telemetry=telemetry, is_played=False, **edit) as services:
                yield Whole(services, Watched(services.stage, exporter, metrics), log, bankid, set())
                for connector in services.stage.broker.connectors.values():
                    await connector.close()
                # The way out is the broker's, which no server ran and so none ended.
                await services.stage.broker.connectors["google"]._fetcher.close()  # type: ignore[attr-defined]


async def test_the_whole_story_is_in_its_spans(whole: Whole) -> None:
    """Every hop of a handoff by artifact, and each call to a provider below the request that made it."""
    handoff = await whole.story()
    spans, requests = whole.watched.spans, whole.watched.requests
    assert {span.name for span in requests} >= {
        "POST /handoffs",
        "GET /h/{handle}",
        "POST /j/{journey}/consent",
        "GET /arrive",
        "POST /j/{journey}/arrive",
        "POST /handoffs/artifact",
        "POST /handoffs/{id}/acknowledgement",
    }
    calls = [span for span in spans if (span.attributes or {}).get("stafett.upstream")]
    assert {(span.name, whole.below(span).name) for span in calls} == {
        ("google discovery", "POST /j/{journey}/choose"),
        ("google token", "GET /up/{upstream}/callback"),
        ("google keys", "GET /up/{upstream}/callback"),
        ("bankid auth", "POST /j/{journey}/wait"),
        ("bankid collect", "GET /j/{journey}/poll"),
    }
    assert {span.kind for span in calls} == {SpanKind.CLIENT}
    assert attributes(calls, "http.response.status_code") == {200}
    about = [span for span in requests if (span.attributes or {}).get("stafett.handoff") == digest("handoff", handoff)]
    assert {"POST /handoffs", "POST /handoffs/artifact", "POST /handoffs/{id}/acknowledgement"} <= {
        span.name for span in about
    }
    assert {key for span in spans for key in span.attributes or {}} <= ALLOWED
    assert whole.watched.value("handoffs_total", transition="arrived") == 1
    assert whole.watched.value("upstream_call_seconds_count", upstream="google", operation="token", outcome="ok") == 1
    assert whole.watched.value("upstream_call_seconds_count", upstream="bankid", operation="auth", outcome="ok") == 1


async def test_nothing_personal_is_in_it(whole: Whole) -> None:
    """Neither what the providers said of people, nor what was handed over, nor anything that opens something."""
    await whole.story()
    spans = "\n".join(span.to_json() for span in whole.watched.spans)
    people = {MAJA.email, MAJA.name, MAJA.sub, ANDERS.name, ANDERS.personal_number, ANDERS.surname}
    planted = people | set(PERSONAL.values()) | whole.secrets
    assert len(whole.secrets) > 8
    assert found(f"{spans}\n{whole.watched.text}\n{whole.log.getvalue()}", planted) == set()
    assert "google" in spans
    assert whole.log.getvalue().count('"event"') > 10
