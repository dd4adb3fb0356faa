"""
How HTTP is read and answered: uvicorn's protocol on httptools, with a bound on what is read, and answers in one piece.
"""

from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from broker.cli.serve import MAX_HEAD

_MAX_DIGITS = 18
_NOT_IN_NAMES = bytes(range(33)) + b'()<>@,;:\\[]={}"ABCDEFGHIJKLMNOPQRSTUVWXYZ\x7f'
_NOT_IN_VALUES = bytes(range(9)) + bytes(range(10, 32)) + b"\x7f"


class Bounded(HttpToolsProtocol):
    """
    Hangs up when a request sends more than `MAX_HEAD` besides its body.

    security: httptools has no bound, so that one connection that never ends its headers could take all memory.
    """

    beside_body = 0

    def on_message_begin(self) -> None:
        self.beside_body = 0
        super().on_message_begin()

    def on_body(self, body: bytes) -> None:
        self.beside_body -= len(body)
        super().on_body(body)

    def data_received(self, data: bytes) -> None:
        self.beside_body = max(0, self.beside_body) + len(data)
        super().data_received(data)
        if self.beside_body > MAX_HEAD and not self.transport.is_closing():
            self.transport.close()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        cycle.__class__ = OnePiece
        super()._start_asgi_task(cycle, app)


class OnePiece(RequestResponseCycle):
    """
    One request and its answer, of which head and body are sent together.

    uvicorn writes them one after the other, and uvloop sends what it gets at once: two system calls, two packets and, at the
    other end, two wake-ups. Here the head of an answer whose length is known waits for the body. Everything else, and whatever
    is not as it must be, is uvicorn's business as ever.
    """

    _head = b""

    async def send(self, message: Any) -> None:
        """As the server's: one ASGI message of the answer."""
        if not self.response_started and not self.disconnected:
            self._head = self._plain_head(message)
            if self._head:
                self.response_started = True
                self.waiting_for_100_continue = False
                return
        elif self._head and not self.disconnected:
            head, self._head = self._head, b""
            body = message.get("body", b"")
            is_all = message["type"] == "http.response.body" and not message.get("more_body")
            if is_all and len(body) == self.expected_content_length and not self.flow.write_paused:
                self.transport.write(head + body)
                self._end()
                return
            self.transport.write(head)
        await super().send(message)

    def _plain_head(self, message: Any) -> bytes:
        """The head of an answer of known length that may be kept waiting; nothing for any other, and then nothing changed."""
        given, status = message.get("headers"), STATUS_LINE.get(message.get("status"))
        if status is None or given.__class__ is not list or self.scope["method"] == "HEAD":
            return b""
        headers = self.default_headers + given
        known = dict(headers)
        length = known.get(b"content-length", b"")
        if not length.isdigit() or len(length) > _MAX_DIGITS or b"connection" in known or b"transfer-encoding" in known:
            return b""
        names, values = b"".join([name for name, _ in headers]), b"".join([value for _, value in headers])
        if names.count(b"content-length") != 1:
            # Which of them counts is the server's business.
            return b""
        if len(names.translate(None, _NOT_IN_NAMES) + values.translate(None, _NOT_IN_VALUES)) != len(names + values):
            return b""
        self.expected_content_length = int(length)
        self.chunked_encoding = False
        end = b"\r\n\r\n" if self.keep_alive else b"\r\nconnection: close\r\n\r\n"
        return status + b"\r\n".join(map(b": ".join, headers)) + end

    def _end(self) -> None:
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()
