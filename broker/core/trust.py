"""
Which connectors may serve an ask, cheapest sufficient first, and why the others may not.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from broker.core.assurance import ACR_FEDERATED, Assurance, lowest_requested
from broker.core.policy import Agreement, PartnerLogin, Policy
from broker.core.session import Need
from broker.errors import Denied


@dataclass(frozen=True, slots=True)
class Choice:
    """A connector that may serve the ask."""

    upstream: str
    reason: str


@dataclass(frozen=True, slots=True)
class Choices:
    """``may``: in the order to offer, weakest sufficient level first. ``may_not``: connector and why, for the operator."""

    may: tuple[Choice, ...]
    may_not: tuple[Choice, ...]


def choices(policy: Policy, need: Need, available: frozenset[str]) -> Choices:
    """
    Sort the connectors by whether they may serve *need*.

    Args:
        available: connectors that could be started and are not known to be ill.
    """
    may: list[Choice] = []
    may_not: list[Choice] = []
    for name, upstream in policy.config.upstreams.items():
        if name not in need.upstreams:
            may_not.append(Choice(name, "not_allowed_for_partner"))
        elif upstream.ceiling < need.minimum:
            may_not.append(Choice(name, "too_weak"))
        elif name not in available:
            may_not.append(Choice(name, "unavailable"))
        else:
            may.append(Choice(name, f"sufficient:{upstream.ceiling.value}"))
    may.sort(key=lambda choice: policy.config.upstreams[choice.upstream].ceiling.rank)
    return Choices(tuple(may), tuple(may_not))


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
    reachable = [policy.config.upstreams[name].ceiling for name in login.upstreams if name in policy.config.upstreams]
    if asked is None or not any(level >= asked for level in reachable):
        return login.minimum_assurance
    return max(login.minimum_assurance, asked, key=lambda level: level.rank)


def need_of_handoff(policy: Policy, agreement: Agreement) -> Need:
    """What a handoff demands: the agreement's minimum, by the connectors it or else the recipient's login allows."""
    return Need(minimum=agreement.minimum_assurance, upstreams=policy.config.upstreams_for(agreement))
