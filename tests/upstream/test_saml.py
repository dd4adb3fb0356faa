"""
SAML identity providers: the connector against a simulator that signs and encrypts by other libraries, then a whole broker with
it, and once a real Chromium in between. Time is what the test says.
"""

import asyncio
import base64
import json
import logging
import re
import zlib
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
import pytest_asyncio
from lxml import etree
from playwright.async_api import Browser as Chromium
from pydantic import ValidationError
from signxml.verifier import VerifyResult, XMLVerifier
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from broker.config.load import load
from broker.core.assurance import Assurance
from broker.core.identity import Contact, ContactKind, Evidence
from broker.core.saml import POST, PeerKey
from broker.demo.providers.saml_documents import DS, Attribute, parsed, plain, response, signed
from broker.demo.providers.saml_idp import GENERIC, PEOPLE, PERSISTENT, TRANSIENT, Fault, Mode
from broker.demo.providers.saml_idp import Refused as RequestRefused
from broker.errors import ConfigError, Stopped, StoreDown, UpstreamDown, UpstreamRefused
from broker.upstream.port import Connector, FormConnector, KeyPublisher, Listener, PostForm, Redirect, ReplyKind
from broker.upstream.saml import SamlConnect
from broker.wire.saml.aggregate import Demands, read
from tests.changing import replace
from tests.demo.sites import browsing, press
from tests.stage import WAYS_IN, Answer
from tests.upstream.cases import Case, Play
from tests.upstream.saml import (
    ADDRESS,
    CALLBACK,
    LIES,
    Provider,
    World,
    connect_block,
    ec_pair,
    open_world,
    pem_of,
    play,
    rsa_pair,
    visited_from,
    write,
)
from tests.upstream.test_oidc import ASK, code_of, on_loopback

PASSWORD, MFA = GENERIC.levels
SETTINGS: dict[str, Any] = {
    "acr_levels": {PASSWORD: "low", MFA: "substantial"},
    "signs_response": True,
    "ignored_claims": ["urn:oid:1.3.6.1.4.1.5923.1.1.1.6"],
}


def cases() -> list[Case]:
    """For the contract suite."""
    by_post = Case("saml", opened_by_post, (Fault.UNSIGNED, Fault.WRONG_REQUEST), "saml-by-post")
    return [Case("saml", opened, LIES), by_post]


def opened(folder: Path) -> AbstractAsyncContextManager[Play]:
    """As most are connected."""
    return play(folder, "saml", GENERIC, **SETTINGS)


def opened_by_post(folder: Path) -> AbstractAsyncContextManager[Play]:
    """Where requests go as forms."""
    return play(folder, "saml", GENERIC, takes=("HTTP-POST",), **SETTINGS)


@pytest.fixture
def provider() -> Provider:
    return Provider("saml", GENERIC, **SETTINGS)


async def test_what_a_login_proves(provider: Provider) -> None:
    """The person under the provider's entityID, what it says of her, the level it names and when she was there."""
    evidence = await provider.login()
    assert (evidence.issuer, evidence.assurance) == (provider.simulator.entity_id, Assurance.LOW)
    assert (evidence.given_name, evidence.family_name, evidence.name) == ("Maja", "Lindqvist", "Maja Lindqvist")
    assert (evidence.authenticated_at, evidence.is_time_proven) == (provider.clock.now, True)
    assert (await provider.login()).subject == evidence.subject != (await provider.login("eleni")).subject
    assert evidence.signals == ()


async def test_the_connector_follows_the_port(provider: Provider) -> None:
    """It takes forms and publishes its metadata; nobody tells it anything."""
    connector: Connector = provider.connector
    assert isinstance(connector, FormConnector)
    assert isinstance(connector, KeyPublisher)
    assert not isinstance(connector, Listener)
    assert (connector.reaches, connector.state_member) == (Assurance.SUBSTANTIAL, "RelayState")


async def refused(provider: Provider, *faults: Fault, **asked: Any) -> str:
    """Why nobody is logged in."""
    provider.simulator.switch(*faults)
    with pytest.raises(UpstreamRefused) as error:
        await provider.login(**asked)
    return code_of(error)


def with_settings(mode: Mode = GENERIC, **changes: Any) -> Provider:
    """A provider that is connected otherwise."""
    return Provider("saml", mode, **SETTINGS | changes)


# What is asked


async def test_what_is_asked_for(provider: Provider) -> None:
    """Where the answer goes, each sufficient level by name, the lasting name; nobody is to log in twice for nothing."""
    _, url = await provider.begin(minimum=Assurance.LOW)
    await provider.answered(url)
    request = provider.simulator.requests[0]
    assert (request.get("AssertionConsumerServiceURL"), request.get("ForceAuthn")) == (CALLBACK, "false")
    assert request.xpath("//*[local-name()='AuthnContextClassRef']/text()") == [PASSWORD, MFA]
    assert request.xpath("//*[local-name()='RequestedAuthnContext']/@Comparison") == ["exact"]
    assert request.xpath("//*[local-name()='NameIDPolicy']/@Format") == [PERSISTENT]
    assert dict(parse_qsl(urlsplit(url).query))["RelayState"] == ASK.state


async def test_the_least_that_suffices(provider: Provider) -> None:
    """By comparison ``minimum`` one level is named, and a stronger one is welcome."""
    provider.connector = provider.connect(comparison="minimum")
    provider.simulator.gives = MFA
    assert (await provider.login(minimum=Assurance.LOW)).assurance is Assurance.SUBSTANTIAL
    request = provider.simulator.requests[0]
    assert request.xpath("//*[local-name()='AuthnContextClassRef']/text()") == [PASSWORD]


async def test_who_is_behind_a_proxy() -> None:
    """Whom it may ask is said in the request, whom it may have asked is looked at."""
    mode = replace(GENERIC, authorities=("https://university.example",))
    provider = with_settings(mode, providers=["https://university.example"], authorities=["https://university.example"])
    await provider.login()
    found = provider.simulator.requests[0].xpath("//*[local-name()='IDPEntry']/@ProviderID")
    assert found == ["https://university.example"]
    provider.connector = provider.connect(authorities=["https://college.example"])
    assert await refused(provider) == "saml.authority"
    silent = with_settings(authorities=["https://college.example"])
    assert await refused(silent) == "saml.authority"


ODD = (
    "maja@posten.example", "https://idp.example/?of=maja", "https://idp.example/#maja", "https://maja@idp.example/", "Maja",
    "https://idp.example/" + "x" * 300, "mailto:maja@posten.example", "data:text/plain,maja", "", "https://idp.example/\u00e5",
)  # fmt: skip


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        ((), ()),
        (("https://bank.example/idp", "urn:bank:idp"), ("https://bank.example/idp", "urn:bank:idp")),
        (ODD, ()),
        ((*ODD, "urn:bank:idp"), ("urn:bank:idp",)),
        (("urn:a:1", "urn:a:1", "https://idp.example/metadata"), ("urn:a:1",)),
        (tuple(f"urn:a:{each}" for each in range(50)), tuple(f"urn:a:{each}" for each in range(5))),
    ],
    ids=["nobody", "two", "no names of parties", "one among odd ones", "twice, and itself", "many"],
)
async def test_who_authenticated_her_is_kept(told: tuple[str, ...], kept: tuple[str, ...]) -> None:
    """Names of parties, five at most; nothing in which a person could stand."""
    provider = with_settings(replace(GENERIC, authorities=told))
    assert (await provider.login()).authorities == kept


async def test_too_many_authorities_are_no_answer() -> None:
    """The bound of the message comes first."""
    assert await refused(with_settings(replace(GENERIC, authorities=("urn:a:1",) * 60))) == "saml.too_large"


@pytest.mark.parametrize("asked", [{"fresh": True}, {"max_age_s": 300}], ids=["prompt=login", "max_age"])
async def test_a_new_login(provider: Provider, asked: dict[str, Any]) -> None:
    """ForceAuthn is said, and an old login is not taken for a new one; a provider that cannot is not asked."""
    assert (await provider.login(**asked)).authenticated_at == provider.clock.now
    assert provider.simulator.requests[0].get("ForceAuthn") == "true"
    assert await refused(provider, Fault.OLD_LOGIN, **asked) == "saml.not_fresh"
    provider.simulator.switch(Fault.OLD_LOGIN)
    assert (await provider.login()).given_name == "Maja"
    provider.connector = provider.connect(reauthenticates=False)
    assert await refused(provider, **asked) == "upstream.cannot_reauthenticate"


async def test_each_request_has_an_id_of_its_own(provider: Provider) -> None:
    """160 random bits."""
    for _ in range(3):
        await provider.login()
    ids = {each.get("ID") for each in provider.simulator.requests}
    assert len(ids) == 3
    assert all(re.fullmatch(r"_[0-9a-f]{40}", each) for each in ids)


async def test_a_provider_that_takes_no_requests(provider: Provider) -> None:
    """Without metadata, or without an address for Redirect in it, nobody is sent anywhere."""
    known = await provider.peers.provider("", provider.simulator.entity_id)
    assert known is not None
    provider.peers.is_gone = True
    with pytest.raises(UpstreamDown) as error:
        await provider.begin()
    assert code_of(error) == "saml.metadata"
    provider.peers.is_gone = False
    provider.peers.instead = replace(known, sso=())
    with pytest.raises(UpstreamDown) as error:
        await provider.begin()
    assert code_of(error) == "saml.binding"


# How it is asked


def in_form(form: PostForm) -> Any:
    """The request in *form*."""
    return parsed(base64.b64decode(form.members["SAMLRequest"]))


@pytest.mark.parametrize(
    ("takes", "binding", "goes"),
    [
        (("HTTP-Redirect", "HTTP-POST"), None, Redirect),
        (("HTTP-POST",), None, PostForm),
        (("HTTP-Redirect",), None, Redirect),
        (("HTTP-Redirect", "HTTP-POST"), "post", PostForm),
        (("HTTP-Redirect", "HTTP-POST"), "redirect", Redirect),
        (("HTTP-POST",), "redirect", None),
        (("HTTP-Redirect",), "post", None),
        ((), None, None),
    ],
    ids=range(8),
)
async def test_by_which_binding(
    provider: Provider, takes: tuple[str, ...], binding: str | None, goes: type[Redirect | PostForm] | None
) -> None:
    """By Redirect, by POST where that is all it takes or the operator says so; never by one that it does not take."""
    provider.simulator.takes = takes
    provider.connector = provider.connect(**({"binding": binding} if binding else {}))
    if goes is None:
        with pytest.raises(UpstreamDown) as error:
            await provider.sent()
        assert code_of(error) == "saml.binding"
    else:
        assert isinstance((await provider.sent())[1], goes)
        assert (await provider.login()).given_name == "Maja"


async def test_a_request_by_post(provider: Provider) -> None:
    """To the address for forms, signed inside by our key, with the RelayState beside it, and nothing of it in an address."""
    provider.connector = provider.connect(binding="post")
    state, form = await provider.begin_by_form()
    request = in_form(form)
    assert form.url == request.get("Destination") == f"{provider.simulator.origin}/sso/post"
    assert "?" not in form.url
    assert (set(form.members), form.members["RelayState"]) == ({"SAMLRequest", "RelayState"}, ASK.state)
    assert [etree.QName(each).localname for each in request][:2] == ["Issuer", "Signature"]
    pem = pem_of(rsa_pair()).decode()
    signed = XMLVerifier().verify(base64.b64decode(form.members["SAMLRequest"]), x509_cert=pem, id_attribute="ID")
    assert isinstance(signed, VerifyResult)
    assert signed.signed_xml is not None
    assert signed.signed_xml.get("ID") == request.get("ID")
    assert (await provider.resume(state, await provider.answered(form))).given_name == "Maja"
    assert "SAMLRequest" not in repr(form)


async def test_a_request_by_post_with_a_key_on_a_curve() -> None:
    """By the algorithm of the key, wherever the signature is."""
    provider = Provider("saml", GENERIC, ec_pair(), **SETTINGS | {"binding": "post"})
    assert (await provider.login()).given_name == "Maja"
    _, form = await provider.begin_by_form()
    assert b"ecdsa-sha256" in base64.b64decode(form.members["SAMLRequest"])


@pytest.mark.parametrize("fault", [Fault.UNKNOWN_KEY, Fault.WRONG_REQUEST, Fault.UNSOLICITED, Fault.UNSIGNED], ids=str)
async def test_an_answer_to_a_request_by_post_is_looked_at_as_any(provider: Provider, fault: Fault) -> None:
    """How it was asked changes nothing about what may be answered."""
    provider.connector = provider.connect(binding="post")
    assert (await refused(provider, fault)).startswith("saml.")


async def test_the_simulator_is_strict_about_each_binding(provider: Provider) -> None:
    """A message of one binding is none of the other; unsigned, changed, another's and repeated ones are not taken by POST."""
    provider.connector = provider.connect(binding="post")
    _, form = await provider.begin_by_form()
    message, state = form.members["SAMLRequest"], form.members["RelayState"]
    octets = base64.b64decode(message)
    by_redirect = provider.connect(binding="redirect")
    begun = await by_redirect.begin(replace(ASK, callback_url=CALLBACK, now=provider.clock.now))
    assert isinstance(begun.prompt, Redirect)
    query = dict(parse_qsl(urlsplit(begun.prompt.url).query))
    root = parsed(octets)
    root.remove(root[1])
    elsewhere = parsed(octets)
    elsewhere.append(elsewhere[1])

    def said(content: bytes) -> str:
        return base64.b64encode(content).decode()

    for members in (
        [("SAMLRequest", said(etree.tostring(root))), ("RelayState", state)],
        [("SAMLRequest", said(etree.tostring(elsewhere))), ("RelayState", state)],
        [("SAMLRequest", said(octets.replace(b'ForceAuthn="false"', b'ForceAuthn="true"'))), ("RelayState", state)],
        [("SAMLRequest", said(zlib.compress(octets, wbits=-15))), ("RelayState", state)],
        [("SAMLRequest", query["SAMLRequest"]), ("RelayState", state)],
        [("SAMLRequest", message), ("SAMLRequest", message)],
        [*form.members.items(), ("Signature", query["Signature"])],
        [("SAMLRequest", message), ("RelayState", "x" * 81)],
        [],
    ):
        with pytest.raises(RequestRefused):
            await provider.simulator.asked_by_form(members)
    inside = urlencode({"SAMLRequest": said(zlib.compress(octets, wbits=-15)), "RelayState": state})
    with pytest.raises(RequestRefused):
        await provider.simulator.asked(inside)
    other = with_settings(binding="post")
    other.pairs = (rsa_pair(6),)
    other.connector = other.connect()
    _, foreign = await other.begin_by_form()
    with pytest.raises(RequestRefused):
        await provider.simulator.asked_by_form(list(foreign.members.items()))
    _, again = await provider.begin_by_form()
    await provider.simulator.asked_by_form(list(again.members.items()))
    with pytest.raises(RequestRefused):
        await provider.simulator.asked_by_form(list(again.members.items()))


# What may not be answered


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault.UNSIGNED, "saml.unsigned"),
        (Fault.ONLY_ASSERTION_SIGNED, "saml.unsigned"),
        (Fault.UNKNOWN_KEY, "saml.signature_invalid"),
        (Fault.BROKEN_SIGNATURE, "saml.digest_mismatch"),
        (Fault.NOT_ENCRYPTED, "saml.unencrypted"),
        (Fault.DOCTYPE, "saml.doctype"),
        (Fault.NO_ASSERTION, "saml.assertion_count"),
        (Fault.TWO_ASSERTIONS, "saml.assertion_count"),
        (Fault.WRONG_ISSUER, "saml.issuer"),
        (Fault.WRONG_ASSERTION_ISSUER, "saml.issuer"),
        (Fault.WRONG_DESTINATION, "saml.destination"),
        (Fault.WRONG_RECIPIENT, "saml.confirmation"),
        (Fault.WRONG_AUDIENCE, "saml.audience"),
        (Fault.NO_AUDIENCE, "saml.audience"),
        (Fault.WRONG_REQUEST, "saml.in_response_to"),
        (Fault.WRONG_CONFIRMED_REQUEST, "saml.confirmation"),
        (Fault.UNSOLICITED, "saml.in_response_to"),
        (Fault.HOLDER_OF_KEY, "saml.confirmation"),
        (Fault.EXPIRED, "saml.confirmation"),
        (Fault.NOT_YET_VALID, "saml.assertion_time"),
        (Fault.STALE, "saml.time"),
        (Fault.FROM_THE_FUTURE, "saml.time"),
        (Fault.LOGIN_IN_THE_FUTURE, "saml.assertion_time"),
        (Fault.UNKNOWN_LEVEL, "upstream.acr"),
        (Fault.NO_LEVEL, "upstream.acr"),
        (Fault.NOBODY, "saml.subject"),
        (Fault.REFUSED, "saml.status"),
    ],
    ids=str,
)
async def test_what_a_provider_may_not_say(provider: Provider, fault: Fault, code: str) -> None:
    """Each lie by itself is refused, and by its own rule (saml-profiles-2.0-os, section 4.1.4.3)."""
    assert await refused(provider, fault) == code


async def test_either_signature_is_enough_unless_one_is_demanded(provider: Provider) -> None:
    """None at all never is."""
    provider.connector = provider.connect(signs_response=False)
    provider.simulator.switch(Fault.ONLY_ASSERTION_SIGNED)
    assert (await provider.login()).given_name == "Maja"
    assert await refused(provider, Fault.UNSIGNED) == "saml.unsigned"
    provider.connector = provider.connect(signs_assertion=True)
    assert await refused(provider) == "saml.unsigned"


async def test_a_response_without_destination_or_status_is_none(provider: Provider) -> None:
    """Both are demanded: what is missing is not taken for what was expected."""
    state, url = await provider.begin()
    members = await provider.answered(url)
    provider.connector = provider.connect(signs_response=False)
    for spoil in (rb' Destination="[^"]*"', rb"<samlp:Status>.*?</samlp:Status>"):
        octets = re.sub(spoil, b"", base64.b64decode(members["SAMLResponse"]), count=1, flags=re.DOTALL)
        with pytest.raises(UpstreamRefused):
            await provider.resume(state, {"SAMLResponse": base64.b64encode(octets).decode()})


@pytest.mark.parametrize("form", ["", "%", "bm90IHhtbA==", "PGE+" * 200_000, "=" * 40], ids=range(5))
async def test_what_is_no_response(provider: Provider, form: str) -> None:
    """Nothing, no base64, no XML, too much: refused, and no fault of ours."""
    state, _ = await provider.begin()
    with pytest.raises(UpstreamRefused):
        await provider.resume(state, {"SAMLResponse": form})


@pytest.mark.parametrize("kind", [ReplyKind.CALLBACK, ReplyKind.RETURN, ReplyKind.POLL, ReplyKind.ACT])
async def test_an_answer_comes_by_a_form(provider: Provider, kind: ReplyKind) -> None:
    """And no other way, though it were a good one."""
    state, url = await provider.begin()
    members = await provider.answered(url)
    with pytest.raises(UpstreamRefused) as error:
        await provider.resume(state, members, kind)
    assert code_of(error) == "callback.kind"
    with pytest.raises(UpstreamRefused):
        await provider.resume(state, {"SAMLRequest": members["SAMLResponse"]})


async def test_an_artifact_is_not_fetched(provider: Provider) -> None:
    """A binding that is not spoken (and not in our metadata)."""
    state, _ = await provider.begin()
    with pytest.raises(UpstreamRefused):
        await provider.resume(state, {"SAMLart": "AAQAAA=="})


@pytest.mark.parametrize("skew", [0, 20, -20, 170, -170])
async def test_clocks_that_differ(provider: Provider, skew: int) -> None:
    """A clock some seconds ahead of ours is no failure."""
    state, url = await provider.begin()
    now = provider.clock.now
    provider.clock.now = now + timedelta(seconds=skew)
    provider.simulator._check_request = lambda *_: None  # type: ignore[method-assign]
    members = await provider.answered(url)
    provider.clock.now = now
    assert (await provider.resume(state, members)).given_name == "Maja"


# Once, and of whom was asked


async def test_an_assertion_is_used_once(provider: Provider) -> None:
    """Though it comes in an answer to another request, signed anew (saml-profiles-2.0-os, section 4.1.4.5)."""
    provider.simulator.switch(Fault.SAME_ASSERTION)
    await provider.login()
    assert await refused(provider, Fault.SAME_ASSERTION) == "saml.replayed"


async def test_an_assertion_that_never_ends(provider: Provider) -> None:
    """The end of time is an end: taken once, and remembered for no longer than a message of its age could be taken."""
    truth = provider.simulator._truth
    forever = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    provider.simulator._truth = lambda *asked: replace(truth(*asked), not_on_or_after=forever)  # type: ignore[method-assign]
    state, url = await provider.begin()
    members = await provider.answered(url)
    assert (await provider.resume(state, members)).given_name == "Maja"
    provider.clock.now += timedelta(minutes=7)
    with pytest.raises(UpstreamRefused) as error:
        await provider.resume(state, members)
    assert code_of(error) == "saml.replayed"


async def test_of_many_uses_at_once_one_counts(provider: Provider) -> None:
    """The memory decides, and not who looked first."""
    state, url = await provider.begin()
    members = await provider.answered(url)
    done = await asyncio.gather(*(provider.resume(state, members) for _ in range(5)), return_exceptions=True)
    assert sum(isinstance(each, Evidence) for each in done) == 1


async def test_without_the_memory_nobody_gets_in(provider: Provider) -> None:
    """What cannot be remembered as used is not used (fail closed)."""
    state, url = await provider.begin()
    members = await provider.answered(url)
    provider.state.fail = True
    with pytest.raises(StoreDown):
        await provider.resume(state, members)


async def test_the_answer_of_another_provider() -> None:
    """Both are known here, and the other one's answer is as good as can be: it is not who was asked (mix-up)."""
    honest, other = with_settings(), with_settings()
    other.simulator.origin = "https://other.example"
    state, url = await honest.begin()
    asked = await honest.simulator.asked(urlsplit(url).query)
    members = other.simulator.answer(asked, PEOPLE[0])
    with pytest.raises(UpstreamRefused) as error:
        await honest.resume(state, members)
    assert code_of(error) == "saml.issuer"
    # Even with its own key in the place of the other's.
    other.simulator.keys.insert(0, rsa_pair(3))
    other.simulator.origin = honest.simulator.origin
    with pytest.raises(UpstreamRefused) as error:
        await honest.resume(state, other.simulator.answer(asked, PEOPLE[0]))
    assert code_of(error) == "saml.signature_invalid"


async def test_an_answer_to_another_login(provider: Provider) -> None:
    """Of the same person at the same provider."""
    (first, _), (_, url) = await provider.begin(), await provider.begin()
    with pytest.raises(UpstreamRefused) as error:
        await provider.resume(first, await provider.answered(url))
    assert code_of(error) == "saml.in_response_to"


# What a no means


async def test_a_cancel(provider: Provider) -> None:
    """The usual words, and the operator's."""
    with pytest.raises(Stopped):
        await provider.login(None)
    provider.simulator.mode = replace(GENERIC, cancelled="https://idp.example/cancelled")
    assert await no(provider) == "saml.status"
    provider.connector = provider.connect(cancel_statuses=["https://idp.example/cancelled"])
    with pytest.raises(Stopped):
        await provider.login(None)


async def test_a_failed_login_is_no_cancel(provider: Provider) -> None:
    """She did not press anything; where a provider says it of nothing else, the operator may say so."""
    failed = "urn:oasis:names:tc:SAML:2.0:status:AuthnFailed"
    provider.simulator.mode = replace(GENERIC, cancelled=failed)
    assert await no(provider) == "saml.status"
    provider.connector = provider.connect(cancel_statuses=[failed])
    with pytest.raises(Stopped):
        await provider.login(None)


async def no(provider: Provider) -> str:
    with pytest.raises(UpstreamRefused) as error:
        await provider.login(None)
    return code_of(error)


@pytest.mark.parametrize("word", ["NoAuthnContext", "NoAvailableIDP", "NoSupportedIDP"])
async def test_what_it_cannot_give(provider: Provider, word: str) -> None:
    """The customer reads that it was not sure enough, in her language, and chooses another way."""
    provider.simulator.mode = replace(GENERIC, cancelled=f"urn:oasis:names:tc:SAML:2.0:status:{word}")
    with pytest.raises(UpstreamRefused) as error:
        await provider.login(None)
    assert (error.value.code, error.value.message_key) == ("saml.no_context", "notice.too_weak")


async def test_a_level_it_does_not_have(provider: Provider) -> None:
    """The simulator answers as the standard has it."""
    provider.connector = provider.connect(acr_levels={"https://other.example/high": "high"})
    assert await refused(provider) == "saml.no_context"


async def test_a_status_of_whatever_words_says_nothing_in_the_log(provider: Provider) -> None:
    """A word of the provider's own is looked at before it is told."""
    provider.simulator.mode = replace(GENERIC, cancelled="urn:x:maja@posten.example wants in")
    with pytest.raises(UpstreamRefused) as error:
        await provider.login(None)
    assert error.value.facts["status"] == ""


# Who she is


async def test_by_an_attribute(provider: Provider) -> None:
    """Where the NameID is another one each time."""
    principal = "urn:oid:1.3.6.1.4.1.5923.1.1.1.6"
    provider.connector = provider.connect(name_id_format=TRANSIENT, subject=principal)
    assert (await provider.login()).subject == "maja@idp.example"
    assert await refused(provider, Fault.NOBODY) == "saml.subject"


@pytest.mark.parametrize("more", ["\N{NO-BREAK SPACE}", "\N{EM SPACE}", "\x85", "\u2028"], ids=ascii)
async def test_a_name_that_is_only_alike(provider: Provider, more: str) -> None:
    """What XML does not call a blank is a part of the name: whoever can have one in hers is not somebody else by it."""
    hers, truth = (await provider.login()).subject, provider.simulator._truth
    named = lambda *asked: replace(truth(*asked), name_id=f"{hers}{more}")  # noqa: E731
    provider.simulator._truth = named  # type: ignore[method-assign]
    assert await refused(provider) == "saml.subject"


@pytest.mark.parametrize(
    ("qualifiers", "counts"),
    [
        ('NameQualifier="{idp}"', True),
        ('NameQualifier="{idp}" SPNameQualifier="{sp}"', True),
        ('NameQualifier="" SPNameQualifier=""', True),
        ('NameQualifier="https://other.example/idp"', False),
        ('NameQualifier="{idp}" SPNameQualifier="https://other.example/sp"', False),
        ('NameQualifier="{idp}&#10;"', False),
    ],
    ids=["its-own", "for-us", "empty", "anothers", "for-another", "alike"],
)
async def test_a_name_that_somebody_else_made(provider: Provider, qualifiers: str, counts: bool) -> None:
    """
    security: a NameID is one person's at who made it, and for whom (saml-core-2.0-os, section 8.3.7). A proxy that passes on
    those of others would let any of them name the customers of all.
    """
    state, url = await provider.begin()
    asked = await provider.simulator.asked(urlsplit(url).query)
    truth = replace(provider.simulator._truth(asked, PEOPLE[0], ""), signs_response=False, encrypts=False)
    signer, method = provider.simulator.keys[0], GENERIC.method
    text = response(truth, signer=signer, method=method, to=None).decode()
    place = f'<ds:Signature xmlns:ds="{DS}" Id="placeholder"></ds:Signature>'
    said = qualifiers.format(idp=provider.simulator.entity_id, sp=f"{ADDRESS}/metadata")
    text = text.replace("<saml:NameID ", f"<saml:NameID {said} ").replace("</saml:Issuer>", f"</saml:Issuer>{place}", 1)
    members = {"SAMLResponse": base64.b64encode(signed(text, signer, method)).decode()}
    provider.connector = provider.connect(encrypted=False)
    if counts:
        assert (await provider.resume(state, members)).subject == truth.name_id
        return
    with pytest.raises(UpstreamRefused) as error:
        await provider.resume(state, members)
    assert code_of(error) == "saml.subject"


async def test_two_values_name_nobody(provider: Provider) -> None:
    """One of them would be a guess."""
    principal = "urn:oid:1.3.6.1.4.1.5923.1.1.1.6"
    two = (Attribute(principal, (("a@idp.example", None), ("b@idp.example", None))),)
    provider.simulator.mode = replace(GENERIC, attributes=lambda *_: two)
    provider.connector = provider.connect(subject=principal)
    assert await refused(provider) == "saml.subject"


async def test_attributes_cannot_say_what_the_assertion_says(provider: Provider) -> None:
    """How strong and when a login was, and whose, is not up to an attribute of that name."""
    names = ("sub", "acr", "auth_time", "iat", "amr", "sid", "email_verified")
    told = tuple(plain(each, "1") for each in names)
    provider.simulator.mode = replace(GENERIC, attributes=lambda *_: told)
    evidence = await provider.login()
    assert (evidence.assurance, evidence.authenticated_at) == (Assurance.LOW, provider.clock.now)
    assert (evidence.session, evidence.amr) == (None, ())
    assert evidence.subject != "1"


@pytest.mark.parametrize("vouches", [True, False])
async def test_contacts(provider: Provider, vouches: bool) -> None:
    """An address counts as proven only where the operator says that the provider knows it."""
    more = {"vouches_for": ["email"]} if vouches else {}
    provider.connector = provider.connect(trusted_contacts={"email": "always"}, **more)
    (contact,) = (await provider.login()).contacts
    assert contact == Contact(ContactKind.EMAIL, "maja.lindqvist@posten.example", vouches)


async def test_roles_of_staff(provider: Provider) -> None:
    """All values of the attribute, in the operator's words."""
    groups = (Attribute("groups", (("support", None), ("boss", None), ("x", None))),)
    provider.simulator.mode = replace(GENERIC, attributes=lambda *_: groups)
    provider.connector = provider.connect(roles_claim="groups", roles={"support": "agent", "boss": "lead"})
    assert (await provider.login()).roles == ("agent", "lead")


async def test_what_is_listed_nowhere_is_noticed_by_name(provider: Provider) -> None:
    """And its value by nobody."""
    provider.connector = provider.connect(ignored_claims=[])
    assert (await provider.login()).signals == ("unlisted_claim:urn:oid:1.3.6.1.4.1.5923.1.1.1.6",)


# Our metadata


async def test_our_metadata(provider: Provider) -> None:
    """Signed, for ten days, with one address for answers and keys for either use; the same for an hour."""
    document = provider.connector.published("metadata", address=ADDRESS, now=provider.clock.now)
    assert document is not None
    assert document.media_type == "application/samlmetadata+xml"
    XMLVerifier().verify(document.content, x509_cert=pem_of(rsa_pair()).decode(), id_attribute="ID")
    found = read(document.content, demands=Demands(), now=provider.clock.now).find(f"{ADDRESS}/metadata")
    assert found is not None
    assert found.service is not None
    service = found.service
    assert [(each.location, each.binding, each.is_default) for each in service.acs] == [(CALLBACK, POST, True)]
    assert (service.authn_requests_signed, service.names["sv"]) == (True, "Stafett")
    assert [each.use for each in service.keys] == ["signing", "encryption"]
    assert "http://www.w3.org/2009/xmlenc11#aes256-gcm" in service.keys[1].encryption_methods
    assert not any("cbc" in each or "rsa-1_5" in each for each in service.keys[1].encryption_methods)
    later = provider.connector.published("metadata", address=ADDRESS, now=provider.clock.now + timedelta(minutes=59))
    assert later == document
    assert provider.connector.published("jwks.json", address=ADDRESS, now=provider.clock.now) is None


async def test_keys_of_ours_that_roll() -> None:
    """All are published and decrypt, the first signs: what was encrypted to the old one is still read."""
    old, new = rsa_pair(0), ec_pair(1)
    provider = Provider("saml", GENERIC, new, old, **SETTINGS)
    assert (await provider.login()).given_name == "Maja"
    _, url = await provider.begin()
    assert "ecdsa-sha256" in url
    asked = await provider.simulator.asked(urlsplit(url).query)
    assert len(asked.service.encryption) == 2
    state, url = await provider.begin()
    asked = await provider.simulator.asked(urlsplit(url).query)
    to_old = replace(asked, service=replace(asked.service, encryption=(old.certificate,)))
    assert (await provider.resume(state, provider.simulator.answer(to_old, PEOPLE[0]))).given_name == "Maja"


async def test_a_key_of_theirs_that_rolls(provider: Provider) -> None:
    """The metadata has both; one that nobody can read does not keep the other from counting."""
    provider.simulator.roll(rsa_pair(4))
    assert (await provider.login()).given_name == "Maja"
    known = await provider.peers.provider("", provider.simulator.entity_id)
    assert known is not None
    provider.peers.instead = replace(known, keys=(PeerKey(b"no certificate", "both"), *known.keys))
    assert (await provider.login()).given_name == "Maja"
    provider.peers.instead = replace(known, keys=())
    assert await refused(provider) == "saml.no_keys"


# The config


@pytest.mark.parametrize(
    "changes",
    [
        {"subject": "NameID", "name_id_format": TRANSIENT},
        {"subject": "NameID", "name_id_format": None},
        {"skew": "6m"},
        {"keys": []},
        {"comparison": "better"},
        {"level_claim": "level"},
        {"metadata": ""},
        {"artifact": True},
        {"binding": "artifact"},
    ],
    ids=range(9),
)
def test_what_cannot_be_configured(changes: dict[str, Any]) -> None:
    """Nobody is known by a name that does not last; clocks are not off by hours; levels come from where they belong."""
    with pytest.raises(ValidationError):
        SamlConnect.model_validate(connect_block("https://idp.example") | changes)


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("secrets/saml-up.crt", "secrets/other.crt", "upstreams.eid.connect.keys"),
        ("secrets/saml-up.crt", "secrets/none.crt", "upstreams.eid.connect.keys"),
        ("file:secrets/saml-up.pem", "file:secrets/none.pem", "upstreams.eid.connect.keys[0].key"),
        ("metadata/idp.xml", "metadata/none.xml", "upstreams.eid.connect.metadata"),
        ("/metadata\\", "/somebody\\", "upstreams.eid.connect.metadata"),
    ],
    ids=["another's certificate", "no certificate", "no key", "no metadata", "not in it"],
)
async def test_what_check_config_tells(stage_folder: Path, old: str, new: str, key: str) -> None:
    """At the key where it is wrong, before a customer meets it."""
    async with open_world(stage_folder, "saml", GENERIC, **SETTINGS):
        text = (stage_folder / "stafett.yaml").read_text("utf-8")
        write(stage_folder / "secrets" / "other.crt", pem_of(rsa_pair(5)))
        old, new = old.replace("\\", '", "metadata"'), new.replace("\\", '", "metadata"')
        assert old in text
        (stage_folder / "stafett.yaml").write_text(text.replace(old, new), "utf-8")
        with pytest.raises(ConfigError) as error:
            load(stage_folder / "stafett.yaml", environment={})
    assert key in str(error.value)


@pytest.mark.parametrize(("takes", "binding"), [("HTTP-Redirect", "post"), ("HTTP-POST", "redirect")])
async def test_check_config_knows_how_requests_can_go(stage_folder: Path, takes: str, binding: str) -> None:
    """What pinned metadata does not offer is refused before anybody is sent there."""
    with pytest.raises(ConfigError) as error:
        async with open_world(stage_folder, "saml", GENERIC, takes=(takes,), binding=binding, **SETTINGS):
            pass
    assert "upstreams.eid.connect.metadata" in str(error.value)
    assert f"by {'POST' if binding == 'post' else 'Redirect'}" in str(error.value)


# A whole broker


async def test_the_metadata_comes_from_the_file(stage_folder: Path) -> None:
    """Nothing played: key, certificate and pinned metadata are what the config names, and she logs in."""
    async with open_world(stage_folder, "saml", GENERIC, from_file=True, **SETTINGS) as world:
        assert world.stage.loaded.providers["eid"].metadata == "metadata/idp.xml"
        assert "code" in (await world.attempt()).query
        world.simulator.keys = [rsa_pair(5)]
        assert "code" not in (await world.attempt()).query


@pytest.fixture
async def world(stage_folder: Path) -> AsyncIterator[World]:
    async with open_world(stage_folder, "saml", GENERIC, **SETTINGS) as opened:
        yield opened


async def test_a_login_at_the_shop(world: World) -> None:
    """From the choice of ways in to the shop's ID token."""
    browser = world.stage.browser()
    tokens = await world.stage.shop.exchange(await world.attempt(browser=browser))
    told = await world.stage.shop.userinfo(tokens["access_token"])
    assert told.json["name"] == "Maja Lindqvist"


@pytest_asyncio.fixture
async def world_by_post(stage_folder: Path) -> AsyncIterator[World]:
    async with open_world(stage_folder, "saml", GENERIC, takes=("HTTP-POST",), **SETTINGS) as opened:
        yield opened


@pytest.mark.parametrize("language", ["sv", "fi", "pl", "en"])
async def test_the_page_that_posts_the_request(world_by_post: World, language: str) -> None:
    """
    The one page that goes on by itself: a form with a button for browsers without scripts, in her language, that may post
    there and to ourselves only; stored nowhere, with no referrer.
    """
    world_by_post.stage.client.headers["accept-language"] = language
    browser = world_by_post.stage.browser()
    await browser.follow(await browser.get(world_by_post.stage.shop.request()))
    page = await browser.follow(await browser.press("method-eid"))
    form = page.form_post
    assert form is not None
    assert (page.status, form["action"]) == (200, f"{world_by_post.simulator.origin}/sso/post")
    assert [name for name, _ in form["fields"]] == ["SAMLRequest", "RelayState"]
    assert {"continue", "response"} <= page.ids
    assert f'lang="{language}"' in page.text
    policy = page.headers["content-security-policy"]
    assert f"form-action 'self' {world_by_post.simulator.origin} http:" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "no-store" in page.headers["cache-control"]
    assert page.headers["referrer-policy"] == "no-referrer"


async def test_the_one_way_in_by_post(stage_folder: Path) -> None:
    """Nothing is to be chosen: the answer to the partner's request is the page that posts her on by itself."""
    ways = WAYS_IN.replace("[", "[eid, ")
    only = {f"      {ways}": "      upstreams: [eid]"}
    async with open_world(stage_folder, "saml", GENERIC, takes=("HTTP-POST",), edit=only, **SETTINGS) as world:
        first = await world.stage.browser().get(world.stage.shop.request())
        form = first.form_post
        assert form is not None
        assert (first.status, urlsplit(first.url).path) == (200, "/authorize")
        assert form["action"] == f"{world.simulator.origin}/sso/post"
        assert {"continue", "response"} <= first.ids


async def test_a_login_by_post_at_the_shop(world_by_post: World) -> None:
    """There as a form and back as a form, to the shop's ID token."""
    tokens = await world_by_post.stage.shop.exchange(await world_by_post.attempt())
    assert (await world_by_post.stage.shop.userinfo(tokens["access_token"])).json["name"] == "Maja Lindqvist"


async def test_the_page_that_posts_is_hers_alone(world_by_post: World) -> None:
    """Nobody else's browser gets it, and it is gone with the login: then it leads to where her journey stands."""
    browser = world_by_post.stage.browser()
    page = await browser.follow(await browser.get(world_by_post.stage.shop.request()))
    journey = urlsplit(page.url).path
    assert (await browser.get(f"{journey}/away")).location.endswith(journey)
    gone = await browser.follow(await browser.press("method-eid"))
    assert urlsplit(gone.url).path == f"{journey}/away"
    stranger = await world_by_post.stage.browser().get(f"{journey}/away")
    assert (stranger.form_post, stranger.location) == (None, "")
    assert (await browser.get(f"{journey}/away")).form_post == gone.form_post
    action, members = await visited_from(gone)
    await browser.follow(Answer(await world_by_post.stage.client.post(action, data=members)))
    assert (await browser.get(f"{journey}/away")).form_post is None


async def test_two_tabs_by_post(world_by_post: World) -> None:
    """The request of the newer tab counts for its own answer only; the older one's answer ends in no login of the other."""
    browser = world_by_post.stage.browser()
    tab = browser.copy()
    await browser.follow(await browser.get(world_by_post.stage.shop.request(state="one")))
    await tab.follow(await tab.get(world_by_post.stage.shop.request(state="two")))
    first = await browser.follow(await browser.press("method-eid"))
    second = await tab.follow(await tab.press("method-eid"))
    for gone, page, state in ((second, tab, "two"), (first, browser, "one")):
        action, members = await visited_from(gone)
        back = await page.follow(Answer(await world_by_post.stage.client.post(action, data=members)))
        assert (back.query["state"], "code" in back.query) == (state, True)


async def test_the_audit_says_who_authenticated_her(world: World) -> None:
    """Which national provider was behind a proxy can be told afterwards; where nobody says, nothing is made up."""
    await world.attempt()
    world.simulator.mode = replace(GENERIC, authorities=("https://bank.example/idp", "maja@posten.example"))
    tokens = await world.stage.shop.exchange(await world.attempt())
    context = world.stage.broker.context
    await context.audit.flush()
    customer = await context.customer_of_subject(world.stage.loaded.policy.sector("tyre-shop"), tokens["claims"]["sub"])
    assert customer is not None
    trail = [each for each in await world.stage.records.audit_of(customer, 100) if each.action == "login.proved"]
    told = [json.loads(each.facts).get("authorities") for each in trail]
    assert sorted(told, key=str) == [None, ["https://bank.example/idp"]]


async def test_a_form_that_nobody_waits_for(world: World) -> None:
    """Without RelayState, with another's, with one of 300 letters, and at a way in that takes none: a page, and no login."""
    for address, state in (("eid", None), ("eid", "x" * 40), ("eid", "x" * 300), ("google", "x"), ("nobody", "x")):
        members = {"SAMLResponse": "PGEvPg=="} | ({"RelayState": state} if state else {})
        answer = Answer(await world.stage.client.post(f"/up/{address}/callback", data=members))
        assert 400 <= answer.status < 500 or "posted=" in answer.location, (address, state)


@pytest.mark.parametrize(("size", "status"), [(60_000, 200), (200_000, 200), (300_000, 413)])
async def test_how_much_may_be_posted(world: World, size: int, status: int) -> None:
    """A quarter of a megabyte to this address, as signed and encrypted answers need; elsewhere as ever."""
    form = {"content-type": "application/x-www-form-urlencoded"}
    body = b"RelayState=x&SAMLResponse=" + b"A" * size
    answer = await world.stage.client.post("/up/eid/callback", content=body, headers=form)
    assert (answer.status_code == 413) is (status == 413)
    if size > 65_536:
        for elsewhere in ("/authorize", "/up/google/callback"):
            assert (await world.stage.client.post(elsewhere, content=body, headers=form)).status_code == 413


async def test_a_big_answer_logs_in(world: World) -> None:
    """With as many attributes as a directory has."""
    more = tuple(plain(f"urn:x:{number}", "v" * 400) for number in range(200))
    world.simulator.mode = replace(GENERIC, attributes=lambda *_: (plain("urn:oid:2.5.4.42", "Maja"), *more))
    assert "code" in (await world.attempt()).query


async def test_our_metadata_at_its_address(world: World) -> None:
    """For everybody, cached for an hour; other upstreams have none."""
    answer = await world.stage.client.get("/up/eid/metadata")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/samlmetadata+xml")
    assert answer.headers["cache-control"] == "public, max-age=3600"
    assert (await world.stage.client.get("/up/bankid/metadata")).status_code == 404
    assert (await world.stage.client.get("/up/nobody/metadata")).status_code == 404


async def test_nothing_personal_in_the_log(
    world: World, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither names nor messages, whatever goes wrong."""
    caplog.set_level(logging.DEBUG)
    for fault in (Fault.NOT_ENCRYPTED, Fault.NOBODY, Fault.UNKNOWN_LEVEL, None):
        world.simulator.switch(*([fault] if fault else []))
        await world.attempt()
    ours = [
        each for each in caplog.records if each.name.split(".")[0] not in {"httpx2", "httpcore2", "uvicorn", "signxml"}
    ]
    text = "".join(capfd.readouterr()) + " ".join(each.getMessage() for each in ours)
    assert "upstream.failed" in text
    for word in ("Maja", "Lindqvist", "posten", "PHNhbWxw", "<saml"):
        assert word not in text, text[max(0, text.index(word) - 200) : text.index(word) + 100]


# A real browser


@pytest.mark.browser
@pytest.mark.asyncio(loop_scope="session")
async def test_a_real_browser_comes_back_logged_in(stage_folder: Path, chromium: Chromium) -> None:
    """
    The provider's page on another site posts without our cookies; the browser fetches with them what it posted, and the login
    ends at the shop.
    """
    seen: list[tuple[str, str, bool]] = []
    served: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        has_cookie = any(name == b"cookie" for name, _ in scope["headers"])
        seen.append((scope["method"], scope["path"], has_cookie))
        await served[0](scope, receive, send)

    async def arrived(request: Request) -> PlainTextResponse:
        return PlainTextResponse("at the shop")

    shop_app = Starlette(routes=[Route("/login/callback", arrived)])
    async with on_loopback(lambda _: app) as origin, on_loopback(lambda _: shop_app) as shop:
        issuer, callback = origin.replace("127.0.0.1", "localhost"), f"{shop}/login/callback"
        async with (
            open_world(stage_folder, "saml", GENERIC, issuer=issuer, shop_callback=callback, **SETTINGS) as world,
            browsing(chromium) as context,
        ):
            served.append(world.stage.broker.app)
            world.stage.shop.redirect_uri = callback
            page = await context.new_page()
            await page.goto(issuer + world.stage.shop.request())
            await press(page, "#method-eid")
            await page.wait_for_url(re.compile(r"/login\?"))
            await page.click("#account-maja")
            await page.wait_for_url(f"{callback}?*")
            assert "code=" in page.url
    posts = [has_cookie for method, path, has_cookie in seen if (method, path) == ("POST", "/up/eid/callback")]
    fetched = [has_cookie for method, path, has_cookie in seen if (method, path) == ("GET", "/up/eid/callback")]
    assert (posts, fetched) == ([False], [True])
