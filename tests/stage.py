"""
A whole broker in-process, and the people around it: a browser, a shop and a garage that speak its protocols.

Real: everything of the broker, its SQLite records, its state store (memory unless a test brings another). Played: time, and
the identity providers, by a connector that says what the test wants.
"""

import base64
import hashlib
import json
import re
import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from html.parser import HTMLParser
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

import httpx2
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey

from broker.app import Broker, KeyMaterial, build
from broker.config.load import Loaded, load
from broker.config.render import example_folder, example_text
from broker.core.assurance import Assurance
from broker.core.identity import Contact, ContactKind, Evidence
from broker.demo.providers.bankid.certificates import make_certificates
from broker.demo.providers.saml_documents import Pair
from broker.demo.providers.saml_idp import EIDAS_ON_CURVES, SamlIdp
from broker.demo.workshop import Keys
from broker.demo.workshop import metadata as metadata_of_workshop
from broker.errors import Stopped, UpstreamDown, UpstreamRefused
from broker.notify.ports import Messages
from broker.observe.telemetry import Telemetry
from broker.stores.key_folder import KeyFolder
from broker.stores.memory import MemoryState
from broker.stores.migrate import migrate
from broker.stores.ports import Records, StateStore
from broker.stores.sql import SqlRecords
from broker.upstream.port import Begun, Channel, Done, Heard, Pending, Redirect, Reply, UpstreamAsk
from broker.upstream.registry import KINDS, Kind
from broker.wire.own_keys import own_secret
from broker.wire.signing_keys import SigningKey, signing_key

ISSUER = "http://localhost:8700"
SECRET = "0123456789abcdef0123456789abcdef"
START = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def with_one_eid(text: str) -> str:
    """*text*, which is the example or rendered from it, with one eID at its partners, so that there is one way to step up."""
    fewer = text.replace("[bankid, ftn, eidas, ", "[bankid, ")
    return re.sub(r"^  # The eIDs of all other countries.*?(?=^  google:)", "", fewer, flags=re.MULTILINE | re.DOTALL)


BASE = re.sub(
    r"^  staff:\n.*?(?=^  # )|^    # Links in the shop's newsletter.*?(?=^$)|^# -+\n# Customer service: .*?(?=^# -)"
    r"|^  tyre-workshop:\n.*?(?=^# -)|^  # The same tyres, and another garage.*",
    "",
    with_one_eid(example_text()),
    flags=re.MULTILINE | re.DOTALL,
)
"""
The example with one eID, and with neither staff nor newsletters nor anybody who speaks SAML: their tests bring them themselves.
"""

WAYS_IN = next(line.strip() for line in BASE.splitlines() if line.startswith("      upstreams: ["))
"""What the example says of how customers log in, at the shop as at the garage."""

_BROKER_WRITES = re.search(r"^  mail:\n.*?(?=^  sms:\n)", example_text(), re.MULTILINE | re.DOTALL)
_BROKER_TEXTS = re.search(r"^  sms:\n.*?(?=^  retention:\n)", example_text(), re.MULTILINE | re.DOTALL)
assert _BROKER_WRITES is not None
assert _BROKER_TEXTS is not None
MAIL_BLOCK, SMS_BLOCK = _BROKER_WRITES[0], _BROKER_TEXTS[0]
"""What the example says of how customers are written to."""

SHOP = "nordhjul-web"
SHOP_CALLBACK = "http://127.0.0.1:8701/login/callback"
SHOP_RETURN = "http://127.0.0.1:8701/booking-return"
GARAGE = "verkstan-web"
GARAGE_CALLBACK = "http://127.0.0.1:8702/callback"
WORKSHOP = "urn:x-demo:ringvagens-dackverkstad"
WORKSHOP_AT = "http://127.0.0.1:8714"
NODE_AT = "http://127.0.0.1:8715"

PAYLOAD: dict[str, Any] = {
    "vehicle": {
        "registration_number": "ABC 12D",
        "make": "Volvo",
        "model": "V60",
        "tyre_size_front": "225/50 R17",
    },
    "items": [
        {
            "sku": "NW-7",
            "description": "Norrsken 7",
            "dimension": "225/50 R17",
            "quantity": 4,
            "season": "winter",
            "delivered_to": "partner",
        }
    ],
    "order": {"reference": "NH-1001", "placed_at": "2026-11-21T11:00:00Z", "paid": True},
    "customer": {
        "name": "Maja Lind",
        "email": "maja@example.com",
        "phone": "+46701234567",
        "preferred_language": "sv",
    },
}


class Clock:
    """Time that moves when told to."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **by: float) -> None:
        self.now += timedelta(**by)

    def monotonic(self) -> float:
        return self.now.timestamp()


PEOPLE = {
    "maja": {"name": "Maja Lind", "email": "maja@example.com"},
    "karl": {"name": "Karl Berg", "email": "karl@example.com"},
}


class PlayedConnector:
    """
    A redirect connector whose provider does what the test says: ``who`` in the callback logs that person in,
    ``error`` refuses.
    """

    hears = frozenset({Channel.LOGOUT, Channel.EVENTS})

    def __init__(self, id: str, reaches: Assurance, clock: Clock) -> None:
        self.id = id
        self.reaches = reaches
        self._clock = clock
        self.asks: list[UpstreamAsk] = []
        self.resumed = 0
        self.is_down = False
        self.authenticated_at: datetime | None = None
        self.tells_time = True
        self.session: str | None = None
        self.authorities: tuple[str, ...] = ()
        self.over: Heard | None = None

    async def begin(self, ask: UpstreamAsk) -> Begun:
        if self.is_down:
            raise UpstreamDown("played to be down")
        self.asks.append(ask)
        return Begun(Redirect(f"https://{self.id}.test/authorize?{urlencode({'state': ask.state})}"), b"kept")

    async def resume(self, state: bytes, reply: Reply) -> Done | Pending:
        self.resumed += 1
        if state != b"kept" or self.is_down:
            raise UpstreamDown("played to be down")
        match reply.data.get("error"):
            case "access_denied":
                raise Stopped("the customer cancelled")
            case str():
                raise UpstreamRefused("played to refuse")
        return Done(self._evidence(reply.data["who"]))

    def _evidence(self, who: str) -> Evidence:
        person = PEOPLE[who]
        is_strong = self.reaches >= Assurance.LOW
        contact = Contact(ContactKind.EMAIL, person["email"], "unproven" not in person)
        return Evidence(
            upstream=self.id,
            issuer=f"https://{self.id}.test",
            subject=f"subject-of-{who}",
            assurance=self.reaches,
            amr=(self.id,),
            authenticated_at=self.authenticated_at or self._clock(),
            name=person["name"],
            personal_number="190905271474" if is_strong else None,
            contacts=() if is_strong else (contact,),
            proof=b"<signature/>" if is_strong else None,
            is_time_proven=self.tells_time,
            session=self.session,
            authorities=self.authorities,
        )

    async def heard(self, channel: Channel, unverified: str, now: datetime) -> Sequence[Heard]:
        """Believes the token ``good``: then ``over`` is over."""
        if unverified != "good" or self.over is None:
            raise UpstreamRefused("played to be no logout token", code="logout_token.events")
        return [self.over]

    async def close(self) -> None:
        pass


class Answer:
    """A response, with what tests look for in it."""

    def __init__(self, raw: httpx2.Response) -> None:
        self.status = raw.status_code
        self.headers = raw.headers
        self.text = raw.text
        self.url = str(raw.request.url)

    @property
    def location(self) -> str:
        """Where it sends the browser: by redirect, or by the page that goes on or posts by itself."""
        if "location" in self.headers:
            return urljoin(self.url, self.headers["location"])
        if (form := self.form_post) is not None:
            return str(form["action"])
        links = [link for link in self.parsed.links if link.get("id") == "continue"] if "continue" in self.text else []
        return links[0]["href"] if links else ""

    @property
    def form_post(self) -> dict[str, Any] | None:
        """The form that answers a partner (``response_mode=form_post``), if the page has one."""
        if "response" not in self.text:
            return None
        return next((form for form in self.parsed.forms if form["id"] == "response"), None)

    @cached_property
    def parsed(self) -> "_Page":
        """Its forms and links: read once, and only by who asks, since reading takes longer than the broker's answer did."""
        return _Page.of(self.text)

    @property
    def query(self) -> dict[str, str]:
        """What it sends along: in the query of the address, and in the form that is posted."""
        form = self.form_post
        return dict(parse_qsl(urlsplit(self.location).query)) | (dict(form["fields"]) if form else {})

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def ids(self) -> set[str]:
        """The element ids on the page."""
        return set(re.findall(r'\bid="([^"]+)"', self.text))


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[dict[str, Any]] = []
        self.links: list[dict[str, str]] = []

    @classmethod
    def of(cls, html: str) -> "_Page":
        page = cls()
        page.feed(html)
        return page

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append({"id": values.get("id"), "action": values.get("action", ""), "fields": [], "buttons": {}})
        elif tag == "a":
            self.links.append(values)
        elif tag == "input" and self.forms and values.get("type") == "hidden":
            self.forms[-1]["fields"].append((values["name"], values.get("value", "")))
        elif tag == "button" and self.forms and "name" in values:
            self.forms[-1]["buttons"][values.get("id", "")] = (values["name"], values.get("value", ""))


class Browser:
    """Cookies, pages and forms; treats loopback as secure as browsers do. One per person."""

    def __init__(self, stage: "Stage") -> None:
        self._stage = stage
        self.cookies: dict[str, str] = {}
        self.page: Answer | None = None

    async def get(self, url: str, **headers: str) -> Answer:
        return self._seen(await self._stage.client.get(url, headers={**self._headers(), **headers}))

    async def post(self, url: str, fields: list[tuple[str, str]] | dict[str, str], **headers: str) -> Answer:
        pairs = list(fields.items()) if isinstance(fields, dict) else fields
        sent = {"content-type": "application/x-www-form-urlencoded", **self._headers(), **headers}
        return self._seen(await self._stage.client.post(url, content=urlencode(pairs), headers=sent))

    async def follow(self, answer: Answer) -> Answer:
        """Go on as long as the broker sends us to itself; the last answer is its page or leads elsewhere."""
        while answer.location.startswith(ISSUER):
            answer = await self.get(answer.location)
        return answer

    async def press(self, button: str, *extra: tuple[str, str]) -> Answer:
        """Send the form of the last page by the button of that id."""
        assert self.page is not None
        for form in self.page.parsed.forms:
            if button in form["buttons"]:
                fields = [*form["fields"], *extra, form["buttons"][button]]
                return await self.post(urljoin(self.page.url, form["action"]), fields)
        raise AssertionError(f"no button #{button} on {self.page.url}:\n{self.page.text[:3000]}")

    async def log_in(self, method: str, who: str) -> Answer:
        """From the choice page to wherever the login leads."""
        gone = await self.press(f"method-{method}")
        state = gone.query["state"]
        return await self.follow(await self.get(f"/up/{method}/callback?{urlencode({'state': state, 'who': who})}"))

    def copy(self) -> "Browser":
        """The same browser, another tab: cookies are shared."""
        tab = Browser(self._stage)
        tab.cookies = self.cookies
        return tab

    def _headers(self) -> dict[str, str]:
        return {"cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())} if self.cookies else {}

    def _seen(self, raw: httpx2.Response) -> Answer:
        for line in raw.headers.get_list("set-cookie"):
            for name, morsel in SimpleCookie(line).items():
                if morsel["max-age"] == "0" or not morsel.value:
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = morsel.value
        answer = Answer(raw)
        if answer.headers.get("content-type", "").startswith("text/html"):
            self.page = answer
        return answer


@dataclass
class Partner:
    """A partner's server, and the requests its browser part makes."""

    stage: "Stage"
    client_id: str
    redirect_uri: str
    verifier: str = "v" * 64
    state: str = "state-of-the-partner"
    nonce: str = "nonce-of-the-partner"
    scope: str = "openid profile email"

    def request(self, **changed: str | None) -> str:
        """The address of an authorization request; a parameter set to None is left out."""
        challenge = base64.urlsafe_b64encode(hashlib.sha256(self.verifier.encode()).digest()).rstrip(b"=").decode()
        members: dict[str, str | None] = {
            "client_id": self.client_id,
            "redirect_uri": self.redirect_uri,
            "response_type": "code",
            "scope": self.scope,
            "state": self.state,
            "nonce": self.nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            **changed,
        }
        return f"/authorize?{urlencode({name: value for name, value in members.items() if value is not None})}"

    async def token(self, code: str, *, auth: tuple[str, str] | None = None, **changed: str | None) -> Answer:
        members: dict[str, str | None] = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.redirect_uri,
            "code_verifier": self.verifier,
            **changed,
        }
        form = {name: value for name, value in members.items() if value is not None}
        return Answer(await self.stage.client.post("/token", data=form, auth=auth or self.auth))

    @property
    def auth(self) -> tuple[str, str]:
        return (self.client_id, SECRET)

    async def exchange(self, answer: Answer) -> dict[str, Any]:
        """The token response for an authorization response; its ID token is checked and put under ``claims``."""
        assert answer.query.get("state") == self.state, answer.location
        assert answer.query.get("iss") == ISSUER
        tokens = await self.token(answer.query["code"])
        assert tokens.status == 200, tokens.text
        body: dict[str, Any] = tokens.json
        body["claims"] = await self.stage.id_token(body["id_token"])
        return body

    async def userinfo(self, token: str) -> Answer:
        return Answer(await self.stage.client.get("/userinfo", headers={"authorization": f"Bearer {token}"}))

    async def read(self, handoff: str, token: str) -> Answer:
        return Answer(await self.stage.client.get(f"/handoffs/{handoff}", headers={"authorization": f"Bearer {token}"}))

    async def call(self, path: str, body: Any, **headers: str) -> Answer:
        return Answer(await self.stage.client.post(path, json=body, auth=self.auth, headers=headers))

    async def acknowledge(self, handoff: str, token: str, body: Any) -> Answer:
        sent = {"authorization": f"Bearer {token}"}
        return Answer(await self.stage.client.post(f"/handoffs/{handoff}/acknowledgement", json=body, headers=sent))


@dataclass
class Stage:
    """The running broker and everybody's way to it."""

    broker: Broker
    loaded: Loaded
    clock: Clock
    client: httpx2.AsyncClient
    records: SqlRecords
    state: StateStore
    connectors: Mapping[str, PlayedConnector]
    shop: Partner = field(init=False)
    garage: Partner = field(init=False)

    def __post_init__(self) -> None:
        self.shop = Partner(self, SHOP, SHOP_CALLBACK)
        self.garage = Partner(self, GARAGE, GARAGE_CALLBACK, scope="openid profile email phone")

    def browser(self) -> Browser:
        return Browser(self)

    async def id_token(self, token: str) -> dict[str, Any]:
        keys = KeySet.import_key_set((await self.client.get("/jwks")).json())
        return dict(jwt.decode(token, keys, algorithms=["ES256", "RS256"]).claims)

    async def shop_login(self, browser: Browser, method: str = "bankid", who: str = "maja") -> dict[str, Any]:
        """*who* logs in at the shop in *browser*; the shop's token response."""
        await browser.follow(await browser.get(self.shop.request()))
        return await self.shop.exchange(await browser.log_in(method, who))

    async def offer(self, subject: str | None, *, headers: Mapping[str, str] | None = None, **changed: Any) -> Answer:
        """The shop creates a handoff."""
        body = {
            "partner": "garage",
            "purpose": "tyre-fitting",
            "type": "tyre-fitting/v1",
            "subject": subject,
            "payload": PAYLOAD,
            "return_uri": SHOP_RETURN,
            **changed,
        }
        return await self.shop.call("/handoffs", body, **(headers or {}))

    async def arrive(self, browser: Browser, started: Answer) -> Answer:
        """The garage answers a third-party-initiated login with its own request; where the broker leads."""
        assert started.location.startswith("http://127.0.0.1:8702/login/start"), started.location
        assert started.query["iss"] == ISSUER
        request = self.garage.request(login_hint=started.query["login_hint"])
        return await browser.follow(await browser.get(request))


@asynccontextmanager
async def open_stage(
    folder: Path,
    *,
    state: StateStore | None = None,
    edit: Mapping[str, str] | None = None,
    wrap: Callable[[Records], Records] = lambda records: records,
    telemetry: Telemetry | None = None,
    records: SqlRecords | None = None,
    is_played: bool = True,
    cast: Callable[[Clock], Mapping[str, Any]] = lambda clock: {},
    keys: KeyMaterial | None = None,
    messages: Messages | None = None,
    kinds: Mapping[str, Kind] = KINDS,
) -> AsyncIterator[Stage]:
    """
    A broker on the shipped example, in *folder* (made by `prepare`); ``edit`` replaces texts of the YAML.

    ``wrap``: what the broker gets in place of the records, to play with; the stage keeps the real ones.
    ``is_played``: the providers; else the connectors of the config go where the (edited) YAML says. ``cast``: connectors in
    place of the played ones, by id.
    ``records``: in place of SQLite, migrated. ``keys``: in place of those that all stages share. ``messages``: in place of the
    config's senders. ``kinds``: the kinds of upstream that exist.
    """
    text = BASE
    for old, new in (edit or {}).items():
        assert old in text, f"the example no longer has {old!r}"
        text = text.replace(old, new, 1)
    (folder / "stafett.yaml").write_text(text, "utf-8")
    loaded = load(folder / "stafett.yaml", environment={}, kinds=kinds)
    clock = Clock()
    if records is None:
        records = await _records(folder / "stafett.db")
    store = state or MemoryState(clock=clock.monotonic)
    played = {
        "bankid": PlayedConnector("bankid", Assurance.SUBSTANTIAL, clock),
        "google": PlayedConnector("google", Assurance.CONTACT, clock),
        **cast(clock),
    }
    broker = build(
        loaded,
        state=store,
        records=wrap(records),
        keys=keys or _shared_keys(folder.parent / "keys"),
        clock=clock,
        connectors=played if is_played else None,
        telemetry=telemetry,
        messages=messages,
    )
    transport = httpx2.ASGITransport(app=broker.app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url=ISSUER, follow_redirects=False) as client:
        broker.context.audit.start()
        broker.notices.start()
        try:
            yield Stage(broker, loaded, clock, client, records, store, played)
        finally:
            await broker.notices.stop()
            await broker.context.audit.stop()
            await store.close()
            await records.close()


_EMPTY: list[bytes] = []
"""A migrated database with nothing in it."""

_PARSED: dict[Path, list[SigningKey]] = {}
"""The signing keys of each place, held so that no broker has to parse again what the last one let go."""


async def _records(file: Path) -> SqlRecords:
    """SQLite in *file*; where there is none yet, a copy of the one that was migrated first."""
    is_new, url = not file.exists(), f"sqlite+aiosqlite:///{file}"
    if is_new and _EMPTY:
        file.write_bytes(_EMPTY[0])
        return SqlRecords(url)
    await migrate(url)
    if is_new:
        _EMPTY.append(file.read_bytes())
    return SqlRecords(url)


def _shared_keys(place: Path) -> KeyMaterial:
    secrets = (own_secret(place),)
    store = KeyFolder(place, secrets)
    if place not in _PARSED and (book := store.read()) is not None:
        _PARSED[place] = [signing_key(record) for record in book.keys]
    return KeyMaterial(secrets, store)


LEFT_BEHIND = shutil.ignore_patterns("*.db*", "stafett.yaml")
"""What some tests leave in the folder that all share: neither their customers nor their config are anybody else's."""


def prepare(folder: Path) -> Path:
    """What the example refers to: schemas, secrets, certificates. Once per run."""
    for part in ("schemas", "logos"):
        shutil.copytree(example_folder() / part, folder / part)
    write_secrets(folder, SECRET)
    make_certificates(folder / "bankid", now=datetime.now(UTC))
    return folder


def write_secrets(folder: Path, secret: str) -> None:
    """
    What the example refers to below ``secrets/``: a key where it is named like one, else *secret*. And its pinned metadata.
    """
    (folder / "secrets").mkdir(parents=True)
    (folder / "metadata").mkdir()
    (folder / "metadata" / "tyre-workshop.xml").write_bytes(
        metadata_of_workshop(WORKSHOP, WORKSHOP_AT, workshop_keys())
    )
    (folder / "metadata" / "eidas.xml").write_bytes(metadata_of_node(NODE_AT))
    (folder / "metadata" / "eidas.crt").write_bytes(node_keys()[1].certificate_pem)
    for name in sorted(set(re.findall(r"file:secrets/([\w.-]+)", example_text()))):
        path = folder / "secrets" / name
        path.write_bytes(_secret_of(name, secret))
        path.chmod(0o600)


@cache
def node_keys() -> tuple[Pair, Pair]:
    """The eIDAS node's, and ours that it knows; the same in the whole run."""
    node, own = (Pair.made(ec.generate_private_key(ec.SECP256R1())) for _ in range(2))
    return node, own


def metadata_of_node(origin: str) -> bytes:
    """Of the example's eIDAS node."""

    async def nobody() -> bytes:
        return b""

    node = SamlIdp(origin, EIDAS_ON_CURVES, nobody, lambda: datetime.now(UTC), [node_keys()[0]])
    return node.metadata(timedelta(days=365))


@cache
def workshop_keys() -> Keys:
    """Of the partner that speaks SAML; the same in the whole run."""
    return Keys(rsa.generate_private_key(65537, 2048), rsa.generate_private_key(65537, 2048))


def _secret_of(name: str, secret: str) -> bytes:
    if name == "eidas.pem":
        return node_keys()[1].pem
    match name.rpartition(".")[2]:
        case "p8":
            return ECKey.generate_key("P-256").as_pem(private=True)
        case "pem":
            return RSAKey.generate_key(2048).as_pem(private=True)
        case _:
            return secret.encode()


def pairs(answer: Answer) -> Iterator[tuple[str, str]]:
    """All query parameters an answer sends the browser away with."""
    yield from parse_qsl(urlsplit(answer.location).query)
