"""Cross-checks: what no single key can say about itself, each rule with its refusal."""

import re

import pytest

from broker.core.assurance import Assurance
from broker.upstream.registry import KINDS

from .conftest import WAYS_IN, Bench, Edit, Refused

OFFERED = WAYS_IN.partition("[")[2].removesuffix("]")

SECOND_AGREEMENT = """\
  - from: garage
    to: tyre-shop
    purpose: tyre-fitting
    purpose_texts: {en: to send you to the shop}
    types: [tyre-fitting/v1]
    claims: {required: [items]}
"""
GARAGE_OIDC = "    oidc:\n      client_id: verkstan-web"
GARAGE_LOGIN = "      initiate_login_uri: http://127.0.0.1:8702/login/start\n"
NO_NAME_IN_ENGLISH = (
    "      sv: Verkstan i Hammarby\n      en: Verkstan i Hammarby\n",
    "      sv: Verkstan i Hammarby\n",
)


@pytest.mark.parametrize(
    ("edits", "at", "key", "advice"),
    [
        pytest.param(
            [("    icon: google\n", "    icon: gogle\n")],
            "icon: gogle",
            "upstreams.google.icon",
            "must be one of apple, bankid, eid, email, europe, generic, google, meta, passkey, phone, sms;"
            " did you mean 'google'?",
            id="icon-misspelt",
        ),
        pytest.param(
            [("  data_dir: data\n", "  data_dir: data\n  keys: {folder: keys, rotate_every: 30m}\n")],
            "keys: {folder",
            "broker.keys.rotate_every",
            "is too often: a key needs 2400s from being published until it may go",
            id="keys-renewed-too-often",
        ),
        pytest.param(
            [
                (
                    "  data_dir: data\n",
                    '  data_dir: data\n  keys: {next: [{key: file:secrets/garage, signs_from: "2027-01-31"}]}\n',
                )
            ],
            "keys: {next",
            "broker.keys.next[0].signs_from",
            "a point in time is a date, a time and an offset, such as 2027-01-31T04:00:00Z",
            id="key-from-a-day-on",
        ),
        pytest.param(
            [("  data_dir: data\n", "  data_dir: data\n  keys: {jwks_max_age: 2d}\n")],
            "keys: {jwks_max_age",
            "broker.keys.jwks_max_age",
            "must be at most 86400s",
            id="keys-cached-too-long",
        ),
        pytest.param(
            [("issuer: http://localhost:8700", "issuer: http://login.example:8700")],
            "mode: development",
            "mode",
            "development is only for an issuer on this machine (http://localhost:PORT); for a real host remove the"
            " line, and lift single refusals with accept_risks while staging",
            id="development-away-from-home",
        ),
        pytest.param(
            [("languages: [sv, fi, pl, en]", "languages: [sv, fi]")],
            "default_language: en",
            "broker.default_language",
            "must be one of broker.languages",
            id="default-language-not-offered",
        ),
        pytest.param(
            [("languages: [sv, fi, pl, en]", "languages: [sv, en, sv]")],
            "languages: [sv",
            "broker.languages",
            "names a language twice",
            id="language-twice",
        ),
        pytest.param(
            [NO_NAME_IN_ENGLISH],
            "    names:\n      sv: Verkstan",
            "partners.garage.names",
            "has no text in the default language; add en: ...",
            id="name-without-default-language",
        ),
        pytest.param(
            [("      en: BankID (Swedish)\n", "")],
            "    titles:",
            "upstreams.bankid.titles",
            "has no text in the default language; add en: ...",
            id="title-without-default-language",
        ),
        pytest.param(
            [("      en: With the app on this or another device\n", "")],
            "    hints:",
            "upstreams.bankid.hints",
            "has no text in the default language; add en: ...",
            id="hint-without-default-language",
        ),
        pytest.param(
            [("      en: Tyre fitting\n", "")],
            "    titles:\n      sv: Däckmontering",
            "payload_types.tyre-fitting/v1.titles",
            "has no text in the default language; add en: ...",
            id="type-without-default-language",
        ),
        pytest.param(
            [("      en: Booking the fitting of your tyres\n", "")],
            "    purpose_texts:",
            "agreements[0].purpose_texts",
            "has no text in the default language; add en: ...",
            id="purpose-without-default-language",
        ),
        pytest.param(
            [("    session: 24h", "    session: 4h")],
            "    session_idle: 8h",
            "broker.lifetimes.session_idle",
            "must not be longer than broker.lifetimes.session",
            id="idle-longer-than-session",
        ),
        pytest.param(
            [("client_id: verkstan-web", "client_id: nordhjul-web")],
            "client_id: nordhjul-web\n      auth: client_secret_basic\n      secret: file:secrets/garage",
            "partners.garage.oidc.client_id",
            "is already the client_id of partner tyre-shop; give each partner its own",
            id="client-id-twice",
        ),
        pytest.param(
            [("client_id: verkstan-web", "client_id: tyre-shop")],
            "client_id: tyre-shop",
            "partners.garage.oidc.client_id",
            "is the id of another partner; choose a client_id that cannot be mistaken for it",
            id="client-id-of-another-partner",
        ),
        pytest.param(
            [("    guest_uri: ", "    sector: tyre-shop\n    guest_uri: ")],
            "sector: tyre-shop",
            "partners.garage.sector",
            "is the id of another partner, who would see the same customer numbers as garage; choose another word",
            id="sector-of-another-partner",
        ),
        pytest.param(
            [("      secret: file:secrets/garage\n", "")],
            GARAGE_OIDC,
            "partners.garage.oidc.secret",
            "is missing, and auth: client_secret_basic needs it",
            id="no-secret",
        ),
        pytest.param(
            [("      auth: client_secret_basic\n      secret: file:secrets/garage\n", "      auth: private_key_jwt\n")],
            GARAGE_OIDC,
            "partners.garage.oidc.jwks_file",
            "is missing, and auth: private_key_jwt needs it",
            id="no-key-set",
        ),
        pytest.param(
            [
                (
                    "      secret: file:secrets/garage\n",
                    "      secret: file:secrets/garage\n      jwks_file: keys.json\n",
                )
            ],
            "jwks_file",
            "partners.garage.oidc.jwks_file",
            "is not used with auth: client_secret_basic; remove it",
            id="key-set-for-nothing",
        ),
        pytest.param(
            [("http://127.0.0.1:8702/callback", "http://garage.example/callback")],
            "http://garage.example/callback",
            "partners.garage.oidc.redirect_uris[0]",
            "http is only for this machine (127.0.0.1, localhost); use https://",
            id="http-redirect-to-elsewhere",
        ),
        pytest.param(
            [("http://127.0.0.1:8702/guest", "http://127.0.0.1.evil.example/guest")],
            "evil.example",
            "partners.garage.guest_uri",
            "http is only for this machine (127.0.0.1, localhost); use https://",
            id="host-that-only-looks-like-loopback",
        ),
        pytest.param(
            [("issuer: http://127.0.0.1:8703", "issuer: http://accounts.example")],
            "issuer: http://accounts.example",
            "upstreams.google.connect.issuer",
            "http is only for this machine (127.0.0.1, localhost); use https://",
            id="http-upstream-elsewhere",
        ),
        pytest.param(
            [("      # Passkeys belong to the issuer's host.", "      rp_id: evil.example\n      #")],
            "rp_id: evil",
            "upstreams.passkey.connect.rp_id",
            "must be localhost, the host of broker.issuer, or a parent domain of it; browsers refuse any other",
            id="passkeys-of-another-domain",
        ),
        pytest.param(
            [(WAYS_IN, "upstreams: [bank-id, google]")],
            "bank-id",
            "partners.tyre-shop.login.upstreams[0]",
            "there is no upstream 'bank-id'; did you mean 'bankid'?",
            id="login-by-unknown-upstream",
        ),
        pytest.param(
            [
                (WAYS_IN, "upstreams: [google]"),
                ("      minimum_assurance: self-asserted", "      minimum_assurance: low"),
            ],
            "minimum_assurance: low",
            "partners.tyre-shop.login.minimum_assurance",
            "low is impossible: none of google reaches it (at most contact); lower it or allow a stronger upstream",
            id="login-nobody-reaches",
        ),
        pytest.param(
            [("  - from: tyre-shop", "  - from: tire-shop")],
            "tire-shop",
            "agreements[0].from",
            "there is no partner 'tire-shop'; did you mean 'tyre-shop'?",
            id="agreement-from-nobody",
        ),
        pytest.param(
            [("    to: garage", "    to: garages")],
            "to: garages",
            "agreements[0].to",
            "there is no partner 'garages'; did you mean 'garage'?",
            id="agreement-to-nobody",
        ),
        pytest.param(
            [(GARAGE_LOGIN, "")],
            GARAGE_OIDC,
            "partners.garage.oidc.initiate_login_uri",
            "is missing; the broker starts the login of arriving customers there (OpenID Connect Core section 4)",
            id="recipient-without-login-start",
        ),
        pytest.param(
            [("    guest_uri: http://127.0.0.1:8702/guest\n", "")],
            "\n  garage:",
            "partners.garage.guest_uri",
            "is missing; customers who continue without sharing arrive there",
            id="recipient-without-guest-page",
        ),
        pytest.param(
            [
                (
                    "    return_uris:\n      - http://127.0.0.1:8701/booking-return\n"
                    "      - http://127.0.0.1:8701/storage-return\n",
                    "",
                )
            ],
            "  tyre-shop:",
            "partners.tyre-shop.return_uris",
            "is missing; customers sent from here need a way back when they cancel",
            id="source-without-way-back",
        ),
        pytest.param(
            [("    types: [tyre-fitting/v1]", "    types: [tyre-fitting/v2]")],
            "tyre-fitting/v2",
            "agreements[0].types[0]",
            "there is no payload type 'tyre-fitting/v2'; did you mean 'tyre-fitting/v1'?",
            id="unknown-type",
        ),
        pytest.param(
            [("    types: [tyre-fitting/v1]", "    types: [tyre-fitting/v1, tyre-fitting/v1]")],
            "[tyre-fitting/v1, ",
            "agreements[0].types[1]",
            "tyre-fitting/v1 is named twice",
            id="type-twice",
        ),
        pytest.param(
            [("        - customer.email", "        - customer.mail")],
            "- customer.mail",
            "agreements[0].claims.optional[0]",
            "tyre-fitting/v1 has no field 'customer.mail'; did you mean 'customer.email'?",
            id="unknown-field",
        ),
        pytest.param(
            [("        - vehicle.registration_number", "        - vehicle")],
            "        - vehicle",
            "agreements[0].claims.required[1]",
            "tyre-fitting/v1 has no field 'vehicle'; name its fields one by one: vehicle.registration_number,"
            " vehicle.make, vehicle.model, vehicle.tyre_size_front, vehicle.tyre_size_rear",
            id="object-for-field",
        ),
        pytest.param(
            [("        - items", "        - items.sku")],
            "- items.sku",
            "agreements[0].claims.required[3]",
            "tyre-fitting/v1 has no field 'items.sku'; did you mean 'items'?",
            id="field-inside-a-list",
        ),
        pytest.param(
            [("        - customer.email", "        - customer.name")],
            "        - customer.name\n        - customer.phone",
            "agreements[0].claims.optional[0]",
            "customer.name is named twice; keep one",
            id="field-required-and-optional",
        ),
        pytest.param(
            [("    minimum_assurance: contact", "    minimum_assurance: high")],
            "    minimum_assurance: high",
            "agreements[0].minimum_assurance",
            f"high is impossible: none of {OFFERED} reaches it (at most substantial);"
            " lower it or allow a stronger upstream",
            id="agreement-nobody-reaches",
        ),
        pytest.param(
            [("    minimum_assurance: contact", "    upstreams: [google]\n    minimum_assurance: low")],
            "    minimum_assurance: low",
            "agreements[0].minimum_assurance",
            "low is impossible: none of google reaches it (at most contact); lower it or allow a stronger upstream",
            id="agreement-its-own-upstreams-do-not-reach",
        ),
        pytest.param(
            [("    minimum_assurance: contact", "    upstreams: [goggle]\n    minimum_assurance: contact")],
            "[goggle]",
            "agreements[0].upstreams[0]",
            "there is no upstream 'goggle'; did you mean 'google'?",
            id="agreement-by-unknown-upstream",
        ),
        pytest.param(
            [("    minimum_assurance: contact", "    minimum_assurance: low")],
            "    minimum_assurance: low",
            "agreements[0].minimum_assurance",
            "the needed level would be withheld: low is only reached by bankid, ftn, eidas, which may not vouch for other"
            " methods; set release_upstream_assurance with the reason you may, or ask for contact",
            id="needed-level-withheld",
        ),
    ],
)
def test_what_does_not_hold_together_is_refused(
    bench: Bench, edits: list[Edit], at: str, key: str, advice: str
) -> None:
    """One mistake, one sentence, at the line it was made."""
    bench.edit(*edits)
    line = bench.text[: bench.text.index(at)].count("\n") + 1 + (at[0] == "\n")
    assert bench.problems() == (f"{bench.path}:{line} {key}: {advice}",)


def test_an_agreement_with_oneself(bench: Bench) -> None:
    """From and to are two partners; the roles' own addresses are asked for as well."""
    bench.edit(("    to: garage", "    to: tyre-shop"))
    assert (
        bench.sentence(
            "    to: tyre-shop", "agreements[0].to", "is the same as from; a partner needs no agreement with itself"
        )
        in bench.problems()
    )


def test_two_agreements_for_one_edge_and_purpose(refused: Refused, bench: Bench) -> None:
    """Which of two agreements counts must never be a question."""
    first, second, _ = (match.start() for match in re.finditer("  - from: tyre-shop", bench.text))
    bench.text += bench.text[first:second]
    last = bench.text.rindex("  - from: tyre-shop")
    assert bench.problems() == (
        f"{bench.path}:{bench.text[:last].count(chr(10)) + 1} agreements[3]: repeats agreements[0]"
        " (tyre-shop>garage:tyre-fitting); join the two, or give one another purpose",
    )


def test_both_ends_are_told_what_they_lack(bench: Bench) -> None:
    """Each role of a partner has its addresses; all that lack are told."""
    bench.text += SECOND_AGREEMENT
    keys = [problem.split(" ")[1] for problem in bench.problems()]
    assert sorted(keys) == [
        "partners.garage.return_uris:",
        "partners.tyre-shop.guest_uri:",
        "partners.tyre-shop.oidc.initiate_login_uri:",
    ]


def test_no_fields_at_all(bench: Bench) -> None:
    """An agreement that hands over nothing is a mistake."""
    start = bench.text.index("    claims:\n      # Without these")
    end = bench.text.index("    # What the garage needs to know")
    bench.text = bench.text[:start] + "    claims: {}\n" + bench.text[end:]
    assert bench.problems() == (
        bench.sentence(
            "    claims: {}",
            "agreements[0].claims",
            "names no field, so nothing could be handed over; name at least one",
        ),
    )


@pytest.mark.parametrize("level", [each for each in Assurance if each > Assurance.CONTACT and each < Assurance.HIGH])
def test_a_withheld_level_may_be_released_with_a_reason(bench: Bench, level: Assurance) -> None:
    """An agreement that says why it may passes the level on, and so may ask for it."""
    bench.edit(
        ("    minimum_assurance: contact", f"    minimum_assurance: {level}"),
        (
            "    release_upstream_assurance: false",
            "    release_upstream_assurance: {because: the garage has its own agreement with BankID}",
        ),
    )
    agreement = bench.load().policy.config.agreements[0]
    assert agreement.minimum_assurance is level


def test_a_level_another_upstream_may_vouch_for_is_not_withheld(bench: Bench) -> None:
    """Only logins that may not raise another method are kept quiet about."""
    bench.edit(
        ("    may_bootstrap_other_methods: false", "    may_bootstrap_other_methods: true"),
        ("    minimum_assurance: contact", "    minimum_assurance: substantial"),
    )
    assert bench.load().warnings == ()


def test_a_bankid_login_passes_a_minimum_of_contact(bench: Bench) -> None:
    """Contact is the most that is handed over, so asking for it is never refused."""
    bench.edit(("    minimum_assurance: contact", "    upstreams: [bankid]\n    minimum_assurance: contact"))
    assert bench.load().policy.config.agreements[0].upstreams == ("bankid",)


def test_a_ceiling_no_login_can_reach_counts_as_what_it_is(bench: Bench) -> None:
    """The operator's ceiling lowers, never raises: impossible minimums are seen through it."""
    bench.edit(
        ("    ceiling: contact", "    ceiling: high"), ("    minimum_assurance: contact", "    minimum_assurance: high")
    )
    problems = bench.problems()
    assert problems == (
        bench.sentence(
            "    minimum_assurance: high",
            "agreements[0].minimum_assurance",
            f"high is impossible: none of {OFFERED} reaches it (at most substantial);"
            " lower it or allow a stronger upstream",
        ),
    )


def test_a_ceiling_too_high_is_a_warning(bench: Bench) -> None:
    """It does no harm, but the operator should know."""
    bench.edit(("    ceiling: contact", "    ceiling: high"))
    assert bench.load().warnings == (
        bench.sentence(
            "    ceiling: high",
            "upstreams.google.ceiling",
            "is higher than this kind without acr_levels can prove; its logins count as contact at most",
        ),
    )


def test_a_partner_without_pkce_is_a_warning(bench: Bench) -> None:
    """Old clients can be let in, and are pointed at."""
    bench.edit(("      id_token_alg: ES256", "      id_token_alg: ES256\n      require_pkce: false"))
    (warning,) = bench.load().warnings
    assert warning.startswith(f"{bench.path}:{bench.line('require_pkce')} partners.tyre-shop.oidc.require_pkce: leaves")


@pytest.mark.parametrize(
    ("lines", "key", "advice"),
    [
        (
            "      profile: strict\n      require_par: false\n",
            "require_par",
            "contradicts profile: strict, where it is true; remove it, or choose profile: standard",
        ),
        (
            "      profile: strict\n      require_pkce: false\n",
            "require_pkce",
            "contradicts profile: strict, where it is true; remove it, or choose profile: standard",
        ),
        (
            "      profile: legacy\n      refresh_tokens: {rotate: false}\n",
            "refresh_tokens.rotate",
            "may be false only with auth: private_key_jwt; remove it",
        ),
    ],
    ids=["par", "pkce", "rotation"],
)
def test_a_key_that_contradicts_the_profile_is_told(bench: Bench, lines: str, key: str, advice: str) -> None:
    """With the line, and what to do."""
    bench.edit(("      id_token_alg: ES256\n", lines))
    where = key.rpartition(".")[2]
    assert bench.sentence(where, f"partners.tyre-shop.oidc.{key}", advice) in bench.problems()


def test_a_strict_client_with_a_secret_is_told_so(bench: Bench) -> None:
    """The method that is written down contradicts the profile; what it needs is told by the method."""
    bench.edit(("      id_token_alg: ES256\n", "      profile: strict\n"))
    (problem,) = bench.problems()
    assert "partners.tyre-shop.oidc.auth: contradicts profile: strict, where it is private_key_jwt" in problem


def test_a_legacy_client_is_a_warning(bench: Bench) -> None:
    """Without PKCE, as with the single key."""
    bench.edit(("      id_token_alg: ES256\n", "      profile: legacy\n"))
    (warning,) = bench.load().warnings
    assert warning.startswith(f"{bench.path}:{bench.line('profile: legacy')} partners.tyre-shop.oidc.profile: leaves")


def test_an_agreement_without_upstreams_counts_the_logins_of_its_recipient(bench: Bench) -> None:
    """What the recipient does not accept for its own logins does not make a handoff possible."""
    start = bench.text.index("  garage:")
    bench.text = bench.text[:start] + bench.text[start:].replace(WAYS_IN, "upstreams: [google]")
    bench.edit(("    minimum_assurance: contact", "    minimum_assurance: low"))
    assert bench.problems() == (
        bench.sentence(
            "    minimum_assurance: low",
            "agreements[0].minimum_assurance",
            "low is impossible: none of google reaches it (at most contact); lower it or allow a stronger upstream",
        ),
    )


def test_an_unknown_upstream_of_a_recipient_is_told_once(bench: Bench) -> None:
    """At the login that names it, not again at every agreement."""
    start = bench.text.index("  garage:")
    bench.text = bench.text[:start] + bench.text[start:].replace(WAYS_IN, "upstreams: [goggle]", 1)
    (found,) = bench.problems()
    assert found.endswith(" partners.garage.login.upstreams[0]: there is no upstream 'goggle'; did you mean 'google'?")


def test_a_disabled_agreement_is_checked_but_not_found(bench: Bench) -> None:
    """The kill switch stops the edge; switching it on again must not bring a surprise."""
    bench.edit(("    enabled: true", "    enabled: false"))
    assert bench.load().policy.agreement("tyre-shop", "garage", "tyre-fitting") is None
    bench.edit(("        - items\n", "        - item\n"))
    assert len(bench.problems()) == 1


def test_a_time_zone_nobody_knows(bench: Bench) -> None:
    """Customers are told times in a zone of the IANA database."""
    bench.edit(("  default_language: en\n", "  default_language: en\n  time_zone: Europe/Hammarby\n"))
    advice = "must be a time zone of the IANA database, such as Europe/Stockholm"
    assert bench.problems() == (bench.sentence("time_zone:", "broker.time_zone", advice),)


_PUBLIC = ("      auth: client_secret_basic\n      secret: file:secrets/tyre-shop\n", "      auth: none\n")


def test_a_public_client_has_no_part_in_handoffs(bench: Bench) -> None:
    """It cannot prove itself where payloads are offered and fetched."""
    bench.edit(_PUBLIC)
    found = [each for each in bench.problems() if "is a public client" in each]
    assert [each.split(" ")[1] for each in found] == [f"agreements[{index}].from:" for index in range(3)]


@pytest.mark.parametrize(
    ("uri", "advice"),
    [
        ("com.nordhjul.app:/cb", "is an app's own scheme, and apps keep no secret"),
        ("myapp:/cb", "must be a complete http or https address"),
        ("javascript:/cb", "must be a complete http or https address"),
        ("http://192.168.0.7/cb", "http is only for this machine"),
    ],
)
def test_an_app_address_of_a_client_with_a_secret(bench: Bench, uri: str, advice: str) -> None:
    """Schemes of one's own are for public clients, and none without a dot is anybody's."""
    bench.edit(("        - http://127.0.0.1:8701/login/callback", f'        - "{uri}"'))
    assert any(advice in each and "redirect_uris[0]" in each for each in bench.problems())


def test_localhost_of_an_app_is_a_warning(bench: Bench) -> None:
    """RFC 8252 section 8.3: a name can be made to lead elsewhere."""
    bench.edit(
        (
            "partners:\n",
            "partners:\n  app:\n    names: {en: App}\n    home_uri: http://127.0.0.1/\n    oidc:\n      client_id: app\n"
            "      auth: none\n      redirect_uris: [http://localhost/cb, http://127.0.0.1/cb, com.example.app:/cb]\n",
        )
    )
    (warning,) = bench.load().warnings
    assert "partners.app.oidc.redirect_uris[0]: names localhost" in warning


@pytest.mark.parametrize(
    ("issuer", "rp_id", "goes"),
    [
        ("https://login.shop.example", "login.shop.example", True),
        ("https://login.shop.example:8443", "shop.example", True),
        ("https://login.shop.example", "example", False),
        ("https://login.shop.example", "op.example", False),
        ("https://login.shop.example", "www.login.shop.example", False),
        ("https://login.shop.example", "www.shop.example", False),
        ("https://login.shop.example", "shop.example.evil.test", False),
        ("http://127.0.0.1:8700", "0.0.1", False),
        ("http://[::1]:8700", "localhost", False),
        ("http://localhost:8700", "localhost", True),
        ("http://127.0.0.1:8700", None, True),
    ],
)
def test_passkeys_belong_to_the_issuers_domain(issuer: str, rp_id: str | None, goes: bool) -> None:
    """Its host, or a parent domain that somebody can own (WebAuthn section 5.1.3); no more is known of whose a domain is."""
    kind = KINDS["passkey"]
    misfits = list(kind.misfits(kind.config.model_validate({"rp_id": rp_id} if rp_id else {}), issuer))
    assert (not misfits) is goes
