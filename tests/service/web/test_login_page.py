"""Getting in with a browser."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from service.web.options import ServingOptions
from tests.makers.libraries import indexed_colours
from tests.service.web.browser import (
    NARROW,
    accessibility_faults,
    needs_browser,
    running_browser,
    served,
    visited,
)
from tests.service.web.servers import TOKEN

pytestmark = [pytest.mark.slow, needs_browser]


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("locked")
    indexed_colours(folder, folder / "collection")
    with served(folder / "collection", options=ServingOptions(token=TOKEN)) as site:
        yield site


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as browser:
        yield browser


def expect_photos(page: Page) -> None:
    expect(page.locator(".tile")).to_have_count(6)


def test_a_token_that_is_typed_leads_to_the_view_that_was_asked_for(browser, site):
    with visited(browser, site, "/?q=red", tolerated=("status of 401",)) as page:
        expect(page.get_by_label("Token")).to_be_focused()
        page.keyboard.type("not the token")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_have_text("That is not the token.")
        expect(page.get_by_label("Token")).to_be_focused()
        page.keyboard.type(TOKEN)
        page.keyboard.press("Enter")
        expect_photos(page)
        assert page.url == f"{site}/?q=red"


def test_the_link_that_is_printed_logs_in_and_leaves_no_token_behind(browser, site):
    with visited(browser, site, f"/login#token={TOKEN}") as page:
        expect_photos(page)
        assert page.url == f"{site}/"
        assert page.evaluate("document.cookie") == ""
        page.go_back()
        assert page.url == "about:blank"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_is_accessible(browser, site, theme):
    with visited(
        browser, site, "/login", theme=theme, size=NARROW, tolerated=("status of 401",)
    ) as page:
        page.get_by_label("Token").fill("wrong")
        page.get_by_role("button").click()
        expect(page.get_by_role("alert")).not_to_be_empty()
        assert accessibility_faults(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") == NARROW[0]
