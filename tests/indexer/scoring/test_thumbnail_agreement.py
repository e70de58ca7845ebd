"""Copies lie on their originals however they were changed; other photos do not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps

from indexer.pixels import luma_thumbnail
from indexer.scoring.thumbnail_agreement import (
    copy_evidence,
    has_frame,
    overlay,
    thumbnail_vectors,
    turned,
)
from tests.makers.photos import drawn_photo, recompressed

SEEDS = range(6)
PHOTOS = [Image.fromarray(drawn_photo(seed, width=320, height=240)) for seed in SEEDS]


def thumbnails(images):
    return np.stack([luma_thumbnail(np.asarray(image)) for image in images])


def cropped(image, left, top, right, bottom):
    width, height = image.size
    return image.crop((left * width, top * height, right * width, bottom * height))


def with_text(image):
    pixels = np.asarray(image).copy()
    pixels[-24:] = 0
    pixels[-16:-8, 20:300] = 255
    return Image.fromarray(pixels)


ALTERED = {
    "resaved": lambda image: Image.fromarray(recompressed(np.asarray(image), 40)),
    "a-quarter-as-wide": lambda image: image.resize((80, 60), Image.Resampling.LANCZOS),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.7),
    "less-contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.7),
    "cropped": lambda image: cropped(image, 0.08, 0.0, 0.98, 0.9),
    "framed": lambda image: ImageOps.expand(image, 14, fill=(255, 255, 255)),
    "captioned": with_text,
}


@pytest.mark.parametrize("alter", ALTERED.values(), ids=ALTERED)
def test_copies_agree_in_both_directions(alter):
    first, second = thumbnails(PHOTOS), thumbnails(map(alter, PHOTOS))
    there, back = overlay(first, second), overlay(second, first)
    assert there.agreements.min() >= 0.85
    assert (there.orientations == 0).all()
    # The two directions are tried in turn; of equal ends one may be found by a shorter way.
    np.testing.assert_allclose(there.agreements, back.agreements, atol=0.03)


@pytest.mark.parametrize("orientation", range(8))
def test_copies_are_found_however_they_lie(orientation):
    first = thumbnails(PHOTOS)
    second = np.ascontiguousarray(turned(first, orientation))
    found = overlay(first, second)
    np.testing.assert_allclose(found.agreements, 1.0)
    upright = [
        turned(second[[row]], int(orientation))
        for row, orientation in enumerate(found.orientations)
    ]
    np.testing.assert_array_equal(np.concatenate(upright), first)


def test_turning_mirrors_flips_and_transposes():
    pictures = np.arange(4, dtype=np.uint8).reshape(1, 2, 2)
    assert turned(pictures, 0).tolist() == [[[0, 1], [2, 3]]]
    assert turned(pictures, 1).tolist() == [[[1, 0], [3, 2]]]
    assert turned(pictures, 2).tolist() == [[[2, 3], [0, 1]]]
    assert turned(pictures, 4).tolist() == [[[0, 2], [1, 3]]]
    assert turned(pictures, 5).tolist() == [[[1, 3], [0, 2]]]


def test_other_photos_do_not_agree():
    first, second = np.triu_indices(len(SEEDS), 1)
    shown = thumbnails(PHOTOS)
    assert overlay(shown[first], shown[second]).agreements.max() < 0.6


def test_a_moved_subject_before_a_moved_camera_is_no_copy():
    def scene(left, shift):
        pixels = np.asarray(PHOTOS[0].crop((shift, 0, 280 + shift, 240))).copy()
        pixels[60:200, left : left + 90] = np.asarray(PHOTOS[1])[60:200, 100:190]
        return Image.fromarray(pixels)

    found = overlay(thumbnails([scene(20, 0)]), thumbnails([scene(150, 12)]))
    assert found.agreements[0] < 0.75


def test_areas_tell_what_was_cut_off_and_what_was_added():
    first = thumbnails(PHOTOS)
    crops = overlay(first, thumbnails([cropped(image, 0.05, 0.05, 0.95, 0.95) for image in PHOTOS]))
    np.testing.assert_allclose(crops.areas, 1 / 0.81, rtol=0.03)
    frames = overlay(first, thumbnails([ImageOps.expand(image, 16) for image in PHOTOS]))
    np.testing.assert_allclose(frames.areas, 320 * 240 / (352 * 272), rtol=0.04)
    same = overlay(first, first)
    np.testing.assert_array_equal(same.areas, 1.0)


def test_a_negative_is_no_copy():
    first = thumbnails(PHOTOS)
    assert overlay(first, 255 - first).agreements.max() < 0.7


@pytest.mark.parametrize("level", [0, 128, 255])
def test_plain_surfaces_agree_with_nothing(level):
    plain = np.full((1, 32, 32), level, np.uint8)
    first = thumbnails(PHOTOS[:1])
    for one, other in ((plain, plain), (plain, first), (first, plain)):
        assert overlay(one, other).agreements.tolist() == [0.0]
    assert not thumbnail_vectors(plain).any()


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_pair_is_judged_by_itself_alone(seed):
    generator = np.random.default_rng(seed)
    shown = thumbnails([*PHOTOS, *map(ALTERED["cropped"], PHOTOS)])
    first, second = generator.integers(0, len(shown), (2, 300))
    together = overlay(shown[first], shown[second])
    some = generator.choice(300, 7, replace=False)
    alone = overlay(shown[first[some]], shown[second[some]])
    np.testing.assert_array_equal(alone.agreements, together.agreements[some])
    np.testing.assert_array_equal(alone.orientations, together.orientations[some])
    np.testing.assert_array_equal(alone.areas, together.areas[some])


def test_no_pairs_have_no_agreements():
    nothing = np.empty((0, 32, 32), np.uint8)
    assert len(overlay(nothing, nothing).agreements) == 0
    assert thumbnail_vectors(nothing).shape == (0, 256)


@pytest.mark.parametrize("orientation", range(8))
def test_vectors_are_those_of_any_orientation(orientation):
    first = thumbnails(PHOTOS)
    vectors = thumbnail_vectors(first)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)
    np.testing.assert_allclose(
        thumbnail_vectors(np.ascontiguousarray(turned(first, orientation))), vectors, atol=1e-6
    )


def test_vectors_of_resized_copies_are_close_and_those_of_others_are_not():
    first = thumbnail_vectors(thumbnails(PHOTOS))
    smaller = thumbnail_vectors(thumbnails(map(ALTERED["a-quarter-as-wide"], PHOTOS)))
    similarities = smaller @ first.T
    assert np.diag(similarities).min() > 0.98
    assert (similarities - 2 * np.eye(len(first))).max() < 0.9


@pytest.mark.parametrize("colour", [(255, 255, 255), (0, 0, 0), (255, 245, 200)])
@pytest.mark.parametrize("width", [12, 24, 36])
def test_frames_are_seen(colour, width):
    framed = [ImageOps.expand(image, width, fill=colour) for image in PHOTOS]
    assert has_frame(thumbnails(framed)).all()


def on_white(side):
    """A disc that fills the middle of a white picture."""
    y, x = np.mgrid[:200, :200] - 99.5
    inside = np.hypot(x, y) < side
    return Image.fromarray(np.where(inside[..., None], 90, 255).repeat(3, axis=2).astype(np.uint8))


def test_what_is_no_frame():
    bar = np.asarray(PHOTOS[0]).copy()
    bar[:24], bar[-24:] = 0, 0
    plain = Image.new("RGB", (64, 64), (200, 200, 200))
    pictures = [*PHOTOS, on_white(95), on_white(60), Image.fromarray(bar), plain]
    assert not has_frame(thumbnails(pictures)).any()


def test_evidence_is_the_agreement_where_embeddings_are_alike():
    agreements = np.array([0.9, 0.9, 0.9, 0.9], np.float32)
    similarities = np.array([0.8, 0.5, 0.25, -0.3], np.float32)
    np.testing.assert_allclose(
        copy_evidence(agreements, similarities), [0.9, 0.9, 0.835, 0.77], rtol=1e-6
    )


@pytest.mark.parametrize("shape", [(2, 16, 16), (2, 32, 31), (2, 1024)])
def test_other_sizes_are_refused(shape):
    shown = np.zeros((2, 32, 32), np.uint8)
    with pytest.raises(ValueError, match=r"first must be \(n, 32, 32\), got shape"):
        overlay(np.zeros(shape, np.uint8), shown)
    with pytest.raises(ValueError, match=r"second must be \(n, 32, 32\), got shape"):
        overlay(shown, np.zeros(shape, np.uint8))
    with pytest.raises(ValueError, match=r"thumbnails must be \(n, 32, 32\), got shape"):
        thumbnail_vectors(np.zeros(shape, np.uint8))


def test_unequal_numbers_are_refused():
    with pytest.raises(ValueError, match="as many first as second, got 2 and 3"):
        overlay(np.zeros((2, 32, 32), np.uint8), np.zeros((3, 32, 32), np.uint8))
