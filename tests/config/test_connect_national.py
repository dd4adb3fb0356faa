"""The connect block of an upstream of kind `national-oidc`, as `check-config` reads it, and what its presets come to."""

import json
from typing import Any

import pytest
from joserfc.jwk import ECKey, OctKey, RSAKey

from broker.config.report import check_file
from broker.core.assurance import Assurance
from broker.upstream.claims import reaches
from broker.upstream.national_oidc import NationalOidcConnect
from broker.upstream.national_presets import PRESETS
from tests.config.conftest import Bench

KEY = RSAKey.generate_key(2048)
PEM = KEY.as_pem(private=True)
TRUSTED = json.dumps({"keys": [ECKey.generate_key("P-256").as_dict(private=False, use="sig")]})
ISSUER = "issuer: https://eid.example"

#: What an operator must say beside the preset, as lines of YAML.
NEEDED = {
    "ftn": ("signing_keys: [file:secrets/sig.pem]", "decryption_keys: [file:secrets/enc.pem]"),
    "itsme": (
        "signing_keys: [file:secrets/sig.pem]",
        "decryption_keys: [file:secrets/enc.pem]",
        "scopes: [openid, service:STAFETT]",
    ),
    "id-porten": ("signing_keys: [file:secrets/sig.pem]",),
    "mitid": ("client_secret: file:secrets/google",),
    "vipps": ("client_secret: file:secrets/google",),
    "freja": ("client_secret: file:secrets/google",),
}


def connect(bench: Bench, *lines: str) -> None:
    """Make the second upstream of the example one of kind `national-oidc`, with *lines* in its connect block."""
    bench.put("secrets/sig.pem", PEM)
    bench.put("secrets/enc.pem", PEM)
    bench.put("secrets/small.pem", b"-----BEGIN PRIVATE KEY-----\nnone\n-----END PRIVATE KEY-----\n")
    start = bench.text.index("    kind: oidc")
    block = bench.text.index("    connect:", start)
    before = bench.text[start:block].replace("kind: oidc", "kind: national-oidc")
    end = bench.text.index("\n\n", block)
    content = "".join(f"      {line}\n" for line in (ISSUER, "client_id: stafett", *lines))
    bench.text = f"{bench.text[:start]}{before}    connect:\n{content}{bench.text[end:]}"
    bench.edit(("    ceiling: contact", "    ceiling: self-asserted"))


def with_preset(bench: Bench, preset: str, *more: str) -> NationalOidcConnect:
    connect(bench, f"preset: {preset}", *NEEDED[preset], *more)
    found = bench.load().connectors["google"]
    assert isinstance(found, NationalOidcConnect)
    return found


def block(preset: str, **given: Any) -> NationalOidcConnect:
    settings: dict[str, Any] = {"issuer": "https://eid.example", "client_id": "stafett", "preset": preset, **given}
    return NationalOidcConnect.model_validate(settings)


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_a_preset_needs_little_beside_it(bench: Bench, preset: str) -> None:
    """Issuer, client and secrets; the file is read strictly, presets included."""
    found = with_preset(bench, preset)
    assert (found.preset, found.issuer) == (preset, "https://eid.example")
    assert set(PRESETS[preset]) <= set(NationalOidcConnect.model_fields)


def test_what_ftn_comes_to(bench: Bench) -> None:
    """Signed, encrypted, keyed by the personal identity code."""
    found = with_preset(bench, "ftn")
    assert (found.request, found.encrypted, found.subject_claim) == ("object", ("id_token",), "personal_identity_code")
    assert found.acr_levels["http://ftn.ficora.fi/2017/loa3"] is Assurance.HIGH


@pytest.mark.parametrize(
    ("preset", "line", "key", "expected"),
    [
        ("ftn", "request: pushed_object", "request", "pushed_object"),
        ("ftn", "acr_levels: {http://ftn.ficora.fi/2017/loatest2: substantial}", "acr_levels",
         {"http://ftn.ficora.fi/2017/loatest2": Assurance.SUBSTANTIAL}),
        ("vipps", "userinfo: false", "userinfo", False),
        ("vipps", "vouches_for: []", "vouches_for", ()),
        ("mitid", "scopes: [openid, mitid, ssn]", "scopes", ("openid", "mitid", "ssn")),
        ("freja", "subject_claim: sub", "subject_claim", "sub"),
    ],
)  # fmt: skip
def test_what_the_file_says_counts(bench: Bench, preset: str, line: str, key: str, expected: Any) -> None:
    """A key given takes the place of the preset's whole value."""
    assert getattr(with_preset(bench, preset, line), key) == expected


def test_check_config_shows_what_a_preset_came_to(bench: Bench) -> None:
    """Every key it speaks of, its value, and who says so; for people and for machines."""
    with_preset(bench, "vipps", "scopes: [openid, name]")
    report = check_file(bench.path)
    lines = report.text().splitlines()
    assert 'upstreams.google.connect.scopes: ["openid", "name"] (this file)' in lines
    assert "upstreams.google.connect.userinfo: true (preset vipps)" in lines
    assert "upstreams.google.connect.trusted_contacts: " in "\n".join(lines)
    told = [each for each in json.loads(report.json())["presets"] if each["key"].startswith("upstreams.google.")]
    assert {each["key"].rpartition(".")[2] for each in told} == set(PRESETS["vipps"])
    assert {each["key"].rpartition(".")[2] for each in told if each["from"] == "file"} == {"scopes"}


def test_without_a_preset_nothing_is_shown(bench: Bench) -> None:
    """Nor for the other kinds."""
    connect(bench, "client_secret: file:secrets/google")
    bench.load()
    told = json.loads(check_file(bench.path).json())["presets"]
    assert {each["key"].split(".")[1] for each in told} == {"ftn"}


@pytest.mark.parametrize(
    ("lines", "key", "says"),
    [
        (("preset: ftm",), ".preset", "must be one of freja, ftn, id-porten, itsme, mitid, vipps; did you mean 'ftn'?"),
        (("preset: ftn",), "", "signing_keys must hold a key"),
        (("preset: ftn", "signing_keys: [file:secrets/sig.pem]"), "", "decryption_keys must hold a key"),
        (("preset: itsme", *NEEDED["itsme"][:2]), "", "service:CODE"),
        (("preset: mitid",), "", "client_auth client_secret_basic goes with client_secret"),
        (("client_auth: private_key_jwt", "client_secret: file:secrets/google",
          "signing_keys: [file:secrets/sig.pem]"), "", "client_auth private_key_jwt goes without client_secret"),
        (("client_secret: file:secrets/google", "request: object"), "", "signing_keys must hold a key"),
        (("preset: ftn", "signing_keys: [file:secrets/none]", "decryption_keys: [file:secrets/enc.pem]"),
         ".signing_keys[0]", "does not exist; create it or correct the path"),
        (("preset: ftn", "signing_keys: [file:secrets/sig.pem]", "decryption_keys: [file:secrets/small.pem]"),
         ".decryption_keys", "must be private keys in PEM form"),
        (("preset: ftn", "signing_keys: [file:secrets/google]", "decryption_keys: [file:secrets/enc.pem]"),
         ".signing_keys", "must be private keys in PEM form"),
        ((*NEEDED["ftn"], "preset: ftn", "entity_key: file:secrets/small.pem"), ".entity_key", "must be private keys"),
        ((*NEEDED["ftn"], "preset: ftn", "signed_jwks: {url: https://eid.example/signed, trusted_file: none.json}"),
         ".signed_jwks", "trusted_file must be the JWK Set"),
        ((*NEEDED["ftn"], "preset: ftn", "encryption_algs: [RSA1_5]"), ".encryption_algs[0]", "must be one of"),
        ((*NEEDED["ftn"], "preset: ftn", "id_token_algs: [HS256]"), ".id_token_algs[0]", "must be one of"),
        ((*NEEDED["ftn"], "preset: ftn", "id_token_algs: []"), ".id_token_algs", "needs at least one entry"),
        ((*NEEDED["mitid"], "preset: mitid", "acr_levels: {}"), "", "level_params needs acr_levels"),
        ((*NEEDED["vipps"], "preset: vipps", "scopes: [name]"), "", "scopes must hold openid"),
        ((*NEEDED["vipps"], "preset: vipps", "extra_authorize_params: {request: x}"), "", "must not hold request"),
        ((*NEEDED["vipps"], "preset: vipps", "endpoints: {authorization: https://a.example/a,"
          " token: https://a.example/t, jwks: https://a.example/j}"), "", "userinfo needs endpoints.userinfo"),
        ((*NEEDED["vipps"], "preset: vipps", "claims: {name: surname}"), ".claims.name", "must be one of"),
        ((*NEEDED["vipps"], "preset: vipps", "acr_level: {}"), ".acr_level", "did you mean 'acr_levels'?"),
        ((*NEEDED["vipps"], "preset: vipps", "headers: {'X: y': z}"), ".headers.X: y", "should match pattern"),
        ((*NEEDED["vipps"], "preset: vipps", "personal_number_country: BE"), ".personal_number_country", "must be one of"),
        (("client_secret: 0123456789abcdef0123456789abcdef",), ".client_secret", "secrets are never written here"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_by_its_key(bench: Bench, lines: tuple[str, ...], key: str, says: str) -> None:
    """File, line, key, and what to do; also where a preset stands behind it."""
    connect(bench, *lines)
    found = [each for each in bench.problems() if ".connect" in each]
    assert any(f" upstreams.google.connect{key}: " in each and says in each for each in found), found


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"keys": []}', json.dumps({"keys": [OctKey.import_key("s" * 32).as_dict()]})],
)
def test_keys_that_are_trusted_must_be_there(bench: Bench, content: str) -> None:
    """An empty file trusts nobody; a shared secret is no public key."""
    bench.put("trusted.json", content)
    connect(
        bench, "preset: ftn", *NEEDED["ftn"], "signed_jwks: {url: https://eid.example/s, trusted_file: trusted.json}"
    )
    assert any("trusted_file must be the JWK Set" in each for each in bench.problems())


def test_keys_that_are_trusted_are_taken(bench: Bench) -> None:
    """As the provider gave them out."""
    bench.put("trusted.json", TRUSTED)
    found = with_preset(bench, "ftn", "signed_jwks: {url: https://eid.example/s, trusted_file: trusted.json}")
    assert found.signed_jwks is not None


def test_a_key_file_open_to_all_is_told(bench: Bench) -> None:
    """In lists as well as alone."""
    connect(bench, "preset: id-porten", "signing_keys: [file:secrets/open.pem]")
    bench.put("secrets/open.pem", PEM, 0o644)
    assert any("chmod 600" in each and ".signing_keys[0]" in each for each in bench.load().warnings)


@pytest.mark.parametrize(
    ("preset", "given", "expected"),
    [
        ("id-porten", {"signing_keys": ["env:X"]}, Assurance.HIGH),
        ("mitid", {"client_secret": "env:X"}, Assurance.HIGH),
        ("freja", {"client_secret": "env:X"}, Assurance.SUBSTANTIAL),
        ("vipps", {"client_secret": "env:X"}, Assurance.CONTACT),
    ],
)
def test_what_a_preset_can_prove(preset: str, given: dict[str, Any], expected: Assurance) -> None:
    """What the operator's ceiling is compared with."""
    assert reaches(block(preset, **given)) is expected
