"""APIs that access tokens are for, and what partners say about their tokens and subjects."""

import pytest

from .conftest import SECRET, Bench, Edit

RESOURCE = """
resources:
  booking:
    audience: https://api.booking.example/v1
    client:
      client_id: booking-api
      secret: file:secrets/booking

payload_types:
"""
SHOP = "      id_token_alg: ES256\n    # Logins that start at the shop itself.\n"
TERMS = "      access_token: {format: jwt, resource: booking}\n"
GARAGE = "      initiate_login_uri: http://127.0.0.1:8702/login/start\n"


@pytest.fixture
def booking(bench: Bench) -> Bench:
    """The example, with an API that the shop's access tokens are for."""
    bench.edit(("\npayload_types:\n", RESOURCE), (SHOP, TERMS + SHOP))
    bench.put("secrets/booking", SECRET)
    return bench


def test_a_partner_and_its_api_are_found(booking: Bench) -> None:
    """By partner, by the API's client, and with whose numbers it knows customers by."""
    policy = booking.load().policy
    resource = policy.resource_of("tyre-shop")
    assert resource is not None
    assert (resource.id, resource.audience, resource.sector) == ("booking", "https://api.booking.example/v1", "booking")
    assert resource.token_alg == "RS256"
    assert policy.resource_of_client("booking-api") == "booking"
    assert policy.partner_of_client("booking-api") is None
    assert policy.client_secrets["booking"] == SECRET
    assert policy.sectors_told("tyre-shop") == ("tyre-shop", "booking")
    assert policy.sectors_told("garage") == ("garage",)
    assert policy.resource_of("garage") is None


def test_an_api_that_asks_nothing_needs_no_client(booking: Bench) -> None:
    """It checks JWTs by the published keys."""
    booking.edit(("    client:\n      client_id: booking-api\n      secret: file:secrets/booking\n", ""))
    assert booking.load().policy.resource_of_client("booking-api") is None


def test_an_api_may_share_its_partners_sector(booking: Bench) -> None:
    """Then it knows the customers by the numbers the partner knows."""
    booking.edit(("    audience: https", "    sector: tyre-shop\n    audience: https"))
    assert booking.load().policy.sectors_told("tyre-shop") == ("tyre-shop", "tyre-shop")


def test_two_partners_with_jwts_for_one_api_are_warned(booking: Bench) -> None:
    """Each reads the API's number of a customer in its own token: together they could find out who is whose."""
    booking.edit((GARAGE, GARAGE + TERMS))
    (warning,) = [each for each in booking.load().warnings if "resources.booking" in each]
    assert "are in the JWTs of tyre-shop, garage, who could compare them" in warning
    booking.edit((GARAGE + TERMS, GARAGE + TERMS.replace("jwt", "opaque")))
    assert not [each for each in booking.load().warnings if "resources.booking" in each]


@pytest.mark.parametrize(
    ("edits", "key", "advice"),
    [
        pytest.param([("resource: booking", "resource: bokking")], "partners.tyre-shop.oidc.access_token.resource",
                     "there is no resource 'bokking'; did you mean 'booking'?", id="unknown-api"),
        pytest.param([(", resource: booking", "")], "partners.tyre-shop.oidc.access_token.resource",
                     "is missing; format: jwt needs an API that the tokens are for", id="jwt-for-nobody"),
        pytest.param([("format: jwt", "format: paper")], "partners.tyre-shop.oidc.access_token.format",
                     "must be one of opaque, jwt", id="format"),
        pytest.param([("https://api.booking.example/v1", "http://localhost:8700/userinfo")], "resources.booking.audience",
                     "is an address of this broker; give that of the API", id="the-broker"),
        pytest.param([("https://api.booking.example/v1", "http://api.booking.example")], "resources.booking.audience",
                     "http is only for this machine (127.0.0.1, localhost); use https://", id="plain-http"),
        pytest.param([("https://api.booking.example/v1", "https://api.booking.example/#x")], "resources.booking.audience",
                     "must have neither a fragment nor a user name", id="fragment"),
        pytest.param([("client_id: booking-api", "client_id: nordhjul-web")], "resources.booking.client.client_id",
                     "is already the client_id of partner tyre-shop; give each partner its own", id="client-id-twice"),
        pytest.param([("client_id: booking-api", "client_id: garage")], "resources.booking.client.client_id",
                     "is the id of another partner; choose a client_id that cannot be mistaken for it", id="client-id-taken"),
        pytest.param([("      secret: file:secrets/booking\n", "")], "resources.booking.client.secret",
                     "is missing, and auth: client_secret_basic needs it", id="no-secret"),
        pytest.param([("      secret: file:secrets/booking\n", "      auth: none\n")], "resources.booking.client.auth",
                     "must be one of client_secret_basic, client_secret_post, private_key_jwt", id="no-proof"),
        pytest.param([("  booking:\n    audience", "  garage:\n    audience"), ("resource: booking", "resource: garage")],
                     "resources.garage", "is the id of a partner; choose another, and say with sector whose numbers it sees",
                     id="id-of-a-partner"),
        pytest.param([("  booking:\n", "  other:\n    audience: https://api.booking.example/v1\n  booking:\n")],
                     "resources.booking.audience", "is already that of other; give each its own", id="audience-twice"),
        pytest.param([(TERMS, TERMS + "      allowed_origins: [https://app.example]\n")],
                     "partners.tyre-shop.oidc.allowed_origins",
                     "is for pages without a server of their own (auth: none); remove it", id="origins-with-a-secret"),
        pytest.param([(TERMS, TERMS + "      userinfo_signed_response_alg: HS256\n")],
                     "partners.tyre-shop.oidc.userinfo_signed_response_alg",
                     "must be one of RS256, ES256; did you mean 'RS256'?", id="userinfo-alg"),
        pytest.param([(TERMS, TERMS + "      subject_type: global\n")], "partners.tyre-shop.oidc.subject_type",
                     "must be one of pairwise, public", id="subject-type"),
    ],
)  # fmt: skip
def test_what_does_not_hold_together(booking: Bench, edits: list[Edit], key: str, advice: str) -> None:
    """Each mistake with its place and its remedy, and only that one."""
    booking.edit(*edits)
    (problem,) = booking.problems()
    assert f" {key}: " in problem
    assert advice in problem


@pytest.mark.parametrize(
    ("origin", "advice"),
    [
        ("https://app.example/", "must be scheme, host and port only, without a trailing slash"),
        ("https://APP.example", "must be written as browsers do"),
        ("https://app.example:443", "must be written as browsers do"),
        ("null", "must be a complete http or https address"),
        ("http://app.example", "http is only for this machine"),
    ],
)
def test_origins_are_written_as_browsers_send_them(bench: Bench, origin: str, advice: str) -> None:
    """Otherwise they would never be equal to one."""
    page = f"""
partners:
  page:
    names: {{en: Page}}
    home_uri: https://page.example/
    oidc: {{client_id: page-web, auth: none, redirect_uris: ["https://page.example/cb"], allowed_origins: ["{origin}"]}}
"""
    bench.edit(("\npartners:\n", page))
    (problem,) = bench.problems()
    assert "partners.page.oidc.allowed_origins[0]: " in problem
    assert advice in problem


def test_origins_of_a_page_come_from_its_redirect_uris(bench: Bench) -> None:
    """As browsers write them: lower case, no default port; an app's own scheme is no origin."""
    page = """
partners:
  page:
    names: {en: Page}
    home_uri: https://page.example/
    sector: page
    oidc:
      client_id: page-web
      auth: none
      redirect_uris: ["https://Page.example:443/cb", "https://page.example:8443/cb", "https://[2001:db8::1]/cb", "app.x:/cb"]
"""
    bench.edit(("\npartners:\n", page))
    assert bench.load().policy.origins == {
        b"https://page.example", b"https://page.example:8443", b"https://[2001:db8::1]"
    }  # fmt: skip
