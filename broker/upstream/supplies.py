"""
What connectors are built with, beside their own block of the config.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from msgspec import Struct, field

from broker.core.membership import OnFile
from broker.core.saml import SamlProvider
from broker.flows.context import Context
from broker.notify.ports import Messages
from broker.wire.http import Fetcher


class References(Protocol):
    """Where references of the config lead (`broker.config.references.References`)."""

    def path(self, name: str) -> Path:
        """The file that *name*, relative to the config file, stands for."""
        ...

    def secret(self, reference: str) -> str:
        """What an ``env:`` or ``file:`` reference points at."""
        ...


class MembersOnFile(Protocol):
    """Whom member numbers are of (`broker.flows.members.Members`)."""

    async def on_file(self, partner: str, number: str) -> OnFile | None:
        """What the register of *partner* has on file for *number*; None for nobody. It may take seconds."""
        ...


class NoMembers:
    """Nobody has a member number."""

    async def on_file(self, partner: str, number: str) -> OnFile | None:
        """See `MembersOnFile.on_file`."""
        return None


class ProvidersKnown(Protocol):
    """What SAML identity providers say of themselves (`broker.flows.saml_peers.SamlPeers`)."""

    async def provider(self, source: str, entity_id: str) -> SamlProvider | None:
        """The provider of that name in *source*; None for nobody. Raises: UpstreamDown: nothing there can be used."""
        ...


class NoProviders:
    """There is no metadata at all."""

    async def provider(self, source: str, entity_id: str) -> SamlProvider | None:
        """See `ProvidersKnown.provider`."""
        return None


class Supplies(Struct, frozen=True):
    """
    ``fetcher``: the way out to this one provider. ``context``: for a connector that is the broker's own, such as a code by
    e-mail; what it needs of it, it takes when it is built. ``messages``: how customers are written to. ``members``: whom member
    numbers are of. ``peers``: where SAML providers are known. ``names``: the broker's, by language.
    """

    references: References
    fetcher: Fetcher
    context: Context
    messages: Messages = field(default_factory=Messages)
    members: MembersOnFile = field(default_factory=NoMembers)
    peers: ProvidersKnown = field(default_factory=NoProviders)
    names: Mapping[str, str] = field(default_factory=dict)
