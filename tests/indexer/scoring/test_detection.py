import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.scoring.detection import auroc, fpr_at_95_tpr

MEASURES = [auroc, fpr_at_95_tpr]


@st.composite
def scored_photos(draw):
    """Few distinct scores, so that ties are common, and at least one photo of each class."""
    n_normal, n_outliers = draw(st.integers(1, 30)), draw(st.integers(1, 45))
    levels = st.integers(-4, 4).map(lambda level: level / 3)
    scores = draw(st.lists(levels, min_size=n_normal + n_outliers, max_size=n_normal + n_outliers))
    is_outlier = draw(st.permutations([False] * n_normal + [True] * n_outliers))
    return np.array(scores, np.float32), np.array(is_outlier)


def slow_auroc(scores, is_outlier):
    wins = [
        1.0 if high > low else 0.5 if high == low else 0.0
        for high, outlier in zip(scores, is_outlier, strict=True)
        for low, other in zip(scores, is_outlier, strict=True)
        if outlier and not other
    ]
    return sum(wins) / len(wins)


def slow_fpr_at_95_tpr(scores, is_outlier):
    """Try each score as the threshold, from the highest, until 95 % of outliers are found."""
    outlying = [score for score, outlier in zip(scores, is_outlier, strict=True) if outlier]
    normal = [score for score, outlier in zip(scores, is_outlier, strict=True) if not outlier]
    for threshold in sorted(set(scores), reverse=True):
        if 100 * sum(score >= threshold for score in outlying) >= 95 * len(outlying):
            return sum(score >= threshold for score in normal) / len(normal)
    return math.nan


@given(scored_photos())
def test_auroc_agrees_with_its_definition(photos):
    assert auroc(*photos) == pytest.approx(slow_auroc(*photos), abs=1e-12)


@given(scored_photos())
def test_fpr_agrees_with_its_definition(photos):
    assert fpr_at_95_tpr(*photos) == pytest.approx(slow_fpr_at_95_tpr(*photos), abs=1e-12)


@given(scored_photos(), st.randoms(use_true_random=False))
@pytest.mark.parametrize("measure", MEASURES)
def test_order_of_the_photos_changes_no_bit(measure, photos, random):
    scores, is_outlier = photos
    order = np.array(random.sample(range(len(scores)), len(scores)))
    assert measure(scores[order], is_outlier[order]) == measure(scores, is_outlier)


@given(scored_photos())
def test_negated_scores_mirror_auroc(photos):
    scores, is_outlier = photos
    assert auroc(-scores, is_outlier) == pytest.approx(1 - auroc(scores, is_outlier), abs=1e-12)


@pytest.mark.parametrize(
    ("scores", "expected_auroc", "expected_fpr"),
    [
        pytest.param([1, 2, 3, 4], 1.0, 0.0, id="apart"),
        pytest.param([3, 4, 1, 2], 0.0, 1.0, id="upside-down"),
        pytest.param([5, 5, 5, 5], 0.5, 1.0, id="all-equal"),
        pytest.param([1, 3, 2, 4], 0.75, 0.5, id="one-pair-swapped"),
        pytest.param([1, 3, 3, 4], 0.875, 0.5, id="a-tie-is-flagged"),
    ],
)
def test_two_normal_photos_then_two_outliers(scores, expected_auroc, expected_fpr):
    is_outlier = np.array([False, False, True, True])
    assert auroc(np.array(scores, np.float32), is_outlier) == expected_auroc
    assert fpr_at_95_tpr(np.array(scores, np.float32), is_outlier) == expected_fpr


@pytest.mark.parametrize(
    ("n_outliers", "n_missed"), [(1, 0), (19, 0), (20, 1), (39, 1), (40, 2), (100, 5)]
)
def test_one_outlier_in_twenty_may_be_missed(n_outliers, n_missed):
    """Outliers score 1, 2, ...; a normal photo lies just below each."""
    outlying = np.arange(1, n_outliers + 1, dtype=np.float64)
    scores = np.concatenate([outlying - 0.5, outlying])
    is_outlier = np.arange(2 * n_outliers) >= n_outliers
    expected = (n_outliers - n_missed - 1) / n_outliers
    assert fpr_at_95_tpr(scores, is_outlier) == pytest.approx(expected)


@pytest.mark.parametrize("measure", MEASURES)
class TestRefusals:
    def test_other_lengths(self, measure):
        with pytest.raises(ValueError, match=r"of one length, got shapes \(3,\) and \(2,\)"):
            measure(np.zeros(3), np.array([True, False]))

    def test_a_matrix(self, measure):
        with pytest.raises(ValueError, match="must be two lists"):
            measure(np.zeros((1, 2)), np.array([[True, False]]))

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_scores_that_are_not_finite(self, measure, value):
        with pytest.raises(ValueError, match=rf"must be finite, got {value} in row 1"):
            measure(np.array([0.0, value]), np.array([True, False]))

    @pytest.mark.parametrize(("is_outlier", "count"), [([True, True], 2), ([False, False], 0)])
    def test_photos_of_one_class_only(self, measure, is_outlier, count):
        with pytest.raises(ValueError, match=f"got {count} outliers among 2 photos"):
            measure(np.zeros(2), np.array(is_outlier))

    def test_no_photos(self, measure):
        with pytest.raises(ValueError, match="got 0 outliers among 0 photos"):
            measure(np.zeros(0), np.zeros(0, bool))
