"""
A value that differs from another in a few members.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # A type checker looks at what is changed by this name only.
    from dataclasses import replace
else:
    from msgspec.structs import replace

__all__ = ["replace"]
