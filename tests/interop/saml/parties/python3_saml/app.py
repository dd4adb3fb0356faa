"""A site that logs people in with python3-saml; with the argument ``metadata`` it says what it is and ends."""

import os
import secrets
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvicorn
import xmlsec
from onelogin.saml2.auth import OneLogin_Saml2_Auth
from onelogin.saml2.idp_metadata_parser import OneLogin_Saml2_IdPMetadataParser
from onelogin.saml2.settings import OneLogin_Saml2_Settings
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

SITE = os.environ["SITE"]
FOLDER = Path(os.environ["FOLDER"])
POST = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"
REDIRECT = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"
SETTINGS: dict[str, Any] = {
    "strict": True,
    "sp": {
        "entityId": f"{SITE}/metadata",
        "assertionConsumerService": {"url": f"{SITE}/acs", "binding": POST},
        "singleLogoutService": {"url": f"{SITE}/slo", "binding": REDIRECT},
        "NameIDFormat": "urn:oasis:names:tc:SAML:2.0:nameid-format:transient",
        "x509cert": (FOLDER / "certificate.pem").read_text(),
        "privateKey": (FOLDER / "key.pem").read_text(),
    },
    "security": {
        "authnRequestsSigned": True,
        "logoutRequestSigned": True,
        "logoutResponseSigned": True,
        "wantMessagesSigned": True,
        "wantAssertionsEncrypted": True,
        "signatureAlgorithm": "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",
        "digestAlgorithm": "http://www.w3.org/2001/04/xmlenc#sha256",
        "rejectDeprecatedAlgorithm": True,
    },
}
WHO = {
    "pairwise_id": "urn:oasis:names:tc:SAML:attribute:pairwise-id",
    "name": "urn:oid:2.16.840.1.113730.3.1.241",
    "email": "urn:oid:0.9.2342.19200300.100.1.3",
}


def auth_of(request: Request, form: dict[str, str]) -> OneLogin_Saml2_Auth:
    """The library, for one request."""
    here = urlsplit(SITE)
    told = {
        "https": "on" if here.scheme == "https" else "off",
        "http_host": here.netloc,
        "script_name": request.url.path,
    }
    return OneLogin_Saml2_Auth({**told, "get_data": dict(request.query_params), "post_data": form}, SETTINGS)


async def login(request: Request) -> Response:
    """Off to the provider."""
    auth = auth_of(request, {})
    address = auth.login(return_to=f"{SITE}/", force_authn="anew" in request.query_params)
    request.session["asked"] = auth.get_last_request_id()
    return RedirectResponse(address, status_code=303)


async def acs(request: Request) -> Response:
    """The provider's answer."""
    auth = auth_of(request, {name: str(value) for name, value in (await request.form()).items()})
    try:
        auth.process_response(request_id=request.session.pop("asked", "none"))
    except xmlsec.Error as error:  # encrypted to somebody else
        return PlainTextResponse(str(error), status_code=403)
    if auth.get_errors() or not auth.is_authenticated():
        return PlainTextResponse(f"{auth.get_errors()} {auth.get_last_error_reason()}", status_code=403)
    attributes = auth.get_attributes()
    told = {name: attributes[attribute][0] for name, attribute in WHO.items() if attribute in attributes}
    request.session["who"] = {"name_id": auth.get_nameid(), **told}
    request.session["named"] = {
        "name_id": auth.get_nameid(),
        "name_id_format": auth.get_nameid_format(),
        "nq": auth.get_nameid_nq(),
        "spnq": auth.get_nameid_spnq(),
        "session_index": auth.get_session_index(),
    }
    return RedirectResponse("/", status_code=303)


async def logout(request: Request) -> Response:
    """Off to the provider, to leave there too."""
    auth = auth_of(request, {})
    address = auth.logout(return_to=f"{SITE}/bye", **request.session.pop("named"))
    request.session["asked"] = auth.get_last_request_id()
    return RedirectResponse(address, status_code=303)


async def slo(request: Request) -> Response:
    """The provider's answer, or its own request."""
    auth = auth_of(request, {})
    asked = request.session.get("asked", "none") if "SAMLResponse" in request.query_params else None
    address = auth.process_slo(request_id=asked, delete_session_cb=request.session.clear)
    if auth.get_errors():
        return PlainTextResponse(f"{auth.get_errors()} {auth.get_last_error_reason()}", status_code=403)
    return RedirectResponse(address or "/bye", status_code=303)


async def bye(_: Request) -> Response:
    """Nobody is logged in."""
    return PlainTextResponse("bye")


async def home(request: Request) -> Response:
    """Who is logged in."""
    who = request.session.get("who")
    return JSONResponse(who) if who else PlainTextResponse("nobody", status_code=401)


def main() -> None:
    """Say what the site is, or run it."""
    if sys.argv[1:] == ["metadata"]:
        sys.stdout.buffer.write(OneLogin_Saml2_Settings(SETTINGS, sp_validation_only=True).get_sp_metadata())
        return
    provider = OneLogin_Saml2_IdPMetadataParser.parse((FOLDER / "idp.xml").read_bytes())
    SETTINGS["idp"] = provider["idp"]
    routes = [Route("/login", login), Route("/acs", acs, methods=["POST"]), Route("/", home)]
    routes += [Route("/logout", logout), Route("/slo", slo), Route("/bye", bye)]
    sessions = Middleware(SessionMiddleware, secret_key=secrets.token_hex(), same_site="none", https_only=True)
    app = Starlette(routes=routes, middleware=[sessions])
    uvicorn.run(app, host="127.0.0.1", port=urlsplit(SITE).port or 80, log_level="warning")


main()
