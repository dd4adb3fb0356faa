"""
RP-initiated logout (OpenID Connect RP-Initiated Logout 1.0).

The browser is sent to a partner's address only when a genuine ID token of that partner comes along and the address is
registered; whenever it is not certain that this very session is meant, the customer is asked.
"""

from collections.abc import Callable, Mapping

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from broker.core.changing import replace
from broker.core.policy import Policy
from broker.core.session import Session
from broker.errors import BadAsk
from broker.flows.logout import Logouts, Wish
from broker.web import cookies, params
from broker.web.hub import LOGOUT_CONFIRM_PATH, way_out
from broker.web.visitor import visitor_of
from broker.wire.jose import BadToken, Keyring


class Asked(Struct, frozen=True):
    """A checked logout request. ``subject``, ``sid``: whose session is meant, by the hint."""

    wish: Wish
    subject: str | None = None
    sid: str | None = None


class Logout:
    """``/logout``."""

    def __init__(self, policy: Callable[[], Policy], logouts: Logouts, keyring: Keyring) -> None:
        self._policy = policy
        self._logouts = logouts
        self._keyring = keyring

    async def get(self, request: Request) -> Response:
        """The request as a link or redirect."""
        return await self._answer(request, params.query(request))

    async def post(self, request: Request) -> Response:
        """The request as a form; a cross-site one comes without our cookie, which a GET to ourselves brings back."""
        asked = await params.form(request)
        return RedirectResponse(params.with_query("/logout", asked) if asked else "/logout", status_code=303)

    def routes(self) -> list[Route]:
        """Both methods (section 2)."""
        return [Route("/logout", self.get, methods=["GET"]), Route("/logout", self.post, methods=["POST"])]

    async def _answer(self, request: Request, asked: Mapping[str, str]) -> Response:
        checked = self._checked(asked)
        visitor = visitor_of(request, self._policy().broker)
        session = await self._logouts.session_of(visitor)
        if session is not None and not _means(checked, session):
            return RedirectResponse(self._question(checked.wish), status_code=303)
        parted = await self._logouts.end(visitor, replace(checked.wish, is_proven=True))
        response = RedirectResponse(way_out(parted), status_code=303)
        cookies.clear_session(response)
        return response

    def _question(self, wish: Wish) -> str:
        """Where the customer is asked; the wish goes along, so that she ends where the partner wants her to."""
        if wish.partner is None:
            return LOGOUT_CONFIRM_PATH
        return params.with_query(LOGOUT_CONFIRM_PATH, {"wish": self._logouts.keep_wish(wish)})

    def _checked(self, asked: Mapping[str, str]) -> Asked:
        """Raises BadAsk, shown here and never redirected."""
        hint = asked.get("id_token_hint")
        if hint is None:
            if "post_logout_redirect_uri" in asked:
                raise BadAsk("post_logout_redirect_uri without id_token_hint", code="logout.no_hint")
            return Asked(Wish(None, None))
        policy = self._policy()
        try:
            claims = self._keyring.id_token_hint(hint, issuer=policy.issuer)
        except BadToken as error:
            raise BadAsk(f"id_token_hint: {error}", code="logout.hint") from error
        client_id = claims.get("aud")
        partner_id = policy.partner_of_client(client_id) if isinstance(client_id, str) else None
        partner = policy.partner(partner_id) if partner_id else None
        if partner is None or partner.oidc is None or asked.get("client_id", client_id) != client_id:
            raise BadAsk("id_token_hint is not of this client", code="logout.client")
        target = asked.get("post_logout_redirect_uri")
        if target is not None:
            if target not in partner.oidc.post_logout_redirect_uris:
                raise BadAsk("post_logout_redirect_uri is not registered", code="logout.redirect_uri")
            target = params.with_query(target, {"state": asked["state"]}) if "state" in asked else target
        sid = claims.get("sid")
        return Asked(Wish(partner_id, target), str(claims["sub"]), sid if isinstance(sid, str) else None)


def _means(asked: Asked, session: Session) -> bool:
    """Whether the hint was issued from this very session (section 4): by its sid, else by its subject."""
    if asked.sid is not None:
        return asked.sid in session.sids.values()
    return asked.subject is not None and asked.subject in session.subjects.values()
