"""The tyre workshop: a SAML service provider that lets nobody in whose response does not hold in every point."""

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from lxml import etree
from playwright.async_api import Browser
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from broker.cli.serve import bind
from broker.core.saml import PeerKey
from broker.demo.run import Party, running, server_of
from broker.demo.website.language import LANGUAGES
from broker.demo.workshop import create_app, metadata
from broker.demo.workshop.keys import certificate_of
from broker.wire.saml import redirect
from broker.wire.saml.encryption import encrypt_element, recipient_of
from broker.wire.saml.keys import SigningKey, signing_key, verifying_key
from broker.wire.saml.metadata import read_entity
from broker.wire.saml.signature import sign
from broker.wire.saml.xml import parse
from tests.changing import replace
from tests.stage import WORKSHOP, WORKSHOP_AT, workshop_keys

from . import sites
from .fake_broker import ISSUER, Network
from .page import Page
from .sites import barriers, browsing, press

IDP = f"{ISSUER}/saml/metadata"
ACS, SLO = f"{WORKSHOP_AT}/saml/acs", f"{WORKSHOP_AT}/saml/slo"
SAML = "urn:oasis:names:tc:SAML:2.0:assertion"
SAMLP = "urn:oasis:names:tc:SAML:2.0:protocol"
STATUS = "urn:oasis:names:tc:SAML:2.0:status:"
NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
CLAIMS = {
    "vehicle": {"registration_number": "ABC 12D", "make": "Volvo", "model": "V60"},
    "items": [{"description": "Firn Stig", "dimension": "225/50 R17", "quantity": 4, "delivered_to": "partner"}],
    "customer": {"name": "Anna Lind", "preferred_language": "en"},
}


def key() -> SigningKey:
    private = rsa.generate_private_key(65537, 2048)
    return signing_key(
        private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), certificate_of(private)
    )


KEY, OTHER = key(), key()


@dataclass(frozen=True)
class Said:
    """A response, point by point, so that each can be wrong by itself."""

    in_response_to: str
    destination: str = ACS
    issuer: str = IDP
    issued_at: datetime = NOW
    status: str = "Success"
    second: str = ""
    assertion: str = "_a1"
    assertion_issuer: str = IDP
    audience: str = WORKSHOP
    recipient: str = ACS
    confirms: str = ""
    method: str = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
    not_before: datetime = NOW - timedelta(minutes=3)
    not_on_or_after: datetime = NOW + timedelta(minutes=5)
    subject: str = "ABCDE@localhost"
    handoff: str = "h1"
    is_encrypted: bool = True
    signs: SigningKey | None = KEY
    signs_assertion: SigningKey | None = KEY


def written(said: Said) -> bytes:
    """The octets of *said*, signed from the inside to the outside."""
    root = parse(
        f'<samlp:Response xmlns:samlp="{SAMLP}" xmlns:saml="{SAML}" ID="_r{said.assertion}" Version="2.0" '
        f'IssueInstant="{at(said.issued_at)}" Destination="{said.destination}" InResponseTo="{said.in_response_to}">'
        f"<saml:Issuer>{said.issuer}</saml:Issuer>{status(said)}</samlp:Response>".encode()
    )
    if said.status == "Success":
        assertion = parse(asserted(said).encode())
        if said.signs_assertion is not None:
            sign(assertion, said.signs_assertion)
        to = recipient_of([PeerKey(certificate_of(workshop_keys().decryption), "both", methods())])
        assert to is not None
        root.append(encrypt_element(assertion, to) if said.is_encrypted else assertion)
    if said.signs is not None:
        sign(root, said.signs)
    return bytes(etree.tostring(root))


def methods() -> tuple[str, ...]:
    """What the workshop's metadata says that it can decrypt."""
    return tuple(re.findall(r'EncryptionMethod Algorithm="([^"]+)"', site_metadata()))


def site_metadata() -> str:
    return metadata(WORKSHOP, WORKSHOP_AT, workshop_keys()).decode()


def status(said: Said) -> str:
    second = f'<samlp:StatusCode Value="{STATUS}{said.second}"/>' if said.second else ""
    return f'<samlp:Status><samlp:StatusCode Value="{STATUS}{said.status}">{second}</samlp:StatusCode></samlp:Status>'


def asserted(said: Said) -> str:
    told = {"urn:oasis:names:tc:SAML:attribute:pairwise-id": said.subject, f"{ISSUER}/saml/handoff/id": said.handoff}
    attributes = "".join(
        f'<saml:Attribute Name="{name}"><saml:AttributeValue>{value}</saml:AttributeValue></saml:Attribute>'
        for name, value in told.items()
        if value
    )
    return (
        f'<saml:Assertion xmlns:saml="{SAML}" ID="{said.assertion}" Version="2.0" IssueInstant="{at(said.issued_at)}">'
        f"<saml:Issuer>{said.assertion_issuer}</saml:Issuer><saml:Subject><saml:NameID>n1</saml:NameID>"
        f'<saml:SubjectConfirmation Method="{said.method}"><saml:SubjectConfirmationData Recipient="{said.recipient}" '
        f'InResponseTo="{said.confirms or said.in_response_to}" NotOnOrAfter="{at(said.not_on_or_after)}"/>'
        f'</saml:SubjectConfirmation></saml:Subject><saml:Conditions NotBefore="{at(said.not_before)}" '
        f'NotOnOrAfter="{at(said.not_on_or_after)}"><saml:AudienceRestriction><saml:Audience>{said.audience}'
        "</saml:Audience></saml:AudienceRestriction></saml:Conditions>"
        f'<saml:AuthnStatement AuthnInstant="{at(NOW)}" SessionIndex="s1"/>'
        f"<saml:AttributeStatement>{attributes}</saml:AttributeStatement></saml:Assertion>"
    )


def at(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


class World:
    """The workshop, what it knows of the broker, and a browser."""

    def __init__(self, origin: str = WORKSHOP_AT) -> None:
        self.origin = origin
        self.now = NOW
        self.handoff_is_gone = False
        self.acknowledged: list[Any] = []
        self.publishes: SigningKey = KEY
        self.signs_metadata: SigningKey = KEY
        self.network = Network()
        broker = Starlette(
            routes=[
                Route("/saml/metadata", self._metadata),
                Route("/handoffs/guest", self._guest, methods=["POST"]),
                Route("/handoffs/{id}", self._read),
                Route("/handoffs/{id}/acknowledgement", self._acknowledge, methods=["POST"]),
            ]
        )
        self.network.add(ISSUER, broker)
        self.site = create_app(
            issuer=ISSUER,
            base_url=origin,
            entity_id=WORKSHOP,
            keys=workshop_keys(),
            client_id="ringvagen-server",
            client_secret="x" * 43,
            http_transport=self.network,
            now=lambda: self.now,
        )
        self.network.add(origin, self.site)
        self.browser = self.network.browser()

    async def _metadata(self, _: Request) -> Response:
        told = base64.b64encode(self.publishes.certificate).decode()
        binding = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"
        root = parse(
            f'<md:EntityDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata" ID="_m" entityID="{IDP}" '
            f'validUntil="{at(self.now + timedelta(days=9))}"><md:IDPSSODescriptor protocolSupportEnumeration="{SAMLP}">'
            '<md:KeyDescriptor use="signing"><ds:KeyInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:X509Data>'
            f"<ds:X509Certificate>{told}</ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor>"
            f'<md:SingleLogoutService Binding="{binding}" Location="{ISSUER}/saml/slo"/>'
            f'<md:SingleSignOnService Binding="{binding}" Location="{ISSUER}/saml/sso"/>'
            "</md:IDPSSODescriptor></md:EntityDescriptor>".encode()
        )
        sign(root, self.signs_metadata)
        return Response(etree.tostring(root), media_type="application/samlmetadata+xml")

    async def _read(self, _: Request) -> Response:
        return JSONResponse({"error": "gone"}, 410) if self.handoff_is_gone else JSONResponse({"claims": CLAIMS})

    async def _guest(self, request: Request) -> Response:
        if (await request.json())["ref"] != "good":
            return JSONResponse({"error": "invalid_grant"}, 400)
        return JSONResponse({"claims": {"items": CLAIMS["items"]}})

    async def _acknowledge(self, request: Request) -> Response:
        self.acknowledged.append(await request.json())
        return JSONResponse({"state": "acknowledged"})

    async def asks(self, browser: httpx2.AsyncClient | None = None, target: str = "ho_1.2.3") -> Said:
        """A login begins in *browser*; the honest answer to it."""
        answer = await (browser or self.browser).get(f"{WORKSHOP_AT}/login?target={target}", follow_redirects=False)
        where, _, query = answer.headers["location"].partition("?")
        assert where == f"{ISSUER}/saml/sso"
        message = redirect.decode(query)
        redirect.verify(message, [verifying_key(certificate_of(workshop_keys().signing))])
        request = parse(message.octets)
        assert (request.get("Destination"), request.get("AssertionConsumerServiceURL")) == (where, ACS)
        assert message.relay_state == target
        return Said(request.get("ID"))

    async def posts(self, said: Said | bytes, relay_state: str = "ho_1.2.3") -> httpx2.Response:
        """The response comes from another site, so without the workshop's cookies; where the browser is sent then."""
        octets = said if isinstance(said, bytes) else written(said)
        form = {"SAMLResponse": base64.b64encode(octets).decode(), "RelayState": relay_state}
        foreign = {"Origin": ISSUER, "Sec-Fetch-Site": "cross-site"}
        async with self.network.browser() as poster:
            return await poster.post(ACS, data=form, headers=foreign, follow_redirects=False)

    async def arrives(self, said: Said, browser: httpx2.AsyncClient | None = None) -> Page:
        answer = await self.posts(said)
        if answer.status_code != 303:
            return Page(answer)
        return Page(await (browser or self.browser).get(f"{WORKSHOP_AT}{answer.headers['location']}"))


@pytest.fixture
def world() -> World:
    return World()


async def test_a_customer_arrives_and_books(world: World) -> None:
    """Car and tyres come by the server's own credentials; the broker hears what became of them."""
    page = await world.arrives(await world.asks())
    assert (page.text["user-name"], page.text["vehicle-registration"]) == ("Anna Lind", "ABC 12D")
    assert "225/50 R17" in page.text["tyres"]
    fetched = next(each for each in world.network.seen if each.url.path == "/handoffs/h1")
    assert fetched.headers["authorization"].startswith("Basic ")
    done = Page(await world.browser.post(f"{WORKSHOP_AT}/booking", data={"slot": page.slots[0]}))
    assert world.acknowledged == [{"result": "booked", "reference": done.text["booking-reference"]}]


LIES: dict[str, Callable[[Said], Said]] = {
    "another destination": lambda said: replace(said, destination=f"{WORKSHOP_AT}/other"),
    "another recipient": lambda said: replace(said, recipient=f"{WORKSHOP_AT}/other"),
    "another audience": lambda said: replace(said, audience="urn:somebody:else"),
    "another issuer": lambda said: replace(said, issuer="https://else.example/idp"),
    "an assertion of another issuer": lambda said: replace(said, assertion_issuer="https://else.example/idp"),
    "an assertion for another request": lambda said: replace(said, confirms="_other"),
    "unsolicited": lambda said: replace(said, in_response_to="_never"),
    "no request at all": lambda said: replace(said, in_response_to=""),
    "another confirmation": lambda said: replace(said, method="urn:oasis:names:tc:SAML:2.0:cm:sender-vouches"),
    "stale": lambda said: replace(said, issued_at=NOW - timedelta(minutes=10)),
    "of the future": lambda said: replace(said, issued_at=NOW + timedelta(minutes=10)),
    "expired": lambda said: replace(said, not_on_or_after=NOW - timedelta(minutes=2)),
    "not valid yet": lambda said: replace(said, not_before=NOW + timedelta(minutes=2)),
    "not encrypted": lambda said: replace(said, is_encrypted=False),
    "response not signed": lambda said: replace(said, signs=None),
    "assertion not signed": lambda said: replace(said, signs_assertion=None),
    "signed by another": lambda said: replace(said, signs=OTHER),
    "assertion signed by another": lambda said: replace(said, signs_assertion=OTHER),
    "without a subject": lambda said: replace(said, subject=""),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
async def test_a_response_that_does_not_hold(world: World, lie: Callable[[Said], Said]) -> None:
    """saml-profiles-2.0-os, section 4.1.4.3: every check by itself, and nobody is let in."""
    page = await world.arrives(lie(await world.asks()))
    assert page.status == 400
    assert "user-name" not in Page(await world.browser.get(f"{WORKSHOP_AT}/"))


async def test_a_clock_a_little_ahead_is_no_failure(world: World) -> None:
    """Twenty seconds either way."""
    said = replace(await world.asks(), issued_at=NOW + timedelta(seconds=20), not_before=NOW + timedelta(seconds=20))
    assert (await world.arrives(said)).status == 200


async def test_a_response_works_once(world: World) -> None:
    """The second time it is unsolicited, whoever brings it."""
    said = await world.asks()
    octets = written(said)
    assert (await world.posts(octets)).status_code == 303
    assert (await world.posts(octets)).status_code == 400


async def test_an_assertion_works_once(world: World) -> None:
    """Also in another response, to another request that was really made."""
    assert (await world.arrives(await world.asks())).status == 200
    assert (await world.arrives(await world.asks())).status == 400
    assert (await world.arrives(replace(await world.asks(), assertion="_a2"))).status == 200


@pytest.mark.parametrize("place", ["Destination", "Value=", "CipherValue>", "Issuer>", "InResponseTo"])
async def test_a_changed_byte(world: World, place: str) -> None:
    """Whatever was signed holds only as it was signed."""
    octets = written(await world.asks())
    where = octets.index(place.encode()) + len(place) + 4
    changed = octets[:where] + bytes([octets[where] ^ 1]) + octets[where + 1 :]
    assert (await world.posts(changed)).status_code == 400


async def test_a_signed_response_wrapped_in_another(world: World) -> None:
    """The signature must be that of the root, and what it signs is all that is read."""
    said = await world.asks()
    honest, forged = parse(written(said)), parse(written(replace(said, assertion="_a9", signs=None)))
    signature = honest.find("{http://www.w3.org/2000/09/xmldsig#}Signature")
    signature.append(parse(written(replace(said, signs=None, is_encrypted=True))))
    forged.insert(1, signature)
    assert (await world.posts(bytes(etree.tostring(forged)))).status_code == 400


@pytest.mark.parametrize(
    "octets",
    [b"", b"<a", b"<a/>", b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', b"<a>" * 90_000, b"\xff\xfe<\x00"],
    ids=["empty", "broken", "unsigned", "doctype", "long", "utf16"],
)
async def test_what_is_no_response(world: World, octets: bytes) -> None:
    """A page, not a stack."""
    assert (await world.posts(octets)).status_code == 400


async def test_another_relay_state(world: World) -> None:
    """It comes back as it was sent."""
    assert (await world.posts(written(await world.asks()), relay_state="ho_4.5.6")).status_code == 400


async def test_a_response_slipped_to_another_browser(world: World) -> None:
    """Login CSRF: whoever did not ask takes nothing up, and afterwards nobody does."""
    victim = world.network.browser()
    await world.asks(victim)
    answer = await world.posts(await world.asks())
    taken = f"{WORKSHOP_AT}{answer.headers['location']}"
    assert (await victim.get(taken)).status_code == 400
    assert (await world.browser.get(taken)).status_code == 400
    assert "user-name" not in Page(await victim.get(f"{WORKSHOP_AT}/"))


async def test_the_visit_is_new_after_a_login(world: World) -> None:
    """What was planted before it is worth nothing (session fixation)."""
    said = await world.asks()
    before = world.browser.cookies["workshop_session"]
    await world.arrives(said)
    assert world.browser.cookies["workshop_session"] != before


@pytest.mark.parametrize(("second", "words"), [("RequestDenied", "Du loggade inte in"), ("AuthnFailed", "inte klar")])
async def test_a_refusal_is_told(world: World, second: str, words: str) -> None:
    """The customer cancelled, or it did not work: a page, and nobody is logged in."""
    said = replace(await world.asks(), status="Responder", second=second)
    page = await world.arrives(said)
    assert words in page.words
    assert "user-name" not in page


async def test_a_new_key_is_found_where_the_old_one_vouches_for_it(world: World) -> None:
    """The metadata is looked at again when a signature does not fit; signed by a stranger it says nothing."""
    await world.arrives(await world.asks())
    world.publishes, world.now = OTHER, NOW + timedelta(seconds=30)
    rolled = replace(await world.asks(), signs=OTHER, signs_assertion=OTHER, assertion="_a2", issued_at=world.now)
    assert (await world.arrives(rolled)).status == 200


async def test_a_new_key_of_a_stranger(world: World) -> None:
    """Whoever took over the address is not the broker by that."""
    await world.arrives(await world.asks())
    world.publishes = world.signs_metadata = OTHER
    world.now = NOW + timedelta(seconds=30)
    stolen = replace(await world.asks(), signs=OTHER, signs_assertion=OTHER, assertion="_a2", issued_at=world.now)
    assert (await world.arrives(stolen)).status == 503


async def test_what_was_taken_back_is_gone(world: World) -> None:
    """Also between arriving and booking."""
    page = await world.arrives(await world.asks())
    world.handoff_is_gone = True
    assert (await world.browser.post(f"{WORKSHOP_AT}/booking", data={"slot": page.slots[0]})).status_code == 410
    assert "ABC 12D" not in (await world.browser.get(f"{WORKSHOP_AT}/booking")).text


async def test_a_guest_says_who_comes(world: World) -> None:
    """The tyres are known, and nothing else; nothing is reported about her."""
    page = Page(await world.browser.get(f"{WORKSHOP_AT}/guest?ref=good"))
    assert "225/50 R17" in page.text["tyres"]
    assert {"user-name", "vehicle-registration"}.isdisjoint(page.attributes)
    empty = Page(await world.browser.post(f"{WORKSHOP_AT}/booking", data={"slot": "slot-1"}))
    assert empty.status == 422
    assert {"slot-missing", "name-missing", "plate-missing"} <= empty.attributes.keys()
    form = {"slot": page.slots[0], "name": "Anna", "plate": "abc 12d"}
    assert "booking-reference" in Page(await world.browser.post(f"{WORKSHOP_AT}/booking", data=form))
    assert world.acknowledged == []


async def test_logging_out_there_as_well(world: World) -> None:
    """A signed request names her as she was named; the answer leads to the front page, and only the answer to that one."""
    await world.arrives(await world.asks())
    sent = await world.browser.post(f"{WORKSHOP_AT}/logout", follow_redirects=False)
    where, _, query = sent.headers["location"].partition("?")
    message = redirect.decode(query)
    redirect.verify(message, [verifying_key(certificate_of(workshop_keys().signing))])
    request = parse(message.octets)
    assert where == f"{ISSUER}/saml/slo"
    assert [each.text for each in request] == [WORKSHOP, "n1", "s1"]
    assert "user-name" not in Page(await world.browser.get(f"{WORKSHOP_AT}/"))
    answer = leaving("LogoutResponse", f'InResponseTo="{request.get("ID")}"', status(Said("")))
    done = await world.browser.get(f"{SLO}?{redirect.encode(answer, field='SAMLResponse', key=KEY)}")
    assert str(done.url) == f"{WORKSHOP_AT}/?logged=out"
    again = await world.browser.get(f"{SLO}?{redirect.encode(answer, field='SAMLResponse', key=KEY)}")
    assert again.status_code == 400


def leaving(kind: str, more: str = "", inside: str = "", destination: str = SLO, issued_at: datetime = NOW) -> bytes:
    return (
        f'<samlp:{kind} xmlns:samlp="{SAMLP}" xmlns:saml="{SAML}" ID="_l1" Version="2.0" IssueInstant="{at(issued_at)}" '
        f'Destination="{destination}" {more}><saml:Issuer>{IDP}</saml:Issuer>{inside}</samlp:{kind}>'
    ).encode()


OVER = "<saml:NameID>n1</saml:NameID><samlp:SessionIndex>s1</samlp:SessionIndex>"


async def test_the_broker_logs_her_out(world: World) -> None:
    """Her visit is over, and the signed answer says so."""
    await world.arrives(await world.asks())
    query = redirect.encode(
        leaving("LogoutRequest", inside=OVER), field="SAMLRequest", key=KEY, relay_state="somewhere"
    )
    answer = await world.browser.get(f"{SLO}?{query}", follow_redirects=False)
    where, _, told = answer.headers["location"].partition("?")
    message = redirect.decode(told)
    redirect.verify(message, [verifying_key(certificate_of(workshop_keys().signing))])
    assert (where, message.field, message.relay_state) == (f"{ISSUER}/saml/slo", "SAMLResponse", "somewhere")
    assert parse(message.octets).get("InResponseTo") == "_l1"
    assert "user-name" not in Page(await world.browser.get(f"{WORKSHOP_AT}/"))
    assert (await world.browser.get(f"{SLO}?{query}")).status_code == 400


WRONG_FAREWELLS = {
    "unsigned": redirect.encode(leaving("LogoutRequest", inside=OVER), field="SAMLRequest"),
    "signed by another": redirect.encode(leaving("LogoutRequest", inside=OVER), field="SAMLRequest", key=OTHER),
    "not for us": redirect.encode(leaving("LogoutRequest", inside=OVER, destination=ACS), field="SAMLRequest", key=KEY),
    "old": redirect.encode(
        leaving("LogoutRequest", inside=OVER, issued_at=NOW - timedelta(hours=1)), field="SAMLRequest", key=KEY
    ),
    "another kind": redirect.encode(leaving("AuthnRequest", inside=OVER), field="SAMLRequest", key=KEY),
    "without a session": redirect.encode(leaving("LogoutRequest"), field="SAMLRequest", key=KEY),
    "an answer to nothing": redirect.encode(
        leaving("LogoutResponse", 'InResponseTo="_x"'), field="SAMLResponse", key=KEY
    ),
    "nothing": "",
}


@pytest.mark.parametrize("query", WRONG_FAREWELLS.values(), ids=WRONG_FAREWELLS.keys())
async def test_nobody_else_does(world: World, query: str) -> None:
    """A message that is not the broker's, not for us, or not of now ends no visit."""
    await world.arrives(await world.asks())
    assert (await world.browser.get(f"{SLO}?{query}")).status_code == 400
    assert "user-name" in Page(await world.browser.get(f"{WORKSHOP_AT}/"))


async def test_another_session_ends_without_hers(world: World) -> None:
    """SessionIndex says whose."""
    await world.arrives(await world.asks())
    inside = OVER.replace("s1", "s2")
    query = redirect.encode(leaving("LogoutRequest", inside=inside), field="SAMLRequest", key=KEY)
    await world.browser.get(f"{SLO}?{query}", follow_redirects=False)
    assert "user-name" in Page(await world.browser.get(f"{WORKSHOP_AT}/"))


async def test_a_broker_that_is_away(world: World) -> None:
    """A page that says so; logging out ends here all the same."""
    await world.arrives(await world.asks())
    world.network.down.add(ISSUER)
    out = await world.network.browser().get(f"{WORKSHOP_AT}/guest?ref=good")
    assert out.status_code == 503
    assert "user-name" not in Page(await world.browser.post(f"{WORKSHOP_AT}/logout", follow_redirects=False))


async def test_what_it_says_of_itself(world: World) -> None:
    """It signs requests, wants assertions signed and encrypted, and is the same whenever somebody asks."""
    first, second = [(await world.browser.get(f"{WORKSHOP_AT}/saml/metadata")).content for _ in range(2)]
    service = read_entity(parse(first)).service
    assert first == second
    assert service is not None
    assert (service.entity_id, service.acs[0].location, service.slo[0].location) == (WORKSHOP, ACS, SLO)
    assert (service.authn_requests_signed, service.wants_assertions_signed) == (True, True)


@pytest.mark.parametrize("path", ["/guest", "/guest?ref=bad", "/saml/arrived", "/saml/arrived?reference=x"])
async def test_nothing_to_arrive_with(world: World, path: str) -> None:
    """A page, not a stack."""
    assert (await world.browser.get(f"{WORKSHOP_AT}{path}")).status_code in {400, 410}


async def test_a_foreign_form(world: World) -> None:
    """Only responses may be posted from elsewhere."""
    foreign = {"Sec-Fetch-Site": "cross-site"}
    assert (await world.browser.post(f"{WORKSHOP_AT}/booking", headers=foreign)).status_code == 403


def test_every_language_says_the_same() -> None:
    """Keys and placeholders agree."""
    english = sites.placeholders("broker.demo.workshop", "en")
    assert all(sites.placeholders("broker.demo.workshop", language) == english for language in LANGUAGES)


async def test_the_shop_offers_the_other_garage() -> None:
    """By an offer made when it is chosen, and the same one however often the link is followed."""
    world = sites.build()
    order = await world.buy()
    way = f"{sites.SHOP}{order.attributes['book-fitting-tyre-workshop']['href']}"
    before = len(world.broker.handoffs)
    links = {(await world.browser.get(way, follow_redirects=False)).headers["location"] for _ in range(2)}
    assert (len(links), len(world.broker.handoffs) - before) == (1, 1)
    assert world.broker.latest.request["partner"] == "tyre-workshop"
    page = await world.get(f"{sites.SHOP}/orders/{order.text['order-reference']}")
    assert "Ringvägens" in page.text["book-fitting"]
    assert "book-fitting-garage" in page


async def test_no_other_garage_than_those() -> None:
    """Nor one for tyres that are sent home."""
    world = sites.build()
    order = await world.buy()
    reference = order.text["order-reference"]
    assert (await world.get(f"{sites.SHOP}/orders/{reference}/garages/tyre-hotel")).status == 404
    home = (await world.buy(deliver_to="customer")).text["order-reference"]
    assert (await world.get(f"{sites.SHOP}/orders/{home}/garages/tyre-workshop")).status == 404


@pytest.mark.browser
@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
async def test_nobody_is_kept_out(chromium: Browser, scheme: Literal["light", "dark"], width: int) -> None:
    """No barrier that axe knows on any page, in either colours, and nothing to scroll sideways on a phone."""
    listening = bind("127.0.0.1", 0, "port")
    world = World(f"http://127.0.0.1:{listening.getsockname()[1]}")
    settings: dict[str, Any] = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme}
    async with (
        running([(server_of(Party("workshop", "the workshop", world.site)), listening)]),
        browsing(chromium, **settings) as context,
    ):
        page = await context.new_page()
        found = []
        for path in ("/", "/booking", "/guest?ref=bad", "/guest?ref=good"):
            await page.goto(f"{world.origin}{path}")
            found += await barriers(context)
        await press(page, "#book")
        found += await barriers(context)
        await page.check("[name=slot] >> nth=0")
        await page.fill("#name", "Anna Lind")
        await page.fill("#plate", "ABC 12D")
        await press(page, "#book")
        assert await page.is_visible("#booking-reference")
        found += await barriers(context)
    assert found == []
