"""
Swedish BankID's relying party API v6: the only place that speaks HTTP with it.

Every call is a POST of JSON over mutual TLS, with BankID's own root pinned. Answers come back as checked
frozen values; a refusal with an error body is raised as `RpError`, everything that is no proper answer as
`UpstreamDown`. Personal data appears in no error text.
"""

import asyncio
import ssl
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import aiohttp
import msgspec
from cryptography import x509
from cryptography.x509.oid import NameOID
from msgspec import Struct

from broker.errors import UpstreamDown, UpstreamRefused
from broker.observe.telemetry import Call, Watch, unwatched

_MAX_BYTES: Final = 1024 * 1024
_MAX_RETRY_S: Final = 60
_DEFAULT_RETRY_S: Final = 5

_Short = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
_Body = TypeVar("_Body")


class RpErrorCode(StrEnum):
    """The error codes of the API; `UNKNOWN` stands for every other word."""

    ALREADY_IN_PROGRESS = "alreadyInProgress"
    INVALID_PARAMETERS = "invalidParameters"
    CANCELLED = "cancelled"
    UNAUTHORIZED = "unauthorized"
    NOT_FOUND = "notFound"
    METHOD_NOT_ALLOWED = "methodNotAllowed"
    UNSUPPORTED_MEDIA_TYPE = "unsupportedMediaType"
    REQUEST_TIMEOUT = "requestTimeout"
    TOO_MANY_REQUESTS = "tooManyRequests"
    INTERNAL_ERROR = "internalError"
    MAINTENANCE = "maintenance"
    UNKNOWN = "unknown"


#: Used when an error answer carries no word we know. 400 is missing on purpose: it may mean anything.
_BY_STATUS: Final[Mapping[int, RpErrorCode]] = {
    401: RpErrorCode.UNAUTHORIZED,
    403: RpErrorCode.UNAUTHORIZED,
    404: RpErrorCode.NOT_FOUND,
    405: RpErrorCode.METHOD_NOT_ALLOWED,
    408: RpErrorCode.REQUEST_TIMEOUT,
    415: RpErrorCode.UNSUPPORTED_MEDIA_TYPE,
    429: RpErrorCode.TOO_MANY_REQUESTS,
    500: RpErrorCode.INTERNAL_ERROR,
    503: RpErrorCode.MAINTENANCE,
}


class RpError(Exception):
    """
    The API answered with an error.

    ``status``: HTTP. ``retry_after_s``: seconds the API asked us to wait, at most a minute; 0 when it did
    not.
    """

    def __init__(self, endpoint: str, status: int, code: RpErrorCode, retry_after_s: int = 0) -> None:
        super().__init__(f"{endpoint}: {status} {code}")
        self.endpoint = endpoint
        self.status = status
        self.code = code
        self.retry_after_s = retry_after_s


class OrderTokens(Struct, frozen=True):
    """A running order. ``order_ref`` and ``qr_start_secret`` never leave the server."""

    order_ref: str
    auto_start_token: str
    qr_start_token: str
    qr_start_secret: str


class Completion(Struct, frozen=True):
    """
    What a completed order proves, as BankID said it.

    ``device_ip``: address of the phone or computer with the app. ``risk``: lower case, None when absent.
    ``signature``: base64 of an XML signature; ``ocsp_response``: base64 of DER. Both contain the personal
    number.
    """

    personal_number: str
    name: str
    given_name: str
    surname: str
    signature: str
    ocsp_response: str
    device_ip: str | None = None
    risk: str | None = None


class Collected(Struct, frozen=True):
    """
    One look at an order: exactly one of the members is set.

    ``pending`` and ``failed`` are hint codes as sent; an unknown word is passed on.
    """

    pending: str | None = None
    failed: str | None = None
    complete: Completion | None = None


class _Wire(msgspec.Struct, frozen=True, rename="camel"):
    """Base of the answers: unknown members are ignored, since BankID adds members without a new version."""


class _Tokens(_Wire, frozen=True):
    order_ref: _Short
    auto_start_token: _Short
    qr_start_token: _Short
    qr_start_secret: _Short


class _Reference(_Wire, frozen=True):
    order_ref: _Short


class _User(_Wire, frozen=True):
    personal_number: _Short
    name: _Short
    given_name: _Short
    surname: _Short


class _Device(_Wire, frozen=True):
    ip_address: str | None = None


class _CompletionData(_Wire, frozen=True):
    user: _User
    signature: Annotated[str, msgspec.Meta(min_length=1)]
    ocsp_response: Annotated[str, msgspec.Meta(min_length=1)]
    device: _Device | None = None
    risk: str | None = None


class _Collect(_Wire, frozen=True):
    order_ref: _Short
    status: str
    hint_code: str | None = None
    completion_data: _CompletionData | None = None


class _Error(_Wire, frozen=True):
    error_code: str = ""


def client_tls(*, certificate: Path, key: Path, ca: Path, passphrase: str | None = None) -> ssl.SSLContext:
    """
    TLS for calling BankID: TLS 1.2 or later, our certificate, and *ca* as the only root that counts.

    Args: PEM files; *passphrase* of the key, if it has one.
    Raises:
        OSError, ssl.SSLError: a file is missing, is no PEM, or key and certificate do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cafile=ca)
    # A key that turns out to be encrypted must fail, not ask at the terminal.
    context.load_cert_chain(certificate, key, password=passphrase or "")
    return context


def is_public_test_certificate(pem: bytes) -> bool:
    """True for the certificate BankID publishes for its test environment: its issuer says so."""
    issuer = x509.load_pem_x509_certificate(pem).issuer
    names = (str(attribute.value) for attribute in issuer.get_attributes_for_oid(NameOID.COMMON_NAME))
    return any("for bankid test" in name.casefold() for name in names)


class BankIdApi:
    """
    The API; one per process, with one connection pool.

    Args:
        url: base address, ending with a slash.
        tls: from `client_tls`.
        timeout_s: for one whole call.
        watch: goes around every call; operations are the endpoints' names.
    """

    def __init__(self, url: str, tls: ssl.SSLContext, *, timeout_s: float = 5.0, watch: Watch = unwatched) -> None:
        self._url = url
        self._tls = tls
        self._timeout_s = timeout_s
        self._watch = watch
        self._session: aiohttp.ClientSession | None = None

    async def auth(self, request: Mapping[str, Any]) -> OrderTokens:
        """
        Open an identification order; *request* holds the members of the API.

        Raises:
            RpError: the API refused. UpstreamDown: no proper answer.
        """
        tokens = _decode("auth", await self._post("auth", request), _Tokens)
        return OrderTokens(
            order_ref=tokens.order_ref,
            auto_start_token=tokens.auto_start_token,
            qr_start_token=tokens.qr_start_token,
            qr_start_secret=tokens.qr_start_secret,
        )

    async def phone_auth(self, request: Mapping[str, Any]) -> str:
        """
        Open an identification order for somebody who is on the phone; it shows in the app by itself.

        Returns: the order's reference.
        Raises: as `auth`.
        """
        return _decode("phone/auth", await self._post("phone/auth", request), _Reference).order_ref

    async def collect(self, order_ref: str) -> Collected:
        """
        Look at an order. A final answer is given once: keep it before anything else is done.

        Raises:
            RpError: the API refused. UpstreamDown: no proper answer. UpstreamRefused: an answer about another
                order.
        """
        answer = _decode("collect", await self._post("collect", {"orderRef": order_ref}), _Collect)
        if answer.order_ref != order_ref:
            # security: taking it would log somebody else in
            raise UpstreamRefused("collect answered about another order", code="bankid.wrong_order")
        return _collected(answer)

    async def cancel(self, order_ref: str) -> None:
        """
        Withdraw an order. Raises RpError (``invalidParameters`` when it is already over) and UpstreamDown.
        """
        await self._post("cancel", {"orderRef": order_ref})

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _post(self, endpoint: str, body: Mapping[str, Any]) -> bytes:
        with self._watch(endpoint) as call:
            return await self._bounded(endpoint, body, call)

    async def _bounded(self, endpoint: str, body: Mapping[str, Any], call: Call) -> bytes:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._exchange(endpoint, msgspec.json.encode(body), call)
        except TimeoutError as error:
            detail = f"{endpoint}: no complete answer in {self._timeout_s} s"
            raise UpstreamDown(detail, code="bankid.slow") from error
        except (aiohttp.ClientError, OSError) as error:
            detail = f"{endpoint}: {type(error).__name__}"
            raise UpstreamDown(detail, code="bankid.unreachable") from error

    async def _exchange(self, endpoint: str, body: bytes, call: Call) -> bytes:
        # The header must be exactly this: BankID answers 415 to a charset.
        headers = {"Content-Type": "application/json", **call.headers}
        async with self._pool().post(
            self._url + endpoint, data=body, headers=headers, allow_redirects=False
        ) as response:
            call.answered(response.status)
            answer = await response.content.read(_MAX_BYTES + 1)
            while len(answer) <= _MAX_BYTES and (more := await response.content.read(_MAX_BYTES)):
                answer += more
            if len(answer) > _MAX_BYTES:
                response.close()
                raise UpstreamDown(f"{endpoint}: answer too large", code="bankid.malformed")
            if response.status != 200:
                raise _refusal(endpoint, response.status, response.headers, answer)
            return answer

    def _pool(self) -> aiohttp.ClientSession:
        """Made on first use, since aiohttp wants the running loop."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=self._tls),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),
                trust_env=False,
                auto_decompress=False,
                headers={
                    "User-Agent": "stafett",
                    "Accept": "application/json",
                    "Accept-Encoding": "identity",
                },
            )
        return self._session


def _collected(answer: _Collect) -> Collected:
    match answer.status:
        case "pending":
            return Collected(pending=answer.hint_code or "")
        case "failed":
            return Collected(failed=answer.hint_code or "")
        case "complete" if answer.completion_data is not None:
            return Collected(complete=_completion(answer.completion_data))
    raise UpstreamDown("collect: neither pending, failed nor complete", code="bankid.malformed")


def _completion(data: _CompletionData) -> Completion:
    return Completion(
        personal_number=data.user.personal_number,
        name=data.user.name,
        given_name=data.user.given_name,
        surname=data.user.surname,
        signature=data.signature,
        ocsp_response=data.ocsp_response,
        device_ip=data.device.ip_address if data.device else None,
        risk=data.risk.lower() if data.risk else None,
    )


def _decode(endpoint: str, raw: bytes, shape: type[_Body]) -> _Body:
    try:
        return msgspec.json.decode(raw, type=shape)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        # The cause is dropped: a decoder may quote what it read.
        raise UpstreamDown(f"{endpoint}: not the answer of this API", code="bankid.malformed") from None


def _refusal(endpoint: str, status: int, headers: Mapping[str, str], raw: bytes) -> RpError:
    try:
        word = msgspec.json.decode(raw, type=_Error).error_code
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        word = ""
    code = _error_code(word) or _BY_STATUS.get(status, RpErrorCode.UNKNOWN)
    return RpError(endpoint, status, code, _retry_after(headers) if status == 429 else 0)


def _error_code(word: str) -> RpErrorCode | None:
    if word == "canceled":  # both spellings occur
        return RpErrorCode.CANCELLED
    known = next((code for code in RpErrorCode if code == word), None)
    return None if known is RpErrorCode.UNKNOWN else known


def _retry_after(headers: Mapping[str, str]) -> int:
    value = headers.get("RateLimit-Reset", "")
    if not value.isascii() or not value.isdigit() or len(value) > 6:
        return _DEFAULT_RETRY_S
    return min(max(int(value), 1), _MAX_RETRY_S)
