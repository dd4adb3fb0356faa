"""
Security events about accounts (Cross-Account Protection): what is believed, how it is answered, and what follows, in a whole
broker beside the simulated Google.
"""

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from joserfc.jwk import RSAKey
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from broker.demo.providers.google import ACCOUNTS, EVENTS, GoogleClient, create_app
from broker.errors import UpstreamRefused
from broker.upstream.oidc import OidcConnector
from tests.changing import replace
from tests.stage import Answer, Browser
from tests.upstream.test_oidc import (
    KEYS,
    PLAIN,
    SECRET,
    Clock,
    Google,
    OidcPlay,
    clock,
    code_of,
    google,
    on_loopback,
    play_oidc,
)

__all__ = ["clock", "google"]

MAJA, ERIK = ACCOUNTS[0], ACCOUNTS[1]
CLIENT = "stafett-demo"
SESSION = "__Host-stafett-session"
STRANGER = RSAKey.generate_key(2048, {"kid": "stranger"})
FORGED = RSAKey.import_key(STRANGER.as_dict(private=True), {"kid": "key-1"})


@pytest.fixture
async def play(stage_folder: Path) -> AsyncIterator[OidcPlay]:
    async with play_oidc(stage_folder) as opened:
        assert isinstance(opened, OidcPlay)
        yield opened


async def push(play: OidcPlay, token: str, upstream: str = "google") -> Answer:
    headers = {"content-type": "application/secevent+jwt", "accept": "application/json"}
    return Answer(await play.stage.client.post(f"/up/{upstream}/events", content=token, headers=headers))


async def tell(play: OidcPlay, event: str, **changed: Any) -> Answer:
    return await push(play, play.simulator.event_token(CLIENT, MAJA, event, **changed))


async def logged_in(play: OidcPlay) -> Browser:
    browser = play.stage.browser()
    assert "code" in (await play.attempt(browser)).query
    return browser


async def is_in(play: OidcPlay, browser: Browser) -> bool:
    return "code" in (await browser.get(play.stage.shop.request(prompt="none"))).query


# What is believed


def about(**subject: str) -> dict[str, Any]:
    return {"events": {EVENTS["sessions-revoked"][0]: {"subject": subject}}}


@pytest.mark.parametrize(
    ("changed", "err"),
    [
        ({"key": STRANGER}, "invalid_key"),
        ({"key": FORGED}, "invalid_key"),
        ({"iss": "https://accounts.other.example/"}, "invalid_issuer"),
        ({"iss": None}, "invalid_issuer"),
        ({"aud": "another-client"}, "invalid_audience"),
        ({"aud": ["another-client"]}, "invalid_audience"),
        ({"aud": None}, "invalid_audience"),
        ({"aud": {"stafett-demo": 1}}, "invalid_audience"),
        ({"iat": None}, "invalid_request"),
        ({"iat": "now"}, "invalid_request"),
        ({"iat": 4_000_000_000}, "invalid_request"),
        ({"jti": None}, "invalid_request"),
        ({"jti": "x" * 256}, "invalid_request"),
        ({"nonce": "n"}, "invalid_request"),
        ({"events": None}, "invalid_request"),
        ({"events": {}}, "invalid_request"),
        ({"events": [EVENTS["sessions-revoked"][0]]}, "invalid_request"),
        ({"events": {EVENTS["sessions-revoked"][0]: True}}, "invalid_request"),
        ({"events": {f"https://e.example/{n}": {} for n in range(21)}}, "invalid_request"),
        (about(iss="https://accounts.other.example", sub=MAJA.sub), "invalid_request"),
        (about(sub=MAJA.sub), "invalid_request"),
        (about(iss="", sub="å"), "invalid_request"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
async def test_what_is_not_believed_ends_nothing(play: OidcPlay, changed: dict[str, Any], err: str) -> None:
    """Forged, of others, for others, misshapen: 400 with err and description (RFC 8935 section 2.3), and she stays in."""
    browser = await logged_in(play)
    refused = await tell(play, "account-purged", **changed)
    assert (refused.status, refused.json["err"], sorted(refused.json)) == (400, err, ["description", "err"])
    assert refused.headers["content-type"] == "application/json"
    assert refused.headers["cache-control"] == "no-store"
    assert await is_in(play, browser)


@pytest.mark.parametrize("token", ["", "a.b.c", "x" * 20_000, "ÿ"], ids=["empty", "dots", "long", "bytes"])
async def test_what_is_no_token(play: OidcPlay, token: str) -> None:
    """Never a fault of ours."""
    refused = await push(play, token)
    assert (refused.status, refused.json["err"]) == (400, "invalid_request")


async def test_tokens_of_other_kinds_are_no_events(play: OidcPlay) -> None:
    """Nor does a logout's address take events, nor a provider that sends none."""
    event = play.simulator.event_token(CLIENT, MAJA, "sessions-revoked")
    as_logout = await play.stage.client.post("/up/google/backchannel-logout", data={"logout_token": event})
    assert as_logout.status_code == 400
    assert [(await push(play, event, other)).status for other in ("nobody", "bankid")] == [400, 400]
    assert (await play.stage.client.get("/up/google/events")).status_code == 405


async def test_an_algorithm_without_a_key(play: OidcPlay) -> None:
    """Unsigned events are no events."""
    header, _, rest = play.simulator.event_token(CLIENT, MAJA, "sessions-revoked").partition(".")
    del header
    unsigned = f"eyJhbGciOiJub25lIn0.{rest.partition('.')[0]}."
    assert (await push(play, unsigned)).json["err"] == "invalid_request"


async def test_while_keys_cannot_be_had_it_may_be_sent_again(play: OidcPlay) -> None:
    """503, and the same token is taken afterwards."""
    browser = await logged_in(play)
    token = play.simulator.event_token(CLIENT, MAJA, "sessions-revoked")
    play.fail()
    assert (await push(play, token)).status == 503
    play.heal()
    play.forward(11)
    assert (await push(play, token)).status == 202
    assert not await is_in(play, browser)


async def test_a_rotated_key_is_fetched(play: OidcPlay) -> None:
    """An unknown kid leads to one fetch."""
    await tell(play, "verification")
    play.simulator.rotate()
    assert (await tell(play, "verification")).status == 202


# What follows


@pytest.mark.parametrize(
    ("event", "stays_in", "may_return"),
    [
        ("sessions-revoked", False, True),
        ("tokens-revoked", False, True),
        ("account-credential-change-required", False, True),
        ("identifier-recycled", False, True),
        ("account-disabled (hijacking)", False, False),
        ("account-disabled (bulk-account)", False, False),
        ("account-purged", False, False),
        ("account-enabled", True, True),
        ("identifier-changed", True, True),
        ("verification", True, True),
    ],
)
async def test_each_event_has_its_effect(play: OidcPlay, event: str, stays_in: bool, may_return: bool) -> None:
    """202 without a body; hers alone; who may not return reads why she should choose another way."""
    browser = await logged_in(play)
    other = play.stage.browser()
    await other.follow(await other.get(play.stage.shop.request()))
    await other.log_in("bankid", "karl")
    told = await tell(play, event)
    assert (told.status, told.text) == (202, "")
    assert (await is_in(play, browser), await is_in(play, other)) == (stays_in, True)
    again = play.stage.browser()
    page = await play.attempt(again)
    assert ("code" in page.query, SESSION in again.cookies) == (may_return, may_return)
    assert may_return or play.offers(page)


async def test_a_disabled_account_may_be_enabled_again(play: OidcPlay) -> None:
    """In the order in which it was said, however it arrives; what is gone stays gone."""
    await logged_in(play)
    disabled = play.simulator.event_token(CLIENT, MAJA, "account-disabled (hijacking)")
    await push(play, disabled)
    play.forward(60)
    assert (await tell(play, "account-enabled")).status == 202
    await logged_in(play)
    late = play.simulator.event_token(
        CLIENT, MAJA, "account-disabled (hijacking)", iat=int((play.stage.clock() - timedelta(minutes=5)).timestamp())
    )
    assert [(await push(play, each)).status for each in (disabled, late)] == [202, 202]
    await logged_in(play)
    await tell(play, "account-purged")
    play.forward(60)
    await tell(play, "account-enabled")
    assert SESSION not in (await attempted(play)).cookies


async def attempted(play: OidcPlay) -> Browser:
    browser = play.stage.browser()
    await play.attempt(browser)
    return browser


async def test_told_twice_ends_nothing_newer(play: OidcPlay) -> None:
    """Redelivery is possible: a jti counts once, and an old event ends no session begun since."""
    await logged_in(play)
    token = play.simulator.event_token(CLIENT, MAJA, "sessions-revoked")
    assert (await push(play, token)).status == 202
    browser = await logged_in(play)
    assert (await push(play, token)).status == 202
    assert await is_in(play, browser)
    play.forward(3600)
    browser = await logged_in(play)
    month = timedelta(days=30).total_seconds()
    old = play.simulator.event_token(CLIENT, MAJA, "sessions-revoked", iat=int(play.stage.clock().timestamp() - month))
    assert (await push(play, old)).status == 202
    assert await is_in(play, browser)


@pytest.mark.parametrize("event", ["sessions-revoked", "account-disabled (hijacking)", "account-purged"])
async def test_who_logged_in_before_a_late_event_arrived_is_out(play: OidcPlay, event: str) -> None:
    """The hijacker may have come between the event and its arrival: she logs in again, he does not."""
    said = int(play.stage.clock().timestamp())
    play.forward(600)
    browser = await logged_in(play)
    assert (await tell(play, event, iat=said)).status == 202
    assert not await is_in(play, browser)


async def test_a_late_block_that_was_lifted_before_ends_nothing_newer(play: OidcPlay) -> None:
    """Who logged in since the provider said that all is well stays in."""
    await logged_in(play)
    said = int(play.stage.clock().timestamp())
    play.forward(300)
    await tell(play, "account-enabled")
    play.forward(300)
    browser = await logged_in(play)
    assert (await tell(play, "account-disabled (hijacking)", iat=said)).status == 202
    assert await is_in(play, browser)


async def customer_of(play: OidcPlay) -> str:
    context = play.stage.broker.context
    customer = await context.records.customer_of(context.lookup.digest(play.simulator.issuer, MAJA.sub))
    assert customer is not None
    return customer


async def test_a_way_in_that_is_brought_back_stays_blocked(play: OidcPlay) -> None:
    """Disabled while it was taken out: nobody becomes a customer by it meanwhile, and brought back it opens nothing."""
    await logged_in(play)
    records, now = play.stage.records, play.stage.clock()
    customer = await customer_of(play)
    (google,) = await records.identities_of(customer)
    other = replace(google, lookup="a" * 64, upstream="bankid", created_at=now)
    assert await records.link_identity(other, []) == customer
    assert await records.remove_identity(google.lookup, customer, {"bankid"}, now)
    assert (await tell(play, "account-disabled (hijacking)")).status == 202
    assert SESSION not in (await attempted(play)).cookies
    assert await records.customer_of(google.lookup) is None
    assert await records.restore_identity(google.lookup, customer, now - timedelta(days=1))
    assert SESSION not in (await attempted(play)).cookies
    play.forward(60)
    await tell(play, "account-enabled")
    await logged_in(play)
    assert await customer_of(play) == customer


@pytest.mark.parametrize(
    ("event", "words"),
    [("account-disabled (hijacking)", "somebody else may have it"), ("account-purged", "no longer exists")],
)
async def test_who_may_not_return_reads_what_happened(play: OidcPlay, event: str, words: str) -> None:
    """In plain words, with the other ways in; none of what she has here is told, for it may not be her who reads."""
    await logged_in(play)
    await tell(play, event)
    browser = play.stage.browser()
    await play.attempt(browser)
    page = browser.page
    assert page is not None
    assert "account-shut" in page.ids
    assert words in page.text
    assert "method-bankid" in page.ids
    assert ("Sort it out" in page.text) is (event != "account-purged")
    assert MAJA.email not in page.text


async def test_several_events_in_one_token_all_count(play: OidcPlay) -> None:
    """The first does not use the token up for the second."""
    browser = await logged_in(play)
    subject = {"subject_type": "iss-sub", "iss": play.simulator.issuer, "sub": MAJA.sub}
    events = {"https://e.example/new": {"subject": subject}, EVENTS["sessions-revoked"][0]: {"subject": subject}}
    assert (await tell(play, "verification", events=events)).status == 202
    assert not await is_in(play, browser)


@pytest.mark.parametrize("event", ["sessions-revoked", "account-disabled (hijacking)", "account-purged"])
async def test_somebody_we_never_saw(play: OidcPlay, event: str) -> None:
    """202, nothing happens, and nothing is kept of her: when she comes, she comes as anybody."""
    assert (await push(play, play.simulator.event_token(CLIENT, ERIK, event))).status == 202
    assert (await push(play, play.simulator.event_token(CLIENT, MAJA, event))).status == 202
    await logged_in(play)


async def test_another_account_is_not_touched(play: OidcPlay) -> None:
    """Erik's trouble is not Maja's."""
    browser = await logged_in(play)
    await push(play, play.simulator.event_token(CLIENT, ERIK, "account-purged"))
    assert await is_in(play, browser)


@pytest.mark.parametrize(
    "members", [{}, {"subject": {"subject_type": "email", "email": "maja@x.example"}}, {"subject": "maja"}], ids=str
)
async def test_an_event_that_names_nobody_by_number(play: OidcPlay, members: dict[str, Any]) -> None:
    """An e-mail address is no key: nobody is put out by it."""
    browser = await logged_in(play)
    events = {EVENTS["account-purged"][0]: members}
    assert (await tell(play, "verification", events=events)).status == 202
    assert await is_in(play, browser)


async def test_the_log_names_the_event_and_nobody(play: OidcPlay, capsys: pytest.CaptureFixture[str]) -> None:
    """Kind, reason and how many sessions; an unknown kind is only called so, odd words are left out."""
    await logged_in(play)
    await tell(play, "account-disabled (hijacking)")
    odd = {"https://e.example/maja@x.example": {"reason": "maja@x.example"}}
    await tell(play, "verification", events=odd)
    lines = [line for line in "".join(capsys.readouterr()).splitlines() if "upstream.event" in line]
    assert re.search(r"about=hijacking.* sessions=1 .*what=account-disabled", lines[0])
    assert "what=unknown" in lines[1]
    assert "maja@" not in "".join(lines)
    assert MAJA.sub not in "".join(lines)


async def test_the_simulators_button(play: OidcPlay) -> None:
    """It tells its clients, and is strict about the answer."""
    await logged_in(play)
    async with httpx2.AsyncClient(verify=PLAIN, trust_env=False, base_url=play.simulator.issuer) as person:
        sent = await person.post("/simulator/event", data={"account": "maja", "event": "sessions-revoked"})
        assert sent.status_code == 303
        assert "This client has no address for events." in (await person.get("/simulator")).text
        assert (await person.post("/simulator/event", data={"account": "x", "event": "y"})).status_code == 400


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Response(status_code=202), "202, as it must be"),
        (Response("ok", 202), "202, but with a body: not as it must be"),
        (JSONResponse({"err": "invalid_key", "description": "No."}, 400), "400 invalid_key"),
        (JSONResponse({"error": "invalid_request"}, 400), "400 without err and description: not as it must be"),
        (Response("no", 400), "400 without err and description: not as it must be"),
        (Response(status_code=503), "503: tried again later"),
    ],
    ids=range(6),
)
async def test_the_simulator_is_strict_about_answers(answer: Response, words: str) -> None:
    """RFC 8935 sections 2.2 to 2.4."""
    sent: list[Request] = []

    async def taken(request: Request) -> Response:
        sent.append(request)
        return answer

    app = Starlette(routes=[Route("/events", taken, methods=["POST"])])
    async with on_loopback(lambda origin: app) as origin:
        client = GoogleClient("Stafett", SECRET, frozenset(), f"{origin}/events")
        simulated = create_app(issuer="http://127.0.0.1:1", clients={CLIENT: client}, clock=Clock(), keys=KEYS)
        assert await simulated.state.simulator.tell(CLIENT, MAJA, "sessions-revoked") == words
    assert sent[0].headers["content-type"] == "application/secevent+jwt"


# Hosted domains


async def test_a_hosted_domain_is_wished_for_and_checked(google: Google) -> None:
    """The parameter is a hint that anybody can strike out; the signed claim decides."""
    google.connector = connect(google, ["sandellsakeri.example"])
    _, url = await google.begin()
    assert "hd=sandellsakeri.example" in url
    assert (await google.login("erik")).name == "Erik Sandell"
    for outsider in ("maja", "aino", "noor"):
        with pytest.raises(UpstreamRefused) as error:
            await google.login(outsider)
        assert code_of(error) == "claims.value"


async def test_several_hosted_domains(google: Google) -> None:
    """Any of them; the hint can name one only, so it asks for some organisation."""
    google.connector = connect(google, ["other.example", "sandellsakeri.example"])
    _, url = await google.begin()
    assert "hd=%2A" in url
    assert (await google.login("erik")).name == "Erik Sandell"


@pytest.mark.parametrize(
    "changes",
    [
        {"hosted_domain": ["Sandell AB"]},
        {"hosted_domain": "sandellsakeri.example"},
        {"hosted_domain": ["a.example"], "extra_authorize_params": {"hd": "b.example"}},
        {"hosted_domain": ["a.example"], "required_values": {"hd": ["b.example"]}},
        {"risc_configuration": "accounts.google.com"},
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_a_config_that_cannot_be_meant(google: Google, changes: dict[str, Any]) -> None:
    """Found when it is read."""
    with pytest.raises(ValidationError):
        google.config(**changes)


def connect(google: Google, domains: list[str]) -> OidcConnector:
    return OidcConnector.of("google", google.config(hosted_domain=domains), credential=SECRET, fetcher=google.fetcher)
