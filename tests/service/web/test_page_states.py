"""What the page shows where there is little to show, far too much, or no server."""

import re
from typing import Any
from urllib.parse import parse_qs, urlparse

import pytest
from playwright.sync_api import Page, expect

from service.anomalies import score_photos
from service.anomaly_references import TextChoice, fit_reference
from service.normal_photos import NormalChoice
from tests.makers.libraries import indexed_folder
from tests.makers.photos import drawn_photo, image_file
from tests.makers.shades import indexed_shades
from tests.makers.stores import new_store, random_features
from tests.service.web.browser import (
    NARROW,
    WIDE,
    accessibility_faults,
    indexed_album,
    needs_browser,
    panel_of,
    running_browser,
    served,
    visited,
)
from tests.service.web.servers import wait_until

pytestmark = [pytest.mark.slow, needs_browser]

MANY = 100_000

# What axe looks at: an address, and what to do there.
STATES = {
    "photos": ("/", ""),
    "search": ("/?q=red&q=id:3^2&minus=white", ""),
    "quality": ("/?list=quality", ""),
    "outliers": ("/?list=anomalies", ""),
    "nothing-found": ("/?quality=5..", ""),
    "error": ("/?where=drop+it", ""),
    "filters": ("/?where=quality>0", ".filters details:not([open]) summary"),
    "export": ("/", ".tools summary"),
    "panel": ("/?photo=1", ""),
    "keys": ("/", "button[aria-label=Keys]"),
    "selection": ("/", ".tile .choose"),
}


@pytest.fixture(scope="module")
def browser():
    with running_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    place = tmp_path_factory.mktemp("collection") / "c"
    indexed_album(tmp_path_factory.mktemp("photos"), place)
    with served(place) as site:
        yield site


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("state", STATES)
def test_axe_finds_nothing(browser, site, state, theme):
    path, click = STATES[state]
    with visited(browser, site, path, theme=theme, tolerated=("status of 400",)) as page:
        settle(page)
        if click:
            page.locator(click).first.click(force=True)
        assert accessibility_faults(page) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_on_a_narrow_screen(browser, site, theme):
    with visited(browser, site, "/?q=red&quality=0.1..", theme=theme, size=NARROW) as page:
        settle(page)
        assert accessibility_faults(page) == []
        page.get_by_role("button", name="Filters").click()
        assert accessibility_faults(page) == []


def settle(page: Page) -> None:
    page.wait_for_load_state("networkidle")
    wait_until(lambda: page.evaluate("document.getAnimations().length === 0"))


def test_an_empty_collection_says_how_to_fill_it(browser, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    indexed_folder(folder, tmp_path / "c")
    with served(tmp_path / "c") as site, visited(browser, site) as page:
        expect(page.get_by_role("heading", name="No photos yet")).to_be_visible()
        expect(page.get_by_text("isophote index ~/Pictures")).to_be_visible()
        assert accessibility_faults(page) == []


def test_new_photos_are_told_of_and_do_not_move_the_grid(browser, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    n_before = indexed_album(folder, tmp_path / "c")
    with served(tmp_path / "c") as site, visited(browser, site) as page:
        expect(page.locator(".tile img.there").first).to_be_visible()
        (folder / "new.jpg").write_bytes(image_file(drawn_photo(7), "JPEG"))
        indexed_folder(folder, tmp_path / "c")
        expect(page.get_by_text("1 new photo")).to_be_visible()
        expect(page.get_by_role("heading", level=1)).to_have_text(f"{n_before} photos")
        page.get_by_role("button", name="Show", exact=True).click()
        expect(page.get_by_role("heading", level=1)).to_have_text(f"{n_before + 1} photos")


def test_outliers_are_ranked_with_reasons(browser, tmp_path):
    shades = indexed_shades(tmp_path / "photos", tmp_path / "c")
    words = tmp_path / "words.txt"
    words.write_text("red\ngreen\nblue\nyellow\nwhite\nblack")
    normal = NormalChoice(examples="folders")
    fit_reference(
        shades, "usual", normal=normal, scoring=TextChoice(dictionary=words, neighbours=1)
    )
    score_photos(shades, "usual", report=lambda _: None)
    with served(tmp_path / "c") as site, visited(browser, site, "/?list=anomalies") as page:
        expect(page.get_by_role("heading", level=1)).to_have_text("Outliers")
        expect(page.locator(".note")).to_contain_text("by the reference “usual”")
        captions = page.locator(".caption")
        expect(captions.first).to_contain_text("far from")
        expect(captions.first).to_contain_text("closer than its examples to: green")
        scores = [float(text.split()[0]) for text in captions.all_inner_texts()]
        assert scores == sorted(scores, reverse=True)
        page.get_by_role("gridcell").first.click()
        expect(panel_of(page)).to_contain_text("Closest class")
        expect(panel_of(page)).to_contain_text("Stranger than")


def test_vectors_without_files_are_shown_by_their_names(browser, tmp_path):
    new_store(tmp_path / "c", features=random_features(30), origin="vectors")
    with served(tmp_path / "c") as site, visited(browser, site, "/?q=id:7") as page:
        # Thumbnails are not asked for: each would be an error in the console.
        expect(page.get_by_role("gridcell")).to_have_count(29)
        expect(page.get_by_role("gridcell").first).to_contain_text(re.compile(r"\d{5}\.jpg"))
        page.get_by_role("gridcell").first.click()
        expect(panel_of(page).locator(".stage")).to_contain_text("this vector was imported")
        expect(panel_of(page).locator(".row-of-photos button")).to_have_count(12)


SHIFTS = """
  window.shifts = 0;
  new PerformanceObserver((list) => {
    for (const { value, hadRecentInput } of list.getEntries()) if (!hadRecentInput) shifts += value;
  }).observe({ type: "layout-shift", buffered: true });
"""


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_nothing_moves_while_the_page_loads(browser, site, size):
    with visited(browser, site, size=size) as page:
        page.add_init_script(SHIFTS)
        page.reload()
        expect(page.locator(".tile img.there").first).to_be_visible()
        settle(page)
        assert page.evaluate("shifts") < 0.001


def answer_busy(route: Any) -> None:
    error = {"code": "busy", "message": "the server is busy; try again"}
    route.fulfill(status=503, json={"error": error})


def test_an_error_is_told_and_can_be_tried_again(browser, site):
    with visited(browser, site, "/?view=nothing", tolerated=("status of 503",)) as page:
        expect(page.locator(".tile").first).to_be_visible()
        page.route("**/api/v1/search?*", answer_busy)
        page.get_by_role("searchbox", name="Search by words").fill("red")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("The server is busy; try again")
        page.unroute("**/api/v1/search?*")
        page.get_by_role("button", name="Try again").click()
        expect(page.get_by_role("gridcell").first).to_have_attribute(
            "aria-label", re.compile("^red")
        )


def test_without_a_token_the_page_goes_to_the_login_and_comes_back(browser, site):
    with visited(browser, site, tolerated=("status of 401",)) as page:
        expect(page.locator(".tile").first).to_be_visible()
        refused = {"error": {"code": "token", "message": "a token is needed"}}
        page.route("**/api/v1/search?*", lambda route: route.fulfill(status=401, json=refused))
        page.route(
            "**/login",
            lambda route: route.fulfill(body="<title>Login</title>", content_type="text/html"),
        )
        page.get_by_role("searchbox", name="Search by words").fill("red")
        page.keyboard.press("Enter")
        page.wait_for_url("**/login")
        page.unroute("**/api/v1/search?*")
        page.goto("/")
        expect(page).to_have_url(f"{site}/?q=red")
        expect(page.get_by_role("gridcell").first).to_have_attribute(
            "aria-label", re.compile("^red")
        )


def test_photos_that_are_being_indexed_are_told_of(browser, site):
    with visited(browser, site) as page:
        expect(page.locator(".tile").first).to_be_visible()
        page.route("**/api/v1/ingest", lambda route: route.fulfill(json=INGEST))
        expect(page.get_by_text("Indexing: 12 of 3,400 photos, 2 failed")).to_be_visible()


def test_a_server_that_is_gone_is_told(browser, site):
    with visited(browser, site, tolerated=("ERR_FAILED",)) as page:
        expect(page.locator(".tile").first).to_be_visible()
        page.route("**/api/v1/*", lambda route: route.abort())
        expect(page.get_by_text("The server does not answer. Trying again")).to_be_visible()
        page.get_by_role("searchbox", name="Search by words").fill("red")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("The server does not answer")


INGEST: dict[str, object] = {
    "is_running": True,
    "writer": None,
    "n_done": 12,
    "n_total": 3400,
    "n_failed": 2,
    "n_images": 49,
    "version": 1,
    "roots": [],
}


def many_images(route: Any) -> None:
    asked = parse_qs(urlparse(route.request.url).query)
    offset, limit = int(asked["offset"][0]), int(asked["limit"][0])
    places = range(offset, min(offset + limit, MANY))
    images = [photo(place) for place in places]
    route.fulfill(json={"version": 1, "n_images": MANY, "offset": offset, "images": images})


def photo(place: int) -> dict[str, object]:
    known: dict[str, object] = dict.fromkeys(
        ("width", "height", "format", "taken_at", "quality", "anomaly", "label")
    )
    return known | {"image_id": place, "path": f"/photos/{place}.jpg"}


@pytest.mark.parametrize("size", [WIDE, NARROW, (3840, 2160)], ids=["wide", "narrow", "4k"])
def test_a_hundred_thousand_photos_are_a_few_elements(browser, site, size):
    asked: list[str] = []

    def answer(route: Any) -> None:
        asked.append(route.request.url)
        many_images(route)

    with visited(browser, site, size=size, tolerated=("status of 404",)) as page:
        page.route("**/api/v1/images?*", answer)
        page.reload()
        expect(page.get_by_role("gridcell").first).to_have_attribute("aria-label", "0.jpg")
        assert page.locator(".tile").count() < 500
        page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
        expect(page.get_by_role("gridcell").last).to_have_attribute("aria-label", f"{MANY - 1}.jpg")
        box = page.get_by_role("gridcell").last.bounding_box()
        assert box is not None
        assert box["y"] + box["height"] <= size[1]
        assert page.locator(".tile").count() < 500
        # The pages in between were never asked for.
        assert len(asked) < 12
