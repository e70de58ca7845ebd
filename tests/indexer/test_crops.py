"""Windows and the whole, worked out by hand."""

import tracemalloc

import numpy as np
import pytest
from PIL import Image

from indexer.crops import quality_crops, window_positions
from schemas.model import Preprocessing
from tests.makers.photos import drawn_photo


def made(height=224, width=224, interpolation="bicubic"):
    zeros = (0.0, 0.0, 0.0)
    return Preprocessing(
        height=height, width=width, resize="shortest", interpolation=interpolation,
        mean=zeros, std=(1.0, 1.0, 1.0),
    )  # fmt: skip


def positions_as_numbers(width, height):
    """A picture whose red and green tell where a pixel lies, modulo 256, and blue which 256."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x % 256, y % 256, x // 256 + 16 * (y // 256)], axis=2).astype(np.uint8)


@pytest.mark.parametrize(
    ("length", "padded", "dropped"),
    [
        (224, (0,), (0,)),
        (225, (0, 128), (0,)),
        (351, (0, 128), (0,)),
        (352, (0, 128), (0, 128)),
        (448, (0, 128, 256), (0, 128)),
        (672, (0, 128, 256, 384, 512), (0, 128, 256, 384)),
        (796, (0, 128, 256, 384, 512, 640), (0, 128, 256, 384, 512)),
    ],
)
def test_windows_begin_every_128_pixels(length, padded, dropped):
    assert window_positions(length, side=224, edges="pad") == padded
    assert window_positions(length, side=224, edges="drop") == dropped


@pytest.mark.parametrize("length", [1, 50, 223])
def test_a_short_side_has_one_window_that_reaches_beyond_it(length):
    assert window_positions(length, side=224, edges="pad") == (0,)


@pytest.mark.parametrize(("length", "edges"), [(223, "drop"), (0, "pad"), (0, "drop")])
def test_a_length_without_a_window_is_refused(length, edges):
    with pytest.raises(ValueError, match=f"no window of 224 pixels fits into {length}"):
        window_positions(length, side=224, edges=edges)


def test_the_step_follows_the_input_of_the_model():
    assert window_positions(672, side=336, edges="drop") == (0, 192)
    assert window_positions(32, side=16, edges="pad") == (0, 9, 18)


@pytest.mark.parametrize(
    ("width", "height", "padded", "dropped"),
    [
        pytest.param(448, 448, 3 * 3 + 1, 2 * 2 + 1, id="square"),
        pytest.param(672, 448, 5 * 3 + 1, 4 * 2 + 1, id="3:2"),
        pytest.param(448, 672, 3 * 5 + 1, 2 * 4 + 1, id="2:3"),
        pytest.param(1344, 896, 5 * 3 + 1, 4 * 2 + 1, id="3:2-twice-as-large"),
        pytest.param(796, 448, 6 * 3 + 1, 5 * 2 + 1, id="16:9"),
        # Not enlarged with pad, 300 = 224 + 76; enlarged to 672 x 448 with drop.
        pytest.param(300, 200, 2 * 1 + 1, 4 * 2 + 1, id="300x200"),
        pytest.param(224, 224, 1 + 1, 2 * 2 + 1, id="as-large-as-a-window"),
        pytest.param(100, 100, 1 + 1, 2 * 2 + 1, id="smaller-than-a-window"),
        # 9000 x 450 is 20:1: the middle 2,240 of 8,960 pixels.
        pytest.param(9000, 450, 17 * 3 + 1, 16 * 2 + 1, id="panorama"),
        pytest.param(450, 9000, 3 * 17 + 1, 2 * 16 + 1, id="tall-panorama"),
    ],
)
def test_crops_of_a_photo_are_counted_by_hand(width, height, padded, dropped):
    pixels = np.zeros((height, width, 3), np.uint8)
    assert quality_crops(pixels, made(), edges="pad").shape == (padded, 224, 224, 3)
    assert quality_crops(pixels, made(), edges="drop").shape == (dropped, 224, 224, 3)


def test_dropped_edges_leave_exactly_the_whole_windows():
    pixels = positions_as_numbers(672, 448)
    crops = quality_crops(pixels, made(), edges="drop")
    expected = [
        pixels[top : top + 224, left : left + 224]
        for top in (0, 128)
        for left in (0, 128, 256, 384)
    ]
    np.testing.assert_array_equal(crops[:-1], expected)


def test_padded_edges_drop_no_pixel_and_mirror_beyond_it():
    pixels = positions_as_numbers(672, 448)
    crops = quality_crops(pixels, made(), edges="pad")
    seen = np.zeros((448, 672), bool)
    for number, window in enumerate(crops[:-1]):
        top, left = 128 * (number // 5), 128 * (number % 5)
        inside = pixels[top : top + 224, left : left + 224]
        np.testing.assert_array_equal(window[: len(inside), : inside.shape[1]], inside)
        seen[top : top + 224, left : left + 224] = True
    assert seen.all()
    # The last window begins at 512, 256: 160 columns and 192 rows of it are the photo's.
    last = crops[14]
    np.testing.assert_array_equal(last[:, 160:], last[:, 96:160][:, ::-1])
    np.testing.assert_array_equal(last[192:], last[160:192][::-1])


def test_a_small_photo_is_mirrored_and_not_enlarged():
    pixels = positions_as_numbers(300, 200)
    crops = quality_crops(pixels, made(), edges="pad")
    np.testing.assert_array_equal(crops[0][:200], pixels[:, :224])
    np.testing.assert_array_equal(crops[0][200:], pixels[199:175:-1, :224])
    np.testing.assert_array_equal(crops[1][:200, :172], pixels[:, 128:])


@pytest.mark.parametrize("edges", ["pad", "drop"])
def test_the_whole_is_scaled_as_torch_interpolates(edges):
    # Twice as large: each pixel is the mean of four.
    pixels = drawn_photo(4, width=448, height=448)
    whole = quality_crops(pixels, made(), edges=edges)[-1]
    blocks = pixels.reshape(224, 2, 224, 2, 3).mean(axis=(1, 3))
    assert np.abs(whole - blocks).max() <= 1
    # Three times as wide: the middle of three columns, as nothing filters against aliasing.
    wide = drawn_photo(4, width=672, height=448)
    middle = wide[:, 1::3].reshape(224, 2, 224, 3).mean(axis=1)
    assert np.abs(quality_crops(wide, made(), edges=edges)[-1] - middle).max() <= 1


def test_large_photos_are_scaled_to_two_windows_on_the_short_side():
    pixels = drawn_photo(4, width=900, height=600)
    scaled = np.asarray(Image.fromarray(pixels).resize((672, 448), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(
        quality_crops(pixels, made(), edges="drop")[0], scaled[:224, :224]
    )


def test_the_extent_of_a_reduced_decode_counts():
    pixels = drawn_photo(4, width=500, height=460)
    whole = quality_crops(pixels[:448, :448], made(), edges="drop")
    part = quality_crops(pixels, made(), edges="drop", extent=(0, 0, 448, 448))
    np.testing.assert_array_equal(part, whole)


def test_inputs_that_are_not_square_have_windows_of_their_shape():
    crops = quality_crops(
        np.zeros((400, 600, 3), np.uint8), made(height=100, width=200), edges="pad"
    )
    # 600 x 400 becomes 400 x 267: columns 0, 114, 228; rows 0, 57, 114, 171.
    assert crops.shape == (3 * 4 + 1, 100, 200, 3)


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 40_000, 3), (40_000, 2, 3), (3, 100_000, 3)])
@pytest.mark.parametrize("edges", ["pad", "drop"])
def test_extreme_shapes_stay_within_bounds(shape, edges):
    tracemalloc.start()
    crops = quality_crops(np.full(shape, 90, np.uint8), made(), edges=edges)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(crops) <= 52
    assert peak < 40e6
    assert (crops == 90).all()
