"""The drawn code: read back as a scanner reads it."""

import re
from xml.etree import ElementTree

import pytest
import zxingcpp
from PIL import Image, ImageDraw

from broker.pages.qr import qr_svg
from tests.pages.samples import QR_TEXT


def picture(svg: bytes, *, scale: int = 4, ground: int = 255) -> Image.Image:
    """*svg* drawn on a page of brightness *ground*, as a screenshot would show it."""
    root = ElementTree.fromstring(svg)
    side = int(root.attrib["width"])
    page = Image.new("L", ((side + 20) * scale, (side + 20) * scale), ground)
    draw = ImageDraw.Draw(page)
    for path in root:
        for x, y, w, h in _rectangles(path.attrib["d"]):
            left, top = (x + 10) * scale, (y + 10) * scale
            box = (left, top, left + w * scale - 1, top + h * scale - 1)
            draw.rectangle(box, fill=255 if path.attrib.get("fill") == "#fff" else 0)
    return page


def _rectangles(path: str) -> list[tuple[int, int, int, int]]:
    found = re.findall(r"M(\d+) (\d+)h(\d+)v(\d+)h-\d+[Zz]", path)
    assert len(found) == path.count("M"), "the drawing is made of rectangles only"
    return [(int(x), int(y), int(w), int(h)) for x, y, w, h in found]


@pytest.mark.parametrize("text", [QR_TEXT, "åäö ąęł €", "a"])
@pytest.mark.parametrize("ground", [255, 0], ids=["light", "dark"])
def test_a_drawn_code_reads_back(text: str, ground: int) -> None:
    """What a scanner reads from a light or dark page is what was drawn."""
    read = zxingcpp.read_barcodes(picture(qr_svg(text), ground=ground), try_invert=False)
    assert [each.text for each in read] == [text]


def test_quiet_zone() -> None:
    """Four white modules on every side belong to the drawing (ISO/IEC 18004 section 6.3.8)."""
    svg = qr_svg(QR_TEXT)
    ground, code = ElementTree.fromstring(svg)
    side = int(ElementTree.fromstring(svg).attrib["width"])
    assert _rectangles(ground.attrib["d"]) == [(0, 0, side, side)]
    boxes = _rectangles(code.attrib["d"])
    assert min(x for x, _, _, _ in boxes) == min(y for _, y, _, _ in boxes) == 4
    assert max(x + w for x, _, w, _ in boxes) == max(y + h for _, y, _, h in boxes) == side - 4


@pytest.mark.parametrize("text", ["", "x" * 5000], ids=["empty", "too long"])
def test_what_cannot_be_drawn(text: str) -> None:
    """Nothing, or more than a code holds, is refused."""
    with pytest.raises(ValueError):
        qr_svg(text)


def test_the_text_itself_is_not_in_the_drawing() -> None:
    """The picture is only a picture: no description or metadata repeats the secret text."""
    assert b"bankid" not in qr_svg(QR_TEXT)
    assert b"<desc" not in qr_svg(QR_TEXT)
