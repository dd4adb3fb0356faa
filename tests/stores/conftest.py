"""Databases for the tests of the stores themselves."""

import asyncio
from pathlib import Path

import pytest

from broker.stores.migrate import migrate


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without any table."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'records.sqlite3'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def migrated_url(empty_url: str) -> str:
    """A database with the newest schema."""
    asyncio.run(migrate(empty_url))
    return empty_url
