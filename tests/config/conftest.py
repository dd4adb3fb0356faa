"""The shipped example in a folder of its own, with every secret it refers to, ready to be spoiled."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from broker.config.load import Loaded, load
from broker.config.render import example_folder, example_text
from broker.demo.providers.bankid.certificates import make_certificates
from broker.demo.workshop.keys import certificate_of
from broker.errors import ConfigError
from tests.stage import write_secrets

WAYS_IN = next(line.strip() for line in example_text().splitlines() if line.startswith("      upstreams: ["))
"""What the example says of how customers log in, at the shop as at the garage."""

SECRET = "0123456789abcdef0123456789abcdef"

Edit = tuple[str, str]


@dataclass
class Bench:
    """A folder with a config; `edit` the text, then `load` it or ask for its `problems`."""

    folder: Path
    text: str
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        return self.folder / "stafett.yaml"

    def edit(self, *edits: Edit) -> None:
        for old, new in edits:
            assert self.text.count(old) >= 1, f"the example no longer has {old!r}"
            self.text = self.text.replace(old, new, 1)

    def put(self, name: str, content: str | bytes, mode: int = 0o600) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(mode)
        return path

    def load(self) -> Loaded:
        self.path.write_text(self.text, "utf-8")
        return load(self.path, environment=self.environment)

    def problems(self) -> tuple[str, ...]:
        with pytest.raises(ConfigError) as caught:
            self.load()
        return caught.value.problems

    def line(self, snippet: str) -> int:
        """The number of the first line with *snippet*."""
        return next(number for number, line in enumerate(self.text.splitlines(), 1) if snippet in line)

    def sentence(self, snippet: str, key: str, advice: str) -> str:
        """The problem expected at the first line with *snippet*."""
        return f"{self.path}:{self.line(snippet)} {key}: {advice}"


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    for part in ("schemas", "logos"):
        shutil.copytree(example_folder() / part, folder / part)
    write_secrets(folder, SECRET + "\n")
    make_certificates(folder / "bankid", now=datetime.now(UTC))
    return folder


@pytest.fixture
def bench(prepared: Path, tmp_path: Path) -> Bench:
    folder = tmp_path / "config"
    shutil.copytree(prepared, folder)
    return Bench(folder, example_text())


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


@pytest.fixture(scope="session")
def keys() -> Mapping[str, str]:
    """PEM private keys, made once: they are slow to make."""
    return {
        "rsa": pem(rsa.generate_private_key(65537, 2048)),
        "small": pem(rsa.generate_private_key(65537, 1024)),
        "ec": pem(ec.generate_private_key(ec.SECP256R1())),
        "p384": pem(ec.generate_private_key(ec.SECP384R1())),
    }


@cache
def saml_key() -> rsa.RSAPrivateKey:
    """The broker's own as an identity provider, which production does not make."""
    return rsa.generate_private_key(65537, 2048)


def saml_certificate() -> str:
    """Of that key, as PEM."""
    certificate = x509.load_der_x509_certificate(certificate_of(saml_key()))
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


PRODUCTION: tuple[Edit, ...] = (
    ("mode: development\n", ""),
    ("issuer: http://localhost:8700", "issuer: https://login.example.com"),
    (
        "  outbound:\n",
        """\
  trusted_proxies: [10.0.0.0/8]
  state: {url: "env:REDIS_URL"}
  records: {url: "env:DATABASE_URL"}
  keys: {signing: ["file:rsa.pem", "file:ec.pem"], secret: "env:STAFETT_KEY"}
  saml: {keys: [{key: "file:secrets/saml.pem", certificate: saml.crt}]}
  outbound:
""",
    ),
    ("      - 127.0.0.0/8\n", "      - 10.1.0.0/16\n"),
    ('      - "::1/128"\n', ""),
    ("      api_url: https://127.0.0.1:8704/rp/v6.0/\n", ""),
    ("      launch_url: http://127.0.0.1:8705/\n      desktop_launch_url: http://127.0.0.1:8705/\n", ""),
    ("issuer: http://127.0.0.1:8703", "issuer: https://accounts.google.com"),
    ("risc_configuration: http://127.0.0.1:8703/", "risc_configuration: https://accounts.google.com/"),
    ("      dialog_origin: http://127.0.0.1:8707\n      graph_origin: http://127.0.0.1:8707\n", ""),
    ("      issuer: http://127.0.0.1:8708\n", ""),
    ("issuer: http://127.0.0.1:8709", "issuer: https://tunnistus.example"),
    ("issuer: http://127.0.0.1:8713", "issuer: https://login.nordhjul.example"),
    ("        api_url: http://127.0.0.1:8712/a1/sms\n", ""),
    ("entity_id: http://127.0.0.1:8715/", "entity_id: https://eidas.example/"),
)


@pytest.fixture
def production(bench: Bench, keys: Mapping[str, str]) -> Bench:
    """A config that production takes as it is: nothing in it is refused, nothing accepted."""
    bench.edit(*PRODUCTION)
    for port, host in (("8701", "shop"), ("8702", "garage"), ("8706", "hotel"), ("8714", "workshop")):
        bench.text = bench.text.replace(f"http://127.0.0.1:{port}", f"https://{host}.example")
    for name, port, host in (("tyre-workshop", "8714", "workshop"), ("eidas", "8715", "eidas")):
        described = (bench.folder / f"metadata/{name}.xml").read_text()
        bench.put(f"metadata/{name}.xml", described.replace(f"http://127.0.0.1:{port}", f"https://{host}.example"))
    bench.put("rsa.pem", keys["rsa"])
    bench.put("ec.pem", keys["ec"])
    bench.put("secrets/saml.pem", pem(saml_key()))
    bench.put("saml.crt", saml_certificate())
    bench.environment = {
        "REDIS_URL": "rediss://:word@redis.example:6379/0",
        "DATABASE_URL": "postgresql+asyncpg://stafett@db.example/stafett",
        "STAFETT_KEY": "A" * 43,
    }
    return bench


Refused = Callable[..., None]


@pytest.fixture
def refused(bench: Bench) -> Refused:
    """``refused(edits, at, key, advice)``: after *edits* exactly one problem, at the first line with *at*."""

    def check(edits: list[Edit], at: str, key: str, advice: str) -> None:
        bench.edit(*edits)
        assert bench.problems() == (bench.sentence(at, key, advice),)

    return check
