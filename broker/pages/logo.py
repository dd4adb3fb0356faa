"""
Partners' logos: files the operator names in the config, checked once at start, served from the broker's own origin.

PNG, JPEG and WebP only. SVG is refused since it can carry scripts. The bytes are sent as they are (no image library at
runtime), so what is checked here is what they claim to be, and the headers keep a browser from seeing anything else.
"""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

MAX_BYTES = 256 * 1024
MIN_PIXELS = 16
MAX_PIXELS = 1024

_HEADERS = {
    "Cache-Control": "public, max-age=86400",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; sandbox",
}


class BadLogo(ValueError):
    """The file is no logo the broker can serve; the text says why, for the operator."""


class Logo(Struct, frozen=True):
    """A checked logo; ``width`` and ``height`` in pixels."""

    content: bytes
    media_type: str
    width: int
    height: int

    @property
    def version(self) -> str:
        """Changes with the content, so that a new logo shows at once."""
        return sha256(self.content).hexdigest()[:12]


def read_logo(path: Path) -> Logo:
    """
    Read and check the logo at *path*.

    Raises:
        BadLogo: not readable, too big, not a PNG, JPEG or WebP, or its sides are not 16 to 1024 pixels.
    """
    try:
        with path.open("rb") as source:
            content = source.read(MAX_BYTES + 1)
    except OSError as error:
        raise BadLogo(f"cannot be read: {error.strerror}") from error
    return check_logo(content)


def check_logo(content: bytes) -> Logo:
    """Check *content* as `read_logo` does."""
    if len(content) > MAX_BYTES:
        raise BadLogo(f"is larger than {MAX_BYTES // 1024} KiB")
    media_type, size = _kind_and_size(content)
    if size is None:
        raise BadLogo("is damaged: its size cannot be read")
    width, height = size
    if not (MIN_PIXELS <= width <= MAX_PIXELS and MIN_PIXELS <= height <= MAX_PIXELS):
        raise BadLogo(f"is {width} x {height} pixels; each side must be {MIN_PIXELS} to {MAX_PIXELS}")
    return Logo(content, media_type, width, height)


def _kind_and_size(content: bytes) -> tuple[str, tuple[int, int] | None]:
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png", _png_size(content)
    if content.startswith(b"\xff\xd8\xff"):
        return "image/jpeg", _jpeg_size(content)
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp", _webp_size(content)
    raise BadLogo("is not a PNG, JPEG or WebP picture (SVG is not allowed, since it can carry scripts)")


def _png_size(content: bytes) -> tuple[int, int] | None:
    """From the IHDR chunk, which must come first (PNG specification section 11.2.1)."""
    if len(content) < 24 or content[12:16] != b"IHDR":
        return None
    return int.from_bytes(content[16:20]), int.from_bytes(content[20:24])


def _jpeg_size(content: bytes) -> tuple[int, int] | None:
    """From the first frame header, SOF0 to SOF15 without DHT, JPG and DAC (ITU-T T.81 section B.2.2)."""
    at = 2
    while at + 9 <= len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}:
            return int.from_bytes(content[at + 7 : at + 9]), int.from_bytes(content[at + 5 : at + 7])
        at += 2 + int.from_bytes(content[at + 2 : at + 4])
    return None


def _webp_size(content: bytes) -> tuple[int, int] | None:
    """From the first chunk: VP8X, VP8L or VP8 (RFC 9649 sections 2.5 to 2.7)."""
    chunk = content[12:16]
    if len(content) < 30:
        return None
    if chunk == b"VP8X":
        return 1 + int.from_bytes(content[24:27], "little"), 1 + int.from_bytes(content[27:30], "little")
    if chunk == b"VP8L" and content[20] == 0x2F:
        bits = int.from_bytes(content[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if chunk == b"VP8 " and content[23:26] == b"\x9d\x01\x2a":
        width, height = int.from_bytes(content[26:28], "little"), int.from_bytes(content[28:30], "little")
        return width & 0x3FFF, height & 0x3FFF
    return None


class Logos:
    """The logos of all partners, by partner id."""

    def __init__(self, logos: Mapping[str, Logo]) -> None:
        self._logos = dict(logos)

    def src(self, partner: str) -> str | None:
        """The path pages show *partner*'s logo from; None when it has none."""
        logo = self._logos.get(partner)
        return f"/logo/{partner}?v={logo.version}" if logo else None

    async def serve(self, request: Request) -> Response:
        """A partner's logo with its checked type; 404 where there is none."""
        logo = self._logos.get(request.path_params["partner"])
        if logo is None:
            return PlainTextResponse("not found", status_code=404, headers={"Cache-Control": "no-store"})
        return Response(logo.content, media_type=logo.media_type, headers=_HEADERS)

    def routes(self) -> list[Route]:
        """The one route that serves them."""
        return [Route("/logo/{partner}", self.serve, methods=["GET"])]
