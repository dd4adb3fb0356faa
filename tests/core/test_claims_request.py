"""The ``claims`` parameter (OpenID Connect Core section 5.5): read strictly, and only what is known is kept."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.claims_request import MAX_CLAIMS_CHARS, NOTHING, ClaimsRequest, parse_claims
from broker.core.release import SCOPE_OF_CLAIM
from broker.errors import BadAsk


def parsed(asked: Any) -> ClaimsRequest:
    return parse_claims(json.dumps(asked), known=SCOPE_OF_CLAIM)


def test_names_by_place() -> None:
    """null, essential or a value: a name is a name."""
    request = parsed(
        {
            "userinfo": {"name": None, "email": {"essential": True}, "phone_number": {"value": "+46701"}},
            "id_token": {"name": {"values": ["A", "B"]}},
        }
    )
    assert request == ClaimsRequest(userinfo=("name", "email", "phone_number"), id_token=("name",))


def test_what_nobody_knows_is_ignored() -> None:
    """Claims, members at any level, languages."""
    asked = {"userinfo": {"picture": None, "name#sv": None, "name": {"purpose": "x"}}, "other": {"name": None}}
    assert parsed(asked) == ClaimsRequest(userinfo=("name",))
    assert parsed({}) == parsed({"userinfo": None, "id_token": {}}) == NOTHING


@pytest.mark.parametrize(
    ("acr", "voluntary", "essential"),
    [
        (None, (), ()),
        ({"essential": True}, (), ()),
        ({"value": "low"}, ("low",), ()),
        ({"values": ["low", "high", "low"]}, ("low", "high"), ()),
        ({"essential": True, "value": "low"}, (), ("low",)),
        ({"essential": True, "values": ["low", "high"]}, (), ("low", "high")),
        ({"essential": False, "values": ["low"]}, ("low",), ()),
    ],
)
def test_acr_is_essential_only_with_values(acr: Any, voluntary: tuple[str, ...], essential: tuple[str, ...]) -> None:
    """Section 5.5.1.1; without values any will do, and one is always told."""
    request = parsed({"id_token": {"acr": acr}})
    assert (request.acr_values, request.essential_acr) == (voluntary, essential)


def test_acr_of_userinfo_says_nothing() -> None:
    """It is a claim of the ID token."""
    assert parsed({"userinfo": {"acr": {"essential": True, "value": "low"}}}) == NOTHING


def test_sub_names_who_must_be_there() -> None:
    """In either place; two different ones cannot both be."""
    assert parsed({"userinfo": {"sub": {"value": "a"}}}).subject == "a"
    assert parsed({"userinfo": {"sub": {"value": "a"}}, "id_token": {"sub": {"value": "a"}}}).subject == "a"
    with pytest.raises(BadAsk):
        parsed({"userinfo": {"sub": {"value": "a"}}, "id_token": {"sub": {"value": "b"}}})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "[]",
        "1",
        '"userinfo"',
        "{'userinfo': {}}",
        '{"userinfo": []}',
        '{"userinfo": "name"}',
        '{"userinfo": {"name": true}}',
        '{"userinfo": {"name": []}}',
        '{"userinfo": {"name": {"essential": "yes"}}}',
        '{"userinfo": {"name": {"essential": null}}}',
        '{"userinfo": {"name": {"values": "A"}}}',
        '{"id_token": {"acr": {"value": 2}}}',
        '{"id_token": {"acr": {"values": ["low", null]}}}',
        '{"id_token": {"sub": {"value": {}}}}',
        '{"id_token": {"name": null, "name": null}}',
        '{"userinfo": {}, "userinfo": {}}',
        json.dumps({"id_token": {"acr": {"values": [str(i) for i in range(21)]}}}),
        json.dumps({"id_token": {"acr": {"values": ["low", "\ud800"]}}}),
        json.dumps({"userinfo": {"sub": {"value": "\udfff"}}}),
        json.dumps({"userinfo": {"sub": {"value": "\0"}}}),
        "[" * 4000,
        '{"userinfo":' * 300,
        "1" * 4096,
        " " * (MAX_CLAIMS_CHARS + 1),
        '{"userinfo": {"name": null}}' + " " * MAX_CLAIMS_CHARS,
    ],
    ids=lambda text: text[:50],
)
def test_anything_else_is_an_invalid_request(text: str) -> None:
    """Malformed, misshapen, doubled, deep or long."""
    with pytest.raises(BadAsk) as caught:
        parse_claims(text, known=SCOPE_OF_CLAIM)
    assert caught.value.oauth_error == "invalid_request"
    assert text[:20] not in caught.value.detail or not text.strip()


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["userinfo", "id_token", "acr", "sub", "name", "essential", "value", "values"])
            | st.text(max_size=4),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(_JSON)
def test_any_json_is_read_or_refused(asked: Any) -> None:
    """Nothing else can happen, and only known names come through."""
    try:
        request = parsed(asked)
    except BadAsk:
        return
    assert set(request.userinfo) | set(request.id_token) <= set(SCOPE_OF_CLAIM)


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    """As above."""
    try:
        parse_claims(text, known=SCOPE_OF_CLAIM)
    except BadAsk:
        return
