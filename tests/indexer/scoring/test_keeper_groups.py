import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.scoring.exact_cosines import smallest_similarity
from indexer.scoring.keeper_groups import keeper_groups
from indexer.scoring.similarity_join import Pairs, joined_pairs
from tests.indexer.scoring.half_vectors import clustered_halves

SEEDS = st.integers(0, 2**32 - 1)


def pairs_of(*triples):
    """Make pairs of (first, second, similarity)."""
    first, second, similarities = zip(*triples, strict=True) if triples else ([], [], [])
    return Pairs(
        np.array(first, np.int32), np.array(second, np.int32), np.array(similarities, np.float32)
    )


def random_pairs(seed, n_rows):
    """Draw pairs of few different similarities, in random order."""
    generator = np.random.default_rng(seed)
    first, second = np.nonzero(np.triu(generator.random((n_rows, n_rows)) < 0.25, k=1))
    similarities = generator.integers(7, 10, len(first)) / 10
    order = generator.permutation(len(first))
    triples = zip(first[order], second[order], similarities[order], strict=True)
    return pairs_of(*triples)


def slow_groups(pairs, n_rows):
    """By the rule: who has no keeper above is one, all others choose among those they have."""
    columns = (pairs.first.tolist(), pairs.second.tolist(), pairs.similarities.tolist())
    triples = list(zip(*columns, strict=True))
    keeper_of: dict[int, int] = {}
    for row in range(n_rows):
        keepers = [
            (similarity, -first)
            for first, second, similarity in triples
            if second == row and keeper_of[first] == first
        ]
        keeper_of[row] = -max(keepers)[1] if keepers else row
    return list(keeper_of.values())


def test_a_chain_is_cut():
    chain = pairs_of((0, 1, 0.9), (1, 2, 0.9), (2, 3, 0.9), (3, 4, 0.9))
    assert keeper_groups(chain, 5).tolist() == [0, 0, 2, 2, 4]


def test_a_member_joins_the_most_similar_keeper():
    pairs = pairs_of((0, 2, 0.85), (1, 2, 0.95), (0, 3, 0.9))
    assert keeper_groups(pairs, 4).tolist() == [0, 1, 1, 0]


def test_of_equally_similar_keepers_the_better_ranked_is_joined():
    assert keeper_groups(pairs_of((1, 2, 0.9), (0, 2, 0.9)), 3).tolist() == [0, 1, 0]


def test_a_closer_row_that_keeps_nothing_is_not_joined():
    pairs = pairs_of((0, 1, 0.9), (1, 2, 0.99), (0, 2, 0.9))
    assert keeper_groups(pairs, 3).tolist() == [0, 0, 0]


@pytest.mark.parametrize("n_rows", [0, 1, 4])
def test_without_pairs_all_keep_themselves(n_rows):
    keeper_of = keeper_groups(pairs_of(), n_rows)
    assert keeper_of.tolist() == list(range(n_rows))
    assert keeper_of.dtype == np.int32


@given(SEEDS, st.integers(1, 25))
def test_agrees_with_the_rule(seed, n_rows):
    pairs = random_pairs(seed, n_rows)
    assert keeper_groups(pairs, n_rows).tolist() == slow_groups(pairs, n_rows)


@given(SEEDS)
def test_the_order_of_pairs_does_not_matter(seed):
    pairs = random_pairs(seed, 30)
    order = np.random.default_rng(seed).permutation(len(pairs))
    shuffled = keeper_groups(pairs.taken(order), 30)
    assert shuffled.tolist() == keeper_groups(pairs, 30).tolist()


class TestOfAJoin:
    """A pile whose ends are not similar, so that components chain through all of it."""

    vectors = clustered_halves(0, 600, 12, spread=0.35, n_clusters=3)

    def groups(self, *, max_better):
        pairs = joined_pairs(self.vectors, threshold=0.9, max_better=max_better).pairs
        return keeper_groups(pairs, len(self.vectors))

    @pytest.mark.parametrize("max_better", [1, 3, 64, 600])
    def test_every_member_is_within_the_threshold_of_its_keeper(self, max_better):
        keeper_of = self.groups(max_better=max_better)
        members = np.flatnonzero(keeper_of != np.arange(600))
        assert len(members) > 200
        assert (keeper_of[members] < members).all()
        assert (keeper_of[keeper_of] == keeper_of).all()
        for member in members:
            assert smallest_similarity(self.vectors[[keeper_of[member], member]]) >= 0.9

    def test_no_two_keepers_are_similar(self):
        keepers = np.unique(self.groups(max_better=600))
        assert len(joined_pairs(self.vectors[keepers], threshold=0.9).pairs) == 0

    def test_a_cap_can_only_split_groups(self):
        whole, split = self.groups(max_better=600), self.groups(max_better=2)
        assert len(np.unique(split)) > len(np.unique(whole))


@pytest.mark.parametrize("pair", [(-1, 1), (1, 1), (2, 1), (1, 3)])
def test_refuses_pairs_of_other_rows(pair):
    with pytest.raises(ValueError, match="pairs must be of rows 0 <= first < second < 3"):
        keeper_groups(pairs_of((*pair, 0.9)), 3)
