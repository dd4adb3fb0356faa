"""What an attacker would think of: each of these worked once."""

from datetime import timedelta

from tests.stage import Stage


class TestARefusalIsNobodyElsesBusiness:
    """The source has the link of its own offer; what the link shows a stranger, it shows the source."""

    async def test_the_link_of_a_declined_offer_looks_as_before(self, staged: Stage) -> None:
        """She says no: the page a stranger gets is the one that everybody gets before anybody decided."""
        browser, stranger = staged.browser(), staged.browser()
        at_shop = await staged.shop_login(browser)
        link = (await staged.offer(at_shop["claims"]["sub"])).json["link"]
        before = await stranger.follow(await stranger.get(link))
        await browser.follow(await browser.get(link))
        assert "ref" in (await browser.press("continue-guest")).query
        after = await stranger.follow(await stranger.get(link))
        assert after.ids == before.ids
        assert "continue" in after.ids
        assert "continue-guest" in (await browser.follow(await browser.get(link))).ids

    async def test_nor_does_somebody_else_who_logs_in_learn_it(self, staged: Stage) -> None:
        """Whoever logs in as another customer reads that the offer is somebody else's, as before the refusal."""
        browser, other = staged.browser(), staged.browser()
        at_shop = await staged.shop_login(browser)
        link = (await staged.offer(at_shop["claims"]["sub"])).json["link"]
        await browser.follow(await browser.get(link))
        await browser.press("continue-guest")
        await staged.shop_login(other, who="karl")
        assert "switch" in (await other.follow(await other.get(link))).ids


class TestAFreshLoginIsOne:
    """prompt=login and max_age speak of the customer, not of our session (docs/security.md A13)."""

    async def test_an_old_login_in_another_tab_does_not_answer_prompt_login(self, staged: Stage) -> None:
        """A second tab asks for no fresh login and gets a new session from the provider's old one: not fresh."""
        browser = staged.browser()
        await browser.follow(await browser.get(staged.shop.request(prompt="login")))
        waiting = browser.page
        staged.clock.forward(minutes=1)
        staged.connectors["google"].authenticated_at = staged.clock.now - timedelta(days=30)
        tab = browser.copy()
        await tab.follow(await tab.get(staged.garage.request()))
        await tab.log_in("google", "maja")
        assert waiting is not None
        back = await browser.get(waiting.url)
        assert "code" not in back.query
        assert "method-bankid" in back.ids

    async def test_a_login_of_unknown_age_is_told_no_time(self, staged: Stage) -> None:
        """A provider that does not say when it authenticated lends its session no auth_time, nor serves max_age."""
        browser = staged.browser()
        staged.connectors["google"].tells_time = False
        first = await staged.shop_login(browser, "google")
        assert "auth_time" not in first["claims"]
        silent = await browser.get(staged.shop.request(max_age="3600", prompt="none"))
        assert silent.query["error"] == "login_required"
        assert "code" in (await browser.get(staged.shop.request(prompt="none"))).query
