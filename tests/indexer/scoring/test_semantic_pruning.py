"""Pruning against the published algorithm, written out plainly."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.scoring import semantic_pruning as module
from indexer.scoring.coverage import nearest_chosen, total_similarities
from indexer.scoring.exact_products import exact_products, grid_rows
from indexer.scoring.semantic_pruning import (
    TooFewLeftError,
    nearest_in_cells,
    semantic_pruning,
)
from indexer.scoring.similarity import normalised

SEEDS = st.integers(0, 2**32 - 1)


def random_units(seed, n_rows, *, dimension=4):
    generator = np.random.default_rng(seed)
    return normalised(generator.standard_normal((n_rows, dimension)).astype(np.float32))


def with_copies(seed, n_rows):
    vectors = random_units(seed, n_rows)
    return vectors[np.random.default_rng(seed).integers(0, n_rows, n_rows)]


def clustered(seed, n_rows, *, n_clusters=6, dimension=8):
    generator = np.random.default_rng(seed)
    centres = generator.standard_normal((n_clusters, dimension))
    members = centres[generator.integers(0, n_clusters, n_rows)]
    spread = 0.2 * generator.standard_normal((n_rows, dimension))
    return normalised((members + spread).astype(np.float32))


def at_degrees(*angles):
    radians = np.radians(angles)
    return np.column_stack([np.cos(radians), np.sin(radians)]).astype(np.float32)


def all_products(vectors):
    grid = grid_rows(vectors)
    return exact_products(grid, grid)


def published(vectors, threshold):
    """The rows that SemDeDup keeps of one cell: its pseudocode, step by step."""
    ranked = np.argsort(total_similarities(vectors), kind="stable")
    is_before = np.triu(np.ones((len(vectors), len(vectors)), np.bool_), k=1)
    products = np.where(is_before, all_products(vectors[ranked]), -2)
    return set(ranked[products.max(axis=0) <= threshold].tolist())


def test_pruning_worked_by_hand():
    # The mean lies at 16 degrees: ranked from the farthest, 60, 0, 2 and 8. Cosines to the nearest
    # ranked before: 0 has cos 60 = .5 to the one at 60, 2 has cos 2 to 0, 8 has cos 6 to 2.
    vectors = at_degrees(8, 2, 0, 60)
    for count, left, threshold in [(3, [3, 2, 0], 2), (2, [3, 2], 6), (1, [3], 60)]:
        pruned = semantic_pruning(vectors, count=count)
        assert pruned.chosen.tolist() == left
        assert pruned.threshold == pytest.approx(np.cos(np.radians(threshold)), abs=1e-6)
        assert [rows.tolist() for rows in pruned.cells] == [[0, 1, 2, 3]]


@given(seed=SEEDS, n_rows=st.integers(2, 25), count=st.integers(1, 25))
def test_what_is_left_is_what_the_paper_keeps_at_the_threshold(seed, n_rows, count):
    vectors = random_units(seed, n_rows)
    count = min(count, n_rows - 1)
    pruned = semantic_pruning(vectors, count=count)
    assert pruned.threshold is not None
    # Just below the threshold, as the paper leaves out what is above.
    assert set(pruned.chosen.tolist()) == published(vectors, np.nextafter(pruned.threshold, -1))


@settings(deadline=None)
@given(seed=SEEDS, n_rows=st.integers(1, 60), count=st.integers(1, 60), limit=st.integers(1, 60))
def test_exactly_as_many_are_left_as_are_asked_for(seed, n_rows, count, limit):
    vectors, count = with_copies(seed, n_rows), min(count, n_rows)
    try:
        pruned = semantic_pruning(vectors, count=count, compared_rows=limit)
    except TooFewLeftError:
        assert count < 8  # no more cells than the square root of 60
        return
    assert len(np.unique(pruned.chosen)) == len(pruned.chosen) == count
    assert (pruned.threshold is None) == (count == n_rows)
    assert np.sort(np.concatenate(pruned.cells)).tolist() == list(range(n_rows))


@settings(deadline=None)
@given(seed=SEEDS, count=st.integers(14, 199))
def test_the_threshold_holds_within_every_cell(seed, count):
    vectors = clustered(seed, 200)
    pruned = semantic_pruning(vectors, count=count, seed=seed, compared_rows=100)
    assert len(pruned.cells) > 1
    is_chosen = np.isin(np.arange(200), pruned.chosen)
    for rows in pruned.cells:
        products = all_products(vectors[rows]) - 3 * np.eye(len(rows))
        own = is_chosen[rows]
        assert products[np.ix_(own, own)].max(initial=-2) <= pruned.threshold
        assert (products[~own].max(axis=1, initial=-2) >= pruned.threshold).all()


@given(seed=SEEDS, n_rows=st.integers(2, 40), count=st.integers(1, 40))
def test_copies_are_left_out_first(seed, n_rows, count):
    vectors, count = with_copies(seed, n_rows), min(count, n_rows)
    chosen = semantic_pruning(vectors, count=count).chosen
    n_different = len(np.unique(vectors, axis=0))
    assert len(np.unique(vectors[chosen], axis=0)) == min(count, n_different)


def test_of_copies_the_first_stays():
    vectors = at_degrees(0, 90, 0, 90, 90)
    assert sorted(semantic_pruning(vectors, count=2).chosen.tolist()) == [0, 1]
    assert sorted(semantic_pruning(vectors, count=3).chosen.tolist()) == [0, 1, 2]


def test_the_first_of_many_are_what_is_left_of_fewer():
    vectors = clustered(1, 150)
    many = semantic_pruning(vectors, count=120, compared_rows=50).chosen
    few = semantic_pruning(vectors, count=30, compared_rows=50).chosen
    assert few.tolist() == many[:30].tolist()


def test_the_order_of_vectors_does_not_matter():
    vectors = random_units(2, 60)
    order = np.random.default_rng(2).permutation(60)
    found = semantic_pruning(vectors[order], count=40)
    expected = semantic_pruning(vectors, count=40)
    assert set(order[found.chosen].tolist()) == set(expected.chosen.tolist())
    assert found.threshold == expected.threshold


def test_blocks_do_not_change_what_is_left(monkeypatch):
    vectors = with_copies(4, 60)
    expected = semantic_pruning(vectors, count=30)
    monkeypatch.setattr(module, "BLOCK_ROWS", 7)
    found = semantic_pruning(vectors, count=30)
    assert found.chosen.tolist() == expected.chosen.tolist()
    assert found.threshold == expected.threshold


def test_cells_are_drawn_by_their_seed():
    vectors = random_units(3, 200)
    sizes = [
        [
            rows.tolist()
            for rows in semantic_pruning(vectors, count=20, seed=seed, compared_rows=9).cells
        ]
        for seed in (1, 1, 2)
    ]
    assert sizes[0] == sizes[1] != sizes[2]


@pytest.mark.parametrize("n_rows", [1, 3, 30])
def test_vectors_that_are_all_equal_lose_all_but_the_first(n_rows):
    vectors = np.repeat(at_degrees(30), n_rows, axis=0)
    assert semantic_pruning(vectors, count=1, compared_rows=10).chosen.tolist() == [0]


def test_zero_vectors_repeat_nothing():
    vectors = np.concatenate([np.zeros((20, 2), np.float32), at_degrees(0, 1, 90, 91)])
    for compared_rows in (10, 100):
        chosen = semantic_pruning(vectors, count=22, compared_rows=compared_rows).chosen
        assert set(range(20)) < set(chosen.tolist())


@pytest.mark.parametrize("count", [0, 4])
def test_a_count_out_of_range_is_refused(count):
    with pytest.raises(ValueError, match=rf"count must be in \[1, 3\], got {count}"):
        semantic_pruning(random_units(0, 3), count=count)


def test_fewer_than_cells_are_refused():
    with pytest.raises(TooFewLeftError, match=r"one of each of \d+ cells is left, got count = 2"):
        semantic_pruning(clustered(0, 200), count=2, compared_rows=100)


def test_vectors_that_cannot_be_compared_are_refused():
    with pytest.raises(ValueError, match="vectors must be finite"):
        semantic_pruning(np.full((2, 2), np.nan, np.float32), count=1)
    with pytest.raises(ValueError, match=r"unit length, row 0 has length 2"):
        semantic_pruning(2 * random_units(0, 20), count=1, compared_rows=10)


# What is covered


@given(seed=SEEDS, n_rows=st.integers(1, 30), count=st.integers(1, 30))
def test_in_one_cell_the_nearest_chosen_is_that_of_all(seed, n_rows, count):
    vectors = with_copies(seed, n_rows)
    chosen = np.random.default_rng(seed).permutation(n_rows)[:count]
    found = nearest_in_cells(vectors, [np.arange(n_rows)], chosen)
    expected = nearest_chosen(vectors, chosen)
    np.testing.assert_array_equal(found.nearest, expected.nearest)
    np.testing.assert_array_equal(found.similarities, expected.similarities)


def test_the_nearest_chosen_is_looked_for_in_the_own_cell_where_it_has_one():
    vectors = at_degrees(0, 20, 24, 60, 70, 100)
    cells = [np.array([0, 1]), np.array([2, 3]), np.array([4, 5])]
    cover = nearest_in_cells(vectors, cells, np.array([3, 0]))
    # 20 degrees is nearest to 0 of its cell; 70 and 100, whose cell has none chosen, to 60.
    assert cover.nearest.tolist() == [1, 1, 0, 0, 0, 0]
    expected = np.cos(np.radians([0, 20, 36, 0, 10, 40]))
    np.testing.assert_allclose(cover.similarities, expected, atol=1e-6)
