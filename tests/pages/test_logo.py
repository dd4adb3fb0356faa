"""Partners' logos: only pictures that are what they claim to be, sent so that nothing else can be seen in them."""

import io
from pathlib import Path

import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from broker.pages.logo import MAX_BYTES, BadLogo, Logos, check_logo, read_logo


def drawn(kind: str, width: int = 64, height: int = 48, **options: object) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), (20, 86, 75)).save(out, kind, **options)
    return out.getvalue()


GOOD = {
    "png": (drawn("PNG"), "image/png"),
    "jpeg": (drawn("JPEG"), "image/jpeg"),
    "progressive jpeg": (drawn("JPEG", progressive=True), "image/jpeg"),
    "webp": (drawn("WEBP"), "image/webp"),
    "lossless webp": (drawn("WEBP", lossless=True), "image/webp"),
    "extended webp": (drawn("WEBP", exif=b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x00"), "image/webp"),
}


@pytest.mark.parametrize("name", GOOD)
def test_pictures_that_are_served(name: str) -> None:
    """PNG, JPEG and WebP in all their kinds, with the size read from the file itself."""
    content, media_type = GOOD[name]
    logo = check_logo(content)
    assert (logo.media_type, logo.width, logo.height) == (media_type, 64, 48)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>', "SVG is not allowed"),
        (b"<?xml version='1.0'?><svg/>", "SVG is not allowed"),
        (b"<html><script>alert(1)</script>", "not a PNG"),
        (drawn("GIF"), "not a PNG"),
        (drawn("BMP"), "not a PNG"),
        (b"", "not a PNG"),
        (b"\x89PNG\r\n\x1a\n", "damaged"),
        (b"\x89PNG\r\n\x1a\n" + b"<script>alert(1)</script>" * 4, "damaged"),
        (b"\xff\xd8\xff\xe0", "damaged"),
        (b"\xff\xd8\xff" + b"\x00" * 64, "damaged"),
        (b"\xff\xd8" + b"\xff\xe0\x00\x00" * 20, "damaged"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "damaged"),
        (b"RIFF\x00\x00\x00\x00WEBPXXXX" + b"\x00" * 40, "damaged"),
        (drawn("PNG", 8, 8), "8 x 8"),
        (drawn("PNG", 2000, 20), "2000 x 20"),
        (drawn("WEBP", 64, 1500), "64 x 1500"),
        (drawn("JPEG", 15, 64), "15 x 64"),
        (drawn("PNG") + b"\x00" * MAX_BYTES, "larger than 256 KiB"),
    ],
)
def test_files_that_are_no_logo(content: bytes, reason: str) -> None:
    """Anything else is refused at start, in words the operator understands."""
    with pytest.raises(BadLogo, match=reason):
        check_logo(content)


def test_a_missing_file(tmp_path: Path) -> None:
    """A path that leads nowhere is the operator's mistake too."""
    with pytest.raises(BadLogo, match="cannot be read"):
        read_logo(tmp_path / "none.png")


def test_a_file_is_read(tmp_path: Path) -> None:
    """The bytes are served as they are in the file."""
    path = tmp_path / "logo.png"
    path.write_bytes(drawn("PNG"))
    assert read_logo(path).content == drawn("PNG")


@pytest.fixture
def logos() -> Logos:
    return Logos({"garage": check_logo(drawn("WEBP"))})


def test_logo_is_served_as_what_it_is(logos: Logos) -> None:
    """The checked type, no sniffing, and a sandbox should somebody open it as a page."""
    answer = TestClient(Starlette(routes=logos.routes())).get(logos.src("garage") or "")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/webp"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.content == drawn("WEBP")


@pytest.mark.parametrize("path", ["/logo/nobody", "/logo/", "/logo/..%2f..%2fetc%2fpasswd", "/logo/garage/x"])
def test_no_other_logo(logos: Logos, path: str) -> None:
    """Only partners with a logo are found; no path reaches the disk."""
    assert TestClient(Starlette(routes=logos.routes())).get(path).status_code == 404
    assert logos.src("nobody") is None


def test_a_new_logo_has_a_new_address() -> None:
    """So that browsers show it at once, although they keep the old one for a day."""
    one, other = Logos({"a": check_logo(drawn("PNG"))}), Logos({"a": check_logo(drawn("PNG", 65))})
    assert one.src("a") != other.src("a")
