"""
Meta (Facebook Login): the classic code flow of the Graph API, in the form for websites.

Rules:
- Three calls per login: the code for a token, what Meta says of that token, whose it is. The token is forgotten then.
- The token must be for our app and of the person the profile speaks of: one from another app is refused.
- Calls with a token carry its `appsecret_proof`, so that a token alone is worth nothing where the app requires the proof.
- Secrets travel in bodies and headers. The one token that has to be in an address is the one that is asked about; the
  way out (`broker.wire.http`) keeps queries out of logs, traces and errors.
- Meta's flow has no nonce, no PKCE (only with its OpenID Connect variant, still in testing) and does not say when the
  person logged in: a fresh login is refused rather than claimed.
- The person's number there belongs to the app, so the app is part of the issuer. An e-mail address may be missing and
  is never a proven contact: Meta does not say whether it was verified.

Sources: Meta for Developers, "Manually Build a Login Flow", "Securing Graph API Requests", "Debug Token", "Handle Errors",
"Data Deletion Request Callback" (signed requests).
"""

import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Annotated, Any, Final, Literal

import msgspec
from pydantic import AfterValidator

from broker.core.assurance import Assurance
from broker.core.changing import replace
from broker.core.identity import Evidence
from broker.core.octets import from_base64url
from broker.core.policy import SecretRef, Strict, Uri
from broker.core.strict_json import StrictJson
from broker.errors import UpstreamDown, UpstreamRefused
from broker.upstream.claims import ClaimRules, evidence_from, merged
from broker.upstream.port import Begun, Channel, Done, Heard, Pending, Redirect, Reply, ReplyKind, UpstreamAsk
from broker.wire.http import Fetched, Fetcher
from broker.wire.oauth import authorization_url, read_callback

#: A login that takes longer than this at the provider starts again.
_ATTEMPT_LIFETIME: Final = timedelta(minutes=30)
#: How old a signed request may be. Meta does not say how long it tries; a repeated one ends nothing newer anyway.
_SIGNED_LIFETIME: Final = timedelta(hours=24)
_SKEW: Final = timedelta(seconds=60)
_LATEST: Final = 253402300799
"""9999-12-31, the last second a `datetime` can say."""
_JSON: Final = StrictJson()

_FIELDS: Final = ("id", "name", "first_name", "last_name", "email")
_RULES: Final = ClaimRules(
    claims={"name": "name", "first_name": "given_name", "last_name": "family_name", "email": "email"},
    ignored_claims=("id",),
)
_USER_ID: Final = re.compile(r"[0-9]{1,40}")
_TRACE: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MAX_TOKEN_CHARS: Final = 4096

#: Meta's own trouble, or too many calls of ours: other ways in work better for a while.
_ILL: Final = frozenset({1, 2, 4, 17, 32, 341, 613})
#: What only the operator can mend: app id or secret, redirect URI, a version that ended.
_OUR_FAULT: Final = frozenset({101, 191, 2500})

#: Each version lives two years or a little more.
_DEFAULT_VERSION: Final = "v25.0"
#: When versions end (Graph API changelog); newer ones have no announced end.
_ENDS: Final[Mapping[str, datetime]] = {
    "v21.0": datetime(2027, 1, 21, tzinfo=UTC),
    "v22.0": datetime(2027, 5, 20, tzinfo=UTC),
    "v23.0": datetime(2027, 10, 8, tzinfo=UTC),
    "v24.0": datetime(2028, 2, 18, tzinfo=UTC),
    "v25.0": datetime(2028, 7, 29, tzinfo=UTC),
}
_OLDEST: Final = 21
#: From then on every login says that the version should be changed.
_NOTICE: Final = timedelta(days=90)


def _app_id(value: str) -> str:
    if re.fullmatch(r"[0-9]{5,20}", value) is None:
        raise ValueError("must be the number Meta gave the app, 5 to 20 digits")
    return value


def _version(value: str) -> str:
    found = re.fullmatch(r"v([1-9][0-9])\.0", value)
    if found is None:
        raise ValueError(f"must be a version of the Graph API, such as {_DEFAULT_VERSION}")
    if int(found[1]) < _OLDEST:
        raise ValueError(f"{value} has ended; choose {_DEFAULT_VERSION}, which Meta serves until July 2028")
    return value


def _origin(value: str) -> str:
    if value.count("/") != 2 or "?" in value:
        raise ValueError("must be scheme and host only, such as https://graph.facebook.com")
    return value


def _scopes(value: tuple[str, ...]) -> tuple[str, ...]:
    if "public_profile" not in value:
        raise ValueError("must hold public_profile")
    return value


class MetaConfig(Strict):
    """
    The ``connect`` block of an upstream of kind ``meta``.

    ``scopes``: what is asked for; anything beyond these needs a review by Meta and is not offered. ``graph_version``: of
    dialog and Graph API. ``dialog_origin``, ``graph_origin``: where they are, to be changed for simulators only.
    """

    app_id: Annotated[str, AfterValidator(_app_id)]
    app_secret: SecretRef
    graph_version: Annotated[str, AfterValidator(_version)] = _DEFAULT_VERSION
    scopes: Annotated[tuple[Literal["public_profile", "email"], ...], AfterValidator(_scopes)] = (
        "public_profile",
        "email",
    )
    dialog_origin: Annotated[Uri, AfterValidator(_origin)] = "https://www.facebook.com"
    graph_origin: Annotated[Uri, AfterValidator(_origin)] = "https://graph.facebook.com"

    @property
    def issuer(self) -> str:
        """Under whom persons' numbers are unique: they belong to the app."""
        return f"https://www.facebook.com/{self.app_id}"


class _Attempt(msgspec.Struct, frozen=True):
    """What must be remembered between begin and resume."""

    state: str
    callback_url: str
    minimum: Assurance
    opened_at: datetime


class MetaConnector:
    """
    A provider of identity that speaks Facebook Login.

    Args:
        id: the upstream's id in the YAML.
        config: its ``connect`` block.
        secret: the app secret.
        fetcher: the way out.
    """

    reaches = Assurance.SELF_ASSERTED
    hears = frozenset({Channel.REMOVAL})

    def __init__(self, id: str, config: MetaConfig, *, secret: str, fetcher: Fetcher) -> None:
        self.id = id
        self._config = config
        self._secret = secret
        self._fetcher = fetcher
        self._graph = f"{config.graph_origin}/{config.graph_version}"

    async def begin(self, ask: UpstreamAsk) -> Begun:
        """
        Send the browser to Meta's dialog.

        Raises:
            UpstreamRefused: a fresh login was asked, and Meta proves none.
        """
        if ask.fresh or ask.max_age_s is not None:
            raise UpstreamRefused("the provider cannot prove a fresh login", code="upstream.cannot_reauthenticate")
        attempt = _Attempt(state=ask.state, callback_url=ask.callback_url, minimum=ask.minimum, opened_at=ask.now)
        config = self._config
        parameters = {
            "client_id": config.app_id,
            "redirect_uri": ask.callback_url,
            "state": ask.state,
            "response_type": "code",
            "scope": ",".join(config.scopes),
        }
        url = authorization_url(f"{config.dialog_origin}/{config.graph_version}/dialog/oauth", parameters)
        return Begun(Redirect(url), msgspec.json.encode(attempt))

    async def resume(self, state: bytes, reply: Reply) -> Done | Pending:
        """
        Take Meta's redirect and turn its code into evidence.

        Raises: as `broker.upstream.port.Connector.resume`.
        """
        attempt = _read_attempt(state)
        if reply.kind is not ReplyKind.CALLBACK:
            raise UpstreamRefused("the answer came another way than by the callback", code="callback.kind")
        if reply.now >= attempt.opened_at + _ATTEMPT_LIFETIME:
            raise UpstreamRefused("the login was opened too long ago", code="callback.late")
        code = read_callback(
            _plain_errors(reply.data),
            expected_state=attempt.state,
            expected_issuer=self._config.issuer,
            sends_issuer=False,
        )
        token = await self._redeem(code, attempt.callback_url)
        user_id = await self._user_of(token, reply.now)
        profile = await self._profile(token, user_id)
        return Done(self._evidence(profile, user_id, attempt, reply.now))

    async def heard(self, channel: Channel, unverified: str, now: datetime) -> Sequence[Heard]:
        """
        Who removed the app at Meta, as its server says.

        Raises: UpstreamRefused: not signed with our app's secret, too old, or without the person's number.
        """
        payload = verified_request(unverified, secret=self._secret)
        user_id, issued = payload.get("user_id"), payload.get("issued_at")
        if payload.get("app_id") not in (None, self._config.app_id):
            raise UpstreamRefused("the signed request is for another app", code="signed_request.app_id")
        if not isinstance(user_id, str) or not _USER_ID.fullmatch(user_id):
            raise UpstreamRefused("the signed request names nobody", code="signed_request.user_id")
        # security: bool is an int to Python, and a year beyond 9999 is none.
        if not isinstance(issued, int) or isinstance(issued, bool) or not 0 <= issued <= _LATEST:
            raise UpstreamRefused("the signed request tells no time", code="signed_request.issued_at")
        issued_at = datetime.fromtimestamp(issued, UTC)
        if not now - _SIGNED_LIFETIME < issued_at <= now + _SKEW:
            raise UpstreamRefused("the signed request is too old, or not of now", code="signed_request.issued_at")
        # It has no id of its own: person and second are what a repetition shares.
        jti = f"deauthorize {user_id} {issued}"
        return [Heard(self._config.issuer, user_id, None, jti, issued_at, issued_at + _SIGNED_LIFETIME)]

    async def close(self) -> None:
        """Nothing of its own to release: the fetcher is shared."""

    async def _redeem(self, code: str, callback_url: str) -> str:
        """The access token for *code*, by POST: the documented GET would put the app secret into an address."""
        form = {
            "client_id": self._config.app_id,
            "client_secret": self._secret,
            "redirect_uri": callback_url,
            "code": code,
        }
        fetched = await self._fetcher.post_form(f"{self._graph}/oauth/access_token", form, operation="token")
        token = _success(fetched, "token").get("access_token")
        if not isinstance(token, str) or not 1 <= len(token) <= _MAX_TOKEN_CHARS:
            raise UpstreamRefused("token answer has no usable access token", code="token.access_token")
        if not token.isascii() or not token.isprintable() or " " in token:
            raise UpstreamRefused("access token has characters it may not have", code="token.access_token")
        return token

    async def _user_of(self, token: str, now: datetime) -> str:
        """Whom Meta gave *token* about, if it is a live one for our app (token substitution)."""
        ours = f"{self._config.app_id}|{self._secret}"
        fetched = await self._ask("debug_token", {"input_token": token}, bearer=ours)
        found = _success(fetched, "debug_token").get("data")
        data: Mapping[str, Any] = found if isinstance(found, dict) else {}
        if data.get("is_valid") is not True:
            raise UpstreamRefused("Meta says the token is not valid", code="debug_token.is_valid")
        if data.get("app_id") != self._config.app_id:
            # security: a token another app got about the same person proves nothing to us.
            raise UpstreamRefused("the token is for another app", code="debug_token.app_id")
        if data.get("type") != "USER":
            raise UpstreamRefused("the token is not a person's", code="debug_token.type")
        expires = data.get("expires_at")
        # Zero is Meta's word for never.
        if not isinstance(expires, int) or isinstance(expires, bool) or (expires and expires <= now.timestamp()):
            raise UpstreamRefused("the token has expired", code="debug_token.expires_at")
        user_id = data.get("user_id")
        if not isinstance(user_id, str) or not _USER_ID.fullmatch(user_id):
            raise UpstreamRefused("the token is nobody's", code="debug_token.user_id")
        return user_id

    async def _profile(self, token: str, user_id: str) -> Mapping[str, Any]:
        fetched = await self._ask("me", {"fields": ",".join(_FIELDS)}, bearer=token)
        profile = _success(fetched, "me")
        if profile.get("id") != user_id:
            raise UpstreamRefused("the profile is somebody else's than the token", code="me.id")
        return profile

    async def _ask(self, path: str, parameters: Mapping[str, str], *, bearer: str) -> Fetched:
        """GET of the Graph API as the holder of *bearer*."""
        query = {**parameters, "appsecret_proof": appsecret_proof(bearer, secret=self._secret)}
        url = authorization_url(f"{self._graph}/{path}", query)
        return await self._fetcher.get_json(url, headers={"Authorization": f"Bearer {bearer}"}, operation=path)

    def _evidence(self, profile: Mapping[str, Any], user_id: str, attempt: _Attempt, now: datetime) -> Evidence:
        evidence = evidence_from(
            # Only what is known of the person: Meta says nothing believable of how and when she logged in.
            merged({"sub": user_id, "iat": int(now.timestamp())}, profile),
            _RULES,
            upstream=self.id,
            issuer=self._config.issuer,
            minimum=attempt.minimum,
            now=now,
        )
        ends = _ENDS.get(self._config.graph_version)
        if ends is None or now < ends - _NOTICE:
            return evidence
        return replace(evidence, signals=(*evidence.signals, "meta.graph_version_ends"))


def appsecret_proof(token: str, *, secret: str) -> str:
    """Shows that whoever uses *token* knows the app's *secret*: HMAC-SHA256, lower-case hex."""
    return hmac.new(secret.encode(), token.encode(), sha256).hexdigest()


def verified_request(unverified: str, *, secret: str) -> Mapping[str, Any]:
    """
    The payload of a ``signed_request``: base64url of HMAC-SHA256 over the second part as it came, a dot, and base64url
    of JSON.

    Raises: UpstreamRefused: misshapen, another algorithm, or not signed with *secret*.
    """
    signature, _, encoded = unverified.partition(".")
    expected = hmac.new(secret.encode(), encoded.encode("utf-8", "replace"), sha256).digest()
    # security: the signature is looked at before anything in it is, and in constant time.
    if not hmac.compare_digest(_bytes_of(signature), expected):
        raise UpstreamRefused("the signed request is not signed with our secret", code="signed_request.signature")
    try:
        payload = _JSON.read(_bytes_of(encoded))
    except ValueError:
        payload = None
    if not isinstance(payload, dict):
        raise UpstreamRefused("the signed request holds no JSON object", code="signed_request.json")
    if str(payload.get("algorithm", "")).upper() != "HMAC-SHA256":
        raise UpstreamRefused("the signed request names another algorithm", code="signed_request.algorithm")
    return payload


def _bytes_of(text: str) -> bytes:
    """What base64url *text* without padding stands for; empty when it is none."""
    try:
        return from_base64url(text)
    except ValueError:
        return b""


def _plain_errors(data: Mapping[str, str]) -> Mapping[str, str]:
    """Meta sometimes refuses with ``error_code`` alone; 200 is the customer's no."""
    if "error" in data or "error_code" not in data:
        return data
    return {**data, "error": "access_denied" if data["error_code"] == "200" else "error_code"}


def _success(fetched: Fetched, where: str) -> Mapping[str, Any]:
    """
    The JSON of an answer that is none of an error; *where* it came from.

    Raises: UpstreamDown: Meta is ill, throttles us, or refuses our app. UpstreamRefused: any other error.
    """
    error = fetched.json.get("error")
    if fetched.status == 200 and error is None:
        return fetched.json
    told: Mapping[str, Any] = error if isinstance(error, dict) else {}
    code, subcode, trace = (told.get(name) for name in ("code", "error_subcode", "fbtrace_id"))
    facts: dict[str, Any] = {
        "meta_code": code if isinstance(code, int) else None,
        "meta_subcode": subcode if isinstance(subcode, int) else None,
        "fbtrace_id": trace if isinstance(trace, str) and _TRACE.fullmatch(trace) else None,
    }
    # Never their message: it may quote what was sent.
    if facts["meta_code"] in _ILL:
        raise UpstreamDown(f"{where}: Meta fails or throttles", code=f"{where}.unavailable", **facts)
    if facts["meta_code"] in _OUR_FAULT:
        raise UpstreamDown(f"{where}: Meta refuses our app: see its settings", code=f"{where}.app", **facts)
    raise UpstreamRefused(f"{where}: Meta answers {fetched.status}", code=f"{where}.refused", **facts)


def _read_attempt(state: bytes) -> _Attempt:
    try:
        return msgspec.json.decode(state, type=_Attempt)
    except msgspec.MsgspecError as error:
        raise UpstreamRefused("the journey remembers no login of this kind", code="callback.state") from error
