import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.encoders.encoder import EncodedImages, Projectors
from indexer.scoring.projection import default_band
from indexer.scoring.similarity import normalised
from indexer.spaces import (
    SpaceMap,
    encoded_column,
    projectors_digest,
    require_space,
    resolved_band,
    space_map,
    text_vectors,
)
from schemas.errors import InputError, UnsupportedSpaceError
from schemas.model import Band
from tests.fakes import FEATURES
from tests.makers.stores import described, random_features, random_projectors

MODEL = described(embedding_dim=8)
CLIP_AND_TRUNK = described(spaces=("clip", "trunk"), family="siglip")


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def made(space, projectors, *, model=MODEL, band=None):
    return space_map(space, model=model, projectors=projectors, band=band)


def slow_intra_modal(weight, text_weight, band):
    """W_i U_b U_b^T, term by term in float64 from the SVD of the whole operator."""
    weight, text_weight = weight.astype(np.float64), text_weight.astype(np.float64)
    left, values, _ = np.linalg.svd(weight.T @ text_weight)
    rank = int((values > 1e-6 * values[0]).sum())
    kept = left[:, band.k_top : rank - band.k_bottom]
    return weight @ kept @ kept.T


def test_clip_is_the_plain_projector():
    projectors, features = random_projectors(with_biases=True), random_features(6)
    placed = made("clip", projectors)
    expected = unit(features @ projectors.image_weight.T + projectors.image_bias)
    np.testing.assert_allclose(placed.image_vectors(features), expected, atol=1e-6)
    assert placed.column == "features"
    assert placed.image_vectors(features).dtype == np.float32


def test_clip_worked_by_hand():
    weight = np.array([[2, 0, 0], [0, 0, 1]], dtype=np.float32)
    bias = np.array([0, 1], dtype=np.float32)
    placed = made("clip", Projectors(weight, weight, bias))
    # 2 * 2 + 0 = 4 and 2 + 1 = 3: a 3-4-5 triangle.
    np.testing.assert_allclose(
        placed.image_vectors(np.array([[2, 7, 2]], np.float32)), [[0.8, 0.6]], atol=1e-7
    )


def test_clip_of_a_head_that_is_not_linear_is_the_models_own_embedding():
    model = described(linear_image_head=False)
    placed = made("clip", random_projectors(), model=model)
    assert (placed.column, placed.weight, placed.bias) == ("raw_embedding", None, None)
    raw = random_features(3, dimension=8)
    np.testing.assert_allclose(placed.image_vectors(raw), unit(raw), atol=1e-6)


@pytest.mark.parametrize("band", [Band(k_top=2, k_bottom=1), Band(k_top=0, k_bottom=0)])
def test_isoclip_without_biases(band):
    projectors, features = random_projectors(), random_features(6)
    weight = slow_intra_modal(projectors.image_weight, projectors.text_weight, band)
    placed = made("isoclip", projectors, band=band)
    np.testing.assert_allclose(placed.image_vectors(features), unit(features @ weight.T), atol=1e-5)
    assert placed.bias is None


def test_isoclip_with_biases_is_the_projector_of_features_with_a_one_appended():
    projectors, features = random_projectors(with_biases=True), random_features(6)
    band = Band(k_top=2, k_bottom=1)
    weight = slow_intra_modal(
        np.column_stack([projectors.image_weight, projectors.image_bias]),
        np.column_stack([projectors.text_weight, projectors.text_bias]),
        band,
    )
    with_one = np.column_stack([features, np.ones(6)])
    placed = made("isoclip", projectors, band=band)
    np.testing.assert_allclose(placed.image_vectors(features), unit(with_one @ weight.T), atol=1e-5)
    assert placed.weight.shape == (8, FEATURES)
    assert placed.bias.shape == (8,)


def test_isoclip_with_a_text_bias_only():
    plain, biased = random_projectors(), random_projectors(with_biases=True)
    projectors = Projectors(plain.image_weight, plain.text_weight, None, biased.text_bias)
    text = np.column_stack([plain.text_weight, biased.text_bias])
    band = Band(k_top=1, k_bottom=1)
    weight = slow_intra_modal(projectors.image_weight, text, band)
    placed = made("isoclip", projectors, band=band)
    features = random_features(4)
    np.testing.assert_allclose(placed.image_vectors(features), unit(features @ weight.T), atol=1e-5)


def test_trunk_is_centred():
    placed = made("trunk", random_projectors())
    features = random_features(6)
    assert placed.needs_centre
    assert (placed.column, placed.weight, placed.bias) == ("features", None, None)
    np.testing.assert_allclose(placed.image_vectors(features), unit(features), atol=1e-6)
    mean = features.mean(axis=0)
    expected = unit(features - mean)
    centred = placed.centred_at(mean)
    np.testing.assert_allclose(centred.image_vectors(features), expected, atol=1e-6)
    assert placed.centre is None


def test_trunk_of_centred_features_needs_no_centre():
    assert not made(
        "trunk", random_projectors(), model=described(centred_features=True)
    ).needs_centre


def test_a_photo_in_the_middle_is_similar_to_nothing():
    placed = SpaceMap("trunk", "features", centre=np.ones(3, np.float32))
    np.testing.assert_array_equal(placed.image_vectors(np.ones((1, 3), np.float32)), [[0, 0, 0]])


def test_mapping_leaves_its_input_alone():
    features = random_features(4)
    before = features.copy()
    made("trunk", random_projectors()).centred_at(features.mean(axis=0)).image_vectors(features)
    np.testing.assert_array_equal(features, before)


def test_a_space_the_model_cannot_serve_is_refused():
    expected = (
        r"model 'fake' \(siglip\) cannot serve the space 'isoclip': "
        r"its image projector is not known; use clip or trunk"
    )
    with pytest.raises(UnsupportedSpaceError, match=expected):
        require_space(CLIP_AND_TRUNK, "isoclip")
    with pytest.raises(UnsupportedSpaceError, match=expected):
        made("isoclip", random_projectors(), model=CLIP_AND_TRUNK)
    require_space(CLIP_AND_TRUNK, "trunk")


def test_isoclip_without_a_band_is_the_callers_bug():
    with pytest.raises(ValueError, match="the isoclip space needs a band"):
        made("isoclip", random_projectors())


def test_isoclip_without_a_projector_is_the_callers_bug():
    projectors = Projectors(None, random_projectors().text_weight)
    with pytest.raises(ValueError, match="no known image projector"):
        made("isoclip", projectors, band=Band(k_top=1, k_bottom=1))


@pytest.mark.parametrize("with_biases", [False, True])
def test_text_vectors(with_biases):
    projectors, features = random_projectors(with_biases=with_biases), random_features(3)
    expected = features @ projectors.text_weight.T
    if with_biases:
        expected = expected + projectors.text_bias
    np.testing.assert_allclose(text_vectors(features, projectors), unit(expected), atol=1e-6)


def test_encoded_columns():
    features, raw = random_features(2), random_features(2, dimension=8)
    assert encoded_column(EncodedImages(features), "features") is features
    assert encoded_column(EncodedImages(features, raw), "raw_embedding") is raw
    with pytest.raises(ValueError, match="the encoder gave no raw_embedding"):
        encoded_column(EncodedImages(features), "raw_embedding")


# The band


def test_the_users_band_comes_before_the_published_one():
    published = described(band=Band(k_top=3, k_bottom=2))
    asked = Band(k_top=1, k_bottom=0)
    assert resolved_band(published, random_projectors(), asked=asked) == (asked, False)


def test_the_published_band_comes_before_the_default():
    published = described(band=Band(k_top=3, k_bottom=2))
    assert resolved_band(published, random_projectors()) == (published.band, False)


def test_the_default_band_is_of_the_rank():
    # Rank 8: the top 30 % and bottom 10 %, rounded down.
    assert resolved_band(MODEL, random_projectors()) == (Band(k_top=2, k_bottom=0), True)
    assert default_band(8) == Band(k_top=2, k_bottom=0)


def test_a_bias_can_raise_the_rank():
    weight = np.array([[1, 0], [0, 0]], dtype=np.float32)
    bias = np.array([0, 1], dtype=np.float32)
    asked = Band(k_top=1, k_bottom=0)
    biased = Projectors(weight, weight, bias, bias)
    assert resolved_band(MODEL, biased, asked=asked) == (asked, False)
    with pytest.raises(InputError, match="rank 1"):
        resolved_band(MODEL, Projectors(weight, weight), asked=asked)


@pytest.mark.parametrize(("k_top", "k_bottom"), [(8, 0), (0, 8), (5, 3), (100, 100)])
def test_a_band_that_leaves_nothing_is_refused(k_top, k_bottom):
    expected = rf"removes {k_top} \+ {k_bottom} singular values leaves nothing of rank 8"
    with pytest.raises(InputError, match=expected):
        resolved_band(MODEL, random_projectors(), asked=Band(k_top=k_top, k_bottom=k_bottom))


def test_a_model_without_the_space_has_no_band():
    assert resolved_band(CLIP_AND_TRUNK, Projectors(None, np.eye(2, dtype="f4"))) == (None, False)


# Digests


def test_a_maps_digest_changes_with_all_but_its_centre():
    projectors = random_projectors(with_biases=True)
    bands = (Band(k_top=1, k_bottom=1), Band(k_top=1, k_bottom=2))
    maps = [
        made("clip", projectors),
        made("clip", random_projectors(with_biases=True, seed=6)),
        made("clip", random_projectors()),
        made("trunk", projectors),
        made("trunk", projectors, model=described(centred_features=True)),
        *(made("isoclip", projectors, band=band) for band in bands),
    ]
    assert len({placed.digest for placed in maps}) == len(maps)
    assert maps[0].digest == made("clip", random_projectors(with_biases=True)).digest
    assert maps[3].digest == maps[3].centred_at(np.ones(FEATURES, np.float32)).digest


def test_a_projectors_digest_changes_with_each_array():
    plain, biased = random_projectors(), random_projectors(with_biases=True)
    arrays = (plain.image_weight, plain.text_weight, biased.image_bias, biased.text_bias)
    variants = [
        Projectors(*arrays),
        Projectors(None, *arrays[1:]),
        Projectors(*arrays[:2], None, arrays[3]),
        Projectors(*arrays[:3]),
        Projectors(*arrays[:2], arrays[3], arrays[2]),
        Projectors(arrays[1], arrays[0], *arrays[2:]),
    ]
    assert len({projectors_digest(projectors) for projectors in variants}) == len(variants)
    in_other_order = Projectors(np.asfortranarray(arrays[0]), *arrays[1:])
    assert projectors_digest(in_other_order) == projectors_digest(variants[0])


def test_normalised_vectors_have_unit_length():
    for space in ("clip", "trunk"):
        vectors = made(space, random_projectors()).image_vectors(random_features(5))
        np.testing.assert_allclose(vectors, normalised(vectors), atol=1e-6)


def test_a_band_for_a_model_without_projector_is_refused():
    only_clip = MODEL.model_copy(update={"spaces": ("clip",)})
    band = Band(k_top=1, k_bottom=1)
    with pytest.raises(InputError, match="has no projector to narrow; leave out --band"):
        resolved_band(only_clip, random_projectors(), asked=band)


# The semantic space


def random_axes(n_axes=3, *, seed=9):
    rows = np.linalg.qr(np.random.default_rng(seed).standard_normal((8, n_axes)))[0].T
    return np.ascontiguousarray(rows, dtype=np.float32)


def slow_semantic(raw_embedding, axes, centre=None):
    """P (unit(z) - centre) of one raw embedding, made unit, in float64."""
    embedding = raw_embedding.astype(np.float64) / np.linalg.norm(raw_embedding)
    along = axes.astype(np.float64) @ (embedding if centre is None else embedding - centre)
    return along / np.linalg.norm(along)


def raw_embeddings(kind, features):
    """What each kind of model makes of features, and its map of the space `clip`."""
    if kind == "no-linear-head":
        model = described(embedding_dim=8, linear_image_head=False)
        return features[:, :8], features[:, :8], made("clip", random_projectors(), model=model)
    projectors = random_projectors(with_biases=kind == "bias")
    raw = features.astype(np.float64) @ projectors.image_weight.T
    if kind == "bias":
        raw = raw + projectors.image_bias
    return raw, features, made("clip", projectors)


KINDS = pytest.mark.parametrize("kind", ["linear-head", "bias", "no-linear-head"])


@KINDS
@given(seed=st.integers(0, 2**32 - 1), n_axes=st.integers(1, 8))
def test_images_are_compared_along_the_axes(kind, seed, n_axes):
    raw, stored, clip = raw_embeddings(kind, random_features(5, seed=seed))
    axes = random_axes(n_axes, seed=seed)
    placed = clip.along(axes)
    vectors = placed.image_vectors(stored)
    expected = np.array([slow_semantic(row, axes) for row in raw])
    np.testing.assert_allclose(vectors @ vectors.T, expected @ expected.T, atol=1e-5)
    assert (placed.space, placed.column, placed.needs_centre) == ("semantic", clip.column, False)


@KINDS
def test_centred_images_and_texts_leave_a_mean_each(kind):
    raw, stored, clip = raw_embeddings(kind, random_features(6))
    axes, texts = random_axes(), normalised(random_features(4, seed=2, dimension=8))
    placed = clip.along(axes, text_centre=texts.mean(axis=0))
    assert placed.needs_centre
    units = unit(raw)
    placed = placed.centred_at(units.mean(axis=0).astype(np.float32))
    expected = [slow_semantic(row, axes, units.mean(axis=0)) for row in raw]
    np.testing.assert_allclose(placed.image_vectors(stored), expected, atol=1e-5)
    expected = [slow_semantic(row, axes, texts.mean(axis=0)) for row in texts]
    np.testing.assert_allclose(placed.text_vectors(texts), expected, atol=1e-5)


def test_texts_lie_along_the_axes_as_images_do():
    texts = normalised(random_features(4, dimension=8))
    axes = random_axes()
    placed = made("clip", random_projectors()).along(axes)
    expected = [slow_semantic(row, axes) for row in texts]
    np.testing.assert_allclose(placed.text_vectors(texts), expected, atol=1e-6)
    assert placed.takes_texts


def test_texts_in_the_clip_space_stay_as_they_are():
    texts = normalised(random_features(4, dimension=8))
    np.testing.assert_allclose(made("clip", random_projectors()).text_vectors(texts), texts)


def test_texts_have_no_place_among_trunk_features():
    placed = made("trunk", random_projectors())
    assert not placed.takes_texts
    with pytest.raises(ValueError, match="texts have no place in the space 'trunk'"):
        placed.text_vectors(np.ones((1, 8), np.float32))


def test_what_lies_across_all_axes_is_similar_to_nothing():
    axes = np.array([[0, 0, 1]], np.float32)
    placed = SpaceMap("clip", "raw_embedding").along(axes)
    np.testing.assert_array_equal(placed.image_vectors(np.array([[3, 4, 0]], np.float32)), [[0]])


def test_the_semantic_space_without_axes_is_the_callers_bug():
    with pytest.raises(ValueError, match="the semantic space needs axes"):
        made("semantic", random_projectors())
    require_space(CLIP_AND_TRUNK, "semantic")


def test_a_semantic_maps_digest_changes_with_axes_and_centring():
    clip = made("clip", random_projectors())
    centre = np.ones(8, np.float32)
    maps = [
        clip,
        clip.along(random_axes()),
        clip.along(random_axes(2)),
        clip.along(random_axes(seed=10)),
        clip.along(random_axes(), text_centre=centre),
        clip.along(random_axes(), text_centre=2 * centre),
        made("clip", random_projectors(seed=6)).along(random_axes()),
    ]
    assert len({placed.digest for placed in maps}) == len(maps)
    assert maps[1].digest == clip.along(random_axes()).digest
