"""What can be measured on the pixels alone: technical measures and hashes."""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from indexer.arrays import BoolArray, ByteArray, FloatArray, IntArray

ShortArray = npt.NDArray[np.int16]

_STANDARD_SIDE = 448
"""Short side, in pixels, at which sharpness, noise and exposure are measured."""

# Codecs and cameras leave a few levels of play at either end of the range.
_SHADOW_LEVEL, _HIGHLIGHT_LEVEL = 3, 252
# Variance of the Laplacian, in grey levels squared, that counts as none at all.
_FLAT_VARIANCE = 1e-2
# Blur of more than two pixels leaves nothing at the standard scale but the rounding to bytes; at a
# quarter of it the variance still falls from a blur of 6 pixels to one of 8.
_COARSE_FACTOR = 4

# Share of the border that a background covers: a cut-out may touch it, a blown sky ends on it.
_MIN_BACKGROUND_BORDER = 0.9
# Shares of a subject in which one channel, and two, are at their end. Of 151 overexposed pictures
# whose border is white all but one have more of the first, but so have bright colours. These have
# little of the second, and all their tones left: three more of the 15 sample photos that stand on
# white, and one of 92 overexposed pictures.
_MAX_LOST_SUBJECT = 0.1
_MAX_LOST_TWICE, _MIN_SUBJECT_ENTROPY = 0.08, 7.45

_NOISE_BLOCK = 16
_NOISE_SHARE = 0.1
# Mean levels of blocks in which noise is cut off. A white sky needs the larger margin: what noise
# of 50 levels leaves of it is 20 levels darker.
_DARKEST_BLOCK_LEVEL, _BRIGHTEST_BLOCK_LEVEL = 12.0, 215.0
# Norm of Immerkaer's mask times the mean absolute deviation of a unit normal variable.
_NOISE_SCALE = 6.0 * math.sqrt(2.0 / math.pi)

_JPEG_BLOCK = 8
_GRID_SIDE = 512
# Larger steps are edges of the scene. Counted in full they drown the grid: only below quality 60
# did it show, now at 95 (24 Kodak pictures).
_LARGEST_GRID_STEP = 4

_HASH_SIDE, _HASH_FREQUENCIES = 32, 8
_THUMBNAIL_SIDE = 32


@dataclass(frozen=True, slots=True)
class PixelMeasures:
    """Technical measures of one photo, on luma at a short side of at most 448 pixels.

    Parameters
    ----------
    sharpness, coarse_sharpness : float
        log10 of the variance of the Laplacian in grey levels squared, at this scale and at a
        quarter of it; -2 (flat) to about 5. Fine noise raises the first as detail does.
    contrast : float
        Standard deviation of luma, in [0, 0.5] of full scale.
    brightness : float
        Mean luma, in [0, 1].
    shadows_clipped, highlights_clipped : float
        Shares of pixels within 3 levels of black and of white, in [0, 1].
    noise : float
        Standard deviation of noise, in grey levels.
    blockiness : float
        Excess of luma steps on the 8-pixel grid that JPEG leaves, relative to steps beside it:
        0 none, 1 twice as large. Steps above 4 levels count as 4. Measured at the decoded scale,
        in the central 512 pixels.
    tonal_entropy : float
        Entropy of the histogram of the green channel, in bits, in [0, 8], over every other pixel
        both ways at the decoded scale. Whatever maps levels to levels can only lower it: edits
        of exposure merge levels, and so does clipping.
    white_background, black_background : float
        Shares of the picture that are a flat background of exact white, or black, connected to
        the border and around most of it, in [0, 1]: that of a cut-out or product shot.
    """

    sharpness: float
    contrast: float
    brightness: float
    shadows_clipped: float
    highlights_clipped: float
    noise: float
    blockiness: float
    coarse_sharpness: float
    tonal_entropy: float
    white_background: float
    black_background: float


def measure_pixels(pixels: ByteArray) -> PixelMeasures:
    """Measure sharpness, exposure, noise and block artefacts.

    Parameters
    ----------
    pixels : uint8 of shape (h, w, 3)
        Upright sRGB, h >= 1 and w >= 1. Pictures narrower than 3 pixels have no sharpness and
        no noise.

    Notes
    -----
    Sharpness: Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", ICPR 2000.
    Noise: Immerkaer, "Fast noise variance estimation", CVIU 64(2), 1996, taken over the calmest
    tenth of 16 x 16 blocks instead of the whole picture, so that texture counts less as noise.
    """
    luma = Image.fromarray(pixels).convert("L")
    # The standard deviation is that of float32; the rest counts in exact whole numbers.
    scaled = _at_standard_scale(luma)
    levels = np.asarray(scaled, dtype=np.int16)
    grey = levels.astype(np.float32)
    return PixelMeasures(
        sharpness=_sharpness(levels),
        contrast=float(grey.std()) / 255.0,
        brightness=float(grey.mean()) / 255.0,
        shadows_clipped=float(np.count_nonzero(levels <= _SHADOW_LEVEL) / levels.size),
        highlights_clipped=float(np.count_nonzero(levels >= _HIGHLIGHT_LEVEL) / levels.size),
        noise=_noise(levels),
        blockiness=_blockiness(_centre(luma)),
        coarse_sharpness=_sharpness(np.asarray(scaled.reduce(_COARSE_FACTOR), dtype=np.int16)),
        tonal_entropy=_tonal_entropy(pixels),
        white_background=_background(pixels, levels >= _HIGHLIGHT_LEVEL, is_extreme=_is_white),
        black_background=_background(pixels, levels <= _SHADOW_LEVEL, is_extreme=_is_black),
    )


def pixel_hash(pixels: ByteArray, width: int, height: int) -> str:
    """Return blake2b-128 (32 hex digits) of upright pixels and of the photo's full size.

    Equal for files that differ in metadata, container or orientation tag only, provided that
    both were decoded at the same scale.
    """
    digest = hashlib.blake2b(f"{width}x{height}:{pixels.shape}".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def perceptual_hash(pixels: ByteArray) -> int:
    """Return a 64-bit hash of the picture's coarse structure, as a signed integer.

    Copies that were resized or recompressed differ in a few bits; unrelated photos in about 32.
    Pictures of one colour all hash to 0.

    Notes
    -----
    Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010, section
    3.2.1 (DCT based): the 8 x 8 lowest frequencies without the constant row and column, each
    against their median. The antialiased resize replaces his 7 x 7 mean filter.
    """
    luma = Image.fromarray(pixels).convert("L")
    small = luma.resize((_HASH_SIDE, _HASH_SIDE), Image.Resampling.BOX)
    cosines = _cosines()
    # Rounded: in a blank picture only the rounding noise of the sums would be left to compare.
    frequencies = np.round(cosines @ np.asarray(small, dtype=np.float64) @ cosines.T, 3).ravel()
    bits = np.packbits(frequencies > np.median(frequencies))
    return int.from_bytes(bits.tobytes(), signed=True)


def luma_thumbnail(pixels: ByteArray) -> ByteArray:
    """Return the picture squashed to 32 x 32 luma, uint8.

    Notes
    -----
    The triangle filter lets little alias: thumbnails of a photo and of its half agree to .98 where
    those of a box filter do to .92 (:mod:`indexer.scoring.thumbnail_agreement`).
    """
    luma = Image.fromarray(pixels).convert("L")
    side = (_THUMBNAIL_SIDE, _THUMBNAIL_SIDE)
    return np.asarray(luma.resize(side, Image.Resampling.BILINEAR, reducing_gap=3.0))


def _at_standard_scale(luma: Image.Image) -> Image.Image:
    factor = min(luma.size) / _STANDARD_SIDE
    if factor <= 1.0:
        return luma
    size = (round(luma.width / factor), round(luma.height / factor))
    # Any scaling softens a little: log10 sharpness is 0.34 below that of a picture which is at
    # the standard scale already, by about the same for any factor.
    return luma.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)


def _tonal_entropy(pixels: ByteArray) -> float:
    # Pillow counts three times as fast as numpy.
    green = Image.fromarray(np.ascontiguousarray(pixels[::2, ::2, 1]))
    return _entropy(np.array(green.histogram()))


def _entropy(counts: IntArray) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float((shares * np.log2(1.0 / shares)).sum())


def _background(
    pixels: ByteArray, is_flat: BoolArray, *, is_extreme: Callable[[ByteArray], BoolArray]
) -> float:
    """Return the share of flat pixels that hang together with the border, if around a subject.

    An overexposed photo can be as white all around. But it has lost channels in what is left, too.
    """
    if np.concatenate(_rim(is_flat)).mean() < _MIN_BACKGROUND_BORDER:
        return 0.0
    labels, n_parts = ndimage.label(is_flat)
    is_outside = np.zeros(n_parts + 1, np.bool_)
    is_outside[np.concatenate(_rim(labels))] = True
    is_outside[0] = False
    is_background = is_outside[labels]
    height, width = is_flat.shape
    sampled = Image.fromarray(pixels).resize((width, height), Image.Resampling.NEAREST)
    subject = np.asarray(sampled)[~is_background]
    if not len(subject) or _is_blown(subject, is_extreme(subject)):
        return 0.0
    return float(is_background.mean())


def _is_blown(subject: ByteArray, is_lost: BoolArray) -> bool:
    """Return whether a subject (n, 3) has lost channels to light, rather than to bright colours."""
    if is_lost.any(axis=1).mean() <= _MAX_LOST_SUBJECT:
        return False
    lost_twice = (is_lost.sum(axis=1) > 1).mean()
    return bool(
        lost_twice > _MAX_LOST_TWICE
        or _entropy(np.bincount(subject[:, 1], minlength=256)) < _MIN_SUBJECT_ENTROPY
    )


def _is_white(levels: ByteArray) -> BoolArray:
    return levels >= _HIGHLIGHT_LEVEL


def _is_black(levels: ByteArray) -> BoolArray:
    return levels <= _SHADOW_LEVEL


def _rim(picture: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], ...]:
    return picture[0], picture[-1], picture[:, 0], picture[:, -1]


def _sharpness(levels: ShortArray) -> float:
    if min(levels.shape) < 3:  # noqa: PLR2004 - a Laplacian needs three rows and columns
        return math.log10(_FLAT_VARIANCE)
    beside = levels[1:-1, :-2] + levels[1:-1, 2:]
    laplacian = levels[:-2, 1:-1] + levels[2:, 1:-1] + beside - 4 * levels[1:-1, 1:-1]
    return math.log10(float(laplacian.astype(np.float32).var()) + _FLAT_VARIANCE)


def _noise(levels: ShortArray) -> float:
    if min(levels.shape) < 3:  # noqa: PLR2004
        return 0.0
    rows = levels[:-2] - 2 * levels[1:-1] + levels[2:]
    deviations = _block_means(np.abs(rows[:, :-2] - 2 * rows[:, 1:-1] + rows[:, 2:]))
    means = _block_means(levels[1:-1, 1:-1])
    # Noise is cut off in clipped areas: they would pass for the calmest.
    unclipped = (means > _DARKEST_BLOCK_LEVEL) & (means < _BRIGHTEST_BLOCK_LEVEL)
    usable = deviations[unclipped] if unclipped.any() else deviations
    return float(np.quantile(usable, _NOISE_SHARE)) / _NOISE_SCALE


def _block_means(levels: ShortArray) -> FloatArray:
    """Average over whole blocks; a picture smaller than a block is one."""
    block = [min(_NOISE_BLOCK, length) for length in levels.shape]
    n_blocks = [length // side for length, side in zip(levels.shape, block, strict=True)]
    whole = levels[: n_blocks[0] * block[0], : n_blocks[1] * block[1]]
    # Rows first: six times as fast as both at once, as whole rows are added.
    columns = whole.reshape(n_blocks[0], block[0], -1).sum(axis=1, dtype=np.int32)
    sums = columns.reshape(n_blocks[0], n_blocks[1], block[1]).sum(axis=2)
    means: FloatArray = (sums / math.prod(block)).astype(np.float32)
    return means


def _centre(luma: Image.Image) -> ShortArray:
    left = max(luma.width - _GRID_SIDE, 0) // 2
    top = max(luma.height - _GRID_SIDE, 0) // 2
    box = (left, top, min(left + _GRID_SIDE, luma.width), min(top + _GRID_SIDE, luma.height))
    return np.asarray(luma.crop(box), dtype=np.int16)


def _blockiness(levels: ShortArray) -> float:
    excess = [_grid_excess(levels), _grid_excess(levels.T)]
    return float(np.mean(excess))


def _grid_excess(levels: ShortArray) -> float:
    """Compare the strongest of the eight column phases with the second and with the median.

    Only the second tells JPEG's grid from that of enlarged pictures, which shows in several
    phases.
    """
    jumps = np.minimum(np.abs(np.diff(levels, axis=1)), _LARGEST_GRID_STEP)
    steps = jumps.sum(axis=0, dtype=np.int32) / len(levels)
    n_periods = len(steps) // _JPEG_BLOCK
    if n_periods < 2:  # noqa: PLR2004 - one period cannot show a grid
        return 0.0
    phases = np.sort(steps[: n_periods * _JPEG_BLOCK].reshape(n_periods, -1).mean(axis=0))
    # Half a grey level: the rounding to bytes alone makes steps of that size.
    return float(phases[-1] - phases[-2]) / (float(np.median(phases)) + 0.5)


def _cosines() -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Rows 1 to 8 of the DCT-II matrix."""
    frequency = np.arange(1, _HASH_FREQUENCIES + 1)[:, None]
    position = np.arange(_HASH_SIDE)[None, :] + 0.5
    return np.cos(np.pi * frequency * position / _HASH_SIDE)
