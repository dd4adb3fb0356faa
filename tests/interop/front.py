"""
What stands before the broker: TLS as a reverse proxy brings it, and for the refusals somebody who changes answers.

Its own keys are published beside the broker's from the beginning. So a forged ID token differs from a good one in exactly the
claim a test changes, and is refused for that claim or not at all.
"""

import asyncio
import base64
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import aiohttp
from aiohttp import web
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey
from yarl import URL

Answer = dict[str, Any]
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "host"})


class Front:
    """
    A reverse proxy on *port* of 127.0.0.1 for the broker at *target*, until `close`.

    Args:
        tls: None for plain http.
    """

    def __init__(self, target: str, port: int, tls: ssl.SSLContext | None) -> None:
        self._target = target
        self._port = port
        self._tls = tls
        self._keys = {"RS256": RSAKey.generate_key(2048), "ES256": ECKey.generate_key("P-256")}
        self._changes: dict[str, Callable[[Answer], Answer]] = {}
        self.served: list[str] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._runner, self._http = self._do(self._open())

    @contextmanager
    def changing(self, path: str, change: Callable[[Answer], Answer]) -> Iterator[None]:
        """While this lasts, successful answers of *path* reach the client as *change* makes them."""
        self._changes[path] = change
        try:
            yield
        finally:
            del self._changes[path]

    def forged(self, id_token: str, *, key: RSAKey | ECKey | None = None, **changed: Any) -> str:
        """*id_token* with claims *changed* (None: without it), signed by a published key of our own, or by *key*."""
        header, claims = (_read(part) for part in id_token.split(".")[:2])
        claims = {name: value for name, value in {**claims, **changed}.items() if value is not None}
        own = self._keys[header["alg"]]
        return jwt.encode({"alg": header["alg"], "kid": _kid(header["alg"])}, claims, key or own)

    def signed(self, claims: Answer, *, typ: str, alg: str = "RS256") -> str:
        """A token of our own making, by a published key."""
        return jwt.encode({"alg": alg, "kid": _kid(alg), "typ": typ}, claims, self._keys[alg])

    def close(self) -> None:
        """Stop serving."""
        self._do(self._shut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _open(self) -> tuple[web.AppRunner, aiohttp.ClientSession]:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._serve)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self._port, ssl_context=self._tls).start()
        http = aiohttp.ClientSession(auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar())
        return runner, http

    async def _shut(self) -> None:
        await self._http.close()
        await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.Response:
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP]
        async with self._http.request(
            request.method,
            URL(self._target + request.raw_path, encoded=True),
            headers=[*headers, ("host", request.headers["host"])],
            data=await request.read(),
            allow_redirects=False,
        ) as answer:
            body = self._changed(request.path, answer.status, await answer.read())
            self.served.append(f"{request.method} {request.path} {answer.status}")
            kept = [(name, value) for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP]
            response = web.Response(status=answer.status, body=body)
            response.headers.clear()
            for name, value in kept:
                response.headers.add(name, value)
            return response

    def _changed(self, path: str, status: int, body: bytes) -> bytes:
        if path == "/jwks":
            public = [
                {**key.as_dict(private=False), "kid": _kid(alg), "alg": alg, "use": "sig"}
                for alg, key in self._keys.items()
            ]
            return json.dumps({"keys": [*json.loads(body)["keys"], *public]}).encode()
        if status == 200 and (change := self._changes.get(path)):
            return json.dumps(change(json.loads(body))).encode()
        return body


def unsigned(id_token: str) -> str:
    """*id_token* with ``alg: none`` (RFC 7519 section 6)."""
    header = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
    return f"{header}.{id_token.split('.')[1]}."


def broken(id_token: str) -> str:
    """*id_token* with another first character of the signature."""
    head, _, signature = id_token.rpartition(".")
    return f"{head}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"


def _kid(alg: str) -> str:
    return f"of-the-front-{alg}"


def _read(part: str) -> dict[str, Any]:
    return dict(json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))))
