"""
Single logout (saml-profiles-2.0-os, section 4.4), as far as it can be relied on: a service provider asks, and is told whether our
session ended; a customer who logged out here can be sent to service providers, one after the other, and reads how it went.
"""

import secrets
from collections.abc import Callable
from datetime import timedelta

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from broker.core.changing import replace
from broker.core.logout import Party
from broker.core.policy import NameIdFormat, PartnerSaml, Policy
from broker.core.saml import POST, REDIRECT, Endpoint, SamlService
from broker.core.saml_login import NAME_ID_FORMATS
from broker.downstream.saml import checks
from broker.downstream.saml.checks import Sender
from broker.downstream.saml.forms import not_taken, once
from broker.downstream.saml.keys import SamlKeys, algorithms
from broker.downstream.saml.services import Services
from broker.errors import BadAsk, Denied
from broker.flows.context import Clock
from broker.flows.logout import Logouts, Parted, Wish
from broker.flows.saml_logins import SamlLogins
from broker.flows.values import Leaving
from broker.web import cookies
from broker.web import params as web_params
from broker.web.answers import redirect as redirect_to
from broker.web.hub import LOGGED_OUT_PATH, SAML_LEAVE_PATH, FormPost, Hub
from broker.web.visitor import visitor_of
from broker.wire.saml import posted, redirect
from broker.wire.saml.answer import SUCCESS, NameId, Status
from broker.wire.saml.leaving import logout_request, logout_response, read_logout_request, read_logout_response
from broker.wire.saml.message import Head
from broker.wire.saml.redirect import Field, Redirected
from broker.wire.saml.refused import XmlRefused
from broker.wire.saml.signature import sign
from broker.wire.saml.xml import parse, serialized

SLO_PATH = "/saml/slo"

_VALID = timedelta(minutes=5)

_PARTIAL = Status("Success", "PartialLogout", "other parties may still have a session")
_NOT_HERS = Status("Requester", "UnknownPrincipal", "not the session of this browser")


class Slo:
    """``/saml/slo``, where a posted request goes on, and the way to a service provider after logging out."""

    def __init__(
        self,
        policy: Callable[[], Policy],
        services: Services,
        logouts: Logouts,
        requests: SamlLogins,
        keys: SamlKeys,
        hub: Hub,
        clock: Clock,
    ) -> None:
        self._policy = policy
        self._services = services
        self._logouts = logouts
        self._requests = requests
        self._keys = keys
        self._hub = hub
        self._clock = clock

    async def get(self, request: Request) -> Response:
        """A message in the query: a request, or the answer to one of ours."""
        try:
            query = request.scope["query_string"].decode("latin-1")
            message = redirect.decode(query, max_relay_state=checks.MAX_RELAY_STATE)
            if message.field == "SAMLResponse":
                return await self._returned(message.octets, message)
            leaving = await self._leaving(message.octets, message.relay_state, message)
        except XmlRefused as error:
            raise not_taken(error) from error
        await self._requests.admit_leaving(leaving, comes_back=False)
        return await self._leave(request, leaving)

    async def post(self, request: Request) -> Response:
        """
        A message in a form.

        A cross-site POST comes without our SameSite=Lax cookies; a GET to ourselves brings them back.
        """
        form = once(await web_params.form_pairs(request))
        try:
            checks.check_relay_state(form.get("RelayState"))
            if "SAMLResponse" in form:
                return await self._returned(posted.decode(form["SAMLResponse"]), None)
            octets = posted.decode(form.get("SAMLRequest", ""))
            leaving = await self._leaving(octets, form.get("RelayState") or None, None)
        except XmlRefused as error:
            raise not_taken(error) from error
        reference = await self._requests.admit_leaving(leaving, comes_back=True)
        return RedirectResponse(f"{SLO_PATH}/{reference}", status_code=303)

    async def resume(self, request: Request) -> Response:
        """A posted request goes on, with the browser's cookies."""
        return await self._leave(request, await self._requests.kept_leaving(request.path_params["reference"]))

    async def send(self, request: Request) -> Response:
        """She logged out here, and goes to a partner to be logged out there."""
        asked = web_params.query(request)
        token, partner_id = asked.get("of", ""), asked.get("at", "")
        party = await self._logouts.reachable(token, partner_id)
        terms, service = await self._known(partner_id)
        endpoint = _endpoint(service)
        if party is None or terms is None or service is None or endpoint is None:
            return RedirectResponse(web_params.with_query(LOGGED_OUT_PATH, {"of": token}), status_code=303)
        head = self._head(endpoint.location)
        name_id = self._name_id(party, terms)
        await self._requests.send_away(head.id, partner_id, token)
        message = logout_request(head, name_id, party.sid, head.issued_at + _VALID)
        return self._sent(request, "SAMLRequest", message, endpoint, None, terms, service)

    def routes(self) -> list[Route]:
        """Both bindings, and the way out."""
        return [
            Route(SLO_PATH, self.get, methods=["GET"]),
            Route(SLO_PATH, self.post, methods=["POST"]),
            Route(f"{SLO_PATH}/{{reference}}", self.resume, methods=["GET"]),
            Route(SAML_LEAVE_PATH, self.send, methods=["GET"]),
        ]

    async def _leaving(self, octets: bytes, relay_state: str | None, by_query: Redirected | None) -> Leaving:
        """A checked logout request. Raises BadAsk and XmlRefused, which are shown here and never sent anywhere."""
        root, sender = await self._verified(octets, by_query)
        asked = read_logout_request(root)
        self._check_head(asked.head, sender)
        now = self._clock()
        if asked.until is not None and asked.until <= now - checks.SKEW:
            raise BadAsk("the logout request is void by now", code="saml.time")
        if _endpoint(sender.service) is None:
            raise BadAsk("the partner has no address for answers", code="saml.slo")
        return Leaving(sender.partner_id, asked.head.id, asked.name_id, asked.session_indexes, relay_state)

    async def _returned(self, octets: bytes, by_query: Redirected | None) -> Response:
        """The answer to one of our requests: she reads how it went."""
        root, sender = await self._verified(octets, by_query)
        answer = read_logout_response(root)
        self._check_head(answer.head, sender)
        token = await self._requests.returned(answer.head.in_response_to or "", sender.partner_id)
        if answer.is_done:
            await self._logouts.told(token, sender.partner_id)
        return RedirectResponse(web_params.with_query(LOGGED_OUT_PATH, {"of": token}), status_code=303)

    async def _verified(self, octets: bytes, by_query: Redirected | None) -> tuple[object, Sender]:
        """security: whatever ends a session is signed, always (saml2int SDP-IDP25, 28)."""
        root = checks.parsed(octets)
        sender = await checks.known_sender(root, self._policy(), self._services)
        root, _ = checks.checked_signature(root, by_query, sender, needed=True)
        return root, sender

    def _check_head(self, head: Head, sender: Sender) -> None:
        if head.issuer != sender.terms.entity_id:
            raise BadAsk("signed by another than it is from", code="saml.issuer")
        checks.check_destination(head, f"{self._policy().issuer}{SLO_PATH}", is_signed=True)
        checks.check_time(head, self._clock())

    async def _leave(self, request: Request, leaving: Leaving) -> Response:
        """End the session that is meant, if it is the one of this browser, and say so to who asked."""
        visitor = visitor_of(request, self._policy().broker)
        session = await self._logouts.session_of(visitor)
        is_meant = session is not None and self._requests.means(leaving, session)
        parted = None
        if is_meant:
            parted = await self._logouts.end(visitor, Wish(leaving.partner, None, is_proven=True))
        status = SUCCESS if session is None else _status(parted)
        response = await self._answer(request, leaving, status)
        if is_meant:
            cookies.clear_session(response)
        return response

    async def _answer(self, request: Request, leaving: Leaving, status: Status) -> Response:
        terms, service = await self._known(leaving.partner)
        endpoint = _endpoint(service)
        if terms is None or service is None or endpoint is None:
            raise Denied("the partner has no address for answers any more", code="saml.slo", partner=leaving.partner)
        head = replace(self._head(endpoint.answers_to), in_response_to=leaving.request_id)
        message = logout_response(head, status)
        answered = replace(endpoint, location=endpoint.answers_to)
        return self._sent(request, "SAMLResponse", message, answered, leaving.relay_state, terms, service)

    async def _known(self, partner: str) -> tuple[PartnerSaml | None, SamlService | None]:
        known = self._policy().partner(partner)
        return known.saml if known is not None else None, await self._services.of(partner)

    def _head(self, destination: str) -> Head:
        return Head(f"_{secrets.token_hex(20)}", self._policy().saml_entity_id, self._clock(), destination)

    def _name_id(self, party: Party, terms: PartnerSaml) -> NameId:
        """Exactly as it was told (SAML Core section 3.7.1)."""
        if not party.told_as:
            transient = self._requests.transient(party.partner, party.sid)
            return NameId(transient, NAME_ID_FORMATS[NameIdFormat.TRANSIENT], terms.entity_id)
        if party.told_as == party.subject:
            return NameId(party.told_as, NAME_ID_FORMATS[NameIdFormat.PERSISTENT], terms.entity_id)
        return NameId(party.told_as, NAME_ID_FORMATS[NameIdFormat.EMAIL])

    def _sent(
        self,
        request: Request,
        field: Field,
        message: bytes,
        endpoint: Endpoint,
        relay_state: str | None,
        terms: PartnerSaml,
        service: SamlService,
    ) -> Response:
        """The browser carries *message*, signed, by the binding of *endpoint*."""
        key = self._keys.signing(self._clock())
        algorithm, digest = algorithms(key, terms, service)
        if endpoint.binding == REDIRECT:
            query = redirect.encode(
                message,
                field=field,
                relay_state=relay_state,
                key=key,
                algorithm=algorithm,
                max_relay_state=checks.MAX_RELAY_STATE,
            )
            joint = "&" if "?" in endpoint.location else "?"
            return redirect_to(f"{endpoint.location}{joint}{query}")
        root = parse(message)
        sign(root, key, algorithm=algorithm, digest=digest)
        members = {field: posted.encode(serialized(root))} | ({"RelayState": relay_state} if relay_state else {})
        visitor = visitor_of(request, self._policy().broker)
        return self._hub.leave_for(request, visitor, FormPost(endpoint.location, members))


def _endpoint(service: SamlService | None) -> Endpoint | None:
    """Where logout messages to *service* go: by HTTP-Redirect where it has that, else by HTTP-POST."""
    found = [each for each in service.slo if each.binding in {REDIRECT, POST}] if service is not None else []
    return min(found, key=lambda each: each.binding != REDIRECT, default=None)


def _status(parted: Parted | None) -> Status:
    """None: it was not the session of this browser, which goes on."""
    if parted is None:
        return _NOT_HERS
    return SUCCESS if parted.goes_on else _PARTIAL
