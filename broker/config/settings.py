"""
What the environment says: only what must be known before the config file is read, or differs per machine.
"""

from pathlib import Path
from typing import Literal

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from broker.errors import ConfigError

LogLevel = Literal["debug", "info", "warning", "error"]


class Settings(BaseSettings):
    """
    Environment variables, each with the prefix ``STAFETT_``.

    ``config``: the YAML file. ``data_dir``: goes before ``broker.data_dir``. ``log_format``: ``json`` for machines,
    ``text`` for people.
    """

    model_config = SettingsConfigDict(env_prefix="STAFETT_", env_ignore_empty=True, frozen=True, extra="ignore")

    config: Path = Path("stafett.yaml")
    data_dir: Path | None = None
    log_level: LogLevel = "info"
    log_format: Literal["json", "text"] = "json"


def read_settings() -> Settings:
    """
    The settings of this process.

    Raises:
        ConfigError: a variable with a value it cannot have.
    """
    try:
        return Settings()
    except ValidationError as failed:
        raise ConfigError(tuple(_sentence(error["loc"][0], error["msg"]) for error in failed.errors())) from None


def _sentence(name: int | str, message: str) -> str:
    return f"environment variable STAFETT_{str(name).upper()}: {message[0].lower()}{message[1:]}"
