"""A site that logs people in with Authlib's Starlette client."""

import os
import secrets
from urllib.parse import urlsplit

import uvicorn
from authlib.integrations.starlette_client import OAuth, OAuthError
from joserfc.errors import JoseError
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

ISSUER, CLIENT_ID = os.environ["ISSUER"], os.environ["CLIENT_ID"]
SITE = os.environ.get("SITE", "http://127.0.0.1:3000")

broker = OAuth().register(
    "broker",
    client_id=CLIENT_ID,
    client_secret=os.environ["CLIENT_SECRET"],
    server_metadata_url=f"{ISSUER}/.well-known/openid-configuration",
    client_kwargs={"scope": "openid profile email offline_access", "code_challenge_method": "S256"},
)
# Authlib checks signature, expiry and nonce by itself; issuer and audience are what it is told here.
EXPECTED = {"iss": {"essential": True, "value": ISSUER}, "aud": {"essential": True, "value": CLIENT_ID}}
logins: dict[str, dict] = {}  # on the server; the cookie has only the key


async def home(request: Request) -> Response:
    login = logins.get(request.session.get("login", ""))
    if login is None:
        return PlainTextResponse("Not logged in: go to /login", 401)
    return JSONResponse({"claims": login["claims"], "userinfo": login["userinfo"]})


async def login(request: Request) -> Response:
    return await broker.authorize_redirect(request, f"{SITE}/callback")


async def callback(request: Request) -> Response:
    if request.query_params.get("iss") != ISSUER:  # RFC 9207; Authlib leaves it to you
        return PlainTextResponse("refused: the answer is not from our login service", 400)
    try:
        token = await broker.authorize_access_token(request, claims_options=EXPECTED)
        userinfo = await broker.userinfo(token=token)
    except (OAuthError, JoseError) as error:
        return PlainTextResponse(f"refused: {error}", 400)
    if userinfo["sub"] != token["userinfo"]["sub"]:
        return PlainTextResponse("refused: userinfo is about somebody else", 400)
    request.session.clear()
    request.session["login"] = key = secrets.token_urlsafe()
    logins[key] = {"claims": token["userinfo"], "userinfo": userinfo, "token": token}
    return RedirectResponse("/", 303)


async def refresh(request: Request) -> Response:
    login = logins.get(request.session.get("login", ""))
    if login is None:
        return PlainTextResponse("Not logged in: go to /login", 401)
    try:
        token = await broker.fetch_access_token(
            grant_type="refresh_token", refresh_token=login["token"]["refresh_token"]
        )
    except OAuthError as error:
        return PlainTextResponse(f"refused: {error}", 400)
    login["token"] |= token  # the old refresh token is spent
    login["userinfo"] = await broker.userinfo(token=login["token"])
    return RedirectResponse("/", 303)


async def logout(request: Request) -> Response:
    login = logins.pop(request.session.pop("login", ""), None)
    hint = login["token"]["id_token"] if login else None
    return await broker.logout_redirect(request, f"{SITE}/", id_token_hint=hint)


app = Starlette(
    routes=[
        Route("/", home),
        Route("/login", login),
        Route("/callback", callback),
        Route("/refresh", refresh, methods=["POST"]),
        Route("/logout", logout, methods=["POST"]),
    ],
    middleware=[
        Middleware(SessionMiddleware, secret_key=secrets.token_urlsafe(), https_only=SITE.startswith("https:"))
    ],
)

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=urlsplit(SITE).port or 443)
