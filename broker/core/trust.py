"""
Which connectors may serve an ask, cheapest sufficient first, and why the others may not.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from msgspec import Struct, field

from broker.core.assurance import ACR_FEDERATED, Assurance, lowest_requested
from broker.core.identity import ContactKind
from broker.core.policy import Agreement, PartnerLogin, Policy
from broker.core.session import Need
from broker.errors import Denied


class Available(Struct, frozen=True):
    """
    The connectors that can be used right now: ``ready``. ``back_at``: when the ill ones are tried again (aware UTC).

    ``takes``: those that prove an address by a code we send, and which kind: a step on our own page, not a login elsewhere.
    ``used``: in this browser before, the last one first. ``brings``: the claims that logins there can tell.
    """

    ready: frozenset[str]
    back_at: Mapping[str, datetime] = field(default_factory=dict)
    takes: Mapping[str, ContactKind] = field(default_factory=dict)
    used: tuple[str, ...] = ()
    brings: Mapping[str, frozenset[str]] = field(default_factory=dict)


class Choice(Struct, frozen=True):
    """
    A connector, and why it may serve the ask, or may not.

    ``is_last_used``: of those that may, the one used last in this browser. ``adds``: the kind of address whose proof is all
    that a running session lacks, and all that this asks for.
    """

    upstream: str
    reason: str
    is_last_used: bool = False
    adds: ContactKind | None = None

    def __str__(self) -> str:
        return f"{self.upstream} {self.reason}"


class Choices(Struct, frozen=True):
    """
    ``may``: in the order to offer. ``may_not``: connector and why, for the operator. ``back_at``: when the first of those that
    are ill is tried again, where no other is left.
    """

    may: tuple[Choice, ...]
    may_not: tuple[Choice, ...]
    back_at: datetime | None = None

    @property
    def ill(self) -> tuple[str, ...]:
        """Connectors that could serve the ask if they were up: shown, so that she knows hers is not gone."""
        return tuple(choice.upstream for choice in self.may_not if choice.reason == UNAVAILABLE)

    @property
    def steps(self) -> tuple[Choice, ...]:
        """Those that add only what the running session lacks."""
        return tuple(choice for choice in self.may if choice.adds is not None)


UNAVAILABLE = "unavailable"

#: Faults of a session that has what is needed except for the strength or age of its proof.
_LACKS_PROOF = frozenset({"too_weak", "aged"})


def choices(
    policy: Policy,
    need: Need,
    available: Available,
    *,
    lacking: str = "no_session",
    hinted: ContactKind | None = None,
) -> Choices:
    """
    Sort the connectors by whether they may serve *need*, and those that may by what to offer first.

    Those that reach the level are sufficient. Of these, in this order (docs/adr/0021):

    1. where a running session lacks no more than a proven address: what adds just that, before any whole login;
    2. what proves no more than is needed, or as little more as there is, before what proves more;
    3. what costs the operator less per login;
    4. the weaker;
    5. what was used in this browser, the last one first;
    6. what takes the kind of address the partner's ``login_hint`` is;
    7. the order in which the partner (or else the config) lists them.

    So what she used before decides among equals only. One exception: a sufficient way that is the only one she has used in
    this browser comes first, whatever it costs, for another one may not know her; the cheaper ones follow at once.

    Args:
        lacking: why the session is not enough, as `broker.core.session.shortfall` says.
        hinted: the kind of address in the partner's hint.
    """
    refused = {name: _refusal(policy, name, need, available) for name in policy.config.upstreams}
    may_not = tuple(Choice(name, why) for name, why in refused.items() if why is not None)
    able = [name for name, why in refused.items() if why is None]
    familiar = [name for name in available.used if name in able]
    steps = _steps(need, available, able, lacking)
    least = min((policy.config.upstreams[name].ceiling.rank for name in able), default=0)

    def key(name: str) -> tuple[bool, bool, Decimal, int, int, bool, int]:
        upstream = policy.config.upstreams[name]
        return (
            name not in steps,
            upstream.ceiling.rank > least,
            upstream.price,
            upstream.ceiling.rank,
            familiar.index(name) if name in familiar else len(familiar),
            hinted is not None and available.takes.get(name) is not hinted,
            need.upstreams.index(name),
        )

    able.sort(key=key)
    if len(familiar) == 1 and not steps:
        able.sort(key=lambda name: name != familiar[0])
    may = tuple(Choice(name, _sufficiency(policy, name, steps), name in familiar[:1], steps.get(name)) for name in able)
    back = [at for name, at in available.back_at.items() if refused.get(name) == UNAVAILABLE]
    return Choices(may, may_not, min(back, default=None) if not may else None)


def _refusal(policy: Policy, name: str, need: Need, available: Available) -> str | None:
    """Why the connector *name* may not serve *need*; None where it may."""
    if name not in need.upstreams:
        return "not_allowed_for_partner"
    if policy.config.upstreams[name].ceiling < need.minimum:
        return "too_weak"
    return None if name in available.ready else UNAVAILABLE


def _steps(need: Need, available: Available, able: Sequence[str], lacking: str) -> Mapping[str, ContactKind]:
    """Which of *able* add just what a running session lacks: a proven address, nothing about the person."""
    if lacking not in _LACKS_PROOF or need.minimum is not Assurance.CONTACT:
        return {}
    return {name: available.takes[name] for name in able if name in available.takes}


def _sufficiency(policy: Policy, name: str, steps: Mapping[str, ContactKind]) -> str:
    if name in steps:
        return f"adds:{steps[name].value}"
    return f"sufficient:{policy.config.upstreams[name].ceiling.value}"


def need_of_login(
    policy: Policy,
    partner: str,
    *,
    acr_values: tuple[str, ...],
    essential_acr: tuple[str, ...] = (),
    max_age_s: int | None,
    prompt: tuple[str, ...],
    now: datetime,
) -> Need:
    """
    What a partner's own login demands.

    ``acr_values`` is voluntary and in order of preference (OpenID Connect Core section 3.1.2.1): the weakest known
    value can raise the partner's configured minimum, the strongest is never forced because a library listed all.
    ``max_age=0`` equals ``prompt=login``. ``essential_acr`` is not voluntary: the weakest of them is the least there may be.

    Args:
        now: when the ask arrived (aware UTC), not later: freshness is measured from there.
    Raises:
        Denied: the partner may not start logins itself.
    """
    known = policy.partner(partner)
    login = known.login if known else None
    if login is None:
        raise Denied(f"{partner} may not start logins itself", code="partner.no_login", config_version=policy.version)
    fresh_after, session_after = freshness(max_age_s, prompt, now)
    voluntary = _raised(policy, login, lowest_requested(acr_values))
    return Need(
        minimum=at_least(voluntary, essential_acr),
        upstreams=login.upstreams,
        fresh_after=fresh_after,
        session_after=session_after,
        opened_after=now - login.sso.max_session_age if login.sso.max_session_age else None,
        opened_for=_reusable(partner, login),
    )


def _reusable(partner: str, login: PartnerLogin) -> frozenset[str] | None:
    """The partners whose customers' logins *partner* may reuse, itself included; None for everybody's and our own pages'."""
    match login.sso.reuse_from:
        case "all":
            return None
        case "none":
            return frozenset({partner})
        case named:
            return frozenset({partner, *named})


def at_least(minimum: Assurance, essential_acr: tuple[str, ...]) -> Assurance:
    """*minimum*, raised to the weakest login that can be told as one of *essential_acr*."""
    asked = lowest_requested(essential_acr)
    return minimum if asked is None else max(minimum, asked, key=lambda level: level.rank)


def is_out_of_reach(policy: Policy, upstreams: tuple[str, ...], essential_acr: tuple[str, ...]) -> bool:
    """Whether no login at *upstreams* can be told as any of *essential_acr*: then nobody need be asked to log in."""
    if not essential_acr or ACR_FEDERATED in essential_acr:
        return False
    asked = lowest_requested(essential_acr)
    known = policy.config.upstreams
    return asked is None or not any(known[name].ceiling >= asked for name in upstreams if name in known)


def freshness(max_age_s: int | None, prompt: tuple[str, ...], now: datetime) -> tuple[datetime | None, datetime | None]:
    """When the customer must have authenticated, and when the session must have been opened, at the earliest."""
    asks_anew = "login" in prompt or "select_account" in prompt or max_age_s == 0
    return now - timedelta(seconds=max_age_s) if max_age_s else None, now if asks_anew else None


def _raised(policy: Policy, login: PartnerLogin, asked: Assurance | None) -> Assurance:
    """The configured minimum, raised to a voluntarily *asked* level that some allowed connector can reach."""
    if asked is None:
        return login.minimum_assurance
    reachable = [policy.config.upstreams[name].ceiling for name in login.upstreams if name in policy.config.upstreams]
    if not any(level >= asked for level in reachable):
        return login.minimum_assurance
    return max(login.minimum_assurance, asked, key=lambda level: level.rank)


def need_of_handoff(policy: Policy, agreement: Agreement) -> Need:
    """What a handoff demands: the agreement's minimum, by the connectors it or else the recipient's login allows."""
    return Need(minimum=agreement.minimum_assurance, upstreams=policy.config.upstreams_for(agreement))
