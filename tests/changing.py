"""A changed copy, of a value of the broker's or of one of a simulator's."""

import dataclasses
from typing import Any

from broker.core import changing


def replace(value: Any, /, **changes: Any) -> Any:
    """As `broker.core.changing.replace` and, for what is a dataclass, as `dataclasses.replace`."""
    kind: Any = dataclasses if dataclasses.is_dataclass(value) else changing
    return kind.replace(value, **changes)
