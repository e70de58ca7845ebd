import errno
import json
import os
import shutil

import numpy as np
import pytest

from indexer import gallery as gallery_module
from indexer.ann import faiss_is_available
from indexer.gallery import (
    KEPT_SEMANTIC,
    MAX_DELETED_ROWS,
    AnnGallery,
    StoreGallery,
    ann_reports,
    cache_directory,
    open_gallery,
)
from indexer.scoring.similarity import exact_search, normalised
from indexer.spaces import space_map
from indexer.store import open_store, vectors_of
from schemas.errors import FilterError
from schemas.model import Band
from tests.fakes import FEATURES
from tests.makers.stores import (
    described,
    image_rows,
    new_store,
    random_features,
    random_projectors,
)

N_IMAGES = 400
MODEL = described(embedding_dim=8)
LINEAR_SPACES = ["clip", "isoclip", "trunk"]


def with_rows(place, n_images=N_IMAGES, *, model=MODEL, **changes):
    features = random_features(n_images)
    projectors = random_projectors(with_biases=True)
    return new_store(place, model=model, projectors=projectors, features=features, **changes)


def add_rows(store, n_images):
    first_id = store.next_image_id()
    rows = image_rows(store, random_features(n_images, seed=first_id), first_id=first_id)
    store.append_images(rows)


def map_of(store, space="clip", *, band=None):
    return space_map(
        space, model=store.info.model, projectors=store.projectors, band=band or store.info.band
    )


def opened(store, space="clip"):
    return open_gallery(store, map_of(store, space))


def expected(store, space, queries, *, top_k, where=None):
    """Similarities and ids by brute force over the vectors that lie in the store."""
    placed = map_of(store, space)
    rows = store.images(["image_id", placed.column]).sort_by("image_id")
    stored = vectors_of(rows[placed.column])
    if placed.needs_centre:
        placed = placed.centred_at(stored.mean(axis=0, dtype=np.float64).astype(np.float32))
    image_ids = rows["image_id"].to_numpy()
    allowed = None if where is None else np.isin(image_ids, store.matching_ids(where)).nonzero()[0]
    top_k = min(top_k, len(image_ids) if allowed is None else len(allowed))
    if top_k == 0:
        return np.empty((len(queries), 0)), np.empty((len(queries), 0), np.int64)
    vectors = placed.image_vectors(stored)
    similarities, found = exact_search(queries, vectors, top_k=top_k, rows=allowed)
    return similarities, image_ids[found]


def some_queries(gallery, count=3):
    return gallery.space_map.image_vectors(random_features(count, seed=77))


def assert_exact(store, gallery, space="clip", *, top_k=10, where=None, atol=1e-5):
    queries = some_queries(gallery)
    wanted = expected(store, space, queries, top_k=top_k, where=where)
    for query, wanted_similarities, wanted_ids in zip(queries, *wanted, strict=True):
        similarities, image_ids = gallery.search(query, top_k=top_k, where=where)
        assert image_ids.tolist() == wanted_ids.tolist()
        np.testing.assert_allclose(similarities, wanted_similarities, atol=atol)
        assert (similarities.dtype, image_ids.dtype) == (np.float32, np.int64)


@pytest.fixture
def without_faiss(monkeypatch):
    monkeypatch.setattr(gallery_module, "faiss_is_available", lambda: False)


@pytest.fixture(params=["faiss", "store"])
def kind(request, monkeypatch):
    if request.param == "faiss" and not faiss_is_available():
        pytest.skip("FAISS is not installed")
    monkeypatch.setattr(gallery_module, "faiss_is_available", lambda: request.param == "faiss")
    return {"faiss": AnnGallery, "store": StoreGallery}[request.param]


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """For tests that do not change the rows."""
    return with_rows(tmp_path_factory.mktemp("gallery") / "c")


@pytest.fixture(scope="module")
def unused(tmp_path_factory):
    """Where a collection lies whose copies tests may change: making one takes five times longer."""
    return with_rows(tmp_path_factory.mktemp("unused") / "c").uri


@pytest.fixture
def store(unused, tmp_path):
    pytest.importorskip("faiss")
    return open_store(str(shutil.copytree(unused, tmp_path / "c")))


def stamp_of(store, space="clip"):
    return json.loads((cache_directory(store.uri) / f"{space}.json").read_text())


def cached_files(store):
    return sorted(path.name for path in cache_directory(store.uri).iterdir())


# What is found


@pytest.mark.parametrize(
    "where",
    [
        pytest.param(None, id="all"),
        pytest.param("format = 'PNG'", id="half"),
        pytest.param("width = 104", id="tenth"),
        pytest.param("image_id IN (3, 77, 5)", id="fewer-than-top-k"),
        pytest.param("image_id < 0", id="none"),
    ],
)
@pytest.mark.parametrize("space", LINEAR_SPACES)
def test_hits_are_those_of_exact_search(filled, kind, space, where):
    gallery = opened(filled, space)
    assert isinstance(gallery, kind)
    # The store compares float16 embeddings where it has them.
    atol = 1e-3 if kind is StoreGallery and space == "clip" else 1e-5
    assert_exact(filled, gallery, space, where=where, atol=atol)


def test_more_hits_than_rows_are_all_rows(filled, kind):
    gallery = opened(filled, "isoclip")
    similarities, image_ids = gallery.search(some_queries(gallery)[0], top_k=N_IMAGES + 50)
    assert sorted(image_ids) == list(range(N_IMAGES))
    assert (np.diff(similarities) <= 0).all()


def test_a_photo_finds_itself_first_with_similarity_one(filled, kind):
    gallery = opened(filled, "trunk")
    query = gallery.space_map.image_vectors(random_features(N_IMAGES)[20:21])[0]
    similarities, image_ids = gallery.search(query, top_k=1)
    assert image_ids.tolist() == [20]
    assert similarities[0] == pytest.approx(1.0, abs=1e-6)
    assert similarities[0] <= 1.0


@pytest.mark.parametrize("space", ["clip", "trunk"])
def test_a_bad_filter_is_refused(filled, kind, space):
    gallery = opened(filled, space)
    with pytest.raises(FilterError, match="nosuch"):
        gallery.search(some_queries(gallery)[0], top_k=3, where="nosuch = 1")


@pytest.mark.parametrize("space", LINEAR_SPACES)
def test_an_empty_collection_has_no_hits(tmp_path, kind, space):
    store = with_rows(tmp_path / "c", 0)
    gallery = opened(store, space)
    query = normalised(np.ones(8 if space != "trunk" else FEATURES, np.float32))
    for where in (None, "width > 1"):
        similarities, image_ids = gallery.search(query, top_k=5, where=where)
        assert (similarities.shape, image_ids.shape) == ((0,), (0,))
    add_rows(store, 12)
    assert_exact(store, opened(store, space), space, atol=1e-3)


def test_the_embedding_of_a_centred_default_space_is_not_trusted(tmp_path, kind):
    model = described(embedding_dim=8, default_image_space="trunk")
    store = with_rows(tmp_path / "c", 100, model=model)
    assert_exact(store, opened(store, "trunk"), "trunk")


def test_a_head_that_is_not_linear_is_searched_by_its_own_embedding(tmp_path, kind):
    model = described(embedding_dim=8, linear_image_head=False, spaces=("clip", "trunk"))
    store = with_rows(tmp_path / "c", 100, model=model)
    gallery = opened(store, "clip")
    query = normalised(random_features(1, seed=77)[0, :8])
    _, image_ids = gallery.search(query, top_k=6)
    assert image_ids.tolist() == expected(store, "clip", query[np.newaxis], top_k=6)[1][0].tolist()


def test_the_store_searches_in_blocks(filled, without_faiss, monkeypatch):
    monkeypatch.setattr("indexer.store.READ_ROWS", 37)
    assert_exact(filled, opened(filled, "isoclip"), "isoclip", where="width < 108")


# The cache


def test_the_cache_is_used_again(store):
    first = opened(store)
    token = stamp_of(store)["token"]
    assert cached_files(store) == [f"clip-{token}.faiss", f"clip-{token}.npz", "clip.json"]
    again = opened(open_store(store.uri))
    assert stamp_of(store)["token"] == token
    assert_exact(store, again)
    assert again.image_ids.tolist() == first.image_ids.tolist()


def test_the_centre_is_kept_with_the_cache(store):
    centre = opened(store, "trunk").space_map.centre
    add_rows(store, 100)  # moves the mean, but not that of vectors in the index
    np.testing.assert_array_equal(opened(store, "trunk").space_map.centre, centre)
    assert stamp_of(store, "trunk")["n_rows"] == 500


def test_each_space_has_a_cache_of_its_own(store):
    for space in LINEAR_SPACES:
        opened(store, space)
    tokens = {space: stamp_of(store, space)["token"] for space in LINEAR_SPACES}
    for space in LINEAR_SPACES:
        assert_exact(store, opened(store, space), space)
    assert tokens == {space: stamp_of(store, space)["token"] for space in LINEAR_SPACES}


def test_rows_added_extend_the_cache(store):
    opened(store)
    before = cached_files(store)
    add_rows(store, 30)
    assert_exact(store, opened(store))
    stamp = stamp_of(store)
    assert (stamp["n_rows"], stamp["n_trained"]) == (430, 400)
    assert stamp["table_version"] == store.version
    # The files of the smaller index are gone.
    assert cached_files(store) == [
        f"clip-{stamp['token']}.faiss",
        f"clip-{stamp['token']}.npz",
        "clip.json",
    ]
    assert set(before) & set(cached_files(store)) == {"clip.json"}


def test_small_differences_are_found_but_not_written(store):
    opened(store)
    token = stamp_of(store)["token"]
    add_rows(store, 3)
    store.delete_images(np.array([8]))
    assert_exact(store, opened(store))
    assert stamp_of(store)["token"] == token
    add_rows(store, 1)
    assert_exact(store, opened(store))
    assert stamp_of(store)["token"] != token


@pytest.mark.parametrize("where", [None, "format = 'PNG'", "width = 102"])
def test_deleted_rows_never_appear_and_leave_no_gap(store, where):
    gallery = opened(store)
    query = some_queries(gallery)[0]
    _, best = gallery.search(query, top_k=40, where=where)
    store.delete_images(best[:35])
    reopened = opened(store)
    assert stamp_of(store)["n_rows"] == N_IMAGES
    _, image_ids = reopened.search(query, top_k=10, where=where)
    n_left = store.count_images(where)
    assert len(image_ids) == min(10, n_left)
    assert not set(image_ids) & set(best[:35])
    assert_exact(store, reopened, where=where)
    assert_exact(store, opened(store), where=where)


def test_a_photo_replaced_by_a_newer_one_is_found_once(store):
    gallery = opened(store)
    newer = image_rows(store, random_features(N_IMAGES)[7:8], first_id=N_IMAGES)
    store.append_images(newer)
    store.delete_images(np.array([7]))
    query = gallery.space_map.image_vectors(random_features(N_IMAGES)[7:8])[0]
    _, image_ids = opened(store).search(query, top_k=2)
    assert image_ids[0] == N_IMAGES
    assert 7 not in image_ids


@pytest.mark.parametrize(
    ("n_deleted", "n_rows"),
    [
        pytest.param(MAX_DELETED_ROWS, N_IMAGES, id="kept"),
        pytest.param(MAX_DELETED_ROWS + 1, N_IMAGES - MAX_DELETED_ROWS - 1, id="rebuilt"),
    ],
)
def test_many_deleted_rows_rebuild_the_index(store, n_deleted, n_rows):
    opened(store)
    store.delete_images(np.arange(n_deleted))
    assert_exact(store, opened(store))
    assert stamp_of(store)["n_rows"] == n_rows


@pytest.mark.parametrize(
    ("n_added", "n_trained"),
    [pytest.param(200, 400, id="kept"), pytest.param(201, 601, id="rebuilt")],
)
def test_growth_by_half_rebuilds_the_index(store, n_added, n_trained):
    opened(store)
    add_rows(store, n_added)
    assert_exact(store, opened(store))
    assert (stamp_of(store)["n_rows"], stamp_of(store)["n_trained"]) == (400 + n_added, n_trained)


def test_optimizing_the_store_does_not_cost_the_cache(store):
    opened(store)
    token = stamp_of(store)["token"]
    store.optimize()
    assert_exact(store, opened(store))
    assert stamp_of(store)["token"] == token


# A cache that cannot be trusted


def halve(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    path.write_bytes(b"")


def remove(path):
    path.unlink()


def fill_with_noise(path):
    path.write_bytes(np.random.default_rng(3).bytes(path.stat().st_size))


@pytest.mark.parametrize("damage", [halve, empty, remove, fill_with_noise])
@pytest.mark.parametrize("suffix", [".faiss", ".npz", ".json"])
def test_a_damaged_cache_is_rebuilt(store, suffix, damage):
    opened(store)
    token = stamp_of(store)["token"]
    (path,) = cache_directory(store.uri).glob(f"*{suffix}")
    damage(path)
    assert_exact(store, opened(store))
    assert stamp_of(store)["token"] != token
    assert len(cached_files(store)) == 3


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"n_rows": N_IMAGES - 1}, id="row-count"),
        pytest.param({"map_digest": "0" * 16}, id="other-map"),
        pytest.param({"created_at": "2020-01-01T00:00:00Z"}, id="other-collection"),
        pytest.param({"token": "nosuch"}, id="other-files"),
        pytest.param({"colour": "red"}, id="unknown-field"),
        pytest.param({"space": "nosuch"}, id="unknown-space"),
    ],
)
def test_a_stamp_that_does_not_fit_is_not_trusted(store, change):
    opened(store)
    stamp = stamp_of(store)
    changed = {**stamp, **change}
    (cache_directory(store.uri) / "clip.json").write_text(json.dumps(changed))
    assert_exact(store, opened(store))
    fresh = stamp_of(store)
    assert fresh["token"] not in (stamp["token"], changed["token"])
    assert fresh == {**stamp, "token": fresh["token"]}


def test_ids_of_another_length_are_not_trusted(store):
    opened(store)
    (path,) = cache_directory(store.uri).glob("*.npz")
    np.savez(path, image_ids=np.arange(5), deleted=np.zeros(5, bool))
    assert_exact(store, opened(store))


def test_the_cache_of_another_collection_is_not_trusted(store, tmp_path):
    projectors = random_projectors(with_biases=True)
    other = new_store(
        tmp_path / "other",
        model=MODEL,
        projectors=projectors,
        features=random_features(N_IMAGES, seed=42),
        created_at="2026-05-05T00:00:00Z",
    )
    opened(other)
    assert other.version == store.version
    shutil.copytree(cache_directory(other.uri), cache_directory(store.uri))
    assert_exact(store, opened(store))


def test_another_band_is_another_index(store):
    open_gallery(store, map_of(store, "isoclip"))
    token = stamp_of(store, "isoclip")["token"]
    other = map_of(store, "isoclip", band=Band(k_top=1, k_bottom=4))
    gallery = open_gallery(store, other)
    assert stamp_of(store, "isoclip")["token"] != token
    vectors = other.image_vectors(random_features(N_IMAGES))
    query = some_queries(gallery)[0]
    _, rows = exact_search(query[np.newaxis], vectors, top_k=10)
    assert gallery.search(query, top_k=10)[1].tolist() == rows[0].tolist()


def test_a_cache_that_cannot_be_written_is_no_reason_not_to_answer(store):
    cache_directory(store.uri).write_text("a file where the folder should be")
    assert_exact(store, opened(store))
    assert cache_directory(store.uri).is_file()


def test_a_full_disk_is_not_filled_further(store, monkeypatch):
    opened(store)
    before = cached_files(store)
    add_rows(store, 50)

    def no_space_left(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(np, "savez", no_space_left)
        assert_exact(store, opened(store))
    assert cached_files(store) == before
    assert_exact(store, opened(store))


# Reports


def test_reports_name_what_is_cached(store):
    assert ann_reports(store) == []
    opened(store, "trunk")
    opened(store, "clip")
    add_rows(store, 1)
    (cache_directory(store.uri) / "isoclip.json").write_text("{")
    opened(store, "trunk")
    clip, trunk = ann_reports(store)
    sizes = [
        sum(path.stat().st_size for path in cache_directory(store.uri).glob(f"{space}-*"))
        for space in ("clip", "trunk")
    ]
    assert [report.n_bytes for report in (clip, trunk)] == sizes
    assert (clip.space, clip.kind, clip.n_rows, clip.is_current) == ("clip", "exact", 400, False)
    assert (trunk.space, trunk.n_rows) == ("trunk", 400)


def test_a_fresh_cache_is_current(store):
    opened(store)
    assert [report.is_current for report in ann_reports(store)] == [True]


# The semantic space


def semantic_map_of(store, *, seed=0, n_axes=3, is_centred=False):
    axes = np.linalg.qr(np.random.default_rng(seed).standard_normal((8, n_axes)))[0].T
    text_centre = np.full(8, 0.1, np.float32) if is_centred else None
    return map_of(store).along(
        np.ascontiguousarray(axes, dtype=np.float32), text_centre=text_centre
    )


def slow_semantic_search(store, placed, query, *, top_k, where=None):
    """Cosines of P (unit(z) - mean) by the formula, in float64."""
    rows = store.images(["image_id", "features"]).sort_by("image_id")
    raw = vectors_of(rows["features"]).astype(np.float64) @ placed.weight.T + placed.bias
    embeddings = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    if placed.needs_centre:
        embeddings = embeddings - embeddings.mean(axis=0)
    along = embeddings @ placed.axes.T
    cosines = along @ query / np.linalg.norm(along, axis=1)
    allowed = np.ones(len(cosines), bool)
    if where is not None:
        allowed = np.isin(rows["image_id"].to_numpy(), store.matching_ids(where))
    best = sorted(np.flatnonzero(allowed), key=lambda row: -cosines[row])[:top_k]
    return cosines[best], rows["image_id"].to_numpy()[best]


@pytest.mark.parametrize("is_centred", [False, True])
@pytest.mark.parametrize("where", [None, "format = 'PNG'", "width = 104"])
def test_semantic_hits_are_those_of_the_formula(filled, kind, where, is_centred):
    placed = semantic_map_of(filled, is_centred=is_centred)
    gallery = open_gallery(filled, placed)
    for query in some_queries(gallery):
        similarities, image_ids = gallery.search(query, top_k=10, where=where)
        expected, expected_ids = slow_semantic_search(filled, placed, query, top_k=10, where=where)
        np.testing.assert_allclose(similarities, expected, atol=1e-5)
        assert image_ids.tolist() == expected_ids.tolist()


def test_an_empty_collection_has_no_semantic_hits(tmp_path, kind):
    store = with_rows(tmp_path / "c", 0)
    for is_centred in (False, True):
        gallery = open_gallery(store, semantic_map_of(store, is_centred=is_centred))
        assert len(gallery.search(np.array([1, 0, 0], np.float32), top_k=5)[1]) == 0


def semantic_stamps(store):
    return sorted(cache_directory(store.uri).glob("semantic_*.json"))


def test_galleries_of_other_axes_are_kept_side_by_side(store):
    first, second = semantic_map_of(store, seed=1), semantic_map_of(store, seed=2)
    for placed in (first, second):
        open_gallery(store, placed)
    written = {path: path.read_text() for path in semantic_stamps(store)}
    assert [path.stem for path in semantic_stamps(store)] == sorted(
        f"semantic_{placed.digest}" for placed in (first, second)
    )
    for placed in (first, second):
        gallery = open_gallery(store, placed)
        query = some_queries(gallery)[0]
        expected = slow_semantic_search(store, placed, query, top_k=5)[1]
        assert gallery.search(query, top_k=5)[1].tolist() == expected.tolist()
    assert {path: path.read_text() for path in semantic_stamps(store)} == written


def test_only_the_newest_semantic_galleries_are_kept(store):
    opened(store, "clip")
    maps = [semantic_map_of(store, seed=seed) for seed in range(KEPT_SEMANTIC + 2)]
    for age, placed in enumerate(maps):
        open_gallery(store, placed)
        stamp = cache_directory(store.uri) / f"semantic_{placed.digest}.json"
        os.utime(stamp, (age, age))  # a fast machine writes several within one tick of the clock
    open_gallery(store, semantic_map_of(store, seed=99))
    kept = [*maps[-KEPT_SEMANTIC + 1 :], semantic_map_of(store, seed=99)]
    assert [path.stem for path in semantic_stamps(store)] == sorted(
        f"semantic_{placed.digest}" for placed in kept
    )
    assert len(cached_files(store)) == 3 * (KEPT_SEMANTIC + 1)
    assert stamp_of(store)["space"] == "clip"


def test_semantic_galleries_take_up_added_rows(store):
    placed = semantic_map_of(store, is_centred=True)
    centre = open_gallery(store, placed).space_map.centre
    add_rows(store, 30)
    gallery = open_gallery(store, placed)
    np.testing.assert_array_equal(gallery.space_map.centre, centre)
    assert gallery.search(some_queries(gallery)[0], top_k=500)[1].max() >= N_IMAGES
    (report,) = ann_reports(store)
    assert (report.space, report.n_rows, report.is_current) == ("semantic", 430, True)
    assert report.n_bytes > 430 * 3 * 4


@pytest.mark.skipif(not faiss_is_available(), reason="needs FAISS")
def test_an_index_that_was_just_built_is_mapped_from_its_file(tmp_path):
    store = with_rows(tmp_path / "c")
    assert opened(store).ann_index._is_mapped
    add_rows(store, N_IMAGES)
    assert opened(store).ann_index._is_mapped
