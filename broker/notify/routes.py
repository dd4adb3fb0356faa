"""
Where gateways report what became of text messages. A report changes a figure and nothing else, so one that is repeated, late
or out of order does no harm.
"""

from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from broker.notify.gateway import Gateway
from broker.observe.logging import log

PATH: Final = "/notify/sms/{gateway}/report"
_MAX_BODY: Final = 16 * 1024
_MAX_FIELDS: Final = 50


def report_path(gateway: str) -> str:
    """Where *gateway* (a name of the config) reports to, without a key."""
    return PATH.format(gateway=gateway)


class Reports:
    """``gateways``: by name, those that are asked to report."""

    def __init__(self, gateways: Mapping[str, Gateway]) -> None:
        self._gateways = dict(gateways)

    def routes(self) -> list[Route]:
        """None when nobody reports."""
        if not self._gateways:
            return []
        return [Route(path, self._take, methods=["POST"]) for path in (PATH, f"{PATH}/{{key}}")]

    async def _take(self, request: Request) -> Response:
        name = request.path_params["gateway"]
        gateway = self._gateways.get(name)
        form = await _form(request)
        if gateway is None or form is None:
            return Response(status_code=404 if gateway is None else 400)
        key, signature = request.path_params.get("key", ""), request.headers.get("x-twilio-signature", "")
        delivery = gateway.reported(form, key=key, signature=signature)
        if delivery is None:
            log("message.report_refused", "warning", by=name)
            return Response(status_code=403)
        log("message.reported", by=name, outcome=delivery.value)
        return Response(status_code=204)


async def _form(request: Request) -> Mapping[str, str] | None:
    """The fields, each once; None for what is no form of theirs."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_BODY:
            return None
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS)
    except ValueError:
        return None
    form = dict(pairs)
    return form if len(form) == len(pairs) else None
