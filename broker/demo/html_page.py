"""A web page as a person without scripts meets it: elements by id, what is hidden, and what a form would send."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

from broker.demo.player import Stuck

_VOID = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
)
_UNSEEN = frozenset({"head", "script", "style", "template"})
_NAMELESS = frozenset({"submit", "button", "image", "reset", "file"})


@dataclass(eq=False)
class Element:
    """One element; ``children`` holds elements and texts in order."""

    tag: str
    attributes: dict[str, str]
    parent: "Element | None" = None
    children: list["Element | str"] = field(default_factory=list)

    def walk(self) -> Iterator["Element"]:
        """This element and all below it, in the page's order."""
        yield self
        for child in self.children:
            if isinstance(child, Element):
                yield from child.walk()

    def within(self, tag: str) -> "Element | None":
        """The nearest element with *tag* around this one, or itself."""
        around: Element | None = self
        while around is not None and around.tag != tag:
            around = around.parent
        return around

    def is_seen(self) -> bool:
        """False when this or something around it is hidden, or folded away."""
        inside: Element | None = None
        around: Element | None = self
        while around is not None:
            if "hidden" in around.attributes or around.tag in _UNSEEN or around.attributes.get("type") == "hidden":
                return False
            if around.is_shut() and inside is not None and inside.tag != "summary":
                return False
            inside, around = around, around.parent
        return True

    def is_shut(self) -> bool:
        """Whether only the summary of what this holds can be seen."""
        return self.tag == "details" and "open" not in self.attributes

    def text(self) -> str:
        """What can be read, with single blanks."""
        return " ".join("".join(self._texts()).split())

    def _texts(self) -> Iterator[str]:
        if "hidden" in self.attributes or self.tag in _UNSEEN:
            return
        for child in self.children:
            if isinstance(child, Element):
                yield from child._texts()
            else:
                yield child
        if self.tag in {"p", "div", "li", "dt", "dd", "tr", "td", "th", "br", "small", "h1", "h2", "h3"}:
            yield " "


class HtmlPage(HTMLParser):
    """*source* parsed; broken nesting is closed as far as our own pages need it."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("document", {})
        self._open = self.root
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Part of HTMLParser."""
        element = Element(tag, {name: value or "" for name, value in attrs}, self._open)
        self._open.children.append(element)
        if tag not in _VOID:
            self._open = element

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Part of HTMLParser: ``<path/>``."""
        self._open.children.append(Element(tag, {name: value or "" for name, value in attrs}, self._open))

    def handle_endtag(self, tag: str) -> None:
        """Part of HTMLParser."""
        closed = self._open.within(tag)
        if closed is not None and closed.parent is not None:
            self._open = closed.parent

    def handle_data(self, data: str) -> None:
        """Part of HTMLParser."""
        self._open.children.append(data)

    def all(self, tag: str) -> list[Element]:
        """Every element with *tag*."""
        return [each for each in self.root.walk() if each.tag == tag]

    def find(self, element_id: str) -> Element | None:
        """The element with this id, if it can be seen."""
        found = next((each for each in self.root.walk() if each.attributes.get("id") == element_id), None)
        return found if found is not None and found.is_seen() else None

    def get(self, element_id: str) -> Element:
        """As `find`. Raises Stuck when there is none."""
        found = self.find(element_id)
        if found is None:
            raise Stuck(f"the page has no element #{element_id} that can be seen")
        return found

    def ids(self, prefix: str) -> list[str]:
        """The ids of visible elements that begin with *prefix*."""
        found = (each.attributes.get("id", "") for each in self.root.walk() if each.is_seen())
        return [each for each in found if each.startswith(prefix)]

    def moves_on_to(self) -> str | None:
        """Where ``<meta http-equiv=refresh>`` sends the browser; None without one (inside noscript does not count)."""
        for meta in self.all("meta"):
            if meta.attributes.get("http-equiv", "").lower() == "refresh" and meta.within("noscript") is None:
                _, _, target = meta.attributes.get("content", "").partition("url=")
                return target or None
        return None


def entries(form: Element, pressed: Element) -> list[tuple[str, str]]:
    """What *form* sends when *pressed* is clicked (HTML, section "constructing the entry list")."""
    sent = []
    for each in form.walk():
        name, kind = each.attributes.get("name", ""), each.attributes.get("type", "").lower()
        if not name or "disabled" in each.attributes:
            continue
        if each is pressed:
            sent.append((name, each.attributes.get("value", "")))
        elif each.tag == "input" and kind in {"checkbox", "radio"}:
            sent += [(name, each.attributes.get("value", "on"))] if "checked" in each.attributes else []
        elif each.tag == "input" and kind not in _NAMELESS:
            sent.append((name, each.attributes.get("value", "")))
        elif each.tag == "textarea":
            sent.append((name, "".join(child for child in each.children if isinstance(child, str))))
        elif each.tag == "select":
            sent += [(name, chosen)] if (chosen := _chosen(each)) is not None else []
    return sent


def _chosen(select: Element) -> str | None:
    options = [each for each in select.walk() if each.tag == "option"]
    chosen = [each for each in options if "selected" in each.attributes] or options[:1]
    return chosen[0].attributes.get("value", chosen[0].text()) if chosen else None
