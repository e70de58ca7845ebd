"""The parts of anomaly scores by class, which a bench takes the least of."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.scoring.anomaly import (
    NearestTexts,
    anomaly_scores,
    class_scores,
    nearest_texts,
    normal_statistics,
)
from indexer.scoring.similarity import normalised

N_CLASSES, N_WORDS, DIM = 3, 40, 8


def made(seed, *, n_photos=25):
    """Photos, statistics of three classes with five examples each, and their dictionary."""
    generator = np.random.default_rng(seed)

    def unit(count):
        return normalised(generator.normal(size=(count, DIM)).astype(np.float32))

    dictionary = unit(N_WORDS)
    statistics = normal_statistics(
        unit(15),
        np.repeat(np.arange(N_CLASSES), 5),
        label_embeddings=unit(N_CLASSES),
        dictionary=dictionary,
    )
    return unit(n_photos), statistics


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, N_WORDS), st.sampled_from([0.0, 0.5, 0.75, 3.0]))
def test_the_least_over_classes_is_the_anomaly_score_to_the_bit(seed, k, weight):
    photos, statistics = made(seed)
    nearest = nearest_texts(photos, statistics.dictionary, k=k)
    parts = class_scores(photos, nearest, statistics)
    expected = anomaly_scores(photos, statistics, external_weight=weight, k=k)
    of_classes = parts.internal + weight * parts.external
    assert np.array_equal(nearest.rows, expected.words)
    assert np.array_equal(of_classes.min(axis=1).astype(np.float32), expected.scores)
    assert np.array_equal(of_classes.argmin(axis=1), expected.classes)


def test_fewer_texts_are_the_first_of_more():
    photos, statistics = made(1)
    many, few = (nearest_texts(photos, statistics.dictionary, k=k) for k in (12, 5))
    assert np.array_equal(many.rows[:, :5], few.rows)
    assert np.array_equal(many.similarities[:, :5], few.similarities)


def test_a_photo_alone_scores_as_it_does_in_company():
    photos, statistics = made(2)
    nearest = nearest_texts(photos, statistics.dictionary)
    together = class_scores(photos, nearest, statistics)
    for row in range(len(photos)):
        one = photos[row : row + 1]
        near = nearest_texts(one, statistics.dictionary)
        alone = class_scores(one, near, statistics)
        assert np.array_equal(near.similarities[0], nearest.similarities[row])
        assert np.array_equal(alone.internal[0], together.internal[row])
        assert np.array_equal(alone.external[0], together.external[row])


def test_a_zero_vector_is_similar_to_the_first_texts():
    photos, statistics = made(3)
    photos[4] = 0
    nearest = nearest_texts(photos, statistics.dictionary, k=3)
    assert nearest.rows[4].tolist() == [0, 1, 2]
    assert nearest.similarities[4].tolist() == [0, 0, 0]


@pytest.mark.parametrize("k", [0, N_WORDS + 1])
def test_k_beyond_the_dictionary_is_refused(k):
    photos, statistics = made(4)
    with pytest.raises(ValueError, match=rf"k must be in \[1, {N_WORDS}\] texts .*, got {k}"):
        nearest_texts(photos, statistics.dictionary, k=k)


def test_vectors_that_are_not_finite_are_refused():
    photos, statistics = made(5)
    nearest = nearest_texts(photos, statistics.dictionary)
    photos[2, 0] = np.nan
    with pytest.raises(ValueError, match="embeddings must be finite, row 2 is not"):
        nearest_texts(photos, statistics.dictionary)
    with pytest.raises(ValueError, match="embeddings must be finite, row 2 is not"):
        class_scores(photos, nearest, statistics)


def test_nearest_texts_of_other_photos_are_refused():
    photos, statistics = made(6)
    nearest = nearest_texts(photos, statistics.dictionary)
    fewer = NearestTexts(nearest.rows[:-1], nearest.similarities[:-1])
    with pytest.raises(ValueError, match=r"nearest must have shape \(25, 10\), got \(24, 10\)"):
        class_scores(photos, fewer, statistics)
