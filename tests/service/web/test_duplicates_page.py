"""The review of duplicates in a real browser: by mouse and by keys, to the trash and back."""

import re
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlparse

import pytest
from click.testing import CliRunner
from playwright.sync_api import Browser, Locator, Page, Route, expect

from indexer.lock import writer_lock
from schemas.duplicates import DuplicateGroup, DuplicateList
from schemas.http import DuplicatesPage
from service.cli import cli
from service.web.options import ServingOptions
from tests.makers.libraries import indexed_folder
from tests.service.duplicates.copied_photos import write_family
from tests.service.review.listed import listed_duplicates, listed_group, listed_photo
from tests.service.web.browser import (
    accessibility_faults,
    needs_browser,
    running_browser,
    served,
    visited,
)

expect.set_options(timeout=15_000)

pytestmark = [pytest.mark.slow, needs_browser]

REVIEW = "/?view=duplicates"
CHANGES = ServingOptions(allows_changes=True)

MANY = 2000
JSON = "application/json"

FIND_MILLISECONDS = 30_000

ODD_NAME = "<b>photo3 (1) \U0001f600.png"

FOUND = "3 groups with 5 copies (148.2 kB) among 10 photos."
ALL = "5 photos to the trash, 148.2 kB"


class Library:
    """Photos with copies, and a collection of them.

    Groups come in this order: photo3.png with the same bytes under ODD_NAME; photo1.png, half as
    wide, saved anew and mirrored; photo2.png and turned.
    """

    def __init__(self, place: Path) -> None:
        self.photos = place / "photos"
        self.collection = place / "c"
        self.photos.mkdir()
        write_family(self.photos, 1, "half.jpg", "mirrored.jpg", "resaved.jpg")
        write_family(self.photos, 2, "turned.jpg")
        for seed in (3, 4, 5):
            write_family(self.photos, seed)
        shutil.copy(self.photos / "photo3.png", self.photos / ODD_NAME)
        indexed_folder(self.photos, self.collection)

    def files(self) -> Counter[tuple[str, bytes]]:
        """Names and bytes of the photos that are in their places."""
        paths = [path for path in self.photos.iterdir() if path.is_file()]
        return Counter((path.name, path.read_bytes()) for path in paths)

    def names(self) -> set[str]:
        return {name for name, _ in self.files()}


@pytest.fixture(scope="module")
def browser():
    with running_browser() as browser:
        yield browser


@pytest.fixture
def library(tmp_path):
    return Library(tmp_path)


@pytest.fixture
def site(library):
    """A server that may move photos."""
    with served(library.collection, options=CHANGES) as site:
        yield site


@pytest.fixture
def page(browser, site):
    """The review, when all groups are there."""
    with reviewed(browser, site) as page:
        yield page


@pytest.fixture(scope="module")
def still_site(tmp_path_factory):
    """As `site`, for tests that move nothing: what was looked for is found at once."""
    library = Library(tmp_path_factory.mktemp("still"))
    with served(library.collection, options=CHANGES) as site:
        yield site


@pytest.fixture
def still_page(browser, still_site):
    with reviewed(browser, still_site) as page:
        yield page


@contextmanager
def reviewed(browser: Browser, site: str, **options: Any) -> Iterator[Page]:
    """Open the review and wait for its groups."""
    with visited(browser, site, REVIEW, **options) as page:
        # To look for them takes a process of its own, which takes seconds on a busy machine.
        expect(told(page, FOUND)).to_be_visible(timeout=FIND_MILLISECONDS)
        yield page


def card(page: Page, name: str) -> Locator:
    return page.get_by_role("article", name=name)


def told(page: Page, text: str) -> Locator:
    """A text of the view, and not what a screen reader is told besides."""
    return page.get_by_role("main").get_by_text(text)


def status(page: Page) -> Locator:
    return page.get_by_role("region", name="Decisions").get_by_role("status")


def moved(page: Page) -> Locator:
    return page.get_by_role("region", name="What was moved")


def test_copies_move_to_the_trash_and_come_back(page, library):
    before = library.files()
    expect(card(page, "photo1.png Keeper")).to_contain_text("PNG loses nothing, JPEG does")
    expect(card(page, "photo1-half.jpg Trash")).to_contain_text("50% as wide, as JPEG")
    card(page, "photo1-resaved.jpg").get_by_label("Trash").uncheck()
    expect(status(page)).to_have_text(re.compile("^4 photos to the trash"))
    page.get_by_role("button", name="Move to the trash").click()
    asked = page.get_by_role("dialog", name="Move 4 photos to the trash?")
    expect(asked).to_contain_text("4 photos of 3 groups")
    assert library.files() == before
    asked.get_by_role("button", name="Move 4 photos").click()
    expect(moved(page)).to_contain_text(
        re.compile("^Moved 4 photos .* to .*/photos/.isophote-trash/")
    )
    assert library.names() == {*(f"photo{n}.png" for n in range(1, 6)), "photo1-resaved.jpg"}
    expect(told(page, "1 group with 1 copy")).to_be_visible()
    moved(page).get_by_role("button", name="Undo").click()
    expect(moved(page)).to_contain_text("Brought back 4 photos")
    expect(moved(page)).to_contain_text("Run isophote index to have them in the collection again")
    assert library.files() == before


def test_nothing_moves_when_it_is_not_confirmed(page, library):
    before = library.files()
    page.get_by_role("button", name="Move to the trash").click()
    page.get_by_role("button", name="Cancel").click()
    expect(status(page)).to_have_text(ALL)
    assert library.files() == before


def test_a_review_by_keys(page, library):
    expect(status(page)).to_have_text(ALL)
    page.keyboard.press("j")
    expect(card(page, ODD_NAME)).to_be_focused()
    page.keyboard.press("x")  # keep it
    page.keyboard.press("j")
    page.keyboard.press("3")  # the second copy
    page.keyboard.press("m")
    expect(card(page, "photo1-resaved.jpg Keeper")).to_be_focused()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Space")
    expect(card(page, "photo1-half.jpg Keep")).to_be_focused()
    page.keyboard.press("j")
    page.keyboard.press("a")  # keep all of the group
    page.keyboard.press("z")  # or not
    expect(card(page, "photo2-turned.jpg Trash")).to_be_focused()
    page.keyboard.press("s")
    page.keyboard.press("Shift+Tab")  # from Cancel
    page.keyboard.press("Enter")
    expect(moved(page)).to_contain_text("Moved 3 photos")
    kept = {"photo1-half.jpg", "photo1-resaved.jpg", "photo2.png", "photo3.png", ODD_NAME}
    assert library.names() == kept | {"photo4.png", "photo5.png"}


def test_proposals_for_all_groups_at_once(still_page):
    page = still_page
    proposals = page.get_by_role("group", name="For the trash")
    proposals.get_by_role("button", name="Only same bytes (1)").click()
    expect(status(page)).to_have_text("1 photo to the trash, 108.3 kB")
    proposals.get_by_role("button", name="Keep everything").click()
    expect(status(page)).to_have_text("0 photos to the trash, 0 bytes")
    expect(page.get_by_role("button", name="Move to the trash")).to_be_disabled()
    page.get_by_role("button", name="Undo").click()
    expect(status(page)).to_have_text("1 photo to the trash, 108.3 kB")
    proposals.get_by_role("button", name="Accept all proposals (5)").click()
    expect(status(page)).to_have_text(ALL)


def test_decisions_outlast_a_reload(still_page):
    page = still_page
    card(page, "photo2-turned.jpg").get_by_role("button", name="Make keeper").click()
    page.reload()
    expect(card(page, "photo2-turned.jpg Keeper")).to_be_visible()
    expect(card(page, "photo2.png Trash")).to_be_visible()
    page.goto(page.url + "&tier=bytes")
    expect(status(page)).to_have_text("1 photo to the trash, 108.3 kB")


def test_a_server_that_moves_nothing_saves_what_the_command_line_moves(browser, library):
    decisions = library.photos.parent / "decisions.json"
    with served(library.collection) as site, visited(browser, site, REVIEW) as page:
        expect(page.get_by_text("This server moves nothing")).to_contain_text(
            "isophote duplicates --apply --reviewed decisions.json"
        )
        card(page, "photo2-turned.jpg").get_by_role("button", name="Make keeper").click()
        with page.expect_download() as started:
            page.get_by_role("button", name="Save decisions").click()
        assert started.value.suggested_filename == "decisions.json"
        started.value.save_as(decisions)
    command = ["duplicates", "--apply", "--reviewed", str(decisions), "-c", str(library.collection)]
    done = CliRunner().invoke(cli, command)
    assert (done.exit_code, done.stdout[:14]) == (0, "Moved 5 photos")
    kept = {"photo1.png", "photo2-turned.jpg", "photo3.png", "photo4.png", "photo5.png"}
    assert library.names() == kept


def test_two_photos_are_compared_through_one_lens(still_page):
    page = still_page
    card(page, "photo1-half.jpg").get_by_role("button", name="Compare").click()
    compared = page.get_by_role("dialog", name="50% as wide, as JPEG")
    pictures = compared.locator("img").all()
    for picture in pictures:
        expect(picture).to_be_visible()
    assert sizes(pictures)[1] == pytest.approx(sizes(pictures)[0])  # the copy is as large
    before = sizes(pictures)[0]
    page.keyboard.press("+")
    page.keyboard.press("ArrowRight")
    assert sizes(pictures) == pytest.approx([1.25 * before] * 2)
    first, second = (picture.evaluate("image => image.style.left") for picture in pictures)
    assert first == second
    page.keyboard.press("1")
    expect(compared.locator("output")).to_have_text("100 %")
    assert sizes(pictures) == pytest.approx([320] * 2)


def test_two_photos_are_compared_in_one_place(still_page):
    page = still_page
    card(page, "photo1-half.jpg").focus()
    page.keyboard.press("c")
    first, second = page.get_by_role("dialog").locator("figure").all()
    page.keyboard.press("f")
    expect(first).to_be_hidden()
    page.keyboard.press("f")
    expect(second).to_be_hidden()
    page.keyboard.press("d")
    expect(first).to_be_visible()
    expect(second).to_be_visible()


def test_a_turned_copy_is_turned_back_to_compare(still_page):
    page = still_page
    card(page, "photo2-turned.jpg").focus()
    page.keyboard.press("c")
    pictures = page.get_by_role("dialog").locator("img").all()
    for picture in pictures:
        expect(picture).to_be_visible()
    assert shape(pictures[1]) == "upright"
    page.keyboard.press("t")
    assert shape(pictures[1]) == shape(pictures[0]) == "wide"


def test_decisions_are_made_while_comparing(still_page):
    page = still_page
    card(page, "photo1-half.jpg").focus()
    page.keyboard.press("c")
    page.keyboard.press("x")
    page.keyboard.press("j")
    page.keyboard.press("j")
    expect(page.get_by_role("dialog", name="mirrored, as JPEG")).to_be_visible()
    page.keyboard.press("m")
    page.keyboard.press("j")  # of the next group
    expect(page.get_by_role("dialog", name="turned left, as JPEG")).to_be_visible()
    page.keyboard.press("Escape")
    expect(card(page, "photo2-turned.jpg Trash")).to_be_focused()
    expect(card(page, "photo1-half.jpg Keep")).to_be_visible()
    expect(card(page, "photo1-mirrored.jpg Keeper")).to_be_visible()
    expect(status(page)).to_have_text(re.compile("^4 photos to the trash"))


def test_a_photo_that_vanished_is_not_moved(browser, site, library):
    (library.photos / "photo1-half.jpg").unlink()
    with reviewed(browser, site, tolerated=("status of 410",)) as page:
        gone = card(page, "photo1-half.jpg Keep")
        expect(gone).to_contain_text("photo1-half.jpg is gone")
        expect(gone.get_by_label("Trash")).to_be_hidden()
        expect(status(page)).to_have_text(re.compile("^4 photos to the trash"))


def test_nothing_moves_while_another_process_writes(browser, site, library):
    before = library.files()
    with reviewed(browser, site, tolerated=("status of 409",)) as page:
        with writer_lock(library.collection):
            page.get_by_role("button", name="Move to the trash").click()
            page.get_by_role("button", name="Move 5 photos").click()
            expect(page.get_by_role("alert")).to_contain_text("is being written by process")
        assert library.files() == before
        page.get_by_role("button", name="Try again").click()
        expect(moved(page)).to_contain_text("Moved 5 photos")


def test_what_stays_is_told_with_its_reason(browser, site, library):
    with reviewed(browser, site, tolerated=("status of 410",)) as page:
        page.wait_for_load_state("networkidle")
        (library.photos / "photo2-turned.jpg").write_bytes(b"edited since")
        page.get_by_role("button", name="Move to the trash").click()
        page.get_by_role("button", name="Move 5 photos").click()
        expect(moved(page)).to_contain_text("Moved 4 photos")
        expect(moved(page)).to_contain_text("1 file was not moved")
        left = moved(page).get_by_role("listitem")
        expect(left).to_have_text(re.compile("photo2-turned.jpg has changed"))
    assert "photo2-turned.jpg" in library.names()


def test_other_questions_are_asked_in_the_address(still_page):
    page = still_page
    page.get_by_role("radio", name="Same bytes").check()
    expect(told(page, "1 group with 1 copy (108.3 kB)")).to_be_visible()
    expect(page).to_have_url(re.compile("view=duplicates&tier=bytes$"))
    page.get_by_text("More choices").click()
    page.get_by_label("Only photos for which").fill("path like '%photo1%'")
    page.get_by_role("button", name="Look").click()
    expect(page.get_by_role("heading", name="No duplicates")).to_be_visible()
    page.get_by_role("link", name="Look for near-duplicates").click()
    expect(told(page, "1 group with 3 copies")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("heading", name="No duplicates")).to_be_visible()


def test_a_filter_that_is_none_is_answered_with_a_sentence(browser, still_site):
    with visited(
        browser, still_site, f"{REVIEW}&where=drop+it", tolerated=("status of 400",)
    ) as page:
        expect(page.get_by_role("alert")).to_contain_text("drop it")


def test_thousands_of_groups_are_in_the_page_in_part_only(browser, still_site):
    # There are no such photos.
    with visited(browser, still_site, "/?view=collection", tolerated=("status of 404",)) as page:
        page.route("**/api/v1/duplicates?*", answer_many_groups)
        page.goto(REVIEW)
        expect(status(page)).to_have_text(re.compile("^2,000 photos to the trash"))
        assert page.get_by_role("article").count() < 100
        page.keyboard.press("j")
        page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
        expect(page.get_by_role("heading", name="Group 2,000")).to_be_visible()
        assert page.get_by_role("article").count() < 100


def test_a_large_group_is_shown_in_part_until_more_is_asked_for(browser, still_site):
    def answer(route: Route) -> None:
        photos = [listed_photo(number, f"/photos/{number}.jpg") for number in range(81)]
        route.fulfill(body=groups_page(listed_duplicates(listed_group(*photos))), content_type=JSON)

    with visited(browser, still_site, "/?view=collection", tolerated=("status of 404",)) as page:
        page.route("**/api/v1/duplicates?*", answer)
        page.goto(REVIEW)
        expect(page.get_by_role("article")).to_have_count(61)
        page.get_by_role("button", name="Show 20 more copies").click()
        expect(page.get_by_role("article")).to_have_count(81)
        expect(page.get_by_role("article").nth(61)).to_be_focused()


def test_a_collection_that_has_changed_is_looked_through_again(browser, site, library):
    with reviewed(browser, site):
        shutil.copy(library.photos / "photo4.png", library.photos / "photo4 (1).png")
        indexed_folder(library.photos, library.collection)
    with reviewed(browser, site) as page:
        expect(told(page, "The collection has changed since")).to_be_visible()
        page.get_by_role("button", name="Look again").click()
        expect(told(page, "4 groups with 6 copies")).to_be_visible(timeout=FIND_MILLISECONDS)
        expect(told(page, "The collection has changed since")).to_be_hidden()


def test_photos_of_a_folder_are_kept_rather_than_others(browser, site, library):
    (library.photos / "sorted").mkdir()
    (library.photos / ODD_NAME).rename(library.photos / "sorted" / "sorted.png")
    indexed_folder(library.photos, library.collection)
    with reviewed(browser, site) as page:
        expect(card(page, "sorted.png Trash")).to_be_visible()
        page.get_by_text("More choices").click()
        folders = page.get_by_label("Keep photos in this folder")
        folders.select_option(f"{library.photos}/sorted")
        page.get_by_role("button", name="Prefer it").click()
        expect(card(page, "sorted.png Keeper")).to_be_visible(timeout=FIND_MILLISECONDS)
        page.get_by_role("button", name="Do not prefer").click()
        expect(card(page, "sorted.png Trash")).to_be_visible()


def test_a_photo_is_opened_and_the_focus_comes_back(still_page):
    page = still_page
    card(page, "photo1-half.jpg").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="photo1-half.jpg", level=2)).to_be_visible()
    page.keyboard.press("Escape")
    expect(card(page, "photo1-half.jpg")).to_be_focused()


def test_keys_are_told_and_can_be_turned_off(still_page):
    page = still_page
    page.keyboard.press("?")
    keys = page.get_by_role("dialog", name="Keys")
    expect(keys).to_contain_text("compare with the keeper")
    keys.get_by_label("Use these keys").uncheck()
    keys.get_by_role("button", name="Close").click()
    card(page, "photo1-half.jpg").focus()
    page.keyboard.press("x")
    page.keyboard.press("c")
    expect(status(page)).to_have_text(ALL)
    expect(page.get_by_role("dialog")).to_have_count(0)


@pytest.mark.parametrize("size", [(320, 640), (390, 844)])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_narrow_screens(browser, still_site, theme, size):
    with visited(browser, still_site, REVIEW, theme=theme, size=size) as page:
        expect(told(page, FOUND)).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
        assert accessibility_faults(page) == []
        card(page, "photo1-half.jpg").get_by_role("button", name="Compare").click()
        expect(page.get_by_role("dialog").locator("img").last).to_be_visible()
        assert page.evaluate("document.querySelector('.compare').scrollWidth") <= size[0]
        assert accessibility_faults(page) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(browser, site, theme):
    with visited(browser, site, REVIEW, theme=theme) as page:
        expect(told(page, FOUND)).to_be_visible()
        page.get_by_text("More choices").click()
        assert accessibility_faults(page) == []
        card(page, "photo2-turned.jpg").get_by_role("button", name="Compare").click()
        assert accessibility_faults(page) == []
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Move to the trash").click()
        assert accessibility_faults(page) == []
        page.get_by_role("button", name="Move 5 photos").click()
        expect(moved(page)).to_be_visible()
        assert accessibility_faults(page) == []


def answer_many_groups(route: Route) -> None:
    """Answer with a page of MANY groups that are all like one, but for the ids."""
    asked = dict(parse_qsl(urlparse(route.request.url).query))
    offset, limit = int(asked["offset"]), int(asked["limit"])
    listed = listed_duplicates(*(one_copy(number) for number in range(MANY)[offset:][:limit]))
    route.fulfill(body=groups_page(listed, n_groups=MANY, offset=offset), content_type=JSON)


def groups_page(listed: DuplicateList, *, n_groups: int = 1, offset: int = 0) -> str:
    """What the server answers."""
    found = listed.model_dump(exclude={"collection"})
    state = {"version": 1, "is_current": True, "n_groups": n_groups, "offset": offset}
    return DuplicatesPage(**state, **found).model_dump_json()


def one_copy(number: int) -> DuplicateGroup:
    photos = (listed_photo(2 * number + place, f"/photos/{place}.jpg") for place in (0, 1))
    return listed_group(*photos)


def sizes(pictures: list[Locator]) -> list[float]:
    """How wide pictures are shown."""
    return [shown_size(picture)[0] for picture in pictures]


def shape(picture: Locator) -> str:
    width, height = shown_size(picture)
    return "wide" if width > height else "upright"


def shown_size(picture: Locator) -> tuple[float, float]:
    box = picture.bounding_box()
    assert box is not None
    return box["width"], box["height"]
