"""
What a message may take of memory, whatever it is made of: measured as the most that this process had resident, against the
figure that docs/saml.md states.
"""

import asyncio
import base64
import ctypes
import gc
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest

from broker.wire.saml import redirect
from broker.wire.saml.redirect import MAX_QUERY
from broker.wire.saml.refused import XmlRefused
from tests.downstream.saml_party import SAML, SAMLP, Party
from tests.stage import Answer

pytestmark = pytest.mark.asyncio(loop_scope="module")

MIB = 1024 * 1024
STATED = 12 * MIB
"""docs/saml.md, Requests."""
LARGEST_FORM = 256 * 1024


def resident(which: str) -> int:
    """``VmRSS``: resident now; ``VmHWM``: the most since it was last asked to begin anew."""
    line = next(each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith(which))
    return int(line.split()[1]) * 1024


async def taken(act: Callable[[], Awaitable[object]]) -> int:
    """The most octets that *act* made resident, while it lasted."""
    gc.collect()
    # What the allocator keeps of earlier tests would hide what this one takes.
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    await act()
    return resident("VmHWM") - before


def deflated(octets: bytes) -> str:
    packed = zlib.compressobj(9, wbits=-15)
    return base64.b64encode(packed.compress(octets) + packed.flush()).decode()


def bomb(most: int) -> str:
    """The largest run of blanks inside a request whose deflated form takes *most* characters of a query."""
    head, tail = f'<samlp:AuthnRequest xmlns:samlp="{SAMLP}">'.encode(), b"</samlp:AuthnRequest>"
    size = most * 700
    while len(quote(found := deflated(head + b" " * size + tail), safe="")) > most:
        size = size * 9 // 10
    return found


def document(inside: str, most: int = LARGEST_FORM) -> dict[str, str]:
    """A form with a request as large as can be, which is full of *inside*."""
    head = f'<samlp:AuthnRequest xmlns:samlp="{SAMLP}" xmlns:saml="{SAML}">'
    tail = "</samlp:AuthnRequest>"
    count = most * 3 // 4 // len(inside)
    while len(urlencode(form := _form(head + inside * count + tail))) > most:
        count = count * 99 // 100
    return form


def _form(whole: str) -> dict[str, str]:
    return {"SAMLRequest": base64.b64encode(whole.encode()).decode()}


class TestTheMeter:
    async def test_sees_what_is_inflated_without_an_end(self) -> None:
        """The very query that is refused below takes more than is stated where somebody inflates it as a whole."""
        packed = base64.b64decode(bomb(MAX_QUERY - 100))

        async def naive() -> None:
            assert len(zlib.decompress(packed, wbits=-15)) > 20 * LARGEST_FORM

        assert await taken(naive) > STATED


class TestABomb:
    async def test_in_a_query(self) -> None:
        """As long as a query may be: inflated as far as a message may be large, and no further."""
        query = urlencode({"SAMLRequest": bomb(MAX_QUERY - 100)})

        async def read() -> None:
            with pytest.raises(XmlRefused) as refused:
                redirect.decode(query)
            assert refused.value.code == "saml.deflate"

        assert await taken(read) < 4 * MIB

    async def test_at_the_broker_and_many_at_once(self, party: Party) -> None:
        """What fits into an address, fifty times at the same moment."""
        address = f"/saml/sso?{urlencode({'SAMLRequest': bomb(7 * 1024)})}"

        async def send() -> None:
            answers = await asyncio.gather(*(party.stage.browser().get(address) for _ in range(50)))
            assert {each.status for each in answers} == {400}

        assert await taken(send) < STATED

    async def test_in_a_form_is_not_inflated(self, party: Party) -> None:
        """HTTP-POST carries no deflated messages: it is no XML, whatever it would become."""
        form = {"SAMLRequest": bomb(200 * 1024)}

        async def send() -> None:
            assert (await party.stage.browser().post("/saml/sso", form)).status == 400

        assert await taken(send) < STATED


class TestADocument:
    @pytest.mark.parametrize(
        "inside",
        [
            "<a/>",
            "<a b='c'/>",
            "<saml:Issuer>x</saml:Issuer>",
            "<a xmlns='urn:b'/>",
            "&lt;",
            "<!---->",
            "x",
        ],
        ids=["elements", "attributes", "known", "namespaces", "references", "comments", "text"],
    )
    @pytest.mark.parametrize("path", ["/saml/sso", "/saml/slo"])
    async def test_as_large_as_a_form_may_be(self, party: Party, path: str, inside: str) -> None:
        """Whatever the parser makes of so many octets."""
        form = document(inside)

        async def send() -> None:
            assert (await party.stage.browser().post(path, form)).status == 400

        assert await taken(send) < STATED

    async def test_entities_in_entities(self, party: Party) -> None:
        """Never expanded: a document type is refused as such."""
        laughs = "".join(f'<!ENTITY l{each} "{f"&l{each - 1};" * 10}">' for each in range(1, 12))
        whole = f'<!DOCTYPE a [<!ENTITY l0 "ha">{laughs}]><a>&l11;</a>'
        form = _form(whole)

        async def send() -> None:
            assert (await party.stage.browser().post("/saml/sso", form)).status == 400

        assert await taken(send) < STATED


class TestAnOversizeForm:
    @pytest.mark.parametrize("path", ["/saml/sso", "/saml/slo", "/up/google/callback"])
    @pytest.mark.parametrize("says", [True, False], ids=["announced", "unannounced"])
    async def test_is_not_read(self, party: Party, path: str, says: bool) -> None:
        """A gigabyte: refused by what it says, or after what a form may be; the rest is never asked for."""
        chunk, sent = b"x" * 64 * 1024, [0]
        headers = {"content-type": "application/x-www-form-urlencoded"} | (
            {"content-length": str(1024 * MIB)} if says else {}
        )

        async def body() -> AsyncIterator[bytes]:
            while sent[0] < 1024 * MIB:
                sent[0] += len(chunk)
                yield chunk

        async def send() -> None:
            answer = Answer(await party.stage.client.post(path, content=body(), headers=headers))
            assert answer.status == 413

        assert await taken(send) < STATED
        assert sent[0] <= LARGEST_FORM + 2 * len(chunk)
