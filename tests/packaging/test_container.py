"""The Containerfile, read as a reviewer would: what goes in is fixed, and what runs has no privilege and needs no shell."""

import fnmatch
import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "Containerfile").read_text("utf-8")
WORD = re.compile(r"^([A-Z]+)\s+(.*)$", re.DOTALL)


@dataclass(frozen=True)
class Instruction:
    """One instruction: its word and what follows."""

    word: str
    rest: str


def stages(text: str) -> list[list[Instruction]]:
    """The instructions before the first FROM, then those of each stage."""
    plain = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    found: list[list[Instruction]] = [[]]
    for line in plain.replace("\\\n", " ").splitlines():
        if match := WORD.match(line):
            if match[1] == "FROM":
                found.append([])
            found[-1].append(Instruction(match[1], " ".join(match[2].split())))
    return found


HEAD, BUILD, FINAL = stages(TEXT)


def of(word: str, stage: list[Instruction]) -> list[str]:
    return [each.rest for each in stage if each.word == word]


def sources() -> list[str]:
    """What is copied from the checkout."""
    return [source for rest in of("COPY", BUILD) for source in rest.split(" ")[:-1]]


def test_the_base_is_one_exact_version_that_a_digest_can_replace() -> None:
    """G3: both stages stand on the same Python, of a patch release and a Debian; production gives its digest."""
    (argument,) = of("ARG", HEAD)
    assert re.fullmatch(r"PYTHON_IMAGE=docker\.io/library/python:3\.\d+\.\d+-slim-[a-z]+", argument)
    assert of("FROM", BUILD) == ["${PYTHON_IMAGE} AS build"]
    assert of("FROM", FINAL) == ["${PYTHON_IMAGE}"]
    assert "--build-arg PYTHON_IMAGE=docker.io/library/python@sha256:" in TEXT


def test_nothing_is_downloaded_but_what_the_lock_fixes_by_hash() -> None:
    """G1, G2: one download, with hashes and wheels only; whatever is installed comes from there."""
    commands = [json.loads(rest) for rest in of("RUN", BUILD)]
    (download,) = (command for command in commands if "download" in command)
    assert {"--require-hashes", "--no-deps"} <= set(download)
    assert download[download.index("--only-binary") + 1] == ":all:"
    assert download[download.index("--requirement") + 1] == "demo.lock"
    installs = [command for command in commands if {"install", "wheel"} & set(command)]
    assert len(installs) == 3
    assert all("--no-index" in command for command in installs)
    assert not re.search(r"\b(curl|wget|apt-get|apk|git|ADD)\b", TEXT)


def test_no_command_needs_a_shell() -> None:
    """Exec form everywhere, so that the base may be one without; signals reach the broker itself."""
    for stage in (BUILD, FINAL):
        for word in ("RUN", "ENTRYPOINT", "CMD"):
            assert all(isinstance(json.loads(rest), list) for rest in of(word, stage))
    assert of("SHELL", FINAL) == []
    assert (of("ENTRYPOINT", FINAL), of("CMD", FINAL)) == (['["/opt/stafett/bin/stafett"]'], ['["serve"]'])


def test_the_broker_runs_without_privilege() -> None:
    """A number, for Kubernetes cannot tell whether a name is root; the same one as in the chart; nothing becomes its own."""
    values = yaml.safe_load((ROOT / "helm/stafett/values.yaml").read_text())
    assert of("USER", FINAL) == [f"{values['user']}:{values['user']}"]
    assert of("COPY", FINAL) == ["--from=build /opt/stafett /opt/stafett"]
    assert of("RUN", FINAL) == []
    assert "--chown" not in TEXT
    assert "--without-pip" in TEXT


def test_image_and_chart_mean_the_same_places() -> None:
    """Where the config is mounted, and the port of the chart's own trust config."""
    chart = (ROOT / "helm/stafett/templates/_stafett.tpl").read_text()
    (environment,) = of("ENV", FINAL)
    path = dict(each.split("=", 1) for each in environment.split(" "))["STAFETT_CONFIG"]
    assert f"value: {path}\n" in chart
    trust_config = yaml.safe_load((ROOT / "helm/stafett/files/stafett.yaml").read_text())
    assert of("EXPOSE", FINAL) == [str(trust_config["broker"]["listen"]["port"])]
    assert of("HEALTHCHECK", FINAL) == []


def test_what_is_copied_is_there_and_is_named_one_by_one() -> None:
    """No COPY of the whole checkout, where secrets may lie."""
    assert {"broker/", "pyproject.toml", "setup/demo.lock", "config/stafett.example.yaml"} <= set(sources())
    assert all((ROOT / source).exists() for source in sources())
    assert not {".", "./", "config/", "config"} & set(sources())


def contents(folder: Path, dist: Path) -> dict[str, int]:
    """The files of the wheel built from *folder*, with their checksums; its record, which names them all, aside."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(dist)]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    (built,) = dist.glob("*.whl")
    with zipfile.ZipFile(built) as wheel:
        return {each.filename: each.CRC for each in wheel.infolist() if not each.filename.endswith("/RECORD")}


def test_what_is_copied_is_enough_for_the_same_wheel(tmp_path: Path) -> None:
    """The image's wheel is that of the checkout, file by file: templates, compiled languages, schemas, migrations."""
    for rest in of("COPY", BUILD):
        *given, target = rest.split(" ")
        for source in given:
            to = tmp_path / "build" / target
            if source.endswith("/"):
                shutil.copytree(ROOT / source, to, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                to.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / source, to)
    assert contents(tmp_path / "build", tmp_path / "there") == contents(ROOT, tmp_path / "here")


def test_what_starts_is_what_the_wheel_installs() -> None:
    """The entry point is the project's own command, in the environment the wheel, and nothing by hand, was installed into."""
    (command,) = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["scripts"]
    (entry,) = json.loads(of("ENTRYPOINT", FINAL)[0])
    (place,) = [json.loads(rest)[-1] for rest in of("RUN", BUILD) if '"venv"' in rest]
    assert entry == f"{place}/bin/{command}"
    install = next(json.loads(rest) for rest in of("RUN", BUILD) if '"--python"' in rest)
    assert install[install.index("--python") + 1] == f"{place}/bin/python"
    assert install[-1] == "stafett"
    assert "--editable" not in TEXT
    assert " broker" not in " ".join(of("COPY", FINAL))


def is_sent(path: str) -> bool:
    """Whether .containerignore lets *path* go to the builder: the last line that matches it decides."""
    sent = True
    lines = [line for line in (ROOT / ".containerignore").read_text().splitlines() if line and line[0] != "#"]
    for line in lines:
        pattern = line.removeprefix("!").removeprefix("**/")
        parts = path.split("/")
        tails = ["/".join(parts[start:end]) for start in range(len(parts)) for end in range(start + 1, len(parts) + 1)]
        heads = [each for each in tails if path.startswith(each)] if "**/" not in line else tails
        if any(fnmatch.fnmatchcase(each, pattern) and each.count("/") == pattern.count("/") for each in heads):
            sent = line.startswith("!")
    return sent


@pytest.mark.parametrize(
    "path", [*sources(), "broker/pages/templates/base.html", "config/schemas/tyre-fitting-v1.json"]
)
def test_the_builder_gets_what_it_copies(path: str) -> None:
    """.containerignore forgets nothing."""
    assert is_sent(path.rstrip("/"))


@pytest.mark.parametrize(
    "path",
    [".git/config", ".venv/bin/python", "build/demo/secrets/garage", "config/secrets/google", "config/bankid/rp.key",
     "stafett.yaml", "tests/servers.py", "broker/__pycache__/app.cpython-311.pyc", "setup/dev.lock"],
)  # fmt: skip
def test_the_builder_gets_nothing_else(path: str) -> None:
    """Secrets, data and history do not even reach it."""
    assert not is_sent(path)
