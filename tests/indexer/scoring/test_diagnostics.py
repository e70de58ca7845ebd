from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.arrays import FloatArray
from indexer.scoring.diagnostics import (
    class_pairs,
    cross_pairs,
    gap_positions,
    histogram_overlap,
    independent_rows,
    label_similarities,
    modality_gap,
    pair_similarities,
    principal_plane,
    recovered_similarities,
    similarity_histograms,
)
from indexer.scoring.similarity import normalised

SEEDS = st.integers(0, 2**32 - 1)


def unit_vectors(seed: int, n_rows: int, dimension: int = 5) -> FloatArray:
    values = np.random.default_rng(seed).normal(0.3, 1.0, (n_rows, dimension))
    return normalised(values.astype(np.float32))


def slow_histogram(sample, edges):
    """Count values between edges, the last edge included, one by one."""
    n_bins = len(edges) - 1
    counts = [0] * n_bins
    for value in sample:
        inside = [b for b in range(n_bins) if edges[b] <= value < edges[b + 1]]
        counts[inside[0] if inside else n_bins - 1] += 1
    return [count / len(sample) for count in counts]


def slow_overlap(first, second):
    return sum(min(a, b) for a, b in zip(first, second, strict=True))


def slow_class_pairs(classes):
    pairs = list(combinations(range(len(classes)), 2))
    same = {pair for pair in pairs if classes[pair[0]] == classes[pair[1]]}
    return same, set(pairs) - same


def as_set(pairs):
    return {tuple(sorted(pair)) for pair in pairs.tolist()}


class TestSimilarityHistograms:
    def test_hand_worked_shares_over_the_range_of_both(self):
        histograms = similarity_histograms(
            np.array([0.0, 0.1, 0.6, 1.0]), np.array([0.3, 0.7]), n_bins=4
        )
        np.testing.assert_allclose(histograms.edges, [0, 0.25, 0.5, 0.75, 1])
        np.testing.assert_allclose(histograms.shares, [[0.5, 0, 0.25, 0.25], [0, 0.5, 0.5, 0]])

    @given(seed=SEEDS, n_bins=st.integers(1, 30), sizes=st.tuples(*[st.integers(1, 40)] * 3))
    def test_agrees_with_counting_one_by_one(self, seed, n_bins, sizes):
        generator = np.random.default_rng(seed)
        samples = [generator.uniform(-1, 1, size) for size in sizes]
        histograms = similarity_histograms(*samples, n_bins=n_bins)
        expected = [slow_histogram(sample, histograms.edges) for sample in samples]
        np.testing.assert_allclose(histograms.shares, expected, atol=1e-12)

    @pytest.mark.parametrize(("n_values", "n_bins"), [(1, 15), (1000, 20), (10**6, 60)])
    def test_takes_fewer_bins_for_a_small_sample(self, n_values, n_bins):
        large, small = np.linspace(0, 1, 10**6), np.linspace(0, 1, n_values)
        assert similarity_histograms(large, small).shares.shape == (2, n_bins)

    def test_takes_one_value_for_all(self):
        histograms = similarity_histograms(np.ones(3), np.ones(2))
        np.testing.assert_allclose(histograms.shares.sum(axis=1), [1, 1])
        assert histogram_overlap(*histograms.shares) == 1.0

    def test_does_not_depend_on_the_order_of_values(self):
        values = np.random.default_rng(3).normal(size=500)
        there, back = similarity_histograms(values), similarity_histograms(values[::-1])
        np.testing.assert_array_equal(there.shares, back.shares)

    @pytest.mark.parametrize("samples", [[], [np.empty(0)], [np.zeros((2, 2))]])
    def test_refuses_what_is_no_sample(self, samples):
        with pytest.raises(ValueError, match="each sample must be a row of at least one"):
            similarity_histograms(*samples)

    def test_refuses_nan(self):
        with pytest.raises(ValueError, match="similarities must be finite"):
            similarity_histograms(np.array([0.1, np.nan]))

    def test_refuses_no_bins(self):
        with pytest.raises(ValueError, match="n_bins must be at least 1, got 0"):
            similarity_histograms(np.ones(2), n_bins=0)


class TestHistogramOverlap:
    @pytest.mark.parametrize(
        ("first", "second", "expected"),
        [
            pytest.param([1, 0], [0, 1], 0.0, id="apart"),
            pytest.param([0.3, 0.7], [0.3, 0.7], 1.0, id="equal"),
            pytest.param([0.5, 0.5, 0], [0, 0.25, 0.75], 0.25, id="part"),
        ],
    )
    def test_hand_worked_values(self, first, second, expected):
        assert histogram_overlap(np.array(first), np.array(second)) == pytest.approx(expected)

    @given(seed=SEEDS, n_bins=st.integers(1, 40))
    def test_agrees_with_the_definition_both_ways_round(self, seed, n_bins):
        first, second = np.random.default_rng(seed).dirichlet(np.ones(n_bins), 2)
        overlap = histogram_overlap(first, second)
        assert overlap == pytest.approx(slow_overlap(first, second), abs=1e-12)
        assert overlap == histogram_overlap(second, first)

    @pytest.mark.parametrize(
        ("first", "second"), [([1.0], [0.5, 0.5]), ([2.0, 0], [0.5, 0.5]), ([np.nan, 1], [0, 1.0])]
    )
    def test_refuses_what_are_no_shares_of_the_same_bins(self, first, second):
        with pytest.raises(ValueError, match="same bins and shares that add up to 1"):
            histogram_overlap(np.array(first), np.array(second))

    def test_refuses_negative_shares(self):
        with pytest.raises(ValueError, match=r"shares must not be negative, got -0\.5"):
            histogram_overlap(np.array([1.5, -0.5]), np.array([0.5, 0.5]))


class TestClassPairs:
    @given(classes=st.lists(st.integers(-2, 3), max_size=14), seed=SEEDS)
    def test_gives_every_pair_once_where_all_are_asked_for(self, classes, seed):
        same, other = class_pairs(np.array(classes, dtype=np.int64), n_pairs=1000, seed=seed)
        expected_same, expected_other = slow_class_pairs(classes)
        assert (as_set(same), as_set(other)) == (expected_same, expected_other)
        assert (len(same), len(other)) == (len(expected_same), len(expected_other))

    @given(classes=st.lists(st.integers(0, 3), max_size=14), n_pairs=st.integers(1, 20), seed=SEEDS)
    def test_draws_different_pairs_of_the_right_kind(self, classes, n_pairs, seed):
        drawn = class_pairs(np.array(classes, dtype=np.int64), n_pairs=n_pairs, seed=seed)
        for pairs, expected in zip(drawn, slow_class_pairs(classes), strict=True):
            assert len(as_set(pairs)) == len(pairs) == min(n_pairs, len(expected))
            assert as_set(pairs) <= expected

    def test_draws_all_pairs_about_equally_often(self):
        classes = np.array([0, 0, 0, 1, 1])  # 4 pairs of the same class, 6 of others
        counts = np.zeros((5, 5))
        for seed in range(3000):
            for (row, column), *_ in class_pairs(classes, n_pairs=1, seed=seed):
                counts[min(row, column), max(row, column)] += 1
        same = counts[[0, 0, 1, 3], [1, 2, 2, 4]]
        assert same.sum() == 3000
        assert same.min() > 650
        assert same.max() < 850
        assert counts[:3, 3:].min() > 420
        assert counts[:3, 3:].max() < 580

    def test_the_seed_decides(self):
        classes = np.arange(200) % 7
        first, again = (class_pairs(classes, n_pairs=50, seed=4) for _ in range(2))
        np.testing.assert_array_equal(first, again)
        assert as_set(first[0]) != as_set(class_pairs(classes, n_pairs=50, seed=5)[0])

    def test_one_row_has_no_pair(self):
        same, other = class_pairs(np.array([7]), n_pairs=3, seed=0)
        assert same.shape == other.shape == (0, 2)

    def test_refuses_a_matrix(self):
        with pytest.raises(ValueError, match=r"class_of must be a vector \(n,\), got shape"):
            class_pairs(np.zeros((2, 2), np.int64), n_pairs=3, seed=0)

    def test_refuses_to_draw_nothing(self):
        with pytest.raises(ValueError, match="n_pairs must be at least 1, got 0"):
            class_pairs(np.array([1, 2]), n_pairs=0, seed=0)


class TestCrossPairs:
    @given(n_first=st.integers(0, 6), n_second=st.integers(0, 6), n_pairs=st.integers(1, 40))
    def test_draws_each_pair_at_most_once(self, n_first, n_second, n_pairs):
        pairs = cross_pairs(n_first, n_second, n_pairs=n_pairs, seed=1)
        drawn = set(map(tuple, pairs.tolist()))
        assert drawn <= {(row, column) for row in range(n_first) for column in range(n_second)}
        assert len(drawn) == len(pairs) == min(n_pairs, n_first * n_second)

    def test_refuses_negative_numbers_of_rows(self):
        with pytest.raises(ValueError, match="must not be negative, got -1 and 3"):
            cross_pairs(-1, 3, n_pairs=1, seed=0)


class TestPairSimilarities:
    @given(seed=SEEDS, n_pairs=st.integers(0, 30))
    def test_agrees_with_one_product_a_pair(self, seed, n_pairs):
        first, second = unit_vectors(seed, 4), unit_vectors(seed + 1, 6)
        pairs = np.random.default_rng(seed).integers(0, [4, 6], (n_pairs, 2))
        expected = [sum(a * b for a, b in zip(first[i], second[j], strict=True)) for i, j in pairs]
        np.testing.assert_allclose(pair_similarities(first, second, pairs), expected, atol=1e-6)

    def test_values_do_not_depend_on_what_else_is_asked_or_its_order(self, monkeypatch):
        vectors = unit_vectors(0, 50, 67)
        pairs = cross_pairs(50, 50, n_pairs=600, seed=2)
        together = pair_similarities(vectors, vectors, pairs)
        backwards = pair_similarities(vectors, vectors, pairs[::-1])[::-1]
        monkeypatch.setattr("indexer.scoring.diagnostics.PAIRS_PER_BLOCK", 7)
        np.testing.assert_array_equal(together, backwards)
        np.testing.assert_array_equal(together, pair_similarities(vectors, vectors, pairs))

    def test_zero_vectors_are_similar_to_nothing(self):
        vectors = np.array([[0, 0], [1, 0]], np.float32)
        pairs = np.array([[0, 0], [0, 1], [1, 1]])
        np.testing.assert_array_equal(pair_similarities(vectors, vectors, pairs), [0, 0, 1])

    @pytest.mark.parametrize("pair", [[-1, 0], [2, 0], [0, 3]])
    def test_refuses_rows_that_do_not_exist(self, pair):
        with pytest.raises(ValueError, match="pairs must be rows of matrices of 2 and 3 rows"):
            pair_similarities(unit_vectors(0, 2), unit_vectors(0, 3), np.array([pair]))

    @pytest.mark.parametrize("name", ["first", "second"])
    def test_refuses_nan(self, name):
        matrices = {"first": unit_vectors(0, 2), "second": unit_vectors(0, 3)}
        matrices[name][1, 1] = np.nan
        with pytest.raises(ValueError, match=f"{name} must be finite"):
            pair_similarities(**matrices, pairs=np.array([[0, 0]]))


class TestModalityGap:
    def test_is_the_distance_of_the_means(self):
        images = np.array([[1, 0], [0, 1]], np.float32)
        texts = np.array([[-1, 0], [0, -1], [0, -1]], np.float32)
        # From (0.5, 0.5) to (-0.33, -0.67).
        assert modality_gap(images, texts) == pytest.approx(np.hypot(5 / 6, 7 / 6))

    def test_is_zero_between_equal_sets_in_any_order(self):
        vectors = unit_vectors(0, 30)
        assert modality_gap(vectors, vectors[::-1]) == pytest.approx(0, abs=1e-15)

    @given(seed=SEEDS, n_images=st.integers(1, 9), n_texts=st.integers(1, 9))
    def test_agrees_with_sums_one_by_one(self, seed, n_images, n_texts):
        images, texts = unit_vectors(seed, n_images), unit_vectors(seed + 1, n_texts)
        squares = [
            (sum(map(float, images[:, d])) / n_images - sum(map(float, texts[:, d])) / n_texts) ** 2
            for d in range(5)
        ]
        assert modality_gap(images, texts) == pytest.approx(sum(squares) ** 0.5, abs=1e-6)

    def test_refuses_no_rows(self):
        with pytest.raises(ValueError, match="at least one image and one text, got 0, 2"):
            modality_gap(unit_vectors(0, 0), unit_vectors(0, 2))

    @pytest.mark.parametrize("name", ["images", "texts"])
    def test_refuses_nan(self, name):
        matrices = {"images": unit_vectors(0, 2), "texts": unit_vectors(0, 3)}
        matrices[name][0, 0] = np.inf
        with pytest.raises(ValueError, match=f"{name} must be finite"):
            modality_gap(**matrices)


class TestGapPositions:
    @given(seed=SEEDS, n_images=st.integers(1, 9), n_texts=st.integers(1, 9))
    def test_means_lie_half_a_gap_from_the_middle(self, seed, n_images, n_texts):
        images, texts = unit_vectors(seed, n_images), unit_vectors(seed + 1, n_texts)
        above, below = gap_positions(images, texts)
        half = modality_gap(images, texts) / 2
        assert above.mean() == pytest.approx(half, abs=1e-6)
        assert below.mean() == pytest.approx(-half, abs=1e-6)

    def test_hand_worked_positions(self):
        above, below = gap_positions(np.eye(2, dtype=np.float32)[:1], -np.eye(2, dtype="f4"))
        # The line from (-0.5, -0.5) to (1, 0), its middle at (0.25, -0.25).
        line = np.array([1.5, 0.5]) / np.hypot(1.5, 0.5)
        np.testing.assert_allclose(above, [(np.array([0.75, 0.25]) @ line)], atol=1e-7)
        np.testing.assert_allclose(
            below, [np.array([-1.25, 0.25]) @ line, np.array([-0.25, -0.75]) @ line], atol=1e-7
        )

    def test_without_a_gap_all_lie_in_the_middle(self):
        vectors = unit_vectors(0, 4)
        np.testing.assert_array_equal(gap_positions(vectors, vectors), np.zeros((2, 4)))

    def test_refuses_no_rows(self):
        with pytest.raises(ValueError, match="at least one image and one text, got 2, 0"):
            gap_positions(unit_vectors(0, 2), unit_vectors(0, 0))


def slow_plane(images, texts):
    """Weight each row so that both modalities weigh the same; components by SVD."""
    rows = np.concatenate([images, texts]).astype(np.float64)
    weights = np.concatenate(
        [np.full(len(images), 0.5 / len(images)), np.full(len(texts), 0.5 / len(texts))]
    )
    centred = rows - weights @ rows
    _, strengths, directions = np.linalg.svd(np.sqrt(weights)[:, np.newaxis] * centred)
    return np.abs(centred @ directions[:2].T), strengths[:2] ** 2 / np.sum(strengths**2)


class TestPrincipalPlane:
    def test_the_first_axis_runs_along_the_gap_where_that_is_largest(self):
        images = np.array([[1, 0, 0.1], [1, 0, -0.1]], np.float32)
        texts = np.array([[-1, 0.2, 0], [-1, -0.2, 0]], np.float32)
        plane = principal_plane(images, texts)
        np.testing.assert_allclose(plane.images, [[1, 0], [1, 0]], atol=1e-7)
        np.testing.assert_allclose(plane.texts, [[-1, 0.2], [-1, -0.2]], atol=1e-7)
        # Variances 1, 0.02 and 0.005
        np.testing.assert_allclose(plane.shares, np.array([1, 0.02]) / 1.025, atol=1e-7)

    @given(seed=SEEDS, n_images=st.integers(3, 12), n_texts=st.integers(3, 12))
    def test_agrees_with_a_weighted_svd_but_for_signs(self, seed, n_images, n_texts):
        images, texts = unit_vectors(seed, n_images), unit_vectors(seed + 1, n_texts)
        plane = principal_plane(images, texts)
        expected, shares = slow_plane(images, texts)
        found = np.abs(np.concatenate([plane.images, plane.texts]))
        np.testing.assert_allclose(plane.shares, shares, atol=1e-6)
        if shares[0] - shares[1] > 0.01:
            np.testing.assert_allclose(found[:, 0], expected[:, 0], atol=1e-6)

    def test_many_texts_weigh_no_more_than_few(self):
        images, texts = unit_vectors(0, 20), unit_vectors(1, 10)
        once, often = (
            principal_plane(images, texts),
            principal_plane(images, np.tile(texts, (9, 1))),
        )
        np.testing.assert_allclose(once.images, often.images, atol=1e-6)

    def test_one_point_has_no_variance(self):
        vector = np.array([[1, 0]], np.float32)
        plane = principal_plane(vector, vector)
        np.testing.assert_array_equal(plane.images, [[0, 0]])
        np.testing.assert_array_equal(plane.shares, [0, 0])

    def test_refuses_a_single_dimension(self):
        with pytest.raises(ValueError, match="2 dimensions or more, got 1"):
            principal_plane(np.ones((2, 1), np.float32), np.ones((2, 1), np.float32))


def slow_label_similarities(labels, dictionary, images, class_of):
    products = labels.astype(np.float64) @ images.T.astype(np.float64)
    for row, label in enumerate(labels):
        others = products[row][class_of != row]
        yield (
            np.mean([label.astype(np.float64) @ word for word in dictionary]),
            np.mean(products[row][class_of == row]),
            np.mean(others) if len(others) else np.nan,
        )


class TestLabelSimilarities:
    def test_hand_worked_means(self):
        labels = np.array([[1, 0], [0, 1]], np.float32)
        dictionary = np.array([[0.6, 0.8], [1, 0]], np.float32)
        images = np.array([[0.8, 0.6], [0.6, 0.8], [0, -1]], np.float32)
        means = label_similarities(labels, dictionary, images, np.array([0, 0, 1]))
        np.testing.assert_allclose(means.dictionary, [0.8, 0.4], atol=1e-7)
        np.testing.assert_allclose(means.own_images, [0.7, -1], atol=1e-7)
        np.testing.assert_allclose(means.other_images, [0, 0.7], atol=1e-7)

    @given(seed=SEEDS, n_classes=st.integers(1, 4), n_more=st.integers(0, 8))
    def test_agrees_with_means_of_products(self, seed, n_classes, n_more):
        generator = np.random.default_rng(seed)
        class_of = np.concatenate(
            [np.arange(n_classes), generator.integers(0, n_classes, n_more)]
        ).astype(np.int64)
        arguments = (
            unit_vectors(seed, n_classes),
            unit_vectors(seed + 1, 5),
            unit_vectors(seed + 2, len(class_of)),
            class_of,
        )
        means = label_similarities(*arguments)
        found = np.stack([means.dictionary, means.own_images, means.other_images], axis=1)
        np.testing.assert_allclose(found, list(slow_label_similarities(*arguments)), atol=1e-6)

    @pytest.mark.parametrize("classes", [[0, 0, 0], [0, 1, 2], [0, 1, -1]])
    def test_refuses_classes_that_are_not_those_of_the_labels(self, classes):
        with pytest.raises(ValueError, match="must name each of the 2 labels and no other"):
            label_similarities(
                unit_vectors(0, 2), unit_vectors(1, 2), unit_vectors(2, 3), np.array(classes)
            )

    def test_refuses_another_number_of_classes(self):
        with pytest.raises(ValueError, match=r"3 images need as many classes, got shape \(2,\)"):
            label_similarities(
                unit_vectors(0, 2), unit_vectors(1, 2), unit_vectors(2, 3), np.array([0, 1])
            )


class TestRecovery:
    @given(seed=SEEDS, dimension=st.integers(1, 8), n_images=st.integers(1, 9))
    def test_similarities_to_texts_determine_those_among_images(self, seed, dimension, n_images):
        texts, images = (
            unit_vectors(seed, 40, dimension),
            unit_vectors(seed + 1, n_images, dimension),
        )
        anchors = texts[independent_rows(texts)]
        inter_modal = anchors.astype(np.float64) @ images.T.astype(np.float64)
        expected = images.astype(np.float64) @ images.T.astype(np.float64)
        np.testing.assert_allclose(
            recovered_similarities(anchors, inter_modal), expected, atol=1e-6
        )

    def test_hand_worked_value(self):
        anchors = np.array([[1, 0], [0.6, 0.8]], np.float32)
        images = np.array([[0, 1], [0.8, 0.6]])
        recovered = recovered_similarities(anchors, anchors.astype(np.float64) @ images.T)
        np.testing.assert_allclose(recovered, [[1, 0.6], [0.6, 1]], atol=1e-7)

    def test_chooses_the_texts_that_add_most(self):
        texts = np.array([[1, 0], [0.9999, 0.01], [0, 0.9], [0, 0]], np.float32)
        assert independent_rows(texts).tolist() == [0, 2]

    def test_refuses_texts_that_span_too_little(self):
        texts = np.tile(unit_vectors(0, 2, 3), (4, 1))
        with pytest.raises(ValueError, match="must span all 3 dimensions, these span 2"):
            independent_rows(texts)

    def test_refuses_dependent_anchors(self):
        with pytest.raises(ValueError, match="anchors must be independent"):
            recovered_similarities(np.ones((2, 2), np.float32), np.ones((2, 1)))

    @pytest.mark.parametrize(("anchors", "inter_modal"), [((2, 3), (2, 1)), ((2, 2), (3, 1))])
    def test_refuses_other_shapes(self, anchors, inter_modal):
        with pytest.raises(ValueError, match="anchors must be square with a row for each"):
            recovered_similarities(np.ones(anchors, np.float32), np.ones(inter_modal))

    def test_refuses_nan(self):
        eye = np.eye(2, dtype=np.float32)
        with pytest.raises(ValueError, match="inter_modal must be finite"):
            recovered_similarities(eye, np.full((2, 1), np.nan))
        with pytest.raises(ValueError, match="anchors must be finite"):
            recovered_similarities(np.full((2, 2), np.nan, np.float32), np.ones((2, 1)))
        with pytest.raises(ValueError, match="texts must be finite"):
            independent_rows(np.full((2, 2), np.inf, np.float32))
