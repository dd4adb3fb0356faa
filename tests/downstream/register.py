"""A merchant's register of customers: a real server that answers as the test wants."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

FOUND = {"known": True, "member_number": "M-1042"}


class Register:
    """
    ``answer``: its JSON, or a status, to who asks by a contact. ``members``: the same by number; nobody else is one.

    ``lookups``: tokens it was sent; ``gate``: set when it may answer.
    """

    def __init__(self) -> None:
        self.answer: Any = FOUND
        self.members: dict[str, Any] = {}
        self.lookups: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.url = ""

    async def serve(self, request: web.Request) -> web.Response:
        lookup = str((await request.post())["lookup_token"])
        self.lookups.append(lookup)
        await self.gate.wait()
        number = unverified_claims(lookup).get("member_number")
        answer = self.answer if number is None else self.members.get(number, {"known": False})
        if isinstance(answer, int):
            return web.Response(status=answer)
        return web.Response(text=json.dumps(answer), content_type="application/json")


@asynccontextmanager
async def open_register() -> AsyncIterator[Register]:
    """One on a free port."""
    opened = Register()
    app = web.Application()
    app.router.add_post("/stafett", opened.serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    opened.url = f"http://127.0.0.1:{runner.addresses[0][1]}/stafett"
    yield opened
    opened.gate.set()
    await runner.cleanup()


def unverified_claims(lookup: str) -> dict[str, Any]:
    """What a token says, whoever made it."""
    payload = lookup.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return found
