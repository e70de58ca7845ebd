import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.scoring.retrieval import UNLABELLED, label_retrieval
from indexer.scoring.similarity import normalised

SEEDS = st.integers(0, 2**32 - 1)
MEASURES = ("average_precision", "average_precision_at_r", "precision_at_r", "recall_at_1")


def angles(*degrees):
    """Unit vectors in a plane."""
    radians = np.deg2rad(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def slow_measures(vectors, classes, query):
    """From the definitions: sort all others, wrong ones first among equals, and look."""
    products = vectors.astype(np.float64) @ vectors[query].astype(np.float64)
    similarities = products.astype(np.float32).tolist()
    others = [row for row in range(len(vectors)) if row != query]
    ranked = sorted(others, key=lambda row: (-similarities[row], classes[row] == classes[query]))
    is_relevant = [classes[row] == classes[query] for row in ranked]
    n_relevant = sum(is_relevant)
    precision = [sum(is_relevant[: place + 1]) / (place + 1) for place in range(len(ranked))]
    return (
        sum(p for p, hit in zip(precision, is_relevant, strict=True) if hit) / n_relevant,
        sum(precision[place] for place in range(n_relevant) if is_relevant[place]) / n_relevant,
        sum(is_relevant[:n_relevant]) / n_relevant,
        float(is_relevant[0]),
    )


def measures_of(found):
    return np.stack([getattr(found, name) for name in MEASURES], axis=1)


def test_hand_worked_values():
    # From 0 degrees the others stand as 10 (b), 20 (a), 30 (b), 40 (a), and R is 2.
    vectors = angles(0, 10, 20, 30, 40)
    found = label_retrieval(vectors, np.array([0, 1, 0, 1, 0]), queries=np.array([0]))
    assert found.average_precision == pytest.approx([(1 / 2 + 2 / 4) / 2])
    assert found.average_precision_at_r == pytest.approx([(1 / 2) / 2])
    assert found.precision_at_r == pytest.approx([1 / 2])
    assert found.recall_at_1 == pytest.approx([0])


def test_the_example_of_the_paper():
    # Musgrave et al., section 3.2: of R = 10 the first hit only is right, or the first and the
    # last; P@R 10 % and 20 %, MAP@R 10 % and 12 %.
    only_first = angles(0, 1, *range(10, 19), *range(100, 109))
    class_of = np.array([0, 0, *[1] * 9, *[0] * 9])
    found = label_retrieval(only_first, class_of, queries=np.array([0]))
    assert (found.precision_at_r[0], found.average_precision_at_r[0]) == (0.1, 0.1)
    first_and_last = angles(0, 1, *range(10, 18), 20, *range(100, 108))
    class_of = np.array([0, 0, *[1] * 8, *[0] * 9])
    found = label_retrieval(first_and_last, class_of, queries=np.array([0]))
    assert found.precision_at_r[0] == pytest.approx(0.2)
    assert found.average_precision_at_r[0] == pytest.approx(0.12)


def test_separate_classes_are_found_perfectly():
    found = label_retrieval(angles(0, 1, 2, 90, 91), np.array([4, 4, 4, 7, 7]))
    assert np.array_equal(measures_of(found), np.ones((5, 4)))
    assert (found.n_classes, found.n_distractors) == (2, 0)


@given(SEEDS, st.integers(2, 24), st.integers(1, 5))
def test_agrees_with_the_definitions(seed, n_images, n_classes):
    generator = np.random.default_rng(seed)
    # Few directions, zero among them: many similarities are equal.
    vectors = normalised(generator.integers(-1, 2, (n_images, 3)).astype(np.float32))
    class_of = generator.integers(0, n_classes, n_images)
    class_of[:2] = 0
    found = label_retrieval(vectors, class_of)
    counts = np.bincount(class_of)
    assert found.queries.tolist() == np.flatnonzero(counts[class_of] > 1).tolist()
    assert found.n_classes == (counts > 1).sum()
    assert found.n_distractors == (counts == 1).sum()
    expected = [slow_measures(vectors, class_of.tolist(), query) for query in found.queries]
    assert measures_of(found) == pytest.approx(np.array(expected), abs=1e-6)


def test_equal_vectors_are_no_success():
    found = label_retrieval(np.tile(angles(30), (4, 1)), np.array([0, 0, 1, 1]))
    assert found.recall_at_1.sum() == found.precision_at_r.sum() == 0
    assert found.average_precision == pytest.approx([1 / 3] * 4)


def test_zero_vectors_are_similar_to_nothing():
    vectors = np.concatenate([angles(0, 5, 80), np.zeros((2, 2), np.float32)])
    found = label_retrieval(vectors, np.array([0, 0, 1, 1, 1]))
    assert found.average_precision[0] == 1
    # A zero vector sees all others at 0: two of the other class come before its own two.
    assert found.average_precision[3] == pytest.approx((1 / 3 + 2 / 4) / 2)


def test_one_class_only_is_always_right():
    found = label_retrieval(angles(0, 50, 170), np.zeros(3, np.int64))
    assert np.array_equal(measures_of(found), np.ones((3, 4)))


def test_photos_without_a_class_are_found_but_do_not_ask():
    class_of = np.array([0, 0, UNLABELLED, UNLABELLED])
    found = label_retrieval(angles(0, 10, 4, 5), class_of)
    assert found.queries.tolist() == [0, 1]
    assert found.n_distractors == 2
    assert found.average_precision == pytest.approx([1 / 3, 1 / 3])


def test_small_classes_become_distractors():
    found = label_retrieval(angles(0, 1, 2, 3, 4), np.array([0, 0, 0, 1, 1]), min_members=3)
    assert found.queries.tolist() == [0, 1, 2]
    assert (found.n_classes, found.n_distractors) == (1, 2)


def test_fewer_queries_ask_the_same_photos():
    generator = np.random.default_rng(0)
    vectors = normalised(generator.normal(size=(40, 8)).astype(np.float32))
    class_of = generator.integers(0, 4, 40)
    all_ask = label_retrieval(vectors, class_of)
    some_ask = label_retrieval(vectors, class_of, queries=np.array([31, 5, 5]))
    assert some_ask.queries.tolist() == [5, 31]
    assert np.array_equal(measures_of(some_ask), measures_of(all_ask)[[5, 31]])


class TestStability:
    @staticmethod
    def draw():
        """Photos of which every fifth has a twin with another label."""
        generator = np.random.default_rng(1)
        vectors = normalised(generator.normal(size=(300, 64)).astype(np.float32))
        vectors[1::5] = vectors[::5]
        return vectors, generator.integers(0, 6, 300)

    @pytest.mark.parametrize("block_values", [1, 300, 2100, 40_000])
    def test_does_not_depend_on_blocks(self, block_values):
        vectors, class_of = self.draw()
        found = label_retrieval(vectors, class_of, block_values=block_values)
        assert np.array_equal(measures_of(found), measures_of(label_retrieval(vectors, class_of)))

    def test_does_not_depend_on_order(self):
        vectors, class_of = self.draw()
        order = np.random.default_rng(2).permutation(300)
        found = label_retrieval(vectors[order], class_of[order])
        expected = label_retrieval(vectors, class_of)
        assert np.array_equal(measures_of(found), measures_of(expected)[order])

    def test_does_not_write_into_its_arguments(self):
        vectors, class_of = self.draw()
        before = vectors.copy(), class_of.copy()
        label_retrieval(vectors, class_of)
        assert np.array_equal(vectors, before[0])
        assert np.array_equal(class_of, before[1])


class TestRefusals:
    def test_one_photo_per_class(self):
        with pytest.raises(ValueError, match="no class has enough rows"):
            label_retrieval(angles(0, 1), np.array([0, 1]))

    def test_no_photos(self):
        with pytest.raises(ValueError, match="no class has enough rows"):
            label_retrieval(np.zeros((0, 2), np.float32), np.zeros(0, np.int64))

    def test_queries_that_cannot_ask(self):
        with pytest.raises(ValueError, match="none of the 1 queries has another row"):
            label_retrieval(angles(0, 1, 2), np.array([0, 0, 1]), queries=np.array([2]))

    def test_queries_that_do_not_exist(self):
        with pytest.raises(ValueError, match=r"queries must be in \[0, 2\), got 2 to 2"):
            label_retrieval(angles(0, 1), np.array([0, 0]), queries=np.array([2]))

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_vectors_that_are_not_finite(self, value):
        vectors = angles(0, 1)
        vectors[0, 0] = value
        with pytest.raises(ValueError, match="vectors must be finite"):
            label_retrieval(vectors, np.array([0, 0]))

    def test_other_shapes(self):
        with pytest.raises(ValueError, match="vectors must be a matrix"):
            label_retrieval(np.zeros(3, np.float32), np.zeros(3, np.int64))
        with pytest.raises(ValueError, match=r"2 vectors need as many classes, got shape \(3,\)"):
            label_retrieval(angles(0, 1), np.zeros(3, np.int64))

    def test_negative_classes(self):
        with pytest.raises(ValueError, match="classes must be at least -1, got -2"):
            label_retrieval(angles(0, 1), np.array([0, -2]))

    def test_classes_of_one(self):
        with pytest.raises(ValueError, match="min_members must be at least 2, got 1"):
            label_retrieval(angles(0, 1), np.array([0, 0]), min_members=1)
