"""The provider's metadata and keys over time, without a network: what is kept, for how long, and who may fetch."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from joserfc.jwk import ECKey

from broker.errors import UpstreamDown
from broker.wire.http import Fetched
from broker.wire.id_token import UnknownKey
from broker.wire.provider import Provider, lifetime

ISSUER = "https://id.example/tenant"
START = datetime(2026, 11, 1, 12, tzinfo=UTC)
DISCOVERY = {
    "issuer": ISSUER,
    "authorization_endpoint": "https://id.example/authorize",
    "token_endpoint": "https://id.example/token",
    "jwks_uri": "https://id.example/keys",
    "response_types_supported": ["code"],
    "id_token_signing_alg_values_supported": ["ES256"],
}


class Answers:
    """Stands where the fetcher stands: fixed answers, counted, given after a turn of the loop."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.key = ECKey.generate_key("P-256", {"kid": "first"})
        self.status = 200
        self.control = "max-age=86400"

    async def get_json(self, url: str, **_: Any) -> Fetched:
        self.calls[url] += 1
        await asyncio.get_running_loop().run_in_executor(None, lambda: None)
        keys = {"keys": [self.key.as_dict(private=False)]}
        content = DISCOVERY if "well-known" in url else keys
        return Fetched(self.status, {"cache-control": self.control}, content)

    def rotate(self, kid: str) -> None:
        self.key = ECKey.generate_key("P-256", {"kid": kid})


KEYS = "https://id.example/keys"


@pytest.mark.parametrize(
    ("control", "seconds"),
    [
        ("max-age=300", 300),
        ("public, max-age=19800, must-revalidate", 19800),
        ('MAX-AGE="300"', 300),
        ("max-age=1", 60),
        ("max-age=99999999", 86400),
        ("max-age=0", 60),
        ("no-store", 60),
        ("no-cache, max-age=300", 60),
        ("s-maxage=300", 3600),
        ("max-age=abc", 3600),
        ("max-age=-5", 3600),
        ("", 3600),
    ],
)
def test_cache_control_is_honoured_within_bounds(control, seconds):
    """Never shorter than a minute, never longer than a day, an hour when nothing is said."""
    assert lifetime({"cache-control": control}) == timedelta(seconds=seconds)


async def test_discovery_is_below_the_issuers_path():
    """OpenID Connect Discovery section 4: the path stays, the suffix is appended."""
    answers = Answers()
    await Provider(ISSUER, answers).metadata(START)
    assert list(answers.calls) == [f"{ISSUER}/.well-known/openid-configuration"]


async def test_a_thousand_unknown_keys_at_once_fetch_once():
    """B9: single flight, and then nothing for a minute."""
    answers = Answers()
    provider = Provider(ISSUER, answers)
    known = await provider.keys(START)
    answers.calls.clear()
    found = await asyncio.gather(
        *(provider.keys_after_rotation(START, unknown_in=known) for _ in range(1000)), return_exceptions=True
    )
    assert answers.calls[KEYS] == 1
    assert len({id(keys) for keys in found}) == 1
    for second in (1, 30, 59):
        newest = await provider.keys(START)
        with pytest.raises(UnknownKey):
            await provider.keys_after_rotation(START + timedelta(seconds=second), unknown_in=newest)
    assert answers.calls[KEYS] == 1
    assert await provider.keys_after_rotation(START + timedelta(seconds=60), unknown_in=await provider.keys(START))
    assert answers.calls[KEYS] == 2


async def test_who_waits_gets_the_new_keys():
    """A login that meets a rotation while another fetches is served by that fetch, not refused."""
    answers = Answers()
    provider = Provider(ISSUER, answers)
    known = await provider.keys(START)
    answers.rotate("second")
    sets = await asyncio.gather(*(provider.keys_after_rotation(START, unknown_in=known) for _ in range(5)))
    assert all(keys.find("second", "ES256") for keys in sets)


async def test_a_failed_refetch_keeps_the_old_keys_and_counts():
    """An ill key endpoint does not log out those whose key we know, nor is it hammered."""
    answers = Answers()
    provider = Provider(ISSUER, answers)
    known = await provider.keys(START)
    answers.status = 404
    with pytest.raises(UpstreamDown):
        await provider.keys_after_rotation(START, unknown_in=known)
    with pytest.raises(UnknownKey):
        await provider.keys_after_rotation(START + timedelta(seconds=1), unknown_in=known)
    assert await provider.keys(START + timedelta(seconds=2)) is known


async def test_a_caller_that_goes_away_does_not_take_the_fetch_with_it():
    """A closed browser tab cancels its own request; the next one fetches again and is served."""
    answers = Answers()
    provider = Provider(ISSUER, answers)
    leaving = asyncio.create_task(provider.metadata(START))
    await asyncio.sleep(0)
    staying = asyncio.create_task(provider.metadata(START))
    await asyncio.sleep(0)
    leaving.cancel()
    assert (await staying).issuer == ISSUER
