import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.scoring.quality import (
    PROMPT_PAIRS,
    crop_means,
    fused_quality,
    magnitude,
    magnitude_quality,
    prompt_quality,
)

SEEDS = st.integers(0, 2**32 - 1)
UNIT = st.floats(0, 1, width=32)


def random_matrix(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def slow_cosine(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)


def slow_prompt_quality(embedding, good, bad, logit_scale):
    shares = []
    for good_text, bad_text in zip(good, bad, strict=True):
        high = math.exp(logit_scale * slow_cosine(embedding, good_text))
        low = math.exp(logit_scale * slow_cosine(embedding, bad_text))
        shares.append(high / (high + low))
    return sum(shares) / len(shares)


def slow_magnitude_quality(raw_embedding, box_cox_lambda):
    sizes = [abs(value) for value in raw_embedding]
    mean = sum(sizes) / len(sizes)
    std = math.sqrt(sum((size - mean) ** 2 for size in sizes) / (len(sizes) - 1))
    relative = [size / (std + 1e-6) for size in sizes]
    if box_cox_lambda == 0:
        return sum(math.log(a + 1) for a in relative) / len(sizes)
    return sum(((a + 1) ** box_cox_lambda - 1) / box_cox_lambda for a in relative) / len(sizes)


class TestPromptQuality:
    def test_hand_worked_value(self):
        embedding = np.array([[2, 0]], dtype=np.float32)
        good, bad = np.array([[5, 0]], np.float32), np.array([[0, 3]], np.float32)
        # Cosines 1 and 0: softmax([1, 0]) at a scale of 1.
        expected = math.e / (math.e + 1)
        assert prompt_quality(embedding, good, bad, logit_scale=1.0) == pytest.approx([expected])

    @given(SEEDS, st.integers(1, 5), st.floats(0.1, 100))
    def test_agrees_with_the_definition(self, seed, n_pairs, logit_scale):
        embeddings = random_matrix(seed, 3, 6)
        good, bad = random_matrix(seed + 1, n_pairs, 6), random_matrix(seed + 2, n_pairs, 6)
        expected = [
            slow_prompt_quality(row, good.tolist(), bad.tolist(), logit_scale)
            for row in embeddings.tolist()
        ]
        qualities = prompt_quality(embeddings, good, bad, logit_scale=logit_scale)
        np.testing.assert_allclose(qualities, expected, rtol=1e-5, atol=1e-12)

    def test_swapping_good_and_bad_mirrors_the_score(self):
        embeddings, good, bad = (random_matrix(i, 4, 6) for i in range(3))
        forth = prompt_quality(embeddings, good, bad, logit_scale=10.0)
        back = prompt_quality(embeddings, bad, good, logit_scale=10.0)
        np.testing.assert_allclose(forth + back, 1.0, atol=1e-6)

    def test_does_not_overflow_with_a_huge_scale(self):
        axes = np.eye(2, dtype=np.float32)
        qualities = prompt_quality(axes, axes[:1], axes[1:], logit_scale=1e6)
        np.testing.assert_array_equal(qualities, [1, 0])

    def test_an_empty_embedding_is_neither_good_nor_bad(self):
        good, bad = random_matrix(0, 5, 6), random_matrix(1, 5, 6)
        quality = prompt_quality(np.zeros((1, 6), np.float32), good, bad, logit_scale=100.0)
        assert quality.tolist() == [0.5]

    def test_no_photos_have_no_scores(self):
        texts = random_matrix(0, 5, 6)
        assert prompt_quality(texts[:0], texts, texts, logit_scale=1.0).shape == (0,)

    def test_refuses_unpaired_prompts(self):
        texts = random_matrix(0, 5, 6)
        with pytest.raises(ValueError, match=r"must pair up, got shapes \(5, 6\) and \(4, 6\)"):
            prompt_quality(texts, texts, texts[:4], logit_scale=1.0)

    def test_refuses_no_prompts(self):
        texts = random_matrix(0, 5, 6)
        with pytest.raises(ValueError, match="must pair up"):
            prompt_quality(texts, texts[:0], texts[:0], logit_scale=1.0)

    def test_refuses_embeddings_of_another_space(self):
        texts = random_matrix(0, 5, 6)
        with pytest.raises(ValueError, match=r"embeddings must be a matrix \(n, 6\), got shape"):
            prompt_quality(random_matrix(0, 2, 7), texts, texts, logit_scale=1.0)

    @pytest.mark.parametrize("logit_scale", [0.0, -1.0, math.nan])
    def test_refuses_a_scale_that_is_not_positive(self, logit_scale):
        texts = random_matrix(0, 5, 6)
        with pytest.raises(ValueError, match=f"logit_scale must be above 0, got {logit_scale}"):
            prompt_quality(texts, texts, texts, logit_scale=logit_scale)

    def test_five_pairs_are_the_default(self):
        assert len(PROMPT_PAIRS) == 5


class TestMagnitude:
    def test_is_the_euclidean_length(self):
        lengths = magnitude(np.array([[3, -4], [0, 0]], dtype=np.float32))
        assert lengths.dtype == np.float32
        assert lengths.tolist() == [5, 0]

    def test_survives_half_precision_squares(self):
        assert magnitude(np.full((1, 4), 60_000, np.float16)) == pytest.approx([120_000], rel=1e-3)

    def test_refuses_a_single_vector(self):
        with pytest.raises(ValueError, match="raw_embeddings must be a matrix"):
            magnitude(np.zeros(3, np.float32))


class TestMagnitudeQuality:
    def test_hand_worked_value(self):
        # |z| = 3, 5, 7: sample deviation 2, a = 1.5, 2.5, 3.5.
        quality = magnitude_quality(np.array([[3, -5, 7]], dtype=np.float32))
        expected = 2 * (math.sqrt(2.5) + math.sqrt(3.5) + math.sqrt(4.5) - 3) / 3
        assert quality == pytest.approx([expected], rel=1e-6)

    @given(SEEDS, st.integers(2, 9), st.sampled_from([0.0, 0.25, 0.5, 1.0, -1.0]))
    def test_agrees_with_the_definition(self, seed, dimension, box_cox_lambda):
        raw_embeddings = random_matrix(seed, 3, dimension)
        expected = [slow_magnitude_quality(row, box_cox_lambda) for row in raw_embeddings.tolist()]
        qualities = magnitude_quality(raw_embeddings, box_cox_lambda=box_cox_lambda)
        np.testing.assert_allclose(qualities, expected, rtol=1e-5)

    def test_approaches_the_logarithm_without_cancellation(self):
        raw_embeddings = random_matrix(0, 3, 8)
        np.testing.assert_allclose(
            magnitude_quality(raw_embeddings, box_cox_lambda=1e-13),
            magnitude_quality(raw_embeddings, box_cox_lambda=0.0),
            rtol=1e-6,
        )

    @given(SEEDS, st.floats(0.1, 100))
    def test_sees_the_profile_and_hardly_the_length(self, seed, scale):
        raw_embeddings = random_matrix(seed, 3, 32)
        np.testing.assert_allclose(
            magnitude_quality((scale * raw_embeddings).astype(np.float32)),
            magnitude_quality(raw_embeddings),
            rtol=1e-4,
        )

    def test_an_empty_embedding_has_none(self):
        assert magnitude_quality(np.zeros((1, 5), np.float32)).tolist() == [0]

    def test_refuses_one_dimension(self):
        with pytest.raises(ValueError, match=r"need 2 columns, got shape \(3, 1\)"):
            magnitude_quality(np.zeros((3, 1), np.float32))


class TestFusedQuality:
    def test_hand_worked_value(self):
        # delta = 1: weights softmax([2, -0.4]).
        fused = fused_quality(np.array([2], np.float32), np.array([1], np.float32))
        weight = math.exp(2) / (math.exp(2) + math.exp(-0.4))
        assert fused == pytest.approx([2 * weight + (1 - weight)], rel=1e-6)

    def test_equal_cues_give_their_value(self):
        cues = np.array([0, 0.25, 1.5], dtype=np.float32)
        np.testing.assert_array_equal(fused_quality(cues, cues), cues)

    @given(UNIT, st.floats(0, 8, width=32), st.floats(0, 1e4))
    def test_lies_between_the_cues(self, prompt_cue, magnitude_cue, alpha):
        cues = np.array([prompt_cue], np.float32), np.array([magnitude_cue], np.float32)
        fused = fused_quality(*cues, alpha=alpha)[0]
        assert min(cues)[0] - 1e-6 <= fused <= max(cues)[0] + 1e-6

    def test_fixed_weights_without_alpha(self):
        cues = np.array([0], np.float32), np.array([3], np.float32)
        fused = fused_quality(*cues, alpha=0.0, base_weights=(0.0, 0.0))
        assert fused.tolist() == [1.5]

    def test_refuses_different_counts(self):
        with pytest.raises(ValueError, match=r"one shape, got \(2,\) and \(1,\)"):
            fused_quality(np.zeros(2, np.float32), np.zeros(1, np.float32))


@given(SEEDS, st.integers(1, 40), st.integers(2, 70))
def test_scores_depend_on_nothing_but_their_own_row(seed, n_photos, dimension):
    raw_embeddings = random_matrix(seed, n_photos, dimension)
    good, bad = random_matrix(seed + 1, 5, dimension), random_matrix(seed + 2, 5, dimension)

    def scores(rows):
        prompts = prompt_quality(rows, good, bad, logit_scale=100.0)
        magnitudes = magnitude_quality(rows)
        return np.stack([magnitude(rows), prompts, magnitudes, fused_quality(prompts, magnitudes)])

    together = scores(raw_embeddings)
    order = np.random.default_rng(seed).permutation(n_photos)
    np.testing.assert_array_equal(scores(raw_embeddings[order]), together[:, order])
    np.testing.assert_array_equal(scores(np.asfortranarray(raw_embeddings)), together)
    alone = np.hstack([scores(raw_embeddings[i : i + 1]) for i in range(n_photos)])
    np.testing.assert_array_equal(alone, together)


@given(SEEDS, st.lists(st.integers(1, 20), max_size=6))
def test_crop_means_are_the_means_of_each_photo(seed, counts):
    cues = random_matrix(seed, sum(counts))
    means = crop_means(cues, np.array(counts, np.int64))
    assert means.dtype == np.float32
    start = 0
    for mean, count in zip(means, counts, strict=True):
        crops = cues[start : start + count]
        assert mean == pytest.approx(sum(map(float, crops)) / count, abs=1e-6)
        assert mean == crop_means(crops, np.array([count]))[0]
        start += count


def test_crop_means_refuse_a_photo_without_crops():
    with pytest.raises(ValueError, match="each photo needs at least one crop"):
        crop_means(np.ones(2, np.float32), np.array([2, 0]))


def test_crop_means_refuse_counts_that_do_not_add_up():
    with pytest.raises(ValueError, match="n_crops add up to 3, but there are 2 cues"):
        crop_means(np.ones(2, np.float32), np.array([1, 2]))
