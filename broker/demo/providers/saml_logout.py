"""
Single logout at the simulated SAML provider: it takes requests and answers them, and asks a service to end its sessions.

What it copies: every message is signed where its binding has the signature, addressed to it, new, and about a session it knows,
by the NameID exactly as it told it, encrypted where it has a key for that, and its SessionIndex. What it adds: switches that make
it lie.
"""

import base64
import secrets
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final
from urllib.parse import parse_qsl, quote, unquote_plus
from xml.sax.saxutils import escape, quoteattr

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from lxml import etree
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from broker.demo.providers.saml_documents import DS, Pair, parsed, said, signed
from broker.demo.providers.saml_idp import BINDINGS, Known, Refused, SamlIdp, Service, document_of, members_of

REDIRECT: Final = f"{BINDINGS}HTTP-Redirect"
POST: Final = f"{BINDINGS}HTTP-POST"
_SAML: Final = "urn:oasis:names:tc:SAML:2.0:assertion"
_SAMLP: Final = "urn:oasis:names:tc:SAML:2.0:protocol"
_NS: Final = {
    "samlp": _SAMLP,
    "saml": _SAML,
    "md": "urn:oasis:names:tc:SAML:2.0:metadata",
    "ds": DS,
    "xenc": "http://www.w3.org/2001/04/xmlenc#",
}
_STATUS: Final = "urn:oasis:names:tc:SAML:2.0:status:"
_RSA: Final = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
_ECDSA: Final = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"
_PLACE: Final = f'<ds:Signature xmlns:ds="{DS}" Id="placeholder"></ds:Signature>'


class Lie(StrEnum):
    """What may be wrong with a message about logging out."""

    UNSIGNED = "unsigned"
    UNKNOWN_KEY = "unknown_key"
    CHANGED = "changed"
    WRONG_ISSUER = "wrong_issuer"
    WRONG_DESTINATION = "wrong_destination"
    NO_DESTINATION = "no_destination"
    WRONG_REQUEST = "wrong_request"
    NO_REQUEST = "no_request"
    STALE = "stale"
    FROM_THE_FUTURE = "from_the_future"
    VOID = "void"
    DOCTYPE = "doctype"
    HUGE = "huge"
    OTHER_NAME = "other_name"
    OTHER_INDEX = "other_index"
    NO_NAME = "no_name"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request of the service that was let in. ``session``: whose it is."""

    id: str
    relay_state: str
    session: Known


@dataclass(frozen=True, slots=True)
class Message:
    """What a browser is sent on with: ``form``: members to be posted to ``url``; None for an address with a query."""

    url: str
    form: Mapping[str, str] | None = None


@dataclass
class Logouts:
    """
    The provider's part. ``lies``: in what it sends. ``status``, ``second``: what it answers with. ``over``: sessions that ended.
    """

    provider: SamlIdp
    lies: frozenset[Lie] = frozenset()
    status: str = "Success"
    second: str | None = None
    requests: list[Any] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    over: list[Known] = field(default_factory=list)
    sent: dict[str, Known] = field(default_factory=dict)
    _seen: set[str] = field(default_factory=set)

    def switch(self, *lies: Lie) -> None:
        """Lie as *lies* say from now on."""
        self.lies = frozenset(lies)

    async def taken(self, query: str | None, form: Sequence[tuple[str, str]] = ()) -> Asked | str:
        """A request, or the status of an answer: in the raw *query*, or in a *form*. Raises: Refused."""
        service = Service.read(await self.provider.published())
        names = (
            {each.partition("=")[0] for each in query.split("&")} if query is not None else {name for name, _ in form}
        )
        field = "SAMLResponse" if "SAMLResponse" in names else "SAMLRequest"
        root, relay_state = (
            self._by_query(query, field, service) if query is not None else self._by_form(form, field, service)
        )
        here = self.provider.at("slo").get(POST if query is None else REDIRECT)
        self._check_head(root, service, here)
        if field == "SAMLResponse":
            return self._answered(root)
        self.requests.append(root)
        return Asked(root.get("ID"), relay_state, self._session(root))

    async def answer(self, asked: Asked, binding: str = REDIRECT) -> Message:
        """What answers *asked*; the session is over unless the status says otherwise."""
        if self.status == "Success":
            self.over.append(asked.session)
        answers = {} if Lie.NO_REQUEST in self.lies else {"InResponseTo": asked.id}
        if Lie.WRONG_REQUEST in self.lies:
            answers["InResponseTo"] = "_another"
        inner = f'<samlp:StatusCode Value="{_STATUS}{self.second}"/>' if self.second else ""
        content = (
            f'<samlp:Status><samlp:StatusCode Value="{_STATUS}{self.status}">{inner}</samlp:StatusCode></samlp:Status>'
        )
        return await self._message("LogoutResponse", content, answers, binding, asked.relay_state)

    async def ask(self, known: Known, binding: str = REDIRECT, *, relay_state: str = "", index: bool = True) -> Message:
        """Ask the service to end its sessions that rest on *known*."""
        until = self.provider.clock() + timedelta(minutes=-20 if Lie.VOID in self.lies else 5)
        name = "somebody else" if Lie.OTHER_NAME in self.lies else known.name_id
        named = f"<saml:NameID Format={quoteattr(known.name_id_format)}>{escape(name)}</saml:NameID>"
        which = "_other" if Lie.OTHER_INDEX in self.lies else known.index
        content = "" if Lie.NO_NAME in self.lies else named
        content += f"<samlp:SessionIndex>{which}</samlp:SessionIndex>" if index else ""
        return await self._message("LogoutRequest", content, {"NotOnOrAfter": said(until)}, binding, relay_state)

    async def _message(
        self, name: str, content: str, attributes: Mapping[str, str], binding: str, relay_state: str
    ) -> Message:
        places = _places(await self.provider.published())
        where = places[binding]
        now, head = self.provider.clock(), dict(attributes)
        now += timedelta(minutes=-20 if Lie.STALE in self.lies else 20 if Lie.FROM_THE_FUTURE in self.lies else 0)
        if Lie.NO_DESTINATION not in self.lies:
            head["Destination"] = "https://other.example/slo" if Lie.WRONG_DESTINATION in self.lies else where
        issuer = "https://other.example/metadata" if Lie.WRONG_ISSUER in self.lies else self.provider.entity_id
        padded = "<!--" + "x" * 300_000 + "-->" if Lie.HUGE in self.lies else ""
        said_of = "".join(f" {each}={quoteattr(value)}" for each, value in head.items())
        inside = binding == POST and Lie.UNSIGNED not in self.lies
        text = (
            f'<samlp:{name} xmlns:samlp="{_SAMLP}" xmlns:saml="{_SAML}" ID="_{secrets.token_hex(16)}" Version="2.0"'
            f' IssueInstant="{said(now)}"{said_of}><saml:Issuer>{escape(issuer)}</saml:Issuer>'
            f"{_PLACE if inside else ''}{content}{padded}</samlp:{name}>"
        )
        key = (
            Pair.made(rsa.generate_private_key(65537, 2048)) if Lie.UNKNOWN_KEY in self.lies else self.provider.keys[0]
        )
        octets = signed(text, key, self.provider.mode.method) if inside else text.encode()
        if Lie.CHANGED in self.lies and inside:
            octets = octets.replace(b"</saml:Issuer>", b" </saml:Issuer>", 1)
        if Lie.DOCTYPE in self.lies:
            octets = b"<!DOCTYPE x>" + octets
        field = "SAMLRequest" if name == "LogoutRequest" else "SAMLResponse"
        if binding == POST:
            members = {field: base64.b64encode(octets).decode()} | ({"RelayState": relay_state} if relay_state else {})
            return Message(where, members)
        return Message(f"{where}?{self._query(field, octets, relay_state, key)}")

    def _query(self, field: str, octets: bytes, relay_state: str, key: Pair) -> str:
        query = f"{field}={quote(base64.b64encode(zlib.compress(octets, wbits=-15)).decode(), safe='')}"
        query += f"&RelayState={quote(relay_state, safe='')}" if relay_state else ""
        if Lie.UNSIGNED in self.lies:
            return query
        query += f"&SigAlg={quote(_RSA if isinstance(key.private, rsa.RSAPrivateKey) else _ECDSA, safe='')}"
        value = _signature(query.encode(), key)
        if Lie.CHANGED in self.lies:
            value = value[:-1] + bytes([value[-1] ^ 1])
        return f"{query}&Signature={quote(base64.b64encode(value).decode(), safe='')}"

    def _by_query(self, query: str, field: str, service: Service) -> tuple[Any, str]:
        members = members_of(query, field)
        self.provider.check_signature(members, service, field)
        root = parsed(zlib.decompress(base64.b64decode(unquote_plus(members[field])), -15))
        if root.find(".//ds:Signature", namespaces=_NS) is not None:
            raise Refused("a message in an address has no signature inside")
        return root, unquote_plus(members.get("RelayState", ""))

    def _by_form(self, form: Sequence[tuple[str, str]], field: str, service: Service) -> tuple[Any, str]:
        given = dict(form)
        if len(given) != len(form) or not {field} <= given.keys() <= {field, "RelayState"}:
            raise Refused("not a message by POST, and nothing else")
        octets = document_of(given[field])
        self.provider.check_inner_signature(octets, service)
        return parsed(octets), given.get("RelayState", "")

    def _check_head(self, root: Any, service: Service, here: str | None) -> None:
        now = self.provider.clock()
        if root.get("Version") != "2.0" or root.findtext("saml:Issuer", namespaces=_NS) != service.entity_id:
            raise Refused("not of SAML 2.0, or from a service that is not known")
        if here is None or root.get("Destination") != here:
            raise Refused("Destination is missing, or of somebody else")
        if abs(now - datetime.fromisoformat(root.get("IssueInstant"))) > timedelta(minutes=5):
            raise Refused("IssueInstant is too old, or in the future")
        if root.get("ID") in self._seen or len(root.get("ID", "")) < 17:
            raise Refused("the ID was used before, or can be guessed")
        self._seen.add(root.get("ID"))

    def _session(self, root: Any) -> Known:
        if etree.QName(root).localname != "LogoutRequest" or root.get("NotOnOrAfter") is None:
            raise Refused("not a LogoutRequest that ends one day")
        name = root.find("saml:NameID", namespaces=_NS)
        if self.provider.sealed_to is not None:
            if name is not None:
                raise Refused("a name in the clear")
            name = _opened(root.find("saml:EncryptedID", namespaces=_NS), self.provider.sealed_to)
        indexes = [str(each) for each in root.xpath("samlp:SessionIndex/text()", namespaces=_NS)]
        for known in self.provider.sessions:
            if (known.name_id, known.name_id_format) == (name.text, name.get("Format")) and indexes == [known.index]:
                return known
        raise Refused("no session of that name and index")

    def _answered(self, root: Any) -> str:
        if etree.QName(root).localname != "LogoutResponse" or not root.get("InResponseTo"):
            raise Refused("not a LogoutResponse to a request")
        status = str(root.xpath("samlp:Status/samlp:StatusCode/@Value", namespaces=_NS)[0]).removeprefix(_STATUS)
        self.answers.append(status)
        return status


def _signature(octets: bytes, key: Pair) -> bytes:
    """By PKCS#1, or r and s side by side."""
    if isinstance(key.private, rsa.RSAPrivateKey):
        return key.private.sign(octets, padding.PKCS1v15(), hashes.SHA256())
    size = (key.private.curve.key_size + 7) // 8
    numbers = decode_dss_signature(key.private.sign(octets, ec.ECDSA(hashes.SHA256())))
    return b"".join(each.to_bytes(size, "big") for each in numbers)


def _places(document: bytes) -> dict[str, str]:
    """Where the service takes messages, by binding."""
    found = parsed(document).findall(".//md:SPSSODescriptor/md:SingleLogoutService", namespaces=_NS)
    return {each.get("Binding"): each.get("Location") for each in found}


def _opened(sealed: Any, pair: Pair) -> Any:
    """The element that was encrypted to *pair*, by RSA-OAEP and AES-GCM."""
    if sealed is None or not isinstance(pair.private, rsa.RSAPrivateKey):
        raise Refused("no name")
    values = [base64.b64decode(each.text) for each in sealed.findall(".//xenc:CipherValue", namespaces=_NS)]
    digest = hashes.SHA1()  # noqa: S303 - what OAEP of XML Encryption 1.0 has
    content_key = pair.private.decrypt(values[0], padding.OAEP(padding.MGF1(digest), digest, None))
    return parsed(AESGCM(content_key).decrypt(values[1][:12], values[1][12:], None))


def with_logout(app: Starlette) -> Logouts:
    """Adds the addresses of single logout to the *app* of a provider; the state of it."""
    provider: SamlIdp = app.state.simulator
    provider.logs_out = True
    logouts = Logouts(provider)

    async def by_query(request: Request) -> Response:
        return await reply(await logouts.taken(request.scope["query_string"].decode("latin-1")))

    async def by_form(request: Request) -> Response:
        form = parse_qsl((await request.body()).decode(), keep_blank_values=True)
        return await reply(await logouts.taken(None, form))

    async def reply(taken: Asked | str) -> Response:
        if isinstance(taken, str):
            return HTMLResponse(f'<p id="answered">{escape(taken)}</p>')
        answer = await logouts.answer(taken)
        return RedirectResponse(answer.url, status_code=303)

    app.router.routes += [Route("/slo", by_query), Route("/slo/post", by_form, methods=["POST"])]
    return logouts
