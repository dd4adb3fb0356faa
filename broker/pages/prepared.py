"""
The pages that every login by form passes on its way to another site, rendered once a language and then filled.

What differs between customers is an address and the members of a form. Each is put where the template has it, escaped as the
template does it; a template takes twenty times as long, which is more than the signature of what is sent.
"""

from collections.abc import Mapping

from markupsafe import escape

from broker.pages.views import ContinuePage, PostPage

_URL, _NAME, _VALUE = "https://url.invalid/", "name.invalid", "value.invalid"

EMPTY: Mapping[type, ContinuePage | PostPage] = {
    ContinuePage: ContinuePage(_URL),
    PostPage: PostPage(_URL, {_NAME: _VALUE}),
}
"""What is rendered to be filled."""


class Prepared:
    """
    One page in one language.

    Args:
        html: one of `EMPTY`, rendered.
    """

    def __init__(self, html: str) -> None:
        lines = html.splitlines(keepends=True)
        row = next((number for number, line in enumerate(lines) if _NAME in line), len(lines))
        self._before, self._after = "".join(lines[:row]).split(_URL), "".join(lines[row + 1 :])
        begin, _, rest = "".join(lines[row : row + 1]).partition(_NAME)
        self._row = (begin, *rest.split(_VALUE))

    def filled(self, url: str, members: Mapping[str, str]) -> str:
        """The page that goes on to *url*, an address a page may link to, with *members*."""
        rows = [part for name, value in members.items() for part in self._filled_row(name, value)]
        return "".join([str(escape(url)).join(self._before), *rows, self._after])

    def _filled_row(self, name: str, value: str) -> tuple[str, ...]:
        begin, middle, end = self._row
        return (begin, escape(name), middle, escape(value), end)
