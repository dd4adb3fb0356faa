"""
Who came: `Evidence` as an upstream proved it, and `Identity` as the broker accepts it.

`Evidence` is made only in ``broker/upstream``; `accept` turns it into an `Identity` under the ceiling the
operator set for that connector. Nothing here is logged.
"""

import re
import unicodedata
from datetime import date, datetime
from enum import StrEnum

from msgspec import Struct

from broker.core.assurance import Assurance
from broker.core.discreet import Discreet


class ContactKind(StrEnum):
    """The kinds of contact address a customer can prove."""

    EMAIL = "email"
    PHONE = "phone"


class Contact(Struct, frozen=True):
    """
    A contact address and whether it is proven.

    ``value``: e-mail as delivered by the upstream, or E.164 phone. ``verified``: by us, or by an upstream
    that the operator trusts for it.
    """

    kind: ContactKind
    value: str
    verified: bool


class Membership(Struct, frozen=True):
    """A number in ``partner``'s register of customers."""

    partner: str
    number: str


class Evidence(Discreet, frozen=True):
    """
    What one upstream proved in one login; vendor words are gone.

    ``upstream``: connector id of the YAML. ``issuer`` + ``subject``: the stable key of the person there
    (never handed to partners). ``amr``: method words for the ID token (RFC 8176 where one fits).
    ``authenticated_at``: when the person really authenticated, as far as the upstream says (aware UTC); where it says
    nothing, when it answered, and ``is_time_proven`` is False.
    ``personal_number``: as its country writes it, which tells whose it is: 12 digits ``YYYYMMDDNNNC`` for Sweden, 11
    characters with a sign for Finland, 10 digits for Denmark, 11 for Norway. ``proof``: signed evidence to be kept encrypted.
    ``signals``: names of risk observations (never values), for the log. ``session``: the provider's own session id, where
    it tells one (``sid``), so that it can end ours with its own. ``is_of_known``: we gave it to a customer ourselves, such as a
    passkey: nobody becomes one by it.
    ``roles``: of a member of staff, by our names. ``contact_proven_at``: when the contact was proven, where
    that was not in this login: a passkey counts as the proof it was enrolled with. ``membership``: whose contact on file the
    proven one is. ``authorities``: who authenticated the person for the provider, by the names (URIs) that it tells: behind a
    proxy or a national node, at most five; nothing personal. ``leave``: what its connector needs to log her out there, once she
    logs out here; nobody else reads it.
    """

    UNSPOKEN = frozenset({"leave"})

    upstream: str
    issuer: str
    subject: str
    assurance: Assurance
    amr: tuple[str, ...]
    authenticated_at: datetime
    name: str | None = None
    given_name: str | None = None
    family_name: str | None = None
    birthdate: date | None = None
    personal_number: str | None = None
    contacts: tuple[Contact, ...] = ()
    language: str | None = None
    proof: bytes | None = None
    signals: tuple[str, ...] = ()
    is_time_proven: bool = True
    session: str | None = None
    is_of_known: bool = False
    roles: tuple[str, ...] = ()
    contact_proven_at: datetime | None = None
    membership: Membership | None = None
    authorities: tuple[str, ...] = ()
    leave: bytes | None = None


class Identity(Discreet, frozen=True):
    """
    What the broker accepts from an `Evidence`: normal forms, assurance under the operator's ceiling.

    ``strong``: assurance of the login itself; ``contact_proven``: a contact address was verified in it.
    ``may_bootstrap``: whether this login may enrol, recover or raise another method.
    """

    UNSPOKEN = frozenset({"leave"})

    upstream: str
    issuer: str
    subject: str
    assurance: Assurance
    amr: tuple[str, ...]
    authenticated_at: datetime
    name: str | None
    given_name: str | None
    family_name: str | None
    birthdate: date | None
    personal_number: str | None
    email: str | None
    email_verified: bool
    phone_number: str | None
    phone_number_verified: bool
    may_bootstrap: bool
    is_time_proven: bool = True
    session: str | None = None
    is_of_known: bool = False
    roles: tuple[str, ...] = ()
    contact_proven_at: datetime | None = None
    membership: Membership | None = None
    authorities: tuple[str, ...] = ()
    leave: bytes | None = None

    @property
    def contact_proven(self) -> bool:
        """True when an e-mail address or phone number was verified."""
        return self.email_verified or self.phone_number_verified


def accept(evidence: Evidence, *, ceiling: Assurance, may_bootstrap: bool) -> Identity:
    """
    Decide what of *evidence* the broker stands behind.

    Args:
        evidence: checked facts from a connector.
        ceiling: the strongest assurance the operator allows this connector (docs/security.md A13).
        may_bootstrap: the connector's ``may_bootstrap_other_methods``.
    """
    email = _contact(evidence, ContactKind.EMAIL)
    phone = _contact(evidence, ContactKind.PHONE)
    return Identity(
        upstream=evidence.upstream,
        issuer=evidence.issuer,
        subject=evidence.subject,
        assurance=min(evidence.assurance, ceiling, key=lambda level: level.rank),
        amr=evidence.amr,
        authenticated_at=evidence.authenticated_at,
        name=_text(evidence.name) or _full_name(evidence),
        given_name=_text(evidence.given_name),
        family_name=_text(evidence.family_name),
        birthdate=evidence.birthdate,
        personal_number=evidence.personal_number,
        email=normal_email(email.value) if email else None,
        email_verified=bool(email and email.verified),
        phone_number=phone.value if phone else None,
        phone_number_verified=bool(phone and phone.verified),
        may_bootstrap=may_bootstrap,
        is_time_proven=evidence.is_time_proven,
        session=evidence.session,
        is_of_known=evidence.is_of_known,
        roles=evidence.roles,
        contact_proven_at=evidence.contact_proven_at,
        membership=evidence.membership,
        authorities=evidence.authorities,
        leave=evidence.leave,
    )


_NOT_MAPPED = frozenset("ßς\u200c\u200d")
"""Letters that IDNA 2003 (all the standard library knows) turns into others, and registries do not (RFC 5894)."""
_LONGEST_LABEL = 63
"""Octets of a name between dots (RFC 1035 section 2.3.4)."""


def contact_kind(typed: str) -> ContactKind:
    """Which kind of contact somebody means who *typed* it into a field for both."""
    return ContactKind.EMAIL if "@" in typed else ContactKind.PHONE


def normal_email(address: str) -> str:
    """NFC, domain in lower case and IDNA; the local part is kept as typed, since some servers heed case."""
    local, at, domain = unicodedata.normalize("NFC", address.strip()).rpartition("@")
    if not at:
        return domain
    domain = domain.lower()
    try:
        return f"{local}@{'.'.join(_ascii_label(label) for label in domain.split('.'))}"
    except UnicodeError:
        return f"{local}@{domain}"


def same_mailbox(one: str, other: str) -> bool:
    """
    Whether two e-mail addresses are one, upper and lower case of the local part not told apart.

    security: lower case and not case folding, which makes one of letters that are two to a mail server (``ß``, ``ſ``).
    """
    return normal_email(one).lower() == normal_email(other).lower()


def _ascii_label(label: str) -> str:
    if label.isascii() and len(label) <= _LONGEST_LABEL:
        return label
    if _NOT_MAPPED.isdisjoint(label):
        return label.encode("idna").decode("ascii")
    # security: straße.de and strasse.de have different owners
    return "xn--" + label.encode("punycode").decode("ascii")


_NO_TEXT = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
"""What nobody can read or type: control characters but for blanks, halves of characters, and what is none (Unicode 23.7)."""


def _contact(evidence: Evidence, kind: ContactKind) -> Contact | None:
    """
    The verified contact of *kind* if there is one, else the first of that kind.

    security: one with characters that are no text is none; without them it would be somebody else's.
    """
    of_kind = [each for each in evidence.contacts if each.kind is kind and not _NO_TEXT.search(each.value)]
    return next((contact for contact in of_kind if contact.verified), of_kind[0] if of_kind else None)


def _text(value: str | None) -> str | None:
    if value is None:
        return None
    cleaned = " ".join(unicodedata.normalize("NFC", _NO_TEXT.sub("", value)).split())
    return cleaned or None


def _full_name(evidence: Evidence) -> str | None:
    parts = [part for part in (_text(evidence.given_name), _text(evidence.family_name)) if part]
    return " ".join(parts) or None
