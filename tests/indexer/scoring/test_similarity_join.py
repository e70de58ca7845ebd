import itertools
import math
import tracemalloc
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from indexer.scoring import similarity_join
from indexer.scoring.similarity_join import (
    JoinPlan,
    SearchRecall,
    joined_pairs,
    pairs_between,
)
from tests.indexer.scoring.half_vectors import (
    clustered_halves,
    few_directions,
    half_units,
    slow_cosine,
)

SEEDS = st.integers(0, 2**32 - 1)
ROWS = st.integers(1, 50)
IN_CELLS = JoinPlan(exact_limit=0)
ALL_PAIRS = 10**6


def slow_pairs(vectors, *, threshold, accepts=lambda first, second: True, max_better=ALL_PAIRS):
    """All pairs one by one, and of each second row the first few."""
    found = []
    for second in range(len(vectors)):
        similar = [
            (first, second, np.float32(cosine))
            for first in range(second)
            if (cosine := slow_cosine(vectors[first], vectors[second])) >= threshold
            and accepts(first, second)
        ]
        found += similar[:max_better]
    return found


def listed(pairs):
    columns = (pairs.first.tolist(), pairs.second.tolist(), pairs.similarities.tolist())
    return list(zip(*columns, strict=True))


def best_of_each(pairs, max_better):
    """Return the first few pairs of each second row, of pairs sorted by second."""
    groups = itertools.groupby(listed(pairs), key=lambda pair: pair[1])
    return [pair for _, group in groups for pair in itertools.islice(group, max_better)]


def listed_blocks(stream):
    return sorted(pair for block in stream.blocks for pair in listed(block))


def is_odd_sum(first, second):
    return (first + second) % 2 == 1


def accept_odd_sums(first, second, similarities):
    return is_odd_sum(first, second)


class Witness:
    """Accepts all pairs, and keeps what it was asked."""

    def __init__(self):
        self.asked = []

    def __call__(self, first, second, similarities):
        self.asked.append((first, second, similarities))
        return np.ones(len(first), np.bool_)

    def n_pairs(self):
        return sum(len(first) for first, _, _ in self.asked)


class TestAllPairs:
    def test_hand_worked_pairs(self):
        vectors = np.array([[1, 0, 0, 0], [0.5, 0.5, 0.5, 0.5], [0, 1, 0, 0]], np.float16)
        found = joined_pairs(vectors, threshold=0.5)
        assert listed(found.pairs) == [(0, 1, 0.5), (1, 2, 0.5)]
        assert found.recall == SearchRecall(1.0, 0)
        assert found.pairs.first.dtype == found.pairs.second.dtype == np.int32
        assert found.pairs.similarities.dtype == np.float32

    def test_the_threshold_is_met_to_the_last_bit(self):
        vectors = np.array([[1, 0, 0, 0], [0.5, 0.5, 0.5, 0.5]], np.float16)
        assert len(joined_pairs(vectors, threshold=0.5).pairs) == 1
        assert len(joined_pairs(vectors, threshold=math.nextafter(0.5, 1)).pairs) == 0

    @given(SEEDS, st.integers(0, 25), st.floats(0.05, 1), ROWS, ROWS, st.integers(1, 30))
    def test_agrees_with_the_definition(
        self, seed, n_rows, threshold, visitor_rows, member_rows, max_better
    ):
        vectors = few_directions(seed, n_rows)
        found = joined_pairs(
            vectors,
            threshold=threshold,
            accept=accept_odd_sums,
            max_better=max_better,
            plan=JoinPlan(visitor_rows=visitor_rows, member_rows=member_rows),
        )
        assert listed(found.pairs) == slow_pairs(
            vectors, threshold=threshold, accepts=is_odd_sum, max_better=max_better
        )

    @given(SEEDS, st.integers(1, 5))
    def test_thresholds_that_are_a_pairs_own_cosine(self, seed, dimension):
        # float32 products of such pairs lie on either side of the threshold.
        vectors = half_units(seed, 12, dimension)
        threshold = slow_cosine(vectors[3], vectors[8])
        if threshold > 0:
            found = joined_pairs(vectors, threshold=threshold)
            assert listed(found.pairs) == slow_pairs(vectors, threshold=threshold)
            assert (3, 8) in [pair[:2] for pair in listed(found.pairs)]

    @pytest.mark.parametrize("dimension", [3, 512])
    def test_equal_vectors_are_found_at_a_threshold_of_one(self, dimension):
        vectors = np.repeat(half_units(0, 100, dimension), 2, axis=0)
        found = joined_pairs(vectors, threshold=1)
        assert listed(found.pairs) == [(2 * row, 2 * row + 1, 1.0) for row in range(100)]

    def test_zero_vectors_are_similar_to_nothing(self):
        vectors = np.zeros((4, 3), np.float16)
        vectors[[1, 3], 0] = 1
        assert listed(joined_pairs(vectors, threshold=1e-6).pairs) == [(1, 3, 1.0)]

    @pytest.mark.parametrize("n_rows", [0, 1])
    def test_fewer_than_two_rows_have_no_pairs(self, n_rows):
        found = joined_pairs(np.ones((n_rows, 1), np.float16), threshold=0.1, plan=IN_CELLS)
        assert len(found.pairs) == 0

    def test_nothing_but_zero_vectors_has_no_pairs(self):
        found = joined_pairs(np.zeros((50, 4), np.float16), threshold=0.1, plan=IN_CELLS)
        assert len(found.pairs) == 0

    def test_single_precision_is_rounded_to_half(self):
        vectors = clustered_halves(1, 200).astype(np.float32)
        vectors *= np.float32(1.0001)
        before = vectors.copy()
        found = joined_pairs(vectors, threshold=0.9)
        assert len(found.pairs) > 100
        halves = joined_pairs(vectors.astype(np.float16), threshold=0.9)
        assert listed(found.pairs) == listed(halves.pairs)
        np.testing.assert_array_equal(vectors, before)

    def test_another_order_of_rows_gives_the_same_pairs(self):
        vectors = clustered_halves(2, 300)
        order = np.random.default_rng(3).permutation(300)
        expected = listed(joined_pairs(vectors, threshold=0.9, max_better=ALL_PAIRS).pairs)
        found = joined_pairs(vectors[order], threshold=0.9, max_better=ALL_PAIRS).pairs
        first, second = order[found.first], order[found.second]
        renamed = zip(
            np.minimum(first, second).tolist(),
            np.maximum(first, second).tolist(),
            found.similarities.tolist(),
            strict=True,
        )
        assert sorted(renamed) == sorted(expected)

    def test_threads_change_no_bit(self):
        vectors = clustered_halves(4, 1500, 384)
        with threadpool_limits(1):
            expected = joined_pairs(vectors, threshold=0.9)
        assert listed(joined_pairs(vectors, threshold=0.9).pairs) == listed(expected.pairs)

    def test_progress_ends_with_all_that_was_to_do(self):
        told = []
        vectors = clustered_halves(5, 100)
        plan = JoinPlan(visitor_rows=30)
        joined_pairs(vectors, threshold=0.9, plan=plan, report=lambda *units: told.append(units))
        assert told == [(3000, 10_000), (6000, 10_000), (9000, 10_000), (10_000, 10_000)]


class TestPiles:
    """Many rows that are all alike."""

    @pytest.mark.parametrize("plan", [JoinPlan(), IN_CELLS], ids=["all pairs", "in cells"])
    def test_each_row_keeps_the_best_ranked(self, plan):
        pile = np.tile(half_units(0, 1, 32), (900, 1))
        found = joined_pairs(pile, threshold=0.9, max_better=5, plan=plan)
        expected = [(first, second, 1) for second in range(900) for first in range(min(second, 5))]
        assert listed(found.pairs) == expected

    def test_memory_stays_bounded(self):
        pile = np.tile(half_units(1, 1, 8), (7000, 1))
        tracemalloc.start()
        try:
            found = joined_pairs(pile, threshold=0.9, max_better=2)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert len(found.pairs) == 1 + 2 * 6998
        # All pairs are 294 MB. What is needed is a block of products, and the pairs of a block.
        assert peak < 100e6

    def test_what_can_only_be_worse_is_not_looked_at(self):
        witness = Witness()
        pile = np.tile(half_units(2, 1, 8), (3000, 1))
        joined_pairs(pile, threshold=0.9, accept=witness, max_better=4)
        assert witness.n_pairs() <= 3000 * JoinPlan().member_rows

    def test_in_cells_what_other_cells_gave_counts_too(self, monkeypatch):
        """A pile that is spread over cells, in which no row has many neighbours by itself."""
        pile = clustered_halves(3, 900, 32, spread=0.2, n_clusters=1)
        lazy, eager = Witness(), Witness()
        expected = joined_pairs(pile, threshold=0.9, accept=lazy, max_better=4, plan=IN_CELLS)
        monkeypatch.setattr(similarity_join, "WAITING_PAIRS", 1000)
        found = joined_pairs(pile, threshold=0.9, accept=eager, max_better=4, plan=IN_CELLS)
        assert listed(found.pairs) == listed(expected.pairs)
        assert eager.n_pairs() < lazy.n_pairs() / 2
        assert all((first < second).all() for first, second, _ in eager.asked)

    @given(SEEDS, st.integers(1, 6), st.integers(1, 40), st.sampled_from([JoinPlan(), IN_CELLS]))
    def test_thinning_on_the_way_changes_nothing(self, seed, max_better, waiting, plan):
        vectors = few_directions(seed, 60)
        search = partial(joined_pairs, vectors, threshold=0.7, accept=accept_odd_sums, plan=plan)
        everything = search(max_better=ALL_PAIRS).pairs
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(similarity_join, "WAITING_PAIRS", waiting)
            found = search(max_better=max_better).pairs
        assert listed(found) == best_of_each(everything, max_better)

    @pytest.mark.parametrize("max_better", [1, 4, 30])
    @pytest.mark.parametrize("exact_limit", [0, 1000])
    def test_stopping_early_changes_nothing(self, exact_limit, max_better):
        pile = clustered_halves(4, 600, 32, spread=0.35, n_clusters=5)
        plan = JoinPlan(exact_limit=exact_limit, visitor_rows=37, member_rows=5)
        everything = joined_pairs(pile, threshold=0.9, max_better=ALL_PAIRS, plan=plan)
        found = joined_pairs(pile, threshold=0.9, max_better=max_better, plan=plan)
        assert listed(found.pairs) == best_of_each(everything.pairs, max_better)


class TestAccept:
    def test_is_asked_of_each_pair_once_with_its_exact_similarity(self):
        vectors = clustered_halves(0, 400)
        for plan in (JoinPlan(), IN_CELLS):
            witness = Witness()
            found = joined_pairs(
                vectors, threshold=0.9, accept=witness, max_better=ALL_PAIRS, plan=plan
            )
            asked = [np.concatenate(parts) for parts in zip(*witness.asked, strict=True)]
            triples = zip(*(part.tolist() for part in asked), strict=True)
            assert sorted(triples) == sorted(listed(found.pairs))

    def test_is_given_a_bounded_number_of_pairs(self, monkeypatch):
        monkeypatch.setattr(similarity_join, "ACCEPTED_PAIRS", 50)
        witness = Witness()
        found = joined_pairs(clustered_halves(1, 300), threshold=0.9, accept=witness)
        assert max(len(first) for first, _, _ in witness.asked) == 50
        assert witness.n_pairs() == len(found.pairs)

    def test_the_cap_counts_accepted_pairs_only(self):
        pile = np.tile(half_units(2, 1, 8), (10, 1))
        found = joined_pairs(pile, threshold=0.9, accept=accept_odd_sums, max_better=1)
        expected = [(1 - second % 2, second, 1.0) for second in range(1, 10)]
        assert listed(found.pairs) == expected

    @pytest.mark.parametrize(
        ("answer", "said"),
        [
            (np.ones(1, np.int64), r"with 1 bools, got int64 of shape \(1,\)"),
            (np.ones((), np.bool_), r"with 1 bools, got bool of shape \(\)"),
        ],
    )
    def test_must_answer_with_a_bool_for_each_pair(self, answer, said):
        pile = np.ones((2, 1), np.float16)
        with pytest.raises(ValueError, match=said):
            joined_pairs(pile, threshold=0.9, accept=lambda *_: answer)


class TestCells:
    @pytest.mark.parametrize("threshold", [0.8, 0.9])
    def test_find_nearly_all_pairs_and_no_others(self, threshold):
        vectors = clustered_halves(0, 3000, 64, n_clusters=300)
        vectors[1500:1700] = vectors[:200]
        exact = listed(joined_pairs(vectors, threshold=threshold).pairs)
        found = joined_pairs(vectors, threshold=threshold, plan=IN_CELLS)
        assert len(exact) > 5000
        assert set(listed(found.pairs)) <= set(exact)
        assert len(found.pairs) >= 0.99 * len(exact)
        assert found.recall.share >= 0.99

    def test_recall_is_what_was_found_where_all_rows_are_sampled(self, monkeypatch):
        monkeypatch.setattr(similarity_join, "WANTED_RECALL", 0)
        vectors = clustered_halves(1, 1500, 16, spread=0.5)
        search = partial(joined_pairs, vectors, threshold=0.8, max_better=ALL_PAIRS)
        n_exact = len(search().pairs)
        found = search(plan=JoinPlan(exact_limit=0, n_probe=1))
        assert 0.3 < found.recall.share < 0.9
        assert found.recall == SearchRecall(len(found.pairs) / n_exact, n_exact)

    def test_recall_of_a_sample_is_near_that_of_all(self, monkeypatch):
        monkeypatch.setattr(similarity_join, "WANTED_RECALL", 0)
        monkeypatch.setattr(similarity_join, "SAMPLE_ROWS", 300)
        vectors = clustered_halves(2, 3000, 16, spread=0.5)
        search = partial(joined_pairs, vectors, threshold=0.8, max_better=ALL_PAIRS)
        n_exact = len(search().pairs)
        found = search(plan=JoinPlan(exact_limit=0, n_probe=1))
        assert found.recall.share == pytest.approx(len(found.pairs) / n_exact, abs=0.05)
        assert 0.05 < found.recall.n_pairs / n_exact < 0.2

    def test_recall_counts_pairs_that_are_not_accepted_and_beyond_the_cap(self):
        vectors = clustered_halves(3, 1000)
        plain = joined_pairs(vectors, threshold=0.9, max_better=ALL_PAIRS, plan=IN_CELLS)
        capped = joined_pairs(
            vectors, threshold=0.9, accept=accept_odd_sums, max_better=1, plan=IN_CELLS
        )
        assert capped.recall == plain.recall
        assert len(capped.pairs) < len(plain.pairs) / 4

    def test_more_cells_are_visited_where_few_miss_too_many(self):
        vectors = half_units(4, 1500, 8)
        search = partial(joined_pairs, vectors, threshold=0.8, max_better=ALL_PAIRS)
        n_exact = len(search().pairs)
        found = search(plan=JoinPlan(exact_limit=0, n_probe=1))
        assert 0.99 <= found.recall.share < 1
        assert found.recall == SearchRecall(len(found.pairs) / n_exact, n_exact)

    def test_recall_is_one_where_nothing_was_to_be_found(self):
        found = joined_pairs(np.eye(100, dtype=np.float16), threshold=0.5, plan=IN_CELLS)
        assert len(found.pairs) == 0
        assert found.recall == SearchRecall(1.0, 0)

    @pytest.mark.parametrize(("visitor_rows", "member_rows"), [(1, 100), (37, 5), (4096, 256)])
    def test_blocks_change_no_bit(self, visitor_rows, member_rows):
        vectors = clustered_halves(5, 500)
        expected = joined_pairs(vectors, threshold=0.9, max_better=6, plan=IN_CELLS)
        plan = JoinPlan(exact_limit=0, visitor_rows=visitor_rows, member_rows=member_rows)
        found = joined_pairs(vectors, threshold=0.9, max_better=6, plan=plan)
        assert listed(found.pairs) == listed(expected.pairs)
        assert found.recall == expected.recall

    def test_threads_change_no_bit(self):
        vectors = clustered_halves(6, 2000, 256, n_clusters=100)
        plan = JoinPlan(exact_limit=0, n_probe=1)
        with threadpool_limits(1):
            expected = joined_pairs(vectors, threshold=0.9, plan=plan)
        found = joined_pairs(vectors, threshold=0.9, plan=plan)
        assert listed(found.pairs) == listed(expected.pairs)
        assert found.recall == expected.recall

    def test_begin_above_the_exact_limit(self):
        vectors = half_units(7, 100, 16)
        assert joined_pairs(vectors, threshold=0.3, plan=JoinPlan(exact_limit=100)).recall == (
            SearchRecall(1.0, 0)
        )
        above = joined_pairs(vectors, threshold=0.3, plan=JoinPlan(exact_limit=99))
        assert above.recall.n_pairs > 0

    def test_zero_vectors_are_in_none(self):
        vectors = clustered_halves(8, 300)
        vectors[::3] = 0
        found = joined_pairs(vectors, threshold=0.9, plan=IN_CELLS)
        assert len(found.pairs) > 100
        assert listed(found.pairs) == listed(joined_pairs(vectors, threshold=0.9).pairs)


class TestBetween:
    @given(SEEDS, st.integers(0, 12), st.integers(0, 12), ROWS, ROWS)
    def test_agrees_with_the_definition(self, seed, n_left, n_right, visitor_rows, member_rows):
        left, right = few_directions(seed, n_left), few_directions(seed + 1, n_right)
        plan = JoinPlan(visitor_rows=visitor_rows, member_rows=member_rows)
        found = pairs_between(left, right, threshold=0.7, accept=accept_odd_sums, plan=plan)
        expected = [
            (first, second, np.float32(cosine))
            for first in range(n_left)
            for second in range(n_right)
            if (cosine := slow_cosine(left[first], right[second])) >= 0.7
            and is_odd_sum(first, second)
        ]
        assert listed_blocks(found) == expected

    def test_no_pair_is_left_out_of_a_pile(self):
        pile = np.tile(half_units(0, 1, 16), (600, 1))
        found = pairs_between(pile, pile[:90], threshold=0.9)
        expected = [(first, second, 1.0) for first in range(600) for second in range(90)]
        assert listed_blocks(found) == expected

    def test_in_cells_nearly_all_are_found_and_recall_is_known_beforehand(self):
        vectors = clustered_halves(1, 1500, n_clusters=100)
        left, right = vectors[:900], vectors[900:]
        exact = listed_blocks(pairs_between(left, right, threshold=0.9))
        found = pairs_between(left, right, threshold=0.9, plan=IN_CELLS)
        assert found.recall.n_pairs == len(exact) > 1000
        pairs = listed_blocks(found)
        assert found.recall.share == len(pairs) / len(exact) >= 0.99
        assert set(pairs) <= set(exact)

    def test_cells_begin_where_the_product_of_the_sizes_is_above_the_limit_squared(self):
        left, right = half_units(2, 20, 4), half_units(3, 45, 4)
        exact = pairs_between(left, right, threshold=0.5, plan=JoinPlan(exact_limit=30))
        above = pairs_between(left, right, threshold=0.5, plan=JoinPlan(exact_limit=29))
        assert exact.recall.n_pairs == 0
        assert above.recall.n_pairs > 0

    def test_pairs_are_looked_for_as_they_are_taken(self):
        witness, told = Witness(), []
        vectors = clustered_halves(4, 200, n_clusters=2)
        found = pairs_between(
            vectors,
            vectors,
            threshold=0.9,
            accept=witness,
            plan=JoinPlan(visitor_rows=100, member_rows=200),
            report=lambda *units: told.append(units),
        )
        assert witness.asked == []
        next(found.blocks)
        assert len(witness.asked) == 1
        assert told == []
        assert len(list(found.blocks)) == 1
        assert told == [(20_000, 40_000), (40_000, 40_000)]

    def test_refuses_sets_of_other_width(self):
        with pytest.raises(ValueError, match=r"right must be a matrix \(n, 3\), got .* \(2, 4\)"):
            pairs_between(half_units(0, 2, 3), half_units(0, 2, 4), threshold=0.9)

    @pytest.mark.parametrize("name", ["left", "right"])
    def test_refuses_vectors_of_other_length(self, name):
        sets = {"left": half_units(0, 2, 3), "right": half_units(1, 2, 3)}
        sets[name] = 2 * sets[name]
        with pytest.raises(ValueError, match=f"{name} must be zero or of unit length"):
            pairs_between(**sets, threshold=0.9)

    def test_refuses_a_threshold_out_of_range(self):
        with pytest.raises(ValueError, match=r"threshold must be in \(0, 1\], got 0"):
            pairs_between(half_units(0, 2, 3), half_units(0, 2, 3), threshold=0)


class TestRefusals:
    @pytest.mark.parametrize("threshold", [0, -0.5, 1.001, math.nan])
    def test_thresholds_out_of_range(self, threshold):
        with pytest.raises(ValueError, match=rf"threshold must be in \(0, 1\], got {threshold}"):
            joined_pairs(half_units(0, 2, 3), threshold=threshold)

    def test_vectors_of_other_length(self):
        with pytest.raises(ValueError, match="vectors must be zero or of unit length, row 0"):
            joined_pairs(np.full((1, 4), 0.4, np.float16), threshold=0.9)

    def test_a_cap_of_none(self):
        with pytest.raises(ValueError, match="max_better must be at least 1, got 0"):
            joined_pairs(half_units(0, 2, 3), threshold=0.9, max_better=0)

    @pytest.mark.parametrize(
        ("settings", "said"),
        [
            ({"exact_limit": -1}, "exact_limit must not be negative, got -1"),
            ({"n_probe": 0}, r"n_probe must be in \[1, 64\], got 0"),
            ({"n_probe": 65}, r"n_probe must be in \[1, 64\], got 65"),
            ({"visitor_rows": 0}, "must be at least 1, got 0 and 256"),
            ({"member_rows": 0}, "must be at least 1, got 4096 and 0"),
        ],
    )
    def test_plans_out_of_range(self, settings, said):
        with pytest.raises(ValueError, match=said):
            JoinPlan(**settings)
