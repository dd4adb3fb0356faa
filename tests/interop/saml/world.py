"""The broker, and the sites that are service providers of it."""

from pathlib import Path

import httpx2

from broker.demo.providers.bankid.certificates import Certificates
from tests.downstream.saml_party import pair, pem
from tests.interop.saml.parties import SERVICE_PROVIDERS
from tests.interop.saml.party import ServiceProvider, Site
from tests.interop.site import Place
from tests.interop.world import World
from tests.servers import free_port

KEYS = """
broker:
  saml:
    keys: [{key: file:saml-key.pem, certificate: saml.pem}]
"""
PARTNER = """
  {name}:
    names: {{en: {name}}}
    home_uri: {site}/
    saml:
      entity_id: {entity_id}
      metadata: {name}.xml
      require_signed_requests: true
      {registration}
    login:
      upstreams: [bankid, google]
      claims: [name, email]
      consent: implied
"""
"""What an operator writes for one."""


class SamlWorld:
    """
    Everything, until `close`.

    Args:
        folder: empty.
    """

    def __init__(self, folder: Path) -> None:
        certificates = Certificates(folder / "world/tls")  # made by the world
        self.sites = {
            each.name: Site(each, _place(each, certificates), folder / "sites" / each.name)
            for each in SERVICE_PROVIDERS
        }
        private, certificate = pair("broker")
        files = {f"{site.name}.xml": site.metadata for site in self.sites.values()}
        files |= {"saml-key.pem": pem(private), "saml.pem": certificate}
        self.world = World(folder / "world", [], with_tls=True, edit=self._edited, files=files)
        with httpx2.Client(verify=self.world.trust, trust_env=False) as http:
            provider = http.get(f"{self.world.issuer}/saml/metadata").raise_for_status().content
        for site in self.sites.values():
            site.start(self.world.issuer, provider)

    def close(self) -> None:
        """Stop everything."""
        for site in self.sites.values():
            site.close()
        self.world.close()

    def _edited(self, config: str) -> str:
        partners = "".join(
            PARTNER.format(
                name=site.name,
                site=site.place.site,
                entity_id=site.entity_id,
                registration=site.software.registration,
            )
            for site in self.sites.values()
        )
        return config.replace("\nbroker:\n", KEYS, 1).replace("\npartners:\n", f"\npartners:\n{partners}\n", 1)


def _place(software: ServiceProvider, certificates: Certificates) -> Place:
    port = free_port()
    site = f"{software.scheme}://127.0.0.1:{port}"
    return Place(issuer="", client_id=software.name, secret="", port=port, site=site, certificates=certificates)
