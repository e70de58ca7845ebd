"""Choices of vectors that stand for all, against brute force and plain versions of the methods."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.scoring import coverage
from indexer.scoring.coverage import (
    facility_location,
    k_centre,
    nearest_chosen,
    sample_size,
    total_similarities,
    with_blanks_alike,
)
from indexer.scoring.exact_products import exact_products, grid_rows
from indexer.scoring.similarity import normalised

SEEDS = st.integers(0, 2**32 - 1)
BOTH = pytest.mark.parametrize("choose", [k_centre, facility_location])


def random_units(seed, n_rows, *, dimension=4):
    generator = np.random.default_rng(seed)
    return normalised(generator.standard_normal((n_rows, dimension)).astype(np.float32))


def with_copies(seed, n_rows):
    """Vectors of which about half have a copy."""
    vectors = random_units(seed, n_rows)
    return vectors[np.random.default_rng(seed).integers(0, n_rows, n_rows)]


def at_degrees(*angles):
    radians = np.radians(angles)
    return np.column_stack([np.cos(radians), np.sin(radians)]).astype(np.float32)


def all_products(vectors):
    grid = grid_rows(vectors)
    return exact_products(grid, grid)


def slow_k_centre(vectors, count):
    products = all_products(vectors)
    chosen = [int(np.argmax(total_similarities(vectors)))]
    while len(chosen) < count:
        nearest = products[:, chosen].max(axis=1)
        nearest[chosen] = np.inf
        chosen.append(int(np.argmin(nearest)))
    return chosen


def slow_greedy_locations(vectors, count):
    cosines = np.maximum(np.round(all_products(vectors) * 2**23) / 2**23, 0)
    chosen: list[int] = []
    for _ in range(count):
        means = [
            -1.0 if row in chosen else cosines[:, [*chosen, row]].max(axis=1).sum()
            for row in range(len(vectors))
        ]
        chosen.append(int(np.argmax(means)))
    return chosen


def largest_angle(vectors, chosen):
    return float(np.arccos(nearest_chosen(vectors, np.array(chosen)).similarities.min()))


def mean_cosine(vectors, chosen):
    similarities = nearest_chosen(vectors, np.array(chosen)).similarities
    return float(np.maximum(similarities, 0).mean())


# k-centre


def test_k_centre_worked_by_hand():
    # The mean of all points to 42 degrees, so that 40 is the medoid; then what is farthest.
    vectors = at_degrees(0, 10, 40, 70, 90)
    cover = k_centre(vectors, count=3)
    assert cover.chosen.tolist() == [2, 4, 0]
    assert cover.nearest.tolist() == [2, 2, 0, 1, 1]
    expected = np.cos(np.radians([0, 10, 0, 20, 0]))
    np.testing.assert_allclose(cover.similarities, expected, atol=1e-6)


@given(seed=SEEDS, n_rows=st.integers(1, 12), count=st.integers(1, 12), work=st.integers(1, 12))
def test_k_centre_is_farthest_first_traversal(seed, n_rows, count, work):
    vectors, count = with_copies(seed, n_rows), min(count, n_rows)
    cover = k_centre(vectors, count=count, work_rows=work)
    assert cover.chosen.tolist() == slow_k_centre(vectors, count)
    expected = nearest_chosen(vectors, cover.chosen)
    np.testing.assert_array_equal(cover.nearest, expected.nearest)
    np.testing.assert_array_equal(cover.similarities, expected.similarities)


@given(seed=SEEDS, n_rows=st.integers(2, 9), count=st.integers(1, 3))
def test_k_centre_is_within_twice_the_least_largest_angle(seed, n_rows, count):
    vectors, count = random_units(seed, n_rows), min(count, n_rows)
    found = largest_angle(vectors, k_centre(vectors, count=count).chosen)
    least = min(largest_angle(vectors, rows) for rows in combinations(range(n_rows), count))
    assert least - 1e-9 <= found <= 2 * least + 1e-6


def test_the_first_of_many_are_the_choice_of_few():
    vectors = random_units(3, 200)
    many = k_centre(vectors, count=50, work_rows=20).chosen
    for count in (1, 2, 17):
        assert k_centre(vectors, count=count).chosen.tolist() == many[:count].tolist()


# Facility location


def test_facility_location_worked_by_hand():
    # 20 degrees has the highest sum of cosines, 100 then adds most. Around 100 lie 80 and 100 only,
    # which are equally typical: the lower row stays.
    vectors = at_degrees(0, 20, 40, 80, 100)
    cover = facility_location(vectors, count=2)
    assert cover.chosen.tolist() == [1, 3]
    assert cover.nearest.tolist() == [0, 0, 0, 1, 1]


@pytest.mark.parametrize("kept_cosines", [0, coverage.KEPT_COSINES])
@given(seed=SEEDS, n_rows=st.integers(1, 40), count=st.integers(1, 40))
def test_old_gains_do_not_change_the_choice(kept_cosines, seed, n_rows, count):
    vectors, count = with_copies(seed, n_rows), min(count, n_rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coverage, "KEPT_COSINES", kept_cosines)
        patch.setattr(coverage, "FEWEST_ROWS", 1)
        patch.setattr(coverage, "MOST_ROWS", 8)
        found = coverage._greedy_locations(vectors, count)
    assert found.tolist() == slow_greedy_locations(vectors, count)


@given(seed=SEEDS, n_rows=st.integers(2, 9), count=st.integers(1, 3))
def test_facility_location_is_near_the_highest_mean(seed, n_rows, count):
    vectors, count = random_units(seed, n_rows), min(count, n_rows)
    found = mean_cosine(vectors, facility_location(vectors, count=count).chosen)
    highest = max(mean_cosine(vectors, rows) for rows in combinations(range(n_rows), count))
    assert (1 - 1 / np.e) * highest <= found <= highest + 1e-12


@given(seed=SEEDS, count=st.integers(1, 6), n_sampled=st.integers(6, 40))
def test_medoids_of_all_never_lower_the_mean(seed, count, n_sampled):
    vectors = random_units(seed, 40)
    found = facility_location(vectors, count=count, n_sampled=n_sampled, seed=seed)
    sample = coverage._sample(40, n_sampled, seed)
    greedy = sample[slow_greedy_locations(vectors[sample], count)]
    assert mean_cosine(vectors, found.chosen) >= mean_cosine(vectors, greedy) - 1e-12


def test_a_sample_is_drawn_by_its_seed():
    vectors = random_units(5, 300)
    choices = [
        facility_location(vectors, count=4, n_sampled=20, seed=seed).chosen.tolist()
        for seed in (1, 1, 2)
    ]
    assert choices[0] == choices[1] != choices[2]
    everything = [
        facility_location(vectors, count=4, n_sampled=300, seed=seed).chosen.tolist()
        for seed in (1, 2)
    ]
    assert everything[0] == everything[1]


@pytest.mark.parametrize(
    ("n_vectors", "count", "expected"),
    [
        pytest.param(100, 5, 100, id="no-more-than-there-are"),
        pytest.param(10**6, 5, 8192, id="few"),
        pytest.param(10**6, 5000, 10_000, id="two-for-each-of-many"),
    ],
)
def test_the_size_of_a_sample(n_vectors, count, expected):
    assert sample_size(n_vectors, count) == expected


# Both


@BOTH
@given(seed=SEEDS, n_rows=st.integers(30, 60), count=st.integers(1, 3))
def test_the_order_of_vectors_does_not_matter(choose, seed, n_rows, count):
    # Few of many: of two that only have each other, both are as typical.
    vectors = random_units(seed, n_rows)
    order = np.random.default_rng(seed).permutation(n_rows)
    assert order[choose(vectors[order], count=count).chosen].tolist() == (
        choose(vectors, count=count).chosen.tolist()
    )


@BOTH
@given(seed=SEEDS, n_rows=st.integers(1, 20), count=st.integers(1, 20))
def test_no_copy_is_chosen_while_something_else_is_left(choose, seed, n_rows, count):
    vectors, count = with_copies(seed, n_rows), min(count, n_rows)
    n_different = len(np.unique(vectors, axis=0))
    chosen = choose(vectors, count=count).chosen
    assert len(np.unique(vectors[chosen], axis=0)) == min(count, n_different)


@BOTH
def test_blocks_do_not_change_the_choice(choose, monkeypatch):
    vectors = with_copies(8, 90)
    expected = choose(vectors, count=30)
    monkeypatch.setattr(coverage, "BLOCK_ROWS", 7)
    monkeypatch.setattr(coverage, "BLOCK_CHOSEN", 4)
    found = choose(vectors, count=30)
    np.testing.assert_array_equal(found.chosen, expected.chosen)
    np.testing.assert_array_equal(found.nearest, expected.nearest)
    np.testing.assert_array_equal(found.similarities, expected.similarities)


@BOTH
def test_all_can_be_chosen(choose):
    cover = choose(with_copies(2, 9), count=9)
    assert sorted(cover.chosen.tolist()) == list(range(9))
    assert cover.chosen[cover.nearest].tolist() == list(range(9))
    assert cover.similarities.tolist() == [1.0] * 9
    assert choose(random_units(0, 1), count=1).chosen.tolist() == [0]


@BOTH
def test_zero_vectors_are_similar_to_nothing(choose):
    vectors = np.concatenate([at_degrees(0, 10), np.zeros((2, 2), np.float32)])
    cover = choose(vectors, count=1)
    assert cover.chosen.tolist() == [0]
    np.testing.assert_allclose(cover.similarities, [1, np.cos(np.radians(10)), 0, 0], atol=1e-6)
    assert sorted(choose(np.zeros((3, 2), np.float32), count=3).chosen.tolist()) == [0, 1, 2]


@BOTH
@pytest.mark.parametrize("count", [0, 4])
def test_a_count_out_of_range_is_refused(choose, count):
    with pytest.raises(ValueError, match=rf"count must be in \[1, 3\], got {count}"):
        choose(random_units(0, 3), count=count)


@BOTH
def test_vectors_that_cannot_be_compared_are_refused(choose):
    with pytest.raises(ValueError, match=r"vectors must be a matrix \(n, d\)"):
        choose(np.ones(3, np.float32), count=1)
    with pytest.raises(ValueError, match="vectors must be finite"):
        choose(np.full((2, 2), np.nan, np.float32), count=1)


def test_no_working_rows_are_refused():
    with pytest.raises(ValueError, match="work_rows must be at least 1, got 0"):
        k_centre(random_units(0, 3), count=1, work_rows=0)


def test_a_sample_too_small_is_refused():
    with pytest.raises(ValueError, match="n_sampled must be at least count = 3, got 2"):
        facility_location(random_units(0, 9), count=3, n_sampled=2)


# What is covered


@given(seed=SEEDS, n_rows=st.integers(1, 20), count=st.integers(1, 20))
def test_the_nearest_chosen_is_the_first_of_the_most_similar(seed, n_rows, count):
    vectors = with_copies(seed, n_rows)
    chosen = np.random.default_rng(seed).permutation(n_rows)[:count]
    cover = nearest_chosen(vectors, chosen)
    products = all_products(vectors)
    for row in range(n_rows):
        if row in chosen:
            assert (chosen[cover.nearest[row]], cover.similarities[row]) == (row, 1.0)
        else:
            assert cover.nearest[row] == np.argmax(products[row, chosen])
            assert cover.similarities[row] == min(products[row, chosen].max(), 1.0)


@pytest.mark.parametrize("chosen", [[0, 0], [3], [-1]])
def test_rows_that_cannot_be_chosen_are_refused(chosen):
    with pytest.raises(ValueError, match=r"chosen must be different rows in \[0, 3\)"):
        nearest_chosen(random_units(0, 3), np.array(chosen))


def test_nothing_chosen_is_refused():
    with pytest.raises(ValueError, match=r"count must be in \[1, 3\], got 0"):
        nearest_chosen(random_units(0, 3), np.empty(0, np.int64))


def test_total_similarities_are_exact_sums():
    vectors = at_degrees(0, 90, 180)
    np.testing.assert_allclose(total_similarities(vectors), [0, 1, 0], atol=1e-6)
    many = random_units(4, 5000)
    np.testing.assert_allclose(total_similarities(many), many @ many.sum(axis=0), atol=1e-3)
    order = np.random.default_rng(0).permutation(5000)
    np.testing.assert_array_equal(total_similarities(many[order]), total_similarities(many)[order])


def test_zero_vectors_become_copies_of_each_other():
    vectors = np.concatenate([at_degrees(0, 60), np.zeros((2, 2), np.float32)])
    placed = with_blanks_alike(vectors)
    expected = np.array([[1, 0.5, 0, 0], [0.5, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]])
    np.testing.assert_allclose(placed @ placed.T, expected, atol=1e-6)
    assert placed.dtype == np.float32
    assert len(np.unique(placed[k_centre(placed, count=3).chosen], axis=0)) == 3


def test_vectors_without_a_zero_one_are_as_before():
    vectors = at_degrees(0, 60)
    assert with_blanks_alike(vectors) is vectors
    with pytest.raises(ValueError, match="vectors must be a matrix"):
        with_blanks_alike(vectors[0])
