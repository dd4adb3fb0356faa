"""Mail and text messages in the config: each driver by its block, and what cannot be is refused with key and advice."""

import re
from typing import Any

import pytest

from broker.app import build_messages, build_telemetry
from broker.core.policy import SmtpMail
from broker.notify.outbox import MailOutbox, SmsOutbox
from broker.observe.telemetry import Telemetry
from broker.wire.http import Fetcher

from ..stage import MAIL_BLOCK, SMS_BLOCK
from .conftest import Bench

BLOCKS = {"mail": MAIL_BLOCK, "sms": SMS_BLOCK}
SID = "AC" + "0" * 32
MAIL = "{driver: smtp, host: smtp.example, from: login@login.example}"
ELKS = "{driver: 46elks, username: 'env:ELKS_U', password: 'env:ELKS_P', from: Nordhjul}"
TWILIO = f"{{driver: twilio, account_sid: {SID}, auth_token: 'env:TWILIO_T', from: '+46701740605'}}"
HTTP = (
    "{driver: http, url: 'https://sms.example/send', form: {to: '{to}', text: '{text}'}, headers: {X-Key: 'env:KEY'}}"
)
SECRETS = {
    "ELKS_U": "u4711",
    "ELKS_P": "p-elks-s3cret",
    "TWILIO_T": "t-twilio-s3cret",
    "KEY": "k-s3cret",
    "SMTP": "s-smtp",
}


def with_block(bench: Bench, key: str, block: str) -> Bench:
    """The example with *block*, written in one line, in place of its own."""
    bench.environment |= SECRETS
    bench.edit((BLOCKS[key], f"  {key}: {block}\n"))
    return bench


def with_gateways(bench: Bench, *gateways: str, more: str = "countries: [SE, FI, PL]") -> Bench:
    return with_block(bench, "sms", f"{{gateways: [{', '.join(gateways)}], {more}}}")


def build(bench: Bench) -> Any:
    return build_messages(bench.load(), Fetcher(), Telemetry())


def test_without_a_word_nobody_is_written_to(bench: Bench) -> None:
    """Neither mail nor text messages."""
    ways = bench.text.index("  # One field on the page for both"), bench.text.index("  passkey:\n")
    bench.edit((MAIL_BLOCK + SMS_BLOCK, ""), (bench.text[slice(*ways)], ""), *[(", email, sms", "")] * 4)
    messages = build(bench).messages
    assert (messages.mail, messages.sms, messages.numbers) == (None, None, None)


async def test_all_drivers_are_built(bench: Bench) -> None:
    """With their secrets from where the references lead; the default country is the first."""
    bench = with_block(bench, "mail", MAIL.replace("}", ", username: login, password: 'env:SMTP'}"))
    built = build(with_gateways(bench, ELKS, TWILIO, HTTP))
    assert built.messages.numbers.read("070-174 06 05").e164 == "+46701740605"
    everything = repr(built) + repr(bench.load())
    assert not [secret for secret in SECRETS.values() if secret in everything]
    assert built.reporting == {}
    await built.messages.close()


def test_an_outbox_is_handed_out_as_it_is(bench: Bench) -> None:
    """Whoever looks into it need not know about failover."""
    built = build(with_gateways(with_block(bench, "mail", "{driver: outbox}"), "{driver: outbox}"))
    assert isinstance(built.messages.mail, MailOutbox)
    assert isinstance(built.messages.sms, SmsOutbox)


def test_those_that_report_are_known_by_name(bench: Bench) -> None:
    """Only they have an address for it."""
    gateways = [
        ELKS.replace("}", ", reports: true}"),
        TWILIO,
        HTTP.replace("driver: http", "driver: http, name: third, reports: true"),
    ]
    assert list(build(with_gateways(bench, *gateways)).reporting) == ["46elks", "third"]


def test_figures_know_whom_the_config_names(bench: Bench) -> None:
    """Whatever else claims to have carried a message is ``other``: labels are a closed set."""
    bench.edit(("  retention:\n", "  telemetry: {metrics: {enabled: true}}\n  retention:\n"))
    loaded = with_gateways(
        with_block(bench, "mail", MAIL), ELKS, HTTP.replace("driver: http", "driver: http, name: third")
    ).load()
    metrics = build_telemetry(loaded).metrics
    assert metrics is not None
    for by in ("smtp", "46elks", "third", "stranger"):
        metrics.heard("message.accepted", {"way": "sms", "by": by, "took_s": 0.1})
    text = metrics.render()[0].decode()
    counted = re.findall(r'stafett_messages_total\{by="([^"]+)",outcome="accepted",way="sms"\} 1\.0', text)
    assert sorted(counted) == ["46elks", "other", "smtp", "third"]


@pytest.mark.parametrize(("tls", "port"), [("starttls", 587), ("implicit", 465), ("none", 25)])
def test_the_port_follows_from_the_encryption(tls: str, port: int) -> None:
    """RFC 8314, RFC 6409, RFC 5321."""
    settings = SmtpMail.model_validate({"driver": "smtp", "host": "a.example", "from": "a@a.example", "tls": tls})
    assert (settings.port or settings.tls.port) == port


@pytest.mark.parametrize(
    ("block", "key", "advice"),
    [
        ("{}", "broker.mail", "needs a driver"),
        ("{driver: sendmail}", "broker.mail", "driver must be one of smtp, outbox"),
        ("{driver: outbox, host: a.example}", "broker.mail.host", "unknown key; did you mean 'host'?"),
        ("{driver: smtp, from: a@a.example}", "broker.mail.host", "is missing; add it"),
        (
            MAIL.replace("}", ", username: login}"),
            "broker.mail.password",
            "is missing; a server that wants one wants both, username and password",
        ),
        (
            MAIL.replace("}", ", password: 'env:SMTP'}"),
            "broker.mail.username",
            "is missing; a server that wants one wants both, username and password",
        ),
        (
            MAIL.replace("}", ", username: login, password: 'env:NOWHERE'}"),
            "broker.mail.password",
            "the environment variable NOWHERE is not set; set it where the broker is started",
        ),
        (
            MAIL.replace("login@login.example", "'Login <login@login.example>'"),
            "broker.mail.from",
            "must be one mail address such as login@example.com: no name before it, the domain in lower case ASCII",
        ),
        (
            MAIL.replace("smtp.example", "'smtps://smtp.example'"),
            "broker.mail.host",
            "must be the name or IP address of a server, in lower case and without scheme and port",
        ),
        (
            MAIL.replace("}", ', from_name: "a\\nBcc: b"}'),
            "broker.mail.from_name",
            "must be one line of at most 60 characters",
        ),
        (
            MAIL.replace("}", ", ca: nowhere.pem}"),
            "broker.mail.ca",
            "must be a PEM file of certificates that can be read",
        ),
        (MAIL.replace("}", ", tls: ssl}"), "broker.mail.tls", "must be one of starttls, implicit, none"),
    ],
)
def test_mail_that_cannot_be_sent_is_refused(bench: Bench, block: str, key: str, advice: str) -> None:
    """Before the first customer wants one."""
    assert with_block(bench, "mail", block).problems() == (bench.sentence("  mail:", key, advice),)


@pytest.mark.parametrize(
    ("gateways", "more", "key", "advice"),
    [
        ([ELKS], "default_country: SE", "broker.sms.countries", "is missing; add it"),
        ([ELKS], "countries: []", "broker.sms.countries", "needs at least one entry"),
        ([], "countries: [SE]", "broker.sms.gateways", "needs at least one entry"),
        ([ELKS], "countries: [SE, UK]", "broker.sms.countries[1]", "there is no country UK with telephone numbers"),
        ([ELKS], "countries: [SE, EU]", "broker.sms.countries[1]", "there is no country EU with telephone numbers"),
        (
            [ELKS],
            "countries: [Sweden]",
            "broker.sms.countries[0]",
            "must be a country by its two letters (ISO 3166), such as SE",
        ),
        ([ELKS], "countries: [SE, SE]", "broker.sms.countries[1]", "SE is named twice"),
        (
            [ELKS],
            "countries: [SE], default_country: FI",
            "broker.sms.default_country",
            "must be one of broker.sms.countries",
        ),
        (
            [ELKS, ELKS],
            "countries: [SE]",
            "broker.sms.gateways[1].name",
            "another gateway is called 46elks already; give this one a name",
        ),
        (
            [ELKS.replace("Nordhjul", "'Nordhjul AB Sverige'")],
            "countries: [SE]",
            "broker.sms.gateways[0].from",
            "must be what phones show as the sender: at most 11 letters, digits and blanks, a letter first, or a number"
            " such as +46701740605",
        ),
        (
            [ELKS.replace("ELKS_P", "NOWHERE")],
            "countries: [SE]",
            "broker.sms.gateways[0].password",
            "the environment variable NOWHERE is not set; set it where the broker is started",
        ),
        (
            [HTTP.replace("env:KEY", "env:NOWHERE")],
            "countries: [SE]",
            "broker.sms.gateways[0].headers.X-Key",
            "the environment variable NOWHERE is not set; set it where the broker is started",
        ),
        (
            [TWILIO.replace(", from: '+46701740605'", "")],
            "countries: [SE]",
            "broker.sms.gateways[0]",
            "needs either from or messaging_service_sid",
        ),
        (
            [TWILIO.replace("}", f", messaging_service_sid: MG{'0' * 32}}}")],
            "countries: [SE]",
            "broker.sms.gateways[0]",
            "needs either from or messaging_service_sid",
        ),
        (
            [TWILIO.replace(SID, "AC12")],
            "countries: [SE]",
            "broker.sms.gateways[0].account_sid",
            "must be AC and 32 hexadecimal digits",
        ),
        (
            [HTTP.replace("form: {to: '{to}', text: '{text}'}, ", "")],
            "countries: [SE]",
            "broker.sms.gateways[0]",
            "needs either form or json",
        ),
        (
            [HTTP.replace("{text}", "hello")],
            "countries: [SE]",
            "broker.sms.gateways[0].form",
            "has no {text}, so the message would be empty",
        ),
        (
            [HTTP.replace("form: {to: '{to}'", "json: {a: [{b: x}]")],
            "countries: [SE]",
            "broker.sms.gateways[0].json",
            "has neither {to} nor {digits}, so nobody would get the message",
        ),
        (
            [HTTP.replace("https://", "http://")],
            "countries: [SE]",
            "broker.sms.gateways[0].url",
            "http is only for this machine (127.0.0.1, localhost); use https://",
        ),
        (
            [HTTP.replace("headers: {X-Key: 'env:KEY'}", "reports: true")],
            "countries: [SE]",
            "broker.sms.gateways[0].reports",
            "needs headers: what proves a report is made from their values",
        ),
        (
            [HTTP.replace("}}", "}, success: [302]}")],
            "countries: [SE]",
            "broker.sms.gateways[0].success[0]",
            "must be at most 299",
        ),
    ],
)
def test_text_messages_that_cannot_be_sent_are_refused(
    bench: Bench, gateways: list[str], more: str, key: str, advice: str
) -> None:
    """By key and what to do; no sentence repeats a secret."""
    problems = with_gateways(bench, *gateways, more=more).problems()
    assert problems == (bench.sentence("  sms:", key, advice),)


def test_a_secret_written_where_a_reference_belongs_is_not_repeated(bench: Bench) -> None:
    """It would end in logs."""
    (problem,) = with_gateways(bench, ELKS.replace("env:ELKS_P", "hunter2-hunter2")).problems()
    assert "secrets are never written here" in problem
    assert "hunter2" not in problem


def test_mail_over_a_relay_on_this_machine_may_be_plain(production: Bench) -> None:
    """Nobody listens between a process and its neighbour."""
    production.edit((MAIL_BLOCK, "  mail: {driver: smtp, host: '::1', tls: none, from: a@example.com}\n"))
    assert production.load().accepted_risks == ()
