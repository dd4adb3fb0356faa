"""Who is the same person: the rules of linking as tables of cases."""

from datetime import date, timedelta
from itertools import product
from typing import Any

import pytest

from broker.core.assurance import Assurance
from broker.core.changing import replace
from broker.core.identity import Contact, ContactKind, Evidence, Identity, accept
from broker.core.linking import (
    Apart,
    KnownContact,
    Offer,
    Rule,
    Same,
    WayIn,
    can_log_in,
    decide,
    is_fresh,
    joined,
    match,
    may_remove,
    may_restore,
    proven_contacts,
    without_unverified,
)
from broker.core.passkey import proof_of
from broker.core.policy import Linking, Policy
from broker.core.session import Profile, Recognition, Session, standing, with_recognition, without_lent
from tests.core.world import NOW, later, policy, profile, session

MAIL = Contact(ContactKind.EMAIL, "Maja@Example.com", True)
PHONE = Contact(ContactKind.PHONE, "+46701234567", True)


def identity(upstream: str = "eid", *contacts: Contact, **changed: Any) -> Identity:
    """What Maja proved a moment ago at *upstream*."""
    terms = POLICY.config.upstreams.get(upstream)
    evidence = Evidence(
        upstream=upstream,
        issuer=f"https://{upstream}.test",
        subject="s-1",
        assurance=Assurance.HIGH,
        amr=(upstream,),
        authenticated_at=NOW,
        name="Maja Lind",
        contacts=contacts,
    )
    return accept(
        replace(evidence, **changed),
        ceiling=terms.ceiling if terms else Assurance.HIGH,
        may_bootstrap=bool(terms and terms.may_bootstrap_other_methods),
    )


def with_terms(**changed: Any) -> Policy:
    """The small world's policy with other terms of linking."""
    known = policy()
    broker = known.config.broker.model_copy(update={"linking": Linking(**changed)})
    return Policy(known.config.model_copy(update={"broker": broker}), known.version, known.fields, known.schemas)


POLICY = policy()
STALE = later(minutes=-11)

# name, session, identity, whose it is, what is decided
CASES: list[tuple[str, Session | None, Identity, str | None, object]] = [
    ("nobody is logged in", None, identity(), None, Apart(Rule.NO_SESSION)),
    ("nobody is logged in, and it is somebody's", None, identity(), "maja", Apart(Rule.NO_SESSION)),
    ("it is hers", session(), identity(), "maja", Same()),
    ("it is hers, at a provider that may not vouch", session("bankid"), identity("google"), "maja", Same()),
    ("both proven just now", session(), identity(), None, Offer(Rule.BOTH_PROVEN, "maja")),
    ("a session of BankID", session("bankid"), identity("google", MAIL), None, Apart(Rule.NO_BOOTSTRAP)),
    ("a login by BankID", session(), identity("bankid"), None, Apart(Rule.NO_BOOTSTRAP)),
    ("somebody else's, by BankID", session(), identity("bankid"), "karl", Apart(Rule.NO_BOOTSTRAP)),
    ("a session opened before the config forbade it", session("bankid", may_bootstrap=True), identity(), None,
     Apart(Rule.NO_BOOTSTRAP)),
    ("a login accepted before the config forbade it", session(),
     replace(identity("bankid"), may_bootstrap=True), None, Apart(Rule.NO_BOOTSTRAP)),
    ("a provider that left the config", session(), replace(identity("gone"), may_bootstrap=True), None,
     Apart(Rule.NO_BOOTSTRAP)),
    ("a session of a provider that left the config", replace(session(), upstream="gone"), identity(), None,
     Apart(Rule.NO_BOOTSTRAP)),
    ("somebody else's", session(), identity(), "karl", Apart(Rule.BELONGS_TO_ANOTHER)),
    ("the same e-mail address, somebody else's", session(), identity("eid", MAIL), "karl",
     Apart(Rule.BELONGS_TO_ANOTHER)),
    ("another account at the same provider", session(), identity("google"), None, Apart(Rule.ANOTHER_ACCOUNT)),
    ("another account at the same provider, of the same address", session(), identity("google", MAIL), None,
     Apart(Rule.ANOTHER_ACCOUNT)),
    ("recognised by a newsletter", session(), identity("letter"), None, Apart(Rule.TOO_SOFT)),
    ("only recognised until now", session("letter"), identity(), None, Apart(Rule.TOO_SOFT)),
    ("another personal number", session(profile=profile(personal_number="190905271474")),
     identity(personal_number="199001012385"), None, Apart(Rule.ANOTHER_PERSON)),
    ("another date of birth", session(profile=profile(birthdate="1990-05-27")),
     identity(birthdate=date(1990, 5, 28)), None, Apart(Rule.ANOTHER_PERSON)),
    ("the same personal number and date of birth",
     session(profile=profile(personal_number="190905271474", birthdate="1990-05-27")),
     identity(personal_number="190905271474", birthdate=date(1990, 5, 27)), None, Offer(Rule.BOTH_PROVEN, "maja")),
    ("the same personal number does not link by itself: BankID is in it",
     session("bankid", profile=profile(personal_number="190905271474")),
     identity(personal_number="190905271474"), None, Apart(Rule.NO_BOOTSTRAP)),
    ("the session's proof is old", session(authenticated_at=STALE), identity(), None,
     Offer(Rule.STALE_PROOF, "maja", ("google",), fresh=True)),
    ("an old session, whose provider tells no time", session(created_at=STALE, is_time_proven=False), identity(), None,
     Offer(Rule.STALE_PROOF, "maja", ("google",))),
    ("a young session on an old login at a provider that tells no time",
     session(authenticated_at=STALE, is_time_proven=False), identity(), None, Offer(Rule.BOTH_PROVEN, "maja")),
    ("the new login's proof is old", session(), identity(authenticated_at=STALE), None,
     Offer(Rule.STALE_PROOF, "maja", ("eid",), fresh=True)),
    ("both are old: first the new one", session(authenticated_at=STALE), identity(authenticated_at=STALE), None,
     Offer(Rule.STALE_PROOF, "maja", ("eid",), fresh=True)),
    ("exactly as old as allowed", session(authenticated_at=later(minutes=-10)), identity(), None,
     Offer(Rule.BOTH_PROVEN, "maja")),
    ("an unverified address of hers, and the same", session(profile=profile(email_verified=False)),
     identity("eid", replace(MAIL, verified=False)), None, Offer(Rule.BOTH_PROVEN, "maja")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("known", "proven", "owner", "decision"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_what_a_proven_login_is_to_a_session(
    known: Session | None, proven: Identity, owner: str | None, decision: object
) -> None:
    """Hers, to be asked about, or apart: and every decision names its rule."""
    assert decide(known, proven, owner, POLICY, NOW) == decision


def test_every_combination_with_a_method_that_may_not_is_refused() -> None:
    """Property: with BankID on either side nothing but Same or Apart comes out, whatever else is true."""
    flags = product(("google", "bankid", "eid"), ("google", "bankid", "eid"), (None, "maja", "karl"), (True, False))
    for one, other, owner, is_adding in flags:
        decision = decide(session(one), identity(other, MAIL), owner, POLICY, NOW, is_adding=is_adding)
        if "bankid" in (one, other):
            assert decision in (Same(), Apart(Rule.NO_BOOTSTRAP), Apart(Rule.ANOTHER_ACCOUNT))
        if owner == "maja":
            assert decision == Same()


def test_she_may_add_a_second_account_of_one_provider() -> None:
    """What is somebody else until then is hers when she asked to add it."""
    assert decide(session(), identity("google"), None, POLICY, NOW, is_adding=True) == Offer(Rule.BOTH_PROVEN, "maja")


def test_whoever_was_asked_for_another_account_is_not_asked_to_join_it() -> None:
    """``prompt=select_account`` says that somebody else is meant."""
    assert decide(session(), identity(), None, POLICY, NOW, wants_switch=True) == Apart(Rule.SWITCH_WANTED)
    offered = decide(session(), identity(), None, POLICY, NOW, wants_switch=True, is_adding=True)
    assert offered == Offer(Rule.BOTH_PROVEN, "maja")


def test_the_operator_can_switch_it_off() -> None:
    """Then everybody stays apart, and nobody is told that somebody was here before."""
    off = with_terms(enabled=False)
    assert decide(session(), identity(), None, off, NOW) == Apart(Rule.OFF)
    assert decide(session(), identity(), "maja", off, NOW) == Same()
    assert match(identity("eid", MAIL), [KnownContact("maja", "google", NOW)], off, NOW) == Apart(Rule.OFF)


def test_the_window_is_the_operators() -> None:
    """``proof_age`` counts for both sides."""
    strict = with_terms(proof_age="1m")
    assert decide(session(), identity(), None, strict, NOW) == Offer(Rule.STALE_PROOF, "maja", ("google",), fresh=True)
    assert not is_fresh(session(), strict.broker.linking, NOW)


# Recognising a contact without a session

OLD = NOW - timedelta(days=180)
MATCHES: list[tuple[str, Identity, list[KnownContact], object]] = [
    ("seen before", identity("eid", MAIL), [KnownContact("maja", "google", later(days=-1))],
     Offer(Rule.CONTACT_SEEN, "maja", ("google",))),
    ("seen before by two ways", identity("eid", MAIL, PHONE),
     [KnownContact("maja", "google", later(days=-1)), KnownContact("maja", "letter", NOW)],
     Offer(Rule.CONTACT_SEEN, "maja", ("google",))),
    ("never seen", identity("eid", MAIL), [], Apart(Rule.CONTACT_UNKNOWN)),
    ("an address nobody verified", identity("eid", replace(MAIL, verified=False)),
     [KnownContact("maja", "google", NOW)], Apart(Rule.CONTACT_NOT_VERIFIED)),
    ("no address at all", identity(), [KnownContact("maja", "google", NOW)], Apart(Rule.CONTACT_NOT_VERIFIED)),
    ("proven by BankID", identity("bankid", MAIL), [KnownContact("maja", "google", NOW)], Apart(Rule.NO_BOOTSTRAP)),
    ("known by BankID", identity("eid", MAIL), [KnownContact("maja", "bankid", NOW)], Apart(Rule.NO_BOOTSTRAP)),
    ("known by a newsletter's link", identity("eid", MAIL), [KnownContact("maja", "letter", NOW)],
     Apart(Rule.NO_BOOTSTRAP)),
    ("known by a provider that left", identity("eid", MAIL), [KnownContact("maja", "gone", NOW)],
     Apart(Rule.NO_BOOTSTRAP)),
    ("of two customers", identity("eid", MAIL),
     [KnownContact("maja", "google", NOW), KnownContact("karl", "google", NOW)], Apart(Rule.SEVERAL_CUSTOMERS)),
    ("of two customers, one of them long ago", identity("eid", MAIL),
     [KnownContact("maja", "google", NOW), KnownContact("karl", "google", OLD)], Apart(Rule.SEVERAL_CUSTOMERS)),
    ("of two customers, by e-mail and by phone", identity("eid", MAIL, PHONE),
     [KnownContact("maja", "google", NOW), KnownContact("karl", "letter", NOW)], Apart(Rule.SEVERAL_CUSTOMERS)),
    ("half a year ago", identity("eid", MAIL), [KnownContact("maja", "google", OLD)], Apart(Rule.CONTACT_TOO_OLD)),
    ("almost half a year ago", identity("eid", MAIL), [KnownContact("maja", "google", OLD + timedelta(seconds=1))],
     Offer(Rule.CONTACT_SEEN, "maja", ("google",))),
    ("given to another account by the same provider", identity("google", MAIL), [KnownContact("maja", "google", NOW)],
     Apart(Rule.CONTACT_RECYCLED)),
    ("given anew by one of two providers", identity("google", MAIL),
     [KnownContact("maja", "eid", NOW), KnownContact("maja", "google", NOW)], Apart(Rule.CONTACT_RECYCLED)),
]  # fmt: skip


@pytest.mark.parametrize(("proven", "known", "decision"), [case[1:] for case in MATCHES], ids=[c[0] for c in MATCHES])
def test_who_was_here_before(proven: Identity, known: list[KnownContact], decision: object) -> None:
    """Only a question comes of it, and only for a contact verified lately by somebody who may vouch."""
    assert match(proven, known, POLICY, NOW) == decision


def test_only_verified_contacts_are_found_by() -> None:
    """An unverified contact never matches anything, and a method that may not vouch proves none."""
    both = identity("eid", MAIL, PHONE)
    assert [value for _, value in proven_contacts(both)] == ["Maja@example.com", "+46701234567"]
    assert proven_contacts(identity("eid", replace(MAIL, verified=False))) == ()
    assert proven_contacts(identity("bankid", MAIL)) == ()
    assert proven_contacts(identity()) == ()


# The session afterwards


def strong(**changed: Any) -> Session:
    return session("eid", profile=Profile(name="Maja Lind"), contact_proven=False, **changed)


def test_the_session_after_a_link_is_that_of_one_login() -> None:
    """Level, methods and time belong together; the other login gives no more than its verified contact."""
    weak, eid = session(created_at=NOW), strong()
    for strongest, base in ((False, weak), (True, eid)):
        after = joined(weak, eid, strongest=strongest)
        assert (after.assurance, after.amr, after.upstream) == (base.assurance, base.amr, base.upstream)
        assert (after.authenticated_at, after.created_at) == (base.authenticated_at, base.created_at)
        assert after.profile.email == "maja@example.com"
        assert after.profile.email_verified
        assert after.contact_proven
    assert joined(weak, None, strongest=True) == weak


@pytest.mark.parametrize("strongest", [False, True])
def test_after_a_link_partners_know_her_as_before(strongest: bool) -> None:
    """Whose session goes on does not change what a partner calls its own, and her in it: by that she is logged out there."""
    known = {"sids": {"hotel": "sid"}, "name_formats": {"hotel": "persistent"}}
    for new, old in ((session(), strong(**known)), (strong(), session(**known))):
        after = joined(new, old, strongest=strongest)
        assert (after.sids, after.name_formats) == (old.sids, old.name_formats)


def test_the_weaker_of_two_never_counts_as_the_stronger() -> None:
    """Property: nothing is released above what that one login proved."""
    for one, other, strongest in product(("google", "eid", "letter"), ("google", "eid", "letter"), (True, False)):
        after = joined(session(one), session(other), strongest=strongest)
        assert after.assurance == session(after.upstream).assurance


def test_an_unverified_contact_does_not_come_along() -> None:
    """Nor does one of a method that may not vouch, which is never here anyway."""
    left = session(profile=profile(email_verified=False), contact_proven=False)
    after = joined(strong(), left, strongest=False)
    assert (after.profile.email, after.contact_proven) == (None, False)
    vouched = joined(strong(), session("bankid", profile=profile()), strongest=False)
    assert vouched.profile.email is None


def test_a_contact_is_as_old_as_its_own_proof() -> None:
    """What a passkey vouches for was proven when it was added: a fresh login beside it makes it no younger."""
    long_ago = NOW - timedelta(days=300)
    by_key = session(created_at=NOW, contact_proven_at=long_ago)
    assert by_key.contact_proven
    for new, old, strongest in ((strong(), by_key, False), (by_key, strong(), True)):
        after = joined(new, old, strongest=strongest)
        assert (after.upstream, after.contact_proven, after.contact_proven_at) == ("eid", True, long_ago)
    limits = {Assurance.SUBSTANTIAL: timedelta(hours=1), Assurance.LOW: timedelta(hours=1)}
    limits |= {Assurance.CONTACT: timedelta(days=180), Assurance.HIGH: timedelta(hours=1)}
    assert standing(after, limits, NOW + timedelta(hours=2)) < Assurance.CONTACT
    fresh = joined(strong(), session(created_at=NOW), strongest=False)
    assert standing(fresh, limits, NOW + timedelta(hours=2)) is Assurance.CONTACT


def test_what_came_along_goes_with_the_way_it_came_by() -> None:
    """Whichever of the two the session is of, and however many links are between; a login's own contact stays."""
    mail = session(created_at=NOW, way="mail")
    for strongest, new, old in ((False, strong(way="eid"), mail), (True, mail, strong(way="eid"))):
        after = joined(new, old, strongest=strongest)
        assert after.lent == {"email": "mail"}
        assert without_lent(after, {"eid", "phone"}) == after
        bare = without_lent(after, {"mail"})
        assert (bare.profile.email, bare.profile.email_verified, bare.contact_proven) == (None, False, False)
        assert (bare.contact_proven_at, bare.lent) == (None, {})
        assert bare.assurance == after.assurance
    again = joined(strong(way="other"), after, strongest=False)
    assert again.lent == {"email": "mail"}
    assert joined(mail, strong(way="eid"), strongest=False).lent == {}


def test_one_of_two_that_came_along_stays() -> None:
    """Each goes with its own way in."""
    number = Profile(phone_number="+46701740605", phone_number_verified=True)
    both = joined(
        joined(strong(way="eid"), session(way="mail"), strongest=False),
        session(profile=number, way="phone"),
        strongest=True,
    )
    bare = without_lent(both, {"mail"})
    assert (bare.profile.email, bare.profile.phone_number) == (None, "+46701740605")
    assert (bare.contact_proven, bare.lent) == (True, {"phone_number": "phone"})
    assert proof_of(both).contacts == ()


def test_who_was_known_by_what_came_along_is_asked_about_again() -> None:
    """A member number that a register knew by the mailbox is not told once that is taken out; without that it stays."""
    after = joined(strong(way="eid"), session(way="mail"), strongest=False)
    known = with_recognition(after, "tyre-shop", Recognition("M-1042", later(days=1)))
    assert without_lent(known, {"phone"}).recognitions == known.recognitions
    assert without_lent(known, {"mail"}).recognitions == {}


def test_contacts_nobody_verified_are_dropped() -> None:
    """A trojan identifier does not survive a link."""
    kept = without_unverified(profile(email_verified=False, phone_number="+46701234567", phone_number_verified=True))
    assert (kept.email, kept.phone_number, kept.name) == (None, "+46701234567", "Maja Lind")
    assert without_unverified(profile(phone_number="+46700000000")).phone_number is None


# Taking out and bringing back

WAYS = [WayIn("a", "google"), WayIn("b", "eid"), WayIn("c", "letter"), WayIn("d", "gone")]


@pytest.mark.parametrize(
    ("ways", "name", "may"),
    [
        (WAYS, "a", True),
        (WAYS, "c", True),
        (WAYS[:1], "a", False),
        ([WAYS[0], WAYS[2]], "a", False),
        ([WAYS[0], WAYS[3]], "a", False),
        ([WAYS[0], WAYS[2]], "c", True),
        (WAYS, "x", False),
        ([], "a", False),
    ],
)
def test_a_way_in_that_works_alone_remains(ways: list[WayIn], name: str, may: bool) -> None:
    """One that only recognises, or whose provider left, does not count."""
    assert may_remove(ways, name, POLICY) is may


def test_a_passkey_does_not_remain_alone() -> None:
    """It falls with the way in it was added by, so the last other way in stays."""
    config = POLICY.config
    passkey = config.upstreams["eid"].model_copy(update={"kind": "passkey"})
    config = config.model_copy(update={"upstreams": {**config.upstreams, "passkey": passkey}})
    known = Policy(config, POLICY.version, POLICY.fields, POLICY.schemas)
    ways = [WayIn("a", "google"), WayIn("p", "passkey")]
    assert not may_remove(ways, "a", known)
    assert may_remove(ways, "p", known)
    assert may_remove([*ways, WayIn("b", "eid")], "a", known)


def test_what_can_log_in_alone() -> None:
    """A known provider above soft."""
    assert [can_log_in(way, POLICY) for way in WAYS] == [True, True, False, False]


@pytest.mark.parametrize(
    ("running", "way", "removed_at", "refusal"),
    [
        (session(), WAYS[1], later(days=-1), None),
        (session(), WAYS[1], later(days=-30), Rule.STALE_PROOF),
        (session(authenticated_at=STALE), WAYS[1], later(days=-1), Rule.STALE_PROOF),
        (session("bankid"), WAYS[1], later(days=-1), Rule.NO_BOOTSTRAP),
        (session(), WayIn("e", "bankid"), later(days=-1), Rule.NO_BOOTSTRAP),
        (session(), WAYS[3], later(days=-1), Rule.NO_BOOTSTRAP),
    ],
)
def test_bringing_back_is_a_link(running: Session, way: WayIn, removed_at: Any, refusal: Rule | None) -> None:
    """As fresh and as allowed as any other."""
    assert may_restore(running, way, removed_at, POLICY, NOW) is refusal
