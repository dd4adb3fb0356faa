"""A federation of invented services and providers, and its signed metadata: by signxml, which the broker never uses."""

import base64
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree
from signxml.algorithms import CanonicalizationMethod, DigestAlgorithm, SignatureConstructionMethod, SignatureMethod
from signxml.signer import XMLSigner

from broker.wire.saml import keys
from tests.wire.saml_stage import cert, pem, private

NOW = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
UNTIL = NOW + timedelta(days=7)

MD = "urn:oasis:names:tc:SAML:2.0:metadata"
NAMESPACES = (
    f'xmlns:md="{MD}" xmlns:ds="http://www.w3.org/2000/09/xmldsig#" xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion"'
    ' xmlns:mdui="urn:oasis:names:tc:SAML:metadata:ui" xmlns:alg="urn:oasis:names:tc:SAML:metadata:algsupport"'
    ' xmlns:mdattr="urn:oasis:names:tc:SAML:metadata:attribute" xmlns:shibmd="urn:mace:shibboleth:metadata:1.0"'
    ' xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
)


def said(moment: datetime) -> str:
    """As metadata writes times."""
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


@cache
def _key_info(kind: str, which: int) -> str:
    encoded = base64.b64encode(cert(kind, which)).decode()
    lines = "\n".join(encoded[at : at + 64] for at in range(0, len(encoded), 64))
    return f"<ds:KeyInfo><ds:X509Data><ds:X509Certificate>\n{lines}\n</ds:X509Certificate></ds:X509Data></ds:KeyInfo>"


def key(use: str | None = "signing", kind: str = "rsa", which: int = 0, more: str = "") -> str:
    """A KeyDescriptor."""
    attribute = f' use="{use}"' if use else ""
    return f"<md:KeyDescriptor{attribute}>{_key_info(kind, which)}{more}</md:KeyDescriptor>"


def texts(name: str) -> str:
    """UIInfo in the four languages of the pages."""
    named = "".join(
        f'<mdui:DisplayName xml:lang="{language}">{name} ({language})</mdui:DisplayName>'
        for language in ("sv", "fi", "pl", "en")
    )
    return (
        f"<mdui:UIInfo>{named}"
        f'<mdui:Description xml:lang="en">Whatever {name} does for its customers.</mdui:Description>'
        '<mdui:Logo width="64" height="64">https://logo.example/64.png</mdui:Logo></mdui:UIInfo>'
    )


def service(number: int = 1, *, attributes: str = "", keys_: str | None = None, acs: str = "", more: str = "") -> str:
    """An EntityDescriptor of a service provider. *attributes*: of the element; *more*: in its extensions."""
    base = f"https://sp{number}.example.org"
    return (
        f'<md:EntityDescriptor {NAMESPACES} entityID="{base}/saml"{attributes}>'
        f'<md:Extensions><mdattr:EntityAttributes><saml:Attribute Name="http://macedir.org/entity-category"'
        ' NameFormat="urn:oasis:names:tc:SAML:2.0:attrname-format:uri">'
        "<saml:AttributeValue>http://refeds.org/category/code-of-conduct/v2</saml:AttributeValue></saml:Attribute>"
        '<saml:Attribute Name="urn:oasis:names:tc:SAML:profiles:subject-id:req"'
        ' NameFormat="urn:oasis:names:tc:SAML:2.0:attrname-format:uri">'
        '<saml:AttributeValue xsi:type="xs:string">pairwise-id</saml:AttributeValue></saml:Attribute>'
        f"</mdattr:EntityAttributes>{more}</md:Extensions>"
        '<md:SPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol"'
        ' AuthnRequestsSigned="true" WantAssertionsSigned="1">'
        f"<md:Extensions>{texts(f'Service {number}')}</md:Extensions>"
        f"{key('signing') + key('encryption') if keys_ is None else keys_}"
        f'<md:SingleLogoutService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect" Location="{base}/slo"'
        f' ResponseLocation="{base}/slo/done"/>'
        "<md:NameIDFormat>urn:oasis:names:tc:SAML:2.0:nameid-format:transient</md:NameIDFormat>"
        f'<md:AssertionConsumerService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST" Location="{base}/acs"'
        f' index="1"/>{acs}<md:AttributeConsumingService index="1">'
        f'<md:ServiceName xml:lang="en">Service {number}</md:ServiceName>'
        '<md:RequestedAttribute Name="urn:oid:2.5.4.42" FriendlyName="givenName" isRequired="true"'
        ' NameFormat="urn:oasis:names:tc:SAML:2.0:attrname-format:uri"/>'
        '<md:RequestedAttribute Name="urn:oid:0.9.2342.19200300.100.1.3"/></md:AttributeConsumingService>'
        f"</md:SPSSODescriptor></md:EntityDescriptor>"
    )


def provider(number: int = 1, *, more: str = "", role: str = "") -> str:
    """An EntityDescriptor of an identity provider. *more*: in its extensions; *role*: in those of the role."""
    base = f"https://idp{number}.example.org"
    return (
        f'<md:EntityDescriptor {NAMESPACES} entityID="{base}/saml"><md:Extensions>'
        '<alg:DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"/>'
        '<alg:SigningMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"/>'
        f"{more}</md:Extensions>"
        '<md:IDPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol"'
        ' WantAuthnRequestsSigned="true">'
        f'<md:Extensions><shibmd:Scope regexp="false">idp{number}.example.org</shibmd:Scope>'
        f'<shibmd:Scope regexp="true">.*</shibmd:Scope>{texts(f"Provider {number}")}{role}</md:Extensions>'
        f"{key(None, which=1)}"
        f'<md:SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect" Location="{base}/sso"/>'
        f'<md:SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:SOAP" Location="{base}/soap"/>'
        f"</md:IDPSSODescriptor></md:EntityDescriptor>"
    )


def aggregate(entities: Sequence[str], *, until: datetime | None = UNTIL, attributes: str = "") -> str:
    """An EntitiesDescriptor, not signed."""
    validity = f' validUntil="{said(until)}"' if until else ""
    content = "\n  ".join(entities)
    return (
        f'<md:EntitiesDescriptor {NAMESPACES} ID="_federation" Name="urn:federation"{validity}{attributes}>\n  '
        f"<md:Extensions/>\n  {content}\n</md:EntitiesDescriptor>"
    )


def alone(entity: str, *, until: datetime | None = UNTIL, more: str = "") -> str:
    """*entity* as a document of its own: with an ID and an end."""
    validity = f' validUntil="{said(until)}"' if until else ""
    return entity.replace("<md:EntityDescriptor ", f'<md:EntityDescriptor ID="_alone"{validity}{more} ', 1)


def signed(
    document: str,
    *,
    kind: str = "rsa",
    which: int = 9,
    method: SignatureMethod = SignatureMethod.RSA_SHA256,
    canonicalization: CanonicalizationMethod = CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0,
) -> bytes:
    """*document* signed by signxml, by the ID of its root or, without one, as a whole; the signature is the first child."""
    signer = XMLSigner(
        method=SignatureConstructionMethod.enveloped,
        signature_algorithm=method,
        digest_algorithm=DigestAlgorithm.SHA256,
        c14n_algorithm=canonicalization,
    )
    signer.namespaces = {"ds": "http://www.w3.org/2000/09/xmldsig#"}
    place = '<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#" Id="placeholder"></ds:Signature>'
    end = document.index(">") + 1
    root = etree.fromstring((document[:end] + place + document[end:]).encode(), etree.XMLParser(huge_tree=True))
    certificate = x509.load_der_x509_certificate(cert(kind, which)).public_bytes(Encoding.PEM).decode()
    done = signer.sign(
        root,
        key=pem(private(kind, which)),
        cert=certificate,
        reference_uri=root.get("ID"),
        id_attribute="ID",
    )
    octets: bytes = etree.tostring(done)
    return octets


def trusted(kind: str = "rsa", which: int = 9) -> tuple[keys.VerifyingKey, ...]:
    """What `signed` is verified by."""
    return (keys.verifying_key(cert(kind, which)),)


def federation(count: int) -> str:
    """*count* entities, two services to a provider."""
    return aggregate([provider(n) if n % 3 == 0 else service(n) for n in range(count)])
