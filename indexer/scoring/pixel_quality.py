"""A quality score from pixel measures, for models whose magnitude says nothing about quality."""

import numpy as np

from indexer.arrays import DoubleArray, FloatArray

# The mean luma that exposure and sharpness are referred to: middle grey in sRGB is 0.46.
_MIDDLE_GREY = 0.45
# Below this mean luma nothing is gained back: quantisation, not light, shapes what is left.
_DARKEST_GAIN_LUMA = 0.1
# Noise is as visible in a bright picture as in a normal one, and twice as much in a dark one.
_MAX_NOISE_GAIN = 2.0

# White noise of deviation s adds 20 s^2 to the variance of a Laplacian. The measured noise is
# that of the calmest blocks, after a scaling that weakens its mask more than the Laplacian: 30
# cancels what noise of 3 to 40 levels added to the 24 Kodak pictures.
_NOISE_IN_LAPLACIAN = 30.0
_FLAT_VARIANCE = 1e-2

# log10 of the variance at which the sharpness term is one half, and the width of the step. Kodak
# pictures lie at 2.3 to 3.3; blurred by 1.5 pixels of 512 they lie at 0.9 to 1.7.
_HALF_SHARPNESS, _SHARPNESS_WIDTH = 2.2, 0.6
# Grey levels of noise, at 448 pixels and not masked by detail, that halve the score: plain grain.
_HALF_NOISE = 4.0
# Mean luma, and distance of it from white, at which the exposure terms reach 1 - 1/e. They pass
# 0.9 at 0.27 and 0.77: photographers' choices between those lose nothing.
_DARK_LUMA, _BRIGHT_MARGIN = 0.18, 0.15
# Contrast relative to mean luma that reaches 1 - 1/e: fog. Photos lie at 0.25 to 0.75.
_FOG_CONTRAST = 0.15
# libjpeg's quality at which the compression term reaches 1 - 1/e of its range; 90 costs 4 % of
# the score, 75 12 %, 50 30 %.
_COARSE_JPEG_QUALITY = 60.0
_BEST_JPEG_QUALITY = 100.0
# Steps on the 8-pixel grid twice as large as beside it halve the score.
_HALF_BLOCKINESS = 1.0


def pixel_quality(  # noqa: PLR0913 - one argument for each stored column
    *,
    sharpness: FloatArray,
    contrast: FloatArray,
    brightness: FloatArray,
    shadows_clipped: FloatArray,
    highlights_clipped: FloatArray,
    noise: FloatArray,
    blockiness: FloatArray,
    jpeg_quality: FloatArray,
) -> FloatArray:
    """Combine pixel measures into one quality score per photo.

    The product of five terms in [0, 1]: sharpness net of noise, noise, exposure, contrast and
    compression. One bad term is enough for a bad score, as it is for a viewer. Sharpness,
    contrast and noise are taken relative to mean luma, so that only the exposure term judges
    how much light there was.

    Parameters
    ----------
    sharpness, contrast, brightness, shadows_clipped, highlights_clipped, noise, blockiness : \
float of shape (n,)
        As `indexer.pixels.PixelMeasures` defines them.
    jpeg_quality : float of shape (n,)
        1..100; NaN where the file is no JPEG, which costs nothing.

    Returns
    -------
    float32 of shape (n,)
        In [0, 1]; higher is better. Each row depends on its own measures alone.

    Notes
    -----
    Ours, not a published index. The terms and constants were set on distortion ladders of the
    24 Kodak pictures (`tests/benchmarks/quality_ladders.py`). It knows nothing of content: a
    sharp picture of nothing scores high, a portrait before a soft background lower. Damage finer
    than the measuring scale (a short side of 448) does not count, nor the block grid of a JPEG
    that was decoded at a reduced scale: there only `jpeg_quality` tells.
    """
    luma = np.asarray(brightness, dtype=np.float64)
    total = 10.0 ** np.asarray(sharpness, dtype=np.float64)
    deviation = np.asarray(noise, dtype=np.float64)
    reference = np.maximum(luma, _DARKEST_GAIN_LUMA)
    score: DoubleArray = (
        _sharpness_term(total, deviation, gain=_MIDDLE_GREY / reference)
        * _noise_term(
            total, deviation, gain=np.clip(_MIDDLE_GREY / reference, 1.0, _MAX_NOISE_GAIN)
        )
        * _exposure_term(luma)
        * (1.0 - np.asarray(shadows_clipped, dtype=np.float64))
        * (1.0 - np.asarray(highlights_clipped, dtype=np.float64))
        * -np.expm1(-contrast / reference / _FOG_CONTRAST)
        * _compression_term(blockiness, jpeg_quality)
    )
    return np.clip(score, 0.0, 1.0).astype(np.float32)


def _sharpness_term(total: DoubleArray, noise: DoubleArray, *, gain: DoubleArray) -> DoubleArray:
    """Rise from 0 to 1 with log10 of the variance that is not noise."""
    detail = np.maximum(total - _NOISE_IN_LAPLACIAN * np.square(noise), _FLAT_VARIANCE)
    excess = np.log10(detail * np.square(gain)) - _HALF_SHARPNESS
    term: DoubleArray = 1.0 / (1.0 + np.exp(-excess / _SHARPNESS_WIDTH))
    return term


def _noise_term(total: DoubleArray, noise: DoubleArray, *, gain: DoubleArray) -> DoubleArray:
    """Fall with noise, as far as it stands out from detail.

    Detail hides noise from viewers, and is what the estimate takes for noise where no block is
    calm. Both say that noise counts by its share of the Laplacian's deviation.
    """
    share = np.minimum(noise * np.sqrt(_NOISE_IN_LAPLACIAN / total), 1.0)
    term: DoubleArray = 1.0 / (1.0 + noise * share * gain / _HALF_NOISE)
    return term


def _exposure_term(luma: DoubleArray) -> DoubleArray:
    not_dark = -np.expm1(-np.square(luma / _DARK_LUMA))
    not_bright = -np.expm1(-np.square((1.0 - luma) / _BRIGHT_MARGIN))
    term: DoubleArray = not_dark * not_bright
    return term


def _compression_term(blockiness: FloatArray, jpeg_quality: FloatArray) -> DoubleArray:
    """Take the worse of two witnesses: the file's tables, and the grid left in the pixels."""
    known = np.nan_to_num(np.asarray(jpeg_quality, dtype=np.float64), nan=_BEST_JPEG_QUALITY)
    tables = np.expm1(-known / _COARSE_JPEG_QUALITY)
    tables = tables / np.expm1(-_BEST_JPEG_QUALITY / _COARSE_JPEG_QUALITY)
    grid = 1.0 / (1.0 + np.square(np.asarray(blockiness, dtype=np.float64) / _HALF_BLOCKINESS))
    term: DoubleArray = np.minimum(tables, grid)
    return term
