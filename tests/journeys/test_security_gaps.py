"""Threats that no other file of tests has: docs/security.md names them by id."""

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from broker.cli.serve import bind, server
from broker.config.keys import public_keys
from broker.errors import StoreDown
from broker.stores.memory import MemoryState
from broker.stores.ports import Op, PutNew
from tests.downstream.crowd import open_crowd
from tests.journeys.test_refusals_of_curiosity import listening
from tests.stage import Stage, open_stage


@pytest_asyncio.fixture
async def staged(stage_folder: Path) -> AsyncIterator[Stage]:
    """A stage for one test."""
    async with open_stage(stage_folder) as opened:
        yield opened


async def test_a_silent_request_reaches_no_provider_and_leaves_nothing(staged: Stage) -> None:
    """docs/security.md A14: prompt=none asks the session and nobody else: no page, no journey, no provider."""
    answer = await staged.browser().get(staged.shop.request(prompt="none"))
    assert answer.query["error"] == "login_required"
    assert not [ask for connector in staged.connectors.values() for ask in connector.asks]
    assert not answer.headers.get_list("set-cookie")


@pytest.mark.parametrize("path", ["/", "/token", "/userinfo", "/handoffs", "/h/x", "/j/x", "/shared", "/logout"])
async def test_no_other_origin_may_read_an_answer(staged: Stage, path: str) -> None:
    """docs/security.md C7: no preflight is granted, no answer is shared; only metadata and public keys are for everybody."""
    asked = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    for method, headers in (("OPTIONS", asked), ("GET", asked), ("POST", asked), ("GET", {"origin": "null"})):
        answer = await staged.client.request(method, path, headers=headers)
        assert not [name for name in answer.headers if name.startswith("access-control")], method
        assert method != "OPTIONS" or answer.status_code == 405


class ForgetsReplays(MemoryState):
    """A store that fails exactly where replays are remembered."""

    is_down = False

    async def run(self, *ops: Op) -> Sequence[Any]:
        if self.is_down and any(isinstance(op, PutNew) and op.key.startswith("seen:") for op in ops):
            raise StoreDown("played to be full")
        return await super().run(*ops)


async def test_without_the_memory_of_replays_no_assertion_is_taken(prepared_stage: Path) -> None:
    """docs/security.md A10: fail closed: an assertion whose replay could not be noticed is not accepted."""
    store = ForgetsReplays()
    async with open_crowd(prepared_stage, state=store) as crowd:
        code = await crowd.code(crowd.bank)
        form = crowd.form(crowd.bank, code)
        store.is_down = True
        refused = await crowd.post_token(form)
        assert (refused.status, refused.json["error"]) == (503, "temporarily_unavailable")
        store.is_down = False
        assert (await crowd.post_token(form)).status == 200


AMBIGUOUS = {
    "both lengths": "Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": "Content-Length: 0\r\nContent-Length: {length}\r\n\r\n",
    "a length with a sign": "Content-Length: +{length}\r\n\r\n",
    "an unknown coding": "Transfer-Encoding: xchunked\r\n\r\n",
    "chunked not last": "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "a blank before the colon": "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "a folded header": "Transfer-Encoding:\r\n chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "a chunk size that is none": "Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
}
INNER = "GET /inner HTTP/1.1\r\nHost: localhost:8700\r\nConnection: close\r\n\r\n"


async def test_a_request_that_can_be_read_in_two_ways_is_not_read(staged: Stage) -> None:
    """docs/security.md E4: a request inside another one is never answered, whatever a proxy made of the outer one."""
    listening_socket = bind("127.0.0.1", 0, "broker.listen.port")
    host, port = listening_socket.getsockname()[:2]
    running = server(staged.broker)
    running.config.lifespan = "off"
    with closing(listening_socket):
        task = asyncio.create_task(running.serve(sockets=[listening_socket]))
        try:
            for name, text in AMBIGUOUS.items():
                answers = await _answers(host, port, text)
                assert "inner" not in answers.lower(), (name, answers)
                assert re.findall(r"HTTP/1\.1 (\d{3})", answers) in ([], ["400"]), (name, answers)
        finally:
            running.should_exit = True
            await task


async def _answers(host: str, port: int, headers: str) -> str:
    """All that comes back for a POST with *headers* and another request behind it, until the server hangs up."""
    reader, writer = await asyncio.open_connection(host, port)
    outer = "POST /token HTTP/1.1\r\nHost: localhost:8700\r\n" + headers.format(length=len(INNER))
    writer.write((outer + INNER).encode())
    await writer.drain()
    async with asyncio.timeout(5):
        received = await reader.read()
    writer.close()
    return received.decode()


async def test_what_deserves_an_alarm_is_in_the_log(staged: Stage) -> None:
    """docs/security.md G8: the codes that docs/events.md says to alarm on are logged when it happens."""
    with listening() as log:
        browser = staged.browser()
        await browser.follow(await browser.get(staged.shop.request()))
        gone = await browser.press("method-bankid")
        callback = f"/up/bankid/callback?state={gone.query['state']}&who=maja"
        done = await browser.follow(await browser.get(callback))
        tokens = await staged.shop.exchange(done)
        await staged.garage.read("another-handoff", tokens["access_token"])
        await staged.shop.token(done.query["code"])
        other = staged.browser()
        await other.follow(await other.get(staged.shop.request()))
        gone = await other.press("method-bankid")
        await other.get(f"/up/google/callback?state={gone.query['state']}&who=maja")
    codes = {json.loads(line).get("code") for line in log.getvalue().splitlines()}
    assert codes >= {"callback.mixed_up", "code.reused", "handoff.foreign"}


async def test_no_address_of_a_customer_is_kept(stage_folder: Path) -> None:
    """docs/security.md F5: after a whole login neither log, database nor store shows where from and with what."""
    trusted = {"  languages: [sv, fi, pl, en]": "  languages: [sv, fi, pl, en]\n  trusted_proxies: [127.0.0.1/32]"}
    address, agent = "198.51.100.77", "Kanariefagel/7.7"
    store = MemoryState()
    with listening() as log:
        async with open_stage(stage_folder, edit=trusted, state=store) as staged:
            staged.client.headers.update({"x-forwarded-for": address, "user-agent": agent})
            await staged.shop_login(staged.browser())
            assert staged.connectors["bankid"].asks[0].end_user_ip == address
            kept = repr(store._entries)
        kept += b"".join(path.read_bytes() for path in stage_folder.glob("stafett.db*")).decode("latin-1")
    for found in (kept, log.getvalue()):
        assert address not in found
        assert "Kanarie" not in found


def test_a_partners_key_that_costs_too_much_is_refused() -> None:
    """docs/security.md B7: a huge modulus or exponent makes every check of a signature expensive."""
    for bits, exponent in ((4097, 65537), (16384, 65537), (2048, (1 << 64) + 1)):
        key = {"kty": "RSA", "n": _base64url((1 << bits - 1) + 1), "e": _base64url(exponent)}
        with pytest.raises(ValueError, match="RSA"):
            public_keys(json.dumps({"keys": [key]}))
    assert public_keys(json.dumps({"keys": [{"kty": "RSA", "n": _base64url((1 << 4095) + 1), "e": "AQAB"}]}))


def _base64url(number: int) -> str:
    data = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
