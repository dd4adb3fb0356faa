"""What the shop sells, and the few cars it can look up by their plate."""

import re
from dataclasses import dataclass
from typing import Literal

Season = Literal["summer", "winter", "studded", "all-season"]


@dataclass(frozen=True)
class Tyre:
    """
    One article. Prices are whole kronor for one tyre, VAT included; grades are those of the EU tyre label.
    """

    sku: str
    model: str
    dimension: str
    load_speed_index: str
    season: Season
    price_kr: int
    rolling: str
    wet_grip: str
    noise_db: int
    ice_grip: bool = True
    for_electric: bool = False

    @property
    def text_key(self) -> str:
        """Which texts describe it: the model, whatever the dimension."""
        return self.model.lower().replace(" ", "_").replace("å", "a")


@dataclass(frozen=True)
class Car:
    """A car as far as a tyre shop needs to know it; `dimension` is empty when we could not look it up."""

    registration_number: str
    make: str = ""
    model: str = ""
    dimension: str = ""

    @property
    def name(self) -> str:
        return f"{self.make} {self.model}".strip()


TYRES: tuple[Tyre, ...] = (
    Tyre("firn-stig-18", "Firn Stig", "235/45 R18", "98T XL", "winter", 1395, "B", "C", 69),
    Tyre("firn-klo-18", "Firn Klo", "235/45 R18", "98T XL", "studded", 1495, "C", "C", 72),
    Tyre("skare-tyst-18", "Skare Tyst", "235/45 R18", "98T XL", "winter", 1745, "A", "B", 67, for_electric=True),
    Tyre("firn-stig-16", "Firn Stig", "205/55 R16", "94T XL", "winter", 995, "B", "C", 69),
    Tyre("firn-klo-16", "Firn Klo", "205/55 R16", "94T XL", "studded", 1095, "C", "C", 72),
    Tyre("skare-runt-16", "Skare Året Runt", "205/55 R16", "94V XL", "all-season", 1045, "B", "B", 70, ice_grip=False),
)

BY_SKU = {tyre.sku: tyre for tyre in TYRES}

_REGISTER = {
    car.registration_number: car
    for car in (
        Car("ABC 12D", "Volvo", "V60", "235/45 R18"),
        Car("KLM 481", "Toyota", "Corolla Touring Sports", "205/55 R16"),
        Car("RST 70E", "Volkswagen", "Golf", "205/55 R16"),
        Car("UXN 93B", "Polestar", "2", "235/45 R18"),
    )
}


def normal_plate(typed: str) -> str:
    """A registration number in the form we keep it, `ABC 12D`; empty when it cannot be one."""
    compact = re.sub(r"[\s-]", "", typed).upper()
    if not re.fullmatch(r"[A-ZÅÄÖ0-9]{2,8}", compact):
        return ""
    return f"{compact[:3]} {compact[3:]}" if re.fullmatch(r"[A-Z]{3}\d{2}[A-Z0-9]", compact) else compact


def look_up(plate: str) -> Car | None:
    """
    The car with this registration number; None when it cannot be a number. An unknown one has no name or
    dimension.
    """
    normal = normal_plate(plate)
    if not normal:
        return None
    return _REGISTER.get(normal, Car(normal))
