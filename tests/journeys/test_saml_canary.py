"""
The canary (docs/security.md F1) at service providers: nothing of a customer, a message or a RelayState is in a log line, a span,
a metric, the database, a file, or (what is personal) an address.
"""

import base64
import io
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote_plus

import pytest
import pytest_asyncio

from broker.observe.logging import configure
from tests.downstream.saml_party import Party, open_party
from tests.observe.conftest import Watched, watchers
from tests.stage import PEOPLE, Answer, Browser

NAME, EMAIL = "Kanarina Fjäderholm", "kanarina@fjaderholm.example"
STATE, ID, PURPOSE, WHO = "kanarierelay", "_kanarieid", "kanarieprovider", "kanarina"
FORMAT = "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress"


@dataclass
class Listened:
    """The broker, all that it says to operators, and all addresses."""

    party: Party
    watched: Watched
    stream: io.StringIO
    urls: list[str]

    def seen(self) -> str:
        spans = "\n".join(span.to_json() for span in self.watched.spans)
        return f"{self.stream.getvalue()}\n{spans}\n{self.watched.text}"


class Person(Browser):
    """Every address is written down."""

    def __init__(self, listened: Listened) -> None:
        super().__init__(listened.party.stage)
        self._urls = listened.urls

    async def get(self, url: str, **headers: str) -> Answer:
        answer = await super().get(url, **headers)
        self._urls.append(answer.headers.get("location", ""))
        return answer


@pytest_asyncio.fixture
async def listened(prepared_stage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Listened]:
    monkeypatch.setitem(PEOPLE, WHO, {"name": NAME, "email": EMAIL})
    stream = io.StringIO()
    configure("debug", stream=stream)
    telemetry, exporter, metrics = watchers()
    async with open_party(prepared_stage, telemetry=telemetry) as party:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        yield Listened(party, Watched(party.stage, exporter, metrics), stream, [])


async def story(listened: Listened, person: Person) -> None:
    """Named by her address at the clinic, told about at the hotel, refused in several ways, logged out by both sides."""
    party = listened.party
    request = party.clinic.request(f'<samlp:NameIDPolicy Format="{FORMAT}"/>', ID=ID, ProviderName=PURPOSE)
    await person.follow(await person.get(party.clinic.redirect(request, relay_state=STATE, key=party.clinic.key)))
    await person.log_in("google", WHO)
    named = party.clinic.receive(await person.press("share", ("field", "email"), ("field", "name")))
    assert named.name_id == EMAIL
    received = party.hotel.receive(await party.log_in(person, party.hotel.redirect(relay_state=STATE), "google", WHO))
    assert [NAME] in received.attributes.values()
    for message in (
        party.hotel.request(ID=ID, Destination=f"https://x.example/{STATE}"),
        party.hotel.request(ID=ID, Issuer=f"https://{PURPOSE}.example"),
        party.hotel.request(ID=ID, AssertionConsumerServiceURL=f"https://x.example/{STATE}"),
        party.hotel.request(f"<saml:Subject><saml:NameID>{EMAIL}</saml:NameID></saml:Subject>", ID=ID),
        party.hotel.request(f"<{PURPOSE}/>", ID=ID),
        f"<{STATE}>{EMAIL}".encode(),
    ):
        await person.get(party.hotel.redirect(message, relay_state=STATE))
        await person.post("/saml/sso", {"SAMLRequest": base64.b64encode(message).decode(), "RelayState": STATE})
    await person.get(f"/saml/sso/{STATE}")
    wrong = party.hotel.logout_request(received, NameID=EMAIL)
    assert party.hotel.logged_out(await person.get(party.hotel.log_out(wrong)))[0] == "Requester"
    assert party.hotel.logged_out(await person.get(party.hotel.log_out(party.hotel.logout_request(received))))[0]


async def test_no_canary_is_seen_at_service_providers(listened: Listened, tmp_path: Path) -> None:
    """Over logins, refusals and logouts, at the most talkative level."""
    person = Person(listened)
    await story(listened, person)
    assert '"route": "/saml/slo"' in listened.stream.getvalue()
    seen, canaries = listened.seen(), (NAME, "Kanarina", "fjaderholm", STATE, ID, PURPOSE, "SAMLRe", "<saml")
    assert [each for each in canaries if each.lower() in seen.lower()] == []
    folder = listened.party.stage.loaded.path.parent
    stored = b"".join(each.read_bytes() for each in folder.rglob("*") if each.is_file())
    assert [each for each in (NAME, EMAIL, STATE) if each.encode() in stored] == []
    assert list(tmp_path.iterdir()) == []
    addresses = unquote_plus("\n".join(listened.urls))
    assert [each for each in (NAME, EMAIL) if each in addresses] == []
