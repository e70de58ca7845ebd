"""The review page: its structure, its safety, and what it proposes."""

import hashlib
import re
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from indexer.settings import Settings
from schemas.errors import InputError
from service.collection import Collection
from service.review import page as module
from service.review.page import write_review_page
from tests.makers.photos import drawn_photo, image_file
from tests.makers.stores import new_store
from tests.service.review.listed import (
    THRESHOLD,
    listed_duplicates,
    listed_group,
    listed_photo,
)

HOSTILE = "<b onclick=x>&\"'\n\u202egpj.exe 🏖\ufe0f.jpg"
VOID_TAGS = ("meta", "link", "img", "input")


@dataclass
class Element:
    """A tag with its attributes, and the text of everything in it."""

    tag: str
    attributes: dict[str, str | None]
    parents: tuple["Element", ...]
    text: str = ""

    def has(self, name: str) -> bool:
        return name in (self.attributes.get("class") or "").split()


@dataclass
class Page(HTMLParser):
    """All elements of a page."""

    source: str
    elements: list[Element] = field(default_factory=list)

    def __post_init__(self):
        super().__init__()
        self._open: list[Element] = []
        self.feed(self.source)
        assert not self._open

    def handle_starttag(self, tag, attrs):
        element = Element(tag, dict(attrs), tuple(self._open))
        assert len(element.attributes) == len(attrs)
        self.elements.append(element)
        if tag not in VOID_TAGS:
            self._open.append(element)

    def handle_endtag(self, tag):
        assert self._open.pop().tag == tag

    def handle_data(self, data):
        for element in self._open:
            element.text += data

    def tagged(self, tag: str) -> list[Element]:
        return [element for element in self.elements if element.tag == tag]

    def classed(self, name: str) -> list[Element]:
        return [element for element in self.elements if element.has(name)]

    def within(self, parent: Element, tag: str) -> list[Element]:
        return [e for e in self.tagged(tag) if any(parent is above for above in e.parents)]


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    store = new_store(tmp_path_factory.mktemp("review") / "c")
    return Collection(store, Settings(collection=store.uri))


@pytest.fixture
def written(tmp_path, collection):
    """Write a page, and return it parsed."""

    def write(*groups, **options):
        target = tmp_path / "review.html"
        listed = listed_duplicates(*groups, collection=options.pop("name", "/c"))
        write_review_page(collection, listed, target, **options)
        return Page(target.read_text(encoding="utf-8"))

    return write


@pytest.fixture
def photo(tmp_path):
    """Draw a photo, and return what a list says of it."""

    def draw(image_id, name=None, **known):
        path = tmp_path / (name or f"{image_id}.jpg")
        path.write_bytes(image_file(drawn_photo(image_id), "JPEG"))
        return listed_photo(image_id, path, **known)

    return draw


def gone(image_id):
    return listed_photo(image_id, f"/gone/{image_id}.jpg")


def verdicts(page: Page) -> dict[str | None, str | None]:
    return {e.attributes["data-id"]: e.attributes["data-verdict"] for e in page.classed("photo")}


def ticked(page: Page) -> list[str | None]:
    """Return the ids of the photos whose box is ticked when the page opens."""
    boxes = [box for box in page.tagged("input") if "checked" in box.attributes]
    return [
        above.attributes["data-id"] for box in boxes for above in box.parents if above.has("photo")
    ]


# Safety


def source_hash(text: str) -> str:
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_the_policy_allows_this_style_and_this_script_and_nothing_else(written, photo):
    page = written(listed_group(photo(1), photo(2)))
    (style,), (script,) = page.tagged("style"), page.tagged("script")
    (policy,) = [e for e in page.tagged("meta") if "http-equiv" in e.attributes]
    directives = dict(
        directive.strip().split(" ", 1)
        for directive in (policy.attributes["content"] or "").split(";")
    )
    assert directives == {
        "default-src": "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "img-src": "data:",
        "style-src": source_hash(style.text),
        "script-src": source_hash(script.text),
    }
    assert page.elements.index(policy) < page.elements.index(style)


def test_the_page_requests_nothing(written, photo):
    page = written(listed_group(photo(1), photo(2)))
    loaded = [
        value
        for element in page.elements
        for name, value in element.attributes.items()
        if name in ("src", "srcset", "href", "action", "formaction", "poster", "data", "background")
        and element.tag != "a"
    ]
    assert len(loaded) == 3
    assert all((value or "").startswith("data:") for value in loaded)
    assert not re.search(r"https?:|url\(|@import|fetch\(|XMLHttpRequest|import ", page.source)


def test_nothing_that_the_policy_would_block_is_used(written, photo):
    page = written(listed_group(photo(1), photo(2)), listed_group(gone(3), photo(4)))
    names = {name for element in page.elements for name in element.attributes}
    assert not [name for name in names if name.startswith("on") or name == "style"]


def test_names_are_no_markup(written, photo, tmp_path):
    named = photo(1, HOSTILE)
    group = listed_group(named, photo(2, "caf\udce9.jpg"), difference=HOSTILE)
    page = written(group.model_copy(update={"reason": HOSTILE}), name=f"/{HOSTILE}\udcff")
    shown = HOSTILE.replace("\n", "\\x0a")
    first, second = page.tagged("h3")
    assert (first.text, second.text) == (shown, "caf\\xe9.jpg")
    keeper, copy = page.classed("remark")
    assert keeper.text.strip() == f"Proposed as keeper: {shown}"
    assert copy.text.strip().startswith(f"Compared with 1: {shown}, near-duplicate")
    assert page.classed("folder")[0].text == str(tmp_path)
    (main,) = page.tagged("main")
    assert main.attributes["data-collection"] == f"/{shown}?"
    assert "b" not in {element.tag for element in page.elements}


def test_a_picture_opens_the_very_file(written, photo, tmp_path):
    page = written(listed_group(photo(1, HOSTILE), photo(2, "caf\udce9.jpg")))
    first, second = [link.attributes["href"] for link in page.tagged("a")]
    assert first == (tmp_path / HOSTILE).as_uri()
    assert second == f"{tmp_path.as_uri()}/caf%E9.jpg"


# What is shown


def test_a_photo_is_shown_with_what_is_known_of_it(written, photo, tmp_path):
    page = written(listed_group(photo(1, "a.jpg"), photo(2, file_size=999, quality=0.5)))
    keeper, copy = page.classed("photo")
    for told in (
        "a.jpg",
        str(tmp_path),
        "1,200 × 800 pixels",  # noqa: RUF001 - a times sign
        "2.5 MB JPEG",
        "taken 2024-05-01 12:30:15",
        "quality .713",
        "Proposed as keeper: most pixels",
    ):
        assert told in keeper.text
    for told in ("999 bytes JPEG", "quality .500"):
        assert told in copy.text
    assert "Compared with 1: half as wide, near-duplicate, similarity .990" in copy.text
    (heading,) = page.classed("heading")
    assert "Group 1" in heading.text
    assert "1 copy, 999 bytes; smallest similarity .951" in heading.text


def test_of_imported_vectors_little_is_known(written, photo):
    unknown = dict.fromkeys(("file_size", "width", "height", "format", "taken_at", "quality"))
    page = written(listed_group(photo(1, **unknown), photo(2)))
    facts = page.classed("known")[0].text.strip().splitlines()
    assert [fact for fact in facts if fact] == [
        "size unknown",
        "file unknown",
        "no date",
        "quality unknown",
    ]
    assert page.classed("photo")[0].attributes["data-bytes"] == "0"


@pytest.mark.parametrize(
    ("n_bytes", "shown"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (2_345_678, "2.3 MB"),
        (5 * 10**12, "5.0 TB"),
        (5 * 10**15, "5000.0 TB"),
    ],
)
def test_sizes_are_told_in_the_largest_unit(written, n_bytes, shown):
    page = written(listed_group(gone(1), listed_photo(2, "/gone/2.jpg", file_size=n_bytes)))
    assert f"1 copy in 1 group, {shown}\n" in page.classed("facts")[0].text
    assert f"1 copy, {shown};" in page.classed("heading")[0].text


def test_the_same_is_not_said_twice(written, photo):
    page = written(listed_group(photo(1), photo(2), tier="bytes", difference="same bytes"))
    assert page.classed("remark")[1].text.strip() == "Compared with 1: same bytes, similarity .990"


def test_pictures_are_the_photos(written, photo, tmp_path):
    page = written(listed_group(photo(1), photo(2)))
    for image_id, picture in enumerate(page.tagged("img"), 1):
        kind, _, encoded = (picture.attributes["src"] or "").partition(",")
        assert kind == "data:image/jpeg;base64"
        with (
            Image.open(BytesIO(b64decode(encoded, validate=True))) as shown,
            Image.open(tmp_path / f"{image_id}.jpg") as original,
        ):
            assert shown.size == original.size == (96, 64)
            assert picture.attributes["width"] == "96"
            assert picture.attributes["height"] == "64"
            assert picture.attributes["alt"] == "Open the photo"
            difference = (
                abs(a - b) for a, b in zip(shown.tobytes(), original.tobytes(), strict=True)
            )
            assert sum(difference) / (96 * 64 * 3) < 5


def test_the_head_tells_what_was_searched(written, photo):
    page = written(listed_group(photo(1), photo(2)))
    told = page.classed("facts")[0].text
    assert "Compared1,234 photos\nAliketier near (normal): cosine of .930 and thumbnails" in told
    assert "expected to pair 1 photo in 830 with an unrelated one\n" in told
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC by isophote \d", told)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"threshold": None, "tier": "pixels"}, "by their pixels"),
        ({"strictness": None, "false_pair_rate": None}, "tier near (given): cosine of .930"),
    ],
)
def test_the_head_tells_what_it_knows(tmp_path, collection, changes, rule):
    if "threshold" not in changes:
        changes = {"threshold": THRESHOLD.model_copy(update=changes)}
    target = tmp_path / "page.html"
    write_review_page(collection, listed_duplicates().model_copy(update=changes), target)
    told = Page(target.read_text("utf-8")).classed("facts")[0].text
    assert f"Alike{rule}" in told


def test_nothing_found_is_a_page_without_choices(written):
    page = written()
    assert "No duplicates were found." in page.source
    assert not page.tagged("script")
    assert not page.classed("bar")


# What is proposed


@pytest.mark.parametrize("tier", ["bytes", "pixels", "near"])
def test_copies_are_proposed_for_the_trash(written, photo, tier):
    page = written(listed_group(photo(1), photo(2), photo(3), tier=tier))
    assert verdicts(page) == {"1": "keeper", "2": "trash", "3": "trash"}
    assert ticked(page) == ["2", "3"]
    assert [word.text for word in page.classed("word")] == ["Keeper", "Trash", "Trash"]


def test_similar_photos_are_proposed_to_be_kept(written, photo):
    page = written(listed_group(photo(1), photo(2), tier="similar"))
    assert verdicts(page) == {"1": "keeper", "2": "keep"}
    assert ticked(page) == []
    assert [word.text for word in page.classed("word")] == ["Keeper", "Keep"]


def test_what_cannot_be_seen_cannot_be_chosen(written, photo):
    page = written(listed_group(photo(1), gone(2), photo(3)))
    assert verdicts(page) == {"1": "keeper", "2": "keep", "3": "trash"}
    _, unseen, _ = page.classed("photo")
    (placeholder,) = page.classed("missing")
    assert placeholder.text == "This file cannot be read: no such file or directory"
    assert placeholder.parents[-1] is unseen
    assert not page.within(unseen, "input") + page.within(unseen, "button")


def test_nothing_is_proposed_instead_of_a_keeper_that_cannot_be_seen(written, photo):
    page = written(listed_group(gone(1), photo(2)), listed_group(photo(3), photo(4)))
    assert verdicts(page) == {"1": "keeper", "2": "keep", "3": "keeper", "4": "trash"}
    assert ticked(page) == ["4"]


# Limits


def test_groups_beyond_the_limit_are_counted_and_not_read(written, photo):
    groups = [listed_group(photo(number), photo(number + 1)) for number in (1, 3, 5)]
    page = written(*groups, max_groups=2)
    assert "2 of 3 groups shown" in page.classed("intro")[0].text
    assert list(verdicts(page)) == ["1", "2", "3", "4"]
    assert len(page.tagged("img")) == 4
    assert "groups shown" not in written(*groups, max_groups=3).source


def test_of_a_large_group_the_closest_copies_are_shown(written, photo, monkeypatch):
    monkeypatch.setattr(module, "MAX_COPIES", 2)
    page = written(listed_group(*map(photo, range(1, 6))), listed_group(photo(6), photo(7)))
    assert list(verdicts(page)) == ["1", "2", "3", "6", "7"]
    first, second = page.classed("heading")
    assert "4 copies, 10.0 MB; smallest similarity .951; the 2 closest are shown" in first.text
    assert "shown" not in second.text


def test_a_limit_below_one_is_a_bug(written):
    with pytest.raises(ValueError, match="max_groups must be >= 1, got 0"):
        written(max_groups=0)


def test_a_page_that_cannot_be_written_leaves_the_old_one(collection, photo, tmp_path):
    target = tmp_path / "folder"
    target.mkdir()
    listed = listed_duplicates(listed_group(photo(1), photo(2)))
    with pytest.raises(InputError, match=r"cannot write .*folder: .*; name a file that can be"):
        write_review_page(collection, listed, target)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.jpg", "2.jpg", "folder"]


# What the script and assistive technology rely on


def test_references_between_elements_hold(written, photo):
    page = written(listed_group(photo(1), photo(2)), listed_group(photo(3), gone(4)))
    ids = [element.attributes["id"] for element in page.elements if "id" in element.attributes]
    assert len(ids) == len(set(ids))
    referring = ("aria-labelledby", "aria-describedby")
    referred = [
        target
        for element in page.elements
        for name in referring
        for target in (element.attributes.get(name) or "").split()
    ]
    assert len(referred) > 10
    assert set(referred) <= set(ids)


def test_what_the_script_looks_for_is_there(written, photo):
    page = written(listed_group(photo(1), photo(2)))
    script = page.tagged("script")[0].text
    wanted = set(re.findall(r'byId\("(.+?)"\)', script))
    assert wanted == {"status", "accept", "none", "undo", "help", "save", "keys"}
    assert wanted <= {element.attributes.get("id") for element in page.elements}
    classes = set(re.findall(r'"\.([a-z-]+)"', script))
    assert classes == {"group", "photo", "word", "choice", "keep-all", "make-keeper", "bar"}
    assert all(page.classed(name) for name in classes)


def test_the_page_knows_its_collection(written, photo, collection):
    group = listed_group(photo(1), photo(2))
    mains = [written(group, name="/my/photos").tagged("main")[0].attributes for _ in range(2)]
    assert mains[0]["data-collection"] == "/my/photos"
    assert mains[0]["data-created-at"] == "2026-01-02T12:00:00+00:00"
    # Each page keeps what is decided on it under a key of its own.
    assert mains[0]["data-key"] != mains[1]["data-key"]


def test_every_control_has_a_name(written, photo):
    page = written(listed_group(photo(1), photo(2)))
    assert all(button.text.strip() for button in page.tagged("button"))
    boxes = page.tagged("input")
    assert len(boxes) == 3
    assert all(box.parents[-1].tag == "label" and box.parents[-1].text.strip() for box in boxes)


def test_without_scripts_there_is_nothing_to_press(written, photo):
    page = written(listed_group(photo(1), photo(2)))
    for control in page.tagged("button") + page.tagged("input"):
        assert any(
            above.has("needs-script") or above.tag == "dialog"
            for above in (*control.parents, control)
        )
    assert "html:not(.live) .needs-script { display: none; }" in page.tagged("style")[0].text


def test_the_style_and_script_end_no_element():
    for name in ("page.css", "page.js"):
        assert "</" not in Path(module.__file__).with_name(name).read_text(encoding="utf-8")
