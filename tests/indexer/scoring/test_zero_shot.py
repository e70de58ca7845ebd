import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.scoring.similarity import normalised
from indexer.scoring.zero_shot import zero_shot_classes


def random_units(seed, n_rows, dimension=6):
    return normalised(np.random.default_rng(seed).normal(size=(n_rows, dimension)).astype("f4"))


def slow_assignment(photo, labels, logit_scale):
    cosines = [float(np.dot(photo.astype(float), label.astype(float))) for label in labels]
    chosen = max(range(len(labels)), key=lambda row: (cosines[row], -row))
    total = sum(np.exp(logit_scale * cosine) for cosine in cosines)
    return chosen, np.exp(logit_scale * cosines[chosen]) / total, cosines[chosen]


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.floats(0.1, 100))
def test_assignments_agree_with_the_definition(seed, n_classes, logit_scale):
    photos, labels = random_units(seed, 5), random_units(seed + 1, n_classes)
    assigned = zero_shot_classes(photos, labels, logit_scale=logit_scale)
    for row, photo in enumerate(photos):
        chosen, confidence, similarity = slow_assignment(photo, labels, logit_scale)
        assert assigned.classes[row] == chosen
        assert assigned.confidences[row] == pytest.approx(confidence, rel=1e-5, abs=1e-6)
        assert assigned.similarities[row] == pytest.approx(similarity, abs=1e-6)


def test_hand_worked_probabilities():
    photos = np.array([[1, 0], [0, 0]], dtype=np.float32)
    labels = np.array([[0, 1], [1, 0]], dtype=np.float32)
    assigned = zero_shot_classes(photos, labels, logit_scale=np.log(3))
    np.testing.assert_array_equal(assigned.classes, [1, 0])  # the first among equals
    np.testing.assert_allclose(assigned.confidences, [0.75, 0.5])


def test_a_single_class_is_certain():
    assigned = zero_shot_classes(random_units(0, 4), random_units(1, 1), logit_scale=100)
    assert assigned.confidences.tolist() == [1, 1, 1, 1]


def test_a_photo_has_the_same_bits_in_any_company(monkeypatch):
    photos, labels = random_units(2, 50, 64), random_units(3, 7, 64)
    whole = zero_shot_classes(photos, labels, logit_scale=30)
    monkeypatch.setattr("indexer.scoring.zero_shot.BLOCK_ROWS", 3)
    blocked = zero_shot_classes(photos, labels, logit_scale=30)
    for name in ("classes", "confidences", "similarities"):
        np.testing.assert_array_equal(getattr(blocked, name), getattr(whole, name))


@pytest.mark.parametrize(
    ("photos", "labels", "logit_scale", "message"),
    [
        (np.ones((1, 2)), np.ones((1, 3)), 1, r"label_embeddings must be a matrix \(n, 2\)"),
        (np.ones((1, 2)), np.ones((0, 2)), 1, "at least one text, got none"),
        (np.ones((1, 2)), np.ones((1, 2)), 0, "logit_scale must be above 0, got 0"),
        (np.full((1, 2), np.nan), np.ones((1, 2)), 1, "must be finite"),
        (np.ones((1, 2)), np.full((1, 2), np.inf), 1, "must be finite"),
    ],
)
def test_refuses_what_cannot_be_assigned(photos, labels, logit_scale, message):
    with pytest.raises(ValueError, match=message):
        zero_shot_classes(photos.astype("f4"), labels.astype("f4"), logit_scale=logit_scale)
