"""
The canary: values like no others, planted in everything that can be said to the broker, and looked for wherever it speaks to
operators (docs/security.md F1).

Over the whole story, its refusals, faults of ours and storage that is away, none may be in a log line, a span, a metric, an
audit row or the database file; and nothing personal in an address.
"""

import base64
import copy
import io
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_plus, urlencode

import pytest

from broker.observe.logging import configure, log
from broker.stores.redis import RedisState
from tests.observe.conftest import Watched, watchers
from tests.servers import RedisServer
from tests.stage import GARAGE, PAYLOAD, PEOPLE, SECRET, SHOP_RETURN, Answer, Browser, Stage, open_stage

PERSONAL = {
    "name": "Kanarina Fjäderholm",
    "email": "kanarina@fjaderholm.example",
    "phone": "+46701740605",
    "plate": "KNR 17Z",
    "number": "190905271474",
    "order": "NH-KANARIE-7",
    "note": "ring kanarina innan",
    "car": "Kanariebil",
}
"""About a person: in no address either, whoever made it."""

SPOKEN = {
    "state": "kanariestate-of-partner",
    "nonce": "kanarienonce-of-partner",
    "hint": "kanariehint@fjaderholm.example",
    "agent": "KanarieAgent/1.0",
    "query": "kanariequery",
    "code": "kanariecode",
    "token": "kanarietoken",
    "cookie": "kanariecookie",
    "header": "kanarieheader",
    "secret": "kanariesecret",
    "error": "kanarie error description",
    "path": "kanariepath",
    "method": "KANARIEMETHOD",
    "key": "kanarie-idempotency-key",
    "reference": "kanarie-booking",
}
"""Sent by partners, providers and strangers; some belong in addresses by protocol, none in what operators see."""

WHO = "kanarina"


@dataclass
class Listener:
    """The stage, everything operators can see of it, and every address a browser was sent to."""

    watched: Watched
    stream: io.StringIO
    folder: Path
    urls: list[str] = field(default_factory=list)
    secrets: set[str] = field(default_factory=set)

    @property
    def stage(self) -> Stage:
        return self.watched.stage

    def seen(self) -> str:
        """Logs, spans and metrics."""
        spans = "\n".join(span.to_json() for span in self.watched.spans)
        return f"{self.stream.getvalue()}\n{spans}\n{self.watched.text}"

    def stored(self) -> bytes:
        """The database's files, byte for byte."""
        return b"".join(path.read_bytes() for path in sorted(self.folder.glob("stafett.db*")))


class Person(Browser):
    """A browser that says canaries wherever it may."""

    def __init__(self, listener: Listener) -> None:
        super().__init__(listener.stage)
        self._listener = listener

    async def get(self, url: str, **headers: str) -> Answer:
        return self._heard(await super().get(url, **self._spoken(headers)))

    async def post(self, url: str, fields: Any, **headers: str) -> Answer:
        return self._heard(await super().post(url, fields, **self._spoken(headers)))

    def _spoken(self, headers: dict[str, str]) -> dict[str, str]:
        return {
            "user-agent": SPOKEN["agent"],
            "x-kanarie": SPOKEN["header"],
            "referer": f"https://x.example/{SPOKEN['path']}",
        } | headers

    def _heard(self, answer: Answer) -> Answer:
        self._listener.urls += [answer.url, answer.location]
        self._listener.secrets |= {value for value in self.cookies.values() if len(value) > 20}
        self._listener.secrets |= {
            value for name, value in answer.query.items() if name in {"code", "ref", "login_hint"}
        }
        return answer


@pytest.fixture
def stream() -> io.StringIO:
    """Everything that is logged, ours at the most talkative level, and the libraries' as the broker lets them."""
    stream = io.StringIO()
    configure("debug", stream=stream)
    return stream


@pytest.fixture
def person_of_the_canary(monkeypatch: pytest.MonkeyPatch) -> None:
    """Known to the played providers."""
    monkeypatch.setitem(PEOPLE, WHO, {"name": PERSONAL["name"], "email": PERSONAL["email"]})


@pytest.fixture
async def listener(
    stage_folder: Path, stream: io.StringIO, redis_url: str, person_of_the_canary: None
) -> AsyncIterator[Listener]:
    """A watched broker on a real Redis."""
    telemetry, exporter, metrics = watchers()
    async with open_stage(stage_folder, state=RedisState(redis_url), telemetry=telemetry) as stage:
        stage.shop.state, stage.shop.nonce = SPOKEN["state"], SPOKEN["nonce"]
        stage.garage.state, stage.garage.nonce = SPOKEN["state"], SPOKEN["nonce"]
        yield Listener(Watched(stage, exporter, metrics), stream, stage_folder)


def payload() -> dict[str, Any]:
    """A canary in every field that is anybody's."""
    planted = copy.deepcopy(PAYLOAD)
    planted["vehicle"] |= {"registration_number": PERSONAL["plate"], "make": PERSONAL["car"]}
    planted["order"]["reference"] = PERSONAL["order"]
    planted["booking"] = {"note": PERSONAL["note"]}
    planted["customer"] |= {name: PERSONAL[name] for name in ("name", "email", "phone")}
    return planted


async def login(listener: Listener, person: Person, method: str) -> dict[str, Any]:
    request = listener.stage.shop.request(login_hint=SPOKEN["hint"], kanarie=SPOKEN["query"])
    await person.follow(await person.get(request))
    tokens = await listener.stage.shop.exchange(await person.log_in(method, WHO))
    listener.secrets |= {tokens["access_token"], tokens["id_token"]}
    return tokens


async def offer(listener: Listener, subject: str) -> str:
    created = await listener.stage.offer(
        subject,
        payload=payload(),
        contact={"email": PERSONAL["email"], "phone": PERSONAL["phone"]},
        headers={"idempotency-key": SPOKEN["key"] + subject[:5]},
    )
    assert created.status == 201, created.text
    link = str(created.json["link"])
    listener.secrets.add(link.rpartition("/")[2])
    return link


async def hand_over(listener: Listener, person: Person, link: str) -> None:
    await person.follow(await person.get(link))
    assert person.page is not None
    assert PERSONAL["plate"] in person.page.text
    started = await person.press("share", ("field", "customer.phone"), ("field", "booking.note"))
    garage = listener.stage.garage
    tokens = await garage.exchange(await listener.stage.arrive(person, started))
    listener.secrets.add(tokens["access_token"])
    handoff = tokens["claims"]["handoff"]["id"]
    assert PERSONAL["plate"] in (await garage.read(handoff, tokens["access_token"])).text
    done = await garage.acknowledge(
        handoff, tokens["access_token"], {"result": "booked", "reference": SPOKEN["reference"]}
    )
    assert done.status == 200
    assert (await garage.userinfo(tokens["access_token"])).status == 200


async def refusals(listener: Listener, person: Person) -> None:
    """Wrong in every way one can be, loudly."""
    stage, shop = listener.stage, listener.stage.shop
    for changed in (
        {"client_id": SPOKEN["query"]},
        {"redirect_uri": f"https://evil.example/{SPOKEN['path']}"},
        {"scope": f"openid {SPOKEN['query']}"},
        {"response_type": SPOKEN["code"]},
        {"prompt": SPOKEN["query"]},
        {"max_age": SPOKEN["query"]},
        {"code_challenge_method": SPOKEN["query"]},
        {"id_token_hint": SPOKEN["token"]},
        {"request_uri": SPOKEN["token"]},
        {"request": SPOKEN["token"]},
        {"ui_locales": SPOKEN["query"], "acr_values": SPOKEN["query"], "prompt": "none"},
    ):
        await person.get(shop.request(**changed))
    for form in (
        {"code": SPOKEN["code"]},
        {"code_verifier": SPOKEN["secret"]},
        {"grant_type": SPOKEN["query"]},
        {"grant_type": "refresh_token", "refresh_token": SPOKEN["token"]},
        {"client_assertion": SPOKEN["token"], "client_assertion_type": SPOKEN["query"]},
    ):
        await shop.token(**{"code": SPOKEN["code"], **form})
    await shop.token(SPOKEN["code"], auth=(SPOKEN["query"], SPOKEN["secret"]))
    await shop.token(SPOKEN["code"], auth=(GARAGE, SPOKEN["secret"]))
    await shop.userinfo(SPOKEN["token"])
    await shop.read(SPOKEN["path"], SPOKEN["token"])
    await shop.acknowledge(SPOKEN["path"], SPOKEN["token"], {"result": SPOKEN["query"]})
    await stage.garage.call("/handoffs/guest", {"ref": SPOKEN["token"]})
    await stage.garage.call("/handoffs/artifact", {"artifact": SPOKEN["token"], "secret": SPOKEN["secret"]})
    broken = payload()
    broken["customer"]["email"] = PERSONAL["note"]
    broken[PERSONAL["name"]] = SPOKEN["query"]
    broken["vehicle"]["registration_number"] = PERSONAL["plate"] * 9
    for changed_offer in (
        {"payload": broken},
        {"payload": PERSONAL["name"]},
        {"type": SPOKEN["query"]},
        {"partner": SPOKEN["query"]},
        {"purpose": SPOKEN["query"]},
        {"return_uri": f"{SHOP_RETURN}?name={quote(PERSONAL['name'])}"},
        {PERSONAL["name"]: SPOKEN["query"]},
        {"subject": PERSONAL["number"]},
        {"contact": {"email": PERSONAL["name"]}},
    ):
        assert (await stage.offer(**{"subject": None, **changed_offer})).status >= 400
    await stage.client.request(SPOKEN["method"], "/token")
    for path in PATHS:
        await stage.client.get(path, params={"q": SPOKEN["query"], "who": PERSONAL["email"]}, headers=HEADERS)
        await stage.client.post(path, data={"q": SPOKEN["query"], "csrf": SPOKEN["token"]}, headers=HEADERS)
        await stage.client.post(
            path, content=PERSONAL["name"].encode(), headers=HEADERS | {"content-type": "application/json"}
        )


PATHS = (
    "/",
    "/authorize",
    "/token",
    "/userinfo",
    "/par",
    "/logout",
    "/logout/confirm",
    "/shared",
    "/shared/withdraw",
    "/handoffs",
    "/handoffs/guest",
    "/handoffs/artifact",
    "/arrive",
    f"/handoffs/{SPOKEN['path']}",
    f"/h/{SPOKEN['path']}",
    f"/j/{SPOKEN['path']}",
    f"/j/{SPOKEN['path']}/consent",
    f"/j/{SPOKEN['path']}/choose",
    f"/j/{SPOKEN['path']}/return",
    f"/up/{SPOKEN['path']}/callback",
    f"/up/{SPOKEN['path']}/backchannel-logout",
    f"/up/{SPOKEN['path']}/deauthorize",
    f"/up/google/callback?state={SPOKEN['state']}&code={SPOKEN['code']}",
    f"/{quote(PERSONAL['email'])}",
)
HEADERS = {
    "cookie": f"__Host-stafett-browser={SPOKEN['cookie']}; __Host-stafett-session={SPOKEN['cookie']}",
    "authorization": "Basic " + base64.b64encode(f"{SPOKEN['query']}:{SPOKEN['secret']}".encode()).decode(),
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "tracestate": f"who={SPOKEN['header']}",
    "baggage": f"who={SPOKEN['header']}",
    "x-forwarded-for": SPOKEN["header"],
    "accept-language": SPOKEN["header"],
    "origin": f"https://{SPOKEN['header']}.example",
}


async def at_the_provider(listener: Listener) -> None:
    """It cancels, refuses, answers nonsense, and makes us stumble over a bug of our own."""
    person = Person(listener)
    choice = await person.follow(await person.get(listener.stage.shop.request()))
    csrf = choice.text.partition('name="csrf" value="')[2].partition('"')[0]
    wrong = await person.post(f"{choice.url}/choose", {"csrf": csrf, "method": PERSONAL["name"]})
    assert wrong.status == 400
    await person.follow(await person.get(listener.stage.shop.request()))
    for answer in (
        {"error": "access_denied", "error_description": SPOKEN["error"]},
        {"error": SPOKEN["error"], "error_description": PERSONAL["name"]},
        # Nobody the played provider knows: a KeyError that quotes it.
        {"who": PERSONAL["name"]},
    ):
        gone = await person.press("method-google")
        query = urlencode({"state": gone.query["state"], **answer})
        listener.secrets.add(gone.query["state"])
        await listener.stage.client.get(f"/up/google/callback?{query}", headers={"cookie": _cookies(person)})
        await person.get(f"/up/bankid/callback?{urlencode({'state': gone.query['state'], 'code': SPOKEN['code']})}")
        await person.follow(await person.get(listener.stage.shop.request()))
    listener.stage.connectors["google"].is_down = True
    await person.press("method-google")


def _cookies(person: Browser) -> str:
    return "; ".join(f"{name}={value}" for name, value in person.cookies.items())


def found(text: str, values: set[str]) -> set[str]:
    """Which of *values* are in *text*: plainly, as JSON writes them, or as addresses do."""
    plain = f"{text}\n{unquote_plus(text)}".lower()
    return {value for value in values if value.lower() in plain or json.dumps(value)[1:-1].lower() in plain}


EVERYTHING = {*PERSONAL.values(), *SPOKEN.values(), SECRET}


async def test_no_canary_is_seen_over_the_whole_story(listener: Listener) -> None:
    """Login by two providers, handoff, guest, withdrawal, logout, refusals of every kind, bugs: nobody's words anywhere."""
    person = Person(listener)
    at_shop = await login(listener, person, "bankid")
    await hand_over(listener, person, await offer(listener, at_shop["claims"]["sub"]))
    await person.get("/shared")
    assert person.page is not None
    await person.press(next(each for each in person.page.ids if each.startswith("withdraw-")))
    other = Person(listener)
    again = await login(listener, other, "google")
    await other.follow(await other.get(await offer(listener, again["claims"]["sub"])))
    gone = await other.press("continue-guest")
    assert (await listener.stage.garage.call("/handoffs/guest", {"ref": gone.query["ref"]})).status == 200
    await refusals(listener, person)
    await at_the_provider(listener)
    await person.get("/logout")
    await listener.stage.broker.context.audit.flush()

    seen = listener.seen()
    assert found(seen, EVERYTHING | listener.secrets) == set()
    assert found("\n".join(listener.urls), set(PERSONAL.values())) == set()
    stored = listener.stored().decode("latin-1")
    assert found(stored, (EVERYTHING | listener.secrets) - {SPOKEN["reference"]}) == set()
    # It was a story, and it was watched.
    assert len(listener.secrets) > 10
    assert len(listener.watched.requests) > 100
    assert listener.watched.value("faults_total") >= 1
    assert seen.count('"event": "refused"') > 40


async def test_no_canary_is_seen_when_storage_fails(listener: Listener, redis_server: RedisServer) -> None:
    """Redis ends in the middle of it all: errors name the store and the kind, and no key or value."""
    person = Person(listener)
    at_shop = await login(listener, person, "google")
    link = await offer(listener, at_shop["claims"]["sub"])
    await person.follow(await person.get(link))
    redis_server.stop()
    await person.press("share", ("field", "customer.phone"))
    assert person.page is not None
    assert person.page.status == 503
    await refusals_while_down(listener, person, link)
    seen = listener.seen()
    assert found(seen, EVERYTHING | listener.secrets) == set()
    assert found("\n".join(listener.urls), set(PERSONAL.values())) == set()
    assert listener.watched.value("store_seconds_count", store="state", outcome="error") > 5
    assert seen.count('"code": "store_down"') > 5


async def refusals_while_down(listener: Listener, person: Person, link: str) -> None:
    await person.get(link)
    await person.get(listener.stage.shop.request(login_hint=SPOKEN["hint"]))
    await person.get(f"/up/google/callback?{urlencode({'state': 'x' * 22 + '.' + SPOKEN['state'], 'who': WHO})}")
    for token in sorted(listener.secrets):
        await listener.stage.shop.userinfo(token)
        await listener.stage.shop.token(token)
    await listener.stage.offer(None, payload=payload())


def test_a_planted_value_would_be_found(stream: io.StringIO) -> None:
    """The search itself works: plain, in JSON, in an address."""
    log("planted", name=PERSONAL["name"])
    written = f"{stream.getvalue()} {urlencode({'e': PERSONAL['email']})} {SPOKEN['agent']}"
    planted = {PERSONAL["name"], PERSONAL["email"], SPOKEN["agent"]}
    assert found(written, EVERYTHING) == planted
