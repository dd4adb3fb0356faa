"""What a login in one browser is still good for."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from broker.core.assurance import Assurance
from broker.core.consent import Consent
from broker.core.identity import Contact, ContactKind, accept
from broker.core.session import Need, is_alive, open_session, shortfall, with_consent, with_sid, with_subject

from .world import LIMITS, NOW, evidence, later, session

IDLE, ABSOLUTE = timedelta(hours=8), timedelta(hours=24)
MICRO = timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("created", "seen", "alive"),
    [
        (NOW, NOW, True),
        (NOW - IDLE, NOW - IDLE + MICRO, True),
        (NOW - IDLE, NOW - IDLE, False),
        (NOW - ABSOLUTE + MICRO, NOW, True),
        (NOW - ABSOLUTE, NOW, False),
        (NOW - ABSOLUTE, NOW - IDLE, False),
        (NOW - timedelta(days=400), NOW, False),
    ],
)
def test_a_session_ends_at_the_moment_its_time_is_over(created: datetime, seen: datetime, alive: bool) -> None:
    """Idle and absolute time both count, to the microsecond; being used does not prolong the absolute one."""
    live = session(created_at=created, seen_at=seen)
    assert is_alive(live, now=NOW, idle=IDLE, absolute=ABSOLUTE) is alive


BOTH = ("google", "bankid")


@pytest.mark.parametrize(
    ("need", "lacking"),
    [
        (Need(Assurance.CONTACT, BOTH), None),
        (Need(Assurance.SOFT, BOTH), None),
        (Need(Assurance.LOW, BOTH), "too_weak"),
        (Need(Assurance.CONTACT, ("bankid",)), "other_upstream"),
        (Need(Assurance.CONTACT, ()), "other_upstream"),
        (Need(Assurance.CONTACT, BOTH, fresh_after=later(minutes=-5)), None),
        (Need(Assurance.CONTACT, BOTH, fresh_after=later(minutes=-5) + MICRO), "too_old"),
        (Need(Assurance.CONTACT, BOTH, session_after=later(minutes=-5)), None),
        (Need(Assurance.CONTACT, BOTH, session_after=later(minutes=-5) + MICRO), "login_asked"),
        (Need(Assurance.HIGH, ("bankid",), fresh_after=NOW, session_after=NOW), "login_asked"),
        (Need(Assurance.HIGH, ("bankid",), fresh_after=NOW), "too_old"),
        (Need(Assurance.HIGH, ("bankid",)), "other_upstream"),
    ],
)
def test_a_session_serves_a_need_or_says_why_not(need: Need, lacking: str | None) -> None:
    """One reason, the first in a fixed order; strength does not make up for another fault."""
    assert shortfall(session("google"), need, LIMITS, NOW) == lacking


@pytest.mark.parametrize(
    ("need", "login", "lacking"),
    [
        (Need(Assurance.CONTACT, BOTH), {"is_time_proven": False}, None),
        (Need(Assurance.CONTACT, BOTH, fresh_after=later(hours=-9)), {"is_time_proven": False}, "too_old"),
        (Need(Assurance.CONTACT, BOTH, session_after=later(hours=-9)), {"is_time_proven": False}, "login_asked"),
        (
            Need(Assurance.CONTACT, BOTH, session_after=NOW),
            {"created_at": NOW, "authenticated_at": later(seconds=-60)},
            None,
        ),
        (
            Need(Assurance.CONTACT, BOTH, session_after=NOW),
            {"created_at": NOW, "authenticated_at": later(seconds=-60) - MICRO},
            "login_asked",
        ),
    ],
)
def test_a_young_session_on_an_old_login_is_not_fresh(need: Need, login: dict[str, Any], lacking: str | None) -> None:
    """A session that a provider's own session opened, in another tab say, does not pass for a login made anew."""
    assert shortfall(session("google", **login), need, LIMITS, NOW) == lacking


def test_nobody_serves_nothing() -> None:
    """Without a session even the smallest need is not met."""
    assert shortfall(None, Need(Assurance.SOFT, BOTH), LIMITS, NOW) == "no_session"


def test_strength_counts_as_accepted_not_as_the_connector_may() -> None:
    """A login weaker than its connector's best stays weak."""
    weak = session("bankid", assurance=Assurance.SELF_ASSERTED)
    assert shortfall(weak, Need(Assurance.CONTACT, BOTH), LIMITS, NOW) == "too_weak"


def test_authentication_keeps_its_own_time() -> None:
    """auth_time is when the customer authenticated, not when we heard of it (Core section 2)."""
    accepted = accept(evidence(authenticated_at=later(hours=-3)), ceiling=Assurance.HIGH, may_bootstrap=True)
    opened = open_session(accepted, customer="maja", language="sv", now=NOW)
    assert opened.authenticated_at == later(hours=-3)
    assert opened.created_at == opened.seen_at == NOW
    assert shortfall(opened, Need(Assurance.SOFT, ("eid",), fresh_after=later(hours=-1)), LIMITS, NOW) == "too_old"


def test_a_new_session_knows_only_what_was_accepted() -> None:
    """An unverified address proves no contact; nobody is known to any partner yet."""
    typed = Contact(ContactKind.EMAIL, "Maja@Example.com", False)
    accepted = accept(evidence(typed), ceiling=Assurance.CONTACT, may_bootstrap=False)
    opened = open_session(accepted, customer="maja", language="fi", now=NOW)
    assert opened.assurance is Assurance.CONTACT
    assert not opened.contact_proven
    assert not opened.may_bootstrap
    assert opened.profile.email == "Maja@example.com"
    assert not opened.profile.email_verified
    assert opened.profile.birthdate == "1990-05-27"
    assert opened.profile.locale == "fi"
    assert opened.subjects == opened.sids == {}


def test_partners_learn_different_names() -> None:
    """Subjects and session ids are kept per sector and partner; an earlier value of the session is not changed."""
    first = session()
    second = with_sid(with_subject(with_subject(first, "shop", "s1"), "garage", "s2"), "shop", "sid1")
    assert second.subjects == {"shop": "s1", "garage": "s2"}
    assert second.sids == {"shop": "sid1"}
    assert first.subjects == first.sids == {}


def test_a_session_keeps_the_newest_consents_in_mind() -> None:
    """Ten of them: nothing grows with every consent. One that is kept already changes nothing; a withdrawn one goes."""
    kept = session()
    for number in range(30):
        kept = with_consent(kept, (), Consent(str(number), "shop", "garage", "p", "t", (), (), True, NOW))
    assert [each.id for each in kept.consents] == [str(number) for number in range(20, 30)]
    assert with_consent(kept, (), kept.consents[-1]) is kept
    assert kept.consents[0] not in with_consent(kept, kept.consents[:1], None).consents
