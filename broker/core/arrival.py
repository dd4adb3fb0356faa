"""
An arrival: a customer comes by a handoff to a partner that has no OpenID Connect client.

The partner's server bound a secret to the browser and told its challenge; the customer confirmed whose account she arrives
with. What the artifact she carries then stands for is an `Arrival`, good for one redemption with that secret.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct

from broker.core.challenge import fits
from broker.core.handoff import Handoff, State, belongs_to, may_go_on
from broker.core.release import Release
from broker.core.session import Session
from broker.errors import Spent, WrongCustomer


class Arrival(Struct, frozen=True):
    """
    ``challenge``: S256 of the secret it is redeemed with. ``subject``: the customer's, for this recipient's sector.
    ``acr``, ``amr``: what may be told of the login. ``authenticated_at``: when it
    happened, None where the provider did not tell.
    """

    handoff: str
    recipient: str
    challenge: str
    customer: str
    subject: str
    acr: str
    amr: tuple[str, ...]
    authenticated_at: datetime | None


class Arrived(Struct, frozen=True):
    """A redeemed arrival, and what of the handoff goes with it. ``id``: used once, for the token's ``jti``."""

    id: str
    arrival: Arrival
    handoff: Handoff
    claims: Mapping[str, Any]
    withheld: tuple[str, ...]


def arrive(
    handoff: Handoff, session: Session, release: Release, *, challenge: str, subject: str, now: datetime
) -> Arrival:
    """
    The customer confirmed that she arrives with this account.

    Args:
        release: of this handoff to its recipient; says what may be told of the login.
        subject: the customer's pairwise subject for the recipient's sector.
    Raises:
        WrongCustomer: somebody else is logged in. Spent: not agreed to, or fetched before. Gone: expired or revoked.
    """
    if not belongs_to(handoff, session):
        raise WrongCustomer("the session's customer is not the one the handoff was made for")
    may_go_on(handoff, now)
    if handoff.state is not State.STARTED:
        raise Spent("arrived with a handoff that is not on its way", state=handoff.state.value)
    return Arrival(
        handoff=handoff.id,
        recipient=handoff.recipient,
        challenge=challenge,
        customer=session.customer,
        subject=subject,
        acr=release.acr or "",
        amr=release.amr,
        authenticated_at=session.authenticated_at if session.is_time_proven else None,
    )


def may_redeem(arrival: Arrival, *, recipient: str, secret: str) -> None:
    """
    Return if *recipient* may have what *arrival* stands for.

    security: without the secret an artifact that was slipped to another browser, or read on its way, is worth nothing.

    Raises: Spent; one error, its detail tells which.
    """
    if arrival.recipient != recipient:
        raise Spent("artifact of another recipient", code="artifact.foreign")
    if not fits(arrival.challenge, secret):
        raise Spent("the secret is not the one behind the challenge", code="artifact.binding")
