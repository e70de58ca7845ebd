"""Thresholds are where so few unrelated photos lie as was asked for."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.scoring.pair_calibration import (
    MIN_SAMPLE,
    USUAL_DECAY,
    USUAL_SHARE,
    NeighbourFit,
    fitted_neighbours,
    fitted_tail,
    similarity_exceeded_by,
)


def gumbel_cosines(n, *, location, scale, seed=0):
    spread = np.random.default_rng(seed).gumbel(location, scale, n)
    return np.tanh(spread).astype(np.float32)


def fitted(similarities):
    fit = fitted_neighbours(similarities)
    assert fit is not None
    return fit


def test_a_gumbel_distribution_is_found_again():
    fit = fitted(gumbel_cosines(20_000, location=0.45, scale=0.1))
    assert fit.location == pytest.approx(0.45, abs=0.01)
    assert fit.scale == pytest.approx(0.1, abs=0.005)


def test_copies_above_do_not_move_the_fit():
    unrelated = gumbel_cosines(1000, location=0.45, scale=0.1)
    plain = fitted(unrelated)
    mixed = fitted(np.append(unrelated, np.full(100, 0.98, np.float32)))
    assert mixed.similarity_at(1e-3) == pytest.approx(plain.similarity_at(1e-3), abs=0.03)


def test_as_many_as_were_expected_lie_above():
    fit = fitted(gumbel_cosines(400, location=0.45, scale=0.1, seed=1))
    others = gumbel_cosines(200_000, location=0.45, scale=0.1, seed=2)
    for rate in (1e-2, 1e-3):
        share = (others >= fit.similarity_at(rate)).mean()
        assert rate / 3 < share < rate * 3


@given(st.floats(1e-6, 0.5))
def test_similarity_and_rate_are_each_others_inverse(rate):
    fit = NeighbourFit(0.4, 0.1)
    similarity = fit.similarity_at(rate)
    if similarity < 0.999:  # above, cosines are cut off
        assert fit.rate_above(similarity) == pytest.approx(rate, rel=1e-6)


def test_the_median_is_where_half_lie_above():
    fit = NeighbourFit(0.4, 0.1)
    median = math.tanh(0.4 - 0.1 * math.log(math.log(2)))
    assert fit.rate_above(median) == pytest.approx(0.5)


@pytest.mark.parametrize(
    "similarities",
    [
        pytest.param(np.full(MIN_SAMPLE - 1, 0.3, np.float32), id="too-few"),
        pytest.param(np.full(500, 1.0, np.float32), id="all-the-same"),
    ],
)
def test_no_fit_is_made_of_what_tells_nothing(similarities):
    assert fitted_neighbours(similarities) is None


def test_rare_similarities_are_extrapolated_from_common_ones():
    generator = np.random.default_rng(0)
    spread = 0.3 + generator.exponential(0.08, 200_000)
    sample = np.tanh(spread).astype(np.float32)
    expected = math.tanh(0.3 + 0.08 * math.log(1e5))
    assert similarity_exceeded_by(sample, 1e-5) == pytest.approx(expected, abs=0.01)


def test_common_similarities_are_the_quantile_at_one_in_a_hundred():
    sample = np.linspace(0, 0.5, 1001).astype(np.float32)
    assert similarity_exceeded_by(sample, 0.01) == pytest.approx(np.quantile(sample, 0.99))
    assert similarity_exceeded_by(sample, 0.5) == similarity_exceeded_by(sample, 0.01)


def exponential_evidence(n, *, decay, seed=0):
    return (0.4 + np.random.default_rng(seed).exponential(decay, n)).astype(np.float32)


def tail_of(evidence, *, n_photos=100, n_compared=1.0):
    return fitted_tail(evidence, n_photos=n_photos, n_compared=n_compared, start=0.4, end=0.65)


@pytest.mark.parametrize("decay", [0.05, 0.11, 0.2])
def test_an_exponential_tail_is_found_again(decay):
    evidence = exponential_evidence(20_000, decay=decay)
    tail = tail_of(evidence, n_photos=10_000)
    assert tail.decay == pytest.approx(decay, rel=0.05)
    assert tail.rate_at_start == pytest.approx(2.0, rel=0.05)
    seen = (evidence >= 0.8).sum() / 10_000
    assert tail.rate_above(0.8) == pytest.approx(seen, rel=0.35)


def test_copies_beyond_the_end_do_not_count():
    unrelated = exponential_evidence(1000, decay=0.05)
    unrelated = unrelated[unrelated < 0.65]
    with_copies = np.append(unrelated, np.full(5000, 0.97, np.float32))
    assert tail_of(with_copies) == tail_of(unrelated)


def test_evidence_and_rate_are_each_others_inverse():
    tail = tail_of(exponential_evidence(500, decay=0.1), n_photos=1000)
    for rate in (0.2, 1e-3, 1e-5):
        assert tail.rate_above(tail.evidence_at(rate)) == pytest.approx(rate)


def test_few_pairs_have_the_usual_decay():
    tail = tail_of(np.array([0.41, 0.5, 0.6, 0.45], np.float32))
    share_before = 1 - math.exp(-0.25 / USUAL_DECAY)
    assert tail.decay == USUAL_DECAY
    assert tail.rate_at_start == pytest.approx(4 / share_before / 100)


def test_where_nothing_was_seen_there_is_as_much_as_usual():
    """Of a tenth as many photos a hundredth of the pairs, and a tenth of them for each photo."""
    nothing = np.empty(0, np.float32)
    few = tail_of(nothing, n_photos=100, n_compared=100**2 / 2)
    many = tail_of(nothing, n_photos=1000, n_compared=1000**2 / 2)
    share_before = 1 - math.exp(-0.25 / USUAL_DECAY)
    assert many.rate_at_start == pytest.approx(USUAL_SHARE * 1000 / 2 / share_before)
    assert few.rate_at_start == pytest.approx(many.rate_at_start / 10)


def test_what_was_seen_counts_more_than_what_is_usual():
    """Among 100,000 photos 35,000 pairs would be usual: so many cannot have been missed."""
    share_before = 1 - math.exp(-0.25 / USUAL_DECAY)
    options = {"n_photos": 100_000, "n_compared": 100_000**2 / 2}
    nothing = tail_of(np.empty(0, np.float32), **options)
    assert nothing.rate_at_start == pytest.approx(MIN_SAMPLE / share_before / 100_000)
    seen = tail_of(exponential_evidence(60, decay=0.05), **options)
    assert seen.rate_at_start == pytest.approx(60 / 100_000, rel=0.1)


@pytest.mark.parametrize(
    ("evidence", "decay"),
    [pytest.param(0.64, 2.5, id="rising"), pytest.param(0.4, 0.0025, id="all-at-the-start")],
)
def test_tails_of_no_exponential_shape_have_a_decay_within_bounds(evidence, decay):
    tail = tail_of(np.full(100, evidence, np.float32))
    assert tail.decay == pytest.approx(decay)
