"""
The shipped example with other addresses: the demo's config.

Only exact text is replaced, so that the rendered file keeps every comment and the example stays what people read.
"""

import re
import shutil
from dataclasses import dataclass, field, fields
from importlib import resources
from pathlib import Path

EXAMPLE = "stafett.example.yaml"


def _port(default: int, option: str, who: str) -> int:
    """A field of `Ports`: whose port it is, in words, and what chooses another: ``--OPTION-port``, and in make OPTION_PORT."""
    return field(default=default, metadata={"option": f"--{option}-port", "who": who})


@dataclass(frozen=True, slots=True)
class Ports:
    """The demo's ports; the defaults are those in the example."""

    broker: int = _port(8700, "broker", "The broker, on localhost.")
    shop: int = _port(8701, "shop", "The tyre shop, on 127.0.0.1 as all others.")
    garage: int = _port(8702, "garage", "The garage.")
    google: int = _port(8703, "google", "The simulated Google.")
    bankid_api: int = _port(8704, "bankid", "The simulated BankID API.")
    bankid_app: int = _port(8705, "phone", "The simulated BankID app.")
    hotel: int = _port(8706, "hotel", "The tyre hotel.")
    meta: int = _port(8707, "meta", "The simulated Facebook.")
    apple: int = _port(8708, "apple", "The simulated Apple.")
    eid: int = _port(8709, "eid", "The simulated Finnish eID.")
    staff: int = _port(8713, "staff", "The shop's own login for its staff.")
    mail: int = _port(8710, "mail", "The page of the simulated mailbox.")
    smtp: int = _port(8711, "smtp", "The simulated mail server.")
    sms: int = _port(8712, "sms", "The simulated gateway for text messages, and the phone that gets them.")
    workshop: int = _port(8714, "saml-garage", "The tyre workshop, a garage that speaks SAML.")
    eidas: int = _port(8715, "eidas", "The simulated eIDAS node.")


OPTIONS = {each.name: str(each.metadata["option"]) for each in fields(Ports)}
"""Which option of ``stafett demo`` chooses which of the `Ports`."""


def example_folder() -> Path:
    """Where the example, its schemas and logos are: inside the installed package, else ``config/`` of the checkout."""
    package = Path(str(resources.files("broker.config")))
    installed = package / "example"
    return installed if installed.is_dir() else package.parents[1] / "config"


def example_text() -> str:
    """The example as shipped."""
    return (example_folder() / EXAMPLE).read_text("utf-8")


def render_example(text: str, ports: Ports, *, data_dir: Path | None = None) -> str:
    """
    *text* with the default ports replaced by *ports*, and ``broker.data_dir`` by *data_dir*.

    All ports are replaced in one pass: they may be exchanged among each other.
    Raises:
        ValueError: a default address is not in *text*, so something would be left behind.
    """
    wanted = {getattr(Ports(), each.name): getattr(ports, each.name) for each in fields(Ports)}
    if missing := {str(port) for port in wanted} - {port for _, port in _PORT.findall(text)}:
        raise ValueError(f"the example has no address with port {', '.join(sorted(missing))}")
    text = _PORT.sub(lambda match: f"{match[1]}{wanted.get(int(match[2]), match[2])}", text)
    if data_dir is None:
        return text
    if _DATA_DIR not in text:
        raise ValueError(f"the example has no line {_DATA_DIR.strip()!r}")
    # JSON's quoting is YAML's double quoting, whatever the path holds.
    return text.replace(_DATA_DIR, f"\n  data_dir: {_quoted(data_dir)}\n")


def write_example(folder: Path, ports: Ports, *, data_dir: Path | None = None) -> Path:
    """
    Render the example into *folder* as ``stafett.yaml``, its schemas and logos beside it; returns the file.

    The secrets it refers to (``secrets/``, ``bankid/``) and the metadata (``metadata/``) are the caller's to make.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for part in ("schemas", "logos"):
        shutil.copytree(example_folder() / part, folder / part, dirs_exist_ok=True)
    path = folder / "stafett.yaml"
    path.write_text(render_example(example_text(), ports, data_dir=data_dir), "utf-8")
    return path


# A port in an address, or the value of broker.listen.port; not any other number that looks alike.
_PORT = re.compile(r"(\blocalhost:|\b127\.0\.0\.1:|\n    port: )([0-9]+)\b")
_DATA_DIR = "\n  data_dir: data\n"


def _quoted(path: Path) -> str:
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'
