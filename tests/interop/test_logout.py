"""Logging out."""

from tests.interop.browser import Browser
from tests.interop.site import Site
from tests.interop.world import World


def test_logging_out_at_the_site_logs_out_at_the_broker(site: Site, world: World, logged_in: Browser) -> None:
    """RP-Initiated Logout 1.0: back at the site as nobody, and the next login asks again."""
    page = site.log_out(logged_in)
    assert page.url.startswith(site.place.site), f"{page} {page.text[:500]}"
    assert site.who(logged_in) is None
    site.begin(logged_in)
    assert logged_in.has("method-google"), logged_in.page
