"""What a SAML service provider asks of a login and is told of it, as decisions."""

import pytest

from broker.core.assurance import Assurance, Comparison
from broker.core.policy import NameIdFormat, PartnerSaml
from broker.core.saml import PERSISTENT, POST, TRANSIENT, UNSPECIFIED, Endpoint, RequestedAttribute, SamlService
from broker.core.saml_login import (
    PAIRWISE_ID,
    SUBJECT_ID,
    URI_ATTRIBUTES,
    SamlAsk,
    attributes_of,
    claims_asked,
    claims_required,
    context_of_acr,
    fitting_levels,
    identifier_name,
    name_id_format,
    subject_identifier,
    told_context,
)
from broker.errors import Denied

LOA = "http://eidas.europa.eu/LoA/"
CLASSES = "urn:oasis:names:tc:SAML:2.0:ac:classes:"
PPT = f"{CLASSES}PasswordProtectedTransport"
LOA2, LOA3 = "http://id.elegnamnden.se/loa/1.0/loa2", "http://id.elegnamnden.se/loa/1.0/loa3"
OWN = {PPT: Assurance.CONTACT, LOA2: Assurance.LOW, LOA3: Assurance.SUBSTANTIAL}


def ask(*contexts: str, comparison: Comparison = Comparison.EXACT) -> SamlAsk:
    return SamlAsk("_1", NameIdFormat.TRANSIENT, contexts, comparison)


def terms(**changed: object) -> PartnerSaml:
    return PartnerSaml.model_validate({"entity_id": "urn:sp", "acs": ["https://sp.test/acs"], **changed})


def service(**changed: object) -> SamlService:
    return SamlService("urn:sp", (), **changed)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("level", "comparison", "classes", "told"),
    [
        (Assurance.CONTACT, "exact", [PPT], PPT),
        (Assurance.HIGH, "exact", [PPT], PPT),
        (Assurance.SELF_ASSERTED, "exact", [PPT], None),
        (Assurance.SUBSTANTIAL, "exact", [LOA2, LOA3], LOA3),
        (Assurance.LOW, "exact", [LOA2, LOA3], LOA2),
        (Assurance.LOW, "exact", [LOA3], None),
        (Assurance.SUBSTANTIAL, "minimum", [LOA2], LOA3),
        (Assurance.LOW, "minimum", [LOA3], None),
        (Assurance.SUBSTANTIAL, "better", [LOA2], LOA3),
        (Assurance.SUBSTANTIAL, "better", [LOA3], None),
        (Assurance.HIGH, "better", [LOA3], f"{LOA}high"),
        (Assurance.HIGH, "better", [PPT, LOA3], f"{LOA}high"),
        (Assurance.LOW, "better", [PPT], LOA2),
        (Assurance.SUBSTANTIAL, "better", [LOA2, "urn:unknown"], None),
        (Assurance.LOW, "maximum", [LOA3], LOA2),
        (Assurance.SUBSTANTIAL, "maximum", [LOA2], None),
        (Assurance.SOFT, "exact", [PPT], None),
        (Assurance.SUBSTANTIAL, "exact", [f"{LOA}substantial"], f"{LOA}substantial"),
        (Assurance.HIGH, "exact", [f"{LOA}substantial"], None),
    ],
)
def test_classes_of_the_partners_own(level: Assurance, comparison: str, classes: list[str], told: str | None) -> None:
    """At least that level, never less; those of eIDAS exactly (SAML Core section 3.3.2.2.1)."""
    assert told_context(ask(*classes, comparison=Comparison(comparison)), level, OWN) == told


#: What logins at each level are told as. Comparison, classes asked for; soft, self-asserted, contact, low, substantial, high.
OF_EIDAS = """
exact    unspecified      -           unspecified unspecified -           -           -
minimum  unspecified      -           unspecified unspecified low         substantial high
maximum  unspecified      -           unspecified unspecified -           -           -
better   unspecified      -           -           -           low         substantial high
exact    low              -           -           -           low         -           -
minimum  low              -           -           -           low         substantial high
maximum  low              -           unspecified unspecified low         -           -
better   low              -           -           -           -           substantial high
exact    substantial      -           -           -           -           substantial -
minimum  substantial      -           -           -           -           substantial high
maximum  substantial      -           unspecified unspecified low         substantial -
better   substantial      -           -           -           -           -           high
exact    high             -           -           -           -           -           high
minimum  high             -           -           -           -           -           high
maximum  high             -           unspecified unspecified low         substantial high
better   high             -           -           -           -           -           -
exact    unknown          -           -           -           -           -           -
minimum  unknown          -           -           -           -           -           -
maximum  unknown          -           -           -           -           -           -
better   unknown          -           -           -           -           -           -
exact    low,high         -           -           -           low         -           high
minimum  low,high         -           -           -           low         substantial high
maximum  low,high         -           unspecified unspecified low         substantial high
better   low,high         -           -           -           -           -           -
exact    low,unknown      -           -           -           low         -           -
minimum  low,unknown      -           -           -           low         substantial high
maximum  low,unknown      -           unspecified unspecified low         -           -
better   low,unknown      -           -           -           -           -           -
exact    ppt              -           -           -           -           -           -
minimum  ppt              -           -           -           -           -           -
maximum  ppt              -           -           -           -           -           -
better   ppt              -           -           -           -           -           -
"""

#: The same where `OWN` are classes of the partner's own.
OF_ITS_OWN = """
exact    ppt              -           -           ppt         ppt         ppt         ppt
minimum  ppt              -           -           ppt         loa2        loa3        loa3
maximum  ppt              -           unspecified ppt         -           -           -
better   ppt              -           -           -           loa2        loa3        loa3
exact    loa2             -           -           -           loa2        loa2        loa2
minimum  loa2             -           -           -           loa2        loa3        loa3
maximum  loa2             -           unspecified ppt         loa2        -           -
better   loa2             -           -           -           -           loa3        loa3
exact    loa3             -           -           -           -           loa3        loa3
minimum  loa3             -           -           -           -           loa3        loa3
maximum  loa3             -           unspecified ppt         loa2        loa3        -
better   loa3             -           -           -           -           -           high
exact    loa2,loa3        -           -           -           loa2        loa3        loa3
minimum  loa2,loa3        -           -           -           loa2        loa3        loa3
maximum  loa2,loa3        -           unspecified ppt         loa2        loa3        -
better   loa2,loa3        -           -           -           -           -           high
exact    loa3,unknown     -           -           -           -           loa3        loa3
minimum  loa3,unknown     -           -           -           -           loa3        loa3
maximum  loa3,unknown     -           unspecified ppt         loa2        loa3        -
better   loa3,unknown     -           -           -           -           -           -
exact    ppt,low          -           -           ppt         low         ppt         ppt
minimum  ppt,low          -           -           ppt         low         substantial high
maximum  ppt,low          -           unspecified unspecified low         -           -
better   ppt,low          -           -           -           -           loa3        loa3
exact    unspecified      -           unspecified unspecified -           -           -
minimum  unspecified      -           unspecified unspecified low         substantial high
maximum  unspecified      -           unspecified unspecified -           -           -
better   unspecified      -           -           ppt         low         substantial high
exact    unknown          -           -           -           -           -           -
minimum  unknown          -           -           -           -           -           -
maximum  unknown          -           -           -           -           -           -
better   unknown          -           -           -           -           -           -
"""
URIS = {word: f"{LOA}{word}" for word in ("low", "substantial", "high")} | {
    "unspecified": f"{CLASSES}unspecified",
    "unknown": f"{CLASSES}Kerberos",
    "ppt": PPT,
    "loa2": LOA2,
    "loa3": LOA3,
}


@pytest.mark.parametrize("row", OF_EIDAS.strip().splitlines(), ids=lambda row: "-".join(row.split()[:2]))
def test_every_comparison_of_every_class(row: str) -> None:
    """SAML Core section 3.3.2.2.1, complete: what we do not know is never met, and nothing is better than it."""
    assert told_by_level(row, {}) == row.split()[2:]


@pytest.mark.parametrize("row", OF_ITS_OWN.strip().splitlines(), ids=lambda row: "-".join(row.split()[:2]))
def test_every_comparison_of_its_own_classes(row: str) -> None:
    """The same with a vocabulary of the partner's, mixed with that of eIDAS and with what nobody knows."""
    assert told_by_level(row, OWN) == row.split()[2:]


def told_by_level(row: str, own: dict[str, Assurance]) -> list[str]:
    comparison, classes, *_ = row.split()
    asked = ask(*(URIS[each] for each in classes.split(",")), comparison=Comparison(comparison))
    words = {uri: word for word, uri in URIS.items()} | {None: "-"}
    return [words[told_context(asked, level, own)] for level in Assurance]


@pytest.mark.parametrize("level", Assurance)
@pytest.mark.parametrize("comparison", Comparison)
def test_nothing_stronger_than_the_login_is_told(level: Assurance, comparison: Comparison) -> None:
    """Whatever is asked for: the class that is told never says more than the login proved."""
    worth = (
        {f"{LOA}{each.value}": each for each in Assurance} | OWN | {f"{CLASSES}unspecified": Assurance.SELF_ASSERTED}
    )
    for wanted in worth:
        told = told_context(ask(wanted, comparison=comparison), level, OWN)
        assert told is None or worth[told] <= level


def test_better_than_a_class_that_is_told_as_the_usual_one() -> None:
    """Nothing is told that does not say more: a proven contact is more than a bare account, and has no class of its own."""
    own = {PPT: Assurance.SELF_ASSERTED}
    better = ask(PPT, comparison=Comparison.BETTER)
    assert told_context(better, Assurance.CONTACT, own) is None
    assert told_context(better, Assurance.LOW, own) == f"{LOA}low"
    assert told_context(better, Assurance.CONTACT, {PPT: Assurance.SOFT}) == f"{CLASSES}unspecified"


def test_a_level_that_may_not_be_told() -> None:
    """A handoff after a login that may not vouch: nothing is said of it, and no class is met."""
    assert context_of_acr(ask(), "federated", OWN) == f"{CLASSES}unspecified"
    assert context_of_acr(ask(PPT), "federated", OWN) is None
    assert context_of_acr(ask(PPT), None, OWN) is None


def test_levels_that_fit() -> None:
    """Those a login may have to answer; none for what nobody here is told as."""
    assert fitting_levels(ask(LOA2), OWN) == (Assurance.LOW, Assurance.SUBSTANTIAL, Assurance.HIGH)
    assert fitting_levels(ask(f"{LOA}low"), {}) == (Assurance.LOW,)
    assert fitting_levels(ask(LOA2), {}) == ()


@pytest.mark.parametrize(
    ("asked", "allowed", "found"),
    [
        (None, ("transient", "persistent"), NameIdFormat.TRANSIENT),
        (UNSPECIFIED, ("persistent",), NameIdFormat.PERSISTENT),
        (PERSISTENT, ("transient", "persistent"), NameIdFormat.PERSISTENT),
        (PERSISTENT, ("transient",), None),
        (TRANSIENT.upper(), ("transient",), None),
        ("", ("transient",), None),
    ],
)
def test_the_format_of_names(asked: str | None, allowed: tuple[str, ...], found: NameIdFormat | None) -> None:
    """The first one unless another is asked for, and that only if it is allowed."""
    assert name_id_format(asked, tuple(NameIdFormat(each) for each in allowed)) == found


def test_identifiers_survive_being_compared_without_case() -> None:
    """SAML Subject Identifier Attributes Profile: letters, digits and hyphens; two subjects that differ in case differ."""
    one, two = subject_identifier("aB-_c", "login.example"), subject_identifier("Ab-_c", "login.example")
    assert one != two
    assert one == one.lower()
    assert one.partition("@")[0].isalnum()
    assert one.endswith("@login.example")


@pytest.mark.parametrize(
    ("wanted", "allowed", "found"),
    [
        (None, "pairwise-id", PAIRWISE_ID),
        ("any", "pairwise-id", PAIRWISE_ID),
        ("pairwise-id", "subject-id", PAIRWISE_ID),
        ("any", "subject-id", SUBJECT_ID),
        ("subject-id", "subject-id", SUBJECT_ID),
        ("none", "pairwise-id", None),
        (None, "none", None),
    ],
)
def test_which_identifier(wanted: str | None, allowed: str, found: str | None) -> None:
    """saml2int SDP-IDP15, as far as the operator allows it."""
    assert identifier_name(service(subject_id_req=wanted), terms(identifier=allowed)) == found


def test_an_identifier_that_is_required_and_not_allowed() -> None:
    """Nobody is logged in by another one than the partner needs."""
    with pytest.raises(Denied, match="subject-id"):
        identifier_name(service(subject_id_req="subject-id"), terms())
    for required in ("pairwise-id", "any"):
        with pytest.raises(Denied, match="pairwise-id"):
            identifier_name(service(subject_id_req=required), terms(identifier="none"))


def test_metadata_narrows_what_is_asked_for() -> None:
    """By any name of an attribute that we know; never more than the operator allows."""
    wanted = (RequestedAttribute("urn:oid:0.9.2342.19200300.100.1.3"), RequestedAttribute("urn:oid:9.9"))
    asked = claims_asked(service(requested_attributes=wanted), terms(), ("name", "email"))
    assert asked.userinfo == ("email",)
    assert claims_asked(service(requested_attributes=wanted), terms(), ("name",)).userinfo == ()
    assert claims_asked(service(), terms(), ("name", "email")).userinfo == ("name", "email")


def test_what_metadata_requires() -> None:
    """Claims by any of their names, allowed here or not; what is only requested or unknown to us is not required."""
    mail, unknown = "urn:oid:0.9.2342.19200300.100.1.3", "urn:oid:9.9"
    wanted = tuple(RequestedAttribute(name, is_required=True) for name in (mail, unknown, "mobile", "urn:x:efternamn"))
    named = terms(attributes={"family_name": "urn:x:efternamn"})
    asked = service(requested_attributes=(*wanted, RequestedAttribute("displayName")))
    assert claims_required(asked, named) == ("family_name", "email", "phone_number")
    assert claims_required(service(requested_attributes=(RequestedAttribute(mail),)), named) == ()
    assert claims_required(service(), named) == ()


def test_attributes_by_their_names() -> None:
    """Standard names, short ones, or the partner's own; flags about claims are no attributes."""
    claims = {"email": "maja@example.com", "email_verified": True}
    assert [(name.name, values) for name, values in attributes_of(claims, terms())] == [
        (URI_ATTRIBUTES["email"].name, ("maja@example.com",))
    ]
    assert attributes_of(claims, terms(attribute_names="basic"))[0][0].name == "mail"
    assert attributes_of(claims, terms(attributes={"email": "urn:x:epost"}))[0][0].name == "urn:x:epost"


@pytest.mark.parametrize(
    ("said", "chosen"),
    [
        ([(2, None), (1, None)], 2),
        ([(0, False), (1, None)], 1),
        ([(0, None), (1, True), (2, True)], 1),
        ([(3, False), (1, False)], 3),
        ([(0, False), (5, None), (1, True)], 1),
        ([], None),
    ],
)
def test_the_default_consumer(said: list[tuple[int, bool | None]], chosen: int | None) -> None:
    """saml-metadata-2.0-os, section 2.2.3: by isDefault and by their order, never by their numbers; of those we post to."""
    others = (Endpoint("urn:oasis:names:tc:SAML:2.0:bindings:PAOS", "https://sp.test/paos", 9, True),)
    posts = tuple(Endpoint(POST, f"https://sp.test/{index}", index, is_default) for index, is_default in said)
    found = SamlService("urn:sp", others + posts).default_acs()
    assert (found.index if found else None) == chosen
