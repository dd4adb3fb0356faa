"""One broker for all tests of a module: what they check leaves nothing behind that the next one could meet."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.downstream.apis import Apis, open_apis
from tests.downstream.crowd import Crowd, open_crowd
from tests.downstream.saml_party import Party, open_party


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def crowd(prepared_stage: Path) -> AsyncIterator[Crowd]:
    """A broker with a partner for each way of being a client."""
    async with open_crowd(prepared_stage) as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def apis(prepared_stage: Path) -> AsyncIterator[Apis]:
    """A broker whose partners' access tokens are for APIs."""
    async with open_apis(prepared_stage) as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def party(prepared_stage: Path) -> AsyncIterator[Party]:
    """A broker whose partners are SAML service providers."""
    async with open_party(prepared_stage) as opened:
        yield opened
