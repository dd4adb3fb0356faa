"""Arriving without a login: whose handoff, with which secret, and what may be told of her login."""

import base64
import hashlib

import pytest

from broker.core.arrival import Arrival, arrive, may_redeem
from broker.core.challenge import fits, is_challenge
from broker.core.handoff import Handoff, State
from broker.core.release import HandoffTerms, Release, decide_release
from broker.core.session import Session
from broker.errors import Gone, Spent, StafettError, WrongCustomer

from .world import FIELDS, NOW, handoff, policy, proven, session

SECRET = "s" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(SECRET.encode()).digest()).rstrip(b"=").decode()


def arrival(it: Handoff, visitor: Session) -> Arrival:
    return arrive(it, visitor, released(visitor), challenge=CHALLENGE, subject="number-there", now=NOW)


def released(visitor: Session) -> Release:
    agreement = policy().config.agreements[0]
    return decide_release(HandoffTerms(agreement, FIELDS, {}), visitor, standing=proven(visitor), policy_version="v")


@pytest.mark.parametrize("state", [each for each in State if each is not State.STARTED])
def test_only_what_is_on_its_way_arrives(state: State) -> None:
    """Not agreed to, fetched before, or over: there is nothing to arrive with."""
    with pytest.raises(Gone if state in {State.EXPIRED, State.REVOKED} else Spent):
        arrival(handoff(state), session())


def test_somebody_else_does_not_arrive() -> None:
    """Whoever is logged in now must be whose handoff it is."""
    with pytest.raises(WrongCustomer):
        arrival(handoff(State.STARTED), session(customer="karl"))


def test_a_dead_link_does_not_arrive() -> None:
    """The handoff's own time is over."""
    with pytest.raises(Gone):
        arrival(handoff(State.STARTED, expires_at=NOW), session())


def test_what_is_told_of_the_login() -> None:
    """Subject, level and method as released; the time as the provider told it."""
    visitor = session("google")
    made = arrival(handoff(State.STARTED), visitor)
    assert (made.subject, made.acr, made.amr) == ("number-there", "contact", visitor.amr)
    assert made.authenticated_at == visitor.authenticated_at


def test_a_method_that_may_not_vouch_is_not_told() -> None:
    """BankID withheld, as in every other token (its agreement forbids raising other methods)."""
    made = arrival(handoff(State.STARTED), session("bankid", may_bootstrap=False, contact_proven=False))
    assert (made.acr, made.amr) == ("federated", ())


def test_an_unknown_time_is_not_told() -> None:
    """A provider that does not say when gives no ``auth_time``: nothing is claimed that is not known."""
    assert arrival(handoff(State.STARTED), session(is_time_proven=False)).authenticated_at is None


@pytest.mark.parametrize(
    ("recipient", "secret", "code"),
    [
        ("garage", "t" * 43, "artifact.binding"),
        ("garage", CHALLENGE, "artifact.binding"),
        ("garage", "", "artifact.binding"),
        ("other-garage", SECRET, "artifact.foreign"),
    ],
)
def test_who_may_not_redeem(recipient: str, secret: str, code: str) -> None:
    """One error to the outside; the operator is told which."""
    with pytest.raises(Spent) as refused:
        may_redeem(arrival(handoff(State.STARTED), session()), recipient=recipient, secret=secret)
    error: StafettError = refused.value
    assert error.code == code


def test_the_recipient_with_the_secret_may_redeem() -> None:
    """And nobody else."""
    may_redeem(arrival(handoff(State.STARTED), session()), recipient="garage", secret=SECRET)


@pytest.mark.parametrize(
    "text", ["", CHALLENGE + "=", CHALLENGE[:-1], CHALLENGE + "A", CHALLENGE[:-1] + "\n", "å" * 43]
)
def test_what_is_no_challenge(text: str) -> None:
    """43 characters of base64url."""
    assert not is_challenge(text)


def test_a_challenge_of_ones_own_fits() -> None:
    """RFC 7636 appendix B."""
    assert is_challenge("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM")
    assert fits("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
    assert not fits("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM", None)
