"""Sweden Connect: levels, persons with and without a Swedish number, statuses and what our metadata says there."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from lxml import etree
from pydantic import ValidationError

from broker.core.assurance import Assurance
from broker.demo.providers.saml_documents import Attribute, plain
from broker.demo.providers.saml_idp import PEOPLE, SWEDEN_CONNECT, SWEDISH_EIDAS, TRANSIENT, Fault, Person, SamlIdp
from broker.errors import Stopped, UpstreamRefused
from broker.upstream.port import Redirect
from broker.upstream.sweden_connect import CEILINGS, COUNTRY, PNR, PRID, PRID_PERSISTENCE, SwedenConnect
from tests.changing import replace
from tests.stage import Answer
from tests.upstream.cases import Case, Play
from tests.upstream.saml import ADDRESS, LIES, Provider, SamlPlay, connect_block, open_world, play, visited_from
from tests.upstream.test_oidc import code_of

LOA = "http://id.elegnamnden.se/loa/1.0"
SC_LOA = "http://id.swedenconnect.se/loa/1.0"
STATUS = "http://id.elegnamnden.se/status/1.0"
NODE = "https://node.example/metadata"
ABROAD: dict[str, Any] = {
    "acr_levels": {f"{LOA}/eidas-nf-low": "low", f"{LOA}/eidas-nf-sub": "substantial", f"{LOA}/eidas-nf-high": "high"},
    "services": ["eidas-naturalperson"],
}
NONRESIDENT = f"{SC_LOA}/loa3-nonresident"
COORDINATION = "199005871471"
Attributes = Callable[[SamlIdp, Person], tuple[Attribute, ...]]


def cases() -> list[Case]:
    """For the contract suite: a provider for residents, and the Swedish node to other countries."""
    lies = (*LIES, Fault.ONLY_ASSERTION_SIGNED, Fault.FRAUD)
    residents = partial(play, kind="sweden-connect", mode=SWEDEN_CONNECT)
    return [
        Case("sweden-connect", residents, lies),
        Case("sweden-connect", abroad, (*lies, Fault.TRANSIENT_PRID), "sweden-connect-eidas"),
    ]


@asynccontextmanager
async def abroad(folder: Path) -> AsyncIterator[Play]:
    """A broker with the Swedish node."""
    async with open_world(folder, "sweden-connect", SWEDISH_EIDAS, **ABROAD) as world:
        world.simulator.is_foreign = True
        opened = SamlPlay(world.stage, "eid", world.stage.connectors["eid"])
        opened.world = world
        yield opened


@pytest.fixture
def provider() -> Provider:
    """Of residents."""
    return Provider("sweden-connect", SWEDEN_CONNECT)


@pytest.fixture
def node() -> Provider:
    """The Swedish eIDAS node."""
    made = Provider("sweden-connect", SWEDISH_EIDAS, **ABROAD)
    made.simulator.is_foreign = True
    return made


async def refused(provider: Provider, *faults: Fault, **asked: Any) -> str:
    """Why nobody is logged in."""
    provider.simulator.switch(*faults)
    with pytest.raises(UpstreamRefused) as error:
        await provider.login(**asked)
    return code_of(error)


def telling(provider: Provider, *told: Attribute) -> None:
    """The provider tells *told* instead of what it has under these names; without values nothing."""
    attributes: Attributes = provider.simulator.mode.attributes
    names = {each.name for each in told}

    def changed(simulator: SamlIdp, person: Person) -> tuple[Attribute, ...]:
        kept = [each for each in attributes(simulator, person) if each.name not in names]
        return (*kept, *(each for each in told if each.values))

    provider.simulator.mode = replace(provider.simulator.mode, attributes=changed)


# Whom it speaks of


async def test_somebody_with_a_swedish_number(provider: Provider) -> None:
    """Known by it, and by nothing that is made for us."""
    evidence = await provider.login()
    assert (evidence.subject, evidence.personal_number) == (PEOPLE[0].personal_number, PEOPLE[0].personal_number)
    assert (evidence.name, evidence.birthdate) == ("Maja Lindqvist", date(1990, 5, 27))
    assert (evidence.assurance, evidence.is_time_proven, evidence.signals) == (Assurance.LOW, True, ())


async def test_somebody_from_abroad(node: Provider) -> None:
    """Known by prid, which lasts; the Swedish node vouches for a node abroad, which it names."""
    evidence = await node.login("eleni", minimum=Assurance.SUBSTANTIAL)
    assert evidence.subject.startswith("ES:")
    assert (evidence.personal_number, evidence.assurance, evidence.signals) == (None, Assurance.SUBSTANTIAL, ())


async def test_persistence_b_lasts_long_enough(node: Provider) -> None:
    """It changes only when she moves or marries."""
    telling(node, plain(PRID_PERSISTENCE, "B"))
    assert (await node.login()).subject == (await node.login()).subject


@pytest.mark.parametrize("told", [("C",), ("D",), ("a",), ("",), (), ("A", "C")], ids=range(6))
async def test_a_prid_that_does_not_last_is_nobodys(node: Provider, told: tuple[str, ...]) -> None:
    """Persistence C: it may be another one tomorrow, so she has to prove herself by another way in. What is not told is not A."""
    telling(node, plain(PRID_PERSISTENCE, *told))
    expected = "sweden_connect.attribute" if len(told) > 1 else "sweden_connect.persistence"
    assert await refused(node) == expected


async def test_she_reads_why_her_eid_is_not_enough(stage_folder: Path) -> None:
    """She stays where she can choose another way in, and reads that this one cannot know her again."""
    async with open_world(stage_folder, "sweden-connect", SWEDISH_EIDAS, **ABROAD) as world:
        world.simulator.is_foreign = True
        world.simulator.switch(Fault.TRANSIENT_PRID)
        browser = world.stage.browser()
        page = await world.attempt("eleni", browser)
        assert "method-bankid" in page.ids
        assert "next time too" in page.text or "nästa gång" in page.text
        assert "__Host-stafett-session" not in browser.cookies


@pytest.mark.parametrize(
    "prid",
    ["", "NO:1234567", "NO05068907693", "no:05068907693", "NO:-5068907693", "NO:0506890769-", "NO:1-2-3-4-5-6", "NO:" + "1" * 31,
     "NOR:05068907693", "NO:0506 8907693", "NO:0506890769å", "NO:05068907693:1", None],
)  # fmt: skip
async def test_a_prid_of_another_form_is_none(node: Provider, prid: str | None) -> None:
    """eIDAS Constructed Attributes, section 2.1: the country, and 10 to 30 characters of which 8 tell persons apart."""
    telling(node, plain(PRID, *([] if prid is None else [prid])))
    assert await refused(node) == "sweden_connect.prid"


@pytest.mark.parametrize(
    "prid", ["NO:05068907693", "DE:12345-3456-abc", "DE:0aerf-ead9", "DK:09208-2002-2-194967071622",
             "DE:1hc3tpoleczqu3t8jz2995k2rq7nt8"],
)  # fmt: skip
async def test_prids_of_the_framework(node: Provider, prid: str) -> None:
    """Its own examples (sections 2.3.1 and 2.3.2); upper and lower case are one (section 2.1)."""
    telling(node, plain(PRID, prid))
    assert (await node.login()).subject == prid
    telling(node, plain(PRID, prid[:3] + prid[3:].upper()))
    assert (await node.login()).subject == prid


async def test_two_persons_are_nobody(provider: Provider, node: Provider) -> None:
    """Of two numbers none is chosen."""
    telling(node, plain(PRID, "NO:05068907693", "NO:05068907694"))
    assert await refused(node) == "sweden_connect.attribute"
    telling(provider, plain(PNR, *(each.personal_number for each in PEOPLE)))
    assert await refused(provider) == "saml.subject"


async def test_a_number_at_a_level_of_eidas_is_not_hers(node: Provider) -> None:
    """Whom the node found among the residents is a guess of its own: she is known by prid and has no number here."""
    telling(node, plain(PNR, PEOPLE[0].personal_number))
    evidence = await node.login()
    assert (evidence.personal_number, evidence.subject[:3]) == (None, "ES:")


@pytest.mark.parametrize(
    "number", ["199005271475", "9005271474", "19900527-1474", "199002301471", "", "SE199005271474"]
)
async def test_a_number_that_is_none(provider: Provider, number: str) -> None:
    """Who is known by it must have one: twelve digits, the last of which fits."""
    telling(provider, plain(PNR, number))
    assert await refused(provider) == "saml.subject"


async def test_a_coordination_number(provider: Provider) -> None:
    """Taken where we said so in our metadata, and refused where we did not: it may be replaced one day."""
    telling(provider, plain(PNR, COORDINATION))
    assert await refused(provider) == "sweden_connect.coordination_number"
    provider.connector = provider.connect(coordination_numbers=True)
    assert (await provider.login()).subject == COORDINATION


def nonresidents(*told: Attribute) -> Provider:
    """A provider of persons who have no Swedish number."""
    mode = replace(SWEDEN_CONNECT, levels=(NONRESIDENT,))
    made = Provider("sweden-connect", mode, acr_levels={NONRESIDENT: "substantial"}, services=["loa3-name"])
    telling(made, plain(PNR), *told)
    return made


async def test_a_non_resident() -> None:
    """Known by the name that the provider has for her with us, which lasts; she has no number."""
    provider = nonresidents()
    evidence = await provider.login(minimum=Assurance.SUBSTANTIAL)
    assert (evidence.personal_number, evidence.assurance) == (None, Assurance.SUBSTANTIAL)
    assert evidence.subject == (await provider.login()).subject != (await provider.login("eleni")).subject


async def test_a_non_resident_has_no_number() -> None:
    """Identifiers, section 3.1.1: the level says that there is none."""
    assert await refused(nonresidents(plain(PNR, PEOPLE[0].personal_number))) == "sweden_connect.nonresident"


async def test_a_non_resident_without_a_lasting_name() -> None:
    """A NameID of one login is nobody's account."""
    provider = nonresidents()
    state, url = await provider.begin()
    asked = await provider.simulator.asked(url.partition("?")[2])
    members = provider.simulator.answer(replace(asked, name_id_format=TRANSIENT), PEOPLE[0])
    with pytest.raises(UpstreamRefused) as error:
        await provider.resume(state, members)
    assert code_of(error) == "saml.subject"


# Whom the node and proxies speak for


async def test_behind_the_node_only_accepted_ones(node: Provider) -> None:
    """Who authenticated her is named, and may be chosen by the operator."""
    node.connector = node.connect(authorities=[NODE])
    assert (await node.login()).assurance is Assurance.LOW
    node.connector = node.connect(authorities=["https://other.example"])
    assert await refused(node) == "saml.authority"


async def test_the_node_says_who_authenticated_her(node: Provider) -> None:
    """AuthenticatingAuthority is there at every level of eIDAS."""
    node.simulator.mode = replace(node.simulator.mode, authorities=())
    assert await refused(node) == "sweden_connect.authority"


async def test_countries(node: Provider) -> None:
    """Whose persons are let in."""
    node.connector = node.connect(countries=["ES", "NO"])
    assert (await node.login()).subject.startswith("ES:")
    node.connector = node.connect(countries=["DE", "NO"])
    assert await refused(node) == "sweden_connect.country"


@pytest.mark.parametrize("level", [f"{LOA}/eidas-nf-high", f"{LOA}/eidas-low", f"{SC_LOA}/uncertified-eidas-high"])
async def test_a_proxy_cannot_speak_for_the_node(level: str) -> None:
    """
    A provider that the federation did not certify for levels of eIDAS is not asked for them and not believed, although the
    config accepts them of it.
    """
    levels = {f"{LOA}/loa2": "low", level: "low"}
    services = ["loa2-pnr", "eidas-naturalperson"]
    proxy = Provider("sweden-connect", SWEDEN_CONNECT, acr_levels=levels, services=services, uncertified="low")
    proxy.simulator.mode = replace(SWEDEN_CONNECT, authorities=(NODE,))
    proxy.simulator.gives, proxy.simulator.is_foreign = level, True
    assert await refused(proxy) == "upstream.acr"
    certified = replace(SWEDEN_CONNECT, levels=(level,), authorities=(NODE,))
    node = Provider("sweden-connect", certified, acr_levels=levels, services=services, uncertified="low")
    node.simulator.is_foreign = True
    assert (await node.login()).subject.startswith("ES:")


# Levels


@pytest.mark.parametrize("level", [f"{LOA}/loa4", f"{LOA}/eidas-nf-high", f"{SC_LOA}/uncertified-loa3", f"{LOA}/loa2"])
async def test_a_level_that_was_not_asked_for(provider: Provider, level: str) -> None:
    """Exact is exact: not a lower one, not a higher one, not one of another kind."""
    provider.simulator.gives = level
    assert await refused(provider, minimum=Assurance.SUBSTANTIAL) == "upstream.acr"


async def test_only_what_a_provider_is_certified_for(provider: Provider) -> None:
    """The federation says it in the metadata; a provider that is not mentioned there is asked for nothing."""
    with pytest.raises(UpstreamRefused) as error:
        await Provider("sweden-connect", replace(SWEDEN_CONNECT, certified=False)).begin()
    assert code_of(error) == "saml.no_context"
    with pytest.raises(UpstreamRefused) as error:
        await provider.begin(minimum=Assurance.HIGH)
    assert code_of(error) == "saml.no_context"


def configured(**changes: Any) -> SwedenConnect:
    """A block of the config."""
    return SwedenConnect.model_validate(connect_block("https://idp.example") | changes)


@pytest.mark.parametrize("level", sorted(CEILINGS))
def test_no_level_counts_for_more_than_it_says(level: str) -> None:
    """As much is accepted, and the next step is not."""
    steps = list(Assurance)
    most = CEILINGS[level]
    others: dict[str, Any] = {"services": ["eidas-naturalperson"], "uncertified": "substantial"}
    assert configured(acr_levels={level: most.value}, **others).acr_levels == {level: most}
    if most is not Assurance.HIGH:
        with pytest.raises(ValidationError):
            configured(acr_levels={level: steps[steps.index(most) + 1].value}, **others)


@pytest.mark.parametrize("level", [each for each in sorted(CEILINGS) if "/uncertified-" in each])
def test_self_declared_levels(level: str) -> None:
    """A proxy's own word counts for nothing, or for as much as the operator says."""
    services = ["eidas-naturalperson"]
    assert configured(acr_levels={level: "low"}, services=services, uncertified="low").acr_levels
    for uncertified in (None, "high"):
        with pytest.raises(ValidationError):
            configured(acr_levels={level: "low"}, services=services, uncertified=uncertified)
    with pytest.raises(ValidationError):
        configured(acr_levels={level: "substantial"}, services=services, uncertified="low")


# What is asked and what is answered


def matched(request: Any) -> list[tuple[str, str]]:
    """PrincipalSelection."""
    return [(str(each.get("Name")), str(each.text)) for each in request.xpath("//*[local-name()='MatchValue']")]


async def test_what_is_asked_for(provider: Provider) -> None:
    """Each sufficient level by name, exactly; ForceAuthn in so many words; nobody is expected."""
    provider.connector = provider.connect(providers=["https://no.example"])
    await provider.login()
    await provider.login(fresh=True)
    first, second = provider.simulator.requests
    assert (first.get("ForceAuthn"), second.get("ForceAuthn")) == ("false", "true")
    assert first.get("Destination") == f"{provider.simulator.origin}/sso"
    assert first.xpath("//*[local-name()='RequestedAuthnContext']/@Comparison") == ["exact"]
    assert first.xpath("//*[local-name()='AuthnContextClassRef']/text()") == [f"{LOA}/loa2", f"{LOA}/loa3"]
    assert first.xpath("//*[local-name()='IDPEntry']/@ProviderID") == ["https://no.example"]
    assert matched(first) == []


async def test_a_country_to_begin_with(node: Provider) -> None:
    """The partner's hint, else the config's; a country says nothing about a person."""
    await node.login(login_hint="NO")
    node.connector = node.connect(country="DE", countries=["DE", "ES", "NO"])
    await node.login()
    await node.login(login_hint="NO")
    await node.login(login_hint="FR")
    told = [matched(each) for each in node.simulator.requests]
    assert told == [[(COUNTRY, each)] for each in ("NO", "DE", "NO", "DE")]


@pytest.mark.parametrize(
    "hint", ["199005271474", "maja@posten.example", "+46701740605", "NO:05068907693", "no", "NOR", "N\n", "NO ", "ＮＯ"]
)
async def test_no_personal_data_in_an_address(provider: Provider, node: Provider, hint: str) -> None:
    """Requests are part of an address: a hint that may be about a person stays here, and a country is for the node alone."""
    for each in (provider, node):
        _, url = await each.begin(login_hint=hint)
        await each.answered(url)
        assert matched(each.simulator.requests[-1]) == []
        assert len(hint) < 4 or hint.encode() not in etree.tostring(each.simulator.requests[-1])
    _, url = await provider.begin(login_hint="NO")
    await provider.answered(url)
    assert matched(provider.simulator.requests[-1]) == []


NUMBER = PEOPLE[0].personal_number


def told_numbers(provider: Provider, **settings: Any) -> Provider:
    """*provider*, which wants to be told whom to expect, as we are set to tell it."""
    provider.simulator.expects = (PNR,)
    provider.connector = provider.connect(**{"binding": "post", "names_customer": True, **settings})
    return provider


async def test_her_personal_number_goes_by_post(provider: Provider) -> None:
    """Where she is logged in, and the provider's metadata asks for it, and the operator lets it: in the form and nowhere else."""
    state, form = await told_numbers(provider).begin_by_form(personal_number=NUMBER)
    assert NUMBER not in form.url + repr(form)
    members = await provider.answered(form)
    assert matched(provider.simulator.requests[-1]) == [(PNR, NUMBER)]
    assert (await provider.resume(state, members)).personal_number == NUMBER


@pytest.mark.parametrize(
    ("settings", "expects", "number"),
    [
        ({"names_customer": False}, (PNR,), NUMBER),
        ({"binding": "redirect", "names_customer": False}, (PNR,), NUMBER),
        ({}, (), NUMBER),
        ({}, ("urn:oid:2.5.4.42",), NUMBER),
        ({}, (PNR,), None),
        ({}, (PNR,), "0101014242"),
        ({}, (PNR,), "010190-999K"),
        ({}, (PNR,), f"{NUMBER}\n"),
    ],
    ids=["not let", "in an address", "not asked", "asked for another", "nobody is in", "Danish", "Finnish", "odd"],
)
async def test_her_personal_number_stays_here(
    provider: Provider, settings: dict[str, Any], expects: tuple[str, ...], number: str | None
) -> None:
    """Unless all of it is as it should be."""
    told_numbers(provider, **settings).simulator.expects = expects
    state, prompt = await provider.sent(personal_number=number)
    members = await provider.answered(prompt.url if isinstance(prompt, Redirect) else prompt)
    assert matched(provider.simulator.requests[-1]) == []
    assert (await provider.resume(state, members)).given_name == "Maja"


async def test_her_personal_number_where_she_is_asked_for_more(stage_folder: Path) -> None:
    """Nobody is expected of a browser without a session, nor where another customer may be meant (``prompt=login``)."""
    settings = {
        "binding": "post",
        "names_customer": True,
        "acr_levels": {f"{LOA}/loa2": "low", f"{LOA}/loa3": "substantial"},
    }
    async with open_world(stage_folder, "sweden-connect", SWEDEN_CONNECT, **settings) as world:
        world.simulator.expects = (PNR,)
        browser = world.stage.browser()
        world.simulator.gives = f"{LOA}/loa2"
        assert "code" in (await world.attempt(browser=browser)).query
        world.simulator.gives = None
        for asked in ({"acr_values": "substantial"}, {"prompt": "login"}):
            world.stage.clock.forward(seconds=120)
            page = await browser.follow(await browser.get(world.stage.shop.request(**asked)))
            gone = page if page.form_post else await browser.follow(await browser.press("method-eid"))
            assert NUMBER not in gone.location
            action, members = await visited_from(gone)
            assert "code" in (await browser.follow(Answer(await world.stage.client.post(action, data=members)))).query
        assert [matched(each) for each in world.simulator.requests] == [[], [(PNR, NUMBER)], []]


@pytest.mark.parametrize("binding", [None, "redirect"])
def test_a_personal_number_in_an_address_cannot_be_configured(binding: str | None) -> None:
    """Where the metadata decides, it may be an address, too."""
    with pytest.raises(ValidationError, match="binding: post"):
        configured(names_customer=True, **({"binding": binding} if binding else {}))


@pytest.mark.parametrize("word", ["fraud", "possibleFraud"])
async def test_suspected_fraud(provider: Provider, word: str) -> None:
    """No failure, no cancel: refused, whatever the config calls a cancel, and which of the two is in the log."""
    provider.connector = provider.connect(cancel_statuses=[f"{STATUS}/{word}"])
    provider.simulator.mode = replace(SWEDEN_CONNECT, cancelled=f"{STATUS}/{word}")
    with pytest.raises(UpstreamRefused) as error:
        await provider.login(None)
    assert (code_of(error), error.value.facts) == ("sweden_connect.fraud", {"status": word})


@pytest.mark.parametrize("word", ["cancel", "other"])
async def test_a_cancel(provider: Provider, word: str) -> None:
    """By the framework's own status, and by what the operator added."""
    provider.connector = provider.connect(cancel_statuses=[f"{STATUS}/other"])
    provider.simulator.mode = replace(SWEDEN_CONNECT, cancelled=f"{STATUS}/{word}")
    with pytest.raises(Stopped):
        await provider.login(None)


@pytest.mark.parametrize(("seconds", "is_taken"), [(50, True), (-50, True), (70, False), (-70 - 300, False)])
async def test_clocks(provider: Provider, seconds: int, is_taken: bool) -> None:
    """A minute and no more."""
    state, url = await provider.begin()
    members = await provider.answered(url)
    provider.clock.now -= timedelta(seconds=seconds)
    if is_taken:
        assert (await provider.resume(state, members)).given_name == "Maja"
        return
    with pytest.raises(UpstreamRefused):
        await provider.resume(state, members)


# Our metadata, and the config


def categories(provider: Provider, **changes: Any) -> list[str]:
    """The entity categories in our metadata."""
    document = provider.connect(**changes).published("metadata", address=ADDRESS, now=provider.clock.now)
    assert document is not None
    root = etree.fromstring(document.content)
    assert root.xpath("//*[local-name()='RequestedAttribute']") == []
    values = root.xpath("//*[local-name()='EntityAttributes']//text()")
    return [str(each) for each in values if str(each).strip()]


def test_entity_categories(provider: Provider) -> None:
    """What is wanted, who we are, and what we can take: what providers and the federation go by."""
    assert categories(provider) == [
        "http://id.elegnamnden.se/ec/1.0/loa3-pnr", "http://id.elegnamnden.se/st/1.0/private-sector-sp",
    ]  # fmt: skip
    more = categories(
        provider,
        services=["eidas-naturalperson", "loa3-name", "uncertified-loa3-pnr"],
        sector="public",
        coordination_numbers=True,
        categories=["http://id.swedenconnect.se/contract/sc/1.0/eidas"],
    )
    assert more == [
        "http://id.elegnamnden.se/ec/1.0/eidas-naturalperson",
        "http://id.swedenconnect.se/ec/1.0/loa3-name",
        "http://id.swedenconnect.se/ec/sc/uncertified-loa3-pnr",
        "http://id.elegnamnden.se/st/1.0/public-sector-sp",
        "http://id.swedenconnect.se/general-ec/1.0/accepts-coordination-number",
        "http://id.swedenconnect.se/contract/sc/1.0/eidas",
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"acr_levels": {}},
        {"acr_levels": {f"{LOA}/loa9": "low"}},
        {"acr_levels": {"http://eidas.europa.eu/LoA/high": "high"}},
        {"acr_levels": {f"{LOA}/eidas-nf-low": "low"}},
        {"acr_levels": {f"{SC_LOA}/uncertified-loa3": "low"}},
        {"claims": {"urn:oid:2.5.4.4": "family_name"}},
        {"comparison": "minimum"},
        {"skew": "2m"},
        {"encrypted": False},
        {"signs_response": False},
        {"services": []},
        {"services": ["loa9-pnr"]},
        {"sector": "both"},
        {"subject": "NameID"},
        {"personal_number_country": "FI"},
        {"country": "Norway"},
    ],
    ids=range(16),
)
def test_what_cannot_be_configured(changes: dict[str, Any]) -> None:
    """What the federation demands is no choice, and what could log nobody in is told at once."""
    with pytest.raises(ValidationError):
        configured(**changes)
