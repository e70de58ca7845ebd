"""The views of the trash, of failures and of the collection in a real browser."""

import csv
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from schemas.duplicates import ReviewedGroup
from service.collection import Collection
from service.trash.trashing import trash_copies
from service.web.options import ServingOptions
from tests.makers.libraries import indexed_folder
from tests.makers.photos import drawn_photo, image_file
from tests.service.web.browser import (
    NARROW,
    accessibility_faults,
    needs_browser,
    running_browser,
    served,
    visited,
)

pytestmark = [pytest.mark.slow, needs_browser]

ODD_NAME = "<b>\U0001f600\nbroken \udcff.jpg"


@pytest.fixture(scope="module")
def browser():
    with running_browser() as browser:
        yield browser


@pytest.fixture
def photos(tmp_path):
    """A photo twice, and files that are none: three of them cut off, one with an odd name."""
    folder = tmp_path / "photos"
    folder.mkdir()
    content = image_file(drawn_photo(1), "JPEG")
    for name in ("one.jpg", "copy.jpg"):
        (folder / name).write_bytes(content)
    for number in range(3):
        (folder / f"cut{number}.jpg").write_bytes(content[: 900 + 100 * number])
    (folder / ODD_NAME).write_bytes(b"these are words")
    return folder


@pytest.fixture
def collection(photos, tmp_path):
    return indexed_folder(photos, tmp_path / "c")


@contextmanager
def opened(
    browser: Browser, collection: Collection, view: str, *, allows_changes: bool = False, **how: Any
) -> Iterator[Page]:
    """Serve a collection and open a view of it."""
    place = Path(collection.settings.collection)
    options = ServingOptions(allows_changes=allows_changes)
    with (
        served(place, options=options) as site,
        visited(browser, site, f"/?view={view}", **how) as page,
    ):
        yield page


def trash_the_copy(collection) -> str:
    """Move a photo to the trash, and return the name of the run."""
    names = ["image_id", "path"]
    ids = {row["path"]: row["image_id"] for row in collection.store.images(names).to_pylist()}
    group = ReviewedGroup(keeper_id=ids["one.jpg"], copy_ids=[ids["copy.jpg"]])
    summary = trash_copies(collection, [group], report=lambda _: None)
    assert summary.run is not None
    return summary.run


def test_a_run_comes_back_from_the_trash(browser, collection, photos):
    before = (photos / "copy.jpg").read_bytes()
    run = trash_the_copy(collection)
    with opened(browser, collection, "trash", allows_changes=True) as page:
        entry = main(page).get_by_role("listitem")
        expect(entry).to_contain_text("1 photo (")
        expect(entry).to_contain_text(f"run {run}")
        expect(entry).to_contain_text(f"{photos}/.isophote-trash/{run}")
        assert accessibility_faults(page) == []
        assert not (photos / "copy.jpg").exists()
        entry.get_by_role("button", name="Bring back").click()
        moved = page.get_by_role("region", name="What was moved")
        expect(moved).to_contain_text(
            f"from {run}. Run isophote index to have them in the collection"
        )
        expect(moved).to_be_focused()
        expect(page.get_by_role("heading", name="The trash is empty")).to_be_visible()
    assert (photos / "copy.jpg").read_bytes() == before


def test_a_photo_whose_place_is_taken_stays_in_the_trash(browser, collection, photos):
    trash_the_copy(collection)
    (photos / "copy.jpg").write_bytes(b"another")
    with opened(browser, collection, "trash", allows_changes=True) as page:
        page.get_by_role("button", name="Bring back").click()
        moved = page.get_by_role("region", name="What was moved")
        expect(moved.get_by_role("listitem")).to_contain_text(f"{photos}/copy.jpg ")
        expect(page.get_by_role("button", name="Bring back")).to_be_visible()
    assert (photos / "copy.jpg").read_bytes() == b"another"


def test_a_trash_that_is_not_there_is_told(browser, collection, photos):
    trash_the_copy(collection)
    away = photos.parent / "elsewhere"
    photos.rename(away)
    with opened(browser, collection, "trash", allows_changes=True) as page:
        sentence = f"{photos}/.isophote-trash cannot be looked at: is its drive mounted?"
        expect(page.get_by_text(sentence)).to_be_visible()


def test_without_changes_nothing_can_be_brought_back(browser, collection):
    trash_the_copy(collection)
    with opened(browser, collection, "trash") as page:
        expect(page.get_by_text("This server moves nothing")).to_contain_text("isophote undo")
        expect(page.get_by_role("button", name="Bring back")).to_have_count(0)


def test_failures_are_grouped_by_reason(browser, collection, photos, tmp_path):
    with opened(browser, collection, "failures") as page:
        expect(page.get_by_text("4 files could not be indexed.")).to_be_visible()
        damaged, words = main(page).get_by_role("group").all()
        expect(damaged).to_contain_text("image file is truncated (… bytes not processed)")
        expect(words).to_contain_text("is text, not an image")
        damaged.locator("summary").click()
        expect(damaged.get_by_role("listitem")).to_have_count(3)
        expect(damaged.get_by_text("cut1.jpg")).to_be_visible()
        words.locator("summary").click()
        expect(words.get_by_role("listitem")).to_contain_text(
            r"<b>" "\U0001f600" r"\x0abroken \xff.jpg"
        )
        with page.expect_download() as started:
            page.get_by_role("button", name="Save as CSV").click()
        started.value.save_as(tmp_path / "failures.csv")
        page.get_by_label("Show").select_option("Files that could not be read")
        expect(page.get_by_role("heading", name="No failure matches")).to_be_visible()
        expect(page).to_have_url(re.compile("stage=read"))
    with (tmp_path / "failures.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    cut = [row for row in rows if row["path"] == f"{photos}/cut0.jpg"]
    assert [(row["stage"], row["file_size"]) for row in cut] == [("decode", "900")]
    assert len(rows) == 4


def test_a_collection_without_failures(browser, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one.png").write_bytes(image_file(drawn_photo(1), "PNG"))
    indexed_folder(tmp_path / "photos", tmp_path / "c")
    with served(tmp_path / "c") as site, visited(browser, site, "/?view=failures") as page:
        expect(page.get_by_role("heading", name="Every file could be indexed")).to_be_visible()
        page.goto("/?view=trash")
        expect(page.get_by_role("heading", name="The trash is empty")).to_be_visible()
        page.get_by_role("link", name="Look for duplicates").click()
        expect(page.get_by_role("heading", name="No duplicates")).to_be_visible(timeout=30_000)


def test_the_collection_tells_what_it_holds(browser, collection, photos):
    with opened(browser, collection, "collection") as page:
        expect(page.get_by_role("heading", level=1)).to_have_text(collection.settings.collection)
        told = page.get_by_role("main")
        expect(told).to_contain_text("Nothing is being indexed.")
        expect(told).to_contain_text("fake (mean colours)")
        expect(told).to_contain_text("words and photos in one space")
        row = page.get_by_role("row", name=str(photos))
        expect(row.get_by_role("cell").first).to_have_text("6")
        page.get_by_role("link", name="4 files").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Failures")
        page.go_back()
        page.get_by_role("link", name="2 photos").click()
        expect(page).to_have_url(re.compile("[0-9]/$"))


def test_an_ingest_is_told(browser, collection):
    status = {"is_running": True, "writer": None, "n_done": 20, "n_total": 100, "n_failed": 1}
    with opened(browser, collection, "trash") as page:
        rest = {"n_images": 2, "version": collection.store.version, "roots": []}
        page.route("**/api/v1/ingest", lambda route: route.fulfill(json={**status, **rest}))
        page.goto("/?view=collection")
        sentence = "Photos are being indexed: 20 of 100 photos, 1 failed."
        expect(page.get_by_text(sentence)).to_be_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("view", ["trash", "failures", "collection"])
def test_narrow_screens_and_axe(browser, collection, view, theme):
    trash_the_copy(collection)
    with opened(browser, collection, view, allows_changes=True, theme=theme, size=NARROW) as page:
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        page.wait_for_load_state("networkidle")
        for summary in page.locator("main summary").all():
            summary.click()
        assert page.evaluate("document.documentElement.scrollWidth") <= NARROW[0]
        assert accessibility_faults(page) == []


def main(page: Page) -> Locator:
    return page.get_by_role("main")
