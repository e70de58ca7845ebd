"""From upright pixels to the input of an image tower, as the model's makers scaled theirs.

The arithmetic of sizes and offsets follows torchvision's `Resize` and `CenterCrop` and
open_clip's transforms, so that vectors equal those of open_clip on the same pixels.
"""

import hashlib
import json
import math

import numpy as np
from PIL import Image

from indexer.arrays import ByteArray
from indexer.decode import DECODE_POLICY
from schemas.model import Preprocessing

Extent = tuple[float, float, float, float]
"""Left, top, right and bottom, in pixels."""

RESAMPLING = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
}
"""Pillow's filter for each `interpolation`."""

_FINGERPRINT_DIGITS = 16
# Up to this many times the target's pixels the whole picture is scaled and then cropped, bit for
# bit as open_clip does it. Beyond, only the part that stays is scaled: memory stays bounded, and
# roundings between Pillow's two passes differ by a level here and there.
_MAX_SCALED_SHARE = 4
_RGB_DIMENSIONS = 3


def preprocess(
    pixels: ByteArray, preprocessing: Preprocessing, *, extent: Extent | None = None
) -> ByteArray:
    """Scale and crop or pad a picture for an image tower.

    Memory does not grow with the aspect ratio: what a crop would cut off is never made.

    Parameters
    ----------
    pixels : uint8 of shape (h, w, 3)
        Upright sRGB.
    preprocessing : Preprocessing
        Of the model.
    extent : tuple of float, optional
        Left, top, right and bottom of the picture in `pixels`, as `decode_photo` gives it; all of
        them if left out.

    Returns
    -------
    uint8 of shape (preprocessing.height, preprocessing.width, 3)
        Identical to open_clip's own transform; in panoramas longer than about 4:1 to two grey
        levels. One difference is wanted: for `shortest` with a target that is not square,
        open_clip 3.3 always resizes bicubically; here `interpolation` decides.

    Raises
    ------
    ValueError
        If `pixels` has another dtype or shape, or no pixel.
    """
    is_rgb = pixels.ndim == _RGB_DIMENSIONS and pixels.shape[2] == _RGB_DIMENSIONS
    if pixels.dtype != np.uint8 or not is_rgb or pixels.size == 0:
        raise ValueError(f"pixels must be uint8 (h, w, 3), got {pixels.dtype} {pixels.shape}")
    image = Image.fromarray(pixels)
    extent = extent or (0, 0, *image.size)
    target = (preprocessing.width, preprocessing.height)
    resampling = RESAMPLING[preprocessing.interpolation]
    if preprocessing.resize == "squash":
        return np.asarray(image.resize(target, resampling, box=extent))
    if preprocessing.resize == "longest":
        return _scale_and_pad(image, extent, target, resampling, fill=preprocessing.fill)
    return _scale_and_crop(image, extent, target, resampling)


def preprocessing_fingerprint(preprocessing: Preprocessing) -> str:
    """Return 16 hex digits that change whenever the same file would give other pixels."""
    settings = {"decode": DECODE_POLICY, "preprocessing": preprocessing.model_dump(mode="json")}
    canonical = json.dumps(settings, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:_FINGERPRINT_DIGITS]


def decoding_side(preprocessing: Preprocessing) -> int:
    """Return the `min_side` with which photos for this preprocessing are decoded."""
    return max(preprocessing.height, preprocessing.width)


def _scale_and_crop(
    image: Image.Image, extent: Extent, target: tuple[int, int], resampling: Image.Resampling
) -> ByteArray:
    """Cover the target and keep its centre."""
    scaled = covering_size(_size(extent), target)
    left, top = (round((whole - kept) / 2) for whole, kept in zip(scaled, target, strict=True))
    crop = (left, top, left + target[0], top + target[1])
    if math.prod(scaled) <= _MAX_SCALED_SHARE * math.prod(target):
        return np.asarray(image.resize(scaled, resampling, box=extent).crop(crop))
    return np.asarray(image.resize(target, resampling, box=_source_box(extent, scaled, crop)))


def _source_box(extent: Extent, scaled: tuple[int, int], crop: tuple[int, int, int, int]) -> Extent:
    """Return the part of a picture that a crop of its scaled version shows."""
    across, down = (source / whole for source, whole in zip(_size(extent), scaled, strict=True))
    left, top, right, bottom = crop
    x, y = extent[:2]
    return (
        x + left * across,
        y + top * down,
        min(x + right * across, extent[2]),
        min(y + bottom * down, extent[3]),
    )


def _size(extent: Extent) -> tuple[float, float]:
    left, top, right, bottom = extent
    return right - left, bottom - top


def covering_size(size: tuple[float, float], target: tuple[int, int]) -> tuple[int, int]:
    """Scale a size until it covers a target; square targets round the long side down."""
    width, height = size
    if target[0] == target[1]:
        side = target[0]
        if width <= height:
            return side, int(side * height / width)
        return int(side * width / height), side
    ratio = min(width / target[0], height / target[1])
    return round(width / ratio), round(height / ratio)


def _scale_and_pad(
    image: Image.Image,
    extent: Extent,
    target: tuple[int, int],
    resampling: Image.Resampling,
    *,
    fill: int,
) -> ByteArray:
    """Fit the picture into the target and fill the rest on both sides."""
    width, height = _size(extent)
    ratio = max(width / target[0], height / target[1])
    size = (max(round(width / ratio), 1), max(round(height / ratio), 1))
    canvas = Image.new("RGB", target, (fill, fill, fill))
    offset = ((target[0] - size[0]) // 2, (target[1] - size[1]) // 2)
    canvas.paste(image.resize(size, resampling, box=extent), offset)
    return np.asarray(canvas)
