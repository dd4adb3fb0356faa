"""
Our own metadata as an identity provider, signed (saml-metadata-2.0-os; saml2int SDP-IDP33).
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from broker.core.policy import NameIdFormat, Policy
from broker.core.saml import POST, REDIRECT, Endpoint
from broker.core.saml_login import NAME_ID_FORMATS, PAIRWISE_ID, URI_ATTRIBUTES
from broker.downstream.saml.keys import SamlKeys
from broker.downstream.saml.logout import SLO_PATH
from broker.downstream.saml.sso import SSO_PATH
from broker.flows.context import Clock
from broker.wire.saml.metadata import MEDIA_TYPE, Described, ProviderRole, write

METADATA_PATH = "/saml/metadata"

_REFRESH = timedelta(hours=6)
"""How often partners should look; a key is published for at least twice as long before it signs (docs/saml.md)."""
_STEP = timedelta(hours=1)


class SamlMetadata:
    """``/saml/metadata``."""

    def __init__(self, policy: Callable[[], Policy], keys: SamlKeys, clock: Clock) -> None:
        self._policy = policy
        self._keys = keys
        self._clock = clock
        self._made: tuple[tuple[str, datetime], bytes] | None = None

    async def get(self, _: Request) -> Response:
        """The document; the same for an hour, so that it is signed once in a while and not on every request."""
        if not self._keys.published:
            raise HTTPException(404)
        policy, now = self._policy(), self._clock()
        hour = now.replace(minute=0, second=0, microsecond=0)
        if self._made is None or self._made[0] != (policy.version, hour):
            document = write(described(policy, self._keys, hour), role(policy), self._keys.signing(now))
            self._made = ((policy.version, hour), document)
        headers = {"Cache-Control": f"public, max-age={int(_STEP.total_seconds())}"}
        return Response(self._made[1], media_type=MEDIA_TYPE, headers=headers)

    def routes(self) -> list[Route]:
        """The one address, which is our entityID unless the operator chose another."""
        return [Route(METADATA_PATH, self.get, methods=["GET"])]


def described(policy: Policy, keys: SamlKeys, hour: datetime) -> Described:
    """What we say of ourselves from *hour* on."""
    broker = policy.broker
    return Described(
        entity_id=policy.saml_entity_id,
        keys=keys.published,
        valid_until=hour + _STEP + broker.saml.metadata_validity,
        cache_duration=_REFRESH,
        names=dict.fromkeys(broker.languages, broker.name),
        contact=broker.saml.contact,
        organization=policy.issuer,
        slo=tuple(Endpoint(binding, f"{policy.issuer}{SLO_PATH}") for binding in (REDIRECT, POST)),
        name_id_formats=tuple(NAME_ID_FORMATS[each] for each in (NameIdFormat.TRANSIENT, NameIdFormat.PERSISTENT)),
    )


def role(policy: Policy) -> ProviderRole:
    """What we do as an identity provider."""
    broker, here = policy.broker, f"{policy.issuer}{SSO_PATH}"
    partners = [each for each in policy.config.partners.values() if each.saml is not None and each.login is not None]
    told = {claim for each in partners if each.login is not None for claim in each.login.claims}
    return ProviderRole(
        sso=(Endpoint(REDIRECT, here), Endpoint(POST, here)),
        scopes=(policy.saml_scope,),
        error_url=broker.support_uri or f"{policy.issuer}/",
        attributes={"pairwise-id": PAIRWISE_ID}
        | {name.friendly: name.name for claim, name in URI_ATTRIBUTES.items() if claim in told},
    )
