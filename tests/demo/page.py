"""Reading the sites' pages as a customer does: texts, links and fields by element id."""

from html.parser import HTMLParser

import httpx2

_VOID = frozenset({"input", "img", "meta", "link", "br", "hr"})


class Page(HTMLParser):
    """
    A page taken apart. `text[id]`: what is written inside the element; `attributes[id]`: its attributes; `words`: all text;
    `inputs`: name and value of every field, of radios and check boxes only the ticked ones.
    """

    def __init__(self, answer: httpx2.Response) -> None:
        super().__init__()
        self.url = answer.url
        self.status = answer.status_code
        self.text: dict[str, str] = {}
        self.attributes: dict[str, dict[str, str]] = {}
        self.inputs: dict[str, str] = {}
        self.language = ""
        self.words = ""
        self._open: list[str | None] = []
        self.feed(answer.text)
        self.words = " ".join(self.words.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        if tag == "html":
            self.language = attributes["lang"]
        if element_id := attributes.get("id"):
            assert element_id not in self.attributes, f"two elements with the id {element_id}"
            self.attributes[element_id] = attributes
            self.text[element_id] = ""
        if tag == "input" and (attributes.get("type") not in ("radio", "checkbox") or "checked" in attributes):
            self.inputs[attributes.get("name", "")] = attributes.get("value", "")
        if tag not in _VOID:
            self._open.append(element_id)

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            self._open.pop()

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        self.words += data + " "
        for element_id in self._open:
            if element_id:
                self.text[element_id] = " ".join(f"{self.text[element_id]} {data}".split())

    def __contains__(self, element_id: str) -> bool:
        return element_id in self.attributes

    @property
    def slots(self) -> list[str]:
        """The free times on offer."""
        return [element_id for element_id in self.attributes if element_id.startswith("slot-2")]
