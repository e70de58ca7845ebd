"""CIFAR's pictures become a collection with the features of photos."""

from pathlib import Path

import numpy as np
import pytest

from indexer.preprocess import preprocess
from indexer.settings import Settings
from indexer.store import vectors_of
from schemas.collection import ModelSource
from schemas.errors import InputError, MismatchError
from service.collection import open_collection
from service.exchange.cifar_import import import_cifar
from service.search import parse_query, search
from tests.fakes import FakeEncoder
from tests.makers.cifar import (
    NAMES,
    cifar_pictures,
    pickled_cifar10,
    pickled_cifar100,
)
from tests.makers.stores import new_store


@pytest.fixture
def encoder(monkeypatch) -> FakeEncoder:
    """Whatever model is named is this one."""
    encoder = FakeEncoder()
    monkeypatch.setattr("service.collection.open_encoder", lambda *_, **__: encoder)
    return encoder


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(collection=str(tmp_path / "collection"), threads=2, batch_size=4)


def imported(settings, folder, *, kind="cifar10", **options):
    return import_cifar(folder, kind=kind, settings=settings, report=lambda _: None, **options)


def rows_of(settings, *columns):
    return open_collection(settings).store.images(["image_id", *columns]).sort_by("image_id")


def test_pictures_become_rows_with_path_label_and_split(tmp_path, settings, encoder):
    summary = imported(settings, pickled_cifar10(tmp_path / "c"))
    assert (summary.n_read, summary.n_imported, summary.n_images) == (18, 18, 18)
    rows = rows_of(settings, "path", "label", "split", "width", "format", "root").to_pylist()
    assert rows[4] == {
        "image_id": 4,
        "path": "train/00004",
        "label": NAMES[1],
        "split": "train",
        "width": 32,
        "format": "CIFAR-10",
        "root": "",
    }
    assert [row["path"] for row in rows[14:17]] == ["train/00014", "test/00000", "test/00001"]


def test_cifar100_has_coarse_labels(tmp_path, settings, encoder):
    imported(settings, pickled_cifar100(tmp_path / "c"), kind="cifar100")
    rows = rows_of(settings, "label", "coarse_label").to_pylist()
    assert [row["coarse_label"] for row in rows[:4]] == [
        "machines",
        "machines",
        "animals",
        "machines",
    ]


def test_features_are_those_of_the_preprocessed_pictures(tmp_path, settings, encoder):
    imported(settings, pickled_cifar10(tmp_path / "c"), splits=["test"])
    store = open_collection(settings).store
    preprocessing = encoder.description.require_preprocessing()
    pixels = [preprocess(picture, preprocessing) for picture in cifar_pictures(3, seed=5)]
    expected = encoder.encode_images(np.stack(pixels)).features
    found = vectors_of(rows_of(settings, "features")["features"])
    np.testing.assert_array_equal(found, expected.astype(np.float16))
    assert (store.info.origin, store.info.source) == ("vectors", ModelSource(model="pocket"))
    assert max(encoder.batch_sizes) <= 4


def test_all_spaces_and_words_work(tmp_path, settings, encoder):
    imported(settings, pickled_cifar10(tmp_path / "c"))
    for space in ("clip", "isoclip", "trunk"):
        found = search(
            open_collection(settings), [parse_query("id:3")], space=space, where="split = 'test'"
        )
        assert [hit.path[:5] for hit in found.hits] == ["test/"] * 3
    assert search(open_collection(settings), [parse_query("red")], top_k=1).hits


def test_a_second_run_adds_what_is_missing(tmp_path, settings, encoder):
    folder = pickled_cifar10(tmp_path / "c")
    imported(settings, folder, splits=["test"])
    often = settings.model_copy(update={"append_rows": 4})
    summary = imported(often, folder)
    assert (summary.n_imported, summary.n_known, summary.n_images) == (15, 3, 18)
    assert len(set(rows_of(settings, "path")["path"].to_pylist())) == 18


def test_an_interrupt_keeps_what_was_embedded(tmp_path, settings, encoder):
    folder = pickled_cifar10(tmp_path / "c", n_pictures=8)

    def interrupt(progress):
        if progress.n_done == 12:
            raise KeyboardInterrupt

    summary = import_cifar(folder, kind="cifar10", settings=settings, report=interrupt)
    assert summary.interrupted
    assert (summary.n_imported, summary.n_pending, summary.n_images) == (12, 36, 12)
    assert imported(settings, folder).n_images == 48


def test_another_model_or_kind_is_refused(tmp_path, settings, encoder):
    folder = pickled_cifar10(tmp_path / "c")
    imported(settings, folder, splits=["test"])
    with pytest.raises(MismatchError, match="made with model 'pocket', not 'other'"):
        imported(settings, folder, source=ModelSource(model="other"))
    fine = pickled_cifar100(tmp_path / "d")
    with pytest.raises(InputError, match="holds something else than cifar100"):
        imported(settings, fine, kind="cifar100")


def test_a_collection_of_photos_is_refused(tmp_path, settings, encoder):
    new_store(Path(settings.collection))
    with pytest.raises(InputError, match="holds something else than cifar10"):
        imported(settings, pickled_cifar10(tmp_path / "c"))


def test_a_damaged_archive_leaves_no_collection(tmp_path, settings, encoder):
    folder = pickled_cifar10(tmp_path / "c")
    (folder / "test_batch").write_bytes(b"")
    with pytest.raises(InputError, match="not one of the original files"):
        imported(settings, folder)
    assert not Path(settings.collection, "collection.lance").exists()
