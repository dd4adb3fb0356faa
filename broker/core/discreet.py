"""
Values that hold what no log or traceback may show.
"""

from typing import Any, ClassVar

from msgspec import Struct


class Discreet(Struct, frozen=True):
    """A value that leaves out of its text, and of what the rich library prints, the members its class names in ``UNSPOKEN``."""

    UNSPOKEN: ClassVar[frozenset[str]] = frozenset()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """The members that may be shown; a struct's own would give all of them."""
        return [(name, getattr(self, name)) for name in self.__struct_fields__ if name not in self.UNSPOKEN]
