"""
The program ``stafett``: one module per command.

Exit codes: 0 done, 1 the config or the work has problems, 2 wrong usage, 3 something the broker needs is not reachable.
"""

import re
import sys
from collections.abc import Callable
from dataclasses import fields
from datetime import timedelta
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperCommand

from broker import __version__
from broker.config.render import Ports
from broker.errors import ConfigError, StafettError, StoreDown

app = typer.Typer(
    name="stafett",
    help="Stafett, a federation broker for partner single sign-on.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", help="The trust config. Default: $STAFETT_CONFIG, else stafett.yaml.")
]


def _version(asked: bool) -> None:
    if asked:
        print(f"stafett {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Shared by all commands."""


@app.command()
def serve(config: ConfigOption = None) -> None:
    """Run the broker."""
    from broker.cli.serve import run

    run(config)


@app.command("check-config")
def check_config(
    file: Annotated[Path, typer.Argument(help="The YAML file to check.")],
    format: Annotated[Literal["text", "json"], typer.Option(help="For people, or for machines.")] = "text",
) -> None:
    """Say what is wrong with a trust config.

    Each problem with file, line, key and what to do.
    """
    from broker.cli.check_config import run

    raise typer.Exit(run(file, as_json=format == "json"))


@app.command()
def migrate(config: ConfigOption = None) -> None:
    """Bring the database to this version's schema."""
    from broker.cli.maintain import migrate

    migrate(config)


@app.command()
def sweep(config: ConfigOption = None) -> None:
    """Erase what is past its retention. Run it daily."""
    from broker.cli.maintain import sweep

    sweep(config)


keys = typer.Typer(name="keys", help="Signing keys: where they stand, and their renewal.", no_args_is_help=True)
app.add_typer(keys)


@keys.command("list")
def keys_list(
    config: ConfigOption = None,
    format: Annotated[Literal["text", "json"], typer.Option(help="For people, or for machines.")] = "text",
) -> None:
    """Tell every key: what it does, since when, what comes next."""
    from broker.cli.keys import list_keys

    list_keys(config, as_json=format == "json")


@keys.command("rotate")
def keys_rotate(
    config: ConfigOption = None,
    alg: Annotated[str | None, typer.Option(help="RS256 or ES256. Default: each of them.")] = None,
    now: Annotated[bool, typer.Option("--now", help="It signs at once, before partners can have it.")] = False,
    even_if_logins_fail: Annotated[bool, typer.Option("--even-if-logins-fail", help="Needed with --now.")] = False,
) -> None:
    """Make new keys: published now, signing once every partner can have them.

    Where there are no keys yet, makes the first ones.
    """
    from broker.cli.keys import rotate

    rotate(config, alg, at_once=now, even_if_logins_fail=even_if_logins_fail)


class _OfOneKey(TyperCommand):
    """Takes a key's name for one also where it begins with a dash: it is a digest in base64url, and options are shorter."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """*args*, in which such a name comes last, behind what says that no option follows."""
        names = [arg for arg in args if _KEY_LIKE_AN_OPTION.fullmatch(arg)]
        if names and "--" not in args:
            args = [*(arg for arg in args if arg not in names), "--", *names]
        return super().parse_args(ctx, args)


_KEY_LIKE_AN_OPTION = re.compile(r"-[A-Za-z0-9_-]{15,}")


@keys.command("retire", cls=_OfOneKey)
def keys_retire(
    kid: Annotated[str, typer.Argument(help="The key; the first 16 characters are enough.")],
    config: ConfigOption = None,
    compromised: Annotated[
        bool, typer.Option("--compromised", help="Somebody else may have it: out of use at once, whatever breaks.")
    ] = False,
) -> None:
    """Take a key out of use without breaking anything.

    One that signs gets a successor first.
    """
    from broker.cli.keys import retire

    retire(config, kid, compromised=compromised)


logouts = typer.Typer(no_args_is_help=True, help="Partners that must be told of logouts.", rich_markup_mode=None)
app.add_typer(logouts, name="logouts")


@logouts.command("list")
def logouts_list(
    partner: Annotated[str | None, typer.Option(help="Only this partner's.")] = None,
    told: Annotated[bool, typer.Option("--told", help="Also those that were told.")] = False,
    config: ConfigOption = None,
) -> None:
    """Show which partners were not told of a logout."""
    from broker.cli.logouts import list_all

    list_all(config, partner=partner, told=told)


@logouts.command("retry")
def logouts_retry(
    partner: Annotated[str | None, typer.Option(help="Only this partner's.")] = None,
    notice: Annotated[str | None, typer.Option("--id", help="Only this one.")] = None,
    config: ConfigOption = None,
) -> None:
    """Tell partners again that refused or did not answer."""
    from broker.cli.logouts import retry

    retry(config, partner=partner, notice=notice)


risc = typer.Typer(no_args_is_help=True, help="Where Google sends its security events.", rich_markup_mode=None)
app.add_typer(risc, name="risc")

KeyOption = Annotated[Path, typer.Option("--key", help="JSON key of a service account with roles/riscconfigs.admin.")]
UpstreamOption = Annotated[str | None, typer.Option(help="Which one, where several tell of events.")]
ApiOption = Annotated[str, typer.Option(help="Where the API is.")]
RISC_API = "https://risc.googleapis.com/v1beta"


@risc.command("show")
def risc_show(
    key: KeyOption, upstream: UpstreamOption = None, api: ApiOption = RISC_API, config: ConfigOption = None
) -> None:
    """Show what is registered; exit code 1 when it is not what this broker needs."""
    from broker.cli.risc import show

    show(config, key=key, upstream=upstream, api=api)


@risc.command("register")
def risc_register(
    key: KeyOption, upstream: UpstreamOption = None, api: ApiOption = RISC_API, config: ConfigOption = None
) -> None:
    """Have security events sent to this broker."""
    from broker.cli.risc import register

    register(config, key=key, upstream=upstream, api=api)


@risc.command("verify")
def risc_verify(
    key: KeyOption, upstream: UpstreamOption = None, api: ApiOption = RISC_API, config: ConfigOption = None
) -> None:
    """Have an event sent that changes nothing, to see it arrive."""
    from broker.cli.risc import verify

    verify(config, key=key, upstream=upstream, api=api)


metadata = typer.Typer(no_args_is_help=True, help="SAML metadata of partners and providers.", rich_markup_mode=None)
app.add_typer(metadata, name="metadata")

What = Annotated[str, typer.Argument(help="A file, or the name of a source in the config.")]
Entity = Annotated[str | None, typer.Option(help="Only this entityID. An MDQ server needs it.")]
Certificates = Annotated[
    list[Path] | None,
    typer.Option("--certificate", help="For a file: PEM file of who must have signed it; repeatable."),
]


@metadata.command("show")
def metadata_show(
    what: What,
    entity: Entity = None,
    certificate: Certificates = None,
    config: ConfigOption = None,
    format: Annotated[Literal["text", "json"], typer.Option(help="For people, or for machines.")] = "text",
) -> None:
    """Tell who is in it: roles, keys, ends."""
    from broker.cli.metadata import Asked, show

    show(Asked(what, config, certificate or (), entity=entity), as_json=format == "json")


@metadata.command("verify")
def metadata_verify(
    what: What,
    entity: Entity = None,
    certificate: Certificates = None,
    max_validity_days: Annotated[
        int, typer.Option(min=1, max=90, help="For a file: how far away its end may be.")
    ] = 28,
    config: ConfigOption = None,
) -> None:
    """Say whether the broker would believe it, and if not, why."""
    from broker.cli.metadata import Asked, verify

    verify(Asked(what, config, certificate or (), timedelta(days=max_validity_days), entity))


@metadata.command("fetch")
def metadata_fetch(
    what: Annotated[str, typer.Argument(help="The name of a source in the config.")],
    out: Annotated[Path, typer.Option(help="The file to write.")],
    entity: Entity = None,
    config: ConfigOption = None,
) -> None:
    """Fetch it into a file, once it is verified."""
    from broker.cli.metadata import Asked, fetch

    fetch(Asked(what, config, entity=entity), out)


def demo(
    check: Annotated[bool, typer.Option("--check", help="Play the whole story without a person, then stop.")] = False,
    screenshots: Annotated[Path | None, typer.Option(help="With --check: where to save pictures.")] = None,
    folder: Annotated[Path, typer.Option(help="Where the demo keeps its config and data.")] = Path("build/demo"),
    **ports: int,
) -> None:
    """Run the whole story on this machine.

    Broker, simulated providers, tyre shop, garages and tyre hotel; Ctrl-C stops it.
    """
    try:
        from broker.cli.demo import run
    except ImportError as missing:
        print(
            f"stafett: the demo needs the extra 'demo' ({missing.name} is missing): pip install 'stafett[demo]'",
            file=sys.stderr,
        )
        raise typer.Exit(2) from None
    raise typer.Exit(run(Ports(**ports), folder, check=check, screenshots=screenshots))


def _with_ports(command: Callable[..., None]) -> Callable[..., None]:
    """*command* with an option for each of the demo's ports, in place of its ``**ports``."""
    others = [each for each in signature(command).parameters.values() if each.kind is not Parameter.VAR_KEYWORD]
    chosen = [
        Parameter(
            each.name,
            Parameter.KEYWORD_ONLY,
            default=each.default,
            annotation=Annotated[int, typer.Option(each.metadata["option"], help=each.metadata["who"])],
        )
        for each in fields(Ports)
    ]
    kept = [each.replace(kind=Parameter.KEYWORD_ONLY) for each in others]
    # typer reads both.
    command.__signature__ = Signature([*chosen, *kept])  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in (*chosen, *kept)}
    return command


app.command()(_with_ports(demo))


def main() -> None:
    """Run the program; mistakes of users are sentences, not stack traces."""
    try:
        app(prog_name="stafett")
    except ConfigError as error:
        print("\n".join(error.problems), file=sys.stderr)
        raise SystemExit(1) from None
    except StoreDown as error:
        print(f"stafett: {error.detail}", file=sys.stderr)
        raise SystemExit(3) from None
    except StafettError as error:
        print(f"stafett: {error.detail}", file=sys.stderr)
        raise SystemExit(1) from None
    except OSError as error:
        # A disk that is full, a file of somebody else's: the system's words and the file say it best.
        print(f"stafett: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
