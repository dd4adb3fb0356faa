"""
Request bodies of the RP API v6: exact field names, lengths and types; anything else is ``invalidParameters``.
"""

import base64
import binascii
import ipaddress
import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

_POLICY = re.compile(r"[0-9]+(\.[0-9]+){3,}(\.\*)?")


def _is_base64_text(value: str) -> str:
    try:
        base64.b64decode(value, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise ValueError("not base64 of UTF-8 text") from error
    return value


def _is_base64(value: str) -> str:
    try:
        base64.b64decode(value, validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error
    return value


def _is_address(value: str) -> str:
    ipaddress.ip_address(value)
    return value


def _is_policy(value: str) -> str:
    if not _POLICY.fullmatch(value):
        raise ValueError("not a certificate policy")
    return value


class _Strict(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, alias_generator=to_camel, validate_by_name=False
    )


class Requirement(_Strict):
    """What the person's BankID must fulfil. ``risk`` is no longer supported and therefore refused."""

    pin_code: bool | None = None
    mrtd: bool | None = None
    personal_number: Annotated[str, Field(pattern=r"^[0-9]{12}$")] | None = None
    card_reader: Literal["class1", "class2"] | None = None
    certificate_policies: list[Annotated[str, AfterValidator(_is_policy)]] | None = None


class Web(_Strict):
    """The browser the customer uses."""

    referring_domain: Annotated[str, Field(min_length=3, max_length=253)] | None = None
    user_agent: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    device_identifier: Annotated[str, Field(min_length=1, max_length=64)] | None = None


class App(_Strict):
    """The relying party's own app."""

    app_identifier: str | None = None
    device_os: str | None = Field(default=None, alias="deviceOS")
    device_model_name: str | None = None
    device_identifier: Annotated[str, Field(min_length=1, max_length=64)] | None = None


class AuthRequest(_Strict):
    """Body of ``auth``."""

    end_user_ip: Annotated[str, AfterValidator(_is_address)]
    user_visible_data: Annotated[str, Field(min_length=1, max_length=1_500), AfterValidator(_is_base64_text)] | None = (
        None
    )
    user_visible_data_format: Literal["simpleMarkdownV1", "plaintext"] | None = None
    user_non_visible_data: Annotated[str, Field(min_length=1, max_length=1_500), AfterValidator(_is_base64)] | None = (
        None
    )
    return_url: Annotated[str, Field(min_length=1, max_length=512)] | None = None
    return_risk: bool = False
    requirement: Requirement | None = None
    web: Web | None = None
    app: App | None = None

    @model_validator(mode="after")
    def _one_channel(self) -> Self:
        if self.web is not None and self.app is not None:
            raise ValueError("web and app exclude each other")
        return self

    def bound_to(self) -> str | None:
        """The personal number the order demands, if any."""
        return self.requirement.personal_number if self.requirement else None


class SignRequest(AuthRequest):
    """Body of ``sign``: the visible text is required and may be long."""

    user_visible_data: Annotated[str, Field(min_length=1, max_length=40_000), AfterValidator(_is_base64_text)]
    user_non_visible_data: (
        Annotated[str, Field(min_length=1, max_length=200_000), AfterValidator(_is_base64)] | None
    ) = None


class PhoneRequirement(_Strict):
    """What may be required of somebody on the phone."""

    pin_code: bool | None = None
    certificate_policies: list[Annotated[str, AfterValidator(_is_policy)]] | None = None


class PhoneAuthRequest(_Strict):
    """
    Body of ``phone/auth``: about somebody who is on the phone right now, so bound to a person, and without any address.
    """

    personal_number: Annotated[str, Field(pattern=r"^[0-9]{12}$")]
    call_initiator: Literal["user", "RP"]
    user_visible_data: Annotated[str, Field(min_length=1, max_length=1_500), AfterValidator(_is_base64_text)] | None = (
        None
    )
    user_visible_data_format: Literal["simpleMarkdownV1", "plaintext"] | None = None
    user_non_visible_data: Annotated[str, Field(min_length=1, max_length=1_500), AfterValidator(_is_base64)] | None = (
        None
    )
    requirement: PhoneRequirement | None = None

    @property
    def return_url(self) -> None:
        """There is no browser to go back to."""

    @property
    def return_risk(self) -> bool:
        """The risk is told for logins with an address only."""
        return False

    @property
    def end_user_ip(self) -> str:
        """Nobody knows where somebody on the phone is."""
        return ""

    def bound_to(self) -> str:
        """The personal number of whoever is on the phone."""
        return self.personal_number


class OrderReference(_Strict):
    """Body of ``collect`` and ``cancel``."""

    order_ref: Annotated[str, Field(min_length=1, max_length=64)]
