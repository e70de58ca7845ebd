"""Lists of photos, counts for filters, and exports of a view."""

import csv
import io
import json
from datetime import datetime

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from indexer.settings import Settings
from indexer.store import open_store
from schemas.errors import FilterError, InputError
from service import photos as photos_module
from service.collection import Collection
from service.photo_table import PhotoTable
from service.photos import (
    anomaly_page,
    dates,
    folders,
    found_page,
    histogram,
    list_photos,
    ordered_ids,
    quality_page,
)
from service.search import Found
from service.view_export import view_file
from tests.makers.stores import image_rows, new_store, random_features

ROWS = {
    "root": ["/photos", "/photos", "/photos", "/other", "/other"],
    "path": ["b.jpg", "2023/it's/a.jpg", "2023/c.jpg", "d\n.jpg", "2023/e.jpg"],
    "taken_at": [
        datetime(2023, 7, 1),  # noqa: DTZ001 - cameras write no zone
        None,
        datetime(2021, 1, 5),  # noqa: DTZ001
        datetime(2023, 7, 9),  # noqa: DTZ001
        None,
    ],
    "quality": [0.5, 0.1, 0.9, 0.3, 0.7],
    "anomaly": [None, 2.0, 3.0, None, 1.0],
    "anomaly_reference": [None, "normal", "normal", None, "normal"],
    "label": [None, "dog", None, "dog", "cat"],
}


def collection_at(place, **columns):
    store = new_store(place / "c")
    store.append_images(image_rows(store, random_features(5), **{**ROWS, **columns}))
    return with_table(place)


def with_table(place):
    store = open_store(str(place / "c"))
    settings = Settings(collection=store.uri)
    return Collection(store, settings, photo_table=PhotoTable.read(store))


@pytest.fixture
def collection(tmp_path):
    return collection_at(tmp_path)


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("-taken_at", [3, 0, 2, 4, 1]),
        ("taken_at", [2, 0, 3, 4, 1]),
        ("quality", [1, 3, 0, 4, 2]),
        ("-quality", [2, 4, 0, 3, 1]),
        ("-anomaly", [2, 1, 4, 0, 3]),
        ("anomaly", [4, 1, 2, 0, 3]),
        ("path", [2, 4, 1, 0, 3]),
        ("-image_id", [4, 3, 2, 1, 0]),
    ],
)
def test_photos_come_in_the_order_asked_for_and_unknown_values_last(collection, order, expected):
    page = list_photos(collection, order=order)
    assert [photo.image_id for photo in page.images] == expected
    assert (page.n_images, page.offset, page.version) == (5, 0, collection.store.version)


def test_a_page_is_a_part_of_the_list(collection):
    page = list_photos(collection, order="quality", offset=1, limit=2)
    assert [photo.image_id for photo in page.images] == [3, 0]
    assert page.n_images == 5
    assert list_photos(collection, offset=5).images == []


def test_a_photo_is_told_with_its_full_path(collection):
    photo = list_photos(collection, order="quality", limit=1).images[0]
    assert photo.path == "/photos/2023/it's/a.jpg"
    assert photo.quality == pytest.approx(0.1)
    assert (photo.width, photo.anomaly) == (101, 2.0)
    assert (photo.taken_at, photo.label) == (None, "dog")


def test_only_photos_that_match_are_listed_in_the_same_order(collection):
    page = list_photos(collection, order="-quality", where="path like '2023/%'")
    assert [photo.image_id for photo in page.images] == [2, 4, 1]
    assert page.n_images == 3
    with pytest.raises(FilterError, match="is not valid"):
        list_photos(collection, where="nonsense =")


def test_an_empty_collection_has_no_pages(tmp_path):
    new_store(tmp_path / "c")
    empty = with_table(tmp_path)
    assert list_photos(empty).images == []
    assert histogram(empty, "quality").counts == []
    assert dates(empty).months == []
    assert folders(empty).folders == []


def test_the_photo_table_is_needed(collection):
    with pytest.raises(ValueError, match="without its photo table"):
        list_photos(Collection(collection.store, collection.settings))


def test_what_was_found_is_told_with_its_similarity_and_without_what_is_gone(collection):
    found = Found("clip", 5, np.array([4, 99, 0]), np.array([0.75, 0.5, 0.25], np.float32))
    page = found_page(collection, found, offset=0)
    assert [(hit.image_id, hit.similarity) for hit in page.hits] == [(4, 0.75), (0, 0.25)]
    assert page.hits[0].path == "/other/2023/e.jpg"
    assert [hit.image_id for hit in found_page(collection, found, offset=2).hits] == [0]


def test_the_worst_come_with_their_reason(collection):
    page = quality_page(collection, offset=1, limit=2)
    assert [photo.image_id for photo in page.images] == [3, 0]
    assert page.n_rated == 5
    assert set(page.images[0].cues) >= {"sharpness", "noise"}
    best = quality_page(collection, order="best", limit=1, where="root = '/photos'")
    assert [photo.image_id for photo in best.images] == [2]


def test_anomalies_need_a_reference(collection):
    with pytest.raises(InputError, match="no anomaly reference"):
        anomaly_page(collection)


def test_a_histogram_counts_what_is_known(collection):
    counted = histogram(collection, "anomaly", n_bins=2)
    assert (counted.n_known, counted.n_unknown) == (3, 2)
    assert counted.edges == [1.0, 2.0, 3.0]
    assert counted.counts == [1, 2]
    assert histogram(collection, "quality", where="quality > 0.6").n_known == 2


def test_months_are_counted_in_their_order(collection):
    counted = dates(collection)
    assert [(month.month, month.n_images) for month in counted.months] == [
        ("2021-01", 1),
        ("2023-07", 2),
    ]
    assert counted.n_undated == 2


def test_folders_come_with_the_filter_that_selects_them_and_what_lies_below(collection):
    counted = folders(collection)
    assert [(found.root, found.folder, found.n_images) for found in counted.folders] == [
        ("/other", "", 1),
        ("/other", "2023", 1),
        ("/photos", "", 1),
        ("/photos", "2023", 1),
        ("/photos", "2023/it's", 1),
    ]
    assert [len(ordered_ids(collection, order="path", where=f.where)) for f in counted.folders] == [
        2,
        1,
        3,
        2,
        1,
    ]


def test_of_too_many_folders_the_fullest_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(photos_module, "MAX_FOLDERS", 1)
    paths = ["a/1.jpg", "b/1.jpg", "b/2.jpg", "c/1.jpg", "d.jpg"]
    counted = folders(collection_at(tmp_path, root=["/p"] * 5, path=paths))
    assert [found.folder for found in counted.folders] == ["b"]
    assert counted.n_left_out == 3


def test_a_view_is_exported_in_its_order(collection):
    table, image_ids = collection.photo_table, np.array([4, 1, 77], np.int64)
    similarities = np.array([0.5, 0.25, 0.0], np.float32)
    rows = list(
        csv.DictReader(
            io.StringIO(view_file(table, image_ids, kind="csv", similarities=similarities).decode())
        )
    )
    assert [(row["image_id"], row["path"], row["similarity"]) for row in rows] == [
        ("4", "/other/2023/e.jpg", "0.5"),
        ("1", "/photos/2023/it's/a.jpg", "0.25"),
    ]
    lines = view_file(table, image_ids, kind="jsonl").decode().splitlines()
    assert [json.loads(line)["image_id"] for line in lines] == [4, 1]
    read = parquet.read_table(pa.BufferReader(view_file(table, image_ids, kind="parquet")))
    assert read["label"].to_pylist() == ["cat", "dog"]


def test_paths_are_exported_as_the_file_system_knows_them(tmp_path):
    paths = ["\U0010ffff.jpg", "d\n.jpg", "a.jpg", "b.jpg", "c.jpg"]
    collection = collection_at(tmp_path, root=["/p"] * 5, path=paths)
    exported = view_file(collection.photo_table, np.array([0, 1], np.int64), kind="paths")
    assert exported == b"/p/\xff.jpg\0/p/d\n.jpg\0"
