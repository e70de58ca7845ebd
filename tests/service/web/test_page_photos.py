"""The photos view in a real browser: finding, filtering, looking, exporting."""

import re
from urllib.parse import parse_qs, urlparse

import pytest
from playwright.sync_api import Page, expect

from tests.service.web.browser import (
    EMOJI_NAME,
    LINES_NAME,
    LONG_NAME,
    NARROW,
    indexed_album,
    names_in_view,
    needs_browser,
    panel_of,
    png_bytes,
    running_browser,
    served,
    visited,
)
from tests.service.web.servers import wait_until

pytestmark = [pytest.mark.slow, needs_browser]


@pytest.fixture(scope="module")
def browser():
    with running_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def album(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    place = tmp_path_factory.mktemp("collection") / "c"
    return folder, place, indexed_album(folder, place)


@pytest.fixture(scope="module")
def site(album):
    with served(album[1]) as site:
        yield site


@pytest.fixture
def page(browser, site):
    with visited(browser, site) as page:
        expect(page.locator(".tile img.there").first).to_be_visible()
        yield page


def parameters_of(page: Page) -> dict[str, list[str]]:
    return parse_qs(urlparse(page.url).query)


def heading(page: Page, text: str | re.Pattern[str]) -> None:
    expect(page.get_by_role("heading", level=1)).to_have_text(text)


def search(page: Page, words: str) -> None:
    page.get_by_role("searchbox", name="Search by words").fill(words)
    page.keyboard.press("Enter")


def first_photo(page: Page, name: str | re.Pattern[str]) -> None:
    expect(page.get_by_role("gridcell").first).to_have_attribute(
        "aria-label", re.compile(name) if isinstance(name, str) else name
    )


def test_all_photos_are_shown_the_newest_first(page, album):
    heading(page, f"{album[2]} photos")
    dates = [re.search(r"taken (\S+)", name) for name in names_in_view(page)]
    dated = [found[1] for found in dates if found]
    assert len(dated) > 20
    assert dated == sorted(dated, reverse=True)


def test_words_find_photos(page):
    search(page, "green")
    first_photo(page, r"^green\.png, similarity 1\.000")
    assert parameters_of(page) == {"q": ["green"]}


def test_another_search_takes_the_place_of_the_last(page):
    search(page, "green")
    first_photo(page, "^green")
    search(page, "blue")
    first_photo(page, "^blue")
    assert parameters_of(page) == {"q": ["blue"]}


def test_a_chosen_photo_finds_photos_like_it(page):
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Search by a photo").click()
    chooser.value.set_files(
        {"name": "mine.png", "mimeType": "image/png", "buffer": png_bytes("red")}
    )
    first_photo(page, "^red")
    chip = page.get_by_role("list", name="Searched for")
    expect(chip).to_contain_text("your photo")
    expect(chip.locator("img")).to_have_attribute("src", re.compile("^blob:"))
    assert parameters_of(page)["q"][0].startswith("upload:")


def test_a_dropped_photo_finds_photos_like_it(page):
    drop(page, list(png_bytes("blue")), "image/png")
    first_photo(page, "^blue")


def test_a_pasted_photo_finds_photos_like_it(page):
    page.evaluate(
        """(bytes) => {
          const clipboardData = new DataTransfer();
          const type = "image/png";
          clipboardData.items.add(new File([new Uint8Array(bytes)], "p.png", { type }));
          document.body.dispatchEvent(
            new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }));
        }""",
        list(png_bytes("yellow")),
    )
    first_photo(page, "^yellow")


def drop(page: Page, content: list[int], kind: str) -> None:
    page.evaluate(
        """([bytes, type]) => {
          const dataTransfer = new DataTransfer();
          dataTransfer.items.add(new File([new Uint8Array(bytes)], "dropped", { type }));
          for (const name of ["dragover", "drop"]) {
            document.body.dispatchEvent(
              new DragEvent(name, { dataTransfer, bubbles: true, cancelable: true }));
          }
        }""",
        [content, kind],
    )


def test_a_file_that_is_no_photo_says_so_and_changes_nothing(browser, site):
    with visited(browser, site, tolerated=("status of 422",)) as page:
        heading(page, re.compile("photos"))
        drop(page, list(b"not a photo"), "image/png")
        expect(page.get_by_role("alert")).to_contain_text("not an image")
        assert parameters_of(page) == {}


def test_a_click_finds_similar_photos(page):
    search(page, "green")
    first_photo(page, "^green")
    tile = page.get_by_role("gridcell").first
    tile.hover()
    tile.get_by_role("button", name="Find similar photos").click()
    expect(page.get_by_role("list", name="Searched for")).to_contain_text("photo ")
    expect(page.get_by_role("gridcell").first).not_to_have_attribute(
        "aria-label", re.compile(r"^green\.png")
    )
    assert parameters_of(page)["q"][0].startswith("id:")


def test_parts_are_added_subtracted_weighed_and_removed(page):
    search(page, "red")
    first_photo(page, "^red")
    words = page.get_by_role("searchbox", name="Search by words")
    words.fill("green")
    page.get_by_role("button", name="Add", exact=True).click()
    best = page.request.get("/api/v1/search?q=red&q=green").json()["hits"][0]
    first_photo(page, re.escape(best["path"].rpartition("/")[2]))
    words.fill("white")
    page.get_by_role("button", name="Without").click()
    expect(page).to_have_url(re.compile("minus=white"))
    page.get_by_role("button", name="Weight 1 of red; change to 2").click()
    expect(page).to_have_url(re.compile(r"q=red%5E2"))
    page.get_by_role("button", name="Like green; change to unlike").click()
    expect(page).to_have_url(re.compile("minus=green"))
    assert parameters_of(page) == {"q": ["red^2"], "minus": ["green", "white"]}
    page.get_by_role("button", name="Remove white").click()
    page.get_by_role("button", name="Remove green").click()
    first_photo(page, "^red")
    assert parameters_of(page) == {"q": ["red^2"]}


def test_only_what_to_avoid_asks_for_more(browser, site):
    with visited(browser, site, "/?minus=red") as page:
        expect(page.get_by_role("heading", name="Unlike what?")).to_be_visible()
        page.get_by_role("button", name="Show all photos").click()
        heading(page, re.compile("photos"))


def test_words_are_compared_only_where_texts_are(page):
    search(page, "red")
    first_photo(page, "^red")
    space = page.get_by_role("combobox", name="Compare in")
    expect(space.locator("option[value=trunk]")).to_be_disabled()
    space.select_option("semantic")
    expect(page.locator(".note")).to_have_text(re.compile("compared in semantic"))
    assert parameters_of(page) == {"q": ["red"], "space": ["semantic"]}


def test_a_quality_filter_is_in_the_address_and_comes_back_from_it(page, browser, site):
    lowest = page.get_by_role("slider", name="Lowest quality")
    expect(lowest).to_be_enabled()
    lowest.focus()
    for _ in range(4):
        page.keyboard.press("PageUp")
    expect(page).to_have_url(re.compile("quality="))
    heading(page, re.compile(r"^\d+ of \d+ photos$"))
    told = page.get_by_role("heading", level=1).inner_text()
    kept = lowest.get_attribute("aria-valuetext")
    assert "% of" in kept
    with visited(browser, site, page.url.removeprefix(site)) as shared:
        heading(shared, told)
        again = shared.get_by_role("slider", name="Lowest quality")
        expect(again).to_have_attribute("aria-valuetext", kept)
        shared.get_by_role("button", name="Remove the filter quality").click()
        heading(shared, re.compile(r"^\d+ photos$"))


def test_photos_are_filtered_by_folder_and_date(page):
    page.get_by_role("checkbox", name="2011", exact=False).first.check()
    heading(page, re.compile("^20 of "))
    expect(page.get_by_role("list", name="Filters in use")).to_contain_text("/2011")
    page.get_by_label("Taken from").fill("2011-03-01")
    page.get_by_label("Taken until").fill("2011-03-15")
    page.keyboard.press("Tab")
    # Seeds 2 and 14.
    heading(page, re.compile("^2 of "))


def test_a_folder_in_a_shared_address_gets_its_name_on_narrow_screens(browser, site, album):
    root = str(album[0])
    with visited(browser, site, f"/?folder=root+%3D+%27{root}%27", size=NARROW) as page:
        expect(page.get_by_role("list", name="Filters in use")).to_contain_text(root)


def test_photos_without_a_date_are_found(page):
    page.get_by_role("checkbox", name=re.compile("Without a date")).check()
    heading(page, re.compile("^9 of "))


def test_photos_are_filtered_by_any_condition(page):
    page.get_by_text("Condition", exact=True).click()
    page.get_by_role("textbox", name="SQL condition").fill("path like '%d%' and format = 'PNG'")
    page.get_by_role("button", name="Apply").click()
    heading(page, re.compile("^1 of "))
    first_photo(page, "^red")


def test_a_condition_that_is_none_is_told_with_a_way_out(browser, site, album):
    with visited(browser, site, "/?where=drop+it", tolerated=("status of 400",)) as page:
        expect(page.get_by_role("alert")).to_contain_text("The filter 'drop it' is not valid")
        page.get_by_role("button", name="Remove the condition").click()
        heading(page, f"{album[2]} photos")


def test_nothing_found_offers_to_remove_the_filters(browser, site, album):
    with visited(browser, site, "/?quality=5..") as page:
        expect(page.get_by_role("heading", name="No photo matches")).to_be_visible()
        page.get_by_role("button", name="Remove the filters").click()
        heading(page, f"{album[2]} photos")


def test_low_quality_is_ranked_with_reasons(page):
    page.get_by_role("link", name="Low quality").click()
    heading(page, "Low quality")
    expect(page.locator(".caption").first).to_have_text(re.compile(r"^\.\d{3} \w+"))
    qualities = [float(text.split()[0]) for text in page.locator(".caption").all_inner_texts()]
    assert qualities == sorted(qualities)
    page.get_by_role("combobox", name="Order").select_option("best")
    heading(page, "Best quality")


def test_outliers_say_how_scores_are_made_where_there_are_none(page):
    page.get_by_role("link", name="Outliers").click()
    expect(page.get_by_role("heading", name="No photo has an anomaly score yet")).to_be_visible()
    expect(page.get_by_text("isophote anomalies score usual")).to_be_visible()


def test_back_returns_to_the_view_before(page):
    search(page, "red")
    first_photo(page, "^red")
    search(page, "blue")
    first_photo(page, "^blue")
    page.go_back()
    first_photo(page, "^red")
    expect(page.get_by_role("list", name="Searched for")).to_contain_text("red")
    page.go_back()
    heading(page, re.compile("photos$"))


def test_back_from_a_photo_keeps_the_place(page):
    page.mouse.move(800, 500)
    page.mouse.wheel(0, 900)
    # The place is kept when the page has been still for a moment.
    wait_until(lambda: page.evaluate("scrollY > 600 && history.state?.scroll === scrollY"))
    before = page.evaluate("scrollY")
    page.get_by_role("link", name="Low quality").evaluate("link => link.click()")
    heading(page, "Low quality")
    assert page.evaluate("scrollY") == 0
    page.go_back()
    wait_until(lambda: page.evaluate("scrollY") == before)


def test_names_are_shown_as_text(page):
    for name, shown in (
        (EMOJI_NAME, EMOJI_NAME),
        (LINES_NAME, r"two\x0alines.jpg"),
        (LONG_NAME, LONG_NAME),
    ):
        where = f"path = '{name}'"
        page.evaluate(
            "where => history.pushState({}, '', `/?where=${encodeURIComponent(where)}`)", where
        )
        page.reload()
        tile = page.get_by_role("gridcell").first
        expect(tile).to_have_attribute("aria-label", shown)
        tile.click()
        panel = panel_of(page)
        expect(panel.get_by_role("heading", level=2)).to_have_text(shown)
        assert panel.locator("h2 img").count() == 0
        page.keyboard.press("Escape")


def test_selected_photos_are_exported(page, album):
    tiles = page.get_by_role("gridcell")
    tiles.nth(1).click(modifiers=["ControlOrMeta"])
    tiles.nth(4).click(modifiers=["Shift"])
    selection = page.get_by_role("region", name="Selection")
    expect(selection).to_contain_text("4 photos selected")
    selection.get_by_text("Export").click()
    with page.expect_download() as download:
        selection.get_by_role("link", name="Paths, for xargs -0").click()
    paths = download.value.path().read_bytes().split(b"\0")
    names = [name.partition(",")[0] for name in names_in_view(page)[1:5]]
    assert sorted(path.rpartition(b"/")[2].decode() for path in paths[:-1]) == sorted(names)


def test_a_view_is_exported(page):
    search(page, "red")
    first_photo(page, "^red")
    page.locator(".tools").get_by_text("Export").click()
    with page.expect_download() as download:
        page.locator(".tools").get_by_role("link", name="JSON lines").click()
    first = download.value.path().read_text("utf-8").splitlines()[0]
    assert first.count("red.png") == 1


def test_sizes_and_fit_of_the_photos_are_kept(page):
    def n_columns():
        return int(page.get_by_role("grid").get_attribute("aria-colcount"))

    before = n_columns()
    page.get_by_role("button", name="Larger photos").click()
    assert n_columns() < before
    larger = n_columns()
    page.get_by_role("button", name="Show whole photos").click()
    page.reload()
    expect(page.locator(".tile img.there").first).to_be_visible()
    assert n_columns() == larger
    assert (
        page.locator(".tile img").first.evaluate("e => getComputedStyle(e).objectFit") == "contain"
    )
