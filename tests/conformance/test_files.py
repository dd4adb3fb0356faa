"""config/conformance: what docs/conformance.md tells to run fits together, and logs the test person in."""

import asyncio
import json
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx2
import pytest
import uvicorn
from starlette.types import ASGIApp

from broker.app import build
from broker.config.load import Loaded, load
from broker.demo.providers.auto_login import PERSON, create_app
from broker.errors import ConfigError
from broker.stores.memory import MemoryState
from broker.stores.migrate import migrate
from broker.stores.sql import SqlRecords
from tests.stage import Answer

ROOT = Path(__file__).parents[2]
FILES = ROOT / "config" / "conformance"
TEMPLATES = ROOT / "broker" / "pages" / "templates"
ISSUER = "https://localhost:9443"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What prepare.sh makes, elsewhere."""
    top = tmp_path_factory.mktemp("top")
    shutil.copytree(FILES, top / "config" / "conformance")
    subprocess.run(["sh", "config/conformance/prepare.sh"], cwd=top, check=True, capture_output=True)
    return top / "build" / "conformance"


@pytest.fixture(scope="module")
def loaded(made: Path) -> Loaded:
    return load(made / "stafett.yaml", environment={})


@pytest.fixture(scope="module")
def suite(made: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((made / "suite.json").read_text("utf-8"))
    return content


def test_the_config_holds_and_only_pkce_is_to_be_mended(loaded: Loaded) -> None:
    """The suite's clients are legacy, and nothing else is out of the ordinary."""
    assert len(loaded.warnings) == 3
    assert all("oidc.profile: leaves codes without proof" in each for each in loaded.warnings)


def test_production_refuses_it(made: Path) -> None:
    """A provider that logs anybody in is a simulator on this machine: refused by name."""
    text = (made / "stafett.yaml").read_text("utf-8").replace("mode: development\n", "")
    (made / "production.yaml").write_text(text, "utf-8")
    with pytest.raises(ConfigError) as caught:
        load(made / "production.yaml", environment={})
    refused = [each for each in caught.value.problems if "loopback_upstream" in each]
    assert len(refused) == 3


def test_the_suites_clients_are_the_configs(loaded: Loaded, suite: dict[str, Any]) -> None:
    """Ids and secrets, in the three places the suite wants them, and the callback of its alias."""
    for place, partner in (("client", "first"), ("client2", "second"), ("client_secret_post", "post")):
        known = loaded.policy.partner(partner)
        assert known is not None
        assert known.oidc is not None
        assert suite[place]["client_id"] == known.oidc.client_id
        assert suite[place]["client_secret"] == loaded.policy.client_secrets[partner]
        assert known.oidc.redirect_uris[0].endswith(f"/test/a/{suite['alias']}/callback")
    assert suite["server"]["discoveryUrl"] == f"{loaded.policy.issuer}/.well-known/openid-configuration"
    assert "SECRET_" not in json.dumps(suite)


def test_the_ids_it_waits_for_and_clicks_are_on_our_pages(suite: dict[str, Any]) -> None:
    """Renaming one would break the suite's browser without any other test noticing."""
    blocks = [suite["browser"], *(each["browser"] for each in suite["override"].values())]
    used = {
        command[2]
        for block in blocks
        for entry in block
        for task in entry["tasks"]
        for command in task["commands"]
        if command[1] == "id" and "emobix" not in task["match"]
    }
    ours = set(re.findall(r'\bid="([a-z-]+)"', "".join(path.read_text("utf-8") for path in TEMPLATES.iterdir())))
    assert used - ours == {"method-test"}
    assert 'id="method-{{ each.id }}"' in (TEMPLATES / "parts.html").read_text("utf-8")


def test_no_secret_is_in_the_shipped_files() -> None:
    """They are made, each time."""
    for path in FILES.iterdir():
        assert not re.search(r"[0-9a-f]{32}|BEGIN", path.read_text("utf-8")), path.name


@contextmanager
def served(secret: str) -> Iterator[int]:
    """The provider on a free port, until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        app = create_app(
            issuer=f"http://127.0.0.1:{port}",
            secret=secret,
            callbacks=[f"{ISSUER}/up/test/callback"],
            clock=lambda: datetime.now(UTC),
        )
        server = uvicorn.Server(uvicorn.Config(app, log_config=None))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield port
        finally:
            server.should_exit = True
            thread.join(timeout=5)


@asynccontextmanager
async def running(app: ASGIApp) -> AsyncIterator[None]:
    """The application between its start and its end, as a server would run it."""
    to_app: asyncio.Queue[Any] = asyncio.Queue()
    from_app: asyncio.Queue[Any] = asyncio.Queue()
    task = asyncio.create_task(app({"type": "lifespan", "asgi": {"version": "3.0"}}, to_app.get, from_app.put))
    await to_app.put({"type": "lifespan.startup"})
    assert (await from_app.get())["type"] == "lifespan.startup.complete"
    try:
        yield
    finally:
        await to_app.put({"type": "lifespan.shutdown"})
        await task


async def test_the_test_person_logs_in_by_it(made: Path, suite: dict[str, Any]) -> None:
    """The whole way the suite's browser goes: request, choice, provider, callback; with a fresh login when it asks for one."""
    with served((made / "secrets" / "provider").read_text("utf-8").strip()) as port:
        text = (made / "stafett.yaml").read_text("utf-8").replace("127.0.0.1:9703", f"127.0.0.1:{port}")
        (made / "here.yaml").write_text(text, "utf-8")
        here = load(made / "here.yaml", environment={})
        url = f"sqlite+aiosqlite:///{made / 'here.db'}"
        await migrate(url)
        broker = build(here, state=MemoryState(), records=SqlRecords(url))
        transport = httpx2.ASGITransport(app=broker.app)
        async with (
            running(broker.app),
            httpx2.AsyncClient(transport=transport, base_url=ISSUER) as client,
            httpx2.AsyncClient() as outside,
        ):
            query = {
                "client_id": suite["client"]["client_id"],
                "redirect_uri": "https://localhost.emobix.co.uk:8443/test/a/stafett/callback",
                "response_type": "code",
                "scope": "openid profile",
                "prompt": "login",
                "state": "s",
            }
            begun = await client.get("/authorize", params=query)
            page = Answer(await client.get(begun.headers["location"]))
            assert {"method-test", "method-again", "cancel"} <= page.ids
            fields = re.findall(r'name="csrf" value="([^"]+)"', page.text)
            chosen = Answer(
                await client.post(f"{urlsplit(page.url).path}/choose", data={"csrf": fields[0], "method": "test"})
            )
            gone = await outside.get(chosen.location.replace("&amp;", "&"))
            back = await client.get(gone.headers["location"])
            answer = dict(parse_qsl(urlsplit(back.headers["location"]).query))
            auth = (suite["client"]["client_id"], suite["client"]["client_secret"])
            form = {"grant_type": "authorization_code", "code": answer["code"], "redirect_uri": query["redirect_uri"]}
            tokens = (await client.post("/token", data=form, auth=auth)).json()
            told = await client.get("/userinfo", headers={"authorization": f"Bearer {tokens['access_token']}"})
    assert told.json()["name"] == PERSON["name"]
