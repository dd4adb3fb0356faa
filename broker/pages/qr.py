"""
QR codes as SVG, drawn by the server so that the secret behind an animated code never reaches the browser.

One drawing takes about a millisecond; callers keep it for as long as its text holds (one second for BankID).
"""

import re

import zxingcpp

MEDIA_TYPE = "image/svg+xml"

#: What a drawn code is sent with: it is a one-time picture of a running login.
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; sandbox",
}

_SIZE = re.compile(r'<svg width="(\d+)"')
_PATH = re.compile(r'<path d="([MmHhVvLlZz0-9 .,-]+)"')


def qr_svg(text: str) -> bytes:
    """
    Draw *text* as a QR code: UTF-8 SVG, dark on white with a quiet zone of four modules (ISO/IEC 18004 section 6.3.8).

    The white ground is part of the drawing, so scanners read it on a dark page too. Error correction L: the code is
    read from a clean screen, and larger modules help more than redundancy.

    Raises:
        ValueError: empty, or more than a QR code holds.
    """
    if not text:
        raise ValueError("nothing to draw")
    drawn = zxingcpp.create_barcode(text, zxingcpp.BarcodeFormat.QRCode, ec_level="L").to_svg(add_quiet_zones=True)
    size, path = _SIZE.search(drawn), _PATH.search(drawn)
    if size is None or path is None:  # the drawing library changed its output; a test catches it before a customer
        raise ValueError("unexpected drawing")
    n = size[1]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {n} {n}" width="{n}" height="{n}" '
        f'shape-rendering="crispEdges"><path fill="#fff" d="M0 0h{n}v{n}h-{n}z"/><path d="{path[1]}"/></svg>'
    ).encode()
