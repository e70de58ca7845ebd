import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.scoring.classification import (
    MIN_SHRINKAGE,
    PROTOTYPE_SCALE,
    LinearClassifier,
    NoCovarianceError,
    calibration,
    classify,
    discriminant_classifier,
    prototype_classifier,
    scaled,
)
from indexer.scoring.similarity import normalised

SEEDS = st.integers(0, 2**32 - 1)
BOTH = pytest.mark.parametrize("make_classifier", [prototype_classifier, discriminant_classifier])


def random_examples(seed, n_examples, n_classes, *, dimension=6, spread=0.6):
    """Unit vectors around a centre per class; the first classes have one example more."""
    generator = np.random.default_rng(seed)
    class_of = np.arange(n_examples) % n_classes
    centres = generator.standard_normal((n_classes, dimension))
    vectors = centres[class_of] + spread * generator.standard_normal((n_examples, dimension))
    return normalised(vectors.astype(np.float32)), class_of


def slow_softmax(values):
    odds = [np.exp(value - max(values)) for value in values]
    return [value / sum(odds) for value in odds]


def slow_prototype_probabilities(x, vectors, class_of):
    cosines = []
    for label in range(class_of.max() + 1):
        mean = vectors[class_of == label].astype(np.float64).mean(axis=0)
        cosines.append(float(x @ mean) / np.linalg.norm(mean))
    return slow_softmax([PROTOTYPE_SCALE * cosine for cosine in cosines])


def slow_covariance(vectors, class_of):
    """Pooled covariance and the Ledoit-Wolf mixture, summed vector by vector."""
    residuals, n_means = [], 0
    for label in range(class_of.max() + 1):
        members = vectors[class_of == label].astype(np.float64)
        if len(members) > 1:
            residuals += list(members - members.mean(axis=0))
            n_means += 1
    n_free = len(residuals) - n_means
    pooled = np.sum([np.outer(r, r) for r in residuals], axis=0) / n_free
    dimension = len(pooled)
    target = np.trace(pooled) / dimension * np.eye(dimension)
    stretch = np.sqrt(len(residuals) / n_free)
    errors = [
        np.sum((np.outer(stretch * r, stretch * r) - pooled) ** 2) / len(residuals)
        for r in residuals
    ]
    rho = sum(errors) / n_free / np.sum((pooled - target) ** 2)
    rho = min(1.0, max(MIN_SHRINKAGE, rho))
    return (1 - rho) * pooled + rho * target


def slow_discriminant_probabilities(x, vectors, class_of):
    """Gaussian densities of one covariance, normalised."""
    precision = np.linalg.inv(slow_covariance(vectors, class_of))
    logs = []
    for label in range(class_of.max() + 1):
        away = x - vectors[class_of == label].astype(np.float64).mean(axis=0)
        logs.append(-0.5 * float(away @ precision @ away))
    return slow_softmax(logs)


SLOW = {
    prototype_classifier: slow_prototype_probabilities,
    discriminant_classifier: slow_discriminant_probabilities,
}


@BOTH
@given(seed=SEEDS, n_classes=st.integers(2, 4), n_examples=st.integers(9, 20))
def test_classification_agrees_with_the_definition(make_classifier, seed, n_classes, n_examples):
    vectors, class_of = random_examples(seed, n_examples, n_classes)
    queries, _ = random_examples(seed + 1, 5, 5)
    found = classify(queries, make_classifier(vectors, class_of))
    for query, label, confidence in zip(queries, found.classes, found.confidences, strict=True):
        expected = SLOW[make_classifier](query.astype(np.float64), vectors, class_of)
        assert confidence == pytest.approx(max(expected), abs=1e-6)
        assert expected[label] == pytest.approx(max(expected), abs=1e-6)


def test_prototypes_worked_by_hand():
    vectors = np.array([[0.6, 0.8], [0.6, -0.8], [-1, 0]], np.float32)
    classifier = prototype_classifier(vectors, np.array([0, 0, 1]))
    # Means (0.6, 0) and (-1, 0); cosines to (1, 0) are 1 and -1.
    found = classify(np.array([[1, 0], [-0.6, 0.8]], np.float32), classifier)
    assert found.classes.tolist() == [0, 1]
    odds = np.exp(-2 * PROTOTYPE_SCALE * np.array([1, 0.6]))
    np.testing.assert_allclose(found.confidences, 1 / (1 + odds), rtol=1e-6)


def test_a_discriminant_worked_by_hand():
    # Two classes that vary along y only: S = diag(0, 0.5), shrunk by rho to
    # diag(rho / 4, 0.5 - rho / 4).
    vectors = np.array([[1, 0.5], [1, -0.5], [-1, 0.5], [-1, -0.5]], np.float32)
    classifier = discriminant_classifier(vectors, np.array([0, 0, 1, 1]))
    # All residuals have the same outer product, so that Ledoit and Wolf see no error in S.
    variance = MIN_SHRINKAGE / 4
    np.testing.assert_allclose(classifier.weight, [[1 / variance, 0], [-1 / variance, 0]])
    np.testing.assert_allclose(classifier.bias, [-0.5 / variance] * 2)


def test_a_class_of_one_example_shares_the_covariance_of_the_others():
    vectors, class_of = random_examples(1, 12, 2)
    alone = normalised(np.array([[3, -2, 1, 0, 0, 1]], np.float32))
    with_one = np.concatenate([vectors, alone]), np.append(class_of, 2)
    classifier = discriminant_classifier(*with_one)
    precision = np.linalg.inv(slow_covariance(*with_one))
    np.testing.assert_allclose(classifier.weight[2], precision @ alone[0], rtol=1e-6, atol=1e-6)
    assert classify(alone, classifier).classes.tolist() == [2]


def test_a_photo_alone_is_its_own_prototype():
    vectors = normalised(np.eye(3, dtype=np.float32))
    found = classify(vectors, prototype_classifier(vectors, np.arange(3)))
    assert found.classes.tolist() == [0, 1, 2]


def test_a_zero_vector_is_unsure_and_ties_go_to_the_first_class():
    vectors = np.eye(4, dtype=np.float32)
    found = classify(np.zeros((1, 4), np.float32), prototype_classifier(vectors, np.arange(4)))
    assert (found.classes.tolist(), found.confidences.tolist()) == ([0], [0.25])


def test_examples_that_cancel_out_are_similar_to_nothing():
    vectors = np.array([[1, 0], [-1, 0], [0, 1]], np.float32)
    classifier = prototype_classifier(vectors, np.array([0, 0, 1]))
    np.testing.assert_array_equal(classifier.weight[0], [0, 0])


def test_no_vectors_have_no_classes():
    classifier = LinearClassifier(np.eye(2), np.zeros(2))
    found = classify(np.empty((0, 2), np.float32), classifier)
    assert (found.classes.shape, found.confidences.shape) == ((0,), (0,))
    assert found.classes.dtype == np.int64
    assert found.confidences.dtype == np.float32


def test_a_hopeless_class_costs_no_overflow():
    classifier = LinearClassifier(np.diag([1e6, -1e6]), np.zeros(2))
    found = classify(np.ones((1, 2), np.float32), classifier)
    assert found.confidences.tolist() == [1.0]


@BOTH
@given(seed=SEEDS, start=st.integers(0, 30), count=st.integers(1, 9))
def test_batches_do_not_change_a_bit(make_classifier, seed, start, count):
    vectors, class_of = random_examples(seed, 40, 3, dimension=17)
    classifier = make_classifier(vectors, class_of)
    together = classify(vectors, classifier)
    apart = classify(vectors[start : start + count], classifier)
    np.testing.assert_array_equal(apart.classes, together.classes[start : start + count])
    np.testing.assert_array_equal(apart.confidences, together.confidences[start : start + count])


@BOTH
def test_the_order_of_examples_does_not_matter(make_classifier):
    vectors, class_of = random_examples(2, 30, 3)
    order = np.random.default_rng(0).permutation(30)
    shuffled = classify(vectors, make_classifier(vectors[order], class_of[order]))
    plain = classify(vectors, make_classifier(vectors, class_of))
    np.testing.assert_array_equal(shuffled.classes, plain.classes)
    np.testing.assert_allclose(shuffled.confidences, plain.confidences, atol=1e-6)


@BOTH
def test_arguments_stay_as_they_are(make_classifier):
    vectors, class_of = random_examples(2, 12, 3)
    before = vectors.copy(), class_of.copy()
    calibration(vectors, class_of, make_classifier=make_classifier)
    np.testing.assert_array_equal(vectors, before[0])
    np.testing.assert_array_equal(class_of, before[1])


# Calibration


@BOTH
def test_held_out_accuracy_of_classes_far_apart_is_one(make_classifier):
    vectors, class_of = random_examples(4, 40, 4, dimension=16, spread=0.1)
    found = calibration(vectors, class_of, make_classifier=make_classifier)
    assert (found.accuracy, found.n_held_out) == (1.0, 40)
    assert found.scale > 0


@BOTH
def test_held_out_accuracy_of_labels_without_meaning_is_chance(make_classifier):
    vectors = normalised(np.random.default_rng(5).standard_normal((400, 8)).astype(np.float32))
    found = calibration(vectors, np.arange(400) % 4, make_classifier=make_classifier)
    assert found.accuracy == pytest.approx(0.25, abs=0.08)


@BOTH
def test_confidences_are_true_after_calibration(make_classifier):
    vectors, class_of = random_examples(6, 800, 4, dimension=16, spread=1.6)
    examples, others = slice(0, 80), slice(80, None)
    found = calibration(vectors[examples], class_of[examples], make_classifier=make_classifier)
    classifier = scaled(make_classifier(vectors[examples], class_of[examples]), found.scale)
    said = classify(vectors[others], classifier)
    accuracy = np.mean(said.classes == class_of[others])
    assert 0.4 < accuracy < 0.95
    assert said.confidences.mean() == pytest.approx(accuracy, abs=0.08)


def test_scaling_keeps_the_classes():
    vectors, class_of = random_examples(7, 30, 3)
    classifier = discriminant_classifier(vectors, class_of)
    plain, softer = classify(vectors, classifier), classify(vectors, scaled(classifier, 0.01))
    np.testing.assert_array_equal(softer.classes, plain.classes)
    assert softer.confidences.mean() < plain.confidences.mean()


def test_an_only_example_is_never_held_out():
    vectors, class_of = random_examples(8, 12, 3)
    more = np.concatenate([vectors, vectors[:1]]), np.append(class_of, 3)
    assert calibration(*more, make_classifier=prototype_classifier).n_held_out == 12


def test_without_two_examples_of_a_class_nothing_can_be_held_out():
    vectors = np.eye(3, dtype=np.float32)
    found = calibration(vectors, np.arange(3), make_classifier=prototype_classifier)
    assert (found.accuracy, found.n_held_out, found.scale) == (None, 0, 1.0)


def test_a_discriminant_that_needs_all_examples_is_not_tested():
    vectors = normalised(np.array([[1, 0], [1, 0.2], [-1, 0]], np.float32))
    found = calibration(vectors, np.array([0, 0, 1]), make_classifier=discriminant_classifier)
    assert found.accuracy is None


def test_the_seed_deals_the_examples():
    vectors, class_of = random_examples(9, 60, 3, spread=1.5)
    found = [
        calibration(vectors, class_of, make_classifier=prototype_classifier, seed=seed)
        for seed in (0, 0, 1)
    ]
    assert found[0] == found[1]
    assert found[0].scale != found[2].scale


def test_a_few_right_examples_do_not_ask_for_an_endless_scale():
    vectors, class_of = random_examples(4, 8, 2, dimension=16, spread=0.01)
    found = calibration(vectors, class_of, make_classifier=prototype_classifier)
    sure = classify(vectors, scaled(prototype_classifier(vectors, class_of), found.scale))
    # Eight of eight right: (8 + 1) / (8 + 2).
    assert sure.confidences.mean() == pytest.approx(0.9, abs=0.01)


# What is refused


@BOTH
@pytest.mark.parametrize(
    ("class_of", "message"),
    [
        pytest.param([0, 0, 0], "at least 2 classes are needed, got 1", id="one-class"),
        pytest.param([0, 2, 2], "class 1 has no example", id="gap"),
        pytest.param([0, 1, -1], "classes must be at least 0, got -1", id="negative"),
        pytest.param([0, 1], r"3 vectors need as many classes, got \(2,\)", id="count"),
    ],
)
def test_classes_that_do_not_fit_are_refused(make_classifier, class_of, message):
    with pytest.raises(ValueError, match=message):
        make_classifier(np.eye(3, dtype=np.float32), np.array(class_of))


@BOTH
def test_no_examples_are_refused(make_classifier):
    with pytest.raises(ValueError, match="at least 2 classes are needed, got 0"):
        make_classifier(np.empty((0, 3), np.float32), np.empty(0, np.int64))


@BOTH
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_refused(make_classifier, value):
    vectors, class_of = random_examples(2, 6, 2)
    classifier = make_classifier(vectors, class_of)
    vectors[3, 1] = value
    with pytest.raises(ValueError, match="vectors must be finite"):
        make_classifier(vectors, class_of)
    with pytest.raises(ValueError, match="vectors must be finite"):
        classify(vectors, classifier)


def test_vectors_of_another_width_are_refused():
    with pytest.raises(ValueError, match=r"vectors must be a matrix \(n, 2\)"):
        classify(np.ones((1, 3), np.float32), LinearClassifier(np.eye(2), np.zeros(2)))


@pytest.mark.parametrize("repeats", [1, 3])
def test_without_two_different_vectors_of_a_class_there_is_no_covariance(repeats):
    vectors = np.repeat(normalised(np.ones((2, 3), np.float32)), repeats, axis=0)
    with pytest.raises(NoCovarianceError, match="no class has two different vectors"):
        discriminant_classifier(vectors, np.repeat([0, 1], repeats))


def test_fewer_than_two_folds_are_refused():
    vectors, class_of = random_examples(2, 6, 2)
    with pytest.raises(ValueError, match="n_folds must be at least 2, got 1"):
        calibration(vectors, class_of, make_classifier=prototype_classifier, n_folds=1)
