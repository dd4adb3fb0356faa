"""Metadata sources as the config has them, built, and asked over real connections."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from broker.app import MetadataFetchers, build_peers
from broker.config.load import Loaded
from broker.errors import UpstreamDown
from broker.flows.saml_peers import SamlPeers
from broker.wire.http import Blocked
from tests.config.conftest import Bench
from tests.config.test_saml_metadata import SP1, partner, pem, soon
from tests.stage import NODE_AT, WORKSHOP
from tests.wire.federation import aggregate, alone, service, signed
from tests.wire.test_http import Handler, answering, serving


def configured(bench: Bench, **ports: int) -> Loaded:
    bench.put("signer.pem", pem())
    bench.put("pinned.xml", aggregate([service(1)], until=soon()))
    lines = "".join(
        f'    {kind}: {{{kind}: "http://127.0.0.1:{port}/", certificates: [signer.pem]}}\n'
        for kind, port in ports.items()
    )
    bench.text += f"\nsaml:\n  metadata:\n    here: {{file: pinned.xml}}\n{lines}"
    return bench.load()


async def peers_of(loaded: Loaded) -> AsyncIterator[SamlPeers]:
    fetchers = MetadataFetchers.of(loaded)
    peers = build_peers(loaded, fetchers)
    yield peers
    await peers.stop()
    await fetchers.close()


def serve(document: bytes) -> Handler:
    return answering("Content-Type: application/samlmetadata+xml", body=document)


async def test_each_kind(bench: Bench) -> None:
    """A file, an address and a server give the same service; copies of what was fetched are in the data folder."""
    seen: list[bytes] = []
    one = answering(
        "Content-Type: application/samlmetadata+xml", body=signed(alone(service(1), until=soon())), seen=seen
    )
    async with serving(serve(signed(aggregate([service(1)], until=soon())))) as all_, serving(one) as mdq:
        loaded = configured(bench, url=all_, mdq=mdq)
        async for peers in peers_of(loaded):
            for name in ("here", "url", "mdq"):
                found = await peers.service(name, SP1)
                assert found is not None
                assert found.acs[0].location == "https://sp1.example.org/acs"
            assert await peers.service("metadata/tyre-workshop.xml", WORKSHOP) is not None
            assert await peers.provider("metadata/eidas.xml", f"{NODE_AT}/metadata") is not None
            assert peers.alarms() == []
    assert b"GET /entities/https:%2F%2Fsp1.example.org%2Fsaml HTTP" in seen[0]
    copies = {each.relative_to(loaded.data_dir / "saml-metadata").parts[0] for each in _copies(loaded)}
    assert copies == {"url.copy", "mdq"}


def _copies(loaded: Loaded) -> list[Path]:
    return list((loaded.data_dir / "saml-metadata").rglob("*.copy"))


@pytest.mark.parametrize("kind", ["url", "mdq"])
async def test_a_redirect_into_the_house(bench: Bench, kind: str) -> None:
    """security: a metadata server cannot send us anywhere else."""
    away = answering("Location: http://169.254.169.254/latest", status="302 Found")
    async with serving(away) as port:
        async for peers in peers_of(configured(bench, **{kind: port})):
            with pytest.raises(UpstreamDown):
                await peers.service(kind, SP1)
    assert list(bench.folder.rglob("*.copy")) == []


async def test_an_address_inside_that_nobody_listed(bench: Bench) -> None:
    """security: sources are called by the same rules as everybody else."""
    bench.edit(("      - 127.0.0.0/8", "      - 10.9.9.0/24"))
    async with serving(serve(b"<a/>")) as port:
        async for peers in peers_of(configured(bench, mdq=port)):
            with pytest.raises(Blocked):
                await peers.service("mdq", SP1)


async def test_partners_files_are_looked_after_from_the_beginning(bench: Bench) -> None:
    """Not only when the first customer comes."""
    bench.put("fitter.xml", alone(service(1), until=None))
    partner(bench, "fitter.xml")
    async for peers in peers_of(bench.load()):
        assert peers.alarms() == ["pinned"]
        await peers.look()
        assert peers.alarms() == []
        assert await peers.service("fitter.xml", SP1) is not None
