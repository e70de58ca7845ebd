import logging
import sys
import types
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from indexer import ann
from indexer.ann import (
    BLAS_BATCH,
    GATHER_BATCH,
    AnnIndex,
    DamagedIndexError,
    build_ann_index,
    faiss_is_available,
    load_ann_index,
)
from indexer.arrays import FloatArray
from indexer.scoring.metrics import recall_at_k
from indexer.scoring.similarity import exact_search, normalised
from schemas.errors import InputError, MissingExtraError, StorageError

faiss = pytest.importorskip("faiss")

DIMENSION = 24
N_ROWS = 3_000
# One query, and the first batch sizes on the other side of each switch of method.
BATCHES = (1, GATHER_BATCH, BLAS_BATCH)
EXACT, IVF = 10**6, 0


def clustered_vectors(n_rows: int, *, seed: int = 0) -> FloatArray:
    """Unit vectors around 60 centres, in half precision as the store keeps them."""
    centres = np.random.default_rng(99).standard_normal((60, DIMENSION))
    generator = np.random.default_rng(seed)
    vectors = centres[generator.integers(60, size=n_rows)]
    vectors = vectors + 0.7 * generator.standard_normal((n_rows, DIMENSION))
    return normalised(vectors).astype(np.float16).astype(np.float32)


VECTORS = clustered_vectors(N_ROWS)
QUERIES = clustered_vectors(50, seed=1)


@pytest.fixture(params=[EXACT, IVF], ids=["exact", "ivf"], scope="module")
def ann_index(request):
    return build_ann_index(VECTORS, exact_limit=request.param, use_gpu=False)


@pytest.mark.parametrize("n_queries", BATCHES)
def test_an_exact_index_answers_like_brute_force(n_queries):
    exact_index = build_ann_index(VECTORS, use_gpu=False)
    queries = QUERIES[:n_queries]
    similarities, rows = exact_index.search(queries, top_k=10)
    expected, expected_rows = exact_search(queries, VECTORS, top_k=10)
    assert exact_index.kind == "exact"
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_allclose(similarities, expected, atol=1e-6)
    assert similarities.dtype == np.float32
    assert rows.dtype == np.int64


def test_an_approximate_index_finds_nearly_all_neighbours():
    ivf_index = build_ann_index(VECTORS, exact_limit=N_ROWS - 1, use_gpu=False)
    _, rows = ivf_index.search(QUERIES, top_k=10)
    assert ivf_index.kind == "ivf"
    assert recall_at_k(rows, exact_search(QUERIES, VECTORS, top_k=10)[1], k=10) >= 0.99


def test_the_same_seed_builds_the_same_cells():
    answers = [
        build_ann_index(VECTORS, seed=3, exact_limit=IVF, use_gpu=False).search(QUERIES, top_k=50)
        for _ in range(2)
    ]
    np.testing.assert_array_equal(answers[0][1], answers[1][1])


@pytest.mark.parametrize("n_queries", BATCHES)
@pytest.mark.parametrize("share", [0.9, 0.5, 0.1, 0.01, 0.001])
def test_a_filtered_search_is_exact_and_returns_as_many_as_exist(ann_index, n_queries, share):
    allowed = np.random.default_rng(5).choice(N_ROWS, int(share * N_ROWS), replace=False)
    similarities, rows = ann_index.search(QUERIES[:n_queries], top_k=10, rows=allowed)
    expected, expected_rows = exact_search(QUERIES[:n_queries], VECTORS, top_k=10, rows=allowed)
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_allclose(similarities, expected, atol=1e-6)


def test_more_cells_find_more():
    approximate = build_ann_index(VECTORS, exact_limit=IVF, use_gpu=False)
    _, truth = exact_search(QUERIES, VECTORS, top_k=10)
    recalls = []
    for n_probe in (1, 4, 10**6):
        approximate.visit_cells(n_probe)
        recalls.append(recall_at_k(approximate.search(QUERIES, top_k=10)[1], truth, k=10))
    assert recalls[0] < recalls[1] < recalls[2] == pytest.approx(1.0, abs=0.01)
    build_ann_index(VECTORS, use_gpu=False).visit_cells(1)  # has none


def test_vectors_of_rows_are_those_that_were_put_in(ann_index, tmp_path):
    rows = np.array([0, 77, N_ROWS - 1, 77], np.int64)
    # An approximate index keeps float16.
    np.testing.assert_allclose(ann_index.vectors(rows), VECTORS[rows], atol=1e-3)
    assert ann_index.vectors(rows[:0]).shape == (0, DIMENSION)
    ann_index.save(tmp_path / "index.faiss")
    loaded = load_ann_index(tmp_path / "index.faiss", use_gpu=False)
    loaded.add(QUERIES[:2])
    np.testing.assert_allclose(
        loaded.vectors(np.array([5, N_ROWS + 1], np.int64)),
        [VECTORS[5], QUERIES[1]],
        atol=1e-3,
    )


@pytest.mark.parametrize("row", [-1, N_ROWS])
def test_refuses_vectors_of_rows_that_do_not_exist(ann_index, row):
    with pytest.raises(ValueError, match=rf"rows must be in \[0, {N_ROWS}\), got {row}"):
        ann_index.vectors(np.array([row], np.int64))


@pytest.mark.parametrize("n_queries", BATCHES)
def test_missing_hits_are_marked_the_same_way_everywhere(ann_index, n_queries):
    allowed = np.array([7, 3, 7])
    similarities, rows = ann_index.search(QUERIES[:n_queries], top_k=4, rows=allowed)
    assert (np.sort(rows[:, :2]) == [3, 7]).all()
    assert (rows[:, 2:] == -1).all()
    assert np.isneginf(similarities[:, 2:]).all()


@pytest.mark.parametrize("n_queries", BATCHES)
def test_an_empty_filter_finds_nothing(ann_index, n_queries):
    _, rows = ann_index.search(QUERIES[:n_queries], top_k=3, rows=np.zeros(0, np.int64))
    np.testing.assert_array_equal(rows, np.full((n_queries, 3), -1))


def test_more_hits_than_rows_are_padded():
    small_index = build_ann_index(VECTORS[:2], use_gpu=False)
    similarities, rows = small_index.search(VECTORS[:1], top_k=4)
    assert rows.tolist() == [[0, 1, -1, -1]]
    assert np.isneginf(similarities[0, 2:]).all()


@pytest.mark.parametrize("n_queries", [0, *BATCHES])
@pytest.mark.parametrize("rows", [None, np.zeros(0, np.int64)])
def test_an_empty_collection_has_no_hits(n_queries, rows):
    empty_index = build_ann_index(np.zeros((0, DIMENSION), np.float32), use_gpu=False)
    _, found = empty_index.search(QUERIES[:n_queries], top_k=2, rows=rows)
    np.testing.assert_array_equal(found, np.full((n_queries, 2), -1))


def test_no_queries_have_no_hits(ann_index):
    similarities, rows = ann_index.search(QUERIES[:0], top_k=5)
    assert similarities.shape == rows.shape == (0, 5)


@pytest.mark.parametrize("exact_limit", [EXACT, IVF])
def test_added_rows_are_found_under_the_next_numbers(exact_limit, monkeypatch):
    monkeypatch.setattr(ann, "ADD_BLOCK_ROWS", 999)
    grown_index = build_ann_index(VECTORS[:2_000], exact_limit=exact_limit, use_gpu=False)
    grown_index.add(VECTORS[2_000:].astype(np.float16))
    _, rows = grown_index.search(VECTORS[2_500:2_501], top_k=1)
    assert grown_index.n_rows == N_ROWS
    assert rows.tolist() == [[2_500]]


def test_a_saved_index_answers_the_same_and_can_grow(ann_index, tmp_path):
    path = tmp_path / "images.faiss"
    ann_index.save(path)
    loaded_index = load_ann_index(path, use_gpu=False)
    assert (loaded_index.kind, loaded_index.n_rows) == (ann_index.kind, N_ROWS)
    for options in ({}, {"rows": np.arange(0, N_ROWS, 7)}):
        for n_queries in BATCHES:
            before = ann_index.search(QUERIES[:n_queries], top_k=5, **options)
            after = loaded_index.search(QUERIES[:n_queries], top_k=5, **options)
            np.testing.assert_array_equal(before[1], after[1])
    loaded_index.add(QUERIES)
    loaded_index.save(path)
    assert load_ann_index(path, use_gpu=False).n_rows == N_ROWS + len(QUERIES)
    assert [file.name for file in tmp_path.iterdir()] == ["images.faiss"]


def test_many_threads_may_search_at_once(ann_index):
    expected = ann_index.search(QUERIES, top_k=5)[1]
    with ThreadPoolExecutor(4) as pool:
        answers = pool.map(lambda row: ann_index.search(QUERIES[row : row + 1], top_k=5), range(50))
    np.testing.assert_array_equal(np.vstack([rows for _, rows in answers]), expected)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda content: b"", id="empty"),
        pytest.param(lambda content: content[:10], id="header-only"),
        pytest.param(lambda content: content[: len(content) // 2], id="cut-short"),
        pytest.param(lambda content: b"not an index" * 50, id="another-format"),
    ],
)
def test_a_damaged_file_asks_to_be_rebuilt(ann_index, tmp_path, damage):
    path = tmp_path / "images.faiss"
    ann_index.save(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DamagedIndexError, match=r"images\.faiss, rebuild it"):
        load_ann_index(path)


def test_a_missing_file_asks_to_be_rebuilt(tmp_path):
    with pytest.raises(DamagedIndexError, match="rebuild it"):
        load_ann_index(tmp_path / "none.faiss")


def test_an_index_of_another_kind_asks_to_be_rebuilt(tmp_path):
    path = tmp_path / "other.faiss"
    faiss.write_index(faiss.IndexHNSWFlat(DIMENSION, 8), str(path))
    with pytest.raises(DamagedIndexError, match="no search index of this program"):
        load_ann_index(path)


def test_a_failed_save_keeps_the_old_file(ann_index, tmp_path, monkeypatch):
    path = tmp_path / "images.faiss"
    path.write_bytes(b"old")

    def full_disk(*arguments):
        raise RuntimeError("No space left on device")

    monkeypatch.setattr(faiss, "write_index", full_disk)
    with pytest.raises(StorageError, match=r"cannot write .*images\.faiss \(No space left"):
        ann_index.save(path)
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["images.faiss"]


def test_a_missing_folder_is_a_storage_error(ann_index, tmp_path):
    with pytest.raises(StorageError, match="cannot write the search index"):
        ann_index.save(tmp_path / "none" / "images.faiss")


def test_refuses_zero_hits(ann_index):
    with pytest.raises(ValueError, match="top_k must be at least 1, got 0"):
        ann_index.search(QUERIES, top_k=0)


def test_refuses_queries_of_another_space(ann_index):
    with pytest.raises(ValueError, match=r"queries must be a matrix \(n, 24\), got shape \(50, 23"):
        ann_index.search(QUERIES[:, 1:], top_k=1)


def test_refuses_rows_of_another_width(ann_index):
    with pytest.raises(ValueError, match=r"vectors must be a matrix \(n, 24\), got shape \(50, 23"):
        ann_index.add(QUERIES[:, 1:])


def test_refuses_a_vector_for_a_gallery():
    with pytest.raises(ValueError, match=r"vectors must be a matrix \(n, d\), got shape \(24,\)"):
        build_ann_index(VECTORS[0])


@pytest.mark.parametrize("n_queries", BATCHES)
@pytest.mark.parametrize("rows", [[-1, 4], [0, N_ROWS]])
def test_refuses_rows_that_do_not_exist(ann_index, rows, n_queries):
    with pytest.raises(ValueError, match=rf"rows must be in \[0, 3000\), got {rows[0]} to"):
        ann_index.search(QUERIES[:n_queries], top_k=1, rows=np.array(rows))


def test_without_faiss_the_error_names_the_extra(monkeypatch):
    assert faiss_is_available()
    monkeypatch.setitem(sys.modules, "faiss", None)
    assert not faiss_is_available()
    with pytest.raises(MissingExtraError, match=r'for fast search .* "isophote\[cpu\]"'):
        build_ann_index(VECTORS)


class FakeGpuIndex:
    """Answers -7, so that a test sees where a search went; holds what was added."""

    def __init__(self) -> None:
        self.n_added = 0

    def add(self, vectors):
        self.n_added += len(vectors)

    def search(self, queries, k):
        shape = (len(queries), k)
        return np.full(shape, -7, np.float32), np.zeros(shape, np.int64)


def faiss_with_gpu(copy_to_gpu):
    """FAISS as its GPU build looks, with one device."""
    fake = types.ModuleType("faiss")
    vars(fake).update({name: getattr(faiss, name) for name in dir(faiss) if name[:2] != "__"})
    devices = {"get_num_gpus": lambda: 1, "StandardGpuResources": object}
    vars(fake).update(devices, index_cpu_to_gpu=copy_to_gpu)
    return fake


def failed_copy(resources, device, index):
    raise RuntimeError("out of memory")


def test_a_gpu_answers_plain_searches_and_the_cpu_filtered_and_long_ones(monkeypatch, tmp_path):
    gpu_index = FakeGpuIndex()
    monkeypatch.setitem(sys.modules, "faiss", faiss_with_gpu(lambda *arguments: gpu_index))
    ann_index = build_ann_index(VECTORS)
    assert gpu_index.n_added == N_ROWS
    assert ann_index.search(QUERIES, top_k=3)[0][0, 0] == -7
    assert ann_index.search(QUERIES, top_k=3, rows=np.arange(5))[0][0, 0] > -1
    assert ann_index.search(QUERIES, top_k=2_049)[0][0, 0] > -1
    ann_index.save(tmp_path / "images.faiss")
    assert load_ann_index(tmp_path / "images.faiss", use_gpu=False).n_rows == N_ROWS


def test_an_index_too_large_for_the_gpu_stays_on_the_cpu_and_says_so(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "faiss", faiss_with_gpu(failed_copy))
    with caplog.at_level(logging.WARNING):
        ann_index = build_ann_index(VECTORS)
    assert ann_index.search(VECTORS[:1], top_k=1)[1].tolist() == [[0]]
    assert "the GPU cannot hold the index (out of memory)" in caplog.text


def test_a_demanded_gpu_that_is_too_small_is_an_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", faiss_with_gpu(failed_copy))
    with pytest.raises(InputError, match=r"the GPU cannot hold the index \(out of memory\)"):
        build_ann_index(VECTORS, use_gpu=True)


def test_a_demanded_gpu_that_is_not_there_is_an_error(monkeypatch):
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 0)
    with pytest.raises(InputError, match="FAISS sees no GPU"):
        AnnIndex(faiss.IndexFlatIP(DIMENSION), use_gpu=True)


@pytest.mark.gpu
def test_a_real_gpu_answers_like_the_cpu(ann_index, tmp_path):
    ann_index.save(tmp_path / "images.faiss")
    if faiss.get_num_gpus() == 0:
        pytest.skip("FAISS sees no GPU")
    gpu_index = load_ann_index(tmp_path / "images.faiss", use_gpu=True)
    agreement = gpu_index.search(QUERIES, top_k=5)[1] == ann_index.search(QUERIES, top_k=5)[1]
    assert agreement.mean() > 0.99
