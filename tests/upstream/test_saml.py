"""
SAML identity providers: the connector against a simulator that signs and encrypts by other libraries, then a whole broker with
it, and once a real Chromium in between. Time is what the test says.
"""

from functools import partial
from typing import Any

import pytest

from broker.core.assurance import Assurance
from broker.demo.providers.saml_idp import GENERIC
from broker.upstream.port import Connector, FormConnector, KeyPublisher, Listener
from tests.upstream.cases import Case
from tests.upstream.saml import LIES, Provider, play

PASSWORD, MFA = GENERIC.levels
SETTINGS: dict[str, Any] = {
    "acr_levels": {PASSWORD: "low", MFA: "substantial"},
    "signs_response": True,
    "ignored_claims": ["urn:oid:1.3.6.1.4.1.5923.1.1.1.6"],
}


def cases() -> list[Case]:
    """For the contract suite."""
    return [Case("saml", partial(play, kind="saml", mode=GENERIC, **SETTINGS), LIES)]


@pytest.fixture
def provider() -> Provider:
    return Provider("saml", GENERIC, **SETTINGS)


async def test_what_a_login_proves(provider: Provider) -> None:
    """The person under the provider's entityID, what it says of her, the level it names and when she was there."""
    evidence = await provider.login()
    assert (evidence.issuer, evidence.assurance) == (provider.simulator.entity_id, Assurance.LOW)
    assert (evidence.given_name, evidence.family_name, evidence.name) == ("Maja", "Lindqvist", "Maja Lindqvist")
    assert (evidence.authenticated_at, evidence.is_time_proven) == (provider.clock.now, True)
    assert (await provider.login()).subject == evidence.subject != (await provider.login("eleni")).subject
    assert evidence.signals == ()


async def test_the_connector_follows_the_port(provider: Provider) -> None:
    """It takes forms and publishes its metadata; nobody tells it anything."""
    connector: Connector = provider.connector
    assert isinstance(connector, FormConnector)
    assert isinstance(connector, KeyPublisher)
    assert not isinstance(connector, Listener)
    assert (connector.reaches, connector.state_member) == (Assurance.SUBSTANTIAL, "RelayState")
