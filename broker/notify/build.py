"""Senders from the config: each driver by its block, told of, and several gateways behind one another."""

import ssl
from collections.abc import Callable
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from msgspec import Struct, field

from broker.core.policy import (
    BrokerSettings,
    ElksSms,
    GatewaySettings,
    HttpSms,
    MailSettings,
    OutboxMail,
    OutboxSms,
    SmsSettings,
    SmtpMail,
    TwilioSms,
)
from broker.notify.failover import Failover
from broker.notify.gateway import Gateway
from broker.notify.outbox import MailOutbox, SmsOutbox
from broker.notify.ports import MailSender, Messages, SmsSender
from broker.notify.routes import report_path
from broker.notify.sms_46elks import ElksGateway
from broker.notify.sms_http import HttpGateway
from broker.notify.sms_twilio import TwilioGateway
from broker.notify.told import ToldMail, ToldSms
from broker.observe.telemetry import Watch
from broker.wire.http import Fetcher


class References(Protocol):
    """Where references of the config lead (`broker.config.references.References`)."""

    def path(self, name: str) -> Path:
        """The file that *name*, relative to the config file, stands for."""
        ...

    def secret(self, reference: str) -> str:
        """What an ``env:`` or ``file:`` reference points at."""
        ...


_system_trust = cache(ssl.create_default_context)
"""The authorities this system trusts; a long list, read once."""


class Senders(Struct, frozen=True):
    """``messages``: for whoever writes to customers. ``reporting``: the gateways whose reports are taken, by name."""

    messages: Messages
    reporting: dict[str, Gateway] = field(default_factory=dict)


class Workshop(Struct, frozen=True):
    """
    What senders are built with.

    ``watch``: for a sender's name, what goes around its calls. ``clock``: aware UTC now.
    """

    broker: BrokerSettings
    references: References
    fetcher: Fetcher
    watch: Callable[[str], Watch]
    clock: Callable[[], datetime]

    def senders(self) -> Senders:
        """Everything the config names. Raises: what unreadable references and certificates raise."""
        mail, sms = self.broker.mail, self.broker.sms
        if sms is None:
            return Senders(Messages(mail=self._mail(mail)))
        # Numbering plans are large; they are read by those who send text messages.
        from broker.notify.phone import PhoneRules

        gateways = {settings.label: self._gateway(settings) for settings in sms.gateways}
        messages = Messages(self._mail(mail), self._sms(gateways), PhoneRules(sms.countries, sms.home))
        return Senders(messages, self._reporting(sms, gateways))

    def _mail(self, settings: MailSettings | None) -> MailSender | None:
        match settings:
            case SmtpMail():
                return ToldMail(self._smtp(settings), settings.driver)
            case OutboxMail():
                return MailOutbox()
            case None:
                return None

    def _smtp(self, settings: SmtpMail) -> MailSender:
        from broker.notify.smtp import SmtpSender

        authority = str(self.references.path(settings.ca)) if settings.ca else None
        return SmtpSender(
            settings,
            password=self.references.secret(settings.password) if settings.password else None,
            tls=ssl.create_default_context(cafile=authority) if authority else _system_trust(),
            host=urlsplit(self.broker.issuer).hostname or "",
            name=self.broker.name,
            clock=self.clock,
            watch=self.watch(settings.driver),
        )

    def _sms(self, gateways: dict[str, SmsSender]) -> SmsSender:
        if len(gateways) == 1 and isinstance(only := next(iter(gateways.values())), SmsOutbox):
            return only
        return Failover({name: ToldSms(gateway, name) for name, gateway in gateways.items()}, self.clock)

    def _reporting(self, sms: SmsSettings, gateways: dict[str, SmsSender]) -> dict[str, Gateway]:
        reporting = {each.label for each in sms.gateways if each.reports}
        return {
            name: gateway
            for name, gateway in gateways.items()
            if name in reporting and isinstance(gateway, ElksGateway | TwilioGateway | HttpGateway)
        }

    def _gateway(self, settings: GatewaySettings) -> SmsSender:
        secret, fetcher = self.references.secret, self.fetcher.watched_by(self.watch(settings.label))
        report_uri = f"{self.broker.issuer}{report_path(settings.label)}" if settings.reports else None
        match settings:
            case ElksSms():
                username, password = secret(settings.username), secret(settings.password)
                return ElksGateway(
                    settings, username=username, password=password, report_uri=report_uri, fetcher=fetcher
                )
            case TwilioSms():
                auth_token = secret(settings.auth_token)
                return TwilioGateway(settings, auth_token=auth_token, report_uri=report_uri, fetcher=fetcher)
            case HttpSms():
                headers = {name: secret(reference) for name, reference in settings.headers.items()}
                return HttpGateway(settings, headers=headers, report_uri=report_uri, fetcher=fetcher)
            case OutboxSms():
                return SmsOutbox()
