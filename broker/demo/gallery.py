"""
The pictures in the docs, made of those that ``make demo-check`` takes: ``python -m broker.demo.gallery``, from the checkout.
"""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageChops

TAKEN = Path("build/demo-check")
SHOWN = Path("docs/images")

_MARGIN_PX = 28
_COLOURS = 256


@dataclass(frozen=True, slots=True)
class Picture:
    """
    One picture. ``taken``: its name in the story, without number. ``width``: at most, in pixels. ``height``: cut off below.
    ``trims``: the empty page around what is on it is cut away.
    """

    taken: str
    width: int = 640
    height: int | None = None
    trims: bool = False


PICTURES = {
    "receipt": Picture("shop-receipt", width=960, height=975),
    "choose": Picture("broker-choose-phone"),
    "code": Picture("broker-code-phone"),
    "passkey": Picture("broker-passkey-added-phone", height=1500),
    "join": Picture("broker-join-phone"),
    "ways-in": Picture("broker-ways-in-phone", height=1500),
    "eid": Picture("eid-choose-phone"),
    "eidas": Picture("eidas-country-phone"),
    "newsletter": Picture("shop-newsletter", width=960),
    "newsletter-choose": Picture("broker-choose-newsletter-phone"),
    "workshop": Picture("workshop-booking", width=960),
    "logged-out": Picture("broker-logged-out-still", trims=True),
    "customer-service": Picture("broker-staff", trims=True),
    "customer-service-code": Picture("broker-staff-code", trims=True),
    "customer-service-phone": Picture("app-call"),
}
"""By name in the docs."""


def made(path: Path, picture: Picture) -> Image.Image:
    """The picture at *path* as the docs show it, with few colours so that it stays small."""
    image = Image.open(path).convert("RGB")
    if picture.trims:
        image = trimmed(image)
    if image.width > picture.width:
        size = (picture.width, image.height * picture.width // image.width)
        image = image.resize(size, Image.Resampling.LANCZOS)
    if picture.height is not None:
        image = image.crop((0, 0, image.width, min(image.height, picture.height)))
    return image.quantize(_COLOURS, dither=Image.Dither.NONE)


def trimmed(image: Image.Image) -> Image.Image:
    """*image* without what is only the colour of its lower corner, but for a margin."""
    empty = Image.new("RGB", image.size, image.getpixel((0, image.height - 1)))
    left, top, right, bottom = ImageChops.difference(image, empty).getbbox() or (0, 0, *image.size)
    return image.crop(
        (
            max(0, left - _MARGIN_PX),
            max(0, top - _MARGIN_PX),
            min(image.width, right + _MARGIN_PX),
            min(image.height, bottom + _MARGIN_PX),
        )
    )


def main() -> None:
    """Make them all."""
    for name, picture in PICTURES.items():
        (found,) = TAKEN.glob(f"[0-9][0-9]-{picture.taken}.png")
        made(found, picture).save(SHOWN / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
