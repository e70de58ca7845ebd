import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.scoring.exact_products import exact_products, grid_rows


def random_rows(seed, n_rows=9, dimension=37, spread=4.0):
    """Rows whose lengths differ by orders of magnitude."""
    generator = np.random.default_rng(seed)
    rows = generator.normal(size=(n_rows, dimension)) * np.exp(
        spread * generator.normal(size=(n_rows, 1))
    )
    return rows.astype(np.float32)


def products(left, right):
    return exact_products(grid_rows(left), grid_rows(right))


def test_hand_worked_products():
    left = np.array([[1, 2, 2], [0, 0, 0], [-3, 0.5, 0.25]], dtype=np.float32)
    right = np.array([[4, 0, -8], [1, 1, 1]], dtype=np.float32)
    np.testing.assert_array_equal(products(left, right), [[-12, 5], [0, 0], [-14, -2.25]])


@given(st.integers(0, 2**32 - 1))
def test_products_are_as_near_to_the_true_ones_as_those_of_float32(seed):
    left, right = random_rows(seed), random_rows(seed + 1, n_rows=5)
    lengths = np.outer(*(np.linalg.norm(rows.astype(np.float64), axis=1) for rows in (left, right)))
    true = left.astype(np.float64) @ right.astype(np.float64).T
    assert (np.abs(products(left, right) - true) <= 2e-7 * lengths).all()


@given(st.integers(0, 2**32 - 1), st.integers(1, 8))
def test_a_row_has_the_same_bits_in_any_company_and_order(seed, batch):
    left, right = random_rows(seed, n_rows=20), random_rows(seed + 1, n_rows=6)
    whole = products(left, right)
    batches = [products(left[start : start + batch], right) for start in range(0, 20, batch)]
    np.testing.assert_array_equal(np.concatenate(batches), whole)
    order = np.random.default_rng(seed).permutation(20)
    np.testing.assert_array_equal(products(left[order], right), whole[order])


def test_the_order_of_the_terms_does_not_matter():
    left, right = random_rows(0, dimension=512), random_rows(1, dimension=512)
    order = np.random.default_rng(2).permutation(512)
    # Of the same length to the last bit of a power of two, whatever the order of its sum.
    np.testing.assert_array_equal(products(left[:, order], right[:, order]), products(left, right))


@pytest.mark.parametrize("layout", [np.asfortranarray, lambda rows: rows[::-1][::-1]])
def test_the_layout_in_memory_does_not_matter(layout):
    left, right = random_rows(3), random_rows(4)
    np.testing.assert_array_equal(products(layout(left), layout(right)), products(left, right))


def test_half_precision_rows_keep_their_values_and_the_argument_its_own():
    left = random_rows(5, spread=0.1).astype(np.float16)
    before = left.copy()
    np.testing.assert_array_equal(products(left, left), products(left.astype(np.float32), left))
    np.testing.assert_array_equal(left, before)


def test_no_rows_have_no_products():
    assert products(np.zeros((0, 4), np.float32), np.ones((3, 4), np.float32)).shape == (0, 3)


def test_refuses_a_single_vector():
    with pytest.raises(ValueError, match=r"vectors must be a matrix \(n, d\), got shape \(3,\)"):
        grid_rows(np.ones(3, np.float32))
