"""One score in [0, 1] that falls with every kind of damage."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.pixels import PixelMeasures, measure_pixels
from indexer.scoring.pixel_quality import pixel_quality
from tests.makers import photos as makers

GOOD = {
    "sharpness": 3.0,
    "contrast": 0.2,
    "brightness": 0.45,
    "shadows_clipped": 0.0,
    "highlights_clipped": 0.0,
    "noise": 0.0,
    "blockiness": 0.0,
    "jpeg_quality": np.nan,
}


def quality(**changes):
    columns = {
        name: np.atleast_1d(np.float32(value)) for name, value in {**GOOD, **changes}.items()
    }
    return pixel_quality(**columns)


def quality_of(pixels, jpeg_quality=np.nan):
    measures = measure_pixels(pixels)
    fields = {name: getattr(measures, name) for name in PixelMeasures.__slots__}
    return quality(**fields, jpeg_quality=jpeg_quality)[0]


def test_a_good_photo_by_hand():
    sharp = 1 / (1 + np.exp(-0.8 / 0.6))  # (3.0 - 2.2) / 0.6, at middle grey
    light = (1 - np.exp(-((0.45 / 0.18) ** 2))) * (1 - np.exp(-((0.55 / 0.15) ** 2)))
    contrast = 1 - np.exp(-0.2 / 0.45 / 0.15)
    assert quality() == pytest.approx([sharp * light * contrast], rel=1e-5)


@pytest.mark.parametrize(
    ("change", "factor"),
    [
        ({"highlights_clipped": 0.25}, 0.75),
        ({"shadows_clipped": 0.5}, 0.5),
        ({"blockiness": 1.0}, 0.5),
        ({"jpeg_quality": 100}, 1.0),
        ({"jpeg_quality": 60}, (1 - np.exp(-1)) / (1 - np.exp(-100 / 60))),
        ({"jpeg_quality": 90, "blockiness": 3.0}, 0.1),
    ],
)
def test_single_terms_by_hand(change, factor):
    assert quality(**change) == pytest.approx(quality() * factor, rel=1e-5)


def test_noise_counts_by_its_share_of_the_detail():
    # 30 * 4**2 = 480 of 1000: the detail left is 520, and the noise that stands out is
    # 4 * sqrt(0.48) = 2.77 levels of the 4 that halve the score.
    left = 1 / (1 + np.exp(-(np.log10(520) - 2.2) / 0.6))
    before = 1 / (1 + np.exp(-(3.0 - 2.2) / 0.6))
    expected = quality() * left / before / (1 + np.sqrt(0.48))
    assert quality(noise=4.0) == pytest.approx(expected, rel=1e-5)


def test_light_alone_does_not_change_sharpness_or_contrast():
    # A third less light, with all differences scaled along: only the exposure term may move.
    dimmed = quality(brightness=0.3, contrast=0.2 / 1.5, sharpness=3.0 - 2 * np.log10(1.5))
    exposure = (1 - np.exp(-((0.3 / 0.18) ** 2))) / (1 - np.exp(-((0.45 / 0.18) ** 2)))
    assert dimmed == pytest.approx(quality() * exposure, rel=1e-4)


@pytest.mark.parametrize(
    "change", [{"sharpness": -2.0}, {"contrast": 0.0}, {"brightness": 0.0}, {"brightness": 1.0}]
)
def test_one_hopeless_measure_is_enough(change):
    assert quality(**change)[0] < 0.01


@given(
    st.fixed_dictionaries(
        {
            "sharpness": st.floats(-2, 6),
            "contrast": st.floats(0, 0.5),
            "brightness": st.floats(0, 1),
            "shadows_clipped": st.floats(0, 1),
            "highlights_clipped": st.floats(0, 1),
            "noise": st.floats(0, 100),
            "blockiness": st.floats(0, 50),
            "jpeg_quality": st.one_of(st.just(np.nan), st.floats(1, 100)),
        }
    )
)
def test_the_score_lies_in_the_unit_interval(measures):
    score = quality(**measures)
    assert score.dtype == np.float32
    assert 0.0 <= score[0] <= 1.0


def test_rows_do_not_depend_on_each_other():
    columns = {name: np.full(3, value, np.float32) for name, value in GOOD.items()}
    columns["sharpness"] = np.array([1.0, 2.0, 3.0], np.float32)
    together = pixel_quality(**columns)
    alone = [quality(sharpness=value)[0] for value in (1.0, 2.0, 3.0)]
    np.testing.assert_array_equal(together, np.array(alone))


def test_no_photos_give_no_scores():
    assert pixel_quality(**{name: np.empty(0, np.float32) for name in GOOD}).shape == (0,)


PICTURE = makers.drawn_photo(3, width=384, height=256)


@pytest.mark.parametrize(
    ("spoil", "levels"),
    [
        (makers.blurred, makers.BLUR_SIGMAS[:6]),
        (makers.noisy, makers.NOISE_SIGMAS),
        (makers.downscaled, makers.DOWNSCALE_FACTORS),
        (makers.exposed, makers.EXPOSURE_STOPS),
        (makers.exposed, [-stops for stops in makers.EXPOSURE_STOPS[1:]]),
    ],
)
def test_the_score_falls_along_a_ladder_of_damage(spoil, levels):
    scores = [quality_of(PICTURE)] + [quality_of(spoil(PICTURE, level)) for level in levels]
    assert (np.diff(scores) < 0).all(), scores


def test_the_score_falls_with_compression():
    pairs = [(makers.recompressed(PICTURE, q), q) for q in makers.JPEG_QUALITIES[1:]]
    scores = [quality_of(PICTURE)] + [quality_of(pixels, q) for pixels, q in pairs]
    assert (np.diff(scores) < 0).all(), scores
