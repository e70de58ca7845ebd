import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.arrays import FloatArray
from indexer.scoring.similarity import (
    composed_query,
    cosine_similarities,
    exact_search,
    normalised,
    top_k,
)


def integer_vectors(seed: int, n_rows: int, dimension: int = 4) -> FloatArray:
    """Small whole numbers: products are exact, and ties are common."""
    values = np.random.default_rng(seed).integers(-2, 3, (n_rows, dimension))
    return values.astype(np.float32)


def slow_search(queries, gallery, top_k, rows):
    """Sort all (similarity, row) pairs of each query."""
    answers = []
    for query in queries:
        pairs = sorted((-float(query @ gallery[row]), row) for row in set(rows))[:top_k]
        padding = [(np.inf, -1)] * (top_k - len(pairs))
        answers.append([(-value, row) for value, row in pairs + padding])
    return answers


class TestNormalised:
    def test_scales_rows_to_unit_length(self):
        units = normalised(np.array([[3, 4], [0, -2]], dtype=np.float32))
        np.testing.assert_allclose(units, [[0.6, 0.8], [0.0, -1.0]], rtol=1e-7)

    def test_leaves_nearly_zero_rows_at_zero_instead_of_amplifying_noise(self):
        units = normalised(np.array([[0, 0], [6e-9, 0], [2e-8, 0]], dtype=np.float32))
        np.testing.assert_array_equal(units, [[0, 0], [0, 0], [1, 0]])

    def test_survives_lengths_whose_square_overflows(self):
        units = normalised(np.array([3e30, 4e30], dtype=np.float32))
        np.testing.assert_allclose(units, [0.6, 0.8], rtol=1e-6)

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_keeps_the_type_and_the_argument(self, dtype):
        vectors = np.array([[3, 4]], dtype=dtype)
        assert normalised(vectors).dtype == dtype
        np.testing.assert_array_equal(vectors, [[3, 4]])

    def test_accepts_no_rows(self):
        assert normalised(np.zeros((0, 5), np.float32)).shape == (0, 5)


class TestCosineSimilarities:
    def test_hand_worked_values(self):
        queries = np.array([[2, 0], [0, 0]], dtype=np.float32)
        gallery = np.array([[5, 0], [3, 3], [0, 1], [-1, 0]], dtype=np.float32)
        similarities = cosine_similarities(queries, gallery)
        np.testing.assert_allclose(similarities, [[1, np.sqrt(0.5), 0, -1], [0] * 4], atol=1e-7)

    def test_stays_within_one_for_equal_vectors(self):
        vectors = np.random.default_rng(0).standard_normal((500, 33)).astype(np.float32)
        assert np.diag(cosine_similarities(vectors, vectors)).max() <= 1.0

    def test_refuses_different_widths(self):
        with pytest.raises(ValueError, match=r"gallery must be a matrix \(n, 3\), got shape"):
            cosine_similarities(np.ones((1, 3), np.float32), np.ones((1, 4), np.float32))


class TestTopK:
    def test_breaks_ties_by_the_lowest_row(self):
        values, rows = top_k(np.array([[1, 3, 2, 3, 2, 3]], dtype=np.float32), k=4)
        np.testing.assert_array_equal(rows, [[1, 3, 5, 2]])
        np.testing.assert_array_equal(values, [[3, 3, 3, 2]])

    def test_pads_where_fewer_rows_exist(self):
        values, rows = top_k(np.array([[1, 2]], dtype=np.float32), k=3)
        np.testing.assert_array_equal(rows, [[1, 0, -1]])
        np.testing.assert_array_equal(values, [[2, 1, -np.inf]])

    def test_never_returns_what_is_ruled_out_by_minus_infinity(self):
        values, rows = top_k(np.array([[-np.inf, 2, -np.inf]], dtype=np.float32), k=2)
        np.testing.assert_array_equal(rows, [[1, -1]])
        np.testing.assert_array_equal(values, [[2, -np.inf]])

    def test_refuses_zero_hits(self):
        with pytest.raises(ValueError, match="k must be at least 1, got 0"):
            top_k(np.zeros((1, 2), np.float32), k=0)


class TestExactSearch:
    @given(
        seed=st.integers(0, 2**32 - 1),
        n_rows=st.integers(0, 30),
        k=st.integers(1, 12),
        block=st.integers(1, 40),
    )
    def test_agrees_with_sorting_everything(self, seed, n_rows, k, block):
        queries, gallery = integer_vectors(seed, 3), integer_vectors(seed + 1, n_rows)
        similarities, rows = exact_search(queries, gallery, top_k=k, block=block)
        expected = slow_search(queries, gallery, k, range(n_rows))
        assert [list(zip(*pair, strict=True)) for pair in zip(similarities, rows, strict=True)] == (
            expected
        )

    @given(
        seed=st.integers(0, 2**32 - 1),
        allowed=st.lists(st.integers(0, 19), max_size=25),
        block=st.integers(1, 25),
    )
    def test_answers_with_the_allowed_rows_only(self, seed, allowed, block):
        queries, gallery = integer_vectors(seed, 2), integer_vectors(seed + 1, 20)
        rows = np.array(allowed, dtype=np.int64)
        _, found = exact_search(queries, gallery, top_k=5, rows=rows, block=block)
        expected = slow_search(queries, gallery, 5, allowed)
        assert found.tolist() == [[row for _, row in answer] for answer in expected]

    def test_reads_half_precision_galleries(self):
        gallery = np.eye(3, dtype=np.float16)
        similarities, rows = exact_search(np.eye(3, dtype=np.float32), gallery, top_k=1)
        assert rows.ravel().tolist() == [0, 1, 2]
        assert similarities.dtype == np.float32

    @pytest.mark.parametrize("rows", [[-1, 2], [0, 3]])
    def test_refuses_rows_outside_the_gallery(self, rows):
        vectors = np.eye(3, dtype=np.float32)
        with pytest.raises(ValueError, match=rf"rows must be in \[0, 3\), got {rows[0]} to"):
            exact_search(vectors, vectors, top_k=1, rows=np.array(rows))

    @pytest.mark.parametrize("options", [{"top_k": 0}, {"top_k": 1, "block": 0}])
    def test_refuses_sizes_below_one(self, options):
        vectors = np.eye(3, dtype=np.float32)
        with pytest.raises(ValueError, match="top_k and block must be at least 1"):
            exact_search(vectors, vectors, **options)

    def test_refuses_a_single_vector_for_a_matrix(self):
        with pytest.raises(ValueError, match=r"queries must be a matrix \(n, d\), got shape \(3,"):
            exact_search(np.ones(3, np.float32), np.eye(3, dtype=np.float32), top_k=1)


class TestComposedQuery:
    def test_adds_unit_vectors_whatever_their_length(self):
        vectors = np.array([[10, 0], [0, 0.1]], dtype=np.float32)
        query = composed_query(vectors, np.array([3, 4], dtype=np.float32))
        np.testing.assert_allclose(query, [0.6, 0.8], rtol=1e-6)

    def test_leads_away_from_negative_weights(self):
        vectors = np.array([[1, 0], [1, 1]], dtype=np.float32)
        query = composed_query(vectors, np.array([1, -1], dtype=np.float32))
        assert query @ np.array([1, 1]) < 0

    def test_refuses_weights_that_cancel_out(self):
        vectors = np.array([[0.1, 0.7], [0.3, 2.1]], dtype=np.float32)
        with pytest.raises(ValueError, match="cancel out"):
            composed_query(vectors, np.array([1, -1], dtype=np.float32))

    def test_refuses_zero_weights(self):
        with pytest.raises(ValueError, match="cancel out"):
            composed_query(np.eye(2, dtype=np.float32), np.zeros(2, np.float32))

    def test_refuses_another_number_of_weights(self):
        with pytest.raises(ValueError, match=r"2 vectors need as many weights, got \(3,\)"):
            composed_query(np.eye(2, dtype=np.float32), np.ones(3, np.float32))
