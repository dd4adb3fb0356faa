"""From the config to senders, and what is told of each message."""

import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from broker.core.policy import BrokerSettings
from broker.demo.providers.mailbox import Mailbox
from broker.demo.providers.sms_gateways import Fault, SmsGateways, create_app
from broker.notify.build import Senders, Workshop
from broker.notify.ports import Accepted, Mail, Rejected, Sms
from broker.observe.logging import configure
from broker.observe.metrics import Metrics
from broker.observe.telemetry import Telemetry
from broker.wire.http import Fetcher
from tests.notify.places import Clock, certificates, on_loopback

SECRETS = {"env:U": "u1", "env:P": "right", "env:H": "Bearer right", "env:SMTP": "right"}
TO = "+46701740605"


class References:
    def path(self, name: str) -> Path:
        return Path(name)

    def secret(self, reference: str) -> str:
        return SECRETS[reference]


class Built:
    """Senders of a config, the places they lead to, and what is told of them."""

    def __init__(self, senders: Senders, box: Mailbox, gateways: SmsGateways, metrics: Metrics) -> None:
        self.mail, self.sms, self.senders = senders.messages.mail, senders.messages.sms, senders
        self.box, self.gateways, self.metrics = box, gateways, metrics

    def figure(self, **labels: str) -> float:
        wanted = [f'{name}="{value}"' for name, value in labels.items()]
        lines = self.metrics.render()[0].decode().splitlines()
        return sum(
            float(line.rsplit(" ", 1)[1])
            for line in lines
            if line.startswith("stafett_messages_total{") and all(each in line for each in wanted)
        )


@pytest_asyncio.fixture
async def built(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Built]:
    server_tls, _, authority = certificates(tmp_path_factory.getbasetemp())
    box = Mailbox(Clock(), accounts={"login": "right"}, tls=server_tls)
    listening = await box.listen()
    gateways = SmsGateways(Clock(), elks={"u1": "right"}, bearer="right")
    async with on_loopback(create_app(gateways)) as origin:
        form = {"to": "{to}", "text": "{text}", "from": "Nordhjul"}
        broker = BrokerSettings.model_validate(
            {
                "issuer": "https://login.example",
                "mail": {
                    "driver": "smtp",
                    "host": "127.0.0.1",
                    "port": listening.port,
                    "ca": authority,
                    "username": "login",
                    "password": "env:SMTP",
                    "from": "login@login.example",
                },
                "sms": {
                    "countries": ("SE",),
                    "gateways": (
                        {
                            "driver": "46elks",
                            "api_url": f"{origin}/a1/sms",
                            "username": "env:U",
                            "password": "env:P",
                            "from": "Nordhjul",
                        },
                        {
                            "driver": "http",
                            "name": "spare",
                            "url": f"{origin}/send",
                            "form": form,
                            "headers": {"Authorization": "env:H"},
                        },
                    ),
                },
            }
        )
        fetcher = Fetcher(allow_private_networks=["127.0.0.0/8"])
        metrics = Metrics(upstreams=[], partners=[], senders=["smtp", "46elks", "spare"])
        telemetry = Telemetry(metrics=metrics)
        telemetry.listens()
        senders = Workshop(broker, References(), fetcher, telemetry.sender, Clock()).senders()
        yield Built(senders, box, gateways, metrics)
        await senders.messages.close()
        await fetcher.close()
    await listening.close()


async def test_mail_goes_where_the_config_says(built: Built) -> None:
    """By STARTTLS, with the password, to a server whose authority the config names; in the broker's name."""
    assert built.mail is not None
    sent = await built.mail.send(Mail("maja@example.com", "Kod", "123456"), "r1")
    assert sent == Accepted("r1", by="smtp")
    assert built.box.mails[0].headers["From"] == "Stafett <login@login.example>"
    assert built.figure(way="mail", by="smtp", outcome="accepted") == 1


async def test_the_second_gateway_steps_in(built: Built) -> None:
    """Each is counted by itself."""
    assert built.sms is not None
    built.gateways.elks = {}
    sent = await built.sms.send(Sms(TO, "Kod"), "r1")
    assert isinstance(sent, Accepted)
    assert sent.by == "spare"
    assert built.figure(way="sms", by="46elks", outcome="account") == 1
    assert built.figure(way="sms", by="spare", outcome="accepted") == 1
    assert [text.by for text in built.gateways.texts] == ["http"]


@pytest.fixture
def logged() -> io.StringIO:
    """What is logged from now on, as JSON lines."""
    stream = io.StringIO()
    configure(stream=stream)
    return stream


async def test_one_line_tells_what_became_of_a_message(built: Built, logged: io.StringIO) -> None:
    """Whose, how long, what it cost; never for whom or what (docs/events.md)."""
    assert built.sms is not None
    assert built.mail is not None
    await built.sms.send(Sms(TO, "Kod 424242"), "r1")
    built.gateways.switch(Fault.BAD_NUMBER)
    assert isinstance(await built.sms.send(Sms(TO, "Kod 424242"), "r2"), Rejected)
    await built.mail.send(Mail("maja@nowhere", "Kod", "424242"), "r3")
    told = logged.getvalue()
    lines: list[dict[str, Any]] = [json.loads(line) for line in told.splitlines()]
    shown = [(line["event"], line["level"], line["by"], line["ref"], line.get("why")) for line in lines]
    assert shown == [
        ("message.accepted", "info", "46elks", "r1", None),
        ("message.rejected", "warning", "46elks", "r2", "content"),
        ("message.rejected", "warning", "spare", "r2", "content"),
        ("message.rejected", "warning", "smtp", "r3", "recipient"),
    ]
    assert lines[0]["cost"] == "0.35"
    assert "701740605" not in told
    assert "maja" not in told
    assert "424242" not in told
