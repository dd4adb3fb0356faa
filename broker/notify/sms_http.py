"""
Text messages by any gateway that takes a POST with a form or a JSON object, as the config describes it.

security: what goes into the template is put into finished values, never into the text of a form or of JSON, so nothing that
somebody typed adds a field. Placeholders in what was put in stay as they are.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from broker.core.policy import HttpSms
from broker.notify.gateway import FORM, Delivery, form_body, is_same, posted, refused_by_status, report_key
from broker.notify.ports import Accepted, Sent, Sms
from broker.wire.http import Fetched, Fetcher

_PLACEHOLDER: Final = re.compile(r"\{(to|digits|text|ref|report)\}")
_STATUS_FIELDS: Final = ("status", "Status", "MessageStatus", "dlr_status")


class HttpGateway:
    """
    A `broker.notify.gateway.Gateway`.

    Args:
        headers: resolved. report_uri: where reports go, without the key; None for none.
    """

    def __init__(
        self, settings: HttpSms, *, headers: Mapping[str, str], report_uri: str | None, fetcher: Fetcher
    ) -> None:
        self._settings = settings
        self._headers = headers
        self._key = report_key("\n".join([settings.url, *headers.values()])) if headers else ""
        self._report_uri = f"{report_uri}/{self._key}" if report_uri and self._key else ""
        self._fetcher = fetcher

    async def send(self, sms: Sms, ref: str) -> Sent:
        """As `SmsSender.send`."""
        values = {
            "to": sms.to,
            "digits": sms.to.removeprefix("+"),
            "text": sms.text,
            "ref": ref,
            "report": self._report_uri,
        }
        settings = self._settings
        if settings.form is not None:
            content_type, body = FORM, form_body({name: _filled(text, values) for name, text in settings.form.items()})
        else:
            content_type, body = "application/json", msgspec.json.encode(_filled(settings.json_body, values))
        answer = await posted(self._fetcher, settings.url, body, content_type=content_type, headers=self._headers)
        return self._read(answer, ref) if isinstance(answer, Fetched) else answer

    async def close(self) -> None:
        """The way out is not ours to close."""

    def reported(self, form: Mapping[str, str], *, key: str, signature: str) -> Delivery | None:
        """As `Gateway.reported`. The words are those most gateways use."""
        if not self._key or not is_same(key, self._key):
            return None
        word = next((form[name].lower() for name in _STATUS_FIELDS if name in form), "")
        if word.startswith("deliv"):
            return Delivery.DELIVERED
        return Delivery.FAILED if word in {"failed", "undelivered", "rejected", "expired"} else Delivery.PENDING

    def _read(self, answer: Fetched, ref: str) -> Sent:
        if answer.status not in self._settings.success:
            return refused_by_status(answer.status)
        found = _at(answer.json, self._settings.id) if self._settings.id else None
        return Accepted(str(found)[:64] if isinstance(found, str | int) else ref)


def _filled(value: Any, values: Mapping[str, str]) -> Any:
    """*value* with placeholders replaced in every text, in one pass."""
    if isinstance(value, str):
        return _PLACEHOLDER.sub(lambda match: values[match[1]], value)
    if isinstance(value, Mapping):
        return {name: _filled(item, values) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_filled(item, values) for item in value]
    return value


def _at(content: Any, pointer: str) -> Any:
    """What a JSON pointer (RFC 6901) points at, None when there is nothing."""
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(content, Mapping):
            content = content.get(name)
        elif isinstance(content, list) and name.isascii() and name.isdigit() and int(name) < len(content):
            content = content[int(name)]
        else:
            return None
    return content
