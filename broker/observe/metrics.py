"""
Metrics by prometheus-client. Imported only when the config asks for metrics.

Every label has a closed set of values: names from the code, ids from the config, and ``other`` for whatever is neither. So
the number of series is bounded by the config, and nothing a stranger sends becomes one (docs/telemetry.md).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from functools import cache
from typing import Any

from msgspec import Struct
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from broker import errors

SECURITY_EVENTS = frozenset(
    {
        "artifact.foreign",
        "artifact.reused",
        "bankid.return_nonce",
        "bankid.wrong_order",
        "browser.returned_elsewhere",
        "callback.iss",
        "callback.mixed_up",
        "callback.replayed",
        "callback.state",
        "client.replay",
        "client.secret",
        "one_time_code.disowned",
        "sms.pumping",
        "code.binding",
        "code.reused",
        "form.origin",
        "form.token",
        "handoff.foreign",
        "handoff.race",
        "id_token.alg",
        "id_token.at_hash",
        "id_token.aud",
        "id_token.iss",
        "id_token.nonce",
        "id_token.signature",
        "outbound_blocked",
        "refresh.foreign",
        "refresh.reused",
        "userinfo.sub",
    }
)
"""Codes (docs/events.md) that somebody should look at when there are more of them than usual."""

_TRANSITIONS = {
    "handoff.created": "created",
    "handoff.started": "started",
    "handoff.arrived": "arrived",
    "handoff.declined": "declined",
    "handoff.guest": "guest",
    "handoff.redeemed": "redeemed",
    "handoff.read": "read",
    "handoff.acknowledged": "acknowledged",
}

_NOTICES = {
    "logout.delivered": "delivered",
    "logout.refused": "refused",
    "logout.given_up": "given_up",
    "logout.failed": "failed",
}

_OUTCOMES = frozenset(
    {"accepted", "unknown", "recipient", "opted_out", "content", "account", "busy", "unreachable"}
    | {"delivered", "failed", "pending"}
)

_MESSAGE_S = (0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 10)
_NOTICE_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 1800, 7200, 86400)
_REQUEST_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_STEP_S = (1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1800)
_STORE_S = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 3)
_UPSTREAM_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5)


class Standing(Struct, frozen=True):
    """
    What is true when somebody looks, asked for then.

    ``unavailable``: providers that could not be started. ``audit_waiting``, ``audit_dropped``: rows. ``notices_waiting``:
    partners to be told of a logout; ``notices_oldest_s``: age of the oldest of them in seconds. ``metadata``: sources of
    SAML metadata, whether somebody should look after them, and until when what they gave is valid.
    """

    version: str
    config_version: Callable[[], str]
    accepted_risks: Iterable[str]
    unavailable: Callable[[], Iterable[str]]
    audit_waiting: Callable[[], int]
    audit_dropped: Callable[[], int]
    notices_waiting: Callable[[], int] = lambda: 0
    notices_oldest_s: Callable[[], float] = lambda: 0.0
    metadata: Callable[[], Iterable[tuple[str, bool, datetime | None]]] = lambda: ()


_CODES = {f"one_time_code.{outcome}": outcome for outcome in ("sent", "used", "wrong", "void", "refused", "disowned")}


class Metrics:
    """
    The figures of one broker.

    Args:
        upstreams, partners: config ids, the values their labels may have. senders: drivers of mail, gateways by name.
    """

    def __init__(self, *, upstreams: Iterable[str], partners: Iterable[str], senders: Iterable[str] = ()) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._upstreams = frozenset(upstreams)
        self._partners = frozenset(partners)
        self._senders = frozenset(senders)
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"stafett_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: Iterable[float], *labels: str) -> Histogram:
            return Histogram(f"stafett_{name}_seconds", text, labels, buckets=tuple(buckets), registry=registry)

        self._requests = counter("requests", "Requests answered.", "route", "method", "status")
        self._request_s = histogram("request", "Time to answer a request.", _REQUEST_S, "route")
        self._logins = counter("logins", "Logins, by how they went.", "upstream", "partner", "outcome")
        self._costs = counter("login_cost", "What logins cost the operator.", "upstream", "partner", "currency")
        self._steps = histogram("login_step", "Time between steps of a login.", _STEP_S, "step", "upstream")
        self._codes = counter("one_time_codes", "Codes by mail and text message.", "upstream", "outcome")
        self._handoffs = counter("handoffs", "Handoffs, by what became of them.", "transition", "source", "recipient")
        self._consents = counter("consents", "Consents given and withdrawn.", "change", "partner")
        self._stores = histogram("store", "Round trips to a store.", _STORE_S, "store", "operation", "outcome")
        self._calls = histogram(
            "upstream_call", "Calls to a provider.", _UPSTREAM_S, "upstream", "operation", "outcome"
        )
        self._notices = counter("logout_notices", "Attempts to tell partners of a logout.", "partner", "outcome")
        self._notice_s = histogram(
            "logout_notice", "Time from a logout until a partner was told.", _NOTICE_S, "partner"
        )
        self._messages = counter("messages", "Mails and text messages, by what became of them.", "way", "by", "outcome")
        self._message_s = histogram("message", "Time until a message was taken or not.", _MESSAGE_S, "way", "by")
        self._reports = counter("message_reports", "What gateways reported of text messages.", "by", "outcome")
        self._security = counter("security_events", "What somebody should look at.", "event")
        self._refusals = counter("refusals", "Errors told to a customer or partner.", "kind")
        self._faults = counter("faults", "Errors nobody foresaw: bugs.")
        # Looking a series up costs as much as counting; there are few, so each is looked up once.
        self._requests_of = cache(self._requests.labels)
        self._request_s_of = cache(self._request_s.labels)
        self._stores_of = cache(self._stores.labels)
        for event in sorted(SECURITY_EVENTS):
            # An alarm on an increase never sees the first one of a series that was not there before.
            self._security.labels(event)

    def stands(self, standing: Standing) -> None:
        """Show *standing* as well."""
        self._registry.register(_Standing(standing, self._upstreams))

    def render(self) -> tuple[bytes, str]:
        """The text format of Prometheus, and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """A request was answered. *route*: its template; *status* 0 when the answer never began."""
        self._requests_of(route, method, status).inc()
        self._request_s_of(route).observe(seconds)

    def store_observer(self, store: str) -> Callable[[str, str, float], None]:
        """Takes operation, outcome and seconds of each round trip to *store*."""
        return lambda operation, outcome, seconds: self._stores_of(store, operation, outcome).observe(seconds)

    def upstream_observer(self, upstream: str) -> Callable[[str, str, float], None]:
        """Takes operation, outcome and seconds of each call to *upstream*."""
        known = self._upstream(upstream)
        return lambda operation, outcome, seconds: self._calls.labels(known, operation, outcome).observe(seconds)

    def heard(self, event: str, facts: Mapping[str, Any]) -> None:
        """Something happened (docs/events.md); of most events nothing is counted."""
        match event:
            case "login.proved" | "login.answered":
                self._login(event.removeprefix("login."), facts)
            case "upstream.stopped":
                self._login("stopped", facts)
            case "upstream.failed":
                self._login("down" if facts.get("kind") in _DOWN else "refused", facts)
            case _ if event in _CODES:
                self._codes.labels(self._upstream(facts.get("upstream")), _CODES[event]).inc()
            case "consent.given" | "consent.withdrawn":
                change = event.removeprefix("consent.")
                self._consents.labels(change, self._partner(facts.get("partner"))).inc()
            case "refused":
                kind = facts.get("kind")
                self._refusals.labels(kind if kind in _KINDS else "other").inc()
            case "fault":
                self._faults.inc()
            case "message.accepted" | "message.rejected" | "message.unknown":
                self._message(event, facts)
            case "message.reported":
                self._reports.labels(
                    _one_of(self._senders, facts.get("by")), _one_of(_OUTCOMES, facts.get("outcome"))
                ).inc()
            case _ if event in _NOTICES:
                self._notice(event, facts)
            case _ if event in _TRANSITIONS:
                self._handoff(event, facts)
        if (code := facts.get("code")) in SECURITY_EVENTS:
            self._security.labels(code).inc()

    def _login(self, outcome: str, facts: Mapping[str, Any]) -> None:
        upstream = self._upstream(facts.get("upstream"))
        partner = self._partner(facts.get("partner"))
        self._logins.labels(upstream, partner, outcome).inc()
        if outcome == "proved" and "cost" in facts:
            self._costs.labels(upstream, partner, facts["currency"]).inc(float(facts["cost"]))
        for step, seconds in facts.get("took_s", {}).items():
            self._steps.labels(step, upstream).observe(seconds)

    def _message(self, event: str, facts: Mapping[str, Any]) -> None:
        way = "sms" if facts.get("way") == "sms" else "mail"
        by = _one_of(self._senders, facts.get("by"))
        outcome = facts.get("why") or event.removeprefix("message.")
        self._messages.labels(way, by, _one_of(_OUTCOMES, outcome)).inc()
        self._message_s.labels(way, by).observe(facts.get("took_s", 0.0))

    def _notice(self, event: str, facts: Mapping[str, Any]) -> None:
        partner = self._partner(facts.get("partner"))
        self._notices.labels(partner, _NOTICES[event]).inc()
        if event == "logout.delivered":
            self._notice_s.labels(partner).observe(facts.get("took_s", {}).get("created_to_told", 0))

    def _handoff(self, event: str, facts: Mapping[str, Any]) -> None:
        created = event == "handoff.created"
        source, recipient = ("partner", "recipient") if created else ("source", "partner")
        self._handoffs.labels(
            _TRANSITIONS[event], self._partner(facts.get(source)), self._partner(facts.get(recipient))
        ).inc()

    def _upstream(self, name: object) -> str:
        return _one_of(self._upstreams, name)

    def _partner(self, name: object) -> str:
        return _one_of(self._partners, name)


def _one_of(known: frozenset[str], name: object) -> str:
    """*name* if it is known, ``none`` for no name at all (the broker's own pages), else ``other``."""
    if isinstance(name, str) and name in known:
        return name
    return "other" if name else "none"


def _family(base: type[errors.StafettError]) -> Iterator[str]:
    for kind in base.__subclasses__():
        if kind.__module__ == errors.__name__:
            yield kind.__name__


_KINDS = frozenset(_family(errors.StafettError)) | {"StafettError"}
_DOWN = frozenset({"UpstreamDown", "Blocked"})


class _Standing(Collector):
    def __init__(self, standing: Standing, upstreams: Iterable[str]) -> None:
        self._standing = standing
        self._upstreams = sorted(upstreams)

    def collect(self) -> Iterator[Metric]:
        """All figures, as they are now."""
        now = self._standing
        info = GaugeMetricFamily("stafett_info", "Version and config.", labels=("version", "config_version"))
        info.add_metric((now.version, now.config_version()), 1)
        yield info
        risks = GaugeMetricFamily("stafett_accepted_risk", "Lifted refusals of production.", labels=("risk",))
        for risk in now.accepted_risks:
            risks.add_metric((risk,), 1)
        yield risks
        available = GaugeMetricFamily("stafett_upstream_available", "1: is offered.", labels=("upstream",))
        unavailable = set(now.unavailable())
        for upstream in self._upstreams:
            available.add_metric((upstream,), upstream not in unavailable)
        yield available
        yield GaugeMetricFamily("stafett_audit_waiting", "Audit rows not yet written.", value=now.audit_waiting())
        waiting, oldest = now.notices_waiting(), now.notices_oldest_s()
        yield GaugeMetricFamily("stafett_logout_notices_waiting", "Partners to be told of a logout.", value=waiting)
        yield GaugeMetricFamily("stafett_logout_notices_oldest_seconds", "Age of the oldest of them.", value=oldest)
        yield from self._metadata()
        yield CounterMetricFamily("stafett_audit_dropped", "Audit rows lost.", value=now.audit_dropped())

    def _metadata(self) -> Iterator[Metric]:
        alarms = GaugeMetricFamily("stafett_saml_metadata_alarm", "1: somebody should look.", labels=("source",))
        ends = GaugeMetricFamily("stafett_saml_metadata_valid_until_seconds", "Unix time.", labels=("source",))
        for source, is_alarming, until in self._standing.metadata():
            alarms.add_metric((source,), is_alarming)
            if until is not None:
                ends.add_metric((source,), until.timestamp())
        yield alarms
        yield ends
