"""Each reason to keep a photo, by itself and against those that count less."""

from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from service.duplicates.keepers import (
    RANKED_COLUMNS,
    Preference,
    Ranking,
)

PLAIN = {
    "root": "/photos",
    "path": "b.jpg",
    "width": 4000,
    "height": 3000,
    "format": "JPEG",
    "file_size": 5_000_000,
    "taken_at": None,
    "camera": None,
    "latitude": None,
    "jpeg_quality": 90,
    "quality": 0.5,
    "sharpness": 2.5,
    "n_alike": 1,
    "n_same_way": 1,
    "mean_alike": 0.9,
    "has_frame": 0,
}
TYPES = {
    "taken_at": pa.timestamp("us"),
    "camera": pa.string(),
    "latitude": pa.float64(),
    "jpeg_quality": pa.int16(),
}
SCHEMA = pa.schema(
    [(name, TYPES.get(name, pa.scalar(value).type)) for name, value in PLAIN.items()]
)
WHEN = datetime(2024, 5, 1)  # noqa: DTZ001 - cameras know no zone


def facts(*photos):
    return pa.Table.from_pylist([{**PLAIN, **photo} for photo in photos], schema=SCHEMA)


def order(photos, preference):
    return Ranking.of(photos, preference).order


def reason(photos, keeper, other, preference):
    told = photos.take([keeper, other]).to_pylist()
    return Ranking.of(photos, preference).reason(keeper, other, told)


# What makes a photo the better keeper, with what is said of it against one that is `PLAIN`.
BETTER: dict[str, tuple[dict[str, Any], str]] = {
    "folder": ({"path": "best/z.jpg"}, "in a preferred folder"),
    "no-frame": ({}, "no frame around it"),
    "pixels": ({"width": 8000}, "most pixels: 8000 x 3000, not 4000 x 3000"),
    "raw": ({"format": "RAW", "jpeg_quality": None}, "a camera raw file"),
    "facts": ({"taken_at": WHEN, "camera": "Acme"}, "most is known of where and how it was taken"),
    "name": ({}, "the others are named as copies"),
    "alike": ({"n_alike": 3}, "most of the others are like it"),
    "same-way": ({"n_same_way": 3}, "most of the others lie the same way"),
    "few-more-pixels": ({"width": 4100}, "most pixels: 4100 x 3000, not 4000 x 3000"),
    "closest": ({"mean_alike": 0.95}, "closest to the others"),
    "lossless": ({"format": "PNG", "jpeg_quality": None}, "PNG loses nothing, JPEG does"),
    "compression": ({"jpeg_quality": 95}, "least compressed: JPEG quality 95, not 90"),
    "quality": ({"quality": 0.55}, "highest quality: 0.55, not 0.50"),
    "sharpness": ({"sharpness": 3.0}, "sharpest"),
    "bytes": ({"file_size": 6_000_000}, "largest file"),
    "short-path": ({"path": "a.jpg"}, "shortest path; nothing else tells them apart"),
    "path": ({"path": "a.jpg"}, "first by path; nothing else tells them apart"),
}
WORSE: dict[str, dict[str, Any]] = {
    "no-frame": {"has_frame": 1},
    "name": {"path": "b copy.jpg"},
    "short-path": {"path": "b/b.jpg"},
}
PREFERENCE = Preference(("/photos/best",))


@pytest.mark.parametrize("name", BETTER)
def test_the_better_photo_is_kept_and_the_reason_told(name):
    better, told = BETTER[name]
    photos = facts(WORSE.get(name, {}), better)
    assert order(photos, PREFERENCE).tolist() == [1, 0]
    assert reason(photos, 1, 0, PREFERENCE) == told


@pytest.mark.parametrize(("first", "second"), list(pairwise(list(BETTER)[:-1])))
def test_reasons_count_in_their_order(first, second):
    """A photo that is better by the first reason is kept before one that is by the second."""
    better, other = BETTER[first][0], {**BETTER[second][0], **WORSE.get(first, {})}
    if second in WORSE:
        better = {**WORSE[second], **better}
    photos = facts(other, better)
    assert order(photos, PREFERENCE).tolist() == [1, 0]


def test_the_folder_that_comes_first_counts_most():
    photos = facts({"path": "a/x.jpg"}, {"path": "b/x.jpg"}, {"path": "c/x.jpg"})
    preference = Preference(("/photos/c", "/photos/b"))
    assert order(photos, preference).tolist() == [2, 1, 0]


def test_a_folder_is_not_one_that_begins_alike():
    photos = facts({"path": "best-of/x.jpg"}, {"path": "a.jpg"})
    assert order(photos, PREFERENCE).tolist() == [1, 0]


def test_preferred_folders_are_made_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Preference.of([Path("sorted")]).folders == (str(tmp_path / "sorted"),)


@pytest.mark.parametrize(
    "name",
    [
        "IMG_1 (2).jpg",
        "IMG_1-copy.jpg",
        "IMG_1 Kopie.jpg",
        "IMG_1_edited.jpg",
        "thumb_IMG_1.jpg",
        "small.jpg",
        "WhatsApp Image 2023.jpg",
        "Screenshot_1.jpg",
        "IMG_1.resized.jpg",
    ],
)
def test_names_of_copies(name):
    photos = facts({"path": name}, {"path": f"a/much/longer/path/{'x' * 40}.jpg"})
    assert order(photos, Preference()).tolist() == [1, 0]


@pytest.mark.parametrize("name", ["copyright.jpg", "smallville.jpg", "IMG_1(a).jpg", "edition.jpg"])
def test_names_that_only_look_like_it(name):
    photos = facts({"path": name}, {"path": f"a/much/longer/path/{'x' * 40}.jpg"})
    assert order(photos, Preference()).tolist() == [0, 1]


def test_differences_too_small_to_mean_anything_do_not_decide():
    photos = facts({"quality": 0.501, "path": "bb.jpg"}, {"quality": 0.499, "path": "a.jpg"})
    assert order(photos, Preference()).tolist() == [1, 0]


def test_photos_of_which_nothing_is_known_have_an_order():
    names = [name for name in RANKED_COLUMNS if name not in ("root", "path")]
    unknown = dict.fromkeys(names)
    photos = facts({**unknown, "path": "2"}, {**unknown, "path": "1"}, {"path": "3"})
    assert order(photos, Preference()).tolist() == [2, 1, 0]
    assert reason(photos, 1, 0, Preference()).startswith("first by path")


def test_no_two_photos_are_equal():
    photos = facts(*[{"path": f"{n}.jpg"} for n in range(5)])
    np.testing.assert_array_equal(order(photos, Preference()), [0, 1, 2, 3, 4])
