"""What happens around an ingest run."""

from pathlib import Path

import pytest

from indexer.settings import Settings
from schemas.collection import ModelSource
from schemas.errors import InputError, MismatchError
from service.collection import open_collection
from service.indexing import index_photos
from tests.fakes import FakeEncoder
from tests.makers.photos import drawn_photo, image_file


@pytest.fixture(autouse=True)
def fake_models(monkeypatch):
    """Whatever model is named is the fake one."""
    opened = []

    def open_fake(model, *, pretrained, device, n_threads):
        opened.append((model, pretrained, device, n_threads))
        return FakeEncoder()

    monkeypatch.setattr("service.collection.open_encoder", open_fake)
    return opened


@pytest.fixture
def photos(tmp_path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(3):
        (folder / f"{seed}.png").write_bytes(image_file(drawn_photo(seed), "PNG"))
    return folder


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(collection=str(tmp_path / "collection"), threads=2)


def index(folders, settings, **options):
    return index_photos(folders, settings=settings, report=lambda _: None, **options)


def test_a_collection_is_made_with_the_built_in_model_unless_another_is_named(photos, settings):
    index([photos], settings)
    assert open_collection(settings).store.info.source == ModelSource(model="pocket")


def test_the_search_index_is_ready_when_indexing_ends(photos, settings):
    index([photos], settings)
    stamps = {path.name for path in Path(settings.collection, "ann").glob("*.json")}
    assert stamps == {"clip.json"}  # the fake model's default space is the one of words


def test_a_model_on_disk_is_remembered_by_its_full_path(photos, settings, tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    index([photos], settings, source=ModelSource(model="model"))
    expected = ModelSource(model=str(tmp_path / "model"))
    assert open_collection(settings).store.info.source == expected
    index([photos], settings, source=ModelSource(model="./model"))  # the same one


def test_a_local_directory_is_remembered_by_its_full_path(photos, settings, tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    index([photos], settings, source=ModelSource(model="local-dir:model"))
    source = open_collection(settings).store.info.source
    assert source == ModelSource(model=f"local-dir:{tmp_path / 'model'}")


def test_a_checkpoint_is_remembered_by_its_full_path(photos, settings, tmp_path, monkeypatch):
    (tmp_path / "weights.pt").touch()
    monkeypatch.chdir(tmp_path)
    index([photos], settings, source=ModelSource(model="ViT-B-32", pretrained="weights.pt"))
    source = open_collection(settings).store.info.source
    assert source == ModelSource(model="ViT-B-32", pretrained=str(tmp_path / "weights.pt"))


def test_the_model_is_not_opened_when_nothing_is_new(photos, settings, fake_models):
    index([photos], settings)
    assert len(fake_models) == 1
    assert index([photos], settings).n_unchanged == 3
    assert len(fake_models) == 1


def test_another_model_is_refused_before_anything_is_read(photos, settings):
    index([photos], settings)
    (photos / "new.png").write_bytes(image_file(drawn_photo(9), "PNG"))
    with pytest.raises(MismatchError, match="'pocket', not 'ViT-B-32' \\(openai\\)"):
        index([photos], settings, source=ModelSource(model="ViT-B-32", pretrained="openai"))
    assert open_collection(settings).store.count_images() == 3


def test_folders_without_photos_make_no_collection(settings, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no photos in"):
        index([tmp_path / "empty"], settings)
    assert not Path(settings.collection).exists()


def test_without_faiss_a_large_collection_gets_the_stores_own_index(photos, settings, monkeypatch):
    monkeypatch.setattr("service.indexing.faiss_is_available", lambda: False)
    monkeypatch.setattr("service.indexing.STORE_INDEX_ROWS", 3)
    built = []
    monkeypatch.setattr(
        "indexer.store.Store.build_vector_index", lambda store: built.append(store.count_images())
    )
    index([photos], settings)
    assert built == [3]
    assert not Path(settings.collection, "ann").exists()
