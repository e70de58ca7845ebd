import re
import resource
import shutil
import time
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from indexer import compaction
from indexer import store as store_module
from indexer.compaction import MIN_FRAGMENTS
from indexer.encoders.encoder import Projectors
from indexer.scoring.similarity import exact_search, normalised
from indexer.store import (
    create_store,
    disk_bytes,
    is_remote,
    local_directory,
    open_store,
    packed_projectors,
    store_exists,
    unpacked_projectors,
    vectors_of,
)
from schemas.collection import SCHEMA_VERSION
from schemas.errors import (
    CollectionDamagedError,
    CollectionNotFoundError,
    FilterError,
    InputError,
    NewerSchemaError,
    StorageError,
)
from schemas.tables import FAILURES_SCHEMA, ROOTS_SCHEMA, images_schema
from tests.fakes import FAKE_DESCRIPTION, FEATURES
from tests.makers.stores import (
    NOON,
    clustered_features,
    collection_info,
    described,
    image_rows,
    new_store,
    random_features,
    random_projectors,
)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """50 photos, for tests that only read."""
    return new_store(tmp_path_factory.mktemp("store") / "c", features=random_features(50))


def ids(*values):
    return np.array(values, dtype=np.int64)


def test_appended_rows_read_back_exactly(tmp_path):
    features = random_features(20)
    rows = image_rows(store := new_store(tmp_path / "c"), features)
    store.append_images(rows)
    stored = open_store(str(tmp_path / "c")).images(rows.column_names)
    assert stored.schema == images_schema(FAKE_DESCRIPTION)
    assert stored.equals(rows)
    np.testing.assert_array_equal(vectors_of(stored["features"]), features)


def test_the_description_reads_back(tmp_path):
    projectors = random_projectors(with_biases=True)
    model = described(embedding_dim=8)
    new_store(tmp_path / "c", model=model, projectors=projectors)
    opened = open_store(str(tmp_path / "c"))
    assert opened.info == collection_info(model, projectors)
    for name in ("image_weight", "text_weight", "image_bias", "text_bias"):
        expected = getattr(projectors, name)
        np.testing.assert_array_equal(getattr(opened.projectors, name), expected)


def test_projectors_that_are_none_stay_none():
    packed = packed_projectors(Projectors(None, np.eye(2, dtype=np.float32)))
    unpacked = unpacked_projectors(packed)
    assert unpacked.image_weight is unpacked.image_bias is unpacked.text_bias is None
    np.testing.assert_array_equal(unpacked.text_weight, np.eye(2))


def test_a_new_collection_is_empty(tmp_path):
    store = new_store(tmp_path / "c")
    assert (store.count_images(), store.failures().num_rows, store.roots().num_rows) == (0, 0, 0)
    assert store.next_image_id() == 0
    assert store.matching_ids("width > 0").dtype == np.int64


# Reading


def test_image_blocks_are_bounded_and_complete(store, monkeypatch):
    monkeypatch.setattr(store_module, "READ_ROWS", 20)
    blocks = list(store.image_blocks(["path", "image_id"]))
    assert max(map(len, blocks)) <= 20
    assert pa.Table.from_batches(blocks).equals(store.images(["path", "image_id"]))


def test_images_by_id_keeps_order_and_repeats_and_leaves_out_unknown(store):
    table = store.images_by_id(ids(7, 3, 999, 7, 0), ["path"])
    assert table["image_id"].to_pylist() == [7, 3, 7, 0]
    assert table["path"].to_pylist() == ["00007.jpg", "00003.jpg", "00007.jpg", "00000.jpg"]


def test_images_by_id_of_more_than_a_block(store, monkeypatch):
    monkeypatch.setattr(store_module, "IDS_PER_FILTER", 7)
    backwards = np.arange(49, -1, -1)
    assert store.images_by_id(backwards, [])["image_id"].to_pylist() == backwards.tolist()


def test_images_by_id_of_nothing_has_the_columns(store):
    table = store.images_by_id(ids(), ["path", "image_id"])
    assert (table.num_rows, table.column_names) == (0, ["image_id", "path"])


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        pytest.param("width = 103", [3, 13, 23, 33, 43], id="equal"),
        pytest.param("format = 'PNG' AND image_id < 6", [1, 3, 5], id="and"),
        pytest.param("path LIKE '%07.jpg'", [7], id="like"),
        pytest.param("taken_at IS NULL AND image_id IN (9, 2)", [2, 9], id="null-and-in"),
        pytest.param("image_id < 0", [], id="none"),
        pytest.param("indexed_at > timestamp '2027-01-01 00:00:00'", [], id="time"),
    ],
)
def test_matching_ids(store, where, expected):
    assert store.matching_ids(where).tolist() == expected
    assert store.count_images(where) == len(expected)
    assert store.images(["width"], where).num_rows == len(expected)


def test_quotes_in_paths_are_found_and_kept(tmp_path):
    store = new_store(tmp_path / 'it\'s a "c"')
    paths = ["o'clock.jpg", 'say "hi".jpg', "a;b--c.jpg"]
    store.append_images(image_rows(store, random_features(3), path=paths))
    store.update_images(pa.table({"image_id": [0], "path": ["o''neil's.jpg"]}))
    assert store.images(["path"], "path = 'say \"hi\".jpg'")["path"].to_pylist() == [paths[1]]
    assert store.matching_ids("path = 'o''''neil''s.jpg'").tolist() == [0]


@pytest.mark.parametrize(
    "where",
    [
        pytest.param("width >", id="syntax"),
        pytest.param("", id="empty"),
        pytest.param("path = 'unclosed", id="unclosed-quote"),
        pytest.param("nosuch = 1", id="unknown-column"),
        pytest.param("width = 'wide'", id="wrong-type"),
        pytest.param("width", id="not-a-condition"),
        pytest.param("1 / 0 = 1", id="division-by-zero"),
        pytest.param("width / (width - 100) > 1", id="division-by-zero-in-one-row"),
        pytest.param("cast(path AS int) = 1", id="cast-fails-on-a-row"),
        pytest.param("count(*) > 1", id="aggregate"),
        pytest.param("- (-9223372036854775807 - 1) < image_id", id="overflow"),
        pytest.param("round(quality, 99999999999) = 1", id="argument-too-large"),
        pytest.param("date_part(path, indexed_at) = 1", id="part-of-a-date-from-a-column"),
    ],
)
def test_a_bad_filter_is_named_in_the_error(store, where):
    query = normalised(np.ones(FEATURES, np.float32))
    for read in (
        lambda: store.matching_ids(where),
        lambda: store.count_images(where),
        lambda: store.images(["path"], where),
        lambda: list(store.vector_blocks("features", where)),
        lambda: store.nearest(query, top_k=3, where=where),
    ):
        with pytest.raises(FilterError, match=r"the filter .* is not valid: ") as caught:
            read()
        assert repr(where) in str(caught.value)
        assert "\n" not in str(caught.value)
        assert ".rs:" not in str(caught.value)


def test_an_unknown_column_is_the_callers_bug(store):
    with pytest.raises(ValueError, match="nosuch"):
        store.images(["nosuch"])


def test_vector_blocks_are_bounded_and_complete(store, monkeypatch):
    monkeypatch.setattr(store_module, "READ_ROWS", 12)
    blocks = list(store.vector_blocks("features"))
    assert max(len(image_ids) for image_ids, _ in blocks) <= 12
    image_ids = np.concatenate([image_ids for image_ids, _ in blocks])
    vectors = np.concatenate([vectors for _, vectors in blocks])
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors[np.argsort(image_ids)], random_features(50))


def test_vector_blocks_of_matching_rows(store):
    ((image_ids, vectors),) = store.vector_blocks("features", "image_id IN (4, 40)")
    np.testing.assert_array_equal(vectors, random_features(50)[image_ids])
    assert sorted(image_ids) == [4, 40]


def test_vectors_of_respect_slices_and_chunks():
    flat = pa.array(np.arange(12, dtype=np.float16))
    column = pa.FixedSizeListArray.from_arrays(flat, 3)
    np.testing.assert_array_equal(vectors_of(column[1:3]), [[3, 4, 5], [6, 7, 8]])
    chunked = pa.chunked_array([column[3:], column[:1]])
    np.testing.assert_array_equal(vectors_of(chunked), [[9, 10, 11], [0, 1, 2]])
    np.testing.assert_array_equal(vectors_of(column[:0]), np.empty((0, 3)))


# Nearest


def test_nearest_agrees_with_exact_search(store):
    vectors = normalised(random_features(50)).astype(np.float16).astype(np.float32)
    query = normalised(random_features(1, seed=9))
    similarities, image_ids = store.nearest(query[0], top_k=8)
    expected, rows = exact_search(query, normalised(vectors), top_k=8)
    assert image_ids.tolist() == rows[0].tolist()
    # LanceDB rounds the query to the float16 of the column.
    np.testing.assert_allclose(similarities, expected[0], atol=2e-4)
    assert (similarities.dtype, image_ids.dtype) == (np.float32, np.int64)


def test_nearest_filters_before_it_searches(store):
    query = normalised(random_features(1, seed=9))
    rows = np.arange(2, 50, 10)
    _, expected = exact_search(query, normalised(random_features(50)), top_k=9, rows=rows)
    _, image_ids = store.nearest(query[0], top_k=9, where="width = 102")
    assert image_ids.tolist() == expected[0][:5].tolist()


def test_nearest_by_the_stores_own_index(tmp_path):
    model, eye = described(feature_dim=32, embedding_dim=32), np.eye(32, dtype=np.float32)
    features = clustered_features(3000, dimension=32)
    store = new_store(
        tmp_path / "c", model=model, projectors=Projectors(eye, eye), features=features
    )
    store.build_vector_index()
    vectors, rows = normalised(features), np.arange(3, 3000, 10)
    queries = vectors[::200]
    whole, filtered = [], []
    for query in queries:
        every = exact_search(query[np.newaxis], vectors, top_k=10)[1][0]
        allowed = exact_search(query[np.newaxis], vectors, top_k=10, rows=rows)[1][0]
        found = store.nearest(query, top_k=10)[1]
        chosen = store.nearest(query, top_k=10, where="width = 103")[1]
        assert (len(found), len(chosen)) == (10, 10)
        assert set(chosen % 10) == {3}
        whole.append(np.isin(every, found).mean())
        filtered.append(np.isin(allowed, chosen).mean())
    assert np.mean(whole) >= 0.8
    assert np.mean(filtered) >= 0.9


# Writing


def test_ids_are_not_given_out_again(tmp_path):
    store = new_store(tmp_path / "c", features=random_features(5))
    assert store.next_image_id() == 5
    store.delete_images(ids(4))
    assert store.next_image_id() == 5
    store.delete_images(ids(0, 1, 2, 3))
    assert (store.count_images(), store.next_image_id()) == (0, 5)
    assert open_store(str(tmp_path / "c")).next_image_id() == 5


def test_delete_images_of_several_blocks(tmp_path):
    store = new_store(tmp_path / "c", features=random_features(2500))
    store.delete_images(np.arange(1, 2400))
    assert store.images(["image_id"])["image_id"].to_pylist() == [0, *range(2400, 2500)]


def test_deleting_nothing_or_the_unknown_changes_no_row(tmp_path):
    store = new_store(tmp_path / "c", features=random_features(3))
    version = store.version
    store.delete_images(ids())
    assert store.version == version
    store.delete_images(ids(77))
    assert store.count_images() == 3


def test_update_images_changes_the_given_columns_only(tmp_path):
    store = new_store(tmp_path / "c", features=random_features(4))
    before = store.images_by_id(np.arange(4), images_schema(FAKE_DESCRIPTION).names)
    store.update_images(
        pa.table({"image_id": [2, 99], "path": ["moved.jpg", "unknown.jpg"], "mtime_ns": [5, 6]})
    )
    after = store.images_by_id(np.arange(4), before.column_names)
    assert store.count_images() == 4
    assert after["path"].to_pylist() == ["00000.jpg", "00001.jpg", "moved.jpg", "00003.jpg"]
    assert after["mtime_ns"].to_pylist() == [0, 10**9, 5, 3 * 10**9]
    untouched = [name for name in before.column_names if name not in ("path", "mtime_ns")]
    assert after.select(untouched).equals(before.select(untouched))


def test_replace_failures_replaces_all_of_them(tmp_path):
    store = new_store(tmp_path / "c")
    for paths in (["a.jpg", "b.jpg"], ["c.jpg"], []):
        store.replace_failures(failure_rows(*paths))
        assert store.failures()["path"].to_pylist() == paths
        assert store.failures().schema == FAILURES_SCHEMA


def test_failures_that_match_a_condition(tmp_path):
    store = new_store(tmp_path / "c")
    store.replace_failures(failure_rows("a.heic", "sub/b.heic", "c.jpg"))
    matching = store.failures("path like '%.heic'")
    assert matching["path"].to_pylist() == ["a.heic", "sub/b.heic"]
    assert matching.schema == FAILURES_SCHEMA


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        pytest.param("path = 'a'; drop", "it must be one condition", id="semicolon"),
        pytest.param("path = ?", "it must be one condition", id="placeholder"),
        pytest.param("path = $1", "it must be one condition", id="numbered-placeholder"),
        pytest.param("width > 3", "file_size", id="unknown-column-names-the-columns"),
        pytest.param("path like", ".", id="no-sql"),
    ],
)
def test_a_wrong_condition_on_failures(tmp_path, where, reason):
    store = new_store(tmp_path / "c")
    store.replace_failures(failure_rows("a.jpg"))
    with pytest.raises(FilterError, match=f"the filter {re.escape(repr(where))} .*{reason}"):
        store.failures(where)


def test_record_roots_adds_and_updates(tmp_path):
    store = new_store(tmp_path / "c")
    store.record_roots(root_rows({"/a": 1, "/b": 2}))
    store.record_roots(root_rows({"/b": 5, "/c": 0}))
    counted = {row["root"]: row["n_files"] for row in store.roots().to_pylist()}
    assert counted == {"/a": 1, "/b": 5, "/c": 0}


def test_two_stores_see_what_the_other_commits(tmp_path):
    first = new_store(tmp_path / "c", features=random_features(3))
    second = open_store(str(tmp_path / "c"))
    version = second.version
    first.append_images(image_rows(first, random_features(2), first_id=3))
    assert second.count_images() == 5
    assert second.version == first.version > version
    second.delete_images(ids(0))
    assert first.images(["image_id"])["image_id"].to_pylist() == [1, 2, 3, 4]


def test_optimizing_leaves_the_rows_as_they_are(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "INDEXED_ROWS", 100)
    store = new_store(tmp_path / "c")
    for start in range(0, 120, 40):
        rows = image_rows(store, random_features(40, seed=start), first_id=start)
        store.append_images(rows)
    store.delete_images(ids(5, 50))
    names = images_schema(FAKE_DESCRIPTION).names
    before = store.images_by_id(np.arange(120), names)
    store.optimize()
    assert store.images_by_id(np.arange(120), names).equals(before)
    store.append_images(image_rows(store, random_features(1), first_id=120))
    assert store.images_by_id(ids(120, 50, 119), [])["image_id"].to_pylist() == [120, 119]
    store.optimize()
    assert store.count_images() == 119


# Compaction and old versions


def data_files(store, table="images"):
    return {path.name for path in Path(store.uri, f"{table}.lance", "data").iterdir()}


def append_small_runs(store, count):
    for _ in range(count):
        first_id = store.next_image_id()
        store.append_images(image_rows(store, random_features(2), first_id=first_id))


def test_a_few_small_runs_rewrite_nothing(tmp_path):
    store = new_store(tmp_path / "c", features=random_features(50))
    append_small_runs(store, MIN_FRAGMENTS - 1)
    files, version = data_files(store), store.version
    store.optimize()
    assert (data_files(store), store.version) == (files, version)


def test_many_small_runs_are_compacted_into_one_file(tmp_path):
    store = new_store(tmp_path / "c", features=random_features(50))
    append_small_runs(store, MIN_FRAGMENTS)
    before = data_files(store)
    store.optimize()
    after = data_files(store)
    assert len(after - before) == 1
    assert before < after  # readers may still be at them
    assert store.images(["image_id"]).num_rows == 50 + 2 * MIN_FRAGMENTS
    store.optimize()
    assert data_files(store) == after


def test_indexed_rows_are_compacted_with_those_that_are_not(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "INDEXED_ROWS", 40)
    store = new_store(tmp_path / "c", features=random_features(50))
    store.optimize()
    append_small_runs(store, MIN_FRAGMENTS)
    before = data_files(store)
    store.optimize()
    assert len(data_files(store) - before) == 1
    assert store.images_by_id(ids(57, 3), [])["image_id"].to_pylist() == [57, 3]


def test_more_rows_may_lie_in_more_files(tmp_path, monkeypatch):
    monkeypatch.setattr(compaction, "ROWS_PER_FRAGMENT", 10)
    store = new_store(tmp_path / "c", features=random_features(50))
    append_small_runs(store, 8)
    files = data_files(store)
    store.optimize()
    assert data_files(store) == files


@pytest.mark.slow
def test_a_version_stays_for_a_while_after_it_was_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr(compaction, "AGE_MARGIN", timedelta(seconds=0.1))
    store = new_store(tmp_path / "c", features=random_features(50))
    append_small_runs(store, MIN_FRAGMENTS)
    scattered = data_files(store)
    time.sleep(1.2)
    # Made over a second ago, but replaced only now.
    store.optimize(keep_versions=timedelta(seconds=1))
    compacted = data_files(store)
    assert scattered < compacted
    time.sleep(1.2)
    store.optimize(keep_versions=timedelta(seconds=1))
    assert data_files(store) == compacted - scattered
    assert store.count_images() == 50 + 2 * MIN_FRAGMENTS


def test_old_versions_of_small_tables_do_not_pile_up(tmp_path, monkeypatch):
    monkeypatch.setattr(compaction, "AGE_MARGIN", timedelta(0))
    store = new_store(tmp_path / "c")
    for count in range(30):
        store.record_roots(root_rows({"/a": count}))
        store.optimize(keep_versions=timedelta(0))
    assert len(data_files(store, "roots")) <= 2
    assert store.roots()["n_files"].to_pylist() == [29]


# Places that cannot be opened


def test_a_missing_collection_is_not_created(tmp_path):
    with pytest.raises(CollectionNotFoundError, match=r"no collection at .*isophote index"):
        open_store(str(tmp_path / "nowhere"))
    assert not store_exists(str(tmp_path / "nowhere"))
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_is_no_collection(tmp_path):
    with pytest.raises(CollectionNotFoundError, match="no collection"):
        open_store(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_no_place_for_a_collection(tmp_path):
    (tmp_path / "c").write_text("notes")
    with pytest.raises(InputError, match="is a file; name a folder"):
        open_store(str(tmp_path / "c"))


def test_a_name_that_is_too_long_is_refused(tmp_path):
    with pytest.raises(StorageError, match="File name too long"):
        open_store(str(tmp_path / ("c" * 300)))


def test_a_place_below_a_file_cannot_be_written_to(tmp_path):
    (tmp_path / "file").write_text("notes")
    with pytest.raises(StorageError, match="Not a directory"):
        new_store(tmp_path / "file" / "c")


def test_a_collection_is_not_made_over_another(tmp_path):
    store = new_store(tmp_path / "c", features=random_features(2))
    with pytest.raises(ValueError, match="there is a collection at"):
        create_store(store.uri, store.info, store.projectors)
    assert store.count_images() == 2


@pytest.mark.parametrize("lost", ["collection.lance", "roots.lance/_versions"])
def test_making_a_collection_that_was_killed_starts_again(tmp_path, lost):
    new_store(tmp_path / "c")
    shutil.rmtree(tmp_path / "c" / lost)
    shutil.rmtree(tmp_path / "c" / "collection.lance", ignore_errors=True)
    model = described(embedding_dim=8)
    store = new_store(tmp_path / "c", model=model, projectors=random_projectors())
    assert (store.info.model, store.count_images()) == (model, 0)


def test_photos_without_a_description_are_not_overwritten(tmp_path):
    store = new_store(tmp_path / "c", features=random_features(2))
    shutil.rmtree(tmp_path / "c" / "collection.lance")
    with pytest.raises(CollectionDamagedError, match="images but no description"):
        new_store(tmp_path / "c")
    assert store.count_images() == 2


def emptied(path):
    path.write_bytes(b"")


def halved(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def zeroed(path):
    path.write_bytes(bytes(path.stat().st_size))


def removed(path):
    path.unlink()


@pytest.mark.parametrize("damage", [emptied, halved, zeroed, removed])
@pytest.mark.parametrize("folder", ["_versions", "data"])
def test_damaged_files_are_reported_as_such(tmp_path, folder, damage):
    new_store(tmp_path / "c", features=random_features(30))
    for path in (tmp_path / "c" / "images.lance" / folder).iterdir():
        damage(path)
    with pytest.raises(CollectionDamagedError, match=r"cannot be read .*; restore it") as caught:
        open_store(str(tmp_path / "c")).images(["image_id", "path"])
    assert ".rs:" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_damage_is_not_blamed_on_the_filter(tmp_path):
    store = new_store(tmp_path / "c", features=random_features(30))
    (data,) = (tmp_path / "c" / "images.lance" / "data").iterdir()
    for damage in (halved, zeroed, removed):
        damage(data)
        with pytest.raises(CollectionDamagedError, match="cannot be read"):
            open_store(store.uri).matching_ids("width > 1")


@pytest.mark.parametrize("name", ["images", "failures", "roots"])
def test_a_missing_table_is_damage(tmp_path, name):
    new_store(tmp_path / "c")
    shutil.rmtree(tmp_path / "c" / f"{name}.lance")
    with pytest.raises(CollectionDamagedError, match=f"'{name}' was not found"):
        open_store(str(tmp_path / "c"))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"info": "{nonsense"}, CollectionDamagedError, "1 validation error for CollectionInfo"),
        (
            {"schema_version": 9},
            NewerSchemaError,
            rf"schema version 9.*up to {SCHEMA_VERSION}; upgrade",
        ),
    ],
)
def test_a_description_that_cannot_be_used(tmp_path, change, error, message):
    store = new_store(tmp_path / "c")
    store._tables["collection"].update(values=change)
    with pytest.raises(error, match=message) as caught:
        open_store(store.uri)
    assert "\n" not in str(caught.value)


def test_an_empty_description_is_damage(tmp_path):
    store = new_store(tmp_path / "c")
    store._tables["collection"].delete("true")
    with pytest.raises(CollectionDamagedError, match="its description is empty"):
        open_store(store.uri)


# A disk that takes no more


@contextmanager
def files_limited_to(n_bytes):
    """The operating system's own limit on the size of a file, which holds for root as well."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_was_committed_outlives_a_write_that_fails(tmp_path):
    store = new_store(tmp_path / "c", features=random_features(5))
    rows = image_rows(store, random_features(500), first_id=5)
    with files_limited_to(4096), pytest.raises(StorageError, match="File too large"):
        store.append_images(rows)
    assert store.count_images() == 5
    store.append_images(rows)
    assert store.count_images() == 505


class TableOnABadDisk:
    """Fails as LanceDB 0.40 did on a tmpfs that was full, and on one that was read-only."""

    def __init__(self, reason):
        self.reason = reason

    def add(self, rows):
        raise RuntimeError(
            f"lance error: LanceError(IO): {self.reason}, "
            "/root/.cargo/registry/src/index/lance-file-13.0.0/src/writer/structural.rs:191:9"
        )


@pytest.mark.parametrize(
    "reason",
    [
        "No space left on device (os error 28)",
        "Disk quota exceeded (os error 122)",
        "Read-only file system (os error 30)",
        "Generic LocalFileSystem error: Permission denied (os error 13)",
    ],
)
def test_a_disk_that_takes_no_more_is_named(tmp_path, reason):
    store = new_store(tmp_path / "c")
    store._tables["images"] = TableOnABadDisk(reason)
    with pytest.raises(StorageError, match="cannot use the collection") as caught:
        store.append_images(image_rows(store, random_features(1)))
    assert reason in str(caught.value)
    assert ".rs:" not in str(caught.value)


def test_a_wrong_table_shape_is_the_callers_bug(store):
    with pytest.raises(ValueError, match="field 'x' does not exist"):
        store.append_images(pa.table({"x": [1]}))


# Files beside a collection


def test_files_beside_a_remote_collection_lie_in_the_users_cache():
    assert is_remote("s3://bucket/photos")
    assert not is_remote("/photos/s3")
    assert local_directory("s3://bucket/photos").name == "s3-bucket-photos"
    assert str(local_directory("/photos/c")) == "/photos/c"


def test_disk_bytes_counts_all_files(tmp_path):
    (tmp_path / "a").write_bytes(b"123")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c").write_bytes(b"4567")
    assert disk_bytes(str(tmp_path)) == 7


def failure_rows(*paths):
    rows = [
        {
            "root": "/a",
            "path": path,
            "file_size": 1,
            "mtime_ns": 2,
            "stage": "decode",
            "error_class": "OSError",
            "reason": "is cut short",
            "failed_at": NOON,
        }
        for path in paths
    ]
    return pa.Table.from_pylist(rows, schema=FAILURES_SCHEMA)


def root_rows(n_files):
    rows = [{"root": root, "n_files": count, "scanned_at": NOON} for root, count in n_files.items()]
    return pa.Table.from_pylist(rows, schema=ROOTS_SCHEMA)
