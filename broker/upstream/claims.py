"""
From a provider's verified claims to `Evidence`, by the operator's rules: which claim is which attribute, which
address counts as proven, which ``acr`` is which level, and what is required, used or knowingly ignored.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cached_property
from typing import Annotated, Any, Final, Literal

from pydantic import Field, StringConstraints

from broker.core.assurance import Assurance
from broker.core.identity import Contact, ContactKind, Evidence
from broker.core.policy import Identifier, Strict
from broker.errors import UpstreamRefused
from broker.upstream.national_number import Country, parse_national_number
from broker.wire.id_token import seconds

_MAX_TEXT: Final = 500
_MAX_SIGNALS: Final = 20
_CLAIM_NAME: Final = re.compile(r"[A-Za-z0-9_.:/#-]{1,80}")
_E164: Final = re.compile(r"\+[1-9][0-9]{6,14}")
_LANGUAGE: Final = re.compile(r"([A-Za-z]{2,3})((?:[-_][A-Za-z0-9]{2,8})*)")
#: Control characters and lone surrogates: all of Unicode's categories Cc and Cs.
_UNTYPABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_ISO_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")

#: Claims every ID token may carry for its own sake; looked at by the checks, or of no use to us.
_PROTOCOL_CLAIMS: Final = frozenset({
    "iss", "sub", "aud", "azp", "exp", "iat", "nbf", "jti", "nonce", "at_hash", "c_hash", "s_hash", "auth_time", "acr",
    "amr", "sid",
})  # fmt: skip
#: What only the signed ID token may say: how and when the customer logged in.
_LOGIN_CLAIMS: Final = _PROTOCOL_CLAIMS - {"sub"}
#: Method words of RFC 8176 that may be passed on; others are the provider's private language.
_AMR_WORDS: Final = frozenset({
    "face", "fpt", "geo", "hwk", "iris", "kba", "mca", "mfa", "otp", "pin", "pop", "pwd", "rba", "retina", "sc", "sms",
    "swk", "tel", "user", "vbm", "wia",
})  # fmt: skip

Attribute = Literal[
    "name", "given_name", "family_name", "birthdate", "email", "phone_number", "language", "personal_number"
]


def _standard_claims() -> Mapping[str, Attribute]:
    return {
        "name": "name",
        "given_name": "given_name",
        "family_name": "family_name",
        "email": "email",
        "locale": "language",
    }


class TrustedContacts(Strict):
    """
    Which addresses of this provider count as proven.

    ``email``: ``authoritative``: only where the provider runs the mailbox or the customer's organisation does
    (gmail.com, or a hosted domain ``hd``), since other addresses proved control once, long ago; ``always``: whenever
    it says verified; ``never``. ``phone``: ``always`` or ``never``.
    """

    email: Literal["authoritative", "always", "never"] = "never"
    phone: Literal["always", "never"] = "never"


class ClaimRules(Strict):
    """
    What an upstream's claims mean.

    ``claims``: provider's claim (dotted for nested ones) -> our attribute. ``required_claims``: no login without.
    ``ignored_claims``: known and of no interest. ``required_values``: claim -> the values it may have, e.g. ``hd``.
    ``acr_levels``: the provider's ``acr`` -> our level; with it every login must come back with one that suffices.
    ``level_claim``: the claim of the ID token that says it, where that is not ``acr``. ``personal_number_country``: whose
    personal numbers the provider tells; others are left out. ``roles_claim``: where it says what a member of staff may do, as a
    text or a list; ``roles``: its words -> the role here, e.g. of ``service_desk``.
    """

    claims: Mapping[str, Attribute] = Field(default_factory=_standard_claims)
    required_claims: tuple[str, ...] = ()
    ignored_claims: tuple[str, ...] = ()
    required_values: Mapping[str, Annotated[tuple[str, ...], Field(min_length=1)]] = Field(default_factory=dict)
    trusted_contacts: TrustedContacts = TrustedContacts()
    acr_levels: Mapping[str, Assurance] = Field(default_factory=dict)
    level_claim: Annotated[str, StringConstraints(min_length=1, max_length=200)] = "acr"
    personal_number_country: Country = "SE"
    roles_claim: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None
    roles: Mapping[str, Identifier] = Field(default_factory=dict)

    @cached_property
    def spoken_of(self) -> frozenset[str]:
        """The claims that are no surprise: the protocol's, and those the config names, with their flags and parents."""
        named = {
            *self.claims,
            *self.required_claims,
            *self.ignored_claims,
            *self.required_values,
            self.level_claim,
            *([self.roles_claim] if self.roles_claim else []),
        }
        flags = {f"{path}_verified" for path, mapped in self.claims.items() if mapped in {"email", "phone_number"}}
        hosted = {"hd"} if self.trusted_contacts.email == "authoritative" else set()
        return _PROTOCOL_CLAIMS | flags | named | hosted | {path.split(".")[0] for path in named}


def reaches(rules: ClaimRules) -> Assurance:
    """The strongest level a login there can prove: its best ``acr``, else a proven contact, else its word."""
    if rules.acr_levels:
        return max(rules.acr_levels.values(), key=lambda level: level.rank)
    trusted = rules.trusted_contacts
    proves_contact = trusted.email != "never" or trusted.phone != "never"
    return Assurance.CONTACT if proves_contact else Assurance.SELF_ASSERTED


def tells(rules: ClaimRules) -> frozenset[str]:
    """The claims that a login there can tell partners; whether one does is seen when it comes."""
    return frozenset("locale" if each == "language" else each for each in rules.claims.values())


def sufficient_acrs(rules: ClaimRules, minimum: Assurance) -> list[str]:
    """The provider's levels that suffice, weakest first: no more than the matter deserves."""
    sufficient = [(level.rank, acr) for acr, level in rules.acr_levels.items() if level >= minimum]
    return [acr for _, acr in sorted(sufficient, key=lambda pair: pair[0])]


def merged(signed: Mapping[str, Any], userinfo: Mapping[str, Any], level_claim: str = "acr") -> Mapping[str, Any]:
    """
    Claims of both, the ID token first; userinfo says nothing about the login itself, nor how strong it was.

    security: a flag such as `email_verified` speaks of the value beside it, never of the other source's value.
    """
    of_the_login = _LOGIN_CLAIMS | {level_claim, level_claim.split(".")[0]}
    said = {name: value for name, value in userinfo.items() if name not in of_the_login}
    added = {
        name: value
        for name, value in said.items()
        if (base := _flagged(name)) is None or base not in signed or signed[base] == said.get(base)
    }
    kept = {name: value for name, value in signed.items() if (base := _flagged(name)) is None or base in signed}
    return {**added, **kept}


def _flagged(name: str) -> str | None:
    """The claim a flag speaks of: `email` for `email_verified`; None for other claims."""
    return name.removesuffix("_verified") if name.endswith("_verified") else None


def evidence_from(
    claims: Mapping[str, Any], rules: ClaimRules, *, upstream: str, issuer: str, minimum: Assurance, now: datetime
) -> Evidence:
    """
    What verified claims prove.

    Args:
        claims: from a verified ID token, userinfo of the same subject added.
        issuer: the provider's canonical issuer, whichever spelling the token used: a person keeps one key.
        minimum: what the partner needs; checked here only against ``acr``, when levels are configured.
        now: aware UTC.
    Raises:
        UpstreamRefused: ``acr`` missing, unknown or too weak; a required claim or value is missing.
    """
    _check_required(claims, rules)
    acr_level = _acr_level(claims, rules, minimum)
    reader = _Reader(claims, rules, now)
    contacts = tuple(reader.contacts())
    proven = Assurance.CONTACT if any(contact.verified for contact in contacts) else Assurance.SELF_ASSERTED
    authenticated = seconds(claims, "auth_time")
    return Evidence(
        upstream=upstream,
        issuer=issuer,
        subject=claims["sub"],
        assurance=acr_level or proven,
        amr=_amr(claims),
        # Without auth_time the token's own time is all there is, and proves no fresh login.
        authenticated_at=datetime.fromtimestamp(claims["iat"] if authenticated is None else authenticated, UTC),
        is_time_proven=authenticated is not None,
        name=reader.text("name"),
        given_name=reader.text("given_name"),
        family_name=reader.text("family_name"),
        birthdate=reader.birthdate(),
        personal_number=reader.personal_number(),
        contacts=contacts,
        language=reader.language(),
        signals=(*reader.malformed, *_unlisted(claims, rules)),
        session=_session(claims),
        roles=_roles(claims, rules),
    )


def _roles(claims: Mapping[str, Any], rules: ClaimRules) -> tuple[str, ...]:
    """The roles of a member of staff; what the operator named no role for is none."""
    said = claims.get(rules.roles_claim) if rules.roles_claim is not None else None
    words = [said] if isinstance(said, str) else said if isinstance(said, list) else []
    named = {rules.roles[word] for word in words if isinstance(word, str) and word in rules.roles}
    return tuple(sorted(named))


def _session(claims: Mapping[str, Any]) -> str | None:
    """The provider's own session id, by which it may say later that it is over (Back-Channel Logout 1.0 section 2.1)."""
    sid = claims.get("sid")
    return sid if isinstance(sid, str) and 1 <= len(sid) <= 255 and sid.isascii() and sid.isprintable() else None


@dataclass
class _Reader:
    """Reads attributes through the mapping; a value of the wrong form is left out and its claim's name noted."""

    claims: Mapping[str, Any]
    rules: ClaimRules
    now: datetime

    def __post_init__(self) -> None:
        self.malformed: list[str] = []

    def text(self, attribute: Attribute) -> str | None:
        return self._found(attribute)[1]

    def contacts(self) -> Iterator[Contact]:
        path, email = self._found("email")
        if email is not None and _is_address(email):
            yield Contact(ContactKind.EMAIL, email, self._is_flagged(path) and self._trusts_email(email))
        elif email is not None:
            self._note(path)
        path, phone = self._found("phone_number")
        if phone is not None and _E164.fullmatch(phone):
            trusted = self.rules.trusted_contacts.phone == "always"
            yield Contact(ContactKind.PHONE, phone, trusted and self._is_flagged(path))
        elif phone is not None:
            self._note(path)

    def _found(self, attribute: Attribute) -> tuple[str, str | None]:
        """The first mapped claim with usable text, and that text."""
        for path, mapped in self.rules.claims.items():
            value = claim(self.claims, path) if mapped == attribute else None
            if value is not None and _is_clean_text(value):
                return path, str(value)
            if value is not None:
                self._note(path)
        return "", None

    def _is_flagged(self, path: str) -> bool:
        """Whether the provider calls this very claim verified: `email_verified` vouches for `email` alone."""
        return is_true(claim(self.claims, f"{path}_verified"))

    def _trusts_email(self, email: str) -> bool:
        match self.rules.trusted_contacts.email:
            case "never":
                return False
            case "always":
                return True
            case "authoritative":
                return _is_authoritative(email, self.claims)

    def birthdate(self) -> date | None:
        path, value = self._found("birthdate")
        if value is None:
            return None
        try:
            born = date.fromisoformat(value) if _ISO_DATE.fullmatch(value) else None
        except ValueError:
            born = None
        if born is None:
            # A year alone (0000-04-01, 1980) is legal in Core section 5.1, but no birth date to us.
            self._note(path)
        return born

    def personal_number(self) -> str | None:
        path, value = self._found("personal_number")
        if value is None:
            return None
        try:
            return parse_national_number(self.rules.personal_number_country, value, today=self.now.date())
        except ValueError:
            self._note(path)
            return None

    def language(self) -> str | None:
        path, value = self._found("language")
        found = _LANGUAGE.fullmatch(value) if value else None
        if value is not None and found is None:
            self._note(path)
        return found[1].lower() + found[2].replace("_", "-") if found else None

    def _note(self, name: str) -> None:
        self.malformed.append(f"malformed_claim:{name}")


def claim(claims: Mapping[str, Any], path: str) -> Any:
    """The claim of that name (``https://id.example/name``), else a nested one (``address.locality``), else None."""
    if path in claims:
        return claims[path]
    content: Any = claims
    for name in path.split("."):
        if not isinstance(content, Mapping) or name not in content:
            return None
        content = content[name]
    return content


def _acr_level(claims: Mapping[str, Any], rules: ClaimRules, minimum: Assurance) -> Assurance | None:
    if not rules.acr_levels:
        return None
    acr = claim(claims, rules.level_claim)
    level = rules.acr_levels.get(acr) if isinstance(acr, str) else None
    if level is None:
        raise UpstreamRefused("acr is missing or unknown", code="upstream.acr")
    if level < minimum:
        raise UpstreamRefused("acr is weaker than asked", code="upstream.acr", wanted=minimum.value, had=level.value)
    return level


def _check_required(claims: Mapping[str, Any], rules: ClaimRules) -> None:
    for name in rules.required_claims:
        value = claim(claims, name)
        if value is None or value == "":
            raise UpstreamRefused(f"the claim {name} is missing", code="claims.missing", claim=name)
    for name, values in rules.required_values.items():
        value = claim(claims, name)
        if not isinstance(value, str) or value not in values:
            raise UpstreamRefused(f"the claim {name} has no accepted value", code="claims.value", claim=name)


def _is_address(email: str) -> bool:
    local, at, domain = email.partition("@")
    return bool(local and at and domain) and "@" not in domain and email.split() == [email]


def _is_authoritative(email: str, claims: Mapping[str, Any]) -> bool:
    """
    Whether the provider runs the mailbox, or the customer's organisation does there.

    Source: Google, "Authenticate with a backend server", verify the token: authoritative for @gmail.com, and where
    ``email_verified`` is true and ``hd`` is set.
    """
    hosted = claims.get("hd")
    return email.rpartition("@")[2].lower() == "gmail.com" or (isinstance(hosted, str) and hosted != "")


def is_true(value: Any) -> bool:
    """A boolean claim; some providers send it as text."""
    return value is True or (isinstance(value, str) and value.lower() == "true")


def _is_clean_text(value: Any) -> bool:
    """Text a person could have typed: not empty, not endless, no control characters or lone surrogates."""
    if not isinstance(value, str) or not 1 <= len(value) <= _MAX_TEXT:
        return False
    return _UNTYPABLE.search(value) is None


def _amr(claims: Mapping[str, Any]) -> tuple[str, ...]:
    words = claims.get("amr")
    if not isinstance(words, list):
        return ()
    return tuple(word for word in words if isinstance(word, str) and word in _AMR_WORDS)


def _unlisted(claims: Mapping[str, Any], rules: ClaimRules) -> Iterator[str]:
    """Names (never values) of claims the config does not speak of; odd names are only counted."""
    for name in sorted(claims.keys() - rules.spoken_of)[:_MAX_SIGNALS]:
        yield f"unlisted_claim:{name}" if _CLAIM_NAME.fullmatch(name) else "unlisted_claim"
