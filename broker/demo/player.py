"""
What a customer can do with a browser, as the story needs it: one interface, played over plain HTTP and in Chromium.

Elements are named by their ``id`` in the page and count only while they can be seen.
"""

from typing import Protocol


class Stuck(Exception):
    """The browser cannot do what the story says, for instance because the page has no such button."""


class Player(Protocol):
    """One tab of one browser."""

    @property
    def address(self) -> str:
        """Where the tab is."""
        ...

    @property
    def shown(self) -> list[str]:
        """The address of every page that was shown in this tab, in order; redirects are not shown."""
        ...

    async def open(self, address: str) -> None:
        """Go to *address*, as if it were typed or clicked somewhere else."""
        ...

    async def click(self, element: str) -> None:
        """Click a link or button, and wait for the page it leads to."""
        ...

    async def press(self, element: str) -> None:
        """Click a button that leads nowhere by itself."""
        ...

    async def unfold(self, element: str) -> None:
        """Open what is folded away below a summary, where it is shut."""
        ...

    async def fill(self, element: str, text: str) -> None:
        """Type into a field, in place of what is there."""
        ...

    async def tick(self, element: str) -> None:
        """Choose a check box or radio button."""
        ...

    async def untick(self, element: str) -> None:
        """Clear a check box."""
        ...

    async def is_ticked(self, element: str) -> bool:
        """Whether a check box or radio button is chosen."""
        ...

    async def has(self, element: str) -> bool:
        """Whether the element is there to be seen."""
        ...

    async def elements(self, prefix: str) -> list[str]:
        """The ids that begin with *prefix*, in the page's order."""
        ...

    async def text(self, element: str) -> str:
        """What the element says; white space is single blanks."""
        ...

    async def attribute(self, element: str, name: str) -> str:
        """An attribute's value; empty when there is none."""
        ...

    async def value(self, element: str) -> str:
        """What stands in a field."""
        ...

    async def source(self) -> str:
        """The page's HTML as it is now."""
        ...

    async def wait_for(self, *, element: str = "", address: str = "") -> None:
        """Wait until the page has *element* and its address begins with *address*."""
        ...

    async def read_code(self, element: str) -> str:
        """The text of the QR code drawn in an image, read from the picture."""
        ...

    async def picture(self, name: str, *, phone: bool = False) -> None:
        """Save what is seen, where pictures can be taken; *phone* as in a narrow window."""
        ...

    async def new_tab(self) -> "Player":
        """Another tab of this browser."""
        ...

    async def other_device(self, *, phone: bool = True) -> "Player":
        """A browser that shares nothing with this one: the customer's phone, or somebody's computer."""
        ...

    async def keep_passkeys(self) -> bool:
        """From now on make passkeys when a page asks for one, and use them; False where that cannot be."""
        ...

    async def close(self) -> None:
        """Close the tab, and the device when it was its first."""
        ...
