"""The photo table in memory against the store it is read from."""

import numpy as np
import pytest

from indexer.store import open_store
from schemas.photos import PhotoSummary
from service.photo_table import COLUMNS, PhotoTable
from tests.makers.stores import image_rows, new_store, random_features


@pytest.fixture
def store(tmp_path):
    store = new_store(tmp_path / "c", features=random_features(30))
    store.delete_images(np.array([3, 29], np.int64))
    store.append_images(image_rows(store, random_features(4), first_id=40))
    return store


def test_photos_are_those_of_the_store_in_the_order_of_the_ids(store):
    table = PhotoTable.read(store)
    asked = np.array([43, 0, 17, 17, 3, 99, -5], np.int64)
    expected = store.images_by_id(np.array([43, 0, 17, 17], np.int64), COLUMNS)
    assert table.photos(asked, COLUMNS).to_pylist() == expected.select(COLUMNS).to_pylist()


def test_a_summary_has_the_full_path(store):
    table = PhotoTable.read(store)
    (summary,) = table.summaries(np.array([17, 99], np.int64))
    row = store.images(["root", "path"], "image_id = 17").to_pylist()[0]
    assert summary["path"] == f"{row['root']}/{row['path']}"
    assert set(summary) == set(PhotoSummary.model_fields)


def test_only_the_columns_asked_for_come_back(store):
    table = PhotoTable.read(store)
    photos = table.photos(np.array([5], np.int64), ("path", "root"))
    assert photos.column_names == ["path", "root"]


def test_it_knows_its_version_and_its_ids(store):
    table = PhotoTable.read(store)
    assert table.version == store.version
    assert len(table) == 32
    assert table.image_ids.tolist() == sorted(store.images(["image_id"])["image_id"].to_pylist())
    store.delete_images(np.array([0], np.int64))
    assert table.version < store.version
    assert len(table) == 32


def test_numbers_and_words_come_in_the_order_of_the_ids(store):
    table = PhotoTable.read(store)
    assert table.numbers("width").tolist() == [100 + n % 10 for n in table.image_ids.tolist()]
    assert np.isnan(table.numbers("anomaly")).all()
    assert table.words("format") == ["PNG" if n % 2 else "JPEG" for n in table.image_ids.tolist()]
    assert table.words("label") == []


def test_an_empty_collection_has_an_empty_table(tmp_path):
    table = PhotoTable.read(new_store(tmp_path / "c"))
    assert len(table) == 0
    assert table.photos(np.array([0, 5], np.int64), COLUMNS).num_rows == 0
    assert table.ordered_ids("-quality").tolist() == []


def test_it_is_of_what_is_committed(store):
    assert len(PhotoTable.read(open_store(store.uri))) == 32
