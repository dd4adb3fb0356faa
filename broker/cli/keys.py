"""
``stafett keys``: what is signed with, and when that changes.
"""

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from broker.app import KeyMaterial, utc_now
from broker.cli.opening import open_records, read
from broker.config.load import Loaded
from broker.core.keys import KeyRecord, KeyStanding, KeyState, said
from broker.errors import ConfigError, Denied, StoreDown
from broker.flows.audit import AuditTrail
from broker.flows.keys import KeyCare
from broker.observe.logging import current_reference, log


def list_keys(config: Path | None, *, as_json: bool) -> None:
    """Print where every key stands."""
    print(_shown(_care(config)[1].standings(), as_json=as_json))


def rotate(config: Path | None, alg: str | None, *, at_once: bool, even_if_logins_fail: bool) -> None:
    """Make the next key for *alg*, or for every algorithm; the first ones where there are none."""
    loaded, care = _care(config)
    if at_once and not even_if_logins_fail:
        cached = int(care.times.cached.total_seconds())
        raise Denied(
            f"a key that signs at once is unknown to partners that fetched the key set in the last {cached} seconds, and"
            " logins there fail; if that is the smaller evil, say also --even-if-logins-fail",
            code="keys.at_once",
        )
    if alg is not None and alg not in care.algs:
        raise Denied(f"--alg must be one of {', '.join(care.algs)}", code="keys.alg")
    before = {each.key.kid for each in care.standings()}
    made = care.begin().keys if not before else care.rotate([alg] if alg else care.algs, at_once=at_once)
    _told(loaded, "keys.rotated", made)
    for key in made:
        print(f"{key.kid} signs {key.alg} from {said(key.signs_from)}")


def retire(config: Path | None, kid: str, *, compromised: bool) -> None:
    """Take the key *kid* out of use: in peace, or at once because somebody else may have it."""
    loaded, care = _care(config)
    before = care.standings()
    after = care.withdraw(kid) if compromised else care.retire(kid)
    known = {each.key.kid for each in before}
    action = "keys.withdrawn" if compromised else "keys.retired"
    _told(loaded, action, [each.key for each in before if each.key.kid.startswith(kid)])
    _told(loaded, "keys.rotated", [each.key for each in after if each.key.kid not in known])
    print(_shown(after, as_json=False))


def _care(config: Path | None) -> tuple[Loaded, KeyCare]:
    loaded, _ = read(config)
    return loaded, KeyMaterial.of(loaded).care(loaded.policy.broker, utc_now)


def _told(loaded: Loaded, action: str, keys: Sequence[KeyRecord]) -> None:
    """Into the log and the audit trail. The keys are changed already: a database that is away does not undo that."""
    if not keys:
        return
    for key in keys:
        log(action, kid=key.name, alg=key.alg, signs_from=said(key.signs_from))
    try:
        asyncio.run(_note(loaded, action, keys))
    except (ConfigError, StoreDown) as error:
        print(f"stafett: done, but not in the audit trail: {error.detail}", file=sys.stderr)


async def _note(loaded: Loaded, action: str, keys: Sequence[KeyRecord]) -> None:
    async with open_records(loaded) as records:
        trail = AuditTrail(records, utc_now, current_reference)
        for key in keys:
            trail.note(action, kid=key.name, alg=key.alg, signs_from=said(key.signs_from))
        await trail.flush()


def _shown(standings: Sequence[KeyStanding], *, as_json: bool) -> str:
    if as_json:
        return json.dumps([_row(each) for each in standings], indent=2)
    if not standings:
        return "there are no keys yet; stafett keys rotate makes them"
    lines = [("KID", "ALG", "STATE", "SINCE", "NEXT")]
    lines += [
        (each.key.kid, each.key.alg, _state(each), said(each.since), _next(each.next_state, each)) for each in standings
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(4)]
    return "\n".join(
        "  ".join([*(f"{text:{width}}" for text, width in zip(line, widths, strict=False)), line[4]]) for line in lines
    )


def _state(standing: KeyStanding) -> str:
    return "withdrawn" if standing.key.withdrawn_at else standing.state.value


def _next(state: KeyState | None, standing: KeyStanding) -> str:
    return f"{state} {said(standing.next_at)}" if state else "-"


def _row(standing: KeyStanding) -> dict[str, str | None]:
    """Times as ISO 8601, UTC; null where nobody knows or nothing is to come."""
    return {
        "kid": standing.key.kid,
        "alg": standing.key.alg,
        "state": _state(standing),
        "since": said(standing.since) if standing.since else None,
        "next_state": standing.next_state,
        "next_at": said(standing.next_at) if standing.next_at else None,
    }
