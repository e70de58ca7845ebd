"""One score in [0, 1] that falls with every kind of damage."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from indexer.pixels import PixelMeasures, measure_pixels
from indexer.scoring import pixel_quality as module
from indexer.scoring.pixel_quality import PIXEL_CUES, pixel_quality, pixel_terms
from tests.makers import photos as makers

GOOD = {
    "width": 768,
    "height": 512,
    "sharpness": 3.0,
    "coarse_sharpness": 3.3,
    "contrast": 0.2,
    "brightness": 0.45,
    "shadows_clipped": 0.0,
    "highlights_clipped": 0.0,
    "noise": 0.0,
    "blockiness": 0.0,
    "jpeg_quality": np.nan,
    "tonal_entropy": 7.5,
    "white_background": 0.0,
    "black_background": 0.0,
}
NOT_IN_VERSION_1 = ("coarse_sharpness", "tonal_entropy", "white_background", "black_background")


def columns(**changes):
    return {name: np.atleast_1d(np.float32(value)) for name, value in {**GOOD, **changes}.items()}


def quality(**changes):
    return pixel_quality(columns(**changes))


def term(name, **changes):
    return pixel_terms(columns(**changes))[name][0]


def quality_of(pixels, jpeg_quality=np.nan):
    measures = measure_pixels(pixels)
    fields = {name: getattr(measures, name) for name in PixelMeasures.__slots__}
    height, width = pixels.shape[:2]
    return quality(**fields, width=width, height=height, jpeg_quality=jpeg_quality)[0]


def slow_quality(m):
    """The documented formula for one photo, in plain Python."""
    white, black = m["white_background"], m["black_background"]
    share = max(1 - white - black, 0.05)
    luma = min(max((m["brightness"] - white) / share, 0), 1)
    square = (m["contrast"] ** 2 + m["brightness"] ** 2 - white) / share
    contrast = math.sqrt(min(max(square - luma**2, 0), 0.25))
    bright = min(max((m["highlights_clipped"] - white) / share, 0), 1)
    dark = min(max((m["shadows_clipped"] - black) / share, 0), 1)
    mixing = -sum(part * math.log2(part) for part in (white, black, share) if part > 0)
    entropy = min(max((m["tonal_entropy"] - mixing) / share, 0), 8)
    gain = 0.45 / max(luma, 0.1)
    fine, coarse = 10 ** m["sharpness"] / share, 10 ** m["coarse_sharpness"] / share
    noise_in_fine, noise_in_coarse = module._NOISE_IN_LAPLACIAN, module._NOISE_IN_COARSE
    detail = module._FINE_SHARE * math.log10(
        max(fine - noise_in_fine * m["noise"] ** 2, 0) + module._ROUNDING_IN_LAPLACIAN
    ) + (1 - module._FINE_SHARE) * math.log10(
        max(coarse - noise_in_coarse * m["noise"] ** 2, 0) + module._ROUNDING_IN_COARSE
    )
    excess = detail + 2 * module._SHARPNESS_GAIN * math.log10(gain) - module._HALF_SHARPNESS
    masked = min(m["noise"] * math.sqrt(noise_in_fine / fine), 1)
    visible = m["noise"] * masked * min(max(gain, 1), 2) / module._HALF_NOISE
    fog = contrast / module._FOG_CONTRAST
    side = min(m["width"], m["height"])
    has_tables = not math.isnan(m["jpeg_quality"])
    tables = (m["jpeg_quality"] / 100) ** module._TABLES_EXPONENT if has_tables else 1
    half = module._HALF_BLOCKINESS
    product = (
        (1 / (1 + math.exp(-excess / module._SHARPNESS_WIDTH)))
        * (1 / (1 + visible**module._NOISE_EXPONENT))
        * (1 - math.exp(-((luma / module._DARK_LUMA) ** 2)))
        * (1 - dark)
        * (1 - math.exp(-(((1 - luma) / module._BRIGHT_MARGIN) ** 2)))
        * (1 - bright) ** module._HIGHLIGHTS_EXPONENT
        * (1 - math.exp(-fog))
        * 2 ** (module._TONES_EXPONENT * (entropy - 8))
        * min(tables, 1 / (1 + m["blockiness"] / half))
        * (1 + (module._FULL_SIDE / side) ** 2) ** -module._RESOLUTION_EXPONENT
    )
    return product**module._SCALE_EXPONENT


PHOTOS = st.fixed_dictionaries(
    {
        "width": st.integers(1, 10_000),
        "height": st.integers(1, 10_000),
        "sharpness": st.floats(-2, 5),
        "coarse_sharpness": st.floats(-2, 5),
        "contrast": st.floats(0, 0.5),
        "brightness": st.floats(0, 1),
        "shadows_clipped": st.floats(0, 1),
        "highlights_clipped": st.floats(0, 1),
        "noise": st.floats(0, 100),
        "blockiness": st.floats(0, 50),
        "jpeg_quality": st.one_of(st.just(np.nan), st.floats(1, 100)),
        "tonal_entropy": st.floats(0, 8),
        "white_background": st.floats(0, 0.5),
        "black_background": st.floats(0, 0.5),
    }
)


@given(PHOTOS)
def test_the_score_is_the_documented_product(measures):
    stored = {name: float(np.float32(value)) for name, value in measures.items()}
    score = quality(**measures)
    assert score.dtype == np.float32
    assert 0.0 <= score[0] <= 1.0
    assert score[0] == pytest.approx(slow_quality(stored), abs=1e-6)


def test_every_cue_is_needed():
    for name in PIXEL_CUES:
        with pytest.raises(KeyError, match=name):
            pixel_quality({key: value for key, value in columns().items() if key != name})


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("compression", {"jpeg_quality": 100}, 1.0),
        ("compression", {"jpeg_quality": 50}, 0.5**module._TABLES_EXPONENT),
        ("compression", {"blockiness": module._HALF_BLOCKINESS}, 0.5),
        # The grid of a file from before is worse than the tables of this one.
        ("compression", {"blockiness": 2.7, "jpeg_quality": 90}, 0.25),
        ("darkness", {"shadows_clipped": 0.5}, 0.5 * (1 - math.exp(-((0.45 / 0.13) ** 2)))),
        ("tones", {"tonal_entropy": 8.0}, 1.0),
        ("tones", {"tonal_entropy": 6.0}, 0.25**module._TONES_EXPONENT),
        ("noise", {}, 1.0),
    ],
)  # fmt: skip
def test_single_terms_by_hand(name, change, expected):
    assert term(name, **change) == pytest.approx(expected**module._SCALE_EXPONENT, rel=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        {"sharpness": -2.0, "coarse_sharpness": -2.0},
        {"contrast": 0.0},
        {"brightness": 0.0},
        {"brightness": 1.0},
        {"noise": 60.0},
        {"jpeg_quality": 5},
    ],
)
def test_one_hopeless_measure_is_enough(change):
    assert quality(**change)[0] < 0.4 * quality()[0]


def test_what_an_older_release_did_not_measure_counts_as_typical():
    old = dict.fromkeys(NOT_IN_VERSION_1, np.nan)
    typical = {
        "coarse_sharpness": 3.0 + module._TYPICAL_COARSE_EXCESS,
        "tonal_entropy": module._TYPICAL_ENTROPY,
    }
    assert quality(**old) == pytest.approx(quality(**typical), rel=1e-6)


def test_a_cut_out_is_judged_by_itself():
    """Half of the picture is white: the other half's measures, mixed with it, by hand."""
    alone = quality(contrast=0.2, brightness=0.4, tonal_entropy=7.0)
    mixed = {
        "brightness": 0.5 * 0.4 + 0.5,
        "contrast": math.sqrt(0.5 * (0.2**2 + 0.4**2) + 0.5 - 0.7**2),
        "highlights_clipped": 0.5,
        "tonal_entropy": 0.5 * 7.0 + 1.0,
        "sharpness": 3.0 + math.log10(0.5),
        "coarse_sharpness": 3.3 + math.log10(0.5),
    }
    assert quality(**mixed, white_background=0.5) == pytest.approx(alone, rel=1e-4)
    assert quality(**mixed)[0] < 0.8 * alone[0]


def test_rows_do_not_depend_on_each_other():
    together = {name: np.repeat(value, 3) for name, value in columns().items()}
    together["sharpness"] = np.array([1.0, 2.0, 3.0], np.float32)
    alone = [quality(sharpness=value)[0] for value in (1.0, 2.0, 3.0)]
    np.testing.assert_array_equal(pixel_quality(together), np.array(alone))


def test_no_photos_give_no_scores():
    assert pixel_quality({name: np.empty(0, np.float32) for name in GOOD}).shape == (0,)


PICTURE = makers.drawn_photo(3, width=384, height=256)


@pytest.mark.parametrize(
    ("spoil", "levels"),
    [
        (makers.blurred, makers.BLUR_SIGMAS),
        (makers.noisy, makers.NOISE_SIGMAS),
        (makers.downscaled, makers.DOWNSCALE_FACTORS),
        (makers.exposed, makers.EXPOSURE_STOPS),
        (makers.exposed, [-stops for stops in makers.EXPOSURE_STOPS]),
        (makers.recompressed, makers.JPEG_QUALITIES[:5]),
    ],
)
def test_the_score_falls_along_a_ladder_of_damage(spoil, levels):
    scores = [quality_of(PICTURE)] + [quality_of(spoil(PICTURE, level)) for level in levels]
    assert (np.diff(scores) < 0).all(), scores


def test_the_score_falls_with_compression_that_the_file_tells():
    pairs = [(makers.recompressed(PICTURE, q), q) for q in makers.JPEG_QUALITIES]
    scores = [quality_of(PICTURE)] + [quality_of(pixels, q) for pixels, q in pairs]
    assert (np.diff(scores) < 0).all(), scores


def test_the_score_falls_with_fewer_pixels():
    sizes = [(384, 256), (256, 171), (128, 85), (64, 43)]
    scores = [quality_of(np.asarray(Image.fromarray(PICTURE).resize(size))) for size in sizes]
    assert (np.diff(scores) < 0).all(), scores


def test_a_cut_out_on_white_is_not_taken_for_overexposed():
    y, x = np.mgrid[0:256, 0:384]
    scene = np.clip(makers.drawn_photo(3, width=384, height=256), 20, 230)
    is_subject = np.hypot(x - 192, y - 128) < 90
    cut_out = np.where(is_subject[..., None], scene, 255).astype(np.uint8)
    overexposed = makers.exposed(PICTURE, 4)
    assert measure_pixels(cut_out).white_background == pytest.approx(
        1 - is_subject.mean(), abs=0.02
    )
    assert measure_pixels(overexposed).white_background == 0.0
    assert quality_of(cut_out) > 0.7 * quality_of(scene)
    assert quality_of(overexposed) < 0.7 * quality_of(cut_out)
