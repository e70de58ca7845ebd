"""Galleries that grow while they are open: the same answers as a gallery opened anew."""

import numpy as np
import pytest

from indexer import growing_gallery as growing_module
from indexer.ann import faiss_is_available
from indexer.gallery import StoreGallery, ann_reports, cache_directory, open_ann_gallery
from indexer.growing_gallery import (
    caught_up,
    open_growing,
    open_served_gallery,
)
from indexer.spaces import space_map
from tests.makers.stores import described, image_rows, new_store, random_features, random_projectors

pytestmark = pytest.mark.skipif(not faiss_is_available(), reason="needs FAISS")

MODEL = described(embedding_dim=8)
N_IMAGES = 300


@pytest.fixture
def store(tmp_path):
    return new_store(
        tmp_path / "c",
        model=MODEL,
        projectors=random_projectors(with_biases=True),
        features=random_features(N_IMAGES),
    )


def opened(store, space="clip"):
    placed = space_map(space, model=MODEL, projectors=store.projectors, band=store.info.band)
    return open_growing(store, placed, current_ids(store))


def add_rows(store, n_images):
    first_id = store.next_image_id()
    store.append_images(
        image_rows(store, random_features(n_images, seed=first_id), first_id=first_id)
    )


def current_ids(store):
    return np.sort(np.asarray(store.images(["image_id"])["image_id"], np.int64))


def assert_answers_like(gallery, anew, *, where=None):
    for query in np.eye(8, dtype=np.float32)[:4]:
        similarities, image_ids = gallery.search(query, top_k=20, where=where)
        expected, expected_ids = anew.search(query, top_k=20, where=where)
        assert image_ids.tolist() == expected_ids.tolist()
        assert similarities == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("where", [None, "image_id >= 290", "width > 104"])
@pytest.mark.parametrize("space", ["clip", "trunk"])
def test_added_photos_are_found_beside_the_settled_ones(store, space, where):
    gallery = opened(store, space)
    centre = gallery.space_map.centre
    if space == "trunk":
        # Both compare around the mean of the photos that there were at first.
        assert centre is not None
    for n_images in (7, 1, 30):
        add_rows(store, n_images)
        gallery = gallery.caught_up(current_ids(store))
    assert len(gallery.recent.image_ids) == 38
    anew = open_ann_gallery(store, gallery.space_map)
    if space == "clip":
        assert_answers_like(gallery, anew, where=where)
    else:
        _, image_ids = gallery.search(gallery.vector(330), top_k=1, where=where)
        assert (330 in image_ids) == (where != "width > 104")  # it is 100 pixels wide


def test_removed_photos_are_found_no_more(store):
    add_rows(store, 10)
    gallery = opened(store)
    add_rows(store, 10)
    gallery = gallery.caught_up(current_ids(store))
    store.delete_images(np.array([3, 4, 305, 312], np.int64))
    gallery = gallery.caught_up(current_ids(store))
    assert_answers_like(gallery, open_ann_gallery(store, gallery.space_map))
    assert gallery.vector(3) is None
    assert gallery.vector(312) is None
    assert gallery.vector(311) is not None


def test_the_gallery_before_goes_on_answering_as_it_was(store):
    before = opened(store)
    query = before.vector(5)
    expected = before.search(query, top_k=400)[1].tolist()
    add_rows(store, 20)
    after = before.caught_up(current_ids(store))
    assert before.search(query, top_k=400)[1].tolist() == expected
    assert len(after.search(query, top_k=400)[1]) == N_IMAGES + 20


def test_vectors_are_those_of_the_space(store):
    gallery = opened(store)
    add_rows(store, 3)
    gallery = gallery.caught_up(current_ids(store))
    anew = open_ann_gallery(store, gallery.space_map)
    for image_id in (0, 299, 302):
        assert gallery.vector(image_id) == pytest.approx(anew.vector(image_id), abs=1e-6)
    assert gallery.vector(303) is None


@pytest.mark.parametrize("limit", ["MAX_RECENT_ROWS", "MAX_DELETED_ROWS"])
def test_many_changes_settle(store, monkeypatch, limit):
    gallery = opened(store)
    monkeypatch.setattr(growing_module, limit, 4)
    add_rows(store, 5)
    store.delete_images(np.arange(5, dtype=np.int64))
    gallery = gallery.caught_up(current_ids(store))
    assert len(gallery.recent.image_ids) == 0
    assert_answers_like(gallery, open_ann_gallery(store, gallery.space_map))


def test_of_few_photos_it_shares_the_usual_cache(store):
    open_ann_gallery(store, opened(store).space_map)
    assert [report.kind for report in ann_reports(store)] == ["exact"]


def test_of_many_photos_it_has_a_cache_of_its_own(store, monkeypatch):
    monkeypatch.setattr(growing_module, "SERVED_EXACT_ROWS", 100)
    open_ann_gallery(store, opened(store).space_map)
    assert sorted(report.kind for report in ann_reports(store)) == ["exact", "ivf"]


def test_where_no_cache_can_be_written_it_is_built_in_memory(store, monkeypatch):
    monkeypatch.setattr(growing_module, "SERVED_EXACT_ROWS", 100)
    cache_directory(store.uri).write_text("a file where the folder would be")
    gallery = opened(store)
    assert gallery.search(gallery.vector(7), top_k=1)[1].tolist() == [7]


def test_above_the_limit_it_is_searched_by_cells(store, monkeypatch):
    monkeypatch.setattr(growing_module, "SERVED_EXACT_ROWS", 100)
    gallery = opened(store)
    assert gallery.settled.ann_index.kind == "ivf"
    # Few vectors in as many cells as are visited: the answer is exact but for float16.
    query = gallery.vector(7)
    assert gallery.search(query, top_k=3)[1][0] == 7


def test_without_faiss_the_store_answers(store, monkeypatch):
    monkeypatch.setattr(growing_module, "faiss_is_available", lambda: False)
    placed = space_map("clip", model=MODEL, projectors=store.projectors, band=store.info.band)
    gallery = open_served_gallery(store, placed)
    assert isinstance(gallery, StoreGallery)
    assert caught_up(gallery, current_ids(store)) is gallery
    assert gallery.vector(5) == pytest.approx(opened(store).vector(5), abs=1e-3)
    assert gallery.vector(10**6) is None
