"""
One or more views of every page, as the story of the tyre shop fills them.

`views(said)` passes every text that comes from config, customers or partners through *said*, so that a test can put
anything in its place.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime

from broker.core.changing import replace
from broker.core.passkey import OwnPasskey, Unfit
from broker.pages.views import (
    Action,
    AddPasskeyPage,
    ArrivePage,
    AskAtOnce,
    ChoosePage,
    CodePage,
    ConsentField,
    ConsentPage,
    ContinuePage,
    DeskCase,
    DeskCasePage,
    DeskPage,
    Form,
    HandoffStatus,
    HandoffStatusPage,
    Identify,
    IndexPage,
    JoinKind,
    JoinPage,
    LinkPage,
    LinkStatus,
    LiveConsent,
    LoggedOutPage,
    LogoutConfirmPage,
    Method,
    OwnLogin,
    Page,
    Party,
    PasskeyList,
    PasskeyPage,
    Phase,
    PostPage,
    Problem,
    ProblemPage,
    Reason,
    RemovePasskeyPage,
    RemoveWayPage,
    SharedLoginPage,
    SharedPage,
    ShownNumber,
    ShownWay,
    StillIn,
    Table,
    Transfer,
    TransferState,
    WaitPage,
    Way,
    WaysIn,
    WelcomePage,
    WrongCustomerPage,
    mask_name,
)

NOW = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
QR_TEXT = (
    "bankid.67df3917-fa0d-44e5-b327-edcc928297f8.0.dc69358e712458a66a7525beef148ae8526b1c71610eff2c16cdffb4cdac9bf8"
)

ASK_PASSKEY = json.dumps({"challenge": "Y2hhbGxlbmdl", "timeout": 120000, "rpId": "localhost", "allowCredentials": []})


def _as_is(text: str) -> str:
    return text


def views(said: Callable[[str], str] = _as_is, *, shop_logo: str | None = None) -> dict[str, Page]:
    """Every page by a readable name."""
    shop = Party(said("Nordic Tyres"), shop_logo)
    garage = Party(said("Garage Björk"))
    form = Form("/j/q4Jm0T", said("csrf-token"))
    back = Way("back", "https://shop.example/", Action.BACK_TO, said("Nordic Tyres"))
    return {
        **_choose(said, form, shop, garage),
        **_arriving(said, form, shop, garage),
        **{f"wait-{phase}": _wait(said, form, shop, phase) for phase in Phase},
        **_codes(said, form, shop),
        **_consent(said, form, shop, garage),
        **_shared(said, shop, garage),
        **_joining(said, form, shop),
        **_ways_in(said),
        **{f"handoff-{status}": HandoffStatusPage(status, shop, garage, (back,)) for status in HandoffStatus},
        **_passkeys(said, form, shop),
        **_desk(said),
        **_problems(said, shop, back),
        "continue": ContinuePage("https://garage.example/start?iss=a&login_hint=b", garage),
        "continue-plain": ContinuePage("/j/q4Jm0T"),
        "post": PostPage(
            "https://garage.example/cb", {"code": "a", "state": said("s"), "iss": "https://login.example"}
        ),
        "log-out": LogoutConfirmPage(form, shop, said(mask_name("Maja Lind"))),
        "log-out-plain": LogoutConfirmPage(form),
        "logged-out": LoggedOutPage((back,)),
        "logged-out-plain": LoggedOutPage(),
        "logged-out-partly": LoggedOutPage(
            (back,),
            told=(said("Garage Björk"), said("Nordic Tyres")),
            still=tuple(
                StillIn(said("Café Ö"), why, Way(f"still-{why}", "https://cafe.example/", Action.GO_TO, said("Café Ö")))
                for why in ("telling", "untold", "offered", "unreachable")
            ),
            frames=("https://cafe.example/leave?iss=a&sid=b",),
            onward=back,
        ),
        "log-out-wish": LogoutConfirmPage(form, shop, wish=said("sealed-wish")),
        "index": IndexPage((Way("to-garage", "https://garage.example/", Action.GO_TO, said("Garage Björk")),)),
        "index-plain": IndexPage(),
    }


def _choose(said: Callable[[str], str], form: Form, shop: Party, garage: Party) -> dict[str, Page]:
    methods = (
        Method("bankid", said("BankID"), said("With the app on your phone or computer"), "bankid"),
        Method("google", said("Google"), said("With the account you already have"), "google"),
        Method("email-link", said("E-mail"), icon="email"),
        Method("other", said("Something new"), icon=said("no-such-icon")),
    )
    pages: dict[str, Page] = {
        f"choose-{reason}": ChoosePage(form, garage, methods, reason, shop if reason is Reason.HANDOFF else None)
        for reason in Reason
    }
    return pages | {
        "choose-newsletter": ChoosePage(form, garage, methods[:2], newsletter_of=shop),
        "choose-notice": ChoosePage(form, shop, methods[:2], notice_key="notice.upstream_down"),
        "choose-blocked": ChoosePage(form, shop, methods[:2], notice_key="notice.account_blocked"),
        "choose-gone": ChoosePage(form, shop, methods[:2], notice_key="notice.account_gone"),
        "choose-unknown-notice": ChoosePage(form, shop, methods[:1], notice_key=said("bankid.NEW")),
        "choose-nobody": ChoosePage(form, None, ()),
        "choose-identify": ChoosePage(form, shop, methods[:2], identify=Identify("either")),
        "choose-identify-member": ChoosePage(form, shop, methods[:2], identify=Identify("either", takes_number=True)),
        "choose-identify-only": ChoosePage(form, shop, (), identify=Identify("email")),
        "choose-identify-complaint": ChoosePage(
            form, shop, methods[:2], identify=Identify("phone", said("0701"), "identify.bad_phone")
        ),
        "choose-at-once": ChoosePage(form, shop, methods, at_once=AskAtOnce("passkey", ASK_PASSKEY, "1")),
        "choose-remembered": ChoosePage(
            form,
            garage,
            (replace(methods[0], is_last_used=True, hint=said("m•••@example.com")), *methods[1:2]),
            more=methods[2:],
            ill=(Method("eid", said("An eID"), icon="eid"),),
            is_remembered=True,
        ),
        "choose-none-left": ChoosePage(
            form, garage, (), ill=methods[:2], retry=(Way("try-again", "/j/q4Jm0T", Action.RETRY), 30)
        ),
    }


def _arriving(said: Callable[[str], str], form: Form, shop: Party, garage: Party) -> dict[str, Page]:
    customer = said(mask_name("Maja Lind"))
    return {
        "welcome": WelcomePage(form, shop, garage, said("Tyres for fitting"), customer),
        "welcome-plain": WelcomePage(form, shop, garage, may_continue_as_guest=False),
        "arrive": ArrivePage(form, said("challenge"), shop, garage, customer),
        "arrive-plain": ArrivePage(form, said("challenge"), shop, garage),
        "wrong-customer": WrongCustomerPage(form, shop, garage, customer),
        "wrong-customer-plain": WrongCustomerPage(form, shop, garage, may_continue_as_guest=False),
    }


def _codes(said: Callable[[str], str], form: Form, shop: Party) -> dict[str, Page]:
    def code(kind: str, key: str, *actions: str, is_well: bool = False, again_in_s: int | None = 0) -> CodePage:
        to = said("maja@example.com" if kind == "email" else "070-174 06 05")
        poll_url, has_link = "/j/q4Jm0T/poll", kind == "email"
        return CodePage(form, shop, kind, to, key, is_well, has_link, poll_url, (*actions, "cancel"), again_in_s)

    way = Way("go-on", "/j/q4Jm0T", Action.CONTINUE)
    return {
        "code-email": code("email", "code.sent", "code", "again", is_well=True, again_in_s=28),
        "code-phone": code("phone", "code.sent_again", "code", "again", is_well=True),
        "code-member": replace(
            code("email", "code.member.sent", "code", "again", is_well=True), to="", addressee="member"
        ),
        "code-wrong": code("email", "code.wrong", "code", "again"),
        "code-void": code("phone", "code.void", "again"),
        "code-undeliverable": code("email", "code.undeliverable", again_in_s=None),
        "link-open": LinkPage(LinkStatus.OPEN, "/j/q4Jm0T", form, said("secret"), shop),
        "link-elsewhere": LinkPage(LinkStatus.ELSEWHERE, "/m", ways=(way,)),
        "link-over": LinkPage(LinkStatus.OVER, "/j/q4Jm0T", ways=(way,)),
        "link-disown": LinkPage(LinkStatus.DISOWN, "/m", Form("/m/q4Jm0T/no", said("secret"))),
        "link-disowned": LinkPage(LinkStatus.DISOWNED, "/m", ways=(way,)),
    }


def _wait(said: Callable[[str], str], form: Form, shop: Party, phase: Phase) -> Page:
    keys = {
        Phase.CHOOSE_DEVICE: ("bankid.RFA20", ("same", "other", "cancel")),
        Phase.QR: ("bankid.RFA1", ("cancel",)),
        Phase.LAUNCH: ("bankid.RFA13", ("cancel",)),
        Phase.WORKING: ("bankid.RFA9", ("cancel",)),
        Phase.FAILED: ("bankid.RFA17B", ("retry", "cancel")),
    }
    message_key, actions = keys[phase]
    return WaitPage(
        form,
        shop,
        said("BankID"),
        phase,
        message_key,
        poll_url="/j/q4Jm0T/poll",
        qr_src="/j/q4Jm0T/qr?n=1" if phase is Phase.QR else None,
        launch_url="bankid:///?autostarttoken=t&redirect=null" if phase is Phase.LAUNCH else None,
        actions=actions,
    )


def _consent(said: Callable[[str], str], form: Form, shop: Party, garage: Party) -> dict[str, Page]:
    tyres = Table(
        (said("Description"), said("Dimension"), said("Number"), said("Delivered to")),
        (
            (said("Nokian Hakkapeliitta R5 winter tyre"), said("205/55 R16 94R"), 4, said("The garage")),
            (said("Steel rim"), said("6.5x16"), 4, None),
        ),
    )
    extras = Table((*tyres.columns, said("Season")), tuple((*row, said("Winter")) for row in tyres.rows))
    needed = (
        ConsentField("items", said("Tyres"), tyres, is_required=True),
        ConsentField("vehicle.registration_number", said("Registration number"), said("ABC 12D"), is_required=True),
        ConsentField("customer.name", said("Name"), said("Maja Lind"), is_required=True),
        ConsentField("order.placed_at", said("Ordered"), NOW, is_required=True),
        ConsentField("order.paid", said("Paid"), True, is_required=True),
    )
    chosen = (
        ConsentField("customer.phone", said("Phone"), said("+46 70 123 45 67"), is_required=False),
        ConsentField("booking.note", said("Note"), said("Preferably in the morning"), is_required=False),
        ConsentField("booking.wanted_from", said("From"), NOW.date(), is_required=False, is_ticked=True),
        ConsentField("vehicle.make", said("Make"), None, is_required=False),
        ConsentField("extras", said("Extras"), extras, is_required=False),
    )
    until = NOW.replace(year=2027)
    purpose = said("Fit the tyres you bought")
    profile = (ConsentField("email", said("E-mail"), said("maja@example.com"), is_required=True),)
    return {
        "consent": ConsentPage(
            form,
            said("d1"),
            garage,
            needed + chosen,
            shop,
            purpose,
            remembered_until=until,
            customer=said("Maja Lind"),
        ),
        "consent-required": ConsentPage(
            form, said("d1"), garage, needed, shop, purpose, may_be_remembered=False, may_continue_as_guest=False
        ),
        "consent-login": ConsentPage(
            form,
            said("d1"),
            garage,
            profile,
            until=until,
            may_continue_as_guest=False,
            missing=(said("Mobile number"), said("Date of birth")),
        ),
    }


def _shared(said: Callable[[str], str], shop: Party, garage: Party) -> dict[str, Page]:
    labels = tuple(said(label) for label in ("Tyres", "Registration number", "Name", "E-mail"))
    purpose = said("Fit the tyres you bought")
    consents = (
        LiveConsent("c1", garage, purpose, labels, NOW, NOW.replace(year=2027), shop, is_remembered=True),
        LiveConsent("c2", shop, said("Recognise you"), labels[2:], NOW),
    )
    history = tuple(Transfer(garage, purpose, state, NOW, shop) for state in TransferState)
    withdraw, log_out = Form("/shared/withdraw", said("t")), Form("/shared/log-out", said("t"))
    customer = said("Maja Lind")
    return {
        "shared": SharedPage(
            customer, withdraw, log_out, consents, (*history, Transfer(shop, purpose, TransferState.AGREED, NOW))
        ),
        "shared-withdrawn": SharedPage(customer, withdraw, log_out, consents[1:], withdrawn_from=said("Garage Björk")),
        "shared-empty": SharedPage(customer, withdraw, log_out),
        "shared-logins": SharedPage(
            customer,
            withdraw,
            log_out,
            logins=(
                OwnLogin("n1", said("Firefox"), said("Linux"), said("BankID"), NOW, NOW, (said("Garage Björk"),), True),
                OwnLogin("n2", said("Safari"), "", said("Google"), NOW, NOW, (said("A"), said("B"))),
                OwnLogin("n3", "", "", said("Google"), NOW, NOW),
            ),
            sign_out=Form("/shared/sign-out", said("t")),
            signed_out=True,
        ),
        "shared-login": SharedLoginPage("/shared/log-in"),
    }


def _passkeys(said: Callable[[str], str], form: Form, shop: Party) -> dict[str, Page]:
    phone = OwnPasskey("p1", said("My phone"), NOW, NOW, is_synced=True, is_stale=False, is_here=True)
    key = OwnPasskey("p2", "", NOW, NOW, is_synced=False, is_stale=True, is_here=False)
    add, back, rename = Form("/shared/passkeys/add", said("t")), "/shared", Form("/shared/passkeys/rename", said("t"))
    shared = SharedPage(said("Maja Lind"), Form("/shared/withdraw", said("t")), Form("/shared/log-out", said("t")))
    ways = PasskeyList((phone, key), "/shared/passkeys/add", "/shared/passkeys/remove?passkey=", rename)
    return {
        "passkey": PasskeyPage(form, shop, ASK_PASSKEY, "passkey.ask"),
        "passkey-late": PasskeyPage(form, None, ASK_PASSKEY, "passkey.late"),
        "passkey-add": AddPasskeyPage(add, back, ASK_PASSKEY, said("ticket")),
        "passkey-remove": RemovePasskeyPage(Form("/shared/passkeys/remove", said("t")), back, phone),
        "passkey-remove-stale": RemovePasskeyPage(
            Form("/shared/passkeys/remove", said("t")), back, phone, "/shared/passkeys/renew?passkey=p1"
        ),
        **{f"passkey-{why}": AddPasskeyPage(add, back, unfit=why, renew_url="/shared/passkeys/renew") for why in Unfit},
        "passkey-nowhere": AddPasskeyPage(add, back, unfit=Unfit.MAY_NOT),
        "shared-passkeys": replace(shared, passkeys=ways),
        "shared-passkeys-full": replace(shared, passkeys=replace(ways, may_add=False, said="added")),
        "shared-passkeys-none": replace(shared, passkeys=replace(ways, passkeys=())),
        "shared-passkeys-hint": replace(shared, passkeys=replace(ways, passkeys=(), hint=add)),
    }


def _joining(said: Callable[[str], str], form: Form, shop: Party) -> dict[str, Page]:
    customer, contact = said(mask_name("Maja Lind")), said("m•••@example.com")
    mail, google = said("E-mail"), said("Google")
    method = Method("google", google, icon="google")
    offer = JoinPage(form, JoinKind.OFFER, mail, customer, google, contact, shop, others=(said("Facebook"), google))
    return {
        "join-offer": offer,
        "join-offer-adding": JoinPage(form, JoinKind.OFFER, mail, None, google, may_part=False),
        "join-renew": replace(offer, kind=JoinKind.RENEW, methods=(method,)),
        "join-seen": JoinPage(form, JoinKind.SEEN, mail, contact=contact, partner=shop, methods=(method,)),
        "join-another": replace(offer, kind=JoinKind.ANOTHER, others=()),
        "join-number": JoinPage(form, JoinKind.NUMBER, mail, contact=contact, partner=shop),
        "join-refused": replace(offer, kind=JoinKind.REFUSED, reason_key=said("join.refused.no_bootstrap")),
    }


def _ways_in(said: Callable[[str], str]) -> dict[str, Page]:
    google = ShownWay("w1", said("Google"), "google", NOW, NOW, (said("m•••@example.com"),), True, True)
    phone = ShownWay("w2", said("Code by SMS"), said("sms"), NOW, NOW, (said("+46 ••• 67"),), may_remove=True)
    removed = ShownWay("w3", said("E-mail"), "email", NOW, NOW, removed=NOW)
    restore, form = Form("/shared/ways/restore", said("t")), Form("/shared/ways/remove", said("t"))
    withdraw, log_out = Form("/shared/withdraw", said("t")), Form("/shared/log-out", said("t"))

    def shared(ways_in: WaysIn) -> SharedPage:
        return SharedPage(said("Maja Lind"), withdraw, log_out, ways_in=ways_in)

    remove_url = "/shared/ways/remove?way="
    lone = ShownWay("w4", said("BankID"), "bankid", NOW, NOW, is_here=True)
    return {
        "shared-ways": shared(
            WaysIn((google, phone), remove_url, restore, (removed,), "/shared/ways/add", said="removed")
        ),
        "shared-ways-refused": shared(
            WaysIn((lone,), remove_url, restore, refusal_key="ways.refusal.no_bootstrap", method=said("BankID"))
        ),
        "shared-numbers": shared(
            WaysIn(
                (google,),
                remove_url,
                restore,
                said="unlinked",
                numbers=(ShownNumber("tyre-shop", said("Nordic Tyres"), said("•••42")),),
                unlink=Form("/shared/ways/number", said("t")),
            )
        ),
        "shared-ways-off": shared(WaysIn((lone,), remove_url, restore, refusal_key="ways.refusal.off")),
        "remove-way": RemoveWayPage(form, "/shared", phone, 30),
        "remove-way-here": RemoveWayPage(form, "/shared", google, 30),
        "remove-way-stale": RemoveWayPage(form, "/shared", phone, 30, "/shared/ways/renew?way=w2"),
    }


def _desk(said: Callable[[str], str]) -> dict[str, Page]:
    form, case = Form("/staff", said("t")), Form("/staff/cases/c1", said("t"))
    ways = (Method("bankid", said("BankID")), Method("email", said("E-mail")))
    standings = ("waiting", "confirmed", "declined", "not_confirmed", "unavailable", "cancelled")
    cases = tuple(DeskCase(f"c{n}", said(f"T-{n}"), said("BankID"), each, NOW) for n, each in enumerate(standings))
    page = DeskPage(
        form,
        "/logout/confirm",
        said("Karin Ek"),
        ways,
        cases,
        "/staff/cases/",
        method="bankid",
        languages=("sv", "fi", "pl", "en"),
    )
    waits = DeskCasePage(case, cases[0], "bankid.RFA1", False, "/staff/cases/c0/poll", "/staff")
    return {
        "desk": page,
        "desk-problem": replace(
            page, problem_key="desk.problem.identifier", method="email", identifier=said("1957"), reference=said("T-9")
        ),
        "desk-closed": DeskPage(form, "/logout/confirm", "", (), (), "/staff/cases/"),
        "desk-case": waits,
        "desk-case-code": replace(waits, takes_code=True, message_key="call.asked"),
        **{
            f"desk-case-{each.standing}": DeskCasePage(
                case,
                replace(each, reference="", is_customer=each.standing == "confirmed" or None),
                f"call.{each.standing if each.standing in {'confirmed', 'cancelled', 'unavailable'} else 'refused'}",
                True,
                "/staff/cases/c1/poll",
                "/staff",
            )
            for each in cases[1:]
        },
    }


def _problems(said: Callable[[str], str], shop: Party, back: Way) -> dict[str, Page]:
    retry = Way("retry", "/j/q4Jm0T", Action.RETRY)
    others = tuple(Way(f"way-{action.replace('_', '-')}", "/", action, said("Garage Björk")) for action in Action)
    pages: dict[str, Page] = {f"problem-{each}": ProblemPage(each, (retry, back), shop) for each in Problem}
    return pages | {
        "problem-all-ways": ProblemPage(Problem.NO_PARTNER, others),
        "problem-wait": ProblemPage(Problem.TOO_MANY, (retry,), retry_after_s=30),
        "problem-bankid": ProblemPage(Problem.UPSTREAM_REFUSED, (retry,), message_key="bankid.RFA16"),
        "problem-unknown-message": ProblemPage(Problem.UPSTREAM_REFUSED, (retry,), message_key=said("new.key")),
    }
