"""Captions that came with vectors become a file of named embeddings."""

from pathlib import Path

import numpy as np
import pytest

from indexer.settings import Settings
from schemas.errors import InputError
from service.collection import Collection, open_collection
from service.exchange.caption_export import export_captions
from service.exchange.importing import import_vectors
from service.texts import read_named_embeddings
from tests.makers.vectors import clip_retrieval_folder, unit_vectors

CAPTIONS = ["a dog", "a cat", "", "a dog", "ein Bär"]


def imported(place: Path, source: Path) -> Collection:
    settings = Settings(collection=str(place))
    import_vectors([source], settings=settings, report=lambda _: None)
    return open_collection(settings)


def written(collection, target, **options):
    return export_captions(collection, target, report=lambda _: None, **options)


@pytest.fixture
def collection(tmp_path) -> Collection:
    texts = unit_vectors(5, seed=1)
    texts[3] = texts[0]
    folder = clip_retrieval_folder(
        tmp_path / "f", unit_vectors(5), part_rows=3, texts=texts, caption=CAPTIONS
    )
    return imported(tmp_path / "c", folder)


def test_each_caption_is_written_once_with_its_embedding(tmp_path, collection, monkeypatch):
    monkeypatch.setattr("service.exchange.caption_export.BLOCK_ROWS", 2)
    summary = written(collection, tmp_path / "captions.npz")
    assert summary.n_images == 3
    found = read_named_embeddings(tmp_path / "captions.npz", dim=6)
    assert found.names == ("a dog", "a cat", "ein Bär")
    np.testing.assert_allclose(found.embeddings, unit_vectors(5, seed=1)[[0, 1, 4]], atol=1e-3)


def test_only_captions_of_the_selection_are_written(tmp_path, collection):
    assert written(collection, tmp_path / "a.npz", where="image_id >= 3").n_images == 2
    with np.load(tmp_path / "a.npz") as arrays:
        assert arrays["names"].tolist() == ["a dog", "ein Bär"]
        assert arrays["embeddings"].dtype == np.float16
    with pytest.raises(InputError, match="no caption to export"):
        written(collection, tmp_path / "b.npz", where="caption = ''")


def test_a_collection_without_captions_says_where_they_come_from(tmp_path):
    np.save(tmp_path / "a.npy", unit_vectors(2))
    with pytest.raises(InputError, match="no captions with embeddings; they come with a folder"):
        written(imported(tmp_path / "c", tmp_path / "a.npy"), tmp_path / "a.npz")


def test_another_kind_of_file_is_refused(tmp_path, collection):
    with pytest.raises(InputError, match=r"a.csv is to hold embeddings with names; end its name"):
        written(collection, tmp_path / "a.csv")
