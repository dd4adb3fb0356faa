"""The Helm chart: what helm 3 and helm 4 make of it, judged as a cluster would, and as the broker in the pod would."""

import base64
import http.client
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from broker import __version__
from broker.config.load import Loaded, load
from broker.config.render import example_text
from broker.core.policy import Mode
from broker.demo.providers.bankid.certificates import make_certificates
from broker.demo.workshop import metadata
from tests.config.conftest import PRODUCTION, pem, saml_certificate, saml_key
from tests.packaging.charts import CHART, ROOT, Helm, Rendered, is_hook
from tests.servers import free_port
from tests.stage import START, WORKSHOP, metadata_of_node, node_keys, workshop_keys

# The oldest the chart allows, one between, the newest whose schemas are known.
VERSIONS = ("1.30", "1.34", "1.37")
LOGOS = ("tyre-shop", "garage", "tyre-hotel", "tyre-workshop")

EVERYTHING = """\
image: {repository: registry.example.com/login/stafett, digest: "sha256:%s", pullSecrets: [registry]}
env: {STAFETT_LOG_LEVEL: debug}
service: {annotations: {a.example/b: c}}
ingress: {className: nginx, annotations: {nginx.ingress.kubernetes.io/proxy-body-size: 64k}, tls: {secretName: wildcard}}
autoscaling: {enabled: true}
networkPolicy:
  storesTo: [{ipBlock: {cidr: 10.20.0.0/16}}]
  extraEgress: [{to: [{ipBlock: {cidr: 10.9.0.1/32}}], ports: [{protocol: TCP, port: 4318}]}]
podAnnotations: {prometheus.io/scrape: "false"}
podLabels: {team: login}
signingKeys: {claim: stafett-signing-keys}
nodeSelector: {kubernetes.io/arch: amd64}
tolerations: [{key: login, operator: Exists}]
priorityClassName: customers
""" % ("ab" * 32)  # fmt: skip


@pytest.fixture(params=[3, 4], ids=["helm3", "helm4"])
def helm(request: pytest.FixtureRequest, tmp_path: Path) -> Helm:
    """Both that operators have."""
    return Helm(request.param, tmp_path / "home")


@pytest.fixture
def helm4(tmp_path: Path) -> Helm:
    """Where one is enough: that both render the same is a test of its own."""
    return Helm(4, tmp_path / "home")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    """The chart with no value of one's own."""
    return Helm(4, tmp_path_factory.mktemp("home")).render()


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Every switch on, as arguments."""
    path = tmp_path_factory.mktemp("values") / "everything.yaml"
    path.write_text(EVERYTHING)
    return ["--values", str(path)]


# What helm and the cluster say


def test_helm_finds_nothing_to_complain_about(helm: Helm, everything: list[str]) -> None:
    """Neither version has so much as a warning, as it is and with everything on."""
    for arguments in ([], everything):
        done = helm.run("lint", "--strict", str(CHART), *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "[WARNING]" not in done.stdout


def test_both_versions_render_the_same(tmp_path: Path, everything: list[str]) -> None:
    """Whoever moves on to helm 4 gets no other deployment."""
    three, four = (Helm(major, tmp_path).render(*everything) for major in (3, 4))
    assert sorted(three.objects, key=str) == sorted(four.objects, key=str)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_known_to_kubernetes(helm: Helm, everything: list[str], version: str) -> None:
    """No field that this version's schemas do not have; strict, for the cluster would drop it without a word."""
    for arguments in ([], everything):
        rendered = helm.render(*arguments, version=version)
        used = {kubernetes_validate.validate(dict(each), version, strict=True) for each in rendered.objects}
        assert used == {version}


def test_an_unknown_field_would_be_found(plain: Rendered) -> None:
    """The check above can fail."""
    spoiled = dict(plain.one("Deployment"))
    spoiled["spec"] = {**spoiled["spec"], "replica": 2}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(spoiled, "1.37", strict=True)


def test_a_cluster_too_old_is_refused(helm4: Helm) -> None:
    """Better at once than a preStop hook that is quietly missing."""
    assert "kubeVersion" in helm4.refusal("--kube-version", "1.29.0")


def test_the_chart_is_of_this_version() -> None:
    """Chart and broker are released together."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)


# Pods


def test_every_pod_is_locked_down(plain: Rendered) -> None:
    """G3: no root, no privilege, nothing writable but a small tmp, no token; as Pod Security Standard "restricted" wants."""
    assert [kind for kind, _ in plain.pods()] == ["Deployment", "CronJob", "Job"]
    for _, pod in plain.pods():
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        assert not pod.keys() & {"hostNetwork", "hostPID", "hostIPC", "serviceAccountName", "initContainers"}
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] == security["runAsGroup"] == security["fsGroup"] == 10001
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"].keys() == container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert "command" not in container, "the image's entry point is the broker, not a shell"
        mounts = {mount["mountPath"]: mount.get("readOnly", False) for mount in container["volumeMounts"]}
        assert mounts == {"/etc/stafett": True, "/tmp": False}
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert volumes["tmp"]["emptyDir"]["sizeLimit"] == "16Mi"
        assert volumes["config"]["projected"]["defaultMode"] == 0o440


def test_the_broker_is_probed_drained_and_replaced_one_by_one(plain: Rendered) -> None:
    """A copy gets requests only when ready, goes on answering until the ingress knows, and leaves when its successor is up."""
    deployment = plain.one("Deployment")["spec"]
    (container,) = deployment["template"]["spec"]["containers"]
    probes = {name: container[name]["httpGet"]["path"] for name in container if name.endswith("Probe")}
    assert probes == {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}
    assert container["lifecycle"] == {"preStop": {"sleep": {"seconds": 5}}}
    assert deployment["template"]["spec"]["terminationGracePeriodSeconds"] >= 5 + 15
    assert deployment["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert deployment["replicas"] == 2
    spread = deployment["template"]["spec"]["topologySpreadConstraints"]
    assert [each["topologyKey"] for each in spread] == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]


def test_each_pod_runs_one_command(plain: Rendered) -> None:
    """serve, sweep, migrate: the words of the program."""
    commands = {kind: pod["containers"][0]["args"] for kind, pod in plain.pods()}
    assert commands == {"Deployment": ["serve"], "CronJob": ["sweep"], "Job": ["migrate"]}


def test_selectors_find_their_pods_and_no_others(plain: Rendered) -> None:
    """The service and the budget mean the broker's pods; the network policy means the jobs' too."""
    deployment = plain.one("Deployment")["spec"]
    broker = deployment["template"]["metadata"]["labels"].items()
    job = plain.one("Job", hook=True)["spec"]["template"]["metadata"]["labels"].items()
    selectors = {
        "Deployment": deployment["selector"]["matchLabels"],
        "Service": plain.one("Service")["spec"]["selector"],
        "PodDisruptionBudget": plain.one("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        "NetworkPolicy": plain.one("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
    }
    assert all(selector.items() <= broker for selector in selectors.values())
    assert [kind for kind, selector in selectors.items() if selector.items() <= job] == ["NetworkPolicy"]


# Around them


def test_host_and_port_follow_from_the_trust_config(helm4: Helm, tmp_path: Path) -> None:
    """Said once: a host in the ingress that is not the issuer's would be answered with 421."""
    text = (CHART / "files/stafett.yaml").read_text()
    text = text.replace("https://login.example.com", "https://id.shop.example:8443").replace("port: 8700", "port: 9000")
    path = tmp_path / "stafett.yaml"
    path.write_text(text)
    rendered = helm4.render("--set-file", f"trustConfig={path}")
    ingress = rendered.one("Ingress")["spec"]
    assert ingress["rules"][0]["host"] == "id.shop.example"
    assert ingress["tls"] == [{"hosts": ["id.shop.example"], "secretName": "login-stafett-tls"}]
    (port,) = rendered.one("Deployment")["spec"]["template"]["spec"]["containers"][0]["ports"]
    assert port["containerPort"] == 9000
    assert rendered.one("NetworkPolicy")["spec"]["ingress"][0]["ports"] == [{"protocol": "TCP", "port": 9000}]


def test_the_network_policy_closes_both_ways(plain: Rendered) -> None:
    """G3: only the ingress controller calls; out go names, stores and public addresses, never the cloud's own."""
    spec = plain.one("NetworkPolicy")["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert all(rule["from"] for rule in spec["ingress"])
    anywhere = [rule for rule in spec["egress"] if not rule.get("to")]
    assert sorted(port["port"] for rule in anywhere for port in rule["ports"]) == [53, 53, 5432, 6379]
    (public,) = (rule for rule in spec["egress"] if rule.get("to"))
    excepted = [network for peer in public["to"] for network in peer["ipBlock"]["except"]]
    assert {"10.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"} <= set(excepted)


def test_metrics_have_a_port_of_their_own_for_named_readers(helm4: Helm, tmp_path: Path) -> None:
    """Served when the trust config says so, let through for whom the values name, and never by the service."""
    path = tmp_path / "stafett.yaml"
    metrics = "\nbroker:\n  telemetry: {metrics: {enabled: true, listen: {host: 0.0.0.0, port: 9999}}}\n"
    path.write_text((CHART / "files/stafett.yaml").read_text().replace("\nbroker:\n", metrics))
    values = tmp_path / "values.yaml"
    values.write_text("networkPolicy: {metricsFrom: [{podSelector: {matchLabels: {app: prometheus}}}]}\n")
    given = ("--set-file", f"trustConfig={path}")
    closed, rendered = helm4.render(*given), helm4.render(*given, "--values", str(values))
    (container,) = rendered.one("Deployment")["spec"]["template"]["spec"]["containers"]
    assert {port["name"]: port["containerPort"] for port in container["ports"]} == {"http": 8700, "metrics": 9999}
    rule = rendered.one("NetworkPolicy")["spec"]["ingress"][1]
    assert rule["from"] == [{"podSelector": {"matchLabels": {"app": "prometheus"}}}]
    assert rule["ports"] == [{"protocol": "TCP", "port": 9999}]
    assert len(closed.one("NetworkPolicy")["spec"]["ingress"]) == 1
    assert [port["name"] for port in rendered.one("Service")["spec"]["ports"]] == ["http"]


def test_the_database_is_prepared_before_anything_changes(plain: Rendered) -> None:
    """A hook has nothing of the release yet, so the job brings its config; helm clears both away when it went well."""
    job, config = plain.one("Job", hook=True), plain.one("ConfigMap", hook=True)
    (pod,) = (pod for kind, pod in plain.pods() if kind == "Job")
    assert pod["volumes"][0]["projected"]["sources"][0]["configMap"]["name"] == config["metadata"]["name"]
    for each in (job, config):
        annotations = each["metadata"]["annotations"]
        assert annotations["helm.sh/hook"] == "pre-install,pre-upgrade"
        assert annotations["helm.sh/hook-delete-policy"] == "before-hook-creation,hook-succeeded"
    weights = [int(each["metadata"]["annotations"]["helm.sh/hook-weight"]) for each in (config, job)]
    assert weights[0] < weights[1]
    assert config["data"] == plain.one("ConfigMap")["data"]


def test_a_changed_config_starts_new_copies(helm4: Helm, plain: Rendered) -> None:
    """The broker reads its files when it starts."""

    def checksum(rendered: Rendered) -> str:
        return rendered.one("Deployment")["spec"]["template"]["metadata"]["annotations"]["checksum/config"]

    assert checksum(helm4.render("--set-string", "files.a=b")) != checksum(plain)
    assert checksum(helm4.render("--set-string", "podLabels.a=b")) == checksum(plain)


def test_optional_parts_are_optional(helm4: Helm) -> None:
    """What is switched off leaves nothing behind."""
    off = ["ingress", "migrate", "sweep", "disruptionBudget", "networkPolicy"]
    rendered = helm4.render("--set", ",".join(f"{part}.enabled=false" for part in off))
    assert sorted(each["kind"] for each in rendered.objects) == ["ConfigMap", "Deployment", "Service"]


def test_everything_on(helm4: Helm, everything: list[str]) -> None:
    """With autoscaling nobody else sets the number of copies; a digest goes before a tag."""
    rendered = helm4.render(*everything)
    assert "replicas" not in rendered.one("Deployment")["spec"]
    assert rendered.one("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]["name"] == "login-stafett"
    images = {pod["containers"][0]["image"] for _, pod in rendered.pods()}
    assert images == {f"registry.example.com/login/stafett@sha256:{'ab' * 32}"}
    assert rendered.one("Ingress")["spec"]["tls"][0]["secretName"] == "wildcard"


def test_the_chart_makes_no_secrets(helm4: Helm, everything: list[str]) -> None:
    """Secrets are referred to, never rendered: helm keeps all it renders, for everybody who may read a release."""
    rendered = helm4.render(*everything)
    assert "Secret" not in rendered.kinds()
    names = [
        variable["name"]
        for _, pod in rendered.pods()
        for variable in pod["containers"][0]["env"]
        if "value" in variable
    ]
    assert set(names) == {"STAFETT_CONFIG", "STAFETT_LOG_LEVEL"}


def test_signing_keys_on_a_shared_volume(helm4: Helm) -> None:
    """docs/keys.md: every pod has the claim, to write; the example of docs/kubernetes.md needs no PEM files any more."""
    rendered = helm4.render(
        "--set", "signingKeys.claim=stafett-signing-keys,secretFiles.keys/rsa\\.pem=null,secretFiles.keys/ec\\.pem=null"
    )
    for _, pod in rendered.pods():
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert volumes["signing-keys"]["persistentVolumeClaim"] == {"claimName": "stafett-signing-keys"}
        mounts = {mount["name"]: mount for mount in pod["containers"][0]["volumeMounts"]}
        assert mounts["signing-keys"] == {"name": "signing-keys", "mountPath": "/var/lib/stafett/keys"}
        assert not [source for source in volumes["config"]["projected"]["sources"] if "secret" in source]


# What is refused


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ("user=0", "user"),
        ("user=null", "user"),
        ("replicas=0", "replicas"),
        ("replica=3", "replica"),
        ("image.tag=latest", "tag"),
        ("image.digest=sha256:abc", "digest"),
        ("image.repository=", "repository"),
        ("drainSeconds=0", "drainSeconds"),
        ("sweep.schedule=daily", "schedule"),
        ("service.port=80000", "port"),
        ("resources.limits.memory=null", "memory"),
        ("networkPolicy.ingressFrom=null", "ingressFrom"),
        ("disruptionBudget.maxUnavailable=0", "maxUnavailable"),
        ("secretEnv.REDIS_URL=redis://:word@redis", "REDIS_URL"),
        ("secretEnv.REDIS-URL.secret=a,secretEnv.REDIS-URL.key=b", "REDIS-URL"),
        ("secretFiles.x.secret=a", "key"),
        ("signingKeys.claim=Not_A_Name", "claim"),
        ("signingKeys.volume=x", "volume"),
        ("env.STAFETT_CONFIG=/tmp/x", "STAFETT_CONFIG"),
        ("files.stafett\\.yaml=x", "stafett.yaml"),
        ("files.\\.\\./passwd=x", "../passwd"),
        ("files./etc/passwd=x", "/etc/passwd"),
        ("binaryFiles.logo\\.png=%PNG", "logo.png"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_meant_is_refused(helm4: Helm, value: str, where: str) -> None:
    """values.schema.json: unknown, impossible and unsafe values end before anything is sent."""
    refusal = helm4.refusal("--set", value)
    assert where in refusal
    assert "schema" in refusal


def test_both_versions_hold_to_the_schema_of_values(helm: Helm) -> None:
    """They come with different validators."""
    assert "user" in helm.refusal("--set", "user=0")
    assert "replica" in helm.refusal("--set", "replica=3")


@pytest.mark.parametrize(
    ("old", "new", "advice"),
    [
        ("    host: 0.0.0.0\n", "", "broker.listen.host must be 0.0.0.0"),
        ("    host: 0.0.0.0\n", "    host: 127.0.0.1\n", "broker.listen.host must be 0.0.0.0"),
        ("    port: 8700\n", "    port: 443\n", "broker.listen.port must be 1024 or higher"),
        ("  issuer: https://login.example.com\n", "", "broker.issuer must be the broker's address"),
        ("https://login.example.com", "https://[2001:db8::1]", "broker.issuer must be the broker's address"),
        ("\nbroker:\n", "\nmode: development\nbroker:\n", "mode: development is for one machine"),
        ("\nbroker:\n", "\nbroker:\n  telemetry: {metrics: {enabled: true}}\n", "metrics.listen.host must be 0.0.0.0"),
        ("upstreams: {}", "upstreams: {", "trustConfig is not YAML"),
    ],
)
def test_a_trust_config_that_cannot_work_in_a_pod_is_refused(
    helm4: Helm, tmp_path: Path, old: str, new: str, advice: str
) -> None:
    """What the broker alone could not see, or would say only in the log of a pod."""
    text = (CHART / "files/stafett.yaml").read_text()
    assert text.count(old) == 1
    path = tmp_path / "stafett.yaml"
    path.write_text(text.replace(old, new))
    assert advice in helm4.refusal("--set-file", f"trustConfig={path}")


def test_a_grace_period_too_short_to_finish_is_refused(helm4: Helm) -> None:
    """Draining, then up to ten seconds for what is under way."""
    assert "drainSeconds + 15" in helm4.refusal("--set", "drainSeconds=20")


# What the broker in the pod finds


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Mapping[str, str]]:
    """What an operator has made before installing, by the names in values.yaml and in docs/kubernetes.md."""
    bankid = tmp_path_factory.mktemp("bankid")
    make_certificates(bankid, now=START)
    return {
        "stafett": {
            "redis-url": "rediss://:word@redis.example:6379/0",
            "database-url": "postgresql+asyncpg://stafett@db.example/stafett",
            "broker-secret": "A" * 43,
        },
        "stafett-keys": {
            "rsa.pem": pem(rsa.generate_private_key(65537, 2048)),
            "ec.pem": pem(ec.generate_private_key(ec.SECP256R1())),
        },
        "bankid": {name: (bankid / name).read_text() for name in ("rp.pem", "rp.key", "ca.pem")},
        "clients": {name: secret_of(name) for name in re.findall(r"file:secrets/([\w.-]+)", example_text())}
        | {"saml.pem": pem(saml_key())},
    }


def secret_of(name: str) -> str:
    """A key where the example's file is named like one."""
    if name == "eidas.pem":
        return node_keys()[1].pem.decode()
    match name.rpartition(".")[2]:
        case "p8":
            return pem(ec.generate_private_key(ec.SECP256R1()))
        case "pem":
            return pem(rsa.generate_private_key(65537, 2048))
        case _:
            return "0123456789abcdef" * 2


def found_in_pods(rendered: Rendered, secrets: Mapping[str, Mapping[str, str]], folder: Path) -> dict[str, Loaded]:
    """The config as each kind of pod finds it."""
    found = {}
    for kind, pod in rendered.pods():
        environment = rendered.mount(pod, folder / kind, secrets)
        assert environment["STAFETT_CONFIG"] == "/etc/stafett/stafett.yaml"
        found[kind] = load(folder / kind / "stafett.yaml", environment=environment)
    return found


def test_the_config_of_the_chart_holds_in_production(
    plain: Rendered, secrets: Mapping[str, Mapping[str, str]], tmp_path: Path
) -> None:
    """With the named secrets there, every pod starts: no warning, and nothing lifted."""
    for loaded in found_in_pods(plain, secrets, tmp_path).values():
        assert (loaded.policy.config.mode, loaded.warnings, loaded.accepted_risks) == (Mode.PRODUCTION, (), ())
        assert loaded.secrets.state_url is not None
        assert len(loaded.secrets.signing) == 2


def test_the_story_in_a_cluster(helm: Helm, secrets: Mapping[str, Mapping[str, str]], tmp_path: Path) -> None:
    """
    The shipped example, made fit for production: given as files it reaches the pods unchanged, schema and logos beside it,
    secrets where it looks for them, and the broker takes it.
    """
    text = example_text()
    for old, new in PRODUCTION:
        text = text.replace(old, new, 1)
    for old, new in (
        ("127.0.0.1:8701", "shop.example"), ("127.0.0.1:8702", "garage.example"), ("127.0.0.1:8706", "hotel.example"),
        ("127.0.0.1:8714", "workshop.example"),
        ("http://", "https://"),
        ("host: 127.0.0.1", "host: 0.0.0.0"), ("STAFETT_KEY", "BROKER_SECRET"), ("file:rsa", "file:keys/rsa"),
        ("file:ec", "file:keys/ec"),
    ):  # fmt: skip
        text = text.replace(old, new)
    trust_config = tmp_path / "stafett.yaml"
    trust_config.write_text(text, "utf-8")
    schemas = sorted((ROOT / "config/schemas").glob("*.json"))
    logos = {name: (ROOT / f"config/logos/{name}.png").read_bytes() for name in LOGOS}
    mounted = [f"bankid/{name}" for name in secrets["bankid"]] + [f"secrets/{name}" for name in secrets["clients"]]
    (tmp_path / "workshop.xml").write_bytes(metadata(WORKSHOP, "https://workshop.example", workshop_keys()))
    (tmp_path / "node.xml").write_bytes(metadata_of_node("https://eidas.example"))
    (tmp_path / "node.crt").write_bytes(node_keys()[1].certificate_pem)
    (tmp_path / "saml.crt").write_text(saml_certificate())
    values: dict[str, Any] = {
        "binaryFiles": {f"logos/{name}.png": base64.b64encode(content).decode() for name, content in logos.items()},
        "secretFiles": {
            path: {"secret": path.split("/")[0].replace("secrets", "clients"), "key": path.split("/")[1]}
            for path in mounted
        },
    }
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(values))
    rendered = helm.render(
        *("--values", str(tmp_path / "values.yaml"), "--set-file", f"trustConfig={trust_config}"),
        *("--set-file", rf"files.metadata/tyre-workshop\.xml={tmp_path / 'workshop.xml'}"),
        *("--set-file", rf"files.metadata/eidas\.xml={tmp_path / 'node.xml'}"),
        *("--set-file", rf"files.metadata/eidas\.crt={tmp_path / 'node.crt'}"),
        *("--set-file", rf"files.saml\.crt={tmp_path / 'saml.crt'}"),
        *(part for file in schemas for part in ("--set-file", f"files.schemas/{re.escape(file.name)}={file}")),
    )
    for kind, loaded in found_in_pods(rendered, secrets, tmp_path / "pods").items():
        pod = tmp_path / "pods" / kind
        assert (pod / "stafett.yaml").read_text("utf-8") == text
        for file in schemas:
            assert (pod / "schemas" / file.name).read_text("utf-8") == file.read_text("utf-8")
        assert (pod / "logos/garage.png").read_bytes() == logos["garage"]
        assert (loaded.warnings, loaded.accepted_risks) == ((), ())
        assert set(loaded.policy.config.partners) == {"tyre-shop", "garage", "tyre-hotel", "tyre-workshop"}


def test_what_the_pods_run_runs(
    helm4: Helm, secrets: Mapping[str, Mapping[str, str]], redis_url: str, postgres_url: str, tmp_path: Path
) -> None:
    """
    migrate, serve, sweep, each as its pod is told: on Redis and PostgreSQL, ready, answering the probes by the pod's
    address, and without writing a file, for there is nowhere to.
    """
    port = free_port()
    trust_config = tmp_path / "stafett.yaml"
    trust_config.write_text((CHART / "files/stafett.yaml").read_text().replace("port: 8700", f"port: {port}"))
    rendered = helm4.render("--set-file", f"trustConfig={trust_config}")
    stores = {**secrets["stafett"], "redis-url": redis_url, "database-url": postgres_url}
    mounted = tmp_path / "etc"
    pods = dict(rendered.pods())
    environment = rendered.mount(pods["Job"], mounted, {**secrets, "stafett": stores})
    work = tmp_path / "work"
    work.mkdir()
    environment |= {"STAFETT_CONFIG": str(mounted / "stafett.yaml"), "HOME": str(work), "PYTHONPATH": str(ROOT)}
    before = sorted(mounted.rglob("*"))

    def command(kind: str) -> list[str]:
        return [sys.executable, "-m", "broker", *pods[kind]["containers"][0]["args"]]

    def run(kind: str) -> str:
        done = subprocess.run(command(kind), cwd=work, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert run("Job").startswith("the database is at schema ")
    with subprocess.Popen(command("Deployment"), cwd=work, env=environment, stderr=subprocess.PIPE) as broker:
        try:
            assert broker.stderr is not None
            while b'"serving"' not in (line := broker.stderr.readline()):
                assert line, "it ended before it served"
            (container,) = pods["Deployment"]["containers"]
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
                connection.request("GET", container[probe]["httpGet"]["path"])
                assert connection.getresponse().status == 200
                connection.close()
        finally:
            broker.terminate()
    assert run("CronJob").startswith("erased: ")
    assert (sorted(mounted.rglob("*")), list(work.iterdir())) == (before, [])


def test_secrets_reach_no_config_map(plain: Rendered) -> None:
    """The trust config has references only; hooks aside there is one config map."""
    assert plain.kinds().count("ConfigMap") == 1
    text = plain.one("ConfigMap")["data"]["stafett.yaml"]
    assert re.findall(r"(?:env|file):\S+", text.split("\nbroker:\n")[1]) == [
        "env:REDIS_URL", "env:DATABASE_URL", "file:keys/rsa.pem", "file:keys/ec.pem", "env:BROKER_SECRET",
    ]  # fmt: skip
    assert all("data" not in each or each["kind"] == "ConfigMap" for each in plain.objects)
    assert sum(is_hook(each) for each in plain.objects) == 2
