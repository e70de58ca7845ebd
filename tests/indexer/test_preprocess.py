"""The same input as the model's makers gave it, in bounded memory."""

import tracemalloc

import numpy as np
import pytest
from PIL import Image

from indexer.preprocess import decoding_side, preprocess, preprocessing_fingerprint
from schemas.model import Preprocessing
from tests.makers.photos import drawn_photo

SIZES = [(500, 375), (375, 500), (333, 333), (224, 224), (224, 301), (100, 41), (700, 90), (1, 1)]
RESIZES = ("shortest", "longest", "squash")
INTERPOLATIONS = ("bicubic", "bilinear")


def made(resize="shortest", interpolation="bicubic", height=224, width=224, **fields):
    zeros = (0.0, 0.0, 0.0)
    return Preprocessing(
        height=height, width=width, resize=resize, interpolation=interpolation,
        mean=zeros, std=(1.0, 1.0, 1.0), **fields,
    )  # fmt: skip


def largest_difference(a, b):
    return int(np.abs(a.astype(int) - b.astype(int)).max())


def resize_then_crop(pixels, side):
    """The plain way: scale the whole picture, then cut out the middle."""
    image = Image.fromarray(pixels)
    short = min(image.size)
    size = [int(side * n / short) for n in image.size]
    whole = image.resize(size, Image.Resampling.BICUBIC)
    left, top = (round((n - side) / 2.0) for n in whole.size)
    return np.asarray(whole.crop((left, top, left + side, top + side)))


@pytest.mark.parametrize("size", SIZES)
def test_shortest_equals_resize_then_crop(size):
    pixels = drawn_photo(1, width=size[0], height=size[1])
    allowed = 2 if max(size) > 4 * min(size) else 0
    assert largest_difference(preprocess(pixels, made()), resize_then_crop(pixels, 224)) <= allowed


def test_longest_pads_both_sides_with_the_fill():
    pixels = np.full((50, 100, 3), 200, np.uint8)
    framed = preprocess(pixels, made("longest", height=20, width=20, fill=7))
    np.testing.assert_array_equal(framed[:5], 7)
    np.testing.assert_array_equal(framed[5:15], 200)
    np.testing.assert_array_equal(framed[15:], 7)


def test_squash_ignores_the_aspect_ratio():
    pixels = np.zeros((10, 90, 3), np.uint8)
    pixels[:, 45:] = 255
    squashed = preprocess(pixels, made("squash", height=8, width=8))
    assert squashed[:, :3].max() < 20
    assert squashed[:, 5:].min() > 235


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("shape", [(2, 65000, 3), (65000, 2, 3), (1, 1, 3)])
def test_extreme_shapes_stay_within_memory(shape, resize):
    pixels = np.full(shape, 90, np.uint8)
    tracemalloc.start()
    result = preprocess(pixels, made(resize))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert result.shape == (224, 224, 3)
    assert set(np.unique(result)) <= {0, 90}
    assert peak < 8 * 2**20


def test_a_wide_panorama_keeps_its_centre():
    pixels = np.zeros((2, 65000, 3), np.uint8)
    pixels[:, 32499:32501] = 255
    centre = preprocess(pixels, made())
    assert centre[:, 90:134].min() > 200


def test_the_input_is_not_changed():
    pixels = drawn_photo(1)
    preprocess(pixels, made())
    np.testing.assert_array_equal(pixels, drawn_photo(1))


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_anything_but_rgb_bytes_is_refused(pixels):
    with pytest.raises(ValueError, match=r"pixels must be uint8 \(h, w, 3\), got"):
        preprocess(pixels, made())


def test_the_fingerprint_is_stable_and_sees_every_field():
    assert preprocessing_fingerprint(made()) == preprocessing_fingerprint(made())
    assert len(preprocessing_fingerprint(made())) == 16
    others = [
        made("squash"), made(interpolation="bilinear"), made(height=225), made(width=225),
        made(fill=1), made().model_copy(update={"mean": (0.5, 0.5, 0.5)}),
        made().model_copy(update={"std": (0.5, 0.5, 0.5)}),
    ]  # fmt: skip
    assert len({preprocessing_fingerprint(each) for each in (made(), *others)}) == 8


def test_decoding_side_covers_both_sides_of_the_target():
    assert decoding_side(made(height=224, width=336)) == 336


@pytest.mark.slow
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("target", [(224, 224), (320, 192), (64, 65)])
def test_equal_to_open_clip(target, resize, interpolation):
    transform = pytest.importorskip("open_clip.transform")
    if resize == "shortest" and target[0] != target[1] and interpolation != "bicubic":
        pytest.skip("open_clip 3.3 resizes bicubically here whatever is asked")
    settings = transform.PreprocessCfg(
        size=target, mean=(0.0,) * 3, std=(1.0,) * 3, interpolation=interpolation,
        resize_mode=resize, fill_color=31,
    )  # fmt: skip
    theirs = transform.image_transform_v2(settings, is_train=False)
    ours = made(resize, interpolation, height=target[0], width=target[1], fill=31)
    for seed, (width, height) in enumerate(SIZES):
        pixels = drawn_photo(seed, width=width, height=height)
        expected = np.rint(theirs(Image.fromarray(pixels)).numpy().transpose(1, 2, 0) * 255.0)
        allowed = 2 if max(width, height) > 4 * min(width, height) else 0
        assert largest_difference(preprocess(pixels, ours), expected) <= allowed


@pytest.mark.parametrize("resize", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("width", [300, 4000], ids=["photo", "panorama"])
def test_only_the_extent_of_a_picture_is_taken(resize, width):
    drawn = drawn_photo(4, width=width, height=200)
    framed = np.pad(drawn, ((13, 15), (12, 14), (0, 0)), mode="edge")
    taken = preprocess(framed, made(resize), extent=(12, 13, 12 + width, 213))
    alone = preprocess(drawn, made(resize))
    # Not equal: the filter reaches over the border, and rounds in another place.
    assert np.abs(taken.astype(int) - alone).mean() < 0.2
    whole = preprocess(framed, made(resize))
    assert np.abs(whole.astype(int) - alone).mean() > 1
