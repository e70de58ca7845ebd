"""The panel of a photo, and the page with the keyboard alone."""

import re
import shutil

import pytest
from playwright.sync_api import Page, expect

from tests.service.web.browser import (
    NARROW,
    indexed_album,
    needs_browser,
    panel_of,
    running_browser,
    served,
    visited,
)

pytestmark = [pytest.mark.slow, needs_browser]


@pytest.fixture(scope="module")
def browser():
    with running_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def album(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    place = tmp_path_factory.mktemp("collection") / "c"
    indexed_album(folder, place)
    return folder, place


@pytest.fixture(scope="module")
def site(album):
    with served(album[1]) as site:
        yield site


@pytest.fixture
def page(browser, site):
    with visited(browser, site) as page:
        expect(page.locator(".tile img.there").first).to_be_visible()
        yield page


def focused(page: Page) -> str:
    label = page.evaluate("document.activeElement.getAttribute('aria-label')")
    return str(label)


def focus_comes_to(page: Page, label: str) -> None:
    """Wait until what begins with a label has the focus: it comes a moment after what moves it."""
    page.wait_for_function(
        "label => document.activeElement.getAttribute('aria-label')?.startsWith(label)", arg=label
    )


def name_of(page: Page, place: int) -> str:
    label = page.get_by_role("gridcell").nth(place).get_attribute("aria-label") or ""
    return label.partition(",")[0]


def panel_shows(page: Page, name: str) -> None:
    expect(panel_of(page).get_by_role("heading", level=2)).to_have_text(name)


def test_from_load_to_panel_and_back_with_the_keyboard_alone(page):
    names = [name_of(page, place) for place in range(8)]
    columns = int(page.get_by_role("grid").get_attribute("aria-colcount"))
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the photos"
    page.keyboard.press("Enter")
    focus_comes_to(page, names[0])
    page.keyboard.press("ArrowRight")
    focus_comes_to(page, names[1])
    page.keyboard.press("ArrowDown")
    focus_comes_to(page, name_of(page, 1 + columns))
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    panel_shows(page, names[1])
    page.keyboard.press("ArrowRight")
    panel_shows(page, names[2])
    page.keyboard.press("Escape")
    expect(panel_of(page)).to_be_hidden()
    focus_comes_to(page, names[2])
    expect(page).not_to_have_url(re.compile("photo="))
    page.keyboard.press("x")
    expect(page.get_by_role("region", name="Selection")).to_contain_text("1 photo selected")
    page.keyboard.press("End")
    page.keyboard.press("Control+End")
    assert int(page.evaluate("document.activeElement.dataset.place")) == 48
    page.keyboard.press("s")
    expect(page).to_have_url(re.compile("q=id%3A"))
    page.keyboard.press("/")
    focus_comes_to(page, "Search by words")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.className") == "tile"


def test_keys_are_told_and_can_be_switched_off(page):
    page.keyboard.press("?")
    help_dialog = page.get_by_role("dialog", name="Keys")
    expect(help_dialog).to_contain_text("find similar photos")
    help_dialog.get_by_label("Use these keys").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    assert focused(page) != "Search by words"


def test_a_panel_tells_what_is_known(page):
    search_box = page.get_by_role("searchbox", name="Search by words")
    search_box.fill("red")
    search_box.press("Enter")
    expect(page.get_by_role("gridcell").first).to_have_attribute("aria-label", re.compile("^red"))
    page.get_by_role("gridcell").first.click()
    panel = panel_of(page)
    panel_shows(page, "red.png")
    for told in ("48 × 32 pixels", "PNG", "Quality ", "sharpness", "Better than"):  # noqa: RUF001 - a times sign
        expect(panel).to_contain_text(told)
    expect(panel.locator(".stage img.preview.there")).to_be_visible()
    expect(panel.locator(".row-of-photos button")).to_have_count(12)
    original = panel.get_by_role("link", name="Open original")
    answer = page.request.get(str(original.get_attribute("href")))
    assert answer.headers["content-type"] == "image/png"


def test_a_shared_panel_opens_and_closes(browser, site):
    with visited(browser, site, "/?photo=1&q=red") as page:
        expect(panel_of(page).get_by_role("heading", level=2)).to_be_visible()
        panel_of(page).get_by_role("button", name="Close").click()
        expect(page).to_have_url(f"{site}/?q=red")


def test_back_closes_the_panel(page):
    page.get_by_role("gridcell").nth(2).click()
    panel_shows(page, name_of(page, 2))
    page.keyboard.press("ArrowRight")
    panel_shows(page, name_of(page, 3))
    page.go_back()
    expect(panel_of(page)).to_be_hidden()
    expect(page).not_to_have_url(re.compile("photo="))


def test_a_photo_is_searched_for_added_and_subtracted_from_its_panel(page):
    page.get_by_role("gridcell").nth(0).click()
    panel_of(page).get_by_role("button", name="Similar", exact=True).click()
    expect(page).to_have_url(re.compile(r"\?q=id%3A\d+$"))
    page.get_by_role("gridcell").nth(1).click()
    panel_of(page).get_by_role("button", name="Without").click()
    expect(page).to_have_url(re.compile(r"\?q=id%3A\d+&minus=id%3A\d+$"))


def test_similar_photos_lead_on(page):
    page.get_by_role("gridcell").nth(0).click()
    strip = page.get_by_role("region", name="Similar photos").get_by_role("button")
    name = (strip.nth(1).get_attribute("aria-label") or "").rpartition(", similarity")[0]
    strip.nth(1).click()
    panel_shows(page, name)
    expect(page.get_by_role("button", name="Previous photo")).to_be_enabled()


def test_a_path_is_copied(browser, site, album):
    with visited(browser, site, "/?where=path+%3D+%27red.png%27") as page:
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.get_by_role("gridcell").first.click()
        page.get_by_role("button", name="Copy path").click()
        expect(page.locator("#announcer")).to_have_text("Path copied")
        assert page.evaluate("navigator.clipboard.readText()") == f"{album[0]}/red.png"


def test_an_unknown_photo_says_so(browser, site):
    with visited(browser, site, "/?photo=4711", tolerated=("status of 404",)) as page:
        expect(panel_of(page).get_by_role("alert")).to_contain_text("4711")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda file: file.unlink(), "The file is no longer there"),
        (lambda file: file.write_bytes(b"another"), "The file has changed"),
    ],
    ids=["vanished", "changed"],
)
def test_a_photo_that_is_not_what_was_indexed_shows_what_is_known(
    browser, album, tmp_path, change, told
):
    folder, _ = album
    copy = tmp_path / "photos"
    shutil.copytree(folder, copy)
    place = tmp_path / "c"
    indexed_album(copy, place)
    change(copy / "red.png")
    with (
        served(place) as site,
        visited(
            browser,
            site,
            "/?where=path+%3D+%27red.png%27",
            tolerated=("status of 410", "status of 422"),
        ) as page,
    ):
        expect(page.get_by_role("gridcell").first).to_contain_text("Cannot be shown: red.png")
        page.get_by_role("gridcell").first.click()
        panel_shows(page, "red.png")
        panel = panel_of(page)
        expect(panel.locator(".stage")).to_contain_text(told)
        expect(panel).to_contain_text("48 × 32 pixels")  # noqa: RUF001 - a times sign
        expect(panel.get_by_role("link", name="Open original")).to_have_count(0)


def test_a_narrow_screen_has_all_of_it(browser, site):
    with visited(browser, site, size=NARROW) as page:
        expect(page.locator(".tile img.there").first).to_be_visible()
        page.get_by_role("button", name="Filters").click()
        filters = page.get_by_role("dialog", name="Filters")
        filters.get_by_role("checkbox", name=re.compile("Without a date")).check()
        filters.get_by_role("button", name="Close the filters").click()
        expect(page.get_by_role("heading", level=1)).to_have_text(re.compile("^9 of "))
        page.get_by_role("gridcell").first.click()
        expect(panel_of(page).get_by_role("heading", level=2)).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
