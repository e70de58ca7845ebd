import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from indexer.scoring import similarity_cells
from indexer.scoring.exact_cosines import half_rows
from indexer.scoring.similarity_cells import NO_CELL, cell_visits
from tests.indexer.scoring.half_vectors import clustered_halves, few_directions, half_units


def visits_of(vectors, *, n_places=4, seed=0):
    rows = half_rows("vectors", vectors)
    return cell_visits(rows, rows, n_places=n_places, seed=seed)


def assert_same(found, expected):
    np.testing.assert_array_equal(found.homes, expected.homes)
    np.testing.assert_array_equal(found.visits, expected.visits)


def test_clusters_that_lie_apart_have_cells_of_their_own():
    vectors = np.repeat(np.eye(8, dtype=np.float16), 8, axis=0)
    visits = visits_of(vectors, n_places=1)
    by_cluster = visits.homes.reshape(8, 8)
    assert (by_cluster == by_cluster[:, :1]).all()


def test_similar_vectors_mostly_live_together():
    vectors = clustered_halves(2, 1500, 16, spread=0.5, n_clusters=60)
    homes = visits_of(vectors, n_places=1).homes
    products = vectors.astype(np.float64) @ vectors.T.astype(np.float64)
    first, second = np.nonzero(np.triu(products >= 0.8, k=1))
    # Around centres that are drawn and not moved it is 63 %.
    assert (homes[first] == homes[second]).mean() > 0.86


def test_there_are_twice_as_many_cells_as_the_square_root_of_the_rows_that_are_not_zero():
    vectors = np.concatenate([half_units(0, 400, 16), np.zeros((100, 16), np.float16)])
    assert visits_of(vectors).n_list == 40


def test_the_nearest_cell_is_home_and_comes_first():
    visits = visits_of(clustered_halves(1, 300), n_places=5)
    np.testing.assert_array_equal(visits.homes, visits.visits[:, 0])
    assert all(len(set(row)) == 5 for row in visits.visits.tolist())


def test_no_more_cells_are_visited_than_there_are():
    assert visits_of(half_units(2, 30, 8), n_places=64).visits.shape == (30, 10)


def test_equal_vectors_live_in_one_cell():
    vectors = np.tile(half_units(3, 3, 16), (100, 1))
    visits = visits_of(vectors)
    assert visits.n_list == 3
    np.testing.assert_array_equal(visits.visits, np.tile(visits.visits[:3], (100, 1)))


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_a_pair_meets_once_where_its_left_row_lives(seed, n_probe):
    left, right = few_directions(seed, 40), few_directions(seed + 1, 30)
    left[0] = np.array([1, 0, 0])
    visits = cell_visits(half_rows("left", left), half_rows("right", right), n_places=4, seed=0)
    met = [
        (member, visitor)
        for members, visitors in visits.cells(n_probe)
        for member in members.tolist()
        for visitor in visitors.tolist()
    ]
    directed = (np.flatnonzero(vectors.any(axis=1)).tolist() for vectors in (left, right))
    pairs = np.array(list(itertools.product(*directed))).reshape(-1, 2)
    is_met = visits.places(*pairs.T) < n_probe
    expected = map(tuple, pairs[is_met].tolist())
    assert sorted(met) == sorted(expected)


def test_zero_vectors_live_and_visit_nowhere():
    vectors = np.concatenate([half_units(4, 50, 8), np.zeros((9, 8), np.float16)])
    visits = visits_of(vectors)
    assert (visits.homes[50:] == NO_CELL).all()
    assert (visits.visits[50:] == NO_CELL).all()
    rows = [row for cell in visits.cells(4) for part in cell for row in part.tolist()]
    assert max(rows) == 49


def test_members_and_visitors_ascend():
    for part in (part for cell in visits_of(clustered_halves(5, 500)).cells(3) for part in cell):
        assert (np.diff(part) > 0).all()


@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_cells_do_not_depend_on_blocks(rows, monkeypatch):
    vectors = clustered_halves(6, 300)
    expected = visits_of(vectors)
    monkeypatch.setattr(similarity_cells, "BLOCK_ROWS", rows)
    assert_same(visits_of(vectors), expected)


def test_cells_do_not_depend_on_threads():
    vectors = clustered_halves(7, 2000, 96)
    with threadpool_limits(1):
        expected = visits_of(vectors)
    assert_same(visits_of(vectors), expected)


def test_the_seed_draws_the_cells():
    vectors = clustered_halves(8, 400)
    assert_same(visits_of(vectors, seed=3), visits_of(vectors, seed=3))
    assert (visits_of(vectors, seed=3).homes != visits_of(vectors, seed=4).homes).any()
