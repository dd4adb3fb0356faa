"""Every page in every language: what it says, what it sends along, and what it never lets through."""

import re
from html.parser import HTMLParser
from importlib.resources import files
from typing import get_args
from urllib.parse import urlsplit

import pytest

from broker.core.policy import Icon
from broker.pages.render import LANGUAGES, Pages, href, src
from broker.pages.views import (
    Action,
    ChoosePage,
    ConsentField,
    ConsentPage,
    ContinuePage,
    Form,
    IndexPage,
    LoggedOutPage,
    Method,
    Page,
    Party,
    Phase,
    PostPage,
    Problem,
    ProblemPage,
    SharedLoginPage,
    WaitPage,
    Way,
    mask_name,
)
from tests.pages.samples import NOW, views

PAGES = Pages(broker_name="Stafett")
VIEWS = views(shop_logo="/logo/shop?v=1")
FORM = Form("/j/a", "token")

# docs/security.md C5, and what else markup, attributes, addresses and scripts could be broken out of with.
PAYLOADS = [
    "{{7*7}}",
    "{% for x in range(9) %}9{% endfor %}",
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    '"><svg onload=alert(1)>',
    "' onfocus=alert(1) autofocus='",
    "javascript:alert(1)",
    "&lt;b&gt;",
    "%(partner)s %s %d 100%",
    "\u202egnitirw desrever\u2066",
    "]]><!-- -->",
    "a" * 600,
    "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft",
]


class Document(HTMLParser):
    """What a page holds: tags with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.text += data

    def by_id(self, id: str) -> dict[str, str]:
        return next(attributes for _, attributes in self.tags if attributes.get("id") == id)

    @property
    def ids(self) -> list[str]:
        return [attributes["id"] for _, attributes in self.tags if "id" in attributes]


def shown(view: Page, language: str = "en") -> Document:
    response = PAGES.render(view, language=language, reference="7KQ-4TX")
    return Document(bytes(response.body).decode())


def header(view: Page, name: str, **options: object) -> str:
    return PAGES.render(view, language="en", reference="r", **options).headers[name]  # type: ignore[arg-type]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", VIEWS)
def test_every_page_is_whole_in_every_language(name: str, language: str) -> None:
    """A page has its language, one heading, a title, unique ids, and no key or place left unfilled."""
    page = shown(VIEWS[name], language)
    assert ("html", {"lang": language}) in page.tags
    assert [tag for tag, _ in page.tags].count("h1") == 1
    assert len(page.ids) == len(set(page.ids))
    assert not re.search(r"%\(\w+\)s|\b(choose|wait|consent|problem|shared|handoff|action)\.\w+", page.text)


@pytest.mark.parametrize("name", VIEWS)
def test_every_page_leads_on(name: str) -> None:
    """No dead end: besides the links every page has, there is a button or link in its middle."""
    page = shown(VIEWS[name])
    ways = [
        a
        for tag, a in page.tags
        if tag in {"a", "button"} and re.search(r"button|choice|method|link", a.get("class", ""))
    ]
    assert ways


@pytest.mark.parametrize("name", VIEWS)
def test_headers_of_every_page(name: str) -> None:
    """Not framed, not stored, not sniffed, no referrer beyond us, and a policy that starts from nothing."""
    headers = PAGES.render(VIEWS[name], language="fi", reference="r").headers
    policy = dict(rule.split(" ", 1) for rule in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert policy["style-src"] == policy["img-src"] == "'self'"
    assert policy["form-action"] == ("'self' https://garage.example https:" if name == "post" else "'self'")
    assert policy.get("script-src", "'self'") == policy.get("connect-src", "'self'") == "'self'"
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-frame-options"] == "DENY"
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["referrer-policy"] in {"no-referrer", "same-origin"}
    assert "camera=()" in headers["permissions-policy"]
    assert headers["content-language"] == "fi"


@pytest.mark.parametrize("name", VIEWS)
def test_nothing_inline_and_nothing_from_elsewhere(name: str) -> None:
    """No inline script, style or handler; every loaded thing is our own path; forms post to us with a token, or the answer."""
    page = shown(VIEWS[name])
    for tag, attributes in page.tags:
        assert tag not in {"style", "object", "embed", "base"}
        if tag == "iframe":
            # Only partners' own addresses after a logout, out of sight and held down; the page's policy names them.
            assert name == "logged-out-partly"
            assert attributes["sandbox"] == "allow-scripts allow-same-origin"
            assert "hidden" in attributes
        assert not any(each == "style" or each.startswith("on") for each in attributes), tag
        if tag == "script":
            assert set(attributes) == {"src", "defer"}
        if tag in {"script", "img"} and "src" in attributes:
            assert re.match(r"/[^/]", attributes["src"])
        if tag == "link":
            assert attributes["href"].startswith("/static/")
        if tag == "form":
            assert attributes["method"] == "post"
            assert re.match(r"/[^/]" if name != "post" else "https://garage.example/cb$", attributes["action"])
    if name == "post":
        return
    forms = sum(tag == "form" for tag, _ in page.tags)
    assert forms == sum(attributes.get("name") == "csrf" for _, attributes in page.tags)


@pytest.mark.parametrize("name", VIEWS)
def test_texts_from_outside_stay_texts(name: str) -> None:
    """Whatever a partner, an operator or a customer is called adds no element, no attribute and no template code."""
    plain = shown(WORDS[name])
    for payload in PAYLOADS:
        attacked = shown(ATTACKS[payload][name])
        assert skeleton(attacked) == skeleton(plain), payload
        assert (payload in attacked.text) == ("word" in plain.text), payload


def skeleton(page: Document) -> list[tuple[str, list[str]]]:
    return [(tag, sorted(attributes)) for tag, attributes in page.tags]


WORDS = views(lambda text: "word", shop_logo="/logo/shop?v=1")
ATTACKS = {payload: views(lambda text, said=payload: said, shop_logo="/logo/shop?v=1") for payload in PAYLOADS}


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "JavaScript:alert(1)",
        " javascript:alert(1)",
        "java\nscript:alert(1)",
        "data:text/html,<script>",
        "vbscript:x",
        "blob:https://a.example/x",
        "file:///etc/passwd",
        "//evil.example/",
        "/\\evil.example/",
        "\\\\evil.example",
        "relative/path",
        "",
    ],
)
def test_addresses_that_no_page_links_to(url: str) -> None:
    """A link leads to our own paths, to the web, or into the app that logs customers in; anything else is a mistake."""
    with pytest.raises(ValueError, match="address"):
        href(url)
    with pytest.raises(ValueError, match="address"):
        PAGES.render(ProblemPage(Problem.EXPIRED, (Way("w", url, Action.RETRY),)), language="en", reference="r")
    with pytest.raises(ValueError, match="address"):
        PAGES.render(SharedLoginPage(url), language="en", reference="r")
    with pytest.raises(ValueError, match="address"):
        PAGES.poll_over(url)


@pytest.mark.parametrize(
    "url", ["https://cdn.example/logo.png", "//cdn.example/logo.png", "data:image/png;base64,AA", "logo.png"]
)
def test_pictures_come_from_ourselves(url: str) -> None:
    """A logo elsewhere would tell a third party who visits: it is refused before the page is sent."""
    with pytest.raises(ValueError, match="own"):
        src(url)
    with pytest.raises(ValueError, match="own"):
        PAGES.render(ChoosePage(FORM, Party("Shop", url), ()), language="en", reference="r")


@pytest.mark.parametrize(
    "origin",
    [
        "*",
        "https:",
        "https://*.example",
        "https://a.example/",
        "https://a.example; script-src *",
        "https://a.example 'unsafe-inline'",
        "'none'",
        "",
    ],
)
def test_only_origins_extend_form_action(origin: str) -> None:
    """A policy is widened by exact origins only; nothing else can be smuggled into the header."""
    with pytest.raises(ValueError, match="origin"):
        PAGES.render(VIEWS["consent"], language="en", reference="r", form_action_origins=[origin])


def test_a_partners_host_may_have_an_underscore() -> None:
    """No host name of the standards, but one that browsers and our config take: its customers read how the logout went."""
    view = LoggedOutPage(frames=("https://my_cafe.example/leave",))
    assert "frame-src https://my_cafe.example;" in header(view, "content-security-policy")


def test_form_action_names_the_next_hops() -> None:
    """The origins of this journey's next hops are added for this response, each once (docs/security.md C5)."""
    origins = ["http://127.0.0.1:8702", "https://garage.example", "http://127.0.0.1:8702", "http://[::1]:8701"]
    policy = header(VIEWS["consent"], "content-security-policy", form_action_origins=origins)
    assert policy.endswith("form-action 'self' http://127.0.0.1:8702 https://garage.example http://[::1]:8701")


def test_scripts_only_where_the_page_has_one() -> None:
    """
    Only the waiting pages, open calls and one that offers passkeys may ask the server by script, and only they, the other
    pages of passkeys, the consent page, an answer by form and links out of mails, which leave the address bar, run any.
    """
    with_script = {name for name in VIEWS if "script-src" in header(VIEWS[name], "content-security-policy")}
    asking = {name for name in VIEWS if "connect-src" in header(VIEWS[name], "content-security-policy")}
    codes, links = ({name for name in VIEWS if name.startswith(kind)} for kind in ("code-", "link-"))
    assert asking == {f"wait-{phase}" for phase in Phase} | codes | {"choose-at-once", "desk-case", "desk-case-code"}
    assert with_script == asking | links | {
        "consent", "consent-required", "consent-login", "post", "passkey", "passkey-late", "passkey-add",
    }  # fmt: skip


def test_passkeys_only_where_the_page_has_to_do_with_them() -> None:
    """A page may ask for one, or make one, or nothing (Permissions Policy)."""
    allowed = {name: header(view, "permissions-policy") for name, view in VIEWS.items()}
    assert {name for name, said in allowed.items() if "publickey-credentials-get=(self)" in said} == {
        "choose-at-once", "passkey", "passkey-late",
    }  # fmt: skip
    assert {name for name, said in allowed.items() if "publickey-credentials-create=(self)" in said} == {"passkey-add"}


def test_referrer_of_forms() -> None:
    """A form page tells us its origin, so that its POST shows where it came from; not when its address is secret."""
    assert header(VIEWS["consent"], "referrer-policy") == "same-origin"
    assert header(VIEWS["welcome"], "referrer-policy", url_is_secret=True) == "no-referrer"
    assert header(VIEWS["problem-expired"], "referrer-policy") == "no-referrer"


@pytest.mark.parametrize("problem", Problem)
def test_problem_status(problem: Problem) -> None:
    """Every problem has a status that monitors and partners understand; only a choice of the customer is a 200."""
    status = PAGES.render(VIEWS[f"problem-{problem}"], language="pl", reference="r").status_code
    assert (status == 200) == (problem is Problem.STOPPED)
    assert status == 200 or 400 <= status <= 503


def test_retry_after_is_sent_and_told() -> None:
    """Machines read Retry-After, people the same in words."""
    assert header(VIEWS["problem-wait"], "retry-after") == "30"
    assert "in 30 seconds" in shown(VIEWS["problem-wait"]).text
    assert "om 30 sekunder" in shown(VIEWS["problem-wait"], "sv").text


def test_a_problem_without_a_way_on_cannot_be_made() -> None:
    """A dead end is a mistake in our code, found when the page is made."""
    with pytest.raises(ValueError, match="way on"):
        ProblemPage(Problem.OUR_FAULT, ())


def test_reference_is_shown_where_something_went_wrong() -> None:
    """The customer can name the code that the log line carries."""
    for name in ("problem-our_fault", "handoff-already", "wrong-customer"):
        assert "7KQ-4TX" in shown(VIEWS[name]).text
    assert "7KQ-4TX" not in shown(VIEWS["choose-continue"]).text


def test_a_special_message_replaces_the_general_one() -> None:
    """A provider's message is shown where we have words for it; an unknown key falls back and is never shown itself."""
    assert "blocked or too old" in shown(VIEWS["problem-bankid"]).text
    assert "was not confirmed" in shown(VIEWS["problem-unknown-message"]).text
    assert "new.key" not in shown(VIEWS["problem-unknown-message"]).text
    assert PAGES.message("bankid.NEW", language="sv") == "Arbetar …"


def test_unknown_language_becomes_the_default() -> None:
    """A language the broker does not have is no error."""
    for language in ("de", "", "../../etc", "SV"):
        assert PAGES.render(IndexPage(), language=language, reference="r").headers["content-language"] == "en"


def test_fewer_languages_can_be_offered() -> None:
    """The operator chooses the languages; with one there is nothing to switch."""
    pages = Pages(broker_name="B", languages=("fi",), default_language="fi")
    response = pages.render(IndexPage(), language="sv", reference="r")
    assert response.headers["content-language"] == "fi"
    assert 'id="language-' not in bytes(response.body).decode()


def test_language_links_lead_to_the_same_page() -> None:
    """Each language is a plain link to the same address, which keeps what the address needs."""
    page = shown(VIEWS["choose-continue"], "sv")
    assert page.by_id("language-fi")["href"] == "?lang=fi"
    assert "aria-current" in page.by_id("language-sv")
    assert "aria-current" not in page.by_id("language-fi")
    html = bytes(PAGES.render(IndexPage(), language="en", reference="r", here="/a?b=1").body).decode()
    assert Document(html).by_id("language-pl")["href"] == "/a?b=1&lang=pl"
    html = bytes(PAGES.render(IndexPage(), language="en", reference="r", here=None).body).decode()
    assert "language-pl" not in Document(html).ids


def test_language_goes_along_to_what_i_share() -> None:
    """The link at the foot keeps the language, since no cookie does."""
    assert shown(VIEWS["choose-continue"], "pl").by_id("what-i-share")["href"] == "/shared?lang=pl"


def test_choices_can_be_driven_by_id() -> None:
    """One button per method with a stable id, in one form, and the way out."""
    page = shown(VIEWS["choose-continue"])
    assert page.by_id("method-bankid")["value"] == "bankid"
    assert page.by_id("method-email-link")["name"] == "method"
    assert page.by_id("cancel")["value"] == "cancel"


def test_nothing_is_ticked_for_the_customer() -> None:
    """Optional fields start unticked (GDPR article 4(11)), and "do not ask again" is never ticked beforehand."""
    page = shown(VIEWS["consent"])
    ticked = [attributes["value"] for _, attributes in page.tags if "checked" in attributes]
    assert ticked == ["booking.wanted_from"], "only what this customer ticked before"
    assert "checked" not in page.by_id("remember")
    assert not ConsentField("a", "A", "x", is_required=False).is_ticked


def test_required_fields_have_no_box() -> None:
    """What is needed is told, not asked, with its value."""
    page = shown(VIEWS["consent"])
    boxes = {attributes["value"] for _, attributes in page.tags if attributes.get("type") == "checkbox"}
    assert boxes == {"customer.phone", "booking.note", "booking.wanted_from", "vehicle.make", "extras", "yes"}
    for value in ("ABC 12D", "Maja Lind", "Nokian Hakkapeliitta R5 winter tyre", "205/55 R16 94R", "Yes"):
        assert value in page.text


def test_sharing_and_not_sharing_weigh_the_same() -> None:
    """Refusing costs no more than agreeing (GDPR article 7(4)): buttons of the same look, side by side."""
    page = shown(VIEWS["consent"])
    share, guest = page.by_id("share"), page.by_id("continue-guest")
    assert share["class"] == guest["class"]
    assert set(share) == set(guest)


def test_no_guest_button_where_there_is_no_guest_page() -> None:
    """A choice that leads nowhere is not offered."""
    for name in ("consent-login", "consent-required", "welcome-plain", "wrong-customer-plain"):
        assert "continue-guest" not in shown(VIEWS[name]).ids


def test_consent_carries_token_and_digest() -> None:
    """The answer is bound to this browser (token) and to exactly what was shown (digest)."""
    page = shown(VIEWS["consent"])
    hidden = {
        attributes["name"]: attributes["value"] for _, attributes in page.tags if attributes.get("type") == "hidden"
    }
    assert hidden == {"csrf": "csrf-token", "digest": "d1"}


@pytest.mark.parametrize(
    ("language", "day", "moment"),
    [
        ("sv", "21 november 2027", "21 november 2026, 09:30"),
        ("fi", "21. marraskuuta 2027", "21. marraskuuta 2026, 9.30"),
        ("pl", "21 listopada 2027", "21 listopada 2026, 09:30"),
        ("en", "21 November 2027", "21 November 2026, 09:30"),
    ],
)
def test_dates_as_people_say_them(language: str, day: str, moment: str) -> None:
    """Dates and times follow the customer's language."""
    text = shown(VIEWS["consent"], language).text
    assert day in text
    assert moment in text


def test_times_are_told_in_the_brokers_zone() -> None:
    """A moment is told by the operator's clock, also across midnight."""
    from datetime import timedelta, timezone

    pages = Pages(broker_name="B", zone=timezone(timedelta(hours=2)))
    fields = (ConsentField("a", "A", NOW.replace(hour=23), is_required=True),)
    view = ConsentPage(FORM, "d", Party("Garage"), fields)
    assert "22 November 2026, 01:30" in bytes(pages.render(view, language="en", reference="r").body).decode()


def test_one_press_withdraws() -> None:
    """Each consent has its own button, naming it."""
    page = shown(VIEWS["shared"])
    assert page.by_id("withdraw-c1")["value"] == "c1"
    assert page.by_id("withdraw-c2")["name"] == "consent"


def test_waiting_without_scripts() -> None:
    """The page refreshes itself while something may change, and stands still where the customer is to act."""
    for phase in Phase:
        html = bytes(PAGES.render(VIEWS[f"wait-{phase}"], language="en", reference="r").body).decode()
        refreshes = '<noscript><meta http-equiv="refresh"' in html
        assert refreshes == (phase in {Phase.QR, Phase.LAUNCH, Phase.WORKING})


def test_waiting_shows_one_phase() -> None:
    """All phases are in the page; exactly the present one and its actions are not hidden."""
    page = shown(VIEWS["wait-qr"])
    parts = {a["data-for"] for _, a in page.tags if "data-for" in a and "hidden" not in a}
    assert parts == {"qr"}
    assert "hidden" in page.by_id("retry")
    assert "hidden" not in page.by_id("cancel")
    assert page.by_id("qr")["src"] == "/j/q4Jm0T/qr?n=1"
    assert "href" not in page.by_id("launch")


def test_launch_gives_away_nothing_but_our_origin() -> None:
    """The link into the app opens by the customer's hand and sends our origin as referrer, no path."""
    launch = shown(VIEWS["wait-launch"]).by_id("launch")
    assert urlsplit(launch["href"]).scheme == "bankid"
    assert launch["referrerpolicy"] == "origin"


def test_poll_answer_says_what_the_page_says() -> None:
    """The script gets the page's own facts and words, and nothing more: above all not what the code says."""
    import json

    view = VIEWS["wait-qr"]
    assert isinstance(view, WaitPage)
    response = PAGES.poll_answer(view, language="fi")
    assert json.loads(bytes(response.body)) == {
        "phase": "qr",
        "message": "Avaa BankID-sovellus.",
        "qr_src": "/j/q4Jm0T/qr?n=1",
        "launch_url": None,
        "actions": ["cancel"],
        "next": None,
    }
    assert response.headers["cache-control"] == "no-store"
    assert json.loads(bytes(PAGES.poll_over("/j/q4Jm0T").body)) == {"next": "/j/q4Jm0T"}


def test_continue_page_goes_on_by_itself() -> None:
    """The address stands in the refresh and in the link, whole, its ampersands included."""
    page = shown(ContinuePage("https://garage.example/start?iss=a&login_hint=b"))
    refresh = next(attributes for _, attributes in page.tags if attributes.get("http-equiv") == "refresh")
    assert refresh["content"] == "0;url=https://garage.example/start?iss=a&login_hint=b"
    assert page.by_id("continue")["href"] == "https://garage.example/start?iss=a&login_hint=b"


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    "view",
    [
        ContinuePage("https://garage.example/start?iss=a&login_hint=%22b"),
        ContinuePage("/j/q4Jm0T"),
        PostPage("https://sp.example/acs?a=1&b=2", {"SAMLResponse": "PHNhbWw+", "RelayState": "\"><b>'&amp;\n"}),
        PostPage("https://sp.example/acs", {"code": "c", "name.invalid": "value.invalid", "https://url.invalid/": "x"}),
        PostPage("https://sp.example/acs", {}),
    ],
)
def test_a_page_made_beforehand_is_the_templates_own(view: ContinuePage | PostPage, language: str) -> None:
    """Filled or rendered, it is the same page, whatever is put into it."""
    plain = Pages(broker_name="Stafett", languages=(language,))  # without links to other languages both ways are open
    made, drawn = (plain.render(view, language=language, reference="r", here=here) for here in (None, ""))
    assert made.body == drawn.body
    assert made.raw_headers == drawn.raw_headers


@pytest.mark.parametrize("view", [ContinuePage("javascript:alert(1)"), PostPage("data:text/html,x", {})])
def test_a_page_made_beforehand_links_nowhere_else(view: ContinuePage | PostPage) -> None:
    """An address that a page may not link to is refused, as a template does."""
    for here in (None, ""):
        with pytest.raises(ValueError, match="may link to"):
            PAGES.render(view, language="en", reference="r", here=here)


@pytest.mark.parametrize(
    ("name", "masked"),
    [
        ("Maja Lind", "M•••\u00a0L•••"),
        ("Maja", "M•••"),
        ("Anna Maria af Ek", "A•••\u00a0E•••"),
        ("  ", ""),
        ("", ""),
        ("Åke", "Å•••"),
    ],
)
def test_masked_names(name: str, masked: str) -> None:
    """A stranger learns two letters, not even how long the name is."""
    assert mask_name(name) == masked


def test_every_icon_of_the_config_is_drawn() -> None:
    """And what is drawn for a way to log in may be named there; the rest is for the pages themselves."""
    template = (files("broker.pages") / "templates" / "icons.html").read_text("utf-8")
    drawn = set(re.findall(r'name == "([a-z]+)"', template)) - {"info", "here", "chevron", "check"}
    assert drawn | {"generic"} == set(get_args(Icon))


def test_a_method_without_icon_or_hint() -> None:
    """An icon name nobody drew gets the generic one; the page does not fail over decoration."""
    page = shown(ChoosePage(FORM, None, (Method("x", "X", icon="../../secret"),)))
    assert "method-x" in page.ids
    assert "secret" not in page.text
