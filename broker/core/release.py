"""
Which claims a partner gets, and why each was given or withheld.

`decide_release` is the one place that decides it, for plain logins, handoffs and guest handoffs alike. Consent page,
token, data endpoint, audit and "What I share" read the same `Release`.
"""

from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import Any, NamedTuple

from msgspec import Struct

from broker.core.assurance import ACR_FEDERATED, Assurance, acr_among, acr_of
from broker.core.changing import replace
from broker.core.claims_request import NOTHING, ClaimsRequest
from broker.core.handoff import lookup, place
from broker.core.policy import Agreement, PayloadField, ReleaseUpstreamAssurance
from broker.core.session import Profile, Session


class Reason(StrEnum):
    """Why a claim was given or withheld; the words are an interface (docs/events.md)."""

    AGREED_REQUIRED = "agreed_required"
    AGREED_OPTIONAL = "agreed_optional"
    SCOPE_AND_POLICY = "scope_and_policy"
    CLAIM_AND_POLICY = "claim_and_policy"
    PRODUCT_DATA = "product_data"
    PROVEN = "proven"
    UPSTREAM_RELEASE_AGREED = "upstream_release_agreed"
    PARTNERS_OWN = "partners_own"
    NOT_IN_AGREEMENT = "not_in_agreement"
    NOT_REQUESTED = "not_requested"
    NOT_AGREED = "not_agreed"
    NOT_PRODUCT_DATA = "not_product_data"
    NOT_KNOWN = "not_known"
    UPSTREAM_MAY_NOT_VOUCH = "upstream_may_not_vouch"


class Item(NamedTuple):
    """
    One claim or field: its ``name``, whether it is ``given``, the ``value`` if so, and the ``reason`` either way.

    ``at_userinfo``, ``in_id_token``: where a claim of a login goes.
    """

    name: str
    given: bool
    value: Any
    reason: Reason
    at_userinfo: bool = True
    in_id_token: bool = False


class Release(Struct, frozen=True):
    """
    What one partner gets.

    ``items``: every claim that was considered. ``acr``/``amr``: None/empty for a guest; ``acr`` is None, too, where the login is
    none of those the partner needs. ``rule``: the agreement or partner rule it rests on. ``policy_version``: the config it
    was decided by.
    """

    items: tuple[Item, ...]
    acr: str | None
    amr: tuple[str, ...]
    assurance_reason: Reason
    rule: str
    policy_version: str

    @property
    def given(self) -> tuple[str, ...]:
        """Names of what is given, in order."""
        return tuple([item.name for item in self.items if item.given])

    @property
    def withheld(self) -> tuple[str, ...]:
        """Names of what is withheld although it exists, in order."""
        return tuple([item.name for item in self.items if not item.given and item.reason is not Reason.NOT_KNOWN])

    @property
    def reasons(self) -> dict[str, str]:
        """The names of what is not given, each with the reason."""
        return {item.name: item.reason.value for item in self.items if not item.given}

    def lacking(self, names: Sequence[str]) -> tuple[str, ...]:
        """Those of *names* that are not given, whyever; nothing else is given in their place."""
        return tuple([name for name in names if name not in self.given]) if names else ()

    def agreed_to(self, names: Collection[str]) -> "Release":
        """What is left of it where the customer keeps *names*."""
        if set(names).issuperset(self.given):
            return self
        items = [
            item if not item.given or item.name in names else _withheld(item.name, Reason.NOT_AGREED)
            for item in self.items
        ]
        return replace(self, items=tuple(items))

    @property
    def is_offline(self) -> bool:
        """Whether the partner may go on without the customer being there: refresh tokens."""
        return OFFLINE in self.given

    def nested(self) -> dict[str, Any]:
        """The given values as an object, dotted names unfolded: what userinfo or the handoff's data endpoint answers."""
        tree: dict[str, Any] = {}
        for item in self.items:
            if item.given and item.at_userinfo and item.name != OFFLINE:
                place(tree, item.name, item.value)
        return tree

    @property
    def id_token_claims(self) -> dict[str, Any]:
        """The given values that were asked for in the ID token."""
        return {item.name: item.value for item in self.items if item.given and item.in_id_token}


class LoginTerms(Struct, frozen=True):
    """
    A partner's own login: ``allowed`` by policy, ``scopes`` it asked for, ``agreed`` by the customer (None: implied).

    ``may_stay``: whether the partner may get refresh tokens. ``claims``: what it asked for by name. ``member_number``: hers in
    the partner's own register, which therefore needs no consent to be told there.
    """

    partner: str
    allowed: tuple[str, ...]
    scopes: frozenset[str]
    agreed: frozenset[str] | None
    may_stay: bool = False
    claims: ClaimsRequest = NOTHING
    member_number: str | None = None

    @property
    def wants_offline(self) -> bool:
        """Whether a refresh token is asked for, and the partner may have one (OpenID Connect Core section 11)."""
        return self.may_stay and OFFLINE in self.scopes

    @property
    def essential_acr(self) -> tuple[str, ...]:
        """The acr values of which the partner needs one."""
        return self.claims.essential_acr


class HandoffTerms(Struct, frozen=True):
    """A handoff under ``agreement``, of what is left of its payload; what the customer keeps of it: `Release.agreed_to`."""

    agreement: Agreement
    fields: tuple[PayloadField, ...]
    payload: Mapping[str, Any]
    essential_acr: tuple[str, ...] = ()


class GuestTerms(Struct, frozen=True):
    """A handoff the customer takes without sharing: product data only."""

    agreement: Agreement
    fields: tuple[PayloadField, ...]
    payload: Mapping[str, Any]


Terms = LoginTerms | HandoffTerms | GuestTerms

#: The scope, and the item on the consent page, of access while the customer is away.
OFFLINE = "offline_access"

#: The claim that is the partner's own number for the customer.
MEMBER_NUMBER = "member_number"

_GIVEN = frozenset({Reason.SCOPE_AND_POLICY, Reason.CLAIM_AND_POLICY, Reason.PARTNERS_OWN})

#: Scope that asks for each profile claim (OpenID Connect Core section 5.4).
SCOPE_OF_CLAIM: Mapping[str, str] = {
    "name": "profile",
    "given_name": "profile",
    "family_name": "profile",
    "birthdate": "profile",
    "locale": "profile",
    "email": "email",
    "phone_number": "phone",
    "personal_number": "personal_number",
    "member_number": "membership",
}


def narrowed(claims: Mapping[str, Any], scopes: Collection[str]) -> dict[str, Any]:
    """*claims* without those that none of *scopes* asks for; what no scope asks for stays."""
    dropped = {name for name, scope in SCOPE_OF_CLAIM.items() if scope not in scopes}
    return {name: value for name, value in claims.items() if name.removesuffix("_verified") not in dropped}


def permitted(claims: Mapping[str, Any], allowed: Collection[str]) -> dict[str, Any]:
    """*claims* without those of the profile that are not *allowed*."""
    dropped = SCOPE_OF_CLAIM.keys() - set(allowed)
    return {name: value for name, value in claims.items() if name.removesuffix("_verified") not in dropped}


def decide_release(
    terms: Terms, session: Session | None, *, standing: Assurance = Assurance.SOFT, policy_version: str
) -> Release:
    """
    Decide what goes to a partner.

    Args:
        terms: what is asked, allowed and agreed; its type says which kind of release this is.
        session: the customer's login; None only for a guest.
        standing: what *session* proves by now (`broker.core.session.standing`); no acr is above it.
        policy_version: named in the result.
    """
    match terms:
        case LoginTerms():
            if session is None:
                raise ValueError("a login release needs a session")
            items = _login_items(terms, session.profile)
            return Release(
                items,
                _told(acr_of(standing), terms.essential_acr),
                session.amr,
                Reason.PROVEN,
                f"login:{terms.partner}",
                policy_version,
            )
        case HandoffTerms():
            if session is None:
                raise ValueError("a handoff release needs a session")
            acr, amr, why = _handoff_assurance(terms.agreement, session, standing)
            told = _told(acr, terms.essential_acr)
            return Release(_handoff_items(terms), told, amr, why, terms.agreement.id, policy_version)
        case GuestTerms():
            return Release(_guest_items(terms), None, (), Reason.NOT_AGREED, terms.agreement.id, policy_version)


def _told(acr: str, essential: tuple[str, ...]) -> str | None:
    """The acr that is told; None when it is none of those the partner needs."""
    return acr_among(acr, essential) if essential else acr


def _handoff_assurance(
    agreement: Agreement, session: Session, standing: Assurance
) -> tuple[str, tuple[str, ...], Reason]:
    """
    acr and amr that may travel with a handoff.

    A login whose method may not bootstrap others (BankID's agreement forbids it) does not vouch for the customer at the
    recipient: the level falls to the proven contact (never above the login's own), or to ``federated``, and the method
    stays unnamed, unless the operator wrote down why it may be told.
    """
    if session.may_bootstrap:
        return acr_of(standing), session.amr, Reason.PROVEN
    if isinstance(agreement.release_upstream_assurance, ReleaseUpstreamAssurance):
        return acr_of(standing), session.amr, Reason.UPSTREAM_RELEASE_AGREED
    acr = acr_of(min(standing, Assurance.CONTACT)) if session.contact_proven else ACR_FEDERATED
    return acr, (), Reason.UPSTREAM_MAY_NOT_VOUCH


def _login_items(terms: LoginTerms, profile: Profile) -> tuple[Item, ...]:
    items: list[Item] = []
    for name, scope in SCOPE_OF_CLAIM.items():
        value = terms.member_number if name == MEMBER_NUMBER else getattr(profile, name)
        reason = _login_reason(name, scope, value, terms)
        given = reason in _GIVEN
        places = (scope in terms.scopes or name in terms.claims.userinfo, name in terms.claims.id_token)
        items.append(Item(name, given, value if given else None, reason, *places))
        if given and name in {"email", "phone_number"}:
            flag = f"{name}_verified"
            items.append(Item(flag, True, getattr(profile, flag), reason, *places))
    if terms.wants_offline:
        agreed = terms.agreed is None or OFFLINE in terms.agreed
        items.append(
            Item(OFFLINE, agreed, True if agreed else None, Reason.SCOPE_AND_POLICY if agreed else Reason.NOT_AGREED)
        )
    return tuple(items)


def _login_reason(name: str, scope: str, value: Any, terms: LoginTerms) -> Reason:
    by_name = name in terms.claims.userinfo or name in terms.claims.id_token
    if scope not in terms.scopes and not by_name:
        return Reason.NOT_REQUESTED
    if name not in terms.allowed:
        return Reason.NOT_IN_AGREEMENT
    if value is None:
        return Reason.NOT_KNOWN
    if name == MEMBER_NUMBER:
        return Reason.PARTNERS_OWN
    if terms.agreed is not None and name not in terms.agreed:
        return Reason.NOT_AGREED
    return Reason.SCOPE_AND_POLICY if scope in terms.scopes else Reason.CLAIM_AND_POLICY


def _handoff_items(terms: HandoffTerms) -> tuple[Item, ...]:
    required, optional = terms.agreement.claims.required, terms.agreement.claims.optional
    items: list[Item] = []
    for field in terms.fields:
        name = field.name
        value = lookup(terms.payload, name)
        if value is None:
            items.append(_withheld(name, Reason.NOT_KNOWN))
        elif name not in required and name not in optional:
            items.append(_withheld(name, Reason.NOT_IN_AGREEMENT))
        else:
            items.append(
                Item(name, True, value, Reason.AGREED_REQUIRED if name in required else Reason.AGREED_OPTIONAL)
            )
    return tuple(items)


@lru_cache(maxsize=4096)
def _withheld(field: str, reason: Reason) -> Item:
    """Always the same for the same field: a payload has most of what its type knows left out."""
    return Item(field, False, None, reason)


def _guest_items(terms: GuestTerms) -> tuple[Item, ...]:
    allowed = {*terms.agreement.claims.required, *terms.agreement.claims.optional}
    items: list[Item] = []
    for field in terms.fields:
        value = lookup(terms.payload, field.name)
        if value is None:
            reason = Reason.NOT_KNOWN
        elif field.name not in allowed:
            reason = Reason.NOT_IN_AGREEMENT
        elif not field.is_product:
            reason = Reason.NOT_PRODUCT_DATA
        else:
            reason = Reason.PRODUCT_DATA
        given = reason is Reason.PRODUCT_DATA
        items.append(Item(field.name, given, value if given else None, reason))
    return tuple(items)
