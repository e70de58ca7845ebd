"""A collection that is served while others write to it, remake it, or take it away."""

import logging
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from indexer.settings import Settings
from schemas.errors import CollectionNotFoundError, ModelError, UnknownPhotoError
from service import collection as collection_module
from service.search import Query, StoredPhoto, Words, find
from service.web import live as live_module
from service.web.live import LiveCollection
from tests.fakes import FakeEncoder
from tests.makers.libraries import indexed_colours, indexed_folder


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


@pytest.fixture
def place(tmp_path, photos):
    indexed_colours(photos, tmp_path / "c")
    return tmp_path / "c"


def opened(place):
    return LiveCollection(Settings(collection=str(place)), FakeEncoder())


def paths_found(live, words):
    found = find(live.collection, [Query(Words(words))], top_k=20)
    rows = live.photo_table.photos(found.image_ids, ("path",))
    return rows["path"].to_pylist()


def test_photos_added_by_another_process_are_found_after_a_refresh(place, photos):
    live = opened(place)
    assert len(paths_found(live, "red")) == 6
    Image.new("RGB", (40, 40), (255, 10, 10)).save(photos / "reddish.png")
    indexed_folder(photos, place)
    assert len(paths_found(live, "red")) == 6
    live.refresh()
    assert paths_found(live, "red")[:2] == ["red.png", "reddish.png"]


def test_removed_photos_are_not_found(place, photos):
    live = opened(place)
    red = paths_found(live, "red")[0]
    (photos / red).unlink()
    indexed_folder(photos, place)
    live.refresh()
    assert "red.png" not in paths_found(live, "red")
    assert len(paths_found(live, "red")) == 5
    with pytest.raises(UnknownPhotoError):
        find(live.collection, [Query(StoredPhoto(_id_of("red.png", place)))], top_k=3)


def _id_of(name, place):
    # Of the first run: photos are indexed in the order of their names.
    return sorted(
        ["red.png", "green.png", "blue.png", "yellow.png", "white.png", "black.png"]
    ).index(name)


def test_what_is_open_stays_open(place, photos):
    live = opened(place)
    before = live.collection
    before.gallery("clip")
    before.text_embedding("red")
    Image.new("RGB", (40, 40), (250, 10, 10)).save(photos / "reddish.png")
    indexed_folder(photos, place)
    live.refresh()
    after = live.collection
    assert after is not before
    assert after.encoder is before.encoder
    assert after.gallery("clip").settled.ann_index is before.gallery("clip").settled.ann_index
    assert len(before.photo_table) == 6
    assert len(after.photo_table) == 7


def test_nothing_is_done_while_nothing_changes(place):
    live = opened(place)
    before = live.collection
    live.refresh()
    assert live.collection is before


def test_a_collection_made_anew_at_the_same_place_replaces_the_old_one(place, photos):
    live = opened(place)
    shutil.rmtree(place)
    (photos / "red.png").unlink()
    indexed_folder(photos, place)
    live.refresh()
    assert len(paths_found(live, "red")) == 5
    assert "red.png" not in paths_found(live, "red")


def test_a_collection_that_is_gone_is_answered_from_what_is_known(place, photos):
    live = opened(place)
    paths_found(live, "red")
    shutil.rmtree(place)
    with pytest.raises(CollectionNotFoundError, match="no collection"):
        live.refresh()
    assert len(live.photo_table) == 6


def test_commits_are_followed_without_being_asked(place, photos, monkeypatch):
    monkeypatch.setattr(live_module, "REFRESH_SECONDS", 0.02)
    live = opened(place)
    live.start()
    try:
        Image.new("RGB", (40, 40), (250, 10, 10)).save(photos / "reddish.png")
        indexed_folder(photos, place)
        _wait_until(lambda: len(live.photo_table) == 7)
    finally:
        live.close()


def test_what_keeps_it_from_following_is_logged_once(place, monkeypatch, caplog):
    monkeypatch.setattr(live_module, "REFRESH_SECONDS", 0.01)
    live = opened(place)
    live.start()
    try:
        shutil.move(place, Path(f"{place}-away"))
        with caplog.at_level(logging.WARNING):
            _wait_until(lambda: "no collection" in caplog.text)
            time.sleep(0.1)
        assert caplog.text.count("no collection") == 1
    finally:
        live.close()


def test_without_its_model_a_collection_is_still_served(place, caplog, monkeypatch):
    def refuse(*_, **__):
        raise ModelError("the weights of fake are missing")

    monkeypatch.setattr(collection_module, "open_encoder", refuse)
    live = LiveCollection(Settings(collection=str(place)))
    with caplog.at_level(logging.WARNING):
        live.start()
        _wait_until(lambda: "weights of fake" in caplog.text)
        live.close()
    found = find(live.collection, [Query(StoredPhoto(0))], top_k=2)
    assert len(found.image_ids) == 2
    assert found.similarities[0] >= found.similarities[1]
    assert np.all(found.image_ids != 0)


def _wait_until(holds, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came to hold"
        time.sleep(0.01)
