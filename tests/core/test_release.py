"""Which claims a partner gets, and the reason for each, given or withheld."""

from typing import Any

import pytest

from broker.core.assurance import Assurance
from broker.core.claims_request import NOTHING, ClaimsRequest
from broker.core.policy import Agreement
from broker.core.release import (
    GuestTerms,
    HandoffTerms,
    Item,
    LoginTerms,
    Reason,
    Release,
    Terms,
    decide_release,
)
from broker.core.session import Profile, Session

from .world import FIELDS, OPTIONAL, PAYLOAD, REQUIRED, agreement, profile, proven, session

BECAUSE = {"because": "the garage has its own BankID agreement"}
VERSION = "0123456789ab"


def of(terms: Terms, visitor: Session | None = None) -> Release:
    return decide_release(terms, visitor, standing=proven(visitor), policy_version=VERSION)


def rule(**changed: Any) -> Agreement:
    return Agreement.model_validate(agreement(**changed))


def handed_over(payload: dict[str, Any] | None = None, **changed: Any) -> HandoffTerms:
    return HandoffTerms(rule(**changed), FIELDS, PAYLOAD if payload is None else payload)


def logged_in(
    *scopes: str,
    allowed: tuple[str, ...] = ("name", "email"),
    agreed: Any = None,
    claims: ClaimsRequest = NOTHING,
    number: str | None = None,
) -> LoginTerms:
    scoped = frozenset({"openid", *scopes})
    return LoginTerms("garage", allowed, scoped, agreed, claims=claims, member_number=number)


def by_name(release: Release) -> dict[str, Item]:
    return {item.name: item for item in release.items}


@pytest.mark.parametrize(
    ("terms", "name", "given", "reason"),
    [
        (handed_over(), "vehicle.plate", True, Reason.AGREED_REQUIRED),
        (handed_over(), "customer.email", True, Reason.AGREED_OPTIONAL),
        (handed_over(), "customer.name", False, Reason.NOT_IN_AGREEMENT),
        (handed_over(payload={}), "vehicle.plate", False, Reason.NOT_KNOWN),
        (handed_over(payload={"items": None}), "items", False, Reason.NOT_KNOWN),
        (handed_over(claims={"required": ["order.paid"], "optional": []}), "order.paid", True, Reason.AGREED_REQUIRED),
        (GuestTerms(rule(), FIELDS, PAYLOAD), "items", True, Reason.PRODUCT_DATA),
        (GuestTerms(rule(), FIELDS, PAYLOAD), "vehicle.tyre_size", True, Reason.PRODUCT_DATA),
        (GuestTerms(rule(), FIELDS, PAYLOAD), "vehicle.plate", False, Reason.NOT_PRODUCT_DATA),
        (GuestTerms(rule(), FIELDS, PAYLOAD), "customer.name", False, Reason.NOT_IN_AGREEMENT),
        (GuestTerms(rule(claims={"required": [], "optional": []}), FIELDS, PAYLOAD), "items", False, Reason.NOT_IN_AGREEMENT),
        (GuestTerms(rule(), FIELDS, {}), "items", False, Reason.NOT_KNOWN),
        (logged_in("profile"), "name", True, Reason.SCOPE_AND_POLICY),
        (logged_in(), "name", False, Reason.NOT_REQUESTED),
        (logged_in("email"), "name", False, Reason.NOT_REQUESTED),
        (logged_in("profile"), "birthdate", False, Reason.NOT_IN_AGREEMENT),
        (logged_in("profile", "personal_number"), "personal_number", False, Reason.NOT_IN_AGREEMENT),
        (logged_in("phone", allowed=("phone_number",)), "phone_number", False, Reason.NOT_KNOWN),
        (logged_in("profile", agreed=frozenset()), "name", False, Reason.NOT_AGREED),
        (logged_in("profile", agreed=frozenset({"name"})), "name", True, Reason.SCOPE_AND_POLICY),
        (logged_in("profile", agreed=frozenset({"birthdate"})), "birthdate", False, Reason.NOT_IN_AGREEMENT),
    ],
)  # fmt: skip
def test_each_claim_has_its_reason(terms: Terms, name: str, given: bool, reason: Reason) -> None:
    """Given or withheld, the receipt says why, and a withheld claim carries no value."""
    item = by_name(of(terms, session()))[name]
    assert (item.given, item.reason) == (given, reason)
    assert (item.value is not None) is given


@pytest.mark.parametrize(
    ("kept", "name", "given", "reason"),
    [
        ({*REQUIRED}, "vehicle.plate", True, Reason.AGREED_REQUIRED),
        ({*REQUIRED}, "customer.email", False, Reason.NOT_AGREED),
        ({*OPTIONAL}, "vehicle.plate", False, Reason.NOT_AGREED),
        (set(), "items", False, Reason.NOT_AGREED),
        ({"customer.name"}, "customer.name", False, Reason.NOT_IN_AGREEMENT),
    ],
)
def test_what_she_does_not_keep_is_withheld(kept: set[str], name: str, given: bool, reason: Reason) -> None:
    """Nothing is given that was not before, and what is withheld carries no value."""
    whole = of(handed_over(), session())
    item = by_name(whole.agreed_to(kept))[name]
    assert (item.given, item.value is not None, item.reason) == (given, given, reason)
    assert whole.agreed_to({*REQUIRED, *OPTIONAL}) == whole


@pytest.mark.parametrize(
    ("visitor", "released", "acr", "amr", "reason"),
    [
        (session("google"), False, "contact", ("google",), Reason.PROVEN),
        (session("eid"), False, "http://eidas.europa.eu/LoA/high", ("eid",), Reason.PROVEN),
        (session("bankid"), False, "federated", (), Reason.UPSTREAM_MAY_NOT_VOUCH),
        (session("bankid", contact_proven=True), False, "contact", (), Reason.UPSTREAM_MAY_NOT_VOUCH),
        (
            session("bankid"),
            BECAUSE,
            "http://eidas.europa.eu/LoA/substantial",
            ("bankid",),
            Reason.UPSTREAM_RELEASE_AGREED,
        ),
        (
            session("bankid", contact_proven=True, assurance=Assurance.SOFT),
            False,
            "soft",
            (),
            Reason.UPSTREAM_MAY_NOT_VOUCH,
        ),
        (session("google"), BECAUSE, "contact", ("google",), Reason.PROVEN),
    ],
)
def test_bankid_vouches_for_nobody_elsewhere(
    visitor: Session, released: Any, acr: str, amr: tuple[str, ...], reason: Reason
) -> None:
    """
    A login that may not bootstrap others tells the recipient a proven contact at most and names no method, unless the
    operator wrote down why it may.
    """
    release = of(handed_over(release_upstream_assurance=released), visitor)
    assert (release.acr, release.amr, release.assurance_reason) == (acr, amr, reason)


@pytest.mark.parametrize("released", [False, BECAUSE])
def test_a_handoff_carries_nothing_of_the_profile(released: Any) -> None:
    """What a handoff releases comes from its payload: no personal number, name or address of the login slips in."""
    strong = session("bankid", profile=profile(personal_number="199005272394", name="Nobody Else"))
    release = of(handed_over(release_upstream_assurance=released), strong)
    assert {item.name for item in release.items} == {field.name for field in FIELDS}
    assert "199005272394" not in repr(release)
    assert "Nobody Else" not in repr(release)


def test_a_guest_is_nobody() -> None:
    """Product data only, no assurance, no method, whoever is logged in beside it."""
    terms = GuestTerms(rule(), FIELDS, PAYLOAD)
    for visitor in (None, session("eid")):
        release = of(terms, visitor)
        assert release.nested() == {"vehicle": {"tyre_size": "225/50 R17"}, "items": PAYLOAD["items"]}
        assert (release.acr, release.amr) == (None, ())


@pytest.mark.parametrize("terms", [handed_over(), logged_in("profile")])
def test_nothing_personal_goes_out_without_a_login(terms: Terms) -> None:
    """Only a guest release needs nobody."""
    with pytest.raises(ValueError, match="session"):
        of(terms, None)


def test_a_login_names_its_level_and_method() -> None:
    """A partner's own login rests on no agreement that could forbid it."""
    release = of(logged_in(), session("bankid"))
    assert release.acr == "http://eidas.europa.eu/LoA/substantial"
    assert release.amr == ("bankid",)
    assert release.rule == "login:garage"
    assert release.policy_version == VERSION


@pytest.mark.parametrize("verified", [True, False])
def test_an_address_travels_with_its_truth(verified: bool) -> None:
    """An address always says whether it is proven; where it is withheld so is the flag (Core section 5.1)."""
    visitor = session(profile=profile(email_verified=verified))
    assert of(logged_in("email"), visitor).nested() == {"email": "maja@example.com", "email_verified": verified}
    assert of(logged_in("profile"), visitor).nested() == {"name": "Maja Lind"}
    assert of(logged_in("email", agreed=frozenset()), visitor).nested() == {}


def test_unknown_is_not_withheld() -> None:
    """ "Withheld" lists what exists and was kept back; what nobody has is not worth a word."""
    payload = {"vehicle": {"plate": "A"}, "customer": {"email": "m@x.test"}}
    release = of(handed_over(payload), session()).agreed_to(REQUIRED)
    assert release.given == ("vehicle.plate",)
    assert release.withheld == ("customer.email",)


def test_fields_are_told_in_the_order_of_the_type() -> None:
    """Consent page and receipt read the same list, in the schema's order."""
    assert [item.name for item in of(handed_over(), session()).items] == [field.name for field in FIELDS]
    assert of(handed_over(), session()).rule == "shop>garage:fitting"


def test_every_reason_is_used_and_no_other() -> None:
    """The reasons are an interface: each word can be met."""
    full = session("bankid", profile=Profile(name="Maja", email="m@x.test"))
    releases = [
        of(handed_over(PAYLOAD | {"order": {}}), full).agreed_to({"items", "customer.email"}),
        of(handed_over(release_upstream_assurance=BECAUSE), full),
        of(GuestTerms(rule(), FIELDS, PAYLOAD)),
        of(logged_in(claims=ClaimsRequest(userinfo=("name",))), full),
        of(logged_in("profile", "phone", allowed=("name", "phone_number"), agreed=frozenset({"name"})), session()),
        of(logged_in("membership", allowed=("member_number",), number="M-1"), full),
    ]
    met = {item.reason for release in releases for item in release.items}
    met |= {release.assurance_reason for release in releases}
    assert met == set(Reason)


def test_a_release_has_no_room_for_more() -> None:
    """Whoever adds something that leaves the broker meets this test, and says here why."""
    assert set(Release.__struct_fields__) == {
        "items",
        "acr",
        "amr",
        "assurance_reason",
        "rule",
        "policy_version",
    }


class TestClaimsAskedForByName:
    """OpenID Connect Core section 5.5: the same decision as for scopes, and a place for each claim."""

    FULL = session("google", profile=Profile(name="Maja", email="m@x.test", email_verified=True, phone_number="+46701"))

    def test_a_name_counts_as_asked_without_its_scope(self) -> None:
        """The place it was asked for, and no other claim of that scope."""
        release = of(logged_in(claims=ClaimsRequest(userinfo=("email",))), self.FULL)
        assert release.nested() == {"email": "m@x.test", "email_verified": True}
        assert release.id_token_claims == {}
        assert by_name(release)["email"].reason is Reason.CLAIM_AND_POLICY

    def test_for_the_id_token_it_goes_there_alone(self) -> None:
        """Userinfo does not repeat what was asked for in the ID token."""
        release = of(logged_in(claims=ClaimsRequest(id_token=("name",))), self.FULL)
        assert release.id_token_claims == {"name": "Maja"}
        assert release.nested() == {}

    def test_with_its_scope_it_goes_to_both(self) -> None:
        """The scope asks for userinfo."""
        release = of(logged_in("profile", claims=ClaimsRequest(id_token=("name",))), self.FULL)
        assert release.id_token_claims == release.nested() == {"name": "Maja"}

    def test_never_more_than_policy_allows(self) -> None:
        """Asking by name is asking, not being allowed."""
        release = of(logged_in(claims=ClaimsRequest(userinfo=("phone_number",), id_token=("phone_number",))), self.FULL)
        assert by_name(release)["phone_number"].reason is Reason.NOT_IN_AGREEMENT
        assert release.nested() == release.id_token_claims == {}

    def test_never_more_than_the_customer_agreed_to(self) -> None:
        """Left out is left out, in both places."""
        terms = logged_in(agreed=frozenset({"email"}), claims=ClaimsRequest(("name", "email"), ("name",)))
        release = of(terms, self.FULL)
        assert by_name(release)["name"].reason is Reason.NOT_AGREED
        assert set(release.nested()) == {"email", "email_verified"}
        assert release.id_token_claims == {}

    def test_what_is_not_known_is_left_out(self) -> None:
        """Never null (section 5.3.2)."""
        release = of(logged_in(claims=ClaimsRequest(id_token=("name",))), session("google", profile=Profile()))
        assert release.id_token_claims == {}

    @pytest.mark.parametrize(
        ("essential", "told"),
        [
            ((), "http://eidas.europa.eu/LoA/substantial"),
            (("http://eidas.europa.eu/LoA/substantial",), "http://eidas.europa.eu/LoA/substantial"),
            (("low", "contact"), "low"),
            (("http://eidas.europa.eu/LoA/high",), None),
            (("unknown",), None),
        ],
    )
    def test_an_essential_acr_is_told_in_its_own_words_or_not_at_all(
        self, essential: tuple[str, ...], told: str | None
    ) -> None:
        """Section 5.5.1.1: one of the values; a stronger login is at least that, a weaker one is none of them."""
        terms = logged_in(claims=ClaimsRequest(essential_acr=essential))
        assert of(terms, session("bankid")).acr == told
