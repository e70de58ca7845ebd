"""Whether one picture was made from another, told from thumbnails laid over each other.

Embeddings of two photos of one scene are as close as those of a photo and its crop. Their pixels
are not: once a copy lies on its original, turned, mirrored, scaled and shifted as it was, little
is left between the two but in the places that were edited. Two photos of one scene differ by
parallax and whatever moved, in most places a little.
"""

import functools
import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from indexer.arrays import BoolArray, ByteArray, FloatArray, IntArray
from indexer.scoring.similarity import normalised

Level = TypeVar("Level", np.uint8, np.float32)

SIDE = 32
"""Rows and columns of a thumbnail."""

N_ORIENTATIONS = 8

VECTOR_DIMENSION = (SIDE // 2) ** 2

# Pairs that are laid over each other at a time: arrays of a few MB, which stay in the caches.
BLOCK_PAIRS = 256

# Pixels that may differ altogether, as text or a logo laid over a picture does.
_EDITED_SHARE = 0.2
# Below this standard deviation, in grey levels, a picture is a plain surface as any other.
_MIN_CONTRAST = 4.0
# Pixels at the edge of either picture hold some of what lies beyond.
_EDGE_PIXELS = 1.5
# An original that is at hand whole was not enlarged or cut by more than this.
_LARGEST_SCALE, _LARGEST_SHIFT = 1.3, 0.3
# A copy as contrasty again, or half as much, is still an edit; its negative is not.
_LARGEST_GAIN = 2.0
# So much agreement where no scale or shift was needed is not bettered by looking for one.
_PLAIN_AGREEMENT = 0.95

# Most pairs are ruled out early. The shares are of pairs of different photos of Flickr8k whose
# embeddings have a cosine of .5 or more; of their 13 x 400 altered copies each bound loses 3.
# As they lie, without the rim, where a frame would outweigh all it frames: rules out 53 %.
_RIM = 4
_LEAST_ROUGH_CORRELATION = 0.3
# Below this they do not lie on each other as they are, .5 % of others do: see `_laid_over`.
_LEAST_PLAIN_CORRELATION = 0.8
# Placed as well as it goes in a blurred thumbnail of half the size: rules out 77 %.
_LEAST_BLURRED_CORRELATION = 0.8

# Standard deviation of the blur in pixels of the whole thumbnail, and steps. Where pictures are
# blurred more, a larger shift is found.
_COARSE_BLUR, _COARSE_STEPS = 2.5, 4
_FINE_SCHEDULE = ((1.2, 5), (0.6, 5))
_COMPARED_BLUR = 0.6
# Times that gain and bias are fitted anew without the outliers of the last time.
_REFITS = 3
# A step of the search, in half pictures.
_LARGEST_STEP = 0.15

# From this cosine on embeddings are alike, and what is taken off where they are not at all.
_ALIKE_COSINE, _UNLIKE_DISCOUNT = 0.5, 0.13


@dataclass(frozen=True, slots=True)
class Overlay:
    """How a second picture lies on a first, for n pairs.

    Attributes
    ----------
    agreements : float32 of shape (n,)
        1 less the residual grey levels, after the best change of contrast and brightness, that a
        fifth of the pixels exceed, in standard deviations of the picture. In [0, 1]; 1 for the
        same picture, below .7 for most that are not; 0 where either is a plain surface.
    orientations : int64 of shape (n,)
        What brings the second upright as :func:`turned` does it: 0 to 7.
    areas : float32 of shape (n,)
        Area of the first picture, of that of the second: above 1 where the second is a part of
        the first, below 1 where it shows more, such as a frame.
    """

    agreements: FloatArray
    orientations: IntArray
    areas: FloatArray


def turned(thumbnails: npt.NDArray[Level], orientation: int) -> npt.NDArray[Level]:
    """Return pictures (n, h, w) turned: bit 0 mirrors, bit 1 flips, then bit 2 transposes."""
    pictures = thumbnails
    if orientation & 1:
        pictures = pictures[:, :, ::-1]
    if orientation & 2:
        pictures = pictures[:, ::-1]
    return pictures.swapaxes(1, 2) if orientation & 4 else pictures


def copy_evidence(agreements: FloatArray, similarities: FloatArray) -> FloatArray:
    """Return how much speaks for one picture being made from the other.

    Parameters
    ----------
    agreements, similarities : float32 of shape (n,)
        Of the thumbnails, and cosines of the embeddings.

    Returns
    -------
    float32 of shape (n,)
        At most 1: the agreement, less up to .13 where the embeddings are not alike. Two sunsets
        agree to .84 in Flickr8k; copies whose embeddings have little in common, because they were
        turned on their side, to .98 or more.
    """
    alike = np.clip(similarities / _ALIKE_COSINE, 0.0, 1.0)
    evidence: FloatArray = (agreements - _UNLIKE_DISCOUNT * (1.0 - alike)).astype(np.float32)
    return evidence


def thumbnail_vectors(thumbnails: ByteArray) -> FloatArray:
    """Return vectors by which copies find each other however they were turned or mirrored.

    Parameters
    ----------
    thumbnails : uint8 of shape (n, 32, 32)

    Returns
    -------
    float32 of shape (n, 256)
        Unit length: a thumbnail of 16 x 16 less its mean, turned so that it is brighter on the
        right than on the left, brighter below than above, and more so from left to right. Zero
        for a plain surface.
    """
    _require_thumbnails("thumbnails", thumbnails)
    halves = _halved(thumbnails.astype(np.float32))
    halves -= halves.mean(axis=(1, 2), keepdims=True)
    ramp = np.arange(halves.shape[1], dtype=np.float32) - (halves.shape[1] - 1) / 2
    across = halves.sum(axis=1) @ ramp
    down = halves.sum(axis=2) @ ramp
    canonical: FloatArray = halves
    for is_turned, turn in ((across < 0, 1), (down < 0, 2), (np.abs(down) > np.abs(across), 4)):
        canonical = np.where(is_turned[:, None, None], turned(canonical, turn), canonical)
    contrast = halves.std(axis=(1, 2))
    canonical[contrast < _MIN_CONTRAST] = 0.0
    return normalised(canonical.reshape(len(canonical), VECTOR_DIMENSION))


def has_frame(thumbnails: ByteArray) -> BoolArray:
    """Tell which pictures have a frame of one level around them, as programs put one.

    Parameters
    ----------
    thumbnails : uint8 of shape (n, 32, 32)

    Returns
    -------
    bool of shape (n,)
        Whether along all four edges a band of at least one thumbnail pixel, and at most a sixth of
        the side, is even, and most of the next row is not: a thing on white has no such end.
    """
    _require_thumbnails("thumbnails", thumbnails)
    sides = [turned(thumbnails, orientation) for orientation in (0, 2, 4, 5)]
    is_framed: BoolArray = np.all([_has_band(side) for side in sides], axis=0)
    return is_framed


def _has_band(thumbnails: ByteArray) -> BoolArray:
    """Tell which have an even band along the top that ends at once."""
    rows = thumbnails[:, : _WIDEST_FRAME + 1, 1:-1].astype(np.int16)
    level = np.median(rows[:, :1], axis=2, keepdims=True)
    even = (np.abs(rows - level) <= _EVEN_LEVELS).mean(axis=2)
    has_band: BoolArray = (even[:, 0] >= _EVEN_SHARE) & (even.min(axis=1) < 1 / 2)
    return has_band


_WIDEST_FRAME = SIDE // 6
_EVEN_LEVELS, _EVEN_SHARE = 10, 0.95


def overlay(first: ByteArray, second: ByteArray) -> Overlay:
    """Lay second pictures over first ones as well as they will go, and tell what is left.

    Parameters
    ----------
    first, second : uint8 of shape (n, 32, 32)
        Luma of whole pictures, squashed.

    Returns
    -------
    Overlay
        Does not depend on the other pairs of the call.

    Raises
    ------
    ValueError
        If the shapes are others, or the numbers differ.

    Notes
    -----
    Lucas & Kanade, "An iterative image registration technique with an application to stereo
    vision", IJCAI 1981, with scale and shift of each axis, gain and bias as parameters, from
    coarse to fine, and outliers ruled out by Tukey's biweight. The measure of what is left is ours.
    """
    _require_thumbnails("first", first)
    _require_thumbnails("second", second)
    if len(first) != len(second):
        raise ValueError(f"pairs need as many first as second, got {len(first)} and {len(second)}")
    agreements, areas = np.zeros(len(first), np.float32), np.ones(len(first), np.float32)
    orientations = np.zeros(len(first), np.int64)
    for start in range(0, len(first), BLOCK_PAIRS):
        block = slice(start, start + BLOCK_PAIRS)
        found = _overlay_block(first[block].astype(np.float32), second[block].astype(np.float32))
        agreements[block], orientations[block], areas[block] = found
    return Overlay(agreements, orientations, areas)


def _overlay_block(
    first: FloatArray, second: FloatArray
) -> tuple[FloatArray, IntArray, FloatArray]:
    orientations, correlations = _best_orientations(first, second)
    second = _each_turned(second, orientations)
    agreements, areas = np.zeros(len(first), np.float32), np.ones(len(first), np.float32)
    has_contrast = np.minimum(first.std(axis=(1, 2)), second.std(axis=(1, 2))) >= _MIN_CONTRAST
    in_place = np.flatnonzero(has_contrast & (correlations >= _LEAST_PLAIN_CORRELATION))
    placement = np.tile(_IN_PLACE, (len(in_place), 1))
    agreements[in_place] = _agreements(first[in_place], second[in_place], placement)
    rows = np.flatnonzero(has_contrast & (correlations >= _LEAST_ROUGH_CORRELATION))
    rows = rows[agreements[rows] < _PLAIN_AGREEMENT]
    # In both directions: a frame around the second picture draws its edge to that of the first.
    for a, b, power in ((first, second, 1), (second, first, -1)):
        found, placement = _laid_over(a[rows], b[rows])
        is_better = found > agreements[rows]
        agreements[rows[is_better]] = found[is_better]
        areas[rows[is_better]] = (placement[:, 0] * placement[:, 2])[is_better] ** power
    return agreements, orientations, areas


def _laid_over(first: FloatArray, second: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Search the placement of each pair from coarse to fine; return agreement and placement."""
    placement = np.tile(_IN_PLACE, (len(first), 1))
    a, b = (_blurred(_halved(pictures), _COARSE_BLUR / 2) for pictures in (first, second))
    for _ in range(_COARSE_STEPS):
        placement = _step(a, b, placement, is_robust=False)
    rows = np.flatnonzero(_correlations(a, b, placement) >= _LEAST_BLURRED_CORRELATION)
    for blur, n_steps in _FINE_SCHEDULE:
        a, b = _blurred(first[rows], blur), _blurred(second[rows], blur)
        for _ in range(n_steps):
            placement[rows] = _step(a, b, placement[rows], is_robust=True)
    agreements = np.zeros(len(first), np.float32)
    agreements[rows] = _agreements(first[rows], second[rows], placement[rows])
    return agreements, placement


_IN_PLACE = np.array([1.0, 0.0, 1.0, 0.0], np.float32)
"""A placement: scale and shift down, scale and shift across, in half pictures from the centre. The
point u of the first picture lies at scale * u + shift of the second."""


def _best_orientations(first: FloatArray, second: FloatArray) -> tuple[IntArray, FloatArray]:
    """Return the turn of each second picture that is most like the first, and how much."""
    # Without the rim: a frame around one of them would outweigh all it frames.
    a, b = (_halved(pictures[:, _RIM:-_RIM, _RIM:-_RIM]) for pictures in (first, second))
    flat_a = normalised(
        (a - a.mean(axis=(1, 2), keepdims=True)).reshape(len(a), math.prod(a.shape[1:]))
    )
    centred = b - b.mean(axis=(1, 2), keepdims=True)
    correlations = np.stack(
        [
            np.einsum("ni,ni->n", flat_a, normalised(turned(centred, o).reshape(flat_a.shape)))
            for o in range(N_ORIENTATIONS)
        ]
    )
    best = correlations.argmax(axis=0)
    return best, correlations.max(axis=0)


def _each_turned(pictures: FloatArray, orientations: IntArray) -> FloatArray:
    result = np.empty_like(pictures)
    for orientation in range(N_ORIENTATIONS):
        rows = orientations == orientation
        result[rows] = turned(pictures[rows], orientation)
    return result


def _step(
    first: FloatArray, second: FloatArray, placement: FloatArray, *, is_robust: bool
) -> FloatArray:
    """Return the placements after one Gauss-Newton step."""
    warped, inside = _warped(second, placement)
    slope_down, slope_across = np.gradient(warped, axis=(1, 2))
    n_pairs, side, _ = first.shape
    down, across = _positions(side)[:, None], _positions(side)[None, :]
    # Slopes are those of the warped picture; in the second, as it lies, they are over the scale.
    per_down = slope_down * (side / 2) / placement[:, 0, None, None]
    per_across = slope_across * (side / 2) / placement[:, 2, None, None]
    columns = (per_down * down, per_down, per_across * across, per_across, warped)
    jacobian = np.stack([*columns, np.ones_like(warped)], axis=-1).reshape(n_pairs, side * side, 6)
    target = first.reshape(n_pairs, side * side, 1)
    weights = inside.reshape(n_pairs, side * side, 1).astype(np.float32)
    if is_robust:
        gain, bias = _fitted(target[..., 0], jacobian[..., 4], weights[..., 0])
        residuals = target[..., 0] - gain[:, None] * jacobian[..., 4] - bias[:, None]
        weights = _biweights(residuals, weights=weights[..., 0])[..., None]
    solution = _least_squares(jacobian, weights, target)
    gain = np.where(np.abs(solution[:, 4]) < 0.1, np.inf, solution[:, 4])  # noqa: PLR2004
    moved = placement + np.clip(solution[:, :4] / gain[:, None], -_LARGEST_STEP, _LARGEST_STEP)
    moved[:, [0, 2]] = np.clip(moved[:, [0, 2]], 1 / _LARGEST_SCALE, _LARGEST_SCALE)
    moved[:, [1, 3]] = np.clip(moved[:, [1, 3]], -_LARGEST_SHIFT, _LARGEST_SHIFT)
    return np.asarray(moved, dtype=np.float32)


# Keeps the four of a placement where a picture tells nothing of them: an even sky has no scale.
_DAMPING = np.array([1e-3, 1e-3, 1e-3, 1e-3, 1e-6, 1e-6])


def _least_squares(jacobian: FloatArray, weights: FloatArray, target: FloatArray) -> FloatArray:
    weighted = (jacobian * weights).transpose(0, 2, 1)
    normal = (weighted @ jacobian).astype(np.float64)
    trace = np.trace(normal, axis1=1, axis2=2)
    normal += np.eye(6) * (_DAMPING * (trace[:, None] / 6 + 1e-6))[:, None, :]
    solution = np.linalg.solve(normal, (weighted @ target).astype(np.float64))[:, :, 0]
    return np.asarray(solution, dtype=np.float32)


def _agreements(first: FloatArray, second: FloatArray, placement: FloatArray) -> FloatArray:
    a = _blurred(first, _COMPARED_BLUR).reshape(len(first), SIDE * SIDE)
    warped, inside = _warped(_blurred(second, _COMPARED_BLUR), placement)
    b, inside = warped.reshape(len(first), SIDE * SIDE), inside.reshape(len(first), SIDE * SIDE)
    weights = inside.astype(np.float32)
    for _ in range(_REFITS):
        gain, bias = _fitted(a, b, weights)
        weights = _biweights(a - gain[:, None] * b - bias[:, None], weights=inside)
    gain, bias = _fitted(a, b, weights)
    residuals = a - gain[:, None] * b - bias[:, None]
    rest = np.where(inside, np.abs(residuals), -1.0)
    # The quantile among the pixels inside: those outside sort first.
    n_inside = inside.sum(axis=1)
    place = rest.shape[1] - 1 - np.floor(_EDITED_SHARE * n_inside).astype(np.int64)
    left = np.take_along_axis(np.sort(rest, axis=1), place[:, None], axis=1)[:, 0]
    agreements = 1.0 - left / np.maximum(_deviations(a, inside), _MIN_CONTRAST)
    is_edit = (gain >= 1 / _LARGEST_GAIN) & (gain <= _LARGEST_GAIN)
    return np.where(is_edit, np.clip(agreements, 0.0, 1.0), 0.0).astype(np.float32)


def _fitted(a: FloatArray, b: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return gain and bias of b that come closest to a."""
    total = weights.sum(axis=1) + 1e-9
    mean_a, mean_b = (a * weights).sum(axis=1) / total, (b * weights).sum(axis=1) / total
    away = b - mean_b[:, None]
    products = (away * (a - mean_a[:, None]) * weights).sum(axis=1)
    gain: FloatArray = products / ((away * away * weights).sum(axis=1) + 1e-3)
    return gain, (mean_a - gain * mean_b).astype(np.float32)


def _biweights(residuals: FloatArray, *, weights: FloatArray | BoolArray) -> FloatArray:
    """Return weights times Tukey's: 0 for residuals of many times the median."""
    sizes = np.abs(residuals)
    scale = 4.0 * np.median(sizes, axis=1, keepdims=True) + 2.0
    ratio = sizes / scale
    kept = np.where(ratio < 1, (1 - ratio * ratio) ** 2, 0.0)
    return (weights * kept).astype(np.float32)


def _deviations(a: FloatArray, inside: BoolArray) -> FloatArray:
    total = inside.sum(axis=1) + 1e-9
    mean = (a * inside).sum(axis=1) / total
    variances = ((a - mean[:, None]) ** 2 * inside).sum(axis=1) / total
    deviations: FloatArray = np.sqrt(variances).astype(np.float32)
    return deviations


def _correlations(first: FloatArray, second: FloatArray, placement: FloatArray) -> FloatArray:
    warped, inside = _warped(second, placement)
    n_pairs, side, _ = first.shape
    a, b = first.reshape(n_pairs, side * side), warped.reshape(n_pairs, side * side)
    weights = inside.reshape(n_pairs, side * side).astype(np.float32)
    gain, _ = _fitted(a, b, weights)
    ratio = _deviations(b, weights > 0) / np.maximum(_deviations(a, weights > 0), 1e-3)
    return np.asarray(gain * ratio, dtype=np.float32)


@functools.cache
def _positions(side: int) -> FloatArray:
    """Return the centres of pixels, in half pictures from the centre."""
    centres: FloatArray = ((np.arange(side) - (side - 1) / 2) / (side / 2)).astype(np.float32)
    return centres


def _warped(pictures: FloatArray, placement: FloatArray) -> tuple[FloatArray, BoolArray]:
    """Return the second pictures as they lie on the first, and where they do."""
    side = pictures.shape[1]
    down, inside_down = _interpolation(placement[:, 0], placement[:, 1], side)
    across, inside_across = _interpolation(placement[:, 2], placement[:, 3], side)
    warped = np.asarray(down @ pictures @ across.transpose(0, 2, 1), dtype=np.float32)
    return warped, inside_down[:, :, None] & inside_across[:, None, :]


def _interpolation(scale: FloatArray, shift: FloatArray, side: int) -> tuple[FloatArray, BoolArray]:
    """Return weights (n, side, side) of linear interpolation, and which places count (n, side)."""
    places = (scale[:, None] * _positions(side) + shift[:, None]) * (side / 2) + (side - 1) / 2
    pixels = np.arange(side, dtype=np.float32)
    away = np.abs(np.clip(places, 0, side - 1)[..., None] - pixels)
    first, last = _EDGE_PIXELS * side / SIDE, side - 1 - _EDGE_PIXELS * side / SIDE
    inside = (places >= first) & (places <= last) & (pixels >= first) & (pixels <= last)
    return np.maximum(1.0 - away, 0.0).astype(np.float32), inside


def _blurred(pictures: FloatArray, deviation: float) -> FloatArray:
    kernel = _blur_matrix(deviation, pictures.shape[1])
    return np.asarray(kernel @ pictures @ kernel.T, dtype=np.float32)


@functools.cache
def _blur_matrix(deviation: float, side: int) -> FloatArray:
    """Return the matrix that blurs a column; what lies beyond the edge is as the edge."""
    reach = math.ceil(4 * deviation)
    steps = np.arange(-reach, reach + 1)
    weights = np.exp(-(steps**2) / (2 * deviation**2))
    matrix = np.zeros((side, side))
    for row in range(side):
        np.add.at(matrix[row], np.clip(row + steps, 0, side - 1), weights)
    blur: FloatArray = (matrix / weights.sum()).astype(np.float32)
    return blur


def _halved(pictures: FloatArray) -> FloatArray:
    n_pictures, height, width = pictures.shape
    halves: FloatArray = pictures.reshape(n_pictures, height // 2, 2, width // 2, 2).mean((2, 4))
    return halves


def _require_thumbnails(name: str, thumbnails: ByteArray) -> None:
    if thumbnails.shape[1:] != (SIDE, SIDE):
        raise ValueError(f"{name} must be (n, {SIDE}, {SIDE}), got shape {thumbnails.shape}")
