"""The broker, the sites that are service providers of it, and the identity provider it is one of."""

from contextlib import ExitStack
from pathlib import Path

import httpx2

from broker.demo.providers.bankid.certificates import Certificates
from tests.downstream.saml_party import pair, pem
from tests.interop.saml.parties import SERVICE_PROVIDERS
from tests.interop.saml.parties.simplesamlphp import SimpleSamlPhp
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
      {asking}
      tell_logout: true
      {registration}
    login:
      upstreams: [bankid, google, campus, sealed]
      claims: [name, email]
      consent: implied
"""
"""What an operator writes for a service provider."""

UPSTREAM = """
  {name}:
    kind: saml
    titles: {{sv: Campus, fi: Kampus, pl: Kampus, en: Campus}}
    ceiling: contact
    may_bootstrap_other_methods: false
    connect:
      entity_id: {entity_id}
      metadata: campus.xml
      keys: [{{key: file:campus-key.pem, certificate: campus.pem}}]
      encrypted: {encrypted}
      signs_response: true
      vouches_for: [email]
      trusted_contacts: {{email: always}}
"""
"""And for an identity provider."""

CAMPUS = {"campus": "false", "sealed": "true"}
"""One provider as two ways in: whether its assertions are to be encrypted."""


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
        with ExitStack() as stack:
            self.campus = SimpleSamlPhp(free_port(), folder / "campus")
            stack.callback(self.campus.close)
            files = {f"{site.name}.xml": site.metadata for site in self.sites.values()}
            files |= {"campus.xml": self.campus.metadata}
            for name, owner in (("saml", "broker"), ("campus", "broker-upstream")):
                private, certificate = pair(owner)
                files |= {f"{name}-key.pem": pem(private), f"{name}.pem": certificate}
            self.world = World(folder / "world", [], with_tls=True, edit=self._edited, files=files)
            stack.callback(self.world.close)
            with httpx2.Client(verify=self.world.trust, trust_env=False) as http:
                provider = http.get(f"{self.world.issuer}/saml/metadata").raise_for_status().content
                for name, encrypted in CAMPUS.items():
                    document = http.get(f"{self.world.issuer}/up/{name}/metadata").raise_for_status().content
                    self.campus.meet(name, document, encrypts=encrypted == "true")
            for site in self.sites.values():
                stack.callback(site.close)
                site.start(self.world.issuer, provider)
            self._stack = stack.pop_all()

    def close(self) -> None:
        """Stop everything."""
        self._stack.close()

    def _edited(self, config: str) -> str:
        partners = "".join(
            PARTNER.format(
                name=site.name,
                site=site.place.site,
                entity_id=site.entity_id,
                registration=site.software.registration,
                asking="unsolicited: true" if site.software.takes_unasked else "require_signed_requests: true",
            )
            for site in self.sites.values()
        )
        entity_id = self.campus.entity_id
        upstreams = "".join(
            UPSTREAM.format(name=name, entity_id=entity_id, encrypted=each) for name, each in CAMPUS.items()
        )
        config = config.replace("\nupstreams:\n", f"\nupstreams:\n{upstreams}\n", 1)
        return config.replace("\nbroker:\n", KEYS, 1).replace("\npartners:\n", f"\npartners:\n{partners}\n", 1)


def _place(software: ServiceProvider, certificates: Certificates) -> Place:
    port = free_port()
    site = f"{software.scheme}://127.0.0.1:{port}"
    return Place(issuer="", client_id=software.name, secret="", port=port, site=site, certificates=certificates)
