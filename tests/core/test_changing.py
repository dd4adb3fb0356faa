"""A changed copy: `dataclasses.replace` is the measure."""

import dataclasses
import inspect
import pkgutil
from importlib import import_module
from typing import Any

import pytest

import broker.core
import broker.flows
from broker.core.changing import replace


@dataclasses.dataclass(frozen=True)
class Point:
    """Members in a dictionary."""

    x: int
    y: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    """Members in slots."""

    x: int
    y: int = 0


@pytest.mark.parametrize("kind", [Point, Slotted])
def test_the_copy_differs_in_what_was_said_and_in_nothing_else(kind: Any) -> None:
    """And the one it was made from stays as it was; it can be compared, hashed and changed again."""
    first = kind(1, 2)
    second = replace(first, y=3)
    assert (first, second) == (kind(1, 2), kind(1, 3))
    assert second == dataclasses.replace(first, y=3)
    assert hash(second) == hash(kind(1, 3))
    assert replace(second, y=2) == first
    assert replace(first) == first
    with pytest.raises(dataclasses.FrozenInstanceError):
        second.x = 5


@pytest.mark.parametrize("kind", [Point, Slotted])
def test_a_member_there_is_not_is_refused(kind: Any) -> None:
    """A slip of the pen must not become a member nobody reads."""
    with pytest.raises(TypeError):
        replace(kind(1), z=3)


def test_no_value_of_ours_does_more_than_hold_what_it_is_given() -> None:
    """A copy runs nothing: what ``__post_init__`` would check or derive would be left out."""
    for package in (broker.core, broker.flows):
        for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            for name, kind in inspect.getmembers(import_module(found.name), dataclasses.is_dataclass):
                assert not hasattr(kind, "__post_init__"), name
                assert all(field.init for field in dataclasses.fields(kind)), name
