"""
Gateways for text messages that behave like 46elks and Twilio, and one that takes JSON or a form as many others do; and the phone
that gets the messages, as a page. For tests and the demo.

What they copy: addresses, basic authentication, form fields and their rules, answers and errors in the real ones' words, costs,
reports of delivery, signed as Twilio does (46elks.com/docs/send-sms, twilio.com/docs/messaging/api/message-resource). What they
add: a field they do not know is an error, and switches that make them refuse, fail, fall silent or report twice.
"""

import asyncio
import base64
import hmac
import re
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime
from enum import StrEnum
from hashlib import sha1
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import aiohttp
from jinja2 import Environment, StrictUndefined
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from broker.demo.providers.shown_text import PAGE_HEADERS, STYLE, code_in, linked, links_in

_KEPT: Final = 500
_E164: Final = re.compile(r"\+[1-9][0-9]{7,14}")
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9 ]{0,10}")
_GSM: Final = re.compile(r"[A-Za-z0-9 \r\n@£$¥èéùìòÇØøÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ!\"#¤%&'()*+,\-./:;<=>?¡ÄÖÑÜ§¿äöñüà]*")
_FORM: Final = "application/x-www-form-urlencoded"
_ELKS_FIELDS: Final = {"from", "to", "message", "whendelivered", "dryrun", "flashsms", "dontlog"}
_TWILIO_FIELDS: Final = {"To", "From", "MessagingServiceSid", "Body", "StatusCallback"}

_PAGES: Final = Environment(autoescape=True, undefined=StrictUndefined)
_PAGES.globals["style"] = STYLE
_PHONE: Final = _PAGES.from_string(
    """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Text messages of the demo</title>
<meta name="viewport" content="width=device-width"><meta http-equiv="refresh" content="4">{{ style }}</head><body>
<h1>Text messages of the demo</h1><p><small>Whatever is texted ends on this phone, whoever it is for.</small></p>
{% for each in texts %}<article id="message-{{ each.sms.id }}" data-to="{{ each.sms.to }}" data-code="{{ each.code }}">
<small>{{ each.sms.sender }} to {{ each.sms.to }}, {{ each.sms.at.strftime("%H:%M:%S") }} UTC</small>
<pre id="text-{{ each.sms.id }}">{{ each.text }}</pre></article>
{% else %}<p id="empty">No messages yet.</p>{% endfor %}</body></html>
"""
)


class Fault(StrEnum):
    """A refusal or a failure that can be switched on; it is every gateway's."""

    SLOW = "slow"
    BROKEN = "broken"
    UNAVAILABLE = "unavailable"
    THROTTLED = "throttled"
    NO_CREDIT = "no_credit"
    BAD_NUMBER = "bad_number"
    OPTED_OUT = "opted_out"
    NOT_JSON = "not_json"
    NO_ID = "no_id"
    REPORTS_TWICE = "reports_twice"
    REPORTS_FAILURE = "reports_failure"
    REPORTS_UNSIGNED = "reports_unsigned"


@dataclass(frozen=True, slots=True)
class Text:
    """A message that was taken. ``by``: ``46elks``, ``twilio`` or ``http``. ``report_to``: where its fate is told."""

    id: int
    at: datetime
    by: str
    gateway_id: str
    sender: str
    to: str
    text: str
    ref: str = ""
    report_to: str | None = None

    def told(self) -> dict[str, Any]:
        """As JSON tells it."""
        return {
            "id": self.id,
            "at": self.at.isoformat(),
            "by": self.by,
            "from": self.sender,
            "to": self.to,
            "text": self.text,
            "ref": self.ref,
            "links": links_in(self.text),
            "code": code_in(self.text),
        }


class _Refused(Exception):
    """Told as `answer`."""

    def __init__(self, answer: Response) -> None:
        super().__init__()
        self.answer = answer


Post = Callable[[str, Mapping[str, str], Mapping[str, str]], Awaitable[int]]
"""Posts a form (address, fields, headers) and tells the status."""


async def _post(address: str, form: Mapping[str, str], headers: Mapping[str, str]) -> int:
    async with (
        aiohttp.ClientSession() as session,
        session.post(address, data=dict(form), headers=dict(headers), allow_redirects=False) as answer,
    ):
        return answer.status


@dataclass
class SmsGateways:
    """
    State and rules of the simulated gateways; the routes below are thin.

    ``elks``: API user -> password. ``twilio``: account SID -> token. ``bearer``: what the third one wants to hear. ``post``: how
    reports leave. ``texts``: newest last. ``calls``: how often each gateway was asked. ``reported``: statuses reports got.
    """

    clock: Callable[[], datetime]
    elks: Mapping[str, str] = field(default_factory=dict)
    twilio: Mapping[str, str] = field(default_factory=dict)
    bearer: str = ""
    post: Post = _post
    slow_s: float = 20.0
    faults: frozenset[Fault] = frozenset()
    texts: list[Text] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    reported: list[int] = field(default_factory=list)
    _taken: int = 0
    _hurry: asyncio.Event = field(default_factory=asyncio.Event)

    def switch(self, *faults: Fault) -> None:
        """Fail as *faults* say from now on; answers held back by an earlier fault are let go."""
        self.faults = frozenset(faults)
        self._hurry.set()
        self._hurry = asyncio.Event()

    async def maybe_fail(self, by: str) -> None:
        """
        What goes wrong before anybody looks at the message.

        Raises: _Refused.
        """
        self.calls[by] += 1
        if Fault.SLOW in self.faults:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), self.slow_s)
        if Fault.BROKEN in self.faults:
            raise _Refused(PlainTextResponse("Internal Server Error", 500))
        if Fault.UNAVAILABLE in self.faults:
            raise _Refused(PlainTextResponse("Service Unavailable", 503))

    def take(self, by: str, gateway_id: str, sender: str, to: str, text: str, **more: Any) -> Text:
        """Keep a message that was looked at."""
        self._taken += 1
        taken = Text(self._taken, self.clock(), by, gateway_id, sender, to, text, **more)
        self.texts = [*self.texts, taken][-_KEPT:]
        return taken

    # 46elks

    def elks_send(self, form: Mapping[str, str]) -> tuple[Text, dict[str, Any]]:
        """A message and what is answered. Raises: _Refused: errors are sentences."""
        for name in ("from", "to", "message"):
            if not form.get(name):
                raise _Refused(PlainTextResponse(f"Missing key {name}", 400))
        if unknown := set(form) - _ELKS_FIELDS:
            raise _Refused(PlainTextResponse(f"Unknown key {sorted(unknown)[0]}", 400))
        if not (_E164.fullmatch(form["from"]) or _NAME.fullmatch(form["from"])):
            raise _Refused(PlainTextResponse("Invalid from: a number or at most 11 characters", 400))
        if not _E164.fullmatch(form["to"]) or Fault.BAD_NUMBER in self.faults or Fault.OPTED_OUT in self.faults:
            raise _Refused(PlainTextResponse("Invalid to number", 400))
        if form.get("dontlog", "message") != "message":
            raise _Refused(PlainTextResponse("Invalid dontlog", 400))
        report_to = _callback(form.get("whendelivered"))
        if Fault.NO_CREDIT in self.faults:
            raise _Refused(PlainTextResponse("Not enough credits", 403))
        taken = self.take(
            "46elks", f"s{secrets.token_hex(16)}", form["from"], form["to"], form["message"], report_to=report_to
        )
        parts = _parts(taken.text)
        told = {
            "id": taken.gateway_id,
            "status": "created",
            "created": taken.at.strftime("%Y-%m-%dT%H:%M:%S.%f"),
            "direction": "outgoing",
            "from": taken.sender,
            "to": taken.to,
            "parts": parts,
            "cost": 3500 * parts,
        }
        return taken, told if "dontlog" in form else {**told, "message": taken.text}

    # Twilio

    def twilio_send(self, account_sid: str, form: Mapping[str, str]) -> tuple[Text, dict[str, Any]]:
        """A message and what is answered. Raises: _Refused."""
        if unknown := set(form) - _TWILIO_FIELDS:
            raise _Refused(_twilio_error(20001, f"Unknown parameter {sorted(unknown)[0]}"))
        if not form.get("To"):
            raise _Refused(_twilio_error(21604, "A 'To' phone number is required."))
        sender = form.get("From") or form.get("MessagingServiceSid")
        if not sender:
            raise _Refused(_twilio_error(21603, "A 'From' phone number is required."))
        if not form.get("Body"):
            raise _Refused(_twilio_error(21602, "Message body is required."))
        if len(form["Body"]) > 1600:
            raise _Refused(_twilio_error(21617, "The concatenated message body exceeds the 1600 character limit."))
        if not _E164.fullmatch(form["To"]) or Fault.BAD_NUMBER in self.faults:
            raise _Refused(_twilio_error(21211, "The 'To' number is not a valid phone number."))
        if "From" in form and not (_E164.fullmatch(sender) or _NAME.fullmatch(sender)):
            raise _Refused(_twilio_error(21212, "The 'From' number is not a valid phone number or sender ID."))
        if Fault.OPTED_OUT in self.faults:
            raise _Refused(_twilio_error(21610, "Attempt to send to unsubscribed recipient"))
        if Fault.NO_CREDIT in self.faults:
            raise _Refused(_twilio_error(20005, "Account is not active", 403))
        report_to = _callback(form.get("StatusCallback"))
        taken = self.take("twilio", f"SM{secrets.token_hex(16)}", sender, form["To"], form["Body"], report_to=report_to)
        return taken, {
            "sid": taken.gateway_id,
            "account_sid": account_sid,
            "status": "queued",
            "direction": "outbound-api",
            "to": taken.to,
            "from": form.get("From"),
            "messaging_service_sid": form.get("MessagingServiceSid"),
            "body": taken.text,
            "num_segments": str(_parts(taken.text)),
            "price": None,
            "price_unit": "USD",
            "error_code": None,
            "error_message": None,
            "date_created": format_datetime(taken.at),
        }

    # Another one

    def other_send(self, fields: Mapping[str, Any]) -> tuple[Text, dict[str, Any]]:
        """A message (``to``, ``text``, ``from``, ``ref``, ``callback``) and what is answered. Raises: _Refused."""
        unfit = [
            name for name in ("to", "text", "from") if not isinstance(fields.get(name), str) or not fields[name].strip()
        ]
        if unfit or set(fields) - {"to", "text", "from", "ref", "callback"}:
            raise _Refused(JSONResponse({"error": {"code": "invalid", "fields": unfit}}, 422))
        if not re.fullmatch(r"\+?[1-9][0-9]{7,14}", fields["to"]) or Fault.BAD_NUMBER in self.faults:
            raise _Refused(JSONResponse({"error": {"code": "recipient"}}, 422))
        if Fault.NO_CREDIT in self.faults:
            raise _Refused(JSONResponse({"error": {"code": "credit"}}, 402))
        more = {"ref": str(fields.get("ref", "")), "report_to": _callback(fields.get("callback"))}
        to = f"+{fields['to'].removeprefix('+')}"
        taken = self.take("http", secrets.token_hex(8), fields["from"], to, fields["text"], **more)
        return taken, {"messages": [{"id": taken.gateway_id, "status": "accepted"}]}

    # Reports

    async def report(self, text: Text) -> None:
        """Tell what became of *text*, where its sender wants to hear it; twice under `Fault.REPORTS_TWICE`."""
        if text.report_to is None:
            return
        for _ in range(2 if Fault.REPORTS_TWICE in self.faults else 1):
            form = self._report_form(text)
            self.reported.append(await self.post(text.report_to, form, self._report_headers(text, form)))

    def _report_form(self, text: Text) -> dict[str, str]:
        status = "failed" if Fault.REPORTS_FAILURE in self.faults else "delivered"
        match text.by:
            case "46elks":
                return {"id": text.gateway_id, "status": status, "delivered": self.clock().isoformat()}
            case "twilio":
                sid = next(iter(self.twilio))
                return {
                    "MessageSid": text.gateway_id,
                    "MessageStatus": "undelivered" if status == "failed" else status,
                    "AccountSid": sid,
                    "To": text.to,
                    "From": text.sender,
                    "ApiVersion": "2010-04-01",
                }
            case _:
                return {"id": text.gateway_id, "status": status.upper()}

    def _report_headers(self, text: Text, form: Mapping[str, str]) -> dict[str, str]:
        if text.by != "twilio" or Fault.REPORTS_UNSIGNED in self.faults:
            return {}
        token = next(iter(self.twilio.values()))
        return {"X-Twilio-Signature": twilio_signature(token, text.report_to or "", form)}


def twilio_signature(token: str, address: str, form: Mapping[str, str]) -> str:
    """How Twilio signs what it posts: HMAC-SHA1 over the address and the fields, sorted by name, without anything between."""
    joined = address + "".join(name + form[name] for name in sorted(form))
    return base64.b64encode(hmac.new(token.encode(), joined.encode(), sha1).digest()).decode()


def create_app(gateways: SmsGateways) -> Starlette:
    """
    All gateways and the phone on one origin.

    ``/a1/sms``: 46elks. ``/2010-04-01/Accounts/{sid}/Messages.json``: Twilio. ``/send``: the third one, JSON or a form, with
    ``Authorization: Bearer``. ``/``: the phone; ``GET /messages.json?to=NUMBER`` tells ``{"messages": [...]}``, newest first,
    each as `Text.told`; ``DELETE`` forgets them. ``app.state.gateways`` is the `SmsGateways`.
    """
    app = Starlette(
        routes=[
            Route("/", _phone),
            Route("/messages.json", _json, methods=["GET", "DELETE"]),
            Route("/a1/sms", _elks, methods=["POST"]),
            Route("/2010-04-01/Accounts/{sid}/Messages.json", _twilio, methods=["POST"]),
            Route("/send", _other, methods=["POST"]),
        ],
        exception_handlers={_Refused: _on_refused},
    )
    app.state.gateways = gateways
    return app


async def _elks(request: Request) -> Response:
    gateways = _gateways(request)
    await gateways.maybe_fail("46elks")
    if not _is_known(request, gateways.elks):
        return PlainTextResponse("API access requires Basic HTTP authentication", 401)
    if Fault.THROTTLED in gateways.faults:
        return PlainTextResponse("Too many requests", 429)
    text, told = gateways.elks_send(await _form(request))
    return _answer(gateways, text, told, 200)


async def _twilio(request: Request) -> Response:
    gateways, sid = _gateways(request), request.path_params["sid"]
    await gateways.maybe_fail("twilio")
    if not _is_known(request, gateways.twilio, name=sid):
        return _twilio_error(20003, "Authenticate", 401)
    if Fault.THROTTLED in gateways.faults:
        return _twilio_error(20429, "Too Many Requests", 429)
    text, told = gateways.twilio_send(sid, await _form(request))
    return _answer(gateways, text, told, 201)


async def _other(request: Request) -> Response:
    gateways = _gateways(request)
    await gateways.maybe_fail("http")
    expected = f"Bearer {gateways.bearer}"
    if not gateways.bearer or not hmac.compare_digest(
        request.headers.get("authorization", "").encode(), expected.encode()
    ):
        return JSONResponse({"error": {"code": "unauthorized"}}, 401)
    if Fault.THROTTLED in gateways.faults:
        return JSONResponse({"error": {"code": "rate"}}, 429)
    is_json = request.headers.get("content-type", "") == "application/json"
    text, told = gateways.other_send(await request.json() if is_json else await _form(request))
    return _answer(gateways, text, told, 202)


def _answer(gateways: SmsGateways, text: Text, told: dict[str, Any], status: int) -> Response:
    report = BackgroundTask(gateways.report, text)
    if Fault.NOT_JSON in gateways.faults:
        return PlainTextResponse("OK", status, background=report)
    if Fault.NO_ID in gateways.faults:
        told = {name: value for name, value in told.items() if name not in {"id", "sid", "messages"}}
    return JSONResponse(told, status, background=report)


async def _phone(request: Request) -> Response:
    texts = [
        {"sms": each, "text": linked(each.text, id_prefix=f"link-{each.id}-"), "code": code_in(each.text) or ""}
        for each in _asked(request)
    ]
    return HTMLResponse(_PHONE.render(texts=texts), headers=PAGE_HEADERS)


async def _json(request: Request) -> Response:
    if request.method == "DELETE":
        _gateways(request).texts.clear()
    return JSONResponse({"messages": [each.told() for each in _asked(request)]}, headers={"Cache-Control": "no-store"})


async def _on_refused(request: Request, error: Exception) -> Response:
    if not isinstance(error, _Refused):
        raise error
    return error.answer


def _gateways(request: Request) -> SmsGateways:
    gateways: SmsGateways = request.app.state.gateways
    return gateways


def _asked(request: Request) -> Sequence[Text]:
    # In a query a plus sign is a blank, unless whoever asks knows that.
    to = request.query_params.get("to", "").strip().removeprefix("+")
    return [each for each in reversed(_gateways(request).texts) if to in {"", each.to.removeprefix("+")}]


def _is_known(request: Request, accounts: Mapping[str, str], *, name: str | None = None) -> bool:
    """Whether basic authentication names one of *accounts*, the one called *name* if that is given."""
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    try:
        user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except ValueError:
        return False
    expected = accounts.get(user, "")
    is_right = bool(expected) and hmac.compare_digest(expected.encode(), password.encode())
    return scheme == "Basic" and is_right and name in {None, user}


async def _form(request: Request) -> Mapping[str, str]:
    if request.headers.get("content-type", "").split(";")[0] != _FORM:
        raise _Refused(PlainTextResponse("Unsupported Media Type", 415))
    pairs = parse_qsl((await request.body()).decode(), keep_blank_values=True, strict_parsing=True)
    if len(dict(pairs)) != len(pairs):
        raise _Refused(PlainTextResponse("A key is given twice", 400))
    return dict(pairs)


def _callback(address: str | None) -> str | None:
    if not address:
        return None
    if urlsplit(address).scheme not in {"http", "https"} or not urlsplit(address).netloc:
        raise _Refused(PlainTextResponse("Invalid callback address", 400))
    return address


def _twilio_error(code: int, message: str, status: int = 400) -> Response:
    more = f"https://www.twilio.com/docs/errors/{code}"
    return JSONResponse({"code": code, "message": message, "more_info": more, "status": status}, status)


def _parts(text: str) -> int:
    alone, part = (160, 153) if _GSM.fullmatch(text) else (70, 67)
    return 1 if len(text) <= alone else -(-len(text) // part)
