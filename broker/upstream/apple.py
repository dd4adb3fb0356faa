"""
Sign in with Apple on the web: OpenID Connect, with four habits of its own.

The client secret is signed on the fly; the answer comes as a form posted from Apple's site; the name comes once, at the
first login ever, unsigned beside the code; an e-mail address may be a relay that Apple made for us alone. Everything else is
`OidcConnector`'s.

Sources: Apple, "Sign in with Apple REST API" (request an authorization, generate and validate tokens) and "Sign in with
Apple JS" (handling the authorization response).
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from pydantic import AfterValidator, StringConstraints

from broker.core.changing import replace
from broker.core.client_rules import ClientAuth
from broker.core.policy import SecretRef, Strict, Uri
from broker.core.strict_json import StrictJson
from broker.errors import UpstreamDown, UpstreamRefused
from broker.upstream.claims import TrustedContacts, is_true
from broker.upstream.oidc import OidcConfig, OidcConnector, PlainWays, checked_issuer, new_token
from broker.upstream.port import Begun, Done, Pending, Reply, ReplyKind, UpstreamAsk
from broker.wire.http import Fetcher
from broker.wire.signed_secret import SignedSecret, parse_es256_key

_CANCELLED: Final = "user_cancelled_authorize"
_MAX_USER: Final = 4096
_JSON: Final = StrictJson()

_TenCharacters = Annotated[str, StringConstraints(pattern=r"^[A-Z0-9]{10}$")]


class AppleConnect(Strict):
    """
    The ``connect`` block of an upstream of kind ``apple``.

    ``client_id``: the Services ID. ``key``: the team's private key for Sign in with Apple (``.p8``). ``trusted_email``:
    whether an address that Apple calls verified counts as proven. ``relay_email``: what an address counts for that Apple
    forwards (``is_private_email``); mail reaches it only from senders that the operator registered with Apple.
    """

    issuer: Annotated[Uri, AfterValidator(checked_issuer)] = "https://appleid.apple.com"
    client_id: Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[\x21-\x7e]+$")]
    team_id: _TenCharacters
    key_id: _TenCharacters
    key: SecretRef
    scopes: tuple[Literal["name", "email"], ...] = ("name", "email")
    trusted_email: Literal["always", "never"] = "never"
    relay_email: Literal["as_other", "unproven", "withheld"] = "unproven"

    @property
    def oidc(self) -> OidcConfig:
        """The same in the words of the OpenID Connect connector."""
        return OidcConfig(
            issuer=self.issuer,
            client_id=self.client_id,
            client_auth=ClientAuth.SECRET_POST,
            client_secret=self.key,
            claims={"given_name": "given_name", "family_name": "family_name", "email": "email"},
            ignored_claims=("is_private_email", "nonce_supported", "real_user_status", "transfer_sub"),
            trusted_contacts=TrustedContacts(email=self.trusted_email),
            reauthenticates=False,
            sends_login_hint=False,
        )


class _Name(msgspec.Struct, frozen=True):
    first: str | None = msgspec.field(name="firstName", default=None)
    last: str | None = msgspec.field(name="lastName", default=None)


class _User(msgspec.Struct, frozen=True):
    """Form member ``user``: unsigned, editable by the customer, sent once. Its e-mail address is not even read."""

    name: _Name | None = None


class AppleConnector:
    """
    Sign in with Apple.

    Args:
        id: the upstream's id in the YAML.
        key: what ``connect.key`` refers to, as PEM.
        fetcher: the way out.
        token: makes 256-bit random texts.
    Raises:
        ValueError: the key is unusable.
    """

    takes_forms: Literal[True] = True
    state_member = "state"
    largest_form = 16 * 1024

    def __init__(
        self, id: str, connect: AppleConnect, *, key: str, fetcher: Fetcher, token: Callable[[], str] = new_token
    ) -> None:
        self.id = id
        self._connect = connect
        self._secret = SignedSecret(
            parse_es256_key(key),
            kid=connect.key_id,
            issuer=connect.team_id,
            client_id=connect.client_id,
            audience=connect.issuer,
        )
        self._oidc = OidcConnector(
            id,
            connect.oidc,
            fetcher=fetcher,
            # With a scope Apple answers by form only; `openid` is not among those it asks for.
            ways=PlainWays(
                fetcher,
                self._secret.authenticate,
                {"response_mode": "form_post", "scope": " ".join(connect.scopes)},
            ),
            token=token,
        )
        self.reaches = self._oidc.reaches

    async def begin(self, ask: UpstreamAsk) -> Begun:
        """Send the browser to Apple. Raises: as `OidcConnector.begin`."""
        return await self._oidc.begin(ask)

    async def resume(self, state: bytes, reply: Reply) -> Done | Pending:
        """
        Take the form that Apple's page posted.

        Raises: as `broker.upstream.port.Connector.resume`.
        """
        if reply.kind is not ReplyKind.POSTED:
            raise UpstreamRefused("the answer came another way than by a form", code="callback.kind")
        told, signals = _told(reply.data.get("user"))

        def read(verified: Mapping[str, Any]) -> Mapping[str, Any]:
            nonlocal signals
            if is_true(verified.get("is_private_email")):
                signals = (*signals, "apple.relay_email")
            # security: nothing that is not signed takes the place of what is.
            return {**told, **self._read(verified)}

        try:
            evidence = await self._oidc.proven(state, _in_standard_words(reply), read=read)
        except UpstreamDown as error:
            if error.code == "token.invalid_client":
                self._secret.forget()
            raise
        return Done(replace(evidence, signals=(*evidence.signals, *signals)))

    async def close(self) -> None:
        """Nothing of its own to release: the fetcher is shared."""

    def _read(self, verified: Mapping[str, Any]) -> Mapping[str, Any]:
        """*verified* claims, a relay address counting for what the operator says."""
        if not is_true(verified.get("is_private_email")):
            return verified
        match self._connect.relay_email:
            case "as_other":
                return verified
            case "unproven":
                gone = {"email_verified"}
            case "withheld":
                gone = {"email", "email_verified"}
        return {name: value for name, value in verified.items() if name not in gone}


def _in_standard_words(reply: Reply) -> Reply:
    """*reply* with the registered error code (RFC 6749 section 4.1.2.1) for a customer who pressed cancel."""
    if reply.data.get("error") != _CANCELLED:
        return reply
    return replace(reply, data={**reply.data, "error": "access_denied"})


def _told(unverified_user: str | None) -> tuple[dict[str, str], tuple[str, ...]]:
    """
    The name that the customer lets Apple tell us, as claims, and what to notice about it.

    A form member that cannot be read costs the name and not the login.
    """
    if unverified_user is None:
        return {}, ()
    try:
        if len(unverified_user) > _MAX_USER:
            raise ValueError("too long")
        name = msgspec.convert(_JSON.read(unverified_user), type=_User).name
    except ValueError:
        return {}, ("apple.user_unreadable",)
    parts = {"given_name": name.first, "family_name": name.last} if name else {}
    return {claim: part for claim, part in parts.items() if part}, ()
