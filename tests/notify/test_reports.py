"""Where gateways report: who is believed, and that nothing but a figure comes of it."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

import httpx2
import pytest
import pytest_asyncio
from starlette.applications import Starlette

from broker.demo.providers.sms_gateways import twilio_signature
from broker.notify.routes import Reports, report_path
from broker.observe.metrics import Metrics
from broker.observe.telemetry import Telemetry
from broker.wire.http import Fetcher
from tests.notify.places import gateway_of, settings_of

ORIGIN = "https://login.example"
TWILIO = f"{ORIGIN}{report_path('twilio')}"
DELIVERED = {"MessageSid": "SM1", "MessageStatus": "delivered"}


@dataclass
class Endpoint:
    client: httpx2.AsyncClient
    metrics: Metrics
    elks_key: str

    async def post(self, path: str, form: Mapping[str, str] | str, **headers: str) -> int:
        body = form if isinstance(form, str) else urlencode(form)
        sent = {"content-type": "application/x-www-form-urlencoded", **headers}
        return (await self.client.post(path, content=body, headers=sent)).status_code

    def counted(self) -> dict[str, float]:
        lines = self.metrics.render()[0].decode().splitlines()
        found = (line.rsplit(" ", 1) for line in lines if line.startswith("stafett_message_reports_total{"))
        return {labels.removeprefix("stafett_message_reports_total"): float(value) for labels, value in found}


@pytest_asyncio.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    fetcher = Fetcher()
    twilio = gateway_of("twilio", settings_of("twilio", ORIGIN), fetcher, TWILIO)
    elks = gateway_of("46elks", settings_of("46elks", ORIGIN), fetcher, f"{ORIGIN}{report_path('46elks')}")
    metrics = Metrics(upstreams=[], partners=[], senders=["twilio", "46elks"])
    app = Starlette(routes=Reports({"twilio": twilio, "46elks": elks}).routes())
    watched = Telemetry(metrics=metrics).watched(app, quiet=frozenset())
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=watched), base_url=ORIGIN) as client:
        yield Endpoint(client, metrics, elks._report_uri.rpartition("/")[2])


async def test_a_signed_report_is_counted(endpoint: Endpoint) -> None:
    """Twilio's, as often as it comes."""
    signature = twilio_signature("right", TWILIO, DELIVERED)
    for _ in range(2):
        assert await endpoint.post(report_path("twilio"), DELIVERED, **{"x-twilio-signature": signature}) == 204
    assert endpoint.counted() == {'{by="twilio",outcome="delivered"}': 2}


async def test_a_report_with_the_key_is_counted(endpoint: Endpoint) -> None:
    """46elks signs nothing; only it was told the address."""
    path = f"{report_path('46elks')}/{endpoint.elks_key}"
    assert await endpoint.post(path, {"id": "s1", "status": "failed"}) == 204
    assert endpoint.counted() == {'{by="46elks",outcome="failed"}': 1}


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        (report_path("46elks"), {}),
        (f"{report_path('46elks')}/{'0' * 40}", {}),
        (report_path("twilio"), {}),
        (report_path("twilio"), {"x-twilio-signature": "AAAAAAAAAAAAAAAAAAAAAAAAAAA="}),
        (f"{report_path('twilio')}/KEY", {}),
    ],
)
async def test_who_proves_nothing_is_not_believed(endpoint: Endpoint, path: str, headers: dict[str, str]) -> None:
    """Nor is the key of one good for the other."""
    assert await endpoint.post(path.replace("KEY", endpoint.elks_key), DELIVERED, **headers) == 403
    assert endpoint.counted() == {}


async def test_a_gateway_that_is_none_has_no_address(endpoint: Endpoint) -> None:
    """Whatever is posted there."""
    assert await endpoint.post(report_path("unknown"), DELIVERED) == 404


@pytest.mark.parametrize(
    "body",
    [
        "MessageStatus=delivered&MessageStatus=failed",
        "x=" + "y" * 20_000,
        "&".join(f"f{number}=1" for number in range(60)),
        "a=%ff",
    ],
)
async def test_what_is_no_form_of_theirs_is_refused(endpoint: Endpoint, body: str) -> None:
    """Twice the same field, too long, too many, not text."""
    signature = twilio_signature("right", TWILIO, DELIVERED)
    assert await endpoint.post(report_path("twilio"), body, **{"x-twilio-signature": signature}) == 400
    assert endpoint.counted() == {}


def test_without_gateways_that_report_there_is_nothing() -> None:
    """No address at all."""
    assert Reports({}).routes() == []
