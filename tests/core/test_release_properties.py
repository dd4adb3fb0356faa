"""For every agreement, payload and choice: what leaves is agreed, allowed and present, and nothing else."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from broker.core.assurance import ACR_FEDERATED, Assurance, level_of_acr
from broker.core.handoff import lookup, place
from broker.core.policy import Agreement, PayloadField
from broker.core.release import (
    MEMBER_NUMBER,
    SCOPE_OF_CLAIM,
    GuestTerms,
    HandoffTerms,
    LoginTerms,
    Release,
    Terms,
    decide_release,
)
from broker.core.session import Profile, Session

from .world import agreement, proven, session

NAMES = [f"{group}.{leaf}" for group in ("car", "order", "person") for leaf in ("a", "b", "c")] + ["items", "note"]
BOUNDED = settings(max_examples=60, deadline=None, derandomize=True)

names = st.sets(st.sampled_from(NAMES))
values = st.one_of(st.text(max_size=5), st.booleans(), st.integers(), st.none(), st.lists(st.integers(), max_size=2))
sessions = st.builds(
    lambda upstream, level, proven, may: session(upstream, assurance=level, contact_proven=proven, may_bootstrap=may),
    st.sampled_from(["letter", "google", "bankid", "eid"]),
    st.sampled_from(list(Assurance)),
    st.booleans(),
    st.booleans(),
)


@st.composite
def payload_fields(draw: st.DrawFn) -> tuple[PayloadField, ...]:
    """Some fields of a type, some of them product data."""
    products = draw(names)
    some = sorted(draw(names))
    return tuple(PayloadField(name=name, labels={"en": name}, is_product=name in products) for name in some)


@st.composite
def payloads(draw: st.DrawFn) -> dict[str, Any]:
    """Values for some names, whether or not a type or agreement knows them."""
    payload: dict[str, Any] = {}
    for name in sorted(draw(names)):
        place(payload, name, draw(values))
    return payload


@st.composite
def agreements(draw: st.DrawFn) -> Agreement:
    required = draw(names)
    optional = draw(names) - required
    reason = draw(st.sampled_from([False, {"because": "long enough a reason"}]))
    claims = {"required": sorted(required), "optional": sorted(optional)}
    return Agreement.model_validate(agreement(claims=claims, release_upstream_assurance=reason))


def decided(terms: Terms, visitor: Session | None) -> Release:
    return decide_release(terms, visitor, standing=proven(visitor), policy_version="v")


def leaves(tree: dict[str, Any], at: str = "") -> dict[str, Any]:
    """The values of *tree* by dotted name."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= leaves(value, f"{at}{key}.") if isinstance(value, dict) else {f"{at}{key}": value}
    return found


def allowed_by(rule: Agreement) -> set[str]:
    return {*rule.claims.required, *rule.claims.optional}


@BOUNDED
@given(agreements(), payload_fields(), payloads(), st.one_of(st.none(), names), sessions)
def test_a_handoff_releases_what_is_agreed_and_allowed_and_present(
    rule: Agreement,
    fields: tuple[PayloadField, ...],
    payload: dict[str, Any],
    agreed: set[str] | None,
    visitor: Session,
) -> None:
    """Exactly the names that the agreement allows, the customer kept, the type knows and the payload has (F4)."""
    release = decided(HandoffTerms(rule, fields, payload), visitor)
    release = release if agreed is None else release.agreed_to(agreed)
    known = {field.name for field in fields if lookup(payload, field.name) is not None}
    expected = known & allowed_by(rule) & (known if agreed is None else agreed)
    assert set(release.given) == expected
    assert leaves(release.nested()) == {name: lookup(payload, name) for name in expected}
    assert set(release.withheld) == known - expected


@BOUNDED
@given(agreements(), payload_fields(), payloads(), st.one_of(st.none(), sessions))
def test_a_guest_takes_product_data_along_and_nothing_else(
    rule: Agreement, fields: tuple[PayloadField, ...], payload: dict[str, Any], visitor: Session | None
) -> None:
    """Whatever the agreement requires and whoever is logged in."""
    release = decided(GuestTerms(rule, fields, payload), visitor)
    products = {field.name for field in fields if field.is_product}
    assert set(leaves(release.nested())) <= products & allowed_by(rule)
    assert release.acr is None
    assert release.amr == ()


@BOUNDED
@given(agreements(), payload_fields(), payloads(), sessions)
def test_what_is_shown_is_what_is_released(
    rule: Agreement, fields: tuple[PayloadField, ...], payload: dict[str, Any], visitor: Session
) -> None:
    """Agreeing to everything on the consent page gives exactly what it showed; a second look at the rest gives the same."""
    shown = decided(HandoffTerms(rule, fields, payload), visitor)
    given_now = shown.agreed_to(shown.given)
    assert given_now.nested() == shown.nested()
    again = decided(HandoffTerms(rule, fields, given_now.nested()), visitor)
    assert again.nested() == shown.nested()


@BOUNDED
@given(agreements(), sessions)
def test_no_more_assurance_is_released_than_was_proven(rule: Agreement, visitor: Session) -> None:
    """Never above the session's level; of a method that may not vouch never above contact, and never its name."""
    release = decided(HandoffTerms(rule, (), {}), visitor)
    assert release.acr is not None
    level = level_of_acr(release.acr)
    if level is None:
        assert release.acr == ACR_FEDERATED
        assert not visitor.may_bootstrap
        assert not visitor.contact_proven
    else:
        assert level <= visitor.assurance
    if not visitor.may_bootstrap and rule.release_upstream_assurance is False:
        assert level is None or level <= Assurance.CONTACT
        assert release.amr == ()


CLAIMS = sorted({*SCOPE_OF_CLAIM} - {MEMBER_NUMBER})
profiles = st.builds(
    Profile,
    **{name: st.one_of(st.none(), st.text(min_size=1, max_size=5)) for name in CLAIMS},
    email_verified=st.booleans(),
    phone_number_verified=st.booleans(),
)
claims = st.sets(st.sampled_from(CLAIMS))
scopes = st.sets(st.sampled_from(["openid", "profile", "email", "phone", "personal_number", "handoff:read", "x"]))


@BOUNDED
@given(profiles, claims, scopes, st.one_of(st.none(), claims))
def test_a_login_releases_what_is_asked_and_allowed_and_agreed_and_known(
    known: Profile, allowed: set[str], asked: set[str], agreed: set[str] | None
) -> None:
    """Exactly that; the two flags go with their address and never alone."""
    terms = LoginTerms("garage", tuple(allowed), frozenset(asked), None if agreed is None else frozenset(agreed))
    given_names = set(decided(terms, session(profile=known)).given)
    expected = {
        name
        for name in allowed
        if SCOPE_OF_CLAIM[name] in asked and getattr(known, name) is not None and (agreed is None or name in agreed)
    }
    flags = {f"{name}_verified" for name in expected & {"email", "phone_number"}}
    assert given_names == expected | flags
