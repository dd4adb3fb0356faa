"""Which connectors may serve an ask, and what an ask demands."""

from datetime import datetime
from typing import Any

import pytest

from broker.core.assurance import Assurance, acr_values
from broker.core.session import Need
from broker.core.trust import Available, choices, need_of_handoff, need_of_login
from broker.errors import Denied

from .world import ALL, CEILINGS, NOW, agreement, later, login, policy, up

EVERY = tuple(CEILINGS)
LEVELS = ["soft", "self-asserted", "contact", "low", "substantial", "high"]


@pytest.mark.parametrize(
    ("need", "available", "may", "may_not"),
    [
        (
            Need(Assurance.SOFT, EVERY),
            ALL,
            [
                "letter sufficient:soft",
                "google sufficient:contact",
                "bankid sufficient:substantial",
                "eid sufficient:high",
            ],
            [],
        ),
        (
            Need(Assurance.CONTACT, EVERY),
            ALL,
            ["google sufficient:contact", "bankid sufficient:substantial", "eid sufficient:high"],
            ["letter too_weak"],
        ),
        (
            Need(Assurance.SUBSTANTIAL, ("google", "bankid")),
            ALL,
            ["bankid sufficient:substantial"],
            ["letter not_allowed_for_partner", "google too_weak", "eid not_allowed_for_partner"],
        ),
        (
            Need(Assurance.SUBSTANTIAL, ("bankid", "eid")),
            up("letter", "google", "eid"),
            ["eid sufficient:high"],
            ["letter not_allowed_for_partner", "google not_allowed_for_partner", "bankid unavailable"],
        ),
        (
            Need(Assurance.HIGH, ("letter",)),
            up(),
            [],
            [
                "letter too_weak",
                "google not_allowed_for_partner",
                "bankid not_allowed_for_partner",
                "eid not_allowed_for_partner",
            ],
        ),
        (
            Need(Assurance.SOFT, ("unknown",)),
            up(*CEILINGS, "unknown"),
            [],
            [f"{name} not_allowed_for_partner" for name in EVERY],
        ),
    ],
)
def test_every_connector_is_sorted_with_its_reason(
    need: Need, available: Available, may: list[str], may_not: list[str]
) -> None:
    """Each connector stands on exactly one side, and the reason says why."""
    found = choices(policy(), need, available)
    assert [f"{choice.upstream} {choice.reason}" for choice in found.may] == may
    assert [f"{choice.upstream} {choice.reason}" for choice in found.may_not] == may_not


def test_the_weakest_sufficient_login_is_offered_first() -> None:
    """Cheapest sufficient first whatever the order of the config; among equals the config decides."""
    mixed = {"eid": "high", "google": "contact", "bankid": "substantial", "apple": "contact"}
    found = choices(policy(upstreams=mixed), Need(Assurance.CONTACT, tuple(mixed)), up(*mixed))
    assert [choice.upstream for choice in found.may] == ["google", "apple", "bankid", "eid"]


def asked(**changed: Any) -> Need:
    given: dict[str, Any] = {"acr_values": (), "max_age_s": None, "prompt": (), "now": NOW}
    return need_of_login(policy(), "garage", **given | changed)


@pytest.mark.parametrize(
    ("changed", "fresh_after", "session_after"),
    [
        ({}, None, None),
        ({"max_age_s": 600}, later(minutes=-10), None),
        ({"max_age_s": 1}, later(seconds=-1), None),
        ({"max_age_s": 0}, None, NOW),
        ({"prompt": ("login",)}, None, NOW),
        ({"prompt": ("select_account",)}, None, NOW),
        ({"prompt": ("consent", "login")}, None, NOW),
        ({"prompt": ("consent",)}, None, None),
        ({"prompt": ("none",)}, None, None),
        ({"prompt": ("login",), "max_age_s": 60}, later(minutes=-1), NOW),
    ],
)
def test_freshness_is_what_was_asked(
    changed: dict[str, Any], fresh_after: datetime | None, session_after: datetime | None
) -> None:
    """max_age=0 equals prompt=login; both are measured from the ask (Core section 3.1.2.1)."""
    need = asked(**changed)
    assert (need.fresh_after, need.session_after) == (fresh_after, session_after)


@pytest.mark.parametrize(
    ("acr", "configured", "minimum"),
    [
        ((), "self-asserted", "self-asserted"),
        (("substantial",), "self-asserted", "substantial"),
        (("soft",), "self-asserted", "self-asserted"),
        (("contact",), "substantial", "substantial"),
        (("high", "contact"), "self-asserted", "contact"),
        (acr_values(), "self-asserted", "self-asserted"),
        (acr_values(), "substantial", "substantial"),
        (("urn:unknown", "federated"), "self-asserted", "self-asserted"),
    ],
)
def test_a_wish_raises_the_minimum_and_never_lowers_it(acr: tuple[str, ...], configured: str, minimum: str) -> None:
    """acr_values is voluntary: it can ask for more than the config demands, never get less, never force the most."""
    world = policy(garage_login=login(minimum_assurance=configured))
    need = need_of_login(world, "garage", acr_values=acr, max_age_s=None, prompt=(), now=NOW)
    assert need.minimum == Assurance(minimum)


def test_a_wish_out_of_reach_does_not_shut_the_door() -> None:
    """A voluntary level no allowed connector reaches is not given, but the login goes on (Core section 3.1.2.1)."""
    world = policy(garage_login=login(upstreams=["google"]))
    need = need_of_login(world, "garage", acr_values=("high",), max_age_s=None, prompt=(), now=NOW)
    assert need.minimum is Assurance.SELF_ASSERTED
    assert choices(world, need, ALL).may


@pytest.mark.parametrize("partner", ["silent", "nobody"])
def test_a_partner_without_logins_starts_none(partner: str) -> None:
    """What the config does not allow is denied, naming the config."""
    with pytest.raises(Denied) as refused:
        need_of_login(policy(), partner, acr_values=(), max_age_s=None, prompt=(), now=NOW)
    assert refused.value.code == "partner.no_login"
    assert refused.value.facts["config_version"] == "0123456789ab"


@pytest.mark.parametrize(
    ("changed", "upstreams"),
    [
        ({"upstreams": ["bankid"]}, ("bankid",)),
        ({}, ("google", "bankid", "eid")),
        ({"to": "silent"}, EVERY),
    ],
)
def test_a_handoff_demands_what_the_agreement_says(changed: dict[str, Any], upstreams: tuple[str, ...]) -> None:
    """Its minimum, by its own connectors, else by those the recipient's logins allow, else by any."""
    world = policy(agreements=[agreement(minimum_assurance="low", **changed)])
    found = world.agreement("shop", changed.get("to", "garage"), "fitting")
    assert found is not None
    need = need_of_handoff(world, found)
    assert need == Need(Assurance.LOW, upstreams)


@pytest.mark.parametrize("minimum", LEVELS)
def test_nothing_too_weak_is_ever_offered(minimum: str) -> None:
    """Whatever is offered can reach the minimum."""
    need = Need(Assurance(minimum), EVERY)
    assert all(Assurance(CEILINGS[choice.upstream]) >= need.minimum for choice in choices(policy(), need, ALL).may)
