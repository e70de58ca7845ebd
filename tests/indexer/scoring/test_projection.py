import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from indexer.scoring.projection import (
    default_band,
    inter_modal_operator,
    inter_modal_spectrum,
    intra_modal_projector,
    intra_modal_text_projector,
    project,
    with_bias,
    with_one,
)
from indexer.scoring.similarity import cosine_similarities
from schemas.model import Band

SEEDS = st.integers(0, 2**32 - 1)
WIDTHS = st.integers(1, 9)


def random_matrix(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def slow_spectrum(image_weight, text_weight):
    """Full SVD of the full operator."""
    operator = image_weight.T.astype(np.float64) @ text_weight.astype(np.float64)
    left, values, right = np.linalg.svd(operator)
    rank = np.sum(values > 1e-6 * values[0])
    return left[:, :rank], values[:rank], right[:rank].T


def slow_projector(weight, directions, k_top, k_bottom):
    """Sum of the band's rank-one projections."""
    kept = range(k_top, directions.shape[1] - k_bottom)
    return sum(weight @ np.outer(directions[:, i], directions[:, i]) for i in kept)


class TestSpectrum:
    @given(SEEDS, WIDTHS, WIDTHS, WIDTHS)
    def test_agrees_with_the_full_decomposition(self, seed, d, p_i, p_t):
        image_weight, text_weight = random_matrix(seed, d, p_i), random_matrix(seed + 1, d, p_t)
        spectrum = inter_modal_spectrum(image_weight, text_weight)
        values = slow_spectrum(image_weight, text_weight)[1]
        np.testing.assert_allclose(spectrum.singular_values, values, rtol=1e-6)
        rebuilt = (
            spectrum.image_directions * spectrum.singular_values
        ) @ spectrum.text_directions.T
        operator = inter_modal_operator(image_weight, text_weight)
        np.testing.assert_allclose(rebuilt, operator, atol=1e-5 * values[0])
        np.testing.assert_allclose(
            spectrum.image_directions.T @ spectrum.image_directions,
            np.eye(spectrum.rank),
            atol=1e-9,
        )

    def test_rank_ignores_rounding_noise(self):
        image_weight = np.diag([1.0, 1e-3, 1e-9]).astype(np.float32)
        spectrum = inter_modal_spectrum(image_weight, np.eye(3, dtype=np.float32))
        assert spectrum.rank == 2
        np.testing.assert_allclose(spectrum.singular_values, [1, 1e-3], rtol=1e-6)

    def test_operator_of_a_hand_worked_pair(self):
        image_weight = np.array([[1, 2], [0, 1]], dtype=np.float32)
        text_weight = np.array([[3, 0, 1], [1, 1, 0]], dtype=np.float32)
        operator = inter_modal_operator(image_weight, text_weight)
        np.testing.assert_array_equal(operator, [[3, 0, 1], [7, 1, 2]])

    def test_refuses_towers_that_share_nothing(self):
        image_weight = np.array([[1, 1], [0, 0]], dtype=np.float32)
        with pytest.raises(ValueError, match="operator is zero"):
            inter_modal_spectrum(image_weight, image_weight[::-1])

    @pytest.mark.parametrize(
        ("image_shape", "text_shape"), [((3, 4), (2, 4)), ((0, 4), (0, 4)), ((3, 0), (3, 4))]
    )
    def test_refuses_weights_without_a_common_dimension(self, image_shape, text_shape):
        with pytest.raises(ValueError, match="must share an embedding dimension and not be empty"):
            inter_modal_spectrum(random_matrix(0, *image_shape), random_matrix(0, *text_shape))

    def test_refuses_a_vector_for_a_weight(self):
        with pytest.raises(ValueError, match="text_weight must be a matrix"):
            inter_modal_operator(random_matrix(0, 3, 4), random_matrix(0, 3))

    def test_refuses_damaged_weights(self):
        weight = random_matrix(0, 3, 4)
        weight[1, 2] = np.nan
        with pytest.raises(ValueError, match="must be finite"):
            inter_modal_spectrum(weight, random_matrix(0, 3, 4))


class TestDefaultBand:
    @pytest.mark.parametrize(
        ("rank", "band"),
        [
            pytest.param(512, Band(k_top=153, k_bottom=51), id="ViT-B"),
            pytest.param(10, Band(k_top=3, k_bottom=1), id="ten"),
            pytest.param(1, Band(k_top=0, k_bottom=0), id="something-always-stays"),
        ],
    )
    def test_removes_three_and_one_tenth(self, rank, band):
        assert default_band(rank) == band

    def test_refuses_rank_zero(self):
        with pytest.raises(ValueError, match="rank must be at least 1, got 0"):
            default_band(0)


class TestIntraModalProjector:
    def test_keeps_the_middle_of_a_diagonal_operator(self):
        image_weight = np.diag([4.0, 3.0, 2.0, 1.0]).astype(np.float32)
        text_weight = np.eye(4, dtype=np.float32)
        image = intra_modal_projector(image_weight, text_weight, k_top=1, k_bottom=1)
        text = intra_modal_text_projector(image_weight, text_weight, k_top=1, k_bottom=1)
        np.testing.assert_allclose(image, np.diag([0, 3, 2, 0]), atol=1e-6)
        np.testing.assert_allclose(text, np.diag([0, 1, 1, 0]), atol=1e-6)
        assert image.dtype == text.dtype == np.float32

    @given(SEEDS, st.integers(2, 8), st.integers(2, 9), st.integers(2, 9), st.data())
    def test_agrees_with_the_full_decomposition(self, seed, d, p_i, p_t, data):
        image_weight, text_weight = random_matrix(seed, d, p_i), random_matrix(seed + 1, d, p_t)
        left, values, right = slow_spectrum(image_weight, text_weight)
        k_top = data.draw(st.integers(0, len(values) - 1))
        k_bottom = data.draw(st.integers(0, len(values) - 1 - k_top))
        # Where neighbouring values nearly coincide, their directions are any rotation.
        edges = [i for i in (k_top, len(values) - k_bottom) if 0 < i < len(values)]
        assume(all(values[i - 1] - values[i] > 1e-3 * values[0] for i in edges))
        options = {"k_top": k_top, "k_bottom": k_bottom}
        np.testing.assert_allclose(
            intra_modal_projector(image_weight, text_weight, **options),
            slow_projector(image_weight, left, k_top, k_bottom),
            atol=1e-4,
        )
        np.testing.assert_allclose(
            intra_modal_text_projector(image_weight, text_weight, **options),
            slow_projector(text_weight, right, k_top, k_bottom),
            atol=1e-4,
        )

    def test_the_whole_band_changes_nothing_when_both_spaces_are_full(self):
        image_weight, text_weight = random_matrix(0, 4, 6), random_matrix(1, 4, 7)
        kept = intra_modal_projector(image_weight, text_weight, k_top=0, k_bottom=0)
        np.testing.assert_allclose(kept, image_weight, atol=1e-5)

    def test_the_whole_band_projects_onto_what_texts_can_reach(self):
        # Texts reach the first of two embedding dimensions only, so that Psi's one left
        # direction is image_weight's first row, (3, 4) / 5.
        image_weight = np.array([[3, 4], [0, 5]], dtype=np.float32)
        text_weight = np.array([[1, 2], [0, 0]], dtype=np.float32)
        kept = intra_modal_projector(image_weight, text_weight, k_top=0, k_bottom=0)
        np.testing.assert_allclose(kept, [[3.0, 4.0], [2.4, 3.2]], atol=1e-6)

    @given(SEEDS, st.floats(0.01, 100))
    def test_the_text_weight_s_scale_and_rotation_do_not_matter(self, seed, scale):
        image_weight, text_weight = random_matrix(seed, 4, 6), random_matrix(seed + 1, 4, 5)
        rotation = np.linalg.qr(random_matrix(seed + 2, 5, 5))[0]
        values = inter_modal_spectrum(image_weight, text_weight).singular_values
        assume(np.diff(-values).min() > 1e-2 * values[0])
        plain = intra_modal_projector(image_weight, text_weight, k_top=1, k_bottom=1)
        turned = intra_modal_projector(
            image_weight, (scale * text_weight @ rotation).astype(np.float32), k_top=1, k_bottom=1
        )
        np.testing.assert_allclose(turned, plain, atol=1e-3)

    @given(SEEDS)
    def test_similarities_do_not_see_a_common_rotation_of_both_projectors(self, seed):
        image_weight, text_weight = random_matrix(seed, 4, 6), random_matrix(seed + 1, 4, 5)
        rotation = np.linalg.qr(random_matrix(seed + 2, 4, 4))[0]
        values = inter_modal_spectrum(image_weight, text_weight).singular_values
        assume(np.diff(-values).min() > 1e-2 * values[0])
        features = random_matrix(seed + 3, 5, 6)
        similarities = []
        for turn in (np.eye(4, dtype=np.float32), rotation):
            weight = intra_modal_projector(
                turn @ image_weight, turn @ text_weight, k_top=1, k_bottom=1
            )
            raw_embeddings = project(features, weight)
            similarities.append(cosine_similarities(raw_embeddings, raw_embeddings))
        np.testing.assert_allclose(similarities[0], similarities[1], atol=1e-2)

    def test_biases_count_as_one_more_column_each(self):
        image_weight, text_weight = random_matrix(0, 4, 6), random_matrix(1, 4, 5)
        image_bias, text_bias = random_matrix(2, 4), random_matrix(3, 4)
        options = {"k_top": 1, "k_bottom": 1}
        biased = intra_modal_projector(
            image_weight, text_weight, image_bias=image_bias, text_bias=text_bias, **options
        )
        left, _, _ = slow_spectrum(
            np.column_stack([image_weight, image_bias]), np.column_stack([text_weight, text_bias])
        )
        expected = slow_projector(np.column_stack([image_weight, image_bias]), left, 1, 1)
        assert biased.shape == (4, 7)
        np.testing.assert_allclose(biased, expected, atol=1e-5)

    def test_a_text_bias_alone_leaves_the_image_projector_s_shape(self):
        weight = random_matrix(0, 4, 6)
        options = {"text_bias": random_matrix(2, 4), "k_top": 1, "k_bottom": 1}
        assert intra_modal_projector(weight, weight, **options).shape == (4, 6)
        assert intra_modal_text_projector(weight, weight, **options).shape == (4, 7)

    @pytest.mark.parametrize(("k_top", "k_bottom"), [(3, 1), (4, 0), (-1, 0), (0, -1)])
    def test_refuses_a_band_that_leaves_nothing_and_says_the_rank(self, k_top, k_bottom):
        weight = random_matrix(0, 4, 6)
        with pytest.raises(ValueError, match=f"rank 4 .* got {k_top} and {k_bottom}"):
            intra_modal_projector(weight, weight, k_top=k_top, k_bottom=k_bottom)


class TestProject:
    def test_hand_worked_values_with_a_bias(self):
        features = np.array([[1, 2], [0, 1]], dtype=np.float32)
        weight = np.array([[1, 0], [1, 1], [0, 3]], dtype=np.float32)
        bias = np.array([0, 10, 0], dtype=np.float32)
        np.testing.assert_array_equal(project(features, weight), [[1, 3, 6], [0, 1, 3]])
        np.testing.assert_array_equal(project(features, weight, bias), [[1, 13, 6], [0, 11, 3]])

    def test_a_column_for_the_bias_gives_the_same(self):
        features, weight, bias = (
            random_matrix(i, *s) for i, s in enumerate([(5, 3), (4, 3), (4,)])
        )
        np.testing.assert_allclose(
            project(with_one(features), with_bias(weight, bias)),
            project(features, weight, bias),
            atol=1e-6,
        )

    def test_reads_stored_half_precision(self):
        raw_embeddings = project(np.ones((2, 3), np.float16), np.ones((4, 3), np.float32))
        assert raw_embeddings.dtype == np.float32
        np.testing.assert_array_equal(raw_embeddings, np.full((2, 4), 3))

    def test_no_bias_leaves_the_weight_as_it_is(self):
        weight = random_matrix(0, 4, 3)
        assert with_bias(weight, None) is weight

    def test_no_photos_give_no_embeddings(self):
        assert project(np.zeros((0, 3), np.float32), random_matrix(0, 4, 3)).shape == (0, 4)

    def test_refuses_features_of_another_tower(self):
        with pytest.raises(ValueError, match=r"features must be a matrix \(n, 3\), got shape \(2"):
            project(random_matrix(0, 2, 5), random_matrix(0, 4, 3))

    def test_refuses_a_bias_of_another_length(self):
        weight, bias = random_matrix(0, 4, 3), random_matrix(0, 3)
        with pytest.raises(ValueError, match=r"bias must have shape \(4,\), got \(3,\)"):
            project(random_matrix(0, 2, 3), weight, bias)
        with pytest.raises(ValueError, match=r"bias must have shape \(4,\), got \(3,\)"):
            with_bias(weight, bias)
