"""One broker for the logout modules of one file; each test uses a browser of its own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.downstream.receiver import Village, open_village


@pytest_asyncio.fixture
async def village(stage_folder: Path) -> AsyncIterator[Village]:
    """A broker whose partners hear of logouts."""
    async with open_village(stage_folder) as opened:
        yield opened
