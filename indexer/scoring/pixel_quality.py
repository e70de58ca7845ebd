"""A quality score from pixel measures, for models whose magnitude says nothing about quality."""

from collections.abc import Mapping

import numpy as np

from indexer.arrays import DoubleArray, FloatArray

PIXEL_CUES = (
    "width",
    "height",
    "sharpness",
    "coarse_sharpness",
    "contrast",
    "brightness",
    "shadows_clipped",
    "highlights_clipped",
    "noise",
    "blockiness",
    "jpeg_quality",
    "tonal_entropy",
    "white_background",
    "black_background",
)
"""Columns that the pixel quality is made of."""

# What photos that were measured by an older release count as: the typical Kodak picture. They
# miss no point for what is not known of them, and gain none.
_TYPICAL_COARSE_EXCESS, _TYPICAL_ENTROPY = 0.45, 7.2

# The mean luma that exposure and sharpness are referred to: middle grey in sRGB is 0.46.
_MIDDLE_GREY = 0.45
# Below this mean luma nothing is gained back: quantisation, not light, shapes what is left.
_DARKEST_GAIN_LUMA = 0.1
# A cut-out has at least this share of its picture for itself, however much background there is.
_MIN_SUBJECT = 0.05

# White noise of deviation s adds 20 s^2 to the variance of a Laplacian, and a sixteenth of that at
# a quarter of the scale. The measured noise is that of the calmest blocks, after a scaling that
# weakens its mask more than the Laplacian; hence more.
_NOISE_IN_LAPLACIAN, _NOISE_IN_COARSE = 55.0, 9.5
# Rounding to bytes, in grey levels squared.
_ROUNDING_IN_LAPLACIAN, _ROUNDING_IN_COARSE = 2.0, 0.3

# Share of the fine scale in sharpness; log10 of the variance at which the term is one half, at
# middle grey, and the width of the step; how far light is taken out of it.
_FINE_SHARE = 0.73
_HALF_SHARPNESS, _SHARPNESS_WIDTH = 2.83, 0.94
_SHARPNESS_GAIN = 1.05
# Short side, in pixels, below which the resolution term falls, and its slope.
_FULL_SIDE, _RESOLUTION_EXPONENT = 400.0, 0.75
# Grey levels of noise, not masked by detail, that halve the score. Noise is as visible in a bright
# picture as in a normal one, and twice as much in a dark one.
_HALF_NOISE, _NOISE_EXPONENT = 10.0, 0.66
_MAX_NOISE_GAIN = 2.0
# Mean luma, and distance of it from white, at which the exposure terms reach 1 - 1/e.
_DARK_LUMA, _BRIGHT_MARGIN = 0.13, 0.18
# Exponent of the share of the subject that is not clipped white.
_HIGHLIGHTS_EXPONENT = 0.35
# Contrast that reaches 1 - 1/e: fog. Photos lie at 0.1 to 0.35.
_FOG_CONTRAST = 0.024
# Exponent of the effective number of tones, as a share of 256.
_TONES_EXPONENT = 0.32
# Exponent of libjpeg's quality, as a share of 100.
_TABLES_EXPONENT = 1.2
# Excess of steps on the grid at which the other witness is one half. A JPEG of quality 80 that was
# saved as PNG has about 0.15: were that dear, blur, which wipes it out, would pay.
_HALF_BLOCKINESS = 0.9
# Brings the score of good photos to about 0.55; orders nothing anew.
_SCALE_EXPONENT = 0.5


def pixel_quality(measures: Mapping[str, FloatArray]) -> FloatArray:
    """Combine pixel measures into one quality score per photo.

    The product of the terms of `pixel_terms`. One bad term is enough for a bad score, as it is
    for a viewer.

    Parameters
    ----------
    measures : mapping of str to float of shape (n,)
        By name, all of `PIXEL_CUES`, as `indexer.pixels.PixelMeasures` defines them. NaN for what
        is not known: `jpeg_quality` of a file that is no JPEG, and what older releases did not
        measure; neither costs anything.

    Returns
    -------
    float32 of shape (n,)
        In [0, 1]; higher is better. Each row depends on its own measures alone.

    Raises
    ------
    KeyError
        If a measure is missing.

    Notes
    -----
    Ours, not a published index. The constants were fitted on distortion ladders of half of the 24
    Kodak pictures, 36 Flickr8k photos and 30 sample photos, checked on the other half, and some
    then moved by hand with all of them in view (`tests/benchmarks/quality_ladders.py`). It knows
    nothing of content: a sharp picture of nothing scores high, a portrait before a soft background
    lower. Damage finer than the measuring scale (a short side of 448) does not count, nor the block
    grid of a JPEG that was decoded at a reduced scale: there only `jpeg_quality` tells.
    """
    terms = np.stack(list(pixel_terms(measures).values()))
    score: DoubleArray = terms.astype(np.float64).prod(axis=0)
    return np.clip(score, 0.0, 1.0).astype(np.float32)


def pixel_terms(measures: Mapping[str, FloatArray]) -> dict[str, DoubleArray]:
    """Return what each kind of damage leaves of a photo's quality.

    Parameters
    ----------
    measures : mapping of str to float of shape (n,)
        As for `pixel_quality`.

    Returns
    -------
    dict of str to float64 of shape (n,)
        Terms in [0, 1], 1 where nothing is lost:

        - sharpness: of two scales, net of noise. The fine one tells slight blur, the coarse one
          tells strong blur from stronger.
        - noise: as far as it stands out from detail.
        - darkness, brightness: too little and too much light, and clipping.
        - contrast: fog.
        - tones: how many tones are used. Exposure that is changed after the shot merges tones,
          whichever way it goes.
        - compression: the worse of the file's tables and the grid left in the pixels.
        - resolution: too few pixels.

        Light, contrast, sharpness and tones are those of the subject where a cut-out stands on
        flat white or black.
    """
    known = _completed(measures)
    subject = _subject(known)
    gain = _MIDDLE_GREY / np.maximum(subject["brightness"], _DARKEST_GAIN_LUMA)
    terms = {
        "sharpness": _sharpness(subject, gain),
        "noise": _noise(subject, gain),
        "darkness": _darkness(subject),
        "brightness": _brightness(subject),
        "contrast": -np.expm1(-subject["contrast"] / _FOG_CONTRAST),
        "tones": 2.0 ** (_TONES_EXPONENT * (subject["tonal_entropy"] - 8.0)),
        "compression": _compression(known),
        "resolution": _resolution(known),
    }
    return {name: term**_SCALE_EXPONENT for name, term in terms.items()}


def _completed(measures: Mapping[str, FloatArray]) -> dict[str, DoubleArray]:
    """Put what counts as harmless where a measure is not known."""
    known = {name: np.asarray(measures[name], dtype=np.float64) for name in PIXEL_CUES}
    harmless: dict[str, DoubleArray | float] = {
        "coarse_sharpness": known["sharpness"] + _TYPICAL_COARSE_EXCESS,
        "tonal_entropy": _TYPICAL_ENTROPY,
        "white_background": 0.0,
        "black_background": 0.0,
    }
    filled = {
        name: np.where(np.isnan(known[name]), value, known[name])
        for name, value in harmless.items()
    }
    return {**known, **filled}


def _subject(known: Mapping[str, DoubleArray]) -> dict[str, DoubleArray]:
    """Return the measures of what is in front of a flat background.

    Mean, variance and entropy of a whole are those of its parts by their shares; a background is
    of one level, 0 or 1, and has no detail.
    """
    white, black = known["white_background"], known["black_background"]
    share = np.maximum(1.0 - white - black, _MIN_SUBJECT)
    mean = np.clip((known["brightness"] - white) / share, 0.0, 1.0)
    square = (np.square(known["contrast"]) + np.square(known["brightness"]) - white) / share
    mixing = sum(_information(part) for part in (white, black, share))
    return {
        "brightness": mean,
        "contrast": np.sqrt(np.clip(square - np.square(mean), 0.0, 0.25)),
        "highlights_clipped": np.clip((known["highlights_clipped"] - white) / share, 0.0, 1.0),
        "shadows_clipped": np.clip((known["shadows_clipped"] - black) / share, 0.0, 1.0),
        "tonal_entropy": np.clip((known["tonal_entropy"] - mixing) / share, 0.0, 8.0),
        "fine": 10.0 ** known["sharpness"] / share,
        "coarse": 10.0 ** known["coarse_sharpness"] / share,
        "noise": known["noise"],
    }


def _information(share: DoubleArray) -> DoubleArray:
    return -share * np.log2(np.where(share > 0, share, 1.0))


def _sharpness(subject: Mapping[str, DoubleArray], gain: DoubleArray) -> DoubleArray:
    """Rise from 0 to 1 with log10 of the variances that are not noise."""
    power = np.square(subject["noise"])
    fine = np.maximum(subject["fine"] - _NOISE_IN_LAPLACIAN * power, 0.0) + _ROUNDING_IN_LAPLACIAN
    coarse = np.maximum(subject["coarse"] - _NOISE_IN_COARSE * power, 0.0) + _ROUNDING_IN_COARSE
    detail = _FINE_SHARE * np.log10(fine) + (1.0 - _FINE_SHARE) * np.log10(coarse)
    excess = detail + 2.0 * _SHARPNESS_GAIN * np.log10(gain) - _HALF_SHARPNESS
    term: DoubleArray = 1.0 / (1.0 + np.exp(-excess / _SHARPNESS_WIDTH))
    return term


def _noise(subject: Mapping[str, DoubleArray], gain: DoubleArray) -> DoubleArray:
    """Fall with noise, as far as it stands out from detail.

    Detail hides noise from viewers, and is what the estimate takes for noise where no block is
    calm. Both say that noise counts by its share of the Laplacian's deviation.
    """
    share = np.minimum(subject["noise"] * np.sqrt(_NOISE_IN_LAPLACIAN / subject["fine"]), 1.0)
    visible = subject["noise"] * share * np.clip(gain, 1.0, _MAX_NOISE_GAIN) / _HALF_NOISE
    term: DoubleArray = 1.0 / (1.0 + visible**_NOISE_EXPONENT)
    return term


def _darkness(subject: Mapping[str, DoubleArray]) -> DoubleArray:
    term: DoubleArray = -np.expm1(-np.square(subject["brightness"] / _DARK_LUMA))
    return term * (1.0 - subject["shadows_clipped"])


def _brightness(subject: Mapping[str, DoubleArray]) -> DoubleArray:
    margin = (1.0 - subject["brightness"]) / _BRIGHT_MARGIN
    term: DoubleArray = -np.expm1(-np.square(margin))
    return term * (1.0 - subject["highlights_clipped"]) ** _HIGHLIGHTS_EXPONENT


def _compression(known: Mapping[str, DoubleArray]) -> DoubleArray:
    """Take the worse of two witnesses: the file's tables, and the grid left in the pixels."""
    quality = known["jpeg_quality"]
    tables = np.where(np.isnan(quality), 1.0, quality / 100.0) ** _TABLES_EXPONENT
    grid = 1.0 / (1.0 + known["blockiness"] / _HALF_BLOCKINESS)
    term: DoubleArray = np.minimum(tables, grid)
    return term


def _resolution(known: Mapping[str, DoubleArray]) -> DoubleArray:
    side = np.minimum(known["width"], known["height"])
    term: DoubleArray = (1.0 + np.square(_FULL_SIDE / side)) ** -_RESOLUTION_EXPONENT
    return term
