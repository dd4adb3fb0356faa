"""
The ``claims`` parameter: single claims, asked for by name and by place (OpenID Connect Core section 5.5).

It says what is wished for; what is given decides `broker.core.release`, as for scopes. Of the profile only names count: a
claim that is essential, or wanted with a certain value, is given as known or left out (section 5.5.1). Two are more than
wishes: ``acr``, since the partner may need it (section 5.5.1.1), and ``sub``, which says who must be logged in.
"""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from broker.core.strict_json import StrictJson
from broker.errors import BadAsk

MAX_CLAIMS_CHARS = 4096
_MAX_VALUES = 20


class ClaimsRequest(Struct, frozen=True):
    """
    What a partner asked for by name.

    ``userinfo`` and ``id_token``: names of claims, by the place they are to go to. ``acr_values``: voluntary;
    ``essential_acr``: one of these or no login. ``subject``: the pairwise ``sub`` that must be logged in.
    """

    userinfo: tuple[str, ...] = ()
    id_token: tuple[str, ...] = ()
    acr_values: tuple[str, ...] = ()
    essential_acr: tuple[str, ...] = ()
    subject: str | None = None


NOTHING = ClaimsRequest()
_JSON = StrictJson()


def parse_claims(text: str, *, known: Mapping[str, Any]) -> ClaimsRequest:
    """
    Read a ``claims`` parameter.

    Args:
        known: the claims there are; others are ignored, and so are members nobody knows (section 5.5).
    Raises:
        BadAsk: not a JSON object of the form section 5.5 gives, or larger than anybody needs.
    """
    if len(text) > MAX_CLAIMS_CHARS:
        raise _bad("is too long")
    try:
        asked = _JSON.read(text)
    except ValueError as error:
        raise _bad("is not JSON") from error
    userinfo, id_token = _member(asked, "userinfo"), _member(asked, "id_token")
    essential, acr_values = _acr(id_token.get("acr"))
    return ClaimsRequest(
        userinfo=tuple(name for name in userinfo if name in known),
        id_token=tuple(name for name in id_token if name in known),
        acr_values=() if essential else acr_values,
        essential_acr=acr_values if essential else (),
        subject=_subject(userinfo.get("sub"), id_token.get("sub")),
    )


def _member(asked: Any, name: str) -> Mapping[str, Mapping[str, Any]]:
    """``userinfo`` or ``id_token``: each claim with what was said about it, null being nothing."""
    if not isinstance(asked, dict):
        raise _bad("is not an object")
    given = asked.get(name)
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise _bad(f"has a {name} that is not an object")
    return {claim: _said(wish) for claim, wish in given.items()}


def _said(wish: Any) -> Mapping[str, Any]:
    if wish is None:
        return {}
    if not isinstance(wish, dict) or not isinstance(wish.get("essential", False), bool):
        raise _bad("asks for a claim by something else than null or an object")
    if not isinstance(wish.get("values", []), list):
        raise _bad("has values that are no list")
    return wish


def _acr(wish: Mapping[str, Any] | None) -> tuple[bool, tuple[str, ...]]:
    """Whether a certain ``acr`` is essential, and which ones will do; without values any will, so it is not."""
    values = _values(wish or {})
    return bool(wish and wish.get("essential") and values), values


def _subject(*wishes: Mapping[str, Any] | None) -> str | None:
    subjects = {value for wish in wishes if wish for value in _values(wish)}
    if len(subjects) > 1:
        raise _bad("names more than one sub")
    return next(iter(subjects), None)


def _values(wish: Mapping[str, Any]) -> tuple[str, ...]:
    """``value`` or ``values``; for acr and sub these are words."""
    given = [wish["value"]] if "value" in wish else list(wish.get("values", []))
    # JSON can spell half a character (\ud800), which nothing that keeps text takes.
    if len(given) > _MAX_VALUES or not all(isinstance(value, str) and value.isprintable() for value in given):
        raise _bad("has a value of acr or sub that is no text, or too many")
    return tuple(dict.fromkeys(given))


def _bad(what: str) -> BadAsk:
    return BadAsk(f"claims {what}", code="authorize.claims")
