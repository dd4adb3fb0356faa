"""The shipped example: it is the demo's config, and everything more is YAML only."""

import json
import time
from pathlib import Path

import pytest

from broker.config.load import load
from broker.config.render import Ports, example_text, render_example, write_example
from broker.core.assurance import Assurance
from broker.core.policy import Mode
from broker.upstream.registry import KINDS
from broker.upstream.supplies import Supplies
from broker.wire.http import Fetcher

from ..stage import Stage
from .conftest import Bench


def test_the_example_loads_without_a_warning(bench: Bench) -> None:
    """What we teach must hold."""
    loaded = bench.load()
    assert (loaded.warnings, loaded.accepted_risks) == ((), ())
    assert loaded.policy.config.mode is Mode.DEVELOPMENT
    assert loaded.data_dir == bench.folder / "data"
    assert loaded.policy.issuer == "http://localhost:8700"


def test_the_example_allows_the_story(bench: Bench) -> None:
    """The shop may send customers with tyres to the garage, which asks for a proven contact."""
    policy = bench.load().policy
    agreement = policy.agreement("tyre-shop", "garage", "tyre-fitting")
    assert agreement is not None
    assert agreement.minimum_assurance is Assurance.CONTACT
    assert agreement.release_upstream_assurance is False
    assert policy.partner_of_client("verkstan-web") == "garage"
    assert policy.agreement("garage", "tyre-shop", "tyre-fitting") is None
    assert policy.agreement("tyre-shop", "garage", "newsletter") is None


def test_every_text_of_the_example_for_customers_is_in_every_language(bench: Bench) -> None:
    """Names may be the same everywhere; sentences may not."""
    config = bench.load().policy.config
    for texts in (
        *(each.titles for each in config.upstreams.values()),
        *(each.hints for each in config.upstreams.values()),
        *(each.titles for each in config.payload_types.values()),
        *(each.purpose_texts for each in config.agreements),
    ):
        assert texts is not None
        assert set(texts) == {"sv", "fi", "pl", "en"}


async def test_the_connectors_of_the_example_can_be_built(staged: Stage, bench: Bench) -> None:
    """Every kind the config names becomes a connector of that id."""
    loaded = bench.load()
    fetcher = Fetcher(allow_private_networks=loaded.policy.broker.outbound.allow_private_networks)
    context, messages = staged.broker.context, staged.broker.messages
    for name, connect in loaded.connectors.items():
        kind = KINDS[loaded.policy.config.upstreams[name].kind]
        connector = kind.build(name, connect, Supplies(loaded.references, fetcher, context, messages=messages))
        assert (connector.id, connector.reaches) == (name, kind.reaches(connect))
        await connector.close()
    await fetcher.close()


def test_a_logo_that_is_missing(bench: Bench) -> None:
    """Known at start, not when the first customer sees the consent page."""
    bench.edit(("logo: logos/garage.png", "logo: logos/none.png"))
    assert bench.problems() == (
        bench.sentence(
            "logo: logos/none.png",
            "partners.garage.logo",
            f"the file {bench.folder}/logos/none.png does not exist; correct the path",
        ),
    )


# Rendering


def test_rendering_with_the_default_ports_changes_nothing() -> None:
    """The example as shipped is the demo's config."""
    assert render_example(example_text(), Ports()) == example_text()


def test_every_port_is_replaced_and_nothing_else() -> None:
    """Comments and all other lines stay; ports may be exchanged among each other."""
    ports = Ports(broker=8701, shop=8700, garage=9002, google=9003, bankid_api=9004, bankid_app=9005)
    before, after = example_text().splitlines(), render_example(example_text(), ports).splitlines()
    changed = [(old.strip(), new.strip()) for old, new in zip(before, after, strict=True) if old != new]
    assert ("issuer: http://localhost:8700", "issuer: http://localhost:8701") in changed
    assert ("port: 8700", "port: 8701") in changed
    assert ("home_uri: http://127.0.0.1:8701/", "home_uri: http://127.0.0.1:8700/") in changed
    assert ('accepted_issuers: ["127.0.0.1:8703"]', 'accepted_issuers: ["127.0.0.1:9003"]') in changed
    assert all(sum(old[i] != new[i] for i in range(len(old))) <= 4 for old, new in changed)


@pytest.mark.parametrize("folder", ["/srv/data", '/srv/with "quotes"', "/srv/å ä: ö # 1"])
def test_a_data_folder_of_any_name(bench: Bench, folder: str) -> None:
    """A path is text, whatever is in it."""
    bench.text = render_example(example_text(), Ports(), data_dir=Path(folder))
    assert bench.load().data_dir == Path(folder)


@pytest.mark.parametrize(
    "text", ["", example_text().replace(":8704", ":9999"), example_text().replace("data_dir", "dir")]
)
def test_an_example_that_lost_an_address_is_not_rendered(text: str) -> None:
    """Better no demo than one that talks to the wrong port."""
    with pytest.raises(ValueError, match="the example has no"):
        render_example(text, Ports(), data_dir=Path("/srv"))


def test_a_written_example_loads_from_its_folder(prepared: Path, bench: Bench, tmp_path: Path) -> None:
    """File and schemas are written; with the secrets beside them it is complete."""
    path = write_example(tmp_path / "demo", Ports(broker=9000))
    for folder in ("secrets", "bankid", "metadata"):
        (tmp_path / "demo" / folder).symlink_to(prepared / folder)
    loaded = load(path)
    assert loaded.policy.issuer == "http://localhost:9000"
    assert loaded.warnings == ()


# More partners, agreements and types

CAR_WASH = """\
  car-wash:
    names: {en: Skinande Rent}
    home_uri: https://wash.example/
    guest_uri: https://wash.example/guest
    oidc:
      client_id: wash
      secret: env:WASH_SECRET
      redirect_uris: [https://wash.example/cb]
      initiate_login_uri: https://wash.example/login
"""
WASH_TYPE = """\
  car-wash/v1:
    schema: schemas/car-wash-v1.json
    titles: {en: Car wash}
"""
WASH_AGREEMENT = """\
  - from: tyre-shop
    to: car-wash
    purpose: wash
    purpose_texts: {en: to wash your car}
    types: [car-wash/v1]
    claims: {required: [programme], optional: [vehicle.registration_number]}
    minimum_assurance: self-asserted
"""
WASH_SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "programme": {"type": "string", "enum": ["small", "large"], "x-label": {"en": "Programme"}, "x-product": True},
        "vehicle": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "registration_number": {"type": "string", "maxLength": 12, "x-label": {"en": "Registration number"}}
            },
        },
    },
}


def test_a_partner_an_agreement_and_a_type_are_yaml_only(bench: Bench) -> None:
    """An operator adds all three without touching code."""
    bench.edit(
        ("\n  garage:\n", f"\n{CAR_WASH}\n  garage:\n"),
        ("\npayload_types:\n", f"\npayload_types:\n{WASH_TYPE}"),
    )
    bench.text += WASH_AGREEMENT
    bench.put("schemas/car-wash-v1.json", json.dumps(WASH_SCHEMA))
    bench.environment["WASH_SECRET"] = "w" * 40
    policy = bench.load().policy
    agreement = policy.agreement("tyre-shop", "car-wash", "wash")
    assert agreement is not None
    assert agreement.id == "tyre-shop>car-wash:wash"
    assert [(field.name, field.is_product) for field in policy.fields["car-wash/v1"]] == [
        ("programme", True),
        ("vehicle.registration_number", False),
    ]
    assert policy.client_secrets["car-wash"] == "w" * 40
    assert policy.partner_of_client("wash") == "car-wash"


def test_a_thousand_partners_load_in_about_a_second(bench: Bench) -> None:
    """A start or a reload of a large operator stays quick (CPU time, so that a busy machine does not matter)."""
    many = "".join(
        CAR_WASH.replace("car-wash:", f"wash-{number}:").replace("client_id: wash", f"client_id: w{number}")
        for number in range(1000)
    )
    edges = "".join(WASH_AGREEMENT.replace("to: car-wash", f"to: wash-{number}") for number in range(1000))
    bench.edit(("\n  garage:\n", f"\n{many}\n  garage:\n"), ("\npayload_types:\n", f"\npayload_types:\n{WASH_TYPE}"))
    bench.text += edges
    bench.put("schemas/car-wash-v1.json", json.dumps(WASH_SCHEMA))
    bench.environment["WASH_SECRET"] = "w" * 40
    started = time.process_time()
    policy = bench.load().policy
    assert time.process_time() - started < 1.5
    assert len(policy.config.partners) == 1004
    assert policy.agreement("tyre-shop", "wash-999", "wash") is not None
