"""Payload types: a schema says only what can be shown to a customer field by field, and is bounded."""

import json
from pathlib import Path
from typing import Any

import pytest

from broker.config.render import example_folder
from broker.config.schemas import read_schema

from .conftest import Bench

LABEL = {"en": "Label"}


def schema(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": properties}


def sentences(content: Any) -> list[str]:
    text = content if isinstance(content, bytes) else json.dumps(content, indent=1).encode()
    return [str(problem) for problem in read_schema(text, "s.json", "en")[1]]


def text(**more: Any) -> dict[str, Any]:
    return {"type": "string", "maxLength": 10, "x-label": LABEL, **more}


def test_fields_are_the_leaves_in_the_order_of_the_schema() -> None:
    """A field is what a customer agrees to: a leaf by its dotted name; a list is one."""
    found, problems = read_schema((example_folder() / "schemas/tyre-fitting-v1.json").read_bytes(), "s.json", "en")
    assert problems == ()
    assert found is not None
    assert [field.name for field in found.fields][:7] == [
        "vehicle.registration_number",
        "vehicle.make",
        "vehicle.model",
        "vehicle.tyre_size_front",
        "vehicle.tyre_size_rear",
        "items",
        "order.reference",
    ]


def test_what_guests_get_of_the_example_identifies_nobody() -> None:
    """The anonymous path carries product data only: no plate, no order reference, no customer."""
    found, _ = read_schema((example_folder() / "schemas/tyre-fitting-v1.json").read_bytes(), "s.json", "en")
    assert found is not None
    assert {field.name for field in found.fields if field.is_product} == {
        "items",
        "vehicle.tyre_size_front",
        "vehicle.tyre_size_rear",
    }


@pytest.mark.parametrize("language", ["sv", "fi", "pl", "en"])
def test_every_field_of_the_example_has_a_label_in_every_language(language: str) -> None:
    """Customers agree to what they can read."""
    found, problems = read_schema((example_folder() / "schemas/tyre-fitting-v1.json").read_bytes(), "s.json", language)
    assert problems == ()
    assert found is not None
    assert all(field.labels[language] for field in found.fields)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param([], ['s.json:1: must be one JSON Schema with "type": "object"'], id="no-object"),
        pytest.param({"type": "string"}, ['s.json:1: must be one JSON Schema with "type": "object"'], id="no-members"),
        pytest.param(
            {**schema(a=text()), "$schema": "http://json-schema.org/draft-07/schema#"},
            ["s.json:13 $schema: must be https://json-schema.org/draft/2020-12/schema"],
            id="another-draft",
        ),
        pytest.param(
            schema(a=text(maxLength="ten")),
            ["s.json:7 properties.a.maxLength: is not valid JSON Schema (draft 2020-12): breaks 'type'"],
            id="no-valid-schema",
        ),
        pytest.param(schema(), ["s.json:1: has no fields; name at least one under properties"], id="no-fields"),
        pytest.param(
            schema(**{f"f{n}": text() for n in range(101)}),
            ["s.json:1: has more than 100 fields; no customer reads that"],
            id="too-many-fields",
        ),
        pytest.param(
            {"type": "object", "properties": {"a": text()}},
            ['s.json:1: needs "additionalProperties": false, so that nothing unnamed can travel along'],
            id="open-root",
        ),
        pytest.param(
            schema(a={"type": "object", "properties": {"b": text()}}),
            ['s.json:5 properties.a: needs "additionalProperties": false, so that nothing unnamed can travel along'],
            id="open-object",
        ),
        pytest.param(
            schema(a={"type": "array", "maxItems": 1, "x-label": LABEL, "items": {"type": "object"}}),
            [
                "s.json:11 properties.a.items: needs"
                ' "additionalProperties": false, so that nothing unnamed can travel along'
            ],
            id="open-object-in-a-list",
        ),
        pytest.param(
            schema(a={"type": "string", "x-label": LABEL}),
            ["s.json:5 properties.a: needs maxLength (or enum): without it a payload has no bound"],
            id="endless-text",
        ),
        pytest.param(
            schema(a={"type": "array", "items": {"type": "boolean"}, "x-label": LABEL}),
            ["s.json:5 properties.a: needs maxItems: without it a payload has no bound"],
            id="endless-list",
        ),
        pytest.param(
            schema(a={"type": "array", "maxItems": 3, "items": {"type": "string"}, "x-label": LABEL}),
            ["s.json:8 properties.a.items: needs maxLength (or enum): without it a payload has no bound"],
            id="endless-text-in-a-list",
        ),
        pytest.param(
            schema(a={"type": "array", "maxItems": 3, "x-label": LABEL}),
            ["s.json:5 properties.a: needs items: the schema of what the list holds"],
            id="list-of-anything",
        ),
        pytest.param(
            schema(a={"x-label": LABEL}),
            ["s.json:5 properties.a: needs one type of array, boolean, integer, number, object, string"],
            id="no-type",
        ),
        pytest.param(
            schema(a={"type": ["string", "integer"], "x-label": LABEL}),
            ["s.json:5 properties.a: needs one type of array, boolean, integer, number, object, string"],
            id="two-types",
        ),
        pytest.param(
            schema(a=True),
            ["s.json:5 properties.a: must be a schema of its own, with a type"],
            id="anything-goes",
        ),
        pytest.param(
            schema(a={"type": "boolean"}),
            ["s.json:5 properties.a: needs an x-label in the default language (en): customers must read what it is"],
            id="no-label",
        ),
        pytest.param(
            schema(a={"type": "boolean", "x-label": {"sv": "Betald"}}),
            ["s.json:5 properties.a: needs an x-label in the default language (en): customers must read what it is"],
            id="no-label-in-the-default-language",
        ),
        pytest.param(
            schema(a={"type": "boolean", "x-label": {"en": ""}}),
            ["s.json:8 properties.a.x-label.en: must be a text of 1 to 80 characters"],
            id="empty-label",
        ),
        pytest.param(
            schema(a={"type": "boolean", "x-label": {"en": "Paid", "se": "Betald"}}),
            ["s.json:9 properties.a.x-label.se: must be one of the languages sv, fi, pl, en"],
            id="label-in-an-unknown-language",
        ),
        pytest.param(
            schema(Name=text()),
            ["s.json:5 properties.Name: names of members are lower-case letters, digits and underscores"],
            id="capital-member",
        ),
        pytest.param(
            {**schema(a=text()), "required": ["b"]},
            ["s.json:13 required: requires 'b', which is not among its properties"],
            id="requires-what-is-not-there",
        ),
        pytest.param(
            schema(a=text(pattern="(")),
            ["s.json:11 properties.a.pattern: is not a valid regex"],
            id="broken-pattern",
        ),
        pytest.param(
            schema(a={"$ref": "https://evil.example/schema.json"}),
            [
                "s.json:5 properties.a: needs an x-label in the default language (en): customers must read what it is",
                "s.json:5 properties.a: needs one type of array, boolean, integer, number, object, string",
                "s.json:6 properties.a.$ref: references are not followed; write the schema out here",
            ],
            id="remote-reference",
        ),
        pytest.param(
            schema(a=text(minLenght=1)),
            [
                "s.json:11 properties.a.minLenght: this keyword is not supported in payload schemas;"
                " did you mean 'minLength'?"
            ],
            id="misspelt-keyword",
        ),
        pytest.param(
            {**schema(a=text()), "patternProperties": {}},
            [
                "s.json:13 patternProperties: this keyword is not supported in payload schemas;"
                " did you mean 'properties'?"
            ],
            id="members-by-pattern",
        ),
        pytest.param(
            schema(a={**schema(b=text()), "x-product": True}),
            [
                "s.json:17 properties.a.x-product: belongs to the fields inside, not to the object around them;"
                " move it there"
            ],
            id="object-marked-as-product",
        ),
        pytest.param(
            schema(a=text(**{"x-product": "yes"})),
            ["s.json:11 properties.a.x-product: must be true or false"],
            id="product-that-is-no-truth",
        ),
        pytest.param(
            schema(
                a={"type": "array", "maxItems": 1, "x-label": LABEL, "items": {"type": "boolean", "x-product": True}}
            ),
            ["s.json:13 properties.a.items.x-product: a list is one field; mark the list itself"],
            id="product-inside-a-list",
        ),
    ],
)
def test_what_a_payload_schema_may_not_say(content: Any, expected: list[str]) -> None:
    """Each refusal with the line in the schema file."""
    assert sorted(sentences(content)) == expected


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("email", "email"),
        ("contact_phone", "phone"),
        ("registration_number", "registration"),
        ("licence_plate", "licence"),
        ("reference", "reference"),
        ("note", "note"),
        ("birthdate", "birthdate"),
    ],
)
def test_what_identifies_is_never_product_data(name: str, word: str) -> None:
    """A guest has agreed to nothing: names, contacts, plates and order numbers stay behind."""
    assert sentences(schema(**{name: text(**{"x-product": True})})) == [
        f"s.json:11 properties.{name}.x-product: {name} may identify the customer ({word!r}),"
        " so guests cannot have it; remove x-product"
    ]


def test_what_identifies_is_not_product_data_inside_objects_and_lists_either() -> None:
    """Neither the object around a field nor a member of a list smuggles a person along."""
    items = {**schema(sku=text(), customer_number=text())}
    found = sentences(
        schema(
            customer=schema(shoe_size=text(**{"x-product": True})),
            things={"type": "array", "maxItems": 2, "items": items, "x-label": LABEL, "x-product": True},
        )
    )
    assert [problem.split(": ", 1)[1] for problem in found] == [
        "customer.shoe_size may identify the customer ('customer'), so guests cannot have it; remove x-product",
        "things.customer_number may identify the customer ('customer'), so guests cannot have it; remove x-product",
    ]


def test_long_free_text_is_not_product_data() -> None:
    """People write their names into free text."""
    assert sentences(schema(wish=text(maxLength=2000, **{"x-product": True}))) == [
        "s.json:11 properties.wish.x-product: free text may say anything about the customer;"
        " remove x-product or shorten it"
    ]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'{"type": "object",}', "s.json:1: not valid JSON; check commas, quotes and braces here"),
        (b"type: object", "s.json:1: not valid JSON; check commas, quotes and braces here"),
        (b'{"type": "object", "type": "object"}', "s.json:1 type: is given twice (first on line 1); keep one"),
        (b"\xff", "s.json:1: is not UTF-8; save the file as UTF-8"),
        (b"", "s.json: is empty; start from config/stafett.example.yaml"),
    ],
)
def test_a_schema_file_that_is_no_json(data: bytes, expected: str) -> None:
    """JSON, and nothing said twice."""
    assert sentences(data) == [expected]


def test_a_schema_file_that_is_missing(bench: Bench) -> None:
    """The key that names it is told, with the place it was looked for."""
    bench.edit(("schema: schemas/tyre-fitting-v1.json", "schema: schemas/tyre-fitting.json"))
    assert bench.problems() == (
        bench.sentence(
            "schema: schemas",
            "payload_types.tyre-fitting/v1.schema",
            f"the file {bench.folder}/schemas/tyre-fitting.json does not exist; create it or correct the path",
        ),
    )


def test_a_mistake_in_a_schema_file_is_told_with_that_file(bench: Bench) -> None:
    """The problem is where it has to be mended."""
    path: Path = bench.folder / "schemas/tyre-fitting-v1.json"
    bench.put("schemas/tyre-fitting-v1.json", path.read_text().replace('"maxItems": 20,', ""))
    (found,) = bench.problems()
    assert found.startswith(f"{path}:")
    assert found.endswith(" properties.items: needs maxItems: without it a payload has no bound")


def test_the_version_follows_the_schemas(bench: Bench) -> None:
    """What customers agreed to is named by the config version, so a changed schema changes it."""
    before = bench.load().policy.version
    path = bench.folder / "schemas/tyre-fitting-v1.json"
    bench.put("schemas/tyre-fitting-v1.json", path.read_text().replace('"maxItems": 20,', '"maxItems": 21,'))
    assert bench.load().policy.version != before
    assert len(before) == 12


def test_words_for_fixed_values(bench: Bench) -> None:
    """``x-values`` words the members of ``enum``; words for anything else, or without the default language, are refused."""
    name = "schemas/tyre-fitting-v1.json"
    good = (bench.folder / name).read_text("utf-8")
    bench.load()
    bench.put(name, good.replace('"winter": {"sv": "Vinter",', '"wintry": {"sv": "Vinter",'))
    assert "is not among the words of enum; did you mean 'winter'?" in bench.problems()[0]
    bench.put(
        name,
        good.replace(
            '"winter": {"sv": "Vinter", "fi": "Talvi", "pl": "Zimowe", "en": "Winter"}', '"winter": {"sv": "Vinter"}'
        ),
    )
    assert "needs a text in the default language (en)" in bench.problems()[0]
