import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.scoring import exact_cosines
from indexer.scoring.exact_cosines import half_rows, pair_cosines, smallest_similarity
from tests.indexer.scoring.half_vectors import half_units, slow_cosine

SEEDS = st.integers(0, 2**32 - 1)


def all_pairs(n_left, n_right):
    return tuple(rows.ravel() for rows in np.indices((n_left, n_right)))


@given(SEEDS, st.integers(1, 6))
def test_cosines_are_those_of_exact_arithmetic_to_the_last_bit(seed, dimension):
    left, right = half_units(seed, 5, dimension), half_units(seed + 1, 4, dimension)
    rows = all_pairs(5, 4)
    found = pair_cosines(half_rows("left", left), half_rows("right", right), *rows)
    expected = [slow_cosine(left[i], right[j]) for i, j in zip(*rows, strict=True)]
    assert found.tolist() == expected


def test_a_few_pairs_of_a_large_block_are_as_exact_as_all():
    left, right = (half_rows("", half_units(seed, 150, 64)) for seed in (0, 1))
    rows = all_pairs(150, 150)
    few = slice(7, 320)
    gathered = pair_cosines(left, right, rows[0][few], rows[1][few])
    assert gathered.tolist() == pair_cosines(left, right, *rows)[few].tolist()


def test_the_order_of_components_does_not_matter():
    left, right = half_units(2, 20, 512), half_units(3, 20, 512)
    order = np.random.default_rng(4).permutation(512)
    rows = all_pairs(20, 20)
    plain = pair_cosines(half_rows("", left), half_rows("", right), *rows)
    shuffled = pair_cosines(half_rows("", left[:, order]), half_rows("", right[:, order]), *rows)
    assert plain.tolist() == shuffled.tolist()


def test_equal_vectors_have_a_cosine_of_one():
    rows = half_rows("vectors", half_units(5, 300, 96))
    places = np.arange(300)
    assert pair_cosines(rows, rows, places, places).tolist() == [1.0] * 300


def test_single_precision_is_rounded_to_half_and_not_written_into():
    vectors = np.random.default_rng(6).normal(size=(9, 40)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    before = vectors.copy()
    rows = half_rows("vectors", vectors)
    assert rows.vectors.dtype == np.float16
    np.testing.assert_array_equal(rows.vectors, vectors.astype(np.float16))
    np.testing.assert_array_equal(vectors, before)


@pytest.mark.parametrize(
    ("row", "length"),
    [([1.2, 1.6], "2"), ([0.6, np.nan], "nan"), ([np.inf, 0], "inf"), ([1e6, 0], "inf")],
)
def test_refuses_what_has_no_unit_length(row, length):
    vectors = np.array([[1, 0], [0, 0], row], np.float32)
    with pytest.raises(ValueError, match=f"left must be zero or of unit .* row 2 has .* {length}$"):
        half_rows("left", vectors)


def test_refuses_a_single_vector():
    with pytest.raises(ValueError, match=r"left must be a matrix \(n, d\), got shape \(3,\)"):
        half_rows("left", np.ones(3, np.float16))


class TestSmallestSimilarity:
    @given(SEEDS, st.integers(2, 12))
    def test_is_the_lowest_of_all_pairs(self, seed, n_rows):
        vectors = half_units(seed, n_rows, 3, zeros=1)
        pairs = [(i, j) for i in range(n_rows) for j in range(i)]
        expected = min(slow_cosine(vectors[i], vectors[j]) for i, j in pairs)
        assert smallest_similarity(vectors) == np.float32(expected)

    @pytest.mark.parametrize("rows", [1, 2, 7, 40])
    def test_does_not_depend_on_blocks(self, rows, monkeypatch):
        vectors = half_units(7, 40, 64)
        expected = smallest_similarity(vectors)
        monkeypatch.setattr(exact_cosines, "BLOCK_ROWS", rows)
        assert smallest_similarity(vectors) == expected

    def test_of_opposite_vectors(self):
        assert smallest_similarity(np.array([[1, 0], [-1, 0]], np.float32)) == -1

    def test_of_equal_vectors(self):
        assert smallest_similarity(np.tile(half_units(8, 1, 48), (5, 1))) == 1

    def test_of_zero_vectors(self):
        assert smallest_similarity(np.zeros((2, 3), np.float16)) == 0

    @pytest.mark.parametrize("n_rows", [0, 1])
    def test_takes_a_pair(self, n_rows):
        with pytest.raises(ValueError, match=f"takes two vectors or more, got {n_rows}"):
            smallest_similarity(np.ones((n_rows, 1), np.float16))
