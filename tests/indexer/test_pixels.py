"""Measures of known pictures, and hashes that hold still when they should."""

import math

import numpy as np
import pytest
from PIL import Image
from scipy.fft import dctn
from scipy.signal import convolve2d

from indexer.pixels import luma_thumbnail, measure_pixels, perceptual_hash, pixel_hash
from tests.makers.photos import (
    JPEG_QUALITIES,
    blurred,
    drawn_photo,
    image_file,
    recompressed,
    to_bytes,
)


def grey(values):
    return np.repeat(to_bytes(np.asarray(values))[..., None], 3, axis=2)


def bits_apart(a, b):
    return ((a ^ b) & (2**64 - 1)).bit_count()


def test_a_flat_picture():
    measures = measure_pixels(grey(np.full((40, 50), 51)))
    assert measures.sharpness == -2.0
    assert measures.brightness == pytest.approx(0.2)
    assert (measures.contrast, measures.noise, measures.blockiness) == (0.0, 0.0, 0.0)
    assert (measures.shadows_clipped, measures.highlights_clipped) == (0.0, 0.0)


def test_exposure_of_a_picture_in_four_parts():
    measures = measure_pixels(grey(np.repeat([0, 0, 100, 255], 20) * np.ones((30, 1))))
    assert measures.shadows_clipped == 0.5
    assert measures.highlights_clipped == 0.25
    assert measures.brightness == pytest.approx((100 + 255) / 4 / 255)
    assert measures.contrast == pytest.approx(np.std([0, 0, 100, 255]) / 255)


def test_sharpness_equals_a_convolution_with_the_laplacian():
    picture = np.random.default_rng(1).integers(0, 256, (60, 80))
    laplacian = convolve2d(picture, [[0, 1, 0], [1, -4, 1], [0, 1, 0]], mode="valid")
    expected = math.log10(laplacian.var() + 0.01)
    assert measure_pixels(grey(picture)).sharpness == pytest.approx(expected, abs=1e-4)


def test_sharpness_falls_with_blur():
    sharp = drawn_photo(3, width=300, height=200)
    measured = [measure_pixels(blurred(sharp, sigma)).sharpness for sigma in (0, 1, 2, 4)]
    assert measured == sorted(measured, reverse=True)


def test_large_pictures_are_measured_at_the_standard_scale_whatever_their_size():
    drawn = Image.fromarray(drawn_photo(3, width=672, height=448))
    larger, largest = (
        measure_pixels(np.asarray(drawn.resize((672 * n, 448 * n), Image.Resampling.LANCZOS)))
        for n in (2, 3)
    )
    assert largest.sharpness == pytest.approx(larger.sharpness, abs=0.15)
    assert largest.noise == pytest.approx(larger.noise, abs=0.2)
    assert largest.brightness == pytest.approx(larger.brightness, abs=0.005)


def test_noise_equals_a_convolution_averaged_over_blocks():
    picture = np.random.default_rng(1).integers(60, 180, (60, 90))
    mask = [[1, -2, 1], [-2, 4, -2], [1, -2, 1]]
    deviations = np.abs(convolve2d(picture, mask, mode="valid"))
    blocks = [
        deviations[top : top + 16, left : left + 16].mean()
        for top in range(0, 58 - 15, 16)
        for left in range(0, 88 - 15, 16)
    ]
    expected = np.quantile(blocks, 0.1) / (6.0 * math.sqrt(2.0 / math.pi))
    assert measure_pixels(grey(picture)).noise == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("sigma", [2.0, 5.0, 12.0, 25.0])
def test_noise_is_found_beside_texture_and_clipped_sky(sigma):
    generator = np.random.default_rng(2)
    scene = np.full((448, 600), 120.0)
    scene[:, 300:450] = generator.uniform(60, 180, (448, 150))
    scene[:, 450:] = 300.0
    noise = generator.normal(0, sigma, scene.shape)
    assert measure_pixels(grey(scene + noise)).noise == pytest.approx(sigma, rel=0.15)


def test_a_gradient_is_no_noise():
    assert measure_pixels(grey(np.linspace(20, 230, 448) * np.ones((448, 1)))).noise < 0.3


def test_blockiness_grows_with_compression():
    sharp = drawn_photo(3, width=300, height=200)
    measured = [measure_pixels(recompressed(sharp, q)).blockiness for q in JPEG_QUALITIES]
    assert measure_pixels(sharp).blockiness < 0.2
    assert measured[-1] > 0.5
    assert measured[:4] == sorted(measured[:4])


def test_weak_compression_shows_in_the_grid():
    sharp = drawn_photo(3, width=300, height=200)
    assert measure_pixels(recompressed(sharp, 90)).blockiness > measure_pixels(sharp).blockiness


def test_coarse_sharpness_is_that_of_a_quarter_of_the_scale():
    picture = np.random.default_rng(1).integers(0, 256, (60, 80))
    means = np.rint(picture.reshape(15, 4, 20, 4).mean(axis=(1, 3)))
    laplacian = convolve2d(means, [[0, 1, 0], [1, -4, 1], [0, 1, 0]], mode="valid")
    expected = math.log10(laplacian.var() + 0.01)
    assert measure_pixels(grey(picture)).coarse_sharpness == pytest.approx(expected, abs=0.02)


def test_coarse_sharpness_tells_strong_blur_from_stronger():
    sharp = drawn_photo(3, width=600, height=400)
    measured = [measure_pixels(blurred(sharp, sigma)).coarse_sharpness for sigma in (3, 5, 8, 12)]
    assert np.diff(measured).max() < -0.2


def test_tonal_entropy_counts_tones():
    assert measure_pixels(grey(np.full((40, 50), 51))).tonal_entropy == 0.0
    four = grey(np.repeat([0, 80, 160, 240], 20) * np.ones((30, 1)))
    assert measure_pixels(four).tonal_entropy == pytest.approx(2.0)
    every_level = grey(np.arange(1024).reshape(32, 32) // 2 % 256)
    assert measure_pixels(every_level).tonal_entropy == pytest.approx(7.0)  # every other pixel


@pytest.mark.parametrize("stops", [-3, -1, -0.5, 0.5, 1, 3])
def test_a_change_of_exposure_never_adds_tones(stops):
    sharp = drawn_photo(3, width=300, height=200)
    changed = to_bytes(255.0 * (sharp / 255.0) * 2.0 ** (stops / 2.2))
    assert measure_pixels(changed).tonal_entropy <= measure_pixels(sharp).tonal_entropy + 1e-9


@pytest.mark.parametrize(
    ("level", "background", "other"),
    [(255, "white_background", "black_background"), (0, "black_background", "white_background")],
)
def test_a_flat_background_around_a_subject(level, background, other):
    picture = np.full((100, 200), level)
    picture[20:80, 50:150] = 120
    picture[40:60, 90:110] = level  # a hole in the subject is none
    measures = measure_pixels(grey(picture))
    assert getattr(measures, background) == pytest.approx(1 - 6000 / 20000)
    assert getattr(measures, other) == 0.0


@pytest.mark.parametrize(
    "picture",
    [
        pytest.param(np.full((60, 60), 255), id="nothing-else"),
        pytest.param(np.vstack([np.full((30, 60), 255), np.full((30, 60), 120)]), id="a-white-sky"),
        pytest.param(
            np.pad(np.full((40, 40), 249.0), 10, constant_values=244), id="not-quite-white"
        ),
    ],
)
def test_what_is_no_background(picture):
    assert measure_pixels(grey(picture)).white_background == 0.0


def test_an_overexposed_photo_has_no_background_however_white_its_border():
    picture = np.pad(
        drawn_photo(3, width=100, height=80), ((40, 40), (40, 40), (0, 0)), mode="edge"
    )
    bright = np.clip(picture * 8.0, 0, 255)
    bright[:30], bright[-30:], bright[:, :30], bright[:, -30:] = 255, 255, 255, 255
    assert measure_pixels(to_bytes(bright)).white_background == 0.0


def test_blockiness_does_not_depend_on_the_phase_of_the_grid():
    spoiled = recompressed(drawn_photo(3, width=300, height=200), 8)
    whole, shifted = measure_pixels(spoiled), measure_pixels(spoiled[3:, 5:])
    assert shifted.blockiness == pytest.approx(whole.blockiness, rel=0.1)


@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 9, 3), (3, 3, 3), (1, 5000, 3), (4000, 3, 3)])
def test_tiny_and_extreme_pictures_are_measured(shape):
    measures = measure_pixels(np.full(shape, 128, np.uint8))
    assert measures.brightness == pytest.approx(128 / 255)
    assert measures.noise == 0.0


def test_pixel_hash_sees_pixels_and_size_and_nothing_else():
    pixels = drawn_photo(1)
    digest = pixel_hash(pixels, 96, 64)
    assert len(digest) == 32
    assert pixel_hash(np.asfortranarray(pixels), 96, 64) == digest
    assert pixel_hash(pixels, 192, 128) != digest
    assert pixel_hash(pixels.reshape(96, 64, 3), 96, 64) != digest
    changed = pixels.copy()
    changed[0, 0, 0] ^= 1
    assert pixel_hash(changed, 96, 64) != digest


def test_perceptual_hash_equals_a_dct():
    pixels = np.asarray(Image.fromarray(drawn_photo(5)).resize((32, 32)))
    luma = np.asarray(Image.fromarray(pixels).convert("L"), dtype=float)
    frequencies = dctn(luma, norm=None)[1:9, 1:9].ravel() / 4.0
    expected = sum(1 << (63 - n) for n in np.flatnonzero(frequencies > np.median(frequencies)))
    assert perceptual_hash(pixels) & (2**64 - 1) == expected


@pytest.mark.parametrize("seed", range(4))
def test_perceptual_hash_survives_resizing_and_recompression(seed):
    pixels = drawn_photo(seed, width=300, height=200)
    small = np.asarray(Image.fromarray(pixels).resize((150, 100)))
    original = perceptual_hash(pixels)
    assert bits_apart(original, perceptual_hash(small)) <= 2
    assert bits_apart(original, perceptual_hash(recompressed(pixels, 30))) <= 4


def test_perceptual_hashes_of_different_photos_are_far_apart():
    hashes = [perceptual_hash(drawn_photo(seed)) for seed in range(12)]
    distances = [bits_apart(a, b) for n, a in enumerate(hashes) for b in hashes[:n]]
    assert min(distances) >= 12
    assert all(-(2**63) <= each < 2**63 for each in hashes)


def test_pictures_of_one_colour_hash_to_zero():
    assert {perceptual_hash(grey(np.full((37, 53), level))) for level in (0, 77, 255)} == {0}


def test_measures_of_a_decoded_file_equal_those_of_its_pixels():
    from indexer.decode import decode_photo

    pixels = drawn_photo(1)
    assert measure_pixels(decode_photo(image_file(pixels), min_side=64).pixels) == measure_pixels(
        pixels
    )


def test_a_thumbnail_is_luma_squashed_to_a_square():
    halves = np.zeros((120, 640, 3), np.uint8)
    halves[:, 320:] = (255, 0, 0)
    thumbnail = luma_thumbnail(halves)
    assert thumbnail.shape == (32, 32)
    assert thumbnail.dtype == np.uint8
    # ITU-R BT.601: a red of 255 has a luma of 76.
    assert set(thumbnail[:, :15].ravel()) == {0}
    assert set(thumbnail[:, 17:].ravel()) == {76}


@pytest.mark.parametrize("seed", range(3))
def test_thumbnails_of_a_photo_and_of_its_quarter_are_nearly_the_same(seed):
    photo = Image.fromarray(drawn_photo(seed, width=640, height=480))
    quarter = photo.resize((160, 120), Image.Resampling.LANCZOS)
    first, second = (luma_thumbnail(np.asarray(image)).astype(int) for image in (photo, quarter))
    assert np.abs(first - second).mean() < 1.5
