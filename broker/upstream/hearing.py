"""
Where providers' servers tell us by themselves that something is over there: a session, a person's consent to our access, or
the trust in an account. One shape for all: who says it is believed by the connector, what follows is done by a flow.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from broker.errors import BadAsk, StafettError, UpstreamDown, UpstreamRefused
from broker.flows.context import Clock
from broker.flows.logout import Logouts, UpstreamOver
from broker.observe.logging import log
from broker.upstream.port import Channel, Connector, Listener
from broker.web import params

_NO_STORE: Final = {"Cache-Control": "no-store"}

#: What RFC 8935 section 2.4 calls a failed check, by the last word of our code for it; anything else is `invalid_request`.
_EVENT_ERRORS: Final[Mapping[str, str]] = {
    "key": "invalid_key",
    "signature": "invalid_key",
    "iss": "invalid_issuer",
    "aud": "invalid_audience",
}
_DESCRIPTIONS: Final[Mapping[str, str]] = {
    "invalid_key": "The token is not signed with a key its issuer publishes.",
    "invalid_issuer": "The token is of another issuer than the one expected here.",
    "invalid_audience": "The token is for another recipient.",
    "invalid_request": "This is no security event token that is taken here.",
}


class _Manners(Struct, frozen=True):
    """How a channel is spoken: ``read`` finds the message, ``done`` and ``refused`` answer; ``event``: in our log."""

    event: str
    read: Callable[[Request], Awaitable[str]]
    done: Callable[[], Response]
    refused: Callable[[StafettError], Response]


def _member(name: str) -> Callable[[Request], Awaitable[str]]:
    async def read(request: Request) -> str:
        return (await params.form(request)).get(name, "")

    return read


async def _body(request: Request) -> str:
    """The token is the whole body. Its signature decides, so its media type need not."""
    try:
        return (await request.body()).decode("ascii").strip()
    except UnicodeDecodeError as error:
        raise BadAsk("not ASCII", code="secevent.shape") from error


def _plain(status: int, error: str | None) -> Response:
    return JSONResponse({"error": error} if error else {}, status, headers=_NO_STORE)


def _event_refused(error: StafettError) -> Response:
    err = _EVENT_ERRORS.get(error.code.rpartition(".")[2], "invalid_request")
    body = {"err": err, "description": _DESCRIPTIONS[err]}
    return JSONResponse(body, 400, headers={**_NO_STORE, "Content-Language": "en"})


def _as_form(event: str, member: str) -> _Manners:
    return _Manners(event, _member(member), lambda: _plain(200, None), lambda _: _plain(400, "invalid_request"))


_MANNERS: Final[Mapping[Channel, _Manners]] = {
    Channel.LOGOUT: _as_form("upstream.logged_out", "logout_token"),
    Channel.REMOVAL: _as_form("upstream.deauthorized", "signed_request"),
    Channel.EVENTS: _Manners(
        "upstream.event", _body, lambda: Response(status_code=202, headers=_NO_STORE), _event_refused
    ),
}


class UpstreamHearing:
    """One per process."""

    def __init__(self, logouts: Logouts, connectors: Mapping[str, Connector], clock: Clock) -> None:
        self._logouts = logouts
        self._connectors = connectors
        self._clock = clock

    async def told(self, request: Request) -> Response:
        """
        ``/up/{upstream}/{channel}``: 200 or 202 when it was done, 400 for anything that is not believed, 503 to try again.

        Spec: Back-Channel Logout 1.0 section 2.8; RFC 8935 sections 2.2 to 2.4.
        """
        upstream = request.path_params["upstream"]
        channel = Channel(request.url.path.rpartition("/")[2])
        manners, connector = _MANNERS[channel], self._connectors.get(upstream)
        try:
            if not isinstance(connector, Listener) or channel not in connector.hears:
                raise BadAsk("this provider tells nothing by this way", code="upstream.hears_not")
            said = await connector.heard(channel, await manners.read(request), self._clock())
        except (BadAsk, UpstreamRefused, UpstreamDown) as error:
            # What stands in the address may be anybody's: only a name of the config is written down.
            known = upstream if connector is not None else None
            log("upstream.logout_refused", "warning", upstream=known, code=error.code, detail=error.detail)
            is_down = isinstance(error, UpstreamDown)
            return _plain(503, "temporarily_unavailable") if is_down else manners.refused(error)
        for each in said:
            over = UpstreamOver(
                issuer=each.issuer,
                subject=each.subject,
                sid=each.sid,
                jti=each.jti,
                issued_at=each.issued_at,
                expires_at=each.expires_at,
                change=each.change,
                covers_until=each.covers_until,
            )
            ended = await self._logouts.end_of_upstream(upstream, over)
            facts = {name: value for name, value in (("what", each.what), ("about", each.about)) if value is not None}
            log(manners.event, upstream=upstream, sessions=ended, **facts)
        return manners.done()

    def routes(self) -> list[Route]:
        """POST only."""
        return [Route(f"/up/{{upstream}}/{channel.value}", self.told, methods=["POST"]) for channel in Channel]
