import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.scoring.opinion import MIN_FITTED, is_constant, krcc, plcc_after_logistic, srcc

SEEDS = st.integers(0, 2**32 - 1)
MEASURES = [srcc, krcc, plcc_after_logistic]


@st.composite
def rated_photos(draw):
    """Few distinct values, so that ties are common; neither side is constant."""
    n_photos = draw(st.integers(3, 25))
    values = st.lists(st.integers(-3, 5), min_size=n_photos, max_size=n_photos)
    varied = values.filter(lambda drawn: len(set(drawn)) > 1)
    return np.array(draw(varied), np.float32), np.array(draw(varied), np.float64)


def slow_ranks(values):
    return [
        sum(other < value for other in values) + (sum(other == value for other in values) + 1) / 2
        for value in values
    ]


def slow_pearson(x, y):
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    shared = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return shared / math.sqrt(sum((a - mean_x) ** 2 for a in x) * sum((b - mean_y) ** 2 for b in y))


def slow_tau_b(x, y):
    sign = [
        (np.sign(a - c), np.sign(b - d))
        for (a, b), (c, d) in itertools.combinations(zip(x, y, strict=True), 2)
    ]
    shared = sum(p * q for p, q in sign)
    return shared / math.sqrt(sum(p != 0 for p, _ in sign) * sum(q != 0 for _, q in sign))


def logistic(x, b1, b2, b3, b4, b5):
    """The curve as printed: Sheikh et al. 2006."""
    return b1 * (0.5 - 1 / (1 + np.exp(b2 * (x - b3)))) + b4 * x + b5


@given(rated_photos())
def test_srcc_is_the_correlation_of_ranks(photos):
    scores, opinions = (values.tolist() for values in photos)
    expected = slow_pearson(slow_ranks(scores), slow_ranks(opinions))
    assert srcc(*photos) == pytest.approx(expected, abs=1e-9)


@given(rated_photos())
def test_krcc_agrees_with_its_definition(photos):
    expected = slow_tau_b(*(values.tolist() for values in photos))
    assert krcc(*photos) == pytest.approx(expected, abs=1e-9)


@given(rated_photos(), st.randoms(use_true_random=False))
@pytest.mark.parametrize("measure", [srcc, krcc])
def test_order_of_the_photos_changes_no_bit(measure, photos, random):
    scores, opinions = photos
    order = np.array(random.sample(range(len(scores)), len(scores)))
    assert measure(scores[order], opinions[order]) == measure(scores, opinions)


@pytest.mark.parametrize("measure", [srcc, krcc])
def test_ranks_alone_count(measure):
    generator = np.random.default_rng(0)
    scores, opinions = generator.normal(size=(2, 30))
    assert measure(np.exp(scores), opinions) == measure(scores, opinions)
    assert measure(-scores, opinions) == pytest.approx(-measure(scores, opinions))


def test_one_swap_in_four_by_hand():
    scores, opinions = np.array([1.0, 2.0, 3.0, 4.0]), np.array([10.0, 30.0, 20.0, 40.0])
    assert srcc(scores, opinions) == pytest.approx(1 - 6 * 2 / (4 * 15))
    assert krcc(scores, opinions) == pytest.approx((5 - 1) / 6)


class TestLogisticFit:
    @pytest.mark.parametrize("parameters", [(4, 3, 0.4, 0.2, 3), (-4, 9, 0.5, -0.5, 1)])
    def test_finds_the_curve_that_opinions_were_made_with(self, parameters):
        scores = np.linspace(0, 1, 60)
        found = plcc_after_logistic(scores, logistic(scores, *parameters))
        assert found.plcc == pytest.approx(1.0, abs=1e-6)
        assert found.is_fitted

    @settings(max_examples=30, deadline=None)
    @given(SEEDS, st.integers(MIN_FITTED, 40))
    def test_is_never_below_the_straight_line(self, seed, n_photos):
        scores, opinions = np.random.default_rng(seed).normal(size=(2, n_photos))
        found = plcc_after_logistic(scores, opinions).plcc
        assert abs(slow_pearson(scores, opinions)) - 1e-9 <= found <= 1

    @settings(max_examples=25, deadline=None)
    @given(SEEDS)
    def test_is_as_good_as_a_fit_that_starts_from_the_truth(self, seed):
        """The independent reference fits the printed formula to raw values by curve_fit."""
        from scipy.optimize import curve_fit

        generator = np.random.default_rng(seed)
        scores = generator.uniform(0, 1, 80)
        truth = [3, 15, 0.5, 0.5, 2]
        opinions = logistic(scores, *truth) + generator.normal(0, 0.1, 80)
        fitted, _ = curve_fit(logistic, scores, opinions, p0=truth, maxfev=20_000)
        expected = slow_pearson(logistic(scores, *fitted), opinions)
        assert plcc_after_logistic(scores, opinions).plcc == pytest.approx(expected, abs=1e-6)

    def test_scale_and_unit_do_not_matter(self):
        generator = np.random.default_rng(3)
        scores = generator.uniform(0, 1, 50)
        opinions = logistic(scores, 3, 8, 0.5, 0, 2) + generator.normal(0, 0.2, 50)
        found = plcc_after_logistic(scores, opinions).plcc
        for moved in (scores * 1e6 - 5e5, scores * 1e-6, -scores):
            assert plcc_after_logistic(moved, opinions * 20 + 7).plcc == pytest.approx(found)

    def test_has_no_sign(self):
        scores = np.linspace(0, 1, 20)
        assert plcc_after_logistic(scores, -scores).plcc == pytest.approx(1.0)

    def test_two_values_suffice(self):
        found = plcc_after_logistic(np.array([0.0, 1.0] * 4), np.arange(8.0))
        assert found.plcc == pytest.approx(slow_pearson([0, 1] * 4, range(8)), abs=1e-6)

    def test_an_outlier_far_away_is_survived(self):
        scores = np.append(np.linspace(0, 1, 30), 1e12)
        found = plcc_after_logistic(scores, np.append(np.linspace(1, 5, 30), 5.0))
        assert 0 <= found.plcc <= 1

    def test_a_fit_that_runs_out_of_steps_gives_no_less_than_the_line_and_says_so(
        self, monkeypatch
    ):
        monkeypatch.setattr("indexer.scoring.opinion._MAX_EVALUATIONS", 1)
        scores = np.linspace(0, 1, 60)
        opinions = logistic(scores, 4, 30, 0.4, 0, 3)
        found = plcc_after_logistic(scores, opinions)
        assert not found.is_fitted
        assert slow_pearson(scores, opinions) <= found.plcc < 0.999

    def test_twice_the_same(self):
        scores, opinions = np.random.default_rng(9).normal(size=(2, 40))
        assert plcc_after_logistic(scores, opinions) == plcc_after_logistic(scores, opinions)

    def test_needs_more_photos_than_parameters(self):
        with pytest.raises(ValueError, match="at least 6 photos are needed, got 5"):
            plcc_after_logistic(np.arange(5.0), np.arange(5.0))


@pytest.mark.parametrize("measure", MEASURES)
class TestRefusals:
    def test_other_lengths(self, measure):
        with pytest.raises(ValueError, match=r"of one length, got shapes \(7,\) and \(6,\)"):
            measure(np.arange(7.0), np.arange(6.0))

    def test_two_photos(self, measure):
        with pytest.raises(ValueError, match=r"at least [36] photos are needed, got 2"):
            measure(np.arange(2.0), np.arange(2.0))

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_values_that_are_not_finite(self, measure, value):
        values = np.arange(6.0)
        bad = np.array([0, 1, value, 3, 4, 5])
        with pytest.raises(ValueError, match=f"scores must be finite, got {value} in row 2"):
            measure(bad, values)
        with pytest.raises(ValueError, match=f"opinions must be finite, got {value} in row 2"):
            measure(values, bad)

    def test_constants(self, measure):
        with pytest.raises(ValueError, match=r"scores are all 2\.0: there is nothing"):
            measure(np.full(6, 2.0), np.arange(6.0))
        with pytest.raises(ValueError, match=r"opinions are all 4\.0"):
            measure(np.arange(6.0), np.full(6, 4.0))


def test_equal_values_are_told_from_nearly_equal_ones():
    assert is_constant(np.full(3, 0.1))
    assert not is_constant(np.array([0.1, 0.1, np.nextafter(0.1, 1)]))
