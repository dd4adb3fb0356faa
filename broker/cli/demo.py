"""
``stafett demo``: broker, simulated providers, tyre shop, garages and tyre hotel in one process, and with ``--check`` also the
customer.
"""

import asyncio
import contextlib
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from broker import __version__
from broker.app import build
from broker.cli.opening import open_records, open_state
from broker.cli.serve import bind, server
from broker.config.load import load
from broker.config.render import OPTIONS, Ports, write_example
from broker.config.settings import read_settings
from broker.demo.run import Addresses, Cast, Server, Serving, make_cast, running, server_of
from broker.demo.story import Report, play_all
from broker.errors import ConfigError
from broker.observe.logging import configure, log, put_back

LOG = "broker.log"


@dataclass(frozen=True, slots=True)
class Stage:
    """The running demo. ``ended``: set when a server gave up."""

    at: Addresses
    cast: Cast
    ended: asyncio.Event


def run(ports: Ports, folder: Path, *, check: bool, screenshots: Path | None) -> int:
    """
    Run the demo until Ctrl-C, or with *check* until the story is played.

    Args:
        folder: where config, data and log are kept; a check keeps its own below, so that it begins with nobody known.
        screenshots: where a check saves pictures; None for none.
    Returns: the exit code.
    Raises:
        ConfigError: a port that cannot be used.
    """
    folder = (folder / "check" if check else folder).absolute()
    try:
        with contextlib.ExitStack() as stack:
            sockets = {name: stack.enter_context(each) for name, each in listen(ports).items()}
            if check:
                shutil.rmtree(folder / "data", ignore_errors=True)
            work = _check(ports, folder, sockets, screenshots) if check else _wait(ports, folder, sockets)
            return asyncio.run(work)
    except KeyboardInterrupt:
        return 130 if check else 0


def listen(ports: Ports) -> dict[str, socket.socket]:
    """
    A listening socket for each of *ports*, by field name, before anything is started.

    Raises:
        ConfigError: a sentence for each port that cannot be used, naming its option.
    """
    sockets: dict[str, socket.socket] = {}
    problems = _impossible(ports)
    for each in fields(Ports) if not problems else ():
        try:
            sockets[each.name] = bind("127.0.0.1", getattr(ports, each.name), OPTIONS[each.name])
        except ConfigError as error:
            problems.extend(error.problems)
    if problems:
        for each_socket in sockets.values():
            each_socket.close()
        raise ConfigError(tuple(problems))
    return sockets


def _impossible(ports: Ports) -> list[str]:
    problems: list[str] = []
    seen: dict[int, str] = {}
    for name, option in OPTIONS.items():
        port = getattr(ports, name)
        if not 1 <= port <= 65535:
            problems.append(f"{option}: {port} is not a port; choose one from 1024 to 65535")
        elif port in seen:
            problems.append(f"{option}: port {port} is already given to {seen[port]}; choose another")
        seen[port] = option
    return problems


async def _wait(ports: Ports, folder: Path, sockets: dict[str, socket.socket]) -> int:
    """Run until somebody stops it."""
    stop = _stop_signal()
    _say(f"Stafett {__version__}, demo")
    async with staged(ports, folder, sockets, _say) as stage:
        _say(welcome(stage, folder))
        stopped, ended = asyncio.create_task(stop.wait()), asyncio.create_task(stage.ended.wait())
        await asyncio.wait({stopped, ended}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        ended.cancel()
        failed = not stop.is_set()
        _say("\n  Stopping ..." if not failed else f"\n  A server gave up; see {short(folder / LOG)}")
    _say("  Stopped. Nothing is running any more.")
    return 1 if failed else 0


async def _check(ports: Ports, folder: Path, sockets: dict[str, socket.socket], screenshots: Path | None) -> int:
    """Play the story, over HTTP and in a browser."""
    stop = _stop_signal()
    _say(f"Stafett {__version__}, demo: playing the story without a person")
    async with staged(ports, folder, sockets, _say) as stage:
        playing = asyncio.create_task(play_all(stage.at, Report(_say), pictures=screenshots))
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait({playing, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not playing.done():
            # Ctrl-C reaches the browser too, which then complains that it was interrupted.
            asyncio.get_running_loop().set_exception_handler(lambda *_: None)
            playing.cancel()
            await asyncio.gather(playing, return_exceptions=True)
            _say("  Stopped before the end.")
            return 130
        passed = playing.result()
    if not passed:
        _say(f"  The broker's log is in {short(folder / LOG)}")
    return 0 if passed else 1


@contextlib.asynccontextmanager
async def staged(
    ports: Ports, folder: Path, sockets: Mapping[str, socket.socket], say: Callable[[str], None]
) -> AsyncIterator[Stage]:
    """
    Everything, running on *sockets* until the block ends; *say* hears how it goes.

    Config, secrets and certificates are made in *folder* and kept for the next time; the log goes there too, so that it
    does not bury what people read.
    """
    config = write_example(folder, ports, data_dir=folder / "data")
    cast = make_cast(ports, folder)
    say(f"  Config: {short(config)}; secrets and certificates beside it")
    with _logging_to(folder / LOG):
        loaded = load(config)
        state, kind, stop_state = open_state(loaded)
        say(f"  Short-lived state: {kind}. Records: SQLite")
        try:
            async with open_records(loaded) as records:
                broker = build(loaded, state=state, records=records)
                servers: list[tuple[Serving, socket.socket]] = [(Server(server(broker).config), sockets["broker"])]
                servers += [(server_of(party), sockets[party.port]) for party in cast.parties]
                async with running(servers) as ended:
                    log("serving", issuer=loaded.policy.issuer, config_version=loaded.policy.version, state=kind)
                    say("  Running: the broker, " + ", ".join(party.name for party in cast.parties))
                    yield Stage(Addresses(ports), cast, ended)
        finally:
            await state.close()
            stop_state()


@contextlib.contextmanager
def _logging_to(file: Path) -> Iterator[None]:
    settings = read_settings()
    with put_back(), file.open("w", encoding="utf-8", buffering=1) as stream:
        configure(settings.log_level, json_lines=settings.log_format == "json", stream=stream)
        yield


def _stop_signal() -> asyncio.Event:
    """Set by Ctrl-C and by SIGTERM; a second one does not interrupt the stopping."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


def welcome(stage: Stage, folder: Path) -> str:
    """What a person reads when everything runs: where to click, what to try, who to be."""
    at, parties = stage.at, stage.cast.parties
    people = "\n".join(f"    {who}: {', '.join(names)}" for who, names in stage.cast.people.items())
    shown = [(f"{at.broker}/", "Stafett, the broker; your pages are at /shared")]
    shown += [(f"{at.of(party.port)}{party.path}", party.about) for party in parties if party.about]
    listed = "\n".join(f"    {address:<33} {about}" for address, about in shown)
    return f"""
  Begin here:  {at.shop}/      Nordhjul, the tyre shop

  What to try
    1. Look up a car (ABC 12D, KLM 481, RST 70E or UXN 93B) and buy tyres for it.
    2. Log in on the way with BankID. "Another device" shows a moving code: take a screenshot of it and paste it
       into the phone at {at.bankid_app}/ . "This device" opens the phone by itself.
    3. On the receipt, book the fitting. Stafett asks what may be shared; tick "do not ask again" and share.
    4. Buy again: this time the garage knows you at once, and nobody asks anything.
    5. Look at {at.broker}/shared and withdraw. The garage gets nothing more, and you are asked again.
    6. On a receipt, store your summer tyres: the same for a partner without OpenID Connect.
    7. Log out, and be somebody else with Google; or share nothing and go on as a guest.
    8. Ask for the shop's winter letter, follow its link from the mailbox, and have a code sent to where the letter went.
    9. On a receipt, choose the other garage: the same by SAML. Then log out at the shop.
   10. Be customer service at {at.broker}/staff (Karin), and ask a caller; the phone shows the question.
   11. Come from another EU country: behind "More ways", by an eIDAS node and the country of your choice.

  Who you can be
{people}

  The parties
{listed}

  The broker's log: {short(folder / LOG)}
  Ctrl-C stops everything."""


def short(path: Path) -> str:
    """*path* as seen from here, when it lies below."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _say(text: str) -> None:
    print(text, flush=True, file=sys.stdout)
