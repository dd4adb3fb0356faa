"""
Single logout with a SAML provider: whoever logs out here goes there and comes back, and the provider ends our sessions. What is
not believed ends nothing, and whatever happens there, she is out here first.
"""

import base64
import random
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
import pytest_asyncio
from pydantic import ValidationError

from broker.config.load import load
from broker.core.logout import AtProvider, Farewell, Fate, Party, fates, may_go_straight_on
from broker.core.saml import POST as BY_POST
from broker.core.saml import REDIRECT as BY_REDIRECT
from broker.core.saml import PeerKey
from broker.demo.providers.saml_idp import GENERIC, Known
from broker.demo.providers.saml_logout import POST, REDIRECT, Asked, Lie, Message
from broker.errors import ConfigError
from broker.flows.logout import Parted
from broker.upstream.saml import SamlConnect
from broker.web.hub import way_out
from broker.wire.saml.aggregate import Demands, read
from tests.changing import replace
from tests.stage import ISSUER, Answer, Browser
from tests.upstream.saml import ADDRESS, Forgetful, Provider, World, connect_block, open_world, rsa_pair, write
from tests.upstream.test_saml import SETTINGS

BYE = "http://127.0.0.1:8701/logged-out"
SLO = f"{ADDRESS}/slo"
RSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
LOGOUT: dict[str, Any] = {**SETTINGS, "logout": True}


@pytest_asyncio.fixture
async def world(stage_folder: Path) -> AsyncIterator[World]:
    async with open_world(stage_folder, "saml", GENERIC, **LOGOUT) as opened:
        yield opened


async def logged_in(world: World, browser: Browser | None = None, account: str = "maja") -> tuple[Browser, str]:
    """A browser with a session by the provider, and the shop's ID token."""
    customer = browser or world.stage.browser()
    tokens = await world.stage.shop.exchange(await world.attempt(account, customer))
    return customer, tokens["id_token"]


async def is_in(world: World, browser: Browser) -> bool:
    """Whether *browser* still has a session here."""
    return "code" in (await browser.get(world.stage.shop.request(prompt="none"))).query


async def leaves(world: World, browser: Browser, hint: str) -> Answer:
    """She logs out at the shop; where that sends her browser."""
    asked = {"id_token_hint": hint, "post_logout_redirect_uri": BYE, "state": "s"}
    return await browser.follow(await browser.get(f"/logout?{urlencode(asked)}"))


async def heard(world: World, gone: Answer) -> Asked:
    """The provider takes the request that *gone* carries."""
    form = gone.form_post
    taken = await world.logouts.taken(None if form else urlsplit(gone.location).query, form["fields"] if form else ())
    assert isinstance(taken, Asked)
    return taken


async def back(world: World, browser: Browser, message: Message) -> Answer:
    """The provider sends her back with *message*; a form comes without our cookies."""
    if message.form is None:
        return await browser.follow(await browser.get(message.url))
    return await browser.follow(Answer(await world.stage.client.post(message.url, data=dict(message.form))))


def token_of(gone: Answer) -> str:
    """What the page that tells how it went is asked for by."""
    return dict(parse_qsl(urlsplit(gone.url).query))["of"]


async def still_there(browser: Browser, token: str) -> bool:
    """Whether she reads that she may still be logged in at the provider."""
    return "still-at-provider" in (await browser.get(f"/logged-out?of={token}")).ids


# She leaves here


@pytest.mark.parametrize("answers_by", [REDIRECT, POST], ids=["redirect", "post"])
@pytest.mark.parametrize("takes", ["HTTP-Redirect", "HTTP-POST"])
@pytest.mark.parametrize("is_sealed", [True, False], ids=["sealed", "clear"])
async def test_there_and_back(stage_folder: Path, takes: str, answers_by: str, is_sealed: bool) -> None:
    """
    Out here before she goes; there by a signed request of the NameID she came with (encrypted, where there is a key), of this
    session; then on to where the shop wanted her.
    """
    sealed = rsa_pair(8) if is_sealed else None
    async with open_world(stage_folder, "saml", GENERIC, takes=(takes,), sealed_to=sealed, **LOGOUT) as world:
        browser, hint = await logged_in(world)
        gone = await leaves(world, browser, hint)
        assert gone.location.startswith(world.simulator.origin)
        assert (gone.form_post is not None) is (takes == "HTTP-POST")
        assert not await is_in(world, browser)
        (known,) = world.simulator.sessions
        assert known.name_id not in gone.location
        asked = await heard(world, gone)
        assert asked.session == known
        done = await back(world, browser, await world.logouts.answer(asked, answers_by))
        assert (done.location, world.logouts.over) == (f"{BYE}?state=s", [known])


async def test_a_name_in_the_clear_goes_by_post(world: World) -> None:
    """Where there is a choice: addresses are kept in histories and logs."""
    browser, hint = await logged_in(world)
    gone = await leaves(world, browser, hint)
    assert gone.form_post is not None
    world.simulator.sealed_to = rsa_pair(8)
    browser, hint = await logged_in(world)
    gone = await leaves(world, browser, hint)
    assert gone.form_post is None
    assert (await heard(world, gone)).session == world.simulator.sessions[-1]


async def test_from_our_own_page(world: World) -> None:
    """Without a partner behind it she ends on our page, which says that she is out there too."""
    browser, _ = await logged_in(world)
    await browser.follow(await browser.get("/logout/confirm"))
    gone = await browser.follow(await browser.press("log-out"))
    done = await back(world, browser, await world.logouts.answer(await heard(world, gone)))
    assert done.status == 200
    assert {"told", "still-at-provider"} & done.ids == {"told"}
    assert "eID" in done.text


async def test_off_unless_config_says_so(stage_folder: Path) -> None:
    """Nothing is kept, sent, published or taken."""
    async with open_world(stage_folder, "saml", GENERIC, **SETTINGS) as world:
        world.simulator.logs_out = True
        browser, hint = await logged_in(world)
        assert (await leaves(world, browser, hint)).location == f"{BYE}?state=s"
        assert b"SingleLogoutService" not in (await world.stage.client.get("/up/eid/metadata")).content
        query = "SAMLRequest=fVA%3D&SigAlg=x&Signature=x"
        assert (await browser.get(f"/up/eid/slo?{query}")).status == 400
        for upstream in ("bankid", "nobody"):
            assert (await browser.get(f"/up/{upstream}/slo?{query}")).status == 400
            assert (await browser.get(f"/up/{upstream}/leave?of=x")).location == f"{ISSUER}/logged-out?of=x"


async def test_a_login_by_another_way_is_no_business_of_the_providers(world: World) -> None:
    """Only whoever came by it goes there."""
    browser = world.stage.browser()
    hint = (await world.stage.shop_login(browser))["id_token"]
    assert (await leaves(world, browser, hint)).location == f"{BYE}?state=s"


@pytest.mark.parametrize(
    ("status", "second", "word"),
    [
        ("Success", "PartialLogout", "but perhaps not at other sites"),
        ("Responder", None, "did not confirm"),
        ("Responder", "PartialLogout", "did not confirm"),
        ("Requester", "UnknownPrincipal", "did not confirm"),
    ],
)
@pytest.mark.parametrize("answers_by", [REDIRECT, POST], ids=["redirect", "post"])
async def test_what_the_provider_did_not_do(
    world: World, status: str, second: str | None, word: str, answers_by: str
) -> None:
    """She reads the truth, is out here all the same, may try again, and goes on from there."""
    world.stage.client.headers["accept-language"] = "en"
    browser, hint = await logged_in(world)
    world.logouts.status, world.logouts.second = status, second
    gone = await leaves(world, browser, hint)
    page = await back(world, browser, await world.logouts.answer(await heard(world, gone), answers_by))
    assert {"still-at-provider", "onward"} <= page.ids
    assert word in page.text
    assert "http-equiv" not in page.text
    assert not await is_in(world, browser)
    world.logouts.status, world.logouts.second = "Success", None
    token = dict(parse_qsl(urlsplit(page.url).query))["of"]
    again = await browser.get(f"/up/eid/leave?of={token}")
    done = await back(world, browser, await world.logouts.answer(await heard(world, again)))
    assert done.location == f"{BYE}?state=s"


@pytest.mark.parametrize("language", ["sv", "fi", "pl", "en"])
async def test_she_never_came_back(world: World, language: str) -> None:
    """The provider is down: what she does not know is not claimed, in her language."""
    world.stage.client.headers["accept-language"] = language
    browser, hint = await logged_in(world)
    gone = await leaves(world, browser, hint)
    assert gone.form_post is not None
    page = await browser.get(f"/logged-out?of={token_of(gone)}")
    assert {"still-at-provider", "onward"} <= page.ids
    assert "eID" in page.text


@pytest.mark.parametrize("how", ["metadata away", "gone", "no address", "key that cannot be used"])
async def test_a_provider_that_cannot_be_asked(world: World, how: str) -> None:
    """She is told, and out here; nothing fails, and a name that has to be sealed does not travel in the clear."""
    browser, hint = await logged_in(world)
    match how:
        case "metadata away":
            world.peers.is_down = True
        case "gone":
            world.peers.is_gone = True
        case "no address":
            world.simulator.logs_out = False
        case _:
            known = await world.peers.provider("", world.simulator.entity_id)
            assert known is not None
            cbc = PeerKey(rsa_pair(8).certificate, "encryption", ("http://www.w3.org/2001/04/xmlenc#aes128-cbc",))
            world.peers.instead = replace(known, keys=(*known.keys, cbc))
    page = await leaves(world, browser, hint)
    assert page.status == 200
    assert {"still-at-provider", "onward"} <= page.ids
    assert not await is_in(world, browser)


def test_who_is_told_by_our_page_comes_first() -> None:
    """A provider that is down must not keep her browser from the page that tells partners; there she is offered the way."""
    there = AtProvider("eid", b"", Fate.REACHABLE)
    for front, expected in ((False, f"/up/eid/leave?of={'t' * 43}"), (True, f"/logged-out?of={'t' * 43}")):
        party = Party("tyre-shop", "sid", "sub", back=False, front=front)
        farewell = Farewell("t" * 43, "batch", (party,), target=BYE, provider=there)
        known = fates(farewell, {})
        assert way_out(Parted(farewell, known, may_go_straight_on(farewell, known), BYE)) == expected


@pytest.mark.parametrize(("fate", "goes"), [(Fate.TOLD, True), (Fate.PARTLY, False), (Fate.UNTOLD, False)])
def test_she_goes_straight_on_only_where_all_is_over(fate: Fate, goes: bool) -> None:
    """And to the provider by itself once only."""
    farewell = Farewell("t" * 43, "batch", (), target=BYE, provider=AtProvider("eid", b"", fate))
    parted = Parted(farewell, {}, may_go_straight_on(farewell, {}), BYE)
    assert (way_out(parted) == BYE) is goes
    assert parted.next_provider is None


# What it answers


ANSWER_LIES = (
    Lie.UNSIGNED, Lie.UNKNOWN_KEY, Lie.CHANGED, Lie.WRONG_ISSUER, Lie.WRONG_DESTINATION, Lie.NO_DESTINATION, Lie.WRONG_REQUEST,
    Lie.NO_REQUEST, Lie.STALE, Lie.FROM_THE_FUTURE, Lie.DOCTYPE,
)  # fmt: skip


@pytest.mark.parametrize("answers_by", [REDIRECT, POST], ids=["redirect", "post"])
@pytest.mark.parametrize("lie", ANSWER_LIES, ids=str)
async def test_an_answer_that_is_not_believed(world: World, lie: Lie, answers_by: str) -> None:
    """A page that says so; nothing is claimed, nobody is sent anywhere, and the true answer still counts."""
    browser, hint = await logged_in(world)
    gone = await leaves(world, browser, hint)
    asked = await heard(world, gone)
    world.logouts.switch(lie)
    page = await back(world, browser, await world.logouts.answer(asked, answers_by))
    assert (400 <= page.status < 500, page.location) == (True, "")
    assert await still_there(browser, token_of(gone))
    world.logouts.switch()
    assert (await back(world, browser, await world.logouts.answer(asked, answers_by))).location == f"{BYE}?state=s"


@pytest.mark.parametrize("answers_by", [REDIRECT, POST], ids=["redirect", "post"])
async def test_an_answer_counts_once(world: World, answers_by: str) -> None:
    """The same, and another to the same request."""
    browser, hint = await logged_in(world)
    asked = await heard(world, await leaves(world, browser, hint))
    message = await world.logouts.answer(asked, answers_by)
    assert (await back(world, browser, message)).location == f"{BYE}?state=s"
    for again in (message, await world.logouts.answer(asked, answers_by)):
        assert 400 <= (await back(world, browser, again)).status < 500


@pytest.mark.parametrize("answers_by", [REDIRECT, POST], ids=["redirect", "post"])
async def test_an_answer_in_another_browser(world: World, answers_by: str) -> None:
    """It belongs to the browser that was sent: a stranger's learns nothing, neither of her logout nor where she was heading."""
    browser, hint = await logged_in(world)
    gone = await leaves(world, browser, hint)
    message = await world.logouts.answer(await heard(world, gone), answers_by)
    for stranger in (world.stage.browser(), (await logged_in(world, account="eleni"))[0]):
        page = await back(world, stranger, message)
        assert (400 <= page.status < 500, page.location) == (True, "")
        assert BYE not in page.text
    assert await still_there(browser, token_of(gone))


async def test_the_answer_to_another_logout(world: World) -> None:
    """Two customers leave at once; each one's answer is for her own."""
    (maja, hint), (eleni, other) = await logged_in(world), await logged_in(world, account="eleni")
    first, second = await leaves(world, maja, hint), await leaves(world, eleni, other)
    asked = await heard(world, first), await heard(world, second)
    page = await back(world, maja, await world.logouts.answer(asked[1]))
    assert 400 <= page.status < 500
    assert (await back(world, maja, await world.logouts.answer(asked[0]))).location == f"{BYE}?state=s"


async def test_two_tabs(world: World) -> None:
    """The page is opened twice: two requests, each answered once, and she is out."""
    browser, hint = await logged_in(world)
    first = await leaves(world, browser, hint)
    second = await browser.copy().get(f"/up/eid/leave?of={token_of(first)}")
    one, two = await heard(world, first), await heard(world, second)
    assert one.id != two.id
    for asked in (two, one):
        assert (await back(world, browser, await world.logouts.answer(asked))).location == f"{BYE}?state=s"
    assert (await browser.get(f"/up/eid/leave?of={token_of(first)}")).location.startswith(f"{ISSUER}/logged-out")


@pytest.mark.parametrize("of", ["", "x", "x" * 43, "x" * 300, "../x", "a b"])
async def test_the_way_there_needs_a_logout(world: World, of: str) -> None:
    """Nobody is sent anywhere by a link of somebody's own making."""
    browser, _ = await logged_in(world)
    gone = await browser.get(f"/up/eid/leave?{urlencode({'of': of})}")
    assert gone.location.startswith(f"{ISSUER}/logged-out")
    assert await is_in(world, browser)


# The provider asks


async def test_what_it_is_told(world: World) -> None:
    """It ends our session and is answered under our signature, with its RelayState, at its address."""
    browser, _ = await logged_in(world)
    for binding in (REDIRECT, POST):
        browser, _ = await logged_in(world)
        message = await world.logouts.ask(world.simulator.sessions[-1], binding, relay_state="r")
        gone = await back(world, world.stage.browser(), message)
        assert gone.location.startswith(f"{world.simulator.origin}/slo")
        assert gone.query["RelayState"] == "r"
        form = gone.form_post
        assert (
            await world.logouts.taken(None if form else urlsplit(gone.location).query, form["fields"] if form else ())
            == "Success"
        )
        assert not await is_in(world, browser)


async def test_by_its_name_alone_all_of_hers(world: World) -> None:
    """Without SessionIndex all her sessions by this provider, in whichever browser; with one, that one (saml-core 3.7.3.1)."""
    browsers = [(await logged_in(world))[0] for _ in range(3)]
    eleni = (await logged_in(world, account="eleni"))[0]
    by_bankid = world.stage.browser()
    await world.stage.shop_login(by_bankid)
    await back(world, world.stage.browser(), await world.logouts.ask(world.simulator.sessions[0]))
    assert [await is_in(world, each) for each in browsers] == [False, True, True]
    await back(world, world.stage.browser(), await world.logouts.ask(world.simulator.sessions[0], POST, index=False))
    assert [await is_in(world, each) for each in (*browsers, eleni, by_bankid)] == [False, False, False, True, True]


REQUEST_LIES = (
    Lie.UNSIGNED, Lie.UNKNOWN_KEY, Lie.CHANGED, Lie.WRONG_ISSUER, Lie.WRONG_DESTINATION, Lie.NO_DESTINATION, Lie.STALE,
    Lie.FROM_THE_FUTURE, Lie.VOID, Lie.DOCTYPE, Lie.NO_NAME,
)  # fmt: skip


@pytest.mark.parametrize("binding", [REDIRECT, POST], ids=["redirect", "post"])
@pytest.mark.parametrize("lie", REQUEST_LIES, ids=str)
async def test_a_request_that_is_not_believed(world: World, lie: Lie, binding: str) -> None:
    """A page here, no answer, and she stays in."""
    browser, _ = await logged_in(world)
    world.logouts.switch(lie)
    page = await back(world, browser, await world.logouts.ask(world.simulator.sessions[0], binding))
    assert (400 <= page.status < 500, page.location) == (True, "")
    assert await is_in(world, browser)


@pytest.mark.parametrize("lie", [Lie.OTHER_NAME, Lie.OTHER_INDEX], ids=str)
async def test_a_session_that_is_not_ours(world: World, lie: Lie) -> None:
    """Answered as one that is over, since nobody can tell: and hers goes on."""
    browser, _ = await logged_in(world)
    world.logouts.switch(lie)
    gone = await back(world, browser, await world.logouts.ask(world.simulator.sessions[0]))
    assert gone.location.startswith(f"{world.simulator.origin}/slo") or gone.form_post
    assert await is_in(world, browser)


@pytest.mark.parametrize("binding", [REDIRECT, POST], ids=["redirect", "post"])
async def test_a_request_counts_once(world: World, binding: str) -> None:
    """And ends nothing that was begun after it was made."""
    browser, _ = await logged_in(world)
    message = await world.logouts.ask(world.simulator.sessions[0], binding, index=False)
    assert (await back(world, browser, message)).query.get("SAMLResponse")
    await logged_in(world, browser)
    assert 400 <= (await back(world, browser, message)).status < 500
    assert await is_in(world, browser)


async def test_a_late_request_ends_nothing_newer(world: World) -> None:
    """She logged in anew before it reached us."""
    message = await world.logouts.ask(Known(*_name(await logged_in_as(world))), index=False)
    world.stage.clock.forward(seconds=120)
    browser, _ = await logged_in(world)
    assert (await back(world, browser, message)).query.get("SAMLResponse")
    assert await is_in(world, browser)


async def logged_in_as(world: World) -> Known:
    await logged_in(world)
    return world.simulator.sessions[-1]


def _name(known: Known) -> tuple[str, str, str]:
    return known.name_id, known.name_id_format, known.index


async def test_a_request_that_wants_no_answer_we_can_give(world: World) -> None:
    """Its metadata has no address for answers any more: the sessions end, and nobody is sent anywhere."""
    browser, _ = await logged_in(world)
    message = await world.logouts.ask(world.simulator.sessions[0])
    world.simulator.logs_out = False
    page = await back(world, browser, message)
    assert page.location == ""
    assert not await is_in(world, browser)


async def test_the_metadata_is_away(world: World) -> None:
    """What cannot be verified ends nothing."""
    browser, _ = await logged_in(world)
    message = await world.logouts.ask(world.simulator.sessions[0])
    world.peers.is_down = True
    assert (await back(world, browser, message)).location == ""
    assert await is_in(world, browser)


# Hostile input, and a store that is away


async def test_too_much(world: World) -> None:
    """Refused unread."""
    browser, _ = await logged_in(world)
    world.logouts.switch(Lie.HUGE)
    for binding in (REDIRECT, POST):
        page = await back(world, browser, await world.logouts.ask(world.simulator.sessions[0], binding))
        assert 400 <= page.status < 500
    assert await is_in(world, browser)


@pytest.mark.parametrize("binding", [REDIRECT, POST], ids=["redirect", "post"])
async def test_a_request_that_never_ends(world: World, binding: str) -> None:
    """The end of time is an end, and no fault of ours."""
    browser, _ = await logged_in(world)
    message = world.logouts._message
    forever = {"NotOnOrAfter": "9999-12-31T23:59:59Z"}
    world.logouts._message = lambda name, content, _, *more: message(name, content, forever, *more)  # type: ignore[method-assign]
    await back(world, browser, await world.logouts.ask(world.simulator.sessions[0], binding))
    assert not await is_in(world, browser)


@pytest.mark.parametrize("inside", ["<samlp:SessionIndex a=''/>", "<saml:AttributeStatement/>", "<x/>"], ids=range(3))
async def test_small_messages_are_no_great_work(world: World, inside: str, capsys: pytest.CaptureFixture[str]) -> None:
    """security: anybody may send one; of many elements it is refused before the schema is asked, which takes longest."""
    head = '<samlp:LogoutRequest xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol"'
    head += (
        ' xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="_1" Version="2.0" IssueInstant="2026-11-22T08:00:00Z">'
    )
    octets = f"{head}<saml:Issuer>x</saml:Issuer>{inside * 1_500}</samlp:LogoutRequest>".encode()
    deflated = base64.b64encode(zlib.compress(octets, wbits=-15)).decode()
    query = urlencode({"SAMLRequest": deflated, "SigAlg": RSA_SHA256, "Signature": "eA=="})
    assert (await world.stage.client.get(f"{SLO}?{query}")).status_code == 400
    form = {"SAMLRequest": base64.b64encode(octets).decode()}
    assert (await world.stage.client.post(SLO, data=form)).status_code == 400
    assert capsys.readouterr().out.count("code=saml.too_many_nodes") == 2


async def test_anything(world: World) -> None:
    """Whatever is sent there: a refusal, and never a fault of ours."""
    browser, hint = await logged_in(world)
    asked = await heard(world, await leaves(world, browser, hint))
    browser, _ = await logged_in(world)
    good = [
        await world.logouts.ask(world.simulator.sessions[-1], POST),
        await world.logouts.answer(asked, POST),
    ]
    chance = random.Random(7)
    for message in good * 20:
        assert message.form is not None
        (field, value), octets = next(iter(message.form.items())), bytearray()
        octets += base64.b64decode(value)
        for _ in range(chance.randrange(1, 4)):
            at = chance.randrange(len(octets))
            octets[at : at + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
        if bytes(octets) == base64.b64decode(value):
            continue
        form = {field: base64.b64encode(octets).decode()}
        assert 400 <= (await world.stage.client.post(SLO, data=form)).status_code < 500
        query = urlencode(form | {"SigAlg": "x", "Signature": "eA=="})
        assert 400 <= (await browser.get(f"{SLO}?{query}")).status < 500
    both = {"SAMLRequest": "eA==", "SAMLResponse": "eA=="}
    for members in ({}, both, {"SAMLart": "x"}, {"SAMLRequest": ""}, {"SAMLRequest": "eA==", "RelayState": "x" * 81}):
        assert 400 <= (await world.stage.client.post(SLO, data=members)).status_code < 500
        assert 400 <= (await browser.get(f"{SLO}?{urlencode(members)}")).status < 500
    assert 400 <= (await browser.get(f"{SLO}/{'x' * 22}")).status < 500
    assert await is_in(world, browser)


async def test_one_binding_is_not_the_other(world: World) -> None:
    """A signed document in an address is not signed, nor is a document in a form by a signature beside it."""
    browser, _ = await logged_in(world)
    by_form = await world.logouts.ask(world.simulator.sessions[0], POST)
    by_query = await world.logouts.ask(world.simulator.sessions[0], REDIRECT)
    assert by_form.form is not None
    query = dict(parse_qsl(urlsplit(by_query.url).query))
    assert 400 <= (await browser.get(f"{SLO}?{urlencode(by_form.form)}")).status < 500
    assert 400 <= (await world.stage.client.post(SLO, data=query)).status_code < 500
    renamed = {"SAMLResponse": by_form.form["SAMLRequest"]}
    assert 400 <= (await world.stage.client.post(SLO, data=renamed)).status_code < 500
    assert await is_in(world, browser)


async def test_the_store_is_away(stage_folder: Path) -> None:
    """Nothing is taken that cannot be remembered as used; when it is back, the same message counts."""
    state = Forgetful()
    async with open_world(stage_folder, "saml", GENERIC, state=state, **LOGOUT) as world:
        browser, hint = await logged_in(world)
        gone = await leaves(world, browser, hint)
        answer = await world.logouts.answer(await heard(world, gone))
        other, _ = await logged_in(world)
        request = await world.logouts.ask(world.simulator.sessions[-1])
        state.fail = True
        for message in (answer, request):
            assert (await back(world, browser, message)).status == 503
        assert (await browser.get(f"/up/eid/leave?of={token_of(gone)}")).status == 503
        state.fail = False
        assert await is_in(world, other)
        assert (await back(world, browser, answer)).location == f"{BYE}?state=s"
        await back(world, browser, request)
        assert not await is_in(world, other)


# Our metadata, and the config


def test_our_metadata_says_where() -> None:
    """Both bindings at one address; nothing where it is off."""
    for logout in (True, False):
        provider = Provider("saml", GENERIC, **SETTINGS | {"logout": logout})
        document = provider.connector.published("metadata", address=ADDRESS, now=provider.clock.now)
        assert document is not None
        found = read(document.content, demands=Demands(), now=provider.clock.now).find(f"{ADDRESS}/metadata")
        assert found is not None
        assert found.service is not None
        told = [(each.binding, each.location) for each in found.service.slo]
        assert told == ([(BY_REDIRECT, SLO), (BY_POST, SLO)] if logout else [])


async def test_what_is_kept_of_a_login() -> None:
    """Nothing where it is off or the provider has no address for it; else what ends it there, and a name that is not hers."""
    provider = Provider("saml", GENERIC, **LOGOUT)
    evidence = await provider.login()
    assert (evidence.session, evidence.leave) == (None, None)
    provider.simulator.logs_out = True
    evidence = await provider.login()
    (_, known) = provider.simulator.sessions
    assert evidence.session is not None
    assert evidence.leave is not None
    assert known.name_id not in evidence.session
    assert "leave" not in repr(evidence)
    provider.connector = provider.connect(logout=False)
    assert (await provider.login()).leave is None


async def test_check_config_wants_an_address(stage_folder: Path) -> None:
    """``logout: true`` towards a provider that has none is told before anybody leaves."""
    async with open_world(stage_folder, "saml", GENERIC, **LOGOUT) as world:
        assert load(stage_folder / "stafett.yaml", environment={}).connectors["eid"].logout
        world.simulator.logs_out = False
        write(stage_folder / "metadata" / "idp.xml", world.simulator.metadata())
        with pytest.raises(ConfigError) as error:
            load(stage_folder / "stafett.yaml", environment={})
    assert "upstreams.eid.connect.logout" in str(error.value)


@pytest.mark.parametrize("value", ["sometimes", 2, None, []])
def test_what_cannot_be_configured(value: Any) -> None:
    """On or off."""
    with pytest.raises(ValidationError):
        SamlConnect.model_validate(connect_block("https://idp.example", logout=value))
