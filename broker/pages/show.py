"""
From what the core decided to what a page needs: views made of steps, releases and records.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from typing import Any

from broker.core.handoff import Handoff
from broker.core.journey import AskConsent
from broker.core.memory import DeviceRecord
from broker.core.policy import Policy
from broker.core.release import Item
from broker.core.session import Session
from broker.core.trust import Choices
from broker.flows.consent import LOGIN_CONSENT, ConsentRecord, Sharing, digest_of_release, edge_of
from broker.flows.sessions import OwnSession
from broker.pages.catalogue import Catalogue
from broker.pages.logo import Logos
from broker.pages.views import (
    VISIBLE,
    Cell,
    ConsentField,
    ConsentPage,
    Form,
    LiveConsent,
    Method,
    OwnLogin,
    Party,
    SharedPage,
    Table,
    Transfer,
    TransferState,
    Value,
)

_TRANSFER_STATES: Mapping[str, TransferState] = {
    "started": TransferState.AGREED,
    "redeemed": TransferState.FETCHED,
    "acknowledged": TransferState.CONFIRMED,
    "revoked": TransferState.WITHDRAWN,
}


class Show:
    """Builds views in one language."""

    def __init__(self, policy: Policy, logos: Logos, words: Catalogue, language: str) -> None:
        self._policy = policy
        self._logos = logos
        self._words = words
        self._language = language

    def party(self, partner: str) -> Party:
        """A partner by name and logo."""
        return Party(self._policy.partner_name(partner, self._language), self._logos.src(partner))

    def methods(
        self, found: Choices, listed: Collection[str], remembered: DeviceRecord | None
    ) -> tuple[tuple[Method, ...], tuple[Method, ...]]:
        """
        Those ways of *found* that are *listed*, in their order: those to be seen at once, and the others.

        Seen are what adds just what is missing, where there is such; else the first few and the one used last here.
        """
        steps = {choice.upstream for choice in found.steps}
        seen: list[Method] = []
        rest: list[Method] = []
        for index, choice in enumerate(each for each in found.may if each.upstream in listed):
            is_seen = choice.upstream in steps if steps else index < _seen_of(len(listed)) or choice.is_last_used
            (seen if is_seen else rest).append(self.method(choice.upstream, remembered, is_last=choice.is_last_used))
        return tuple(seen), tuple(rest)

    def method(self, upstream: str, remembered: DeviceRecord | None = None, *, is_last: bool = False) -> Method:
        """One way to log in, with the hint the browser is remembered by if there is one."""
        known = self._policy.config.upstreams[upstream]
        hint = remembered.hint_of(upstream) if remembered is not None else None
        if hint is None and known.hints is not None:
            hint = self._policy.text(known.hints, self._language)
        return Method(upstream, self._policy.text(known.titles, self._language), hint or "", known.icon, is_last)

    def consent(
        self, step: AskConsent, handoff: Handoff | None, session: Session, form: Form, now: datetime
    ) -> ConsentPage:
        """Exactly what would be shared, with its values."""
        wish, agreement = step.wish, step.agreement
        recipient = self._policy.partner(wish.recipient)
        return ConsentPage(
            form=form,
            digest=digest_of_release(session.customer, wish, step.release),
            recipient=self.party(wish.recipient),
            fields=tuple(self._field(item, step, handoff) for item in step.release.items if self._is_shown(item)),
            source=self.party(wish.source) if wish.source else None,
            purpose=self._policy.text(agreement.purpose_texts, self._language) if agreement else "",
            remembered_until=now + (agreement.lifetime.consent if agreement else LOGIN_CONSENT),
            may_continue_as_guest=bool(agreement and recipient and recipient.guest_uri),
            customer=session.profile.name,
            missing=self.labels(step.missing),
        )

    def labels(self, claims: Sequence[str]) -> tuple[str, ...]:
        """Claims of her profile in her language."""
        return tuple(self._label(name, "") for name in claims)

    def shared(self, sharing: Sharing, session: Session, withdraw: Form, log_out: Form, gone: str | None) -> SharedPage:
        """What the customer shares."""
        return SharedPage(
            customer=session.profile.name or session.profile.email or "",
            withdraw=withdraw,
            log_out=log_out,
            consents=tuple(self._live(records) for records in _by_edge(sharing.consents)),
            history=tuple(
                Transfer(
                    recipient=self.party(each.recipient),
                    purpose=self._purpose(each.source, each.recipient, each.purpose),
                    state=_TRANSFER_STATES.get(each.state, TransferState.WAITING),
                    at=each.acknowledged_at or each.picked_up_at or each.created_at,
                    source=self.party(each.source),
                )
                for each in sharing.transfers
            ),
            withdrawn_from=self._policy.partner_name(gone, self._language) if gone else None,
        )

    def login(self, own: OwnSession, *, is_here: bool) -> OwnLogin:
        """One of the customer's sessions: where, since when, how, and at which partners."""
        session = own.session
        upstream = self._policy.config.upstreams.get(session.upstream)
        return OwnLogin(
            name=own.name,
            browser=session.device.browser or "",
            system=session.device.system or "",
            method=self._policy.text(upstream.titles, self._language) if upstream else session.upstream,
            since=session.created_at,
            seen=session.seen_at,
            partners=tuple(self._policy.partner_name(partner, self._language) for partner in session.sids),
            is_here=is_here,
        )

    def type_title(self, handoff: Handoff) -> str:
        """What is passed on, in the operator's words."""
        known = self._policy.config.payload_types.get(handoff.type)
        return self._policy.text(known.titles, self._language) if known else ""

    def _live(self, records: Sequence[ConsentRecord]) -> LiveConsent:
        """All that is shared along one edge, as one: the remembered consent if there is one, else the newest."""
        record = next((each for each in records if each.remember), records[0])
        names = dict.fromkeys((name, each.type) for each in records for name in each.granted)
        return LiveConsent(
            id=record.id,
            recipient=self.party(record.recipient),
            purpose=self._purpose(record.source, record.recipient, record.purpose),
            fields=tuple(dict.fromkeys(self._label(name, kind) for name, kind in names)),
            since=min(each.created_at for each in records),
            until=record.expires_at if record.remember else None,
            source=self.party(record.source) if record.source else None,
            is_remembered=record.remember,
        )

    def _purpose(self, source: str | None, recipient: str, purpose: str) -> str:
        if source is None:
            return self._words.plain("purpose.login")
        for agreement in self._policy.config.agreements:
            if (agreement.source, agreement.recipient, agreement.purpose) == (source, recipient, purpose):
                return self._policy.text(agreement.purpose_texts, self._language)
        return purpose

    @staticmethod
    def _is_shown(item: Item) -> bool:
        return item.given and not item.name.endswith("_verified")

    def _field(self, item: Item, step: AskConsent, handoff: Handoff | None) -> ConsentField:
        kind = handoff.type if handoff else ""
        return ConsentField(
            name=item.name,
            label=self._label(item.name, kind),
            value=self._value(item, kind),
            is_required=item.name in step.wish.required,
        )

    def _label(self, name: str, kind: str) -> str:
        """The operator's label of a payload field, our own of a profile claim."""
        for field in self._policy.fields.get(kind, ()):
            if field.name == name:
                return self._policy.text(field.labels, self._language) if field.labels else name
        return self._words.plain(f"claim.{name}") if f"claim.{name}" in self._words else name

    def _value(self, item: Item, kind: str) -> Value:
        schema = _schema_at(self._policy.schemas.get(kind, {}), item.name)
        if isinstance(item.value, Sequence) and not isinstance(item.value, str):
            return self._table(item.value, schema.get("items", {}))
        return self._cell(item.value, schema)

    def _table(self, rows: Sequence[Any], schema: Mapping[str, Any]) -> Table:
        """A list, with one column per member that any row has, in schema order."""
        members: Mapping[str, Any] = schema.get("properties", {})
        used = [name for name in members if any(isinstance(row, Mapping) and name in row for row in rows)]
        if not used:
            return Table(("",), tuple((self._cell(row, schema),) for row in rows))
        return Table(
            tuple(self._words_of(members[name], name) for name in used),
            tuple(tuple(self._cell(row.get(name), members[name]) for name in used) for row in rows),
        )

    def _words_of(self, schema: Mapping[str, Any], name: str) -> str:
        labels = schema.get("x-label")
        return self._policy.text(labels, self._language) if labels else name.replace("_", " ")

    def _cell(self, value: Any, schema: Mapping[str, Any]) -> Cell:
        """One value; a word of a fixed list in the customer's language where the schema has it (``x-values``)."""
        named = schema.get("x-values", {}).get(value) if isinstance(value, str) else None
        if named:
            return self._policy.text(named, self._language)
        if isinstance(value, str):
            return _moment_or_text(value, schema.get("format"))
        return value if isinstance(value, int | float | bool) or value is None else str(value)


def _seen_of(ways: int) -> int:
    """How many of so many *ways* are seen at once: a list is not cut for a single one."""
    return ways if ways <= VISIBLE + 1 else VISIBLE


def _by_edge(consents: Sequence[ConsentRecord]) -> list[list[ConsentRecord]]:
    """Consents for the same source, recipient and purpose together, in the order given."""
    grouped: dict[tuple[str | None, str, str], list[ConsentRecord]] = {}
    for consent in consents:
        grouped.setdefault(edge_of(consent), []).append(consent)
    return list(grouped.values())


def _moment_or_text(value: str, form: str | None) -> Cell:
    """A date or moment as such, so that the page words it in the customer's language; anything else as it is."""
    try:
        match form:
            case "date":
                return date.fromisoformat(value)
            case "date-time":
                moment = datetime.fromisoformat(value)
                return moment if moment.tzinfo else value
            case _:
                return value
    except ValueError:
        return value


def _schema_at(schema: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    for part in name.split("."):
        schema = schema.get("properties", {}).get(part, {})
    return schema
