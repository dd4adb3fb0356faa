"""
The kinds of upstream an operator may name in the YAML: for each, its config model and how its connector is built.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from broker.core.assurance import Assurance
from broker.upstream.port import Connector


@dataclass(frozen=True, slots=True)
class Kind:
    """
    One kind of upstream.

    ``config``: model of its ``connect`` block. ``reaches``: the strongest assurance it can prove.
    """

    config: type[BaseModel]
    build: Callable[..., Connector]
    reaches: Callable[[Any], Assurance]


KINDS: Mapping[str, Kind] = {}
