"""The walls between the rooms stand, and each rule that guards them can fail."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.rooms import walls

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def broker() -> list[walls.Source]:
    return walls.read(ROOT)


@pytest.mark.parametrize("rule", walls.RULES)
def test_the_broker_keeps(rule: str, broker: list[walls.Source]) -> None:
    """docs/architecture.md, and docs/security.md A6, E12 and G5, hold in every file of the broker."""
    found = walls.findings(broker, rule)
    assert not found, f"{walls.RULES[rule].__doc__}\n" + "\n".join(str(finding) for finding in found)


def test_there_is_something_to_check(broker: list[walls.Source]) -> None:
    """A checker that looks into the wrong folder finds nothing wrong either."""
    assert {"core", "stores", "upstream"} <= {source.room for source in broker}


def test_the_table_itself_has_no_circle() -> None:
    """Were every allowed import made, there would still be an order to build the rooms in."""
    graph = {
        room: set(walls.ROOMS) - {room, "__main__", "cli", "app", "demo"}
        if allowed == "*"
        else {name.partition(".")[0] for name in allowed.split()}
        for room, allowed in walls.ROOMS.items()
    }
    assert list(walls._circles(graph)) == []


# Each: the rule that must speak, and the smallest tree that breaks it.
BREACHES = [
    ("rooms-import-only-what-the-table-allows", {"core/a.py": "import broker.stores.ports"}),
    ("rooms-import-only-what-the-table-allows", {"core/a.py": "from ..flows import login"}),
    ("rooms-import-only-what-the-table-allows", {"core/sub/a.py": "from ...observe import logging"}),
    ("rooms-import-only-what-the-table-allows", {"pages/a.py": "from broker import upstream"}),
    ("rooms-import-only-what-the-table-allows", {"pages/a.py": "from broker.stores.ports import StateStore"}),
    ("rooms-import-only-what-the-table-allows", {"upstream/a.py": "from broker.downstream.oidc import token"}),
    ("rooms-import-only-what-the-table-allows", {"downstream/a.py": "def f():\n    from broker.pages import x"}),
    ("rooms-import-only-what-the-table-allows", {"flows/a.py": "from broker.stores.redis import RedisState"}),
    ("rooms-import-only-what-the-table-allows", {"flows/a.py": "from broker.stores import redis"}),
    ("rooms-import-only-what-the-table-allows", {"config/a.py": "from broker.upstream import google"}),
    ("rooms-import-only-what-the-table-allows", {"wire/a.py": "import broker.app"}),
    ("rooms-import-only-what-the-table-allows", {"demo/a.py": "from broker.core import release"}),
    ("rooms-import-only-what-the-table-allows", {"observe/a.py": "from broker.core import release"}),
    ("rooms-import-only-what-the-table-allows", {"errors.py": "import broker.observe"}),
    (
        "rooms-import-only-what-the-table-allows",
        {"web/a.py": "import importlib\nimportlib.import_module('broker.pages')"},
    ),
    (
        "rooms-import-only-what-the-table-allows",
        {"core/a.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from broker.flows import login"},
    ),
    ("rooms-import-only-what-the-table-allows", {"utils/a.py": ""}),
    ("only-the-demo-command-imports-demo", {"app.py": "from broker.demo import story"}),
    ("only-the-demo-command-imports-demo", {"cli/serve.py": "import broker.demo.providers"}),
    ("only-the-demo-command-imports-demo", {"cli/__init__.py": "def f():\n    from broker import demo"}),
    ("what-flows-see-of-stores-knows-no-backend", {"stores/shelf.py": "from .redis import RedisState"}),
    ("what-flows-see-of-stores-knows-no-backend", {"stores/ports.py": "from broker.stores import sql"}),
    ("rooms-do-not-import-in-circles", {"a/x.py": "import broker.b", "b/x.py": "import broker.a"}),
    (
        "rooms-do-not-import-in-circles",
        {"a.py": "import broker.b", "b.py": "from .c import x", "c/__init__.py": "from broker import a"},
    ),
    ("imports-can-be-read-off-the-source", {"cli/a.py": "import importlib\nimportlib.import_module(name)"}),
    ("imports-can-be-read-off-the-source", {"cli/a.py": "__import__('bro' + 'ker.demo')"}),
    ("libraries-stay-in-their-rooms", {"flows/a.py": "from joserfc import jwt"}),
    ("libraries-stay-in-their-rooms", {"downstream/a.py": "import jwt"}),
    ("libraries-stay-in-their-rooms", {"flows/a.py": "import sqlalchemy.ext.asyncio"}),
    ("libraries-stay-in-their-rooms", {"web/a.py": "import redis.asyncio as r"}),
    ("libraries-stay-in-their-rooms", {"upstream/google.py": "from starlette.requests import Request"}),
    ("libraries-stay-in-their-rooms", {"flows/a.py": "from starlette.responses import Response"}),
    ("libraries-stay-in-their-rooms", {"upstream/oidc.py": "import aiohttp"}),
    ("libraries-stay-in-their-rooms", {"wire/jose.py": "from urllib.request import urlopen"}),
    ("libraries-stay-in-their-rooms", {"wire/oauth.py": "from urllib import request"}),
    ("libraries-stay-in-their-rooms", {"wire/http.py": "import httpx2"}),
    ("core-imports-only-values", {"core/a.py": "import os"}),
    ("core-imports-only-values", {"core/a.py": "import os.path"}),
    ("core-imports-only-values", {"core/a.py": "import time"}),
    ("core-imports-only-values", {"core/a.py": "from time import time"}),
    ("core-imports-only-values", {"core/a.py": "import secrets"}),
    ("core-imports-only-values", {"core/a.py": "import random"}),
    ("core-imports-only-values", {"core/a.py": "import socket"}),
    ("core-imports-only-values", {"core/a.py": "from pathlib import Path"}),
    ("core-imports-only-values", {"core/a.py": "import logging"}),
    ("core-imports-only-values", {"core/a.py": "import structlog"}),
    ("core-imports-only-values", {"core/a.py": "import asyncio"}),
    ("core-imports-only-values", {"core/a.py": "import yaml"}),
    ("core-imports-only-values", {"core/a.py": "from urllib import request"}),
    ("core-has-no-clock-no-chance-and-no-files", {"core/a.py": "from datetime import datetime\nx = datetime.now()"}),
    ("core-has-no-clock-no-chance-and-no-files", {"core/a.py": "import datetime\nx = datetime.datetime.utcnow()"}),
    ("core-has-no-clock-no-chance-and-no-files", {"core/a.py": "from datetime import date\nx = date.today()"}),
    ("core-has-no-clock-no-chance-and-no-files", {"core/a.py": "import uuid\nx = uuid.uuid4()"}),
    ("core-has-no-clock-no-chance-and-no-files", {"core/a.py": "x = open('policy.yaml')"}),
    ("core-has-no-clock-no-chance-and-no-files", {"core/a.py": "print('released')"}),
    ("core-waits-for-nothing", {"core/a.py": "async def decide():\n    pass"}),
    ("evidence-and-release-have-one-maker", {"flows/a.py": "e = Evidence(subject='x')"}),
    ("evidence-and-release-have-one-maker", {"core/identity.py": "e = Evidence()"}),
    (
        "evidence-and-release-have-one-maker",
        {"flows/a.py": "from broker.core import identity\ne = identity.Evidence()"},
    ),
    (
        "evidence-and-release-have-one-maker",
        {"flows/a.py": "from broker.core.identity import Evidence as Facts\ne = Facts()"},
    ),
    ("evidence-and-release-have-one-maker", {"downstream/a.py": "r = Release(claims={})"}),
    ("evidence-and-release-have-one-maker", {"core/consent.py": "r = Release.of(claims={})"}),
    ("no-check-by-assert", {"web/csrf.py": "assert token == expected"}),
    ("no-redirect-that-resends-a-form", {"web/a.py": "Response(status_code=307)"}),
    ("no-redirect-that-resends-a-form", {"web/a.py": "Response('', 308)"}),
    ("no-redirect-that-resends-a-form", {"web/a.py": "from http import HTTPStatus\nx = HTTPStatus.TEMPORARY_REDIRECT"}),
    ("no-redirect-that-resends-a-form", {"web/a.py": "RedirectResponse(url)"}),
    ("no-redirect-that-resends-a-form", {"demo/a.py": "RedirectResponse(url, headers={})"}),
    ("no-slash-redirects", {"app.py": "app = Starlette(routes=[])"}),
    ("no-slash-redirects", {"web/a.py": "r = Router(routes=[], redirect_slashes=True)"}),
    ("no-predictable-randomness", {"stores/a.py": "import random"}),
    ("no-predictable-randomness", {"demo/a.py": "from random import choice"}),
]


@pytest.mark.parametrize(("rule", "files"), BREACHES, ids=lambda value: value if isinstance(value, str) else "")
def test_a_breach_is_found(rule: str, files: dict[str, str], tmp_path: Path) -> None:
    """Each rule can fail: it speaks up about the smallest tree that breaks it, and names file and line."""
    found = walls.findings(_tree(tmp_path, files), rule)
    assert found
    assert {finding.path for finding in found} <= set(files)


def test_every_rule_was_shown_to_fail() -> None:
    """A new rule comes with its breach."""
    assert {rule for rule, _ in BREACHES} == set(walls.RULES)


# What looks similar to a breach and is none.
FAIR = {
    "__init__.py": "__version__ = '1'",
    "__main__.py": "from broker.cli import main",
    "app.py": "from broker import __version__, core, stores\napp = Starlette()\napp.router.redirect_slashes = False",
    "errors.py": "from enum import StrEnum",
    "cli/__init__.py": "from . import demo, serve",
    "cli/demo.py": "def run():\n    from broker.demo import story",
    "cli/serve.py": "from broker import app\nimport uvicorn",
    "core/a.py": (
        "from datetime import UTC, datetime\nfrom urllib.parse import urlsplit\nfrom pydantic import BaseModel\n"
        "from broker.errors import Denied\nfrom . import b\nfrom .b import x\n"
        "def decide(now: datetime) -> bool:\n    return now < datetime(2030, 1, 1, tzinfo=UTC)"
    ),
    "core/b.py": "from typing import assert_never",
    "core/release.py": "r = Release(claims={})",
    "demo/story.py": "from broker.app import build\nfrom broker.config.load import load\nimport authlib, aiohttp",
    "downstream/token.py": "from starlette.responses import RedirectResponse\nRedirectResponse('/', status_code=303)",
    "flows/login.py": "from broker.stores.ports import StateStore\nfrom broker.core import a",
    "observe/log.py": "import structlog",
    "stores/shelf.py": "from broker.stores.ports import Get\nfrom .sealing import Sealer",
    "stores/redis.py": "import redis.asyncio\nfrom broker.core.a import decide",
    "upstream/google.py": "from broker.core.identity import Evidence\nfrom broker.wire import jose\ne = Evidence()",
    "upstream/routes.py": "from starlette.routing import Route",
    "wire/http.py": "import aiohttp",
}


@pytest.mark.parametrize("rule", walls.RULES)
def test_what_is_allowed_is_not_found(rule: str, tmp_path: Path) -> None:
    """A rule that cries wolf gets switched off."""
    assert walls.findings(_tree(tmp_path, FAIR), rule) == []


def test_commands_do_not_load_the_demo() -> None:
    """The simulators are loaded when `stafett demo` runs and not before."""
    program = "import sys, broker.cli; print('broker.demo' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert run.stdout.strip() == "False", run.stderr


def _tree(root: Path, files: dict[str, str]) -> list[walls.Source]:
    for name, text in files.items():
        ast.parse(text)
        path = root / "broker" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return walls.read(root)
