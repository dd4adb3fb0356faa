"""All service providers there are. A new one is a module here and a line below."""

from tests.interop.saml.parties import mod_auth_mellon, node_saml, python3_saml
from tests.interop.saml.party import ServiceProvider

SERVICE_PROVIDERS: tuple[ServiceProvider, ...] = (
    mod_auth_mellon.Mellon(),
    python3_saml.Python3Saml(),
    node_saml.NodeSaml(),
)
