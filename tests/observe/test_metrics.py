"""Metrics: what happened in figures, whose series are bounded by code and config."""

import re
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlencode

import httpx2
import pytest

from broker.desk.metrics import metrics_app
from broker.errors import StoreDown
from broker.observe.logging import log
from broker.observe.metrics import SECURITY_EVENTS, Metrics, Standing
from broker.observe.telemetry import Telemetry
from broker.stores.memory import MemoryState
from broker.stores.ports import Get
from broker.stores.watched import WatchedState, watched_records
from tests.downstream.receiver import open_village
from tests.observe.conftest import SAMPLE, Watched, watchers
from tests.observe.test_tracing import asked, whole_story
from tests.stage import open_stage

DOCS = Path(__file__).parents[2] / "docs"


# What the story leaves


async def test_logins_are_counted_by_upstream_partner_and_outcome(watched: Watched) -> None:
    """Proved at the provider, answered to the partner; the recipient of a handoff gets its answer without a login."""
    await whole_story(watched.stage)
    assert watched.value("logins_total", upstream="bankid", partner="tyre-shop", outcome="proved") == 1
    assert watched.value("logins_total", upstream="bankid", partner="tyre-shop", outcome="answered") == 1
    assert watched.value("logins_total", upstream="bankid", partner="garage", outcome="answered") == 1
    assert watched.value("logins_total") == 3


async def test_what_logins_cost_is_counted_by_whose_they_are(watched: Watched) -> None:
    """Each login at a provider that costs, for the partner it was for; no login anew, no cost; what costs nothing leaves none."""
    stage = watched.stage
    browser = stage.browser()
    for _ in range(3):
        await browser.follow(await browser.get(stage.shop.request(prompt="login")))
        await stage.shop.exchange(await browser.log_in("bankid", "maja"))
        stage.clock.forward(minutes=1)
    await stage.shop.exchange(await browser.get(stage.shop.request()))
    assert watched.value("login_cost_total", upstream="bankid", partner="tyre-shop", currency="SEK") == 0.75
    other = stage.browser()
    await other.follow(await other.get(stage.shop.request()))
    await stage.shop.exchange(await other.log_in("google", "karl"))
    assert watched.value("login_cost_total") == 0.75


async def test_a_login_that_failed_costs_nothing_here(watched: Watched) -> None:
    """What is counted are logins; what a provider bills for trying is on its invoice."""
    stage = watched.stage
    browser = stage.browser()
    await browser.follow(await browser.get(stage.shop.request()))
    gone = await browser.press("method-bankid")
    await browser.get(f"/up/bankid/callback?{urlencode({'state': gone.query['state'], 'error': 'access_denied'})}")
    assert watched.value("login_cost_total") == 0


async def test_steps_of_a_login_are_timed(watched: Watched) -> None:
    """From the journey's beginning to the provider's proof, from there to the answer, and both; not for a mere answer."""
    stage = watched.stage
    browser = stage.browser()
    await browser.follow(await browser.get(stage.shop.request()))
    stage.clock.forward(seconds=40)
    await stage.shop.exchange(await browser.log_in("google", "maja"))
    await stage.shop.exchange(await browser.get(stage.shop.request()))
    for step, seconds in (("begun_to_proved", 40), ("proved_to_answered", 0), ("begun_to_answered", 40)):
        assert watched.value("login_step_seconds_count", step=step, upstream="google") == 1
        assert watched.value("login_step_seconds_sum", step=step, upstream="google") == seconds


async def test_handoffs_are_counted_by_what_became_of_them(watched: Watched) -> None:
    """Each state once, between whom; consents beside."""
    await whole_story(watched.stage)
    edge = {"source": "tyre-shop", "recipient": "garage"}
    for transition in ("created", "started", "redeemed", "read", "acknowledged"):
        assert watched.value("handoffs_total", transition=transition, **edge) == 1, transition
    assert watched.value("handoffs_total") == 5
    assert watched.value("consents_total", change="given", partner="garage") == 1


async def test_partners_told_of_a_logout_are_counted(stage_folder: Path) -> None:
    """By partner and how it went, also by a courier that belongs to no request; what waits, and for how long, beside."""
    telemetry = Telemetry(metrics=Metrics(upstreams=["bankid"], partners=["bakery", "dairy"]))
    assert telemetry.metrics is not None
    async with open_village(stage_folder, telemetry=telemetry) as village:
        village.dairy_server.answers = [503]
        browser = village.stage.browser()
        await village.log_in(browser, village.bakery, village.dairy)
        await village.log_out(browser)
        await village.round(seconds=60)
        text = telemetry.metrics.render()[0].decode()
    assert 'stafett_logout_notices_total{outcome="delivered",partner="bakery"} 1.0' in text
    assert 'stafett_logout_notices_total{outcome="failed",partner="dairy"}' in text
    assert 'stafett_logout_notice_seconds_count{partner="bakery"} 1.0' in text


async def test_requests_and_calls_are_timed(watched: Watched) -> None:
    """By route and status; stores by operation."""
    await whole_story(watched.stage)
    assert watched.value("requests_total", route="/token", method="POST", status="200") == 2
    assert watched.value("request_seconds_count", route="/token") == 2
    assert watched.value("store_seconds_count", store="state", operation="batch", outcome="ok") > 5
    assert watched.value("store_seconds_count", store="records", outcome="ok") > 3
    assert watched.value("store_seconds_count", outcome="error") == 0


async def test_what_went_wrong_at_a_provider_is_an_outcome(watched: Watched) -> None:
    """Cancelled, refused and down are told apart, by the partner the customer came from."""
    stage = watched.stage
    browser = stage.browser()
    await browser.follow(await browser.get(stage.shop.request()))
    for error in ("access_denied", "server_error"):
        gone = await browser.press("method-google")
        back = urlencode({"state": gone.query["state"], "error": error})
        await browser.follow(await browser.get(f"/up/google/callback?{back}"))
    stage.connectors["google"].is_down = True
    await browser.follow(await browser.press("method-google"))
    for outcome in ("stopped", "refused", "down"):
        assert watched.value("logins_total", upstream="google", partner="tyre-shop", outcome=outcome) == 1, outcome


# Alarms


@pytest.mark.parametrize("event", sorted(SECURITY_EVENTS))
def test_every_security_event_is_there_before_it_happens(event: str) -> None:
    """An alarm on an increase does not see a series being born."""
    metrics = Metrics(upstreams=[], partners=[])
    assert f'stafett_security_events_total{{event="{event}"}} 0.0' in metrics.render()[0].decode()


async def test_a_code_used_twice_is_a_security_event(watched: Watched) -> None:
    """Once in the log, once in the audit, counted once."""
    browser = watched.stage.browser()
    await browser.follow(await browser.get(watched.stage.shop.request()))
    code = (await browser.log_in("bankid", "maja")).query["code"]
    assert (await watched.stage.shop.token(code)).status == 200
    assert (await watched.stage.shop.token(code)).status == 400
    assert watched.value("security_events_total", event="code.reused") == 1
    assert watched.value("refusals_total", kind="Spent") == 1


async def test_a_repeated_and_a_mixed_up_callback_are_security_events(watched: Watched) -> None:
    """Of the one the customer reads nothing, her journey goes on; the operator is told of both."""
    browser = watched.stage.browser()
    await browser.follow(await browser.get(watched.stage.shop.request()))
    gone = await browser.press("method-google")
    query = urlencode({"state": gone.query["state"], "who": "maja"})
    assert (await browser.get(f"/up/bankid/callback?{query}")).status == 410
    await browser.get(f"/j/{gone.query['state'].partition('.')[0]}")
    await browser.press("method-google")
    assert (await browser.get(f"/up/google/callback?{query}")).status == 303
    assert watched.value("security_events_total", event="callback.mixed_up") == 1
    assert watched.value("security_events_total", event="callback.replayed") == 1


async def test_a_wrong_client_secret_is_a_security_event(watched: Watched) -> None:
    """Somebody tries."""
    refused = await watched.stage.shop.token("x", auth=("nordhjul-web", "w" * 32))
    assert refused.status == 401
    assert watched.value("security_events_total", event="client.secret") == 1


async def test_a_store_that_is_away_is_seen(stage_folder: Path) -> None:
    """By its errors, and by the answers."""
    telemetry, exporter, metrics = watchers()
    async with open_stage(stage_folder, telemetry=telemetry) as stage:
        watched = Watched(stage, exporter, metrics)
        await stage.state.close()
        assert (await stage.client.get(stage.shop.request())).status_code == 503
        assert watched.value("store_seconds_count", store="state", outcome="error") >= 1
        assert watched.value("refusals_total", kind="StoreDown") == 1


async def test_audit_that_waits_or_is_lost_is_shown() -> None:
    """Also accepted risks, versions and providers that could not be started: read when somebody looks."""
    waiting = [3]
    metrics = Metrics(upstreams=["bankid", "google"], partners=[])
    metrics.stands(
        Standing(
            version="1.2.3",
            config_version=lambda: "abc",
            accepted_risks=["debug"],
            unavailable=lambda: ["bankid"],
            audit_waiting=lambda: waiting[0],
            audit_dropped=lambda: 7,
        )
    )
    waiting[0] = 4
    text = metrics.render()[0].decode()
    for line in (
        'stafett_info{config_version="abc",version="1.2.3"} 1.0',
        'stafett_accepted_risk{risk="debug"} 1.0',
        'stafett_upstream_available{upstream="bankid"} 0.0',
        'stafett_upstream_available{upstream="google"} 1.0',
        "stafett_audit_waiting 4.0",
        "stafett_audit_dropped_total 7.0",
    ):
        assert line in text


# Bounded


async def test_strangers_make_no_series(watched: Watched) -> None:
    """A thousand paths, methods, hosts and clients are as many requests and no more series."""
    client = watched.stage.client

    async def knock(number: int) -> None:
        await client.get(f"/never/{number}")
        await client.request(f"M{number}", "/token")
        await client.get("/authorize", params={"client_id": f"c{number}", "login_hint": f"{number}@example.com"})
        await client.get("/", headers={"host": f"h{number}.example"})
        await client.get(f"/up/u{number}/callback", params={"state": f"s{number}"})
        await client.post("/token", data={"grant_type": f"g{number}"}, auth=(f"c{number}", "s"))

    await knock(0)
    before = len(SAMPLE.findall(watched.text))
    for number in range(1, 200):
        await knock(number)
    assert len(SAMPLE.findall(watched.text)) == before


def test_unknown_values_of_a_label_are_other() -> None:
    """What is in neither code nor config never becomes a label; no partner at all (our own pages) is ``none``."""
    metrics = Metrics(upstreams=["google"], partners=["shop"])
    for upstream, partner in (("evil", "evil"), ("google", ""), ("google", None), (7, ["shop"])):
        metrics.heard("login.proved", {"upstream": upstream, "partner": partner})
    metrics.heard("refused", {"kind": "<script>", "code": "maja@example.com"})
    metrics.heard("handoff.started", {"partner": "shop", "source": "evil"})
    metrics.heard("handoff.maja", {"partner": "shop"})
    metrics.heard("anything", {})
    metrics.upstream_observer("evil")("token", "ok", 0.1)
    text = metrics.render()[0].decode()
    assert not {"evil", "maja", "script"} & set(re.findall(r"\w+", text))
    assert 'stafett_logins_total{outcome="proved",partner="other",upstream="other"} 2.0' in text
    assert 'stafett_logins_total{outcome="proved",partner="none",upstream="google"} 2.0' in text
    assert 'stafett_refusals_total{kind="other"} 1.0' in text


async def test_figures_of_two_brokers_do_not_mix() -> None:
    """Each counts what happened in its own requests, and a line logged outside of any counts for nobody."""
    one, other = Metrics(upstreams=[], partners=[]), Metrics(upstreams=[], partners=[])

    async def app(*_: object) -> None:
        log("fault", "error", kind="ValueError", where="here")

    await asked(Telemetry(metrics=one), app)
    log("fault", "error", kind="ValueError", where="here")
    assert "stafett_faults_total 1.0" in one.render()[0].decode()
    assert "stafett_faults_total 0.0" in other.render()[0].decode()


# Watched stores


async def test_a_watched_store_does_what_the_store_does() -> None:
    """Results and errors pass; each is timed."""
    metrics = Metrics(upstreams=[], partners=[])
    state = WatchedState(MemoryState(), Telemetry(metrics=metrics).store("state"))
    assert await state.run(Get("kind:x")) == [None]
    await state.close()
    with pytest.raises(StoreDown):
        await state.run(Get("kind:x"))
    text = metrics.render()[0].decode()
    for outcome in ("ok", "error"):
        assert f'stafett_store_seconds_count{{operation="get",outcome="{outcome}",store="state"}} 1.0' in text


async def test_watched_records_have_no_method_the_records_lack(watched: Watched) -> None:
    """A mistake of ours stays an AttributeError."""
    records = watched_records(watched.stage.records, Telemetry(metrics=watched.metrics).store("records"))
    await records.ping()
    with pytest.raises(AttributeError):
        records.no_such_method()  # type: ignore[attr-defined]


# The page


async def test_the_page_has_its_own_application(watched: Watched) -> None:
    """Nothing of it is on the public port, and nothing public on its own."""
    assert (await watched.stage.client.get("/metrics")).status_code == 404
    assert watched.stage.broker.metrics is not None
    transport = httpx2.ASGITransport(app=metrics_app(watched.metrics.render))
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:9464") as operator:
        page = await operator.get("/metrics")
        assert page.status_code == 200
        assert page.headers["content-type"].startswith("text/plain")
        assert "stafett_info" in page.text
        for path in ("/", "/metrics/", "/authorize", "/jwks", "/readyz"):
            assert (await operator.get(path)).status_code == 404
        assert (await operator.post("/metrics")).status_code == 405


# docs/telemetry.md


def told(heading: str) -> str:
    """The part of the page below *heading*."""
    text = (DOCS / "telemetry.md").read_text("utf-8")
    level = heading.partition(" ")[0]
    return re.split(rf"\n#{{1,{len(level)}}} ", text.partition(f"\n{heading}\n")[2])[0]


def test_codes_are_counted() -> None:
    """By upstream and outcome; an upstream that the config does not know is none."""
    metrics = Metrics(upstreams=["email"], partners=[])
    for upstream in ("email", "email", "invented"):
        metrics.heard("one_time_code.sent", {"upstream": upstream})
    metrics.heard("one_time_code.used", {"upstream": "email", "way": "link"})
    page = metrics.render()[0].decode()
    assert 'stafett_one_time_codes_total{outcome="sent",upstream="email"} 2.0' in page
    assert 'stafett_one_time_codes_total{outcome="used",upstream="email"} 1.0' in page
    assert "invented" not in page


def test_metadata_sources_are_shown() -> None:
    """One that somebody should look after, and one that has no end, which therefore has no time of it."""
    metrics = Metrics(upstreams=[], partners=[])
    until = datetime(2026, 11, 29, tzinfo=UTC)
    sources = [("federation", True, until), ("pinned", False, None)]
    metrics.stands(Standing("1", lambda: "1", [], tuple, lambda: 0, lambda: 0, metadata=lambda: sources))
    text = metrics.render()[0].decode()
    assert 'stafett_saml_metadata_alarm{source="federation"} 1.0' in text
    assert 'stafett_saml_metadata_alarm{source="pinned"} 0.0' in text
    told_ends = re.findall(r'stafett_saml_metadata_valid_until_seconds\{source="(\w+)"\} (\S+)', text)
    assert [(source, float(end)) for source, end in told_ends] == [("federation", until.timestamp())]


def test_every_metric_is_told_with_its_labels() -> None:
    """The page is the interface: nothing is missing, nothing invented."""
    metrics = Metrics(upstreams=[], partners=[])
    metrics.stands(Standing("1", lambda: "1", ["debug"], tuple, lambda: 0, lambda: 0))
    families = {
        found[1] + ("_total" if found[2] == "counter" else "")
        for found in re.finditer(
            r"^# TYPE (stafett_\w+?)(?:_total)? (\w+)$", metrics.render()[0].decode(), re.MULTILINE
        )
    }
    assert set(re.findall(r"^\| `(stafett_\w+)`", told("## Metrics"), re.MULTILINE)) == families


def test_every_security_event_is_told() -> None:
    """By its code, and each code is one of docs/events.md."""
    listed = re.search(r"Security events: (.+?)\. All", told("## Metrics"), re.DOTALL)
    assert listed is not None
    assert set(re.findall(r"`([\w.]+)`", listed[1])) == SECURITY_EVENTS


async def test_what_an_alarm_asks_for_exists(watched: Watched) -> None:
    """Metrics, labels and events in the queries are ones the broker has: a typing mistake there is a silent alarm."""
    await whole_story(watched.stage)
    assert watched.stage.broker.metrics is not None
    queries = told("### For a dashboard") + told("### Alarms").replace(r"\|", "|")
    series = {found["name"] for found in SAMPLE.finditer(watched.text)}
    known = series | set(re.findall(r"^# TYPE (stafett_\w+)", watched.text, re.MULTILINE))
    assert set(re.findall(r"stafett_\w+", queries)) <= known
    patterns = re.findall(r'event=~?"([^"]+)"', queries)
    assert len(patterns) > 5
    for pattern in patterns:
        for each in re.sub(r"\(([^)]*)\)\.foreign", r"handoff.foreign|refresh.foreign", pattern).split("|"):
            assert any(re.fullmatch(each, event) for event in SECURITY_EVENTS), each
