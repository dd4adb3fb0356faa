"""Values of the way: copies that differ in a member, and members that are not shown."""

import dataclasses
import inspect
import pkgutil
from importlib import import_module
from typing import Any

import msgspec
import pytest
from msgspec import Struct
from rich.pretty import pretty_repr

import broker
from broker.core.changing import replace
from broker.core.discreet import Discreet
from broker.core.session import Need, Profile
from tests.core.world import policy


class Point(Struct, frozen=True):
    """A place."""

    x: int
    y: int = 0


class Letter(Discreet, frozen=True):
    """Who may know to whom, may not know what."""

    UNSPOKEN = frozenset({"text"})

    to: str
    text: str


def test_the_copy_differs_in_what_was_said_and_in_nothing_else() -> None:
    """And the one it was made from stays as it was; it can be compared, hashed and changed again."""
    first = Point(1, 2)
    second = replace(first, y=3)
    assert (first, second) == (Point(1, 2), Point(1, 3))
    assert hash(second) == hash(Point(1, 3))
    assert replace(second, y=2) == first
    assert replace(first) == first
    with pytest.raises(AttributeError):
        second.x = 5  # type: ignore[misc]


def test_a_member_there_is_not_is_refused() -> None:
    """A slip of the pen must not become a member nobody reads."""
    with pytest.raises(TypeError):
        replace(Point(1), z=3)


def test_what_is_not_for_eyes_is_not_in_the_text_of_a_value() -> None:
    """Nor in that of a copy, or of what holds it; the value itself is whole."""
    letter = Letter("maja", "a secret")
    for shown in (
        repr(letter),
        str(replace(letter, to="lars")),
        f"{[letter]}",
        pretty_repr(letter),
        pretty_repr([letter]),
    ):
        assert "secret" not in shown
        assert "to=" in shown
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(letter), type=Letter) == letter


def test_what_is_as_ever_is_not_stored_and_what_was_stored_whole_is_read() -> None:
    """A broker of before, which wrote every member, and one of now read each other's sessions."""
    whole = {"minimum": "contact", "upstreams": ["google"], "fresh_after": None, "session_after": None}
    for kind, members in ((Need, whole), (Profile, {"name": "Maja", "email": None, "email_verified": False})):
        value: Any = msgspec.msgpack.decode(msgspec.msgpack.encode(members), type=kind)
        again = msgspec.msgpack.encode(value)
        assert msgspec.msgpack.decode(again, type=kind) == value
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(Profile(name="Maja"))) == {"name": "Maja"}


def test_values_are_frozen() -> None:
    """What one part of a login decided no other can change; and what a value hides, it has."""
    found = 0
    for place in pkgutil.walk_packages(broker.__path__, "broker."):
        if not place.name.startswith(("broker.demo", "broker.stores.migrations", "broker.__main__")):
            for name, kind in inspect.getmembers(import_module(place.name), inspect.isclass):
                found += _is_sound(name, kind) if kind.__module__ == place.name else 0
    assert found > 250


def test_the_policy_is_not_changed() -> None:
    """Nor is anything added to it: another config makes another policy."""
    known = policy()
    for name in ("issuer", "client_secrets", "partner", "something_new"):
        with pytest.raises(AttributeError):
            setattr(known, name, {})
    assert known.issuer == policy().issuer


def _is_sound(name: str, kind: Any) -> bool:
    assert not (dataclasses.is_dataclass(kind) and kind.__module__.startswith("broker.core.")), name
    if not issubclass(kind, Struct):
        return False
    assert kind.__struct_config__.frozen, name
    assert getattr(kind, "UNSPOKEN", frozenset()) <= set(kind.__struct_fields__), name
    return True
