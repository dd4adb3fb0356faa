"""``stafett risc show``, ``register`` and ``verify``: where Google sends its security events."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from broker.app import utc_now
from broker.cli.opening import read
from broker.config.load import Loaded
from broker.errors import ConfigError, StafettError
from broker.upstream.oidc import OidcConfig
from broker.upstream.risc_stream import RiscStreams, ServiceAccount, parse_service_account
from broker.wire.http import Fetcher

T = TypeVar("T")


def show(config: Path | None, *, key: Path, upstream: str | None, api: str) -> None:
    """
    Tell what is registered.

    Raises: StafettError when it is not what this broker needs.
    """
    loaded, url = _addressed(config, upstream)
    stream = _done(loaded, key, api, lambda streams: streams.show(utc_now()))
    print(f"events go to {stream.url}" if stream.url else "events go nowhere")
    for event in sorted(stream.events):
        print(f"  {event}")
    if faults := stream.faults(url):
        raise StafettError("; ".join((*faults, "run: stafett risc register")))


def register(config: Path | None, *, key: Path, upstream: str | None, api: str) -> None:
    """Have the events sent here."""
    loaded, url = _addressed(config, upstream)
    _done(loaded, key, api, lambda streams: streams.register(url, utc_now()))
    print(f"events go to {url} from now on; try it: stafett risc verify")


def verify(config: Path | None, *, key: Path, upstream: str | None, api: str) -> None:
    """Have an event sent that changes nothing."""
    loaded, url = _addressed(config, upstream)
    state = f"stafett-{secrets.token_hex(4)}"
    _done(loaded, key, api, lambda streams: streams.verify(state, utc_now()))
    print(f"an event was asked for; the broker at {url} logs upstream.event with what=verification about={state}")


def _addressed(config: Path | None, upstream: str | None) -> tuple[Loaded, str]:
    """The config, and where it takes events of *upstream*; of the only one that has them when None."""
    loaded, _ = read(config)
    hear = [
        name
        for name, each in loaded.connectors.items()
        if isinstance(each, OidcConfig) and each.risc_configuration is not None
    ]
    meant = [name for name in hear if upstream in {None, name}]
    if len(meant) != 1:
        known = ", ".join(hear) or "none"
        raise ConfigError((f"--upstream: name one upstream with risc_configuration (there are: {known})",))
    return loaded, f"{loaded.policy.issuer}/up/{meant[0]}/events"


def _done(loaded: Loaded, key: Path, api: str, what: Callable[[RiscStreams], Awaitable[T]]) -> T:
    account = _account(key)

    async def run() -> T:
        fetcher = Fetcher(allow_private_networks=loaded.policy.broker.outbound.allow_private_networks)
        try:
            return await what(RiscStreams(account, fetcher, api=api.rstrip("/")))
        finally:
            await fetcher.close()

    return asyncio.run(run())


def _account(key: Path) -> ServiceAccount:
    try:
        return parse_service_account(key.read_text("utf-8"))
    except OSError as error:
        raise ConfigError((f"--key: {key} cannot be read ({error.strerror or 'no file'})",)) from None
    except ValueError as error:
        raise ConfigError((f"--key: {key} is {error}",)) from None
