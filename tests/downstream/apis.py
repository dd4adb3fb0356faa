"""
Partners whose access tokens are for APIs, and those APIs, on one broker that the tests of a module share.
"""

import base64
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from joserfc import jws

from broker.stores.ports import Records, StateStore
from tests.stage import LEFT_BEHIND, SECRET, Answer, Partner, Stage, open_stage

WRITER, READER, PLAIN, PAGE = "writer-web", "reader-web", "plain-web", "page-web"
BOOKING, STOCK = "https://api.booking.example/v1", "https://stock.example"
PAGE_ORIGIN = "https://page.example"

_PARTNERS = """
partners:
  writer:
    names: {en: Writer}
    home_uri: https://writer.example/
    oidc:
      client_id: writer-web
      secret: file:secrets/tyre-shop
      redirect_uris: [https://writer.example/cb]
      refresh_tokens: {}
      access_token: {format: jwt, resource: booking}
    login: {upstreams: [google, bankid], claims: [name, email], consent: implied}
  reader:
    names: {en: Reader}
    home_uri: https://reader.example/
    oidc:
      client_id: reader-web
      secret: file:secrets/tyre-shop
      redirect_uris: [https://reader.example/cb]
      refresh_tokens: {}
      access_token: {resource: stock}
      userinfo_signed_response_alg: ES256
    login: {upstreams: [google, bankid], claims: [name, email], consent: ask}
  plain:
    names: {en: Plain}
    home_uri: https://plain.example/
    oidc:
      client_id: plain-web
      secret: file:secrets/tyre-shop
      redirect_uris: [https://plain.example/cb]
      refresh_tokens: {}
      subject_type: public
      id_token_alg: ES256
      userinfo_signed_response_alg: RS256
    login: {upstreams: [google, bankid], claims: [name, email], consent: implied}
  page:
    names: {en: Page}
    home_uri: https://page.example/
    oidc:
      client_id: page-web
      auth: none
      redirect_uris: [https://page.example/cb]
      refresh_tokens: {}
      subject_type: public
    login: {upstreams: [google, bankid], claims: [name, email], consent: implied}
"""

_RESOURCES = """
resources:
  booking:
    audience: https://api.booking.example/v1
    token_alg: ES256
    client: {client_id: booking-api, secret: file:secrets/garage}
  stock:
    audience: https://stock.example
    sector: reader
    client: {client_id: stock-api, auth: client_secret_post, secret: file:secrets/garage}

payload_types:
"""


_START = "      initiate_login_uri: http://127.0.0.1:8702/login/start\n"
_GARAGE = {
    _START: f"{_START}      access_token: {{format: jwt, resource: booking}}\n",
    "      consent: ask\n": "      consent: implied\n",
}


class Apis:
    """The stage, and everybody on it."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.writer = Partner(stage, WRITER, "https://writer.example/cb")
        self.reader = Partner(stage, READER, "https://reader.example/cb")
        self.plain = Partner(stage, PLAIN, "https://plain.example/cb")
        self.page = Partner(stage, PAGE, "https://page.example/cb")

    async def log_in(
        self, partner: Partner, *, scope: str = "openid profile email", who: str = "maja"
    ) -> dict[str, Any]:
        """A login in a browser of its own: the token response, the ID token's claims under ``claims``."""
        browser = self.stage.browser()
        await browser.follow(await browser.get(partner.request(scope=scope)))
        answer = await browser.log_in("google", who)
        if partner is self.reader:
            answer = await browser.press("share", ("field", "name"), ("field", "email"), ("field", "offline_access"))
        told = await self.token(partner, code=answer.query["code"])
        assert told.status == 200, told.text
        return {**told.json, "claims": await self.stage.id_token(told.json["id_token"])}

    async def offline(self, partner: Partner) -> dict[str, Any]:
        return await self.log_in(partner, scope="openid profile email offline_access")

    async def token(self, partner: Partner, *, code: str | None = None, **form: str) -> Answer:
        """A token request, for *code* unless *form* says otherwise."""
        if code is not None:
            form = {"grant_type": "authorization_code", "code": code, "redirect_uri": partner.redirect_uri,
                    "code_verifier": partner.verifier, **form}  # fmt: skip
        return await self.post("/token", partner, **form)

    async def refresh(self, partner: Partner, token: str, **more: str) -> Answer:
        return await self.token(partner, grant_type="refresh_token", refresh_token=token, **more)

    async def post(self, path: str, partner: Partner, **form: str) -> Answer:
        """A request of *partner*'s, proven as it is registered."""
        if partner is self.page:
            return await self.raw(path, {"client_id": PAGE, **form})
        return await self.raw(path, form, auth=partner.auth)

    async def raw(self, path: str, form: dict[str, str], **more: Any) -> Answer:
        headers = {"content-type": "application/x-www-form-urlencoded", **more.pop("headers", {})}
        return Answer(await self.stage.client.post(path, content=urlencode(form), headers=headers, **more))

    async def introspect(self, caller: str | Partner, token: str, **more: str) -> dict[str, Any]:
        """What ``booking-api``, ``stock-api`` or a partner is told."""
        match caller:
            case "booking-api":
                answer = await self.raw("/introspect", {"token": token, **more}, auth=("booking-api", SECRET))
            case "stock-api":
                form = {"token": token, "client_id": "stock-api", "client_secret": SECRET, **more}
                answer = await self.raw("/introspect", form)
            case Partner():
                answer = await self.post("/introspect", caller, token=token, **more)
            case _:
                raise AssertionError(caller)
        assert answer.status == 200, answer.text
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-type"] == "application/json"
        return dict(answer.json)

    async def userinfo(self, token: str) -> Answer:
        return Answer(await self.stage.client.get("/userinfo", headers={"authorization": f"Bearer {token}"}))


def parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a JWT, unverified."""
    signed = jws.extract_compact(token.encode())
    return dict(signed.headers()), dict(json.loads(signed.payload))


def changed(token: str, old: bytes, new: bytes, part: int = 1) -> str:
    """*token* with a part's text changed, its signature as it was."""
    pieces = token.split(".")
    text = base64.urlsafe_b64decode(pieces[part] + "==")
    assert old in text
    pieces[part] = base64.urlsafe_b64encode(text.replace(old, new)).rstrip(b"=").decode()
    return ".".join(pieces)


@asynccontextmanager
async def open_apis(
    prepared: Path,
    *,
    state: StateStore | None = None,
    edit: dict[str, str] | None = None,
    wrap: Callable[[Records], Records] = lambda records: records,
) -> AsyncIterator[Apis]:
    """A broker with these besides the demo's. *prepared*: the folder `tests.stage.prepare` made."""
    folder = Path(tempfile.mkdtemp(dir=prepared.parent))
    shutil.copytree(prepared, folder, dirs_exist_ok=True, ignore=LEFT_BEHIND)
    changes = {"\npartners:\n": _PARTNERS, "\npayload_types:\n": _RESOURCES, **_GARAGE, **(edit or {})}
    async with open_stage(folder, state=state, edit=changes, wrap=wrap) as stage:
        yield Apis(stage)
    shutil.rmtree(folder)
