"""
Newsletter links: partners make and take them back at our back, readers follow them, pages ask who probably came.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from broker.core.policy import Policy
from broker.downstream.clients import Clients
from broker.downstream.replies import json_reply, partner_endpoint
from broker.errors import BadAsk, Spent
from broker.flows.newsletter import SOFT_LIFE, Newsletters
from broker.web import cookies
from broker.web.params import with_query
from broker.wire.schema import read_object

_CAMPAIGN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_UNSEEN = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Robots-Tag": "noindex, nofollow"}


class NewsletterApi:
    """``POST /newsletter/links``, ``/newsletter/revocations``, ``/newsletter/recognitions``, and ``GET /n/{token}``."""

    def __init__(self, policy: Callable[[], Policy], clients: Clients, newsletters: Newsletters) -> None:
        self._policy = policy
        self._clients = clients
        self._newsletters = newsletters

    @partner_endpoint
    async def make(self, request: Request) -> Response:
        """One link per reader of a campaign, in the order they were named."""
        client = await self._clients.authenticate(request, {})
        body = _body(await request.body(), {"campaign", "landing_uri", "recipients"}, {"language"})
        recipients = body["recipients"]
        if not isinstance(recipients, list) or not all(isinstance(each, str) for each in recipients):
            raise BadAsk("recipients must be a list of e-mail addresses", code="newsletter.recipients")
        made = self._newsletters.make_links(
            client.id,
            campaign=_campaign(body["campaign"]),
            landing_uri=_text(body, "landing_uri"),
            language=self._language(body),
            addresses=recipients,
        )
        return json_reply({"links": [f"{self._policy().issuer}/n/{token}" for token in made]}, 201)

    @partner_endpoint
    async def take_back(self, request: Request) -> Response:
        """A campaign is over, or a reader does not want to be recognised any more; repeating it is harmless."""
        client = await self._clients.authenticate(request, {})
        body = _body(await request.body(), set(), {"campaign", "recipient"})
        campaign = _campaign(body["campaign"]) if body.get("campaign") is not None else None
        address = _text(body, "recipient") if body.get("recipient") is not None else None
        await self._newsletters.take_back(client.id, campaign=campaign, address=address)
        return json_reply({})

    @partner_endpoint
    async def recognise(self, request: Request) -> Response:
        """Whom a landing page is probably looking at."""
        client = await self._clients.authenticate(request, {})
        body = _body(await request.body(), {"recognition"}, set())
        return json_reply(await self._newsletters.redeem(_text(body, "recognition"), client.id))

    async def follow(self, request: Request) -> Response:
        """
        To the page the link is about, with a one-time reference if the link still counts.

        A link that is none of ours, or whose page is gone, leads to our first page: no error, for the reader did nothing wrong.
        """
        try:
            said, counts = await self._newsletters.follow(request.path_params["token"])
        except Spent:
            return RedirectResponse("/", status_code=303, headers=_UNSEEN)
        if not counts:
            return RedirectResponse(said.landing_uri, status_code=303, headers=_UNSEEN)
        where = with_query(said.landing_uri, {"recognition": self._newsletters.reference(said)})
        answer = RedirectResponse(where, status_code=303, headers=_UNSEEN)
        cookies.set_soft(answer, self._newsletters.cookie(said), SOFT_LIFE)
        return answer

    def routes(self) -> list[Route]:
        """All four."""
        return [
            Route("/newsletter/links", self.make, methods=["POST"]),
            Route("/newsletter/revocations", self.take_back, methods=["POST"]),
            Route("/newsletter/recognitions", self.recognise, methods=["POST"]),
            Route("/n/{token}", self.follow, methods=["GET"]),
        ]

    def _language(self, body: Mapping[str, Any]) -> str | None:
        if body.get("language") is None:
            return None
        language = _text(body, "language")
        if language not in self._policy().broker.languages:
            raise BadAsk("language is none of the broker's", code="newsletter.language")
        return language


def _body(raw: bytes, required: set[str], optional: set[str]) -> dict[str, Any]:
    body = read_object(raw)
    if not required <= set(body) <= required | optional:
        names = ", ".join(sorted(required | optional))
        raise BadAsk(f"the body has the members {names}", code="newsletter.members")
    return body


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body[name]
    if not isinstance(value, str) or not 1 <= len(value) <= 2000 or not value.isprintable():
        raise BadAsk(f"{name} must be a printable text", code="newsletter.members")
    return value


def _campaign(value: Any) -> str:
    if not isinstance(value, str) or not _CAMPAIGN.match(value):
        raise BadAsk(
            "campaign must be 1 to 64 letters, digits, dots, underscores or hyphens", code="newsletter.campaign"
        )
    return value
