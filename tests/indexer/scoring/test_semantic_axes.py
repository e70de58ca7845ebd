import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.scoring.semantic_axes import NoAxisError, semantic_axes
from indexer.scoring.similarity import normalised

SEEDS = st.integers(0, 2**32 - 1)


def random_units(seed, n_rows, dimension):
    values = np.random.default_rng(seed).standard_normal((n_rows, dimension))
    return normalised(values.astype(np.float32))


def slow_subspace(label_embeddings, n_axes):
    """P^T P of the principal components, from the covariance matrix summed label by label."""
    embeddings = label_embeddings.astype(np.float64)
    mean = embeddings.mean(axis=0)
    covariance = sum(np.outer(row - mean, row - mean) for row in embeddings)
    _, directions = np.linalg.eigh(covariance)
    kept = directions[:, ::-1][:, :n_axes]
    return kept @ kept.T


@given(SEEDS, st.integers(2, 9), st.integers(2, 8))
def test_the_axes_span_the_principal_components(seed, n_labels, dimension):
    labels = random_units(seed, n_labels, dimension)
    found = semantic_axes(labels)
    n_axes = min(dimension // 2, n_labels - 1)
    assert found.axes.shape == (n_axes, dimension)
    expected = slow_subspace(labels, n_axes)
    np.testing.assert_allclose(found.axes.T @ found.axes, expected, atol=1e-5)
    np.testing.assert_allclose(found.axes @ found.axes.T, np.eye(n_axes), atol=1e-6)
    np.testing.assert_allclose(found.mean, labels.astype(np.float64).mean(axis=0), atol=1e-7)


def test_axes_worked_by_hand():
    # Around their mean (0, 0, 0.5) the labels lie along x, and half as far along y.
    labels = np.array([[1, 0, 0.5], [-1, 0, 0.5], [0, 0.5, 0.5], [0, -0.5, 0.5]], np.float32)
    found = semantic_axes(labels, n_axes=2)
    np.testing.assert_allclose(found.axes, [[1, 0, 0], [0, 1, 0]], atol=1e-7)
    np.testing.assert_allclose(found.mean, [0, 0, 0.5], atol=1e-7)
    assert found.axes.dtype == found.mean.dtype == np.float32


@pytest.mark.parametrize(
    ("n_labels", "dimension", "n_axes", "expected"),
    [
        pytest.param(20, 8, None, 4, id="half-the-dimensions"),
        pytest.param(20, 1, None, 1, id="one-dimension"),
        pytest.param(20, 8, 6, 6, id="asked"),
        pytest.param(20, 8, 99, 8, id="at-most-the-dimensions"),
        pytest.param(4, 8, 99, 3, id="at-most-the-rank"),
        pytest.param(2, 8, None, 1, id="two-labels"),
    ],
)
def test_the_number_of_axes(n_labels, dimension, n_axes, expected):
    labels = random_units(3, n_labels, dimension)
    assert len(semantic_axes(labels, n_axes=n_axes).axes) == expected


def test_a_label_given_twice_adds_no_axis():
    labels = random_units(3, 4, 8)
    assert len(semantic_axes(np.repeat(labels, 3, axis=0), n_axes=8).axes) == 3


@given(SEEDS)
def test_signs_are_fixed_and_the_order_of_labels_does_not_matter(seed):
    labels = random_units(seed, 12, 6)
    axes = semantic_axes(labels).axes
    largest = axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)]
    assert (largest > 0).all()
    shuffled = semantic_axes(np.random.default_rng(seed).permutation(labels)).axes
    np.testing.assert_allclose(shuffled.T @ shuffled, axes.T @ axes, atol=1e-4)


def test_the_same_labels_give_the_same_bits_and_stay_as_they_are():
    labels = random_units(0, 40, 16)
    before = labels.copy()
    first, again = semantic_axes(labels), semantic_axes(labels)
    np.testing.assert_array_equal(first.axes, again.axes)
    np.testing.assert_array_equal(labels, before)


@pytest.mark.parametrize("n_labels", [0, 1, 3])
def test_labels_that_are_all_the_same_are_refused(n_labels):
    labels = np.repeat(random_units(1, 1, 5), n_labels, axis=0)
    with pytest.raises(NoAxisError, match="all the same, so they span no axis"):
        semantic_axes(labels)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_refused(value):
    labels = random_units(1, 4, 5)
    labels[2, 3] = value
    with pytest.raises(ValueError, match="label_embeddings must be finite"):
        semantic_axes(labels)


def test_what_is_no_matrix_is_refused():
    with pytest.raises(ValueError, match=r"label_embeddings must be a matrix \(n, d\)"):
        semantic_axes(np.ones(3, np.float32))


def test_fewer_than_one_axis_is_refused():
    with pytest.raises(ValueError, match="n_axes must be at least 1, got 0"):
        semantic_axes(random_units(1, 4, 5), n_axes=0)
