"""
The relying party's side: ``POST /rp/v6.0/{auth,sign,phone/auth,collect,cancel}``, as strict as the real one.

TLS with a client certificate is the server's part (`tls_options`); everything above it is here.
"""

from typing import Any

from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from broker.demo.providers.bankid.control import Control, Fault
from broker.demo.providers.bankid.orders import ApiRefusal, OrderBook, ScriptedRefusal
from broker.demo.providers.bankid.requests import AuthRequest, OrderReference, PhoneAuthRequest, SignRequest

PREFIX = "/rp/v6.0/"
_BODIES: dict[str, type[BaseModel]] = {
    "auth": AuthRequest,
    "sign": SignRequest,
    "phone/auth": PhoneAuthRequest,
    "collect": OrderReference,
    "cancel": OrderReference,
}
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def make_rp_api(orders: OrderBook, control: Control) -> Starlette:
    """The ASGI app."""

    async def handle(request: Request) -> Response:
        try:
            endpoint = _endpoint(request)
            if (fault := control.next_fault(endpoint)) is not None:
                return await _misbehave(fault, request)
            _check_content_type(request)
            body = _parse(endpoint, await request.body())
            return JSONResponse(_act(orders, endpoint, body))
        except ScriptedRefusal as scripted:
            return await _misbehave(scripted.fault, request)
        except ApiRefusal as refusal:
            return JSONResponse(
                {"errorCode": refusal.error_code, "details": refusal.details}, status_code=refusal.status
            )

    return Starlette(routes=[Route("/{path:path}", handle, methods=_METHODS)], max_body_size=512 * 1024)


def _endpoint(request: Request) -> str:
    endpoint = request.url.path.removeprefix(PREFIX)
    if not request.url.path.startswith(PREFIX) or endpoint not in _BODIES:
        raise ApiRefusal(404, "notFound", "No such resource")
    if request.method != "POST":
        raise ApiRefusal(405, "methodNotAllowed", "Only POST is allowed")
    return endpoint


def _check_content_type(request: Request) -> None:
    if request.headers.getlist("content-type") != ["application/json"]:
        raise ApiRefusal(415, "unsupportedMediaType", "Content-Type must be exactly application/json")


def _parse(endpoint: str, raw: bytes) -> BaseModel:
    try:
        return _BODIES[endpoint].model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "body"
        raise ApiRefusal(400, "invalidParameters", f"Incorrect {where}") from error


def _act(orders: OrderBook, endpoint: str, body: BaseModel) -> dict[str, Any]:
    match endpoint, body:
        case "auth", AuthRequest():
            return dict(orders.create("Identification", body).tokens())
        case "sign", SignRequest():
            return dict(orders.create("Signing", body).tokens())
        case "phone/auth", PhoneAuthRequest():
            return {"orderRef": orders.create("Identification", body).order_ref}
        case "collect", OrderReference():
            return orders.collect(body.order_ref)
        case "cancel", OrderReference():
            orders.cancel(body.order_ref)
            return {}
    raise ApiRefusal(500, "internalError", "Unroutable request")


async def _misbehave(fault: Fault, request: Request) -> Response:
    if fault.silent:
        while (await request.receive())["type"] != "http.disconnect":
            pass
    headers = {"content-type": "application/json"} | dict(fault.headers)
    return Response(fault.body, status_code=fault.status, headers=headers)
