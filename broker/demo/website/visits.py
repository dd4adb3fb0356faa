"""
Server-side visits: the cookie holds an opaque id (and the chosen language), the memory of this process holds
the rest.

Tokens, baskets and personal data therefore never travel in a cookie. Memory is enough for a demo; a real site
would keep the same few verbs in front of its own session store.
"""

import secrets
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from starlette.requests import Request

Contents = TypeVar("Contents")

_KEY = "visit"


class Visits(Generic[Contents]):
    """
    The visits of one site, oldest dropped first when there are more than *limit*.

    Args:
        new: makes the contents of a fresh visit.
        limit: how many visits are remembered.
    """

    def __init__(self, new: Callable[[], Contents], *, limit: int = 10_000) -> None:
        self._new = new
        self._limit = limit
        self._kept: OrderedDict[str, Contents] = OrderedDict()

    def of(self, request: Request) -> Contents:
        """The contents of this browser's visit; begins one when the browser has none that we know."""
        visit_id = str(request.session.get(_KEY))
        if visit_id not in self._kept:
            return self._keep(request, self._new())
        self._kept.move_to_end(visit_id)
        return self._kept[visit_id]

    def renew(self, request: Request) -> Contents:
        """
        Move the visit to a new id. security: called at login, so that an id planted before it is worthless.
        """
        contents = self.of(request)
        del self._kept[request.session[_KEY]]
        return self._keep(request, contents)

    def end(self, request: Request) -> None:
        """Forget this browser's visit and everything in it."""
        self._kept.pop(request.session.pop(_KEY, ""), None)

    def end_where(self, ended: Callable[[Contents], bool]) -> None:
        """Forget the visits of other browsers whose contents say so: their server was told, not they."""
        self._kept = OrderedDict((name, contents) for name, contents in self._kept.items() if not ended(contents))

    def _keep(self, request: Request, contents: Contents) -> Contents:
        visit_id = secrets.token_urlsafe(32)
        request.session[_KEY] = visit_id
        self._kept[visit_id] = contents
        while len(self._kept) > self._limit:
            self._kept.popitem(last=False)
        return contents
