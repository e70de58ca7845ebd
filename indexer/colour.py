"""From any pixel mode and colour profile to 8-bit sRGB."""

import functools
from io import BytesIO

import numpy as np
from PIL import Image, ImageCms

from indexer.arrays import DoubleArray

_WHITE = (255, 255, 255)
_WIDE_MODES = frozenset(("I;16", "I;16L", "I;16B", "I;16N", "I", "F"))
# What the largest value of a wide pixel can mean: a share, 8, 16 or 32 bits.
_WHITE_LEVELS = (1.0, 255.0, 65535.0, 4294967295.0)

# Two grey levels are below what profile versions of sRGB differ by among themselves.
_SAME_COLOUR_LEVELS = 2
# Distinct profiles alive at once in a collection: a handful of cameras and editors. CMYK
# profiles hold up to 2 MB each, which bounds the cache to tens of megabytes.
_CACHED_PROFILES = 32


def to_srgb(image: Image.Image) -> Image.Image:
    """Return a loaded image as 8-bit sRGB, composited on white where it is transparent.

    An embedded ICC profile is applied with perceptual intent; one that is damaged or made for
    another mode is ignored. CMYK without a profile is converted by Pillow's plain formula.
    Pixels wider than 8 bits are scaled, not clipped: by 65535 for 16-bit modes, else by the
    smallest customary white level (1, 255, 65535, 2**32 - 1) that holds the largest value.

    Parameters
    ----------
    image : PIL.Image.Image
        Any mode that Pillow decodes to.

    Returns
    -------
    PIL.Image.Image
        Mode "RGB", same size.
    """
    profile = image.info.get("icc_profile")
    image = _to_plain_mode(image)
    if image.mode not in {"LA", "RGBA"}:
        return _apply_profile(image, profile)
    alpha = image.getchannel("A")
    opaque = _apply_profile(image.convert(image.mode[:-1]), profile)
    canvas = Image.new("RGB", image.size, _WHITE)
    canvas.paste(opaque, mask=alpha)
    return canvas


def _to_plain_mode(image: Image.Image) -> Image.Image:
    """Bring the image to one of L, LA, RGB, RGBA, CMYK, LAB."""
    if image.mode in _WIDE_MODES:
        return _scale_to_bytes(image)
    if image.has_transparency_data:
        return image.convert("LA" if image.mode in {"1", "L", "LA", "La"} else "RGBA")
    if image.mode in {"L", "RGB", "CMYK", "LAB"}:
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def _scale_to_bytes(image: Image.Image) -> Image.Image:
    values = np.nan_to_num(np.asarray(image, dtype=np.float64), posinf=0.0, neginf=0.0)
    white = 65535.0 if image.mode.startswith("I;16") else _white_level(values)
    return Image.fromarray(np.rint(np.clip(values / white, 0.0, 1.0) * 255.0).astype(np.uint8))


def _white_level(values: DoubleArray) -> float:
    largest = float(values.max())
    return next((level for level in _WHITE_LEVELS if largest <= level), largest)


def _apply_profile(image: Image.Image, profile: bytes | None) -> Image.Image:
    transform = _srgb_transform(profile, image.mode)
    return image.convert("RGB") if transform is None else transform.apply(image)


@functools.lru_cache(maxsize=_CACHED_PROFILES)
def _srgb_transform(profile: bytes | None, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Build the transform to sRGB; None where there is nothing to apply, or nothing to gain."""
    if mode == "LAB":
        source = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    elif not profile:
        return None
    else:
        try:
            source = ImageCms.ImageCmsProfile(BytesIO(profile))
        except OSError:
            return None
    target = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    try:
        transform = ImageCms.ImageCmsTransform(source, target, mode, "RGB")
    except (OSError, ValueError):
        return None  # for example an RGB profile inside a greyscale file
    return None if _changes_nothing(transform, mode) else transform


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Try the transform on a grid of colours: most embedded profiles are sRGB by other names."""
    if mode not in {"L", "RGB"}:
        return False
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(len(levels), -1, 3)
    sample = Image.fromarray(grid).convert(mode)
    plain = np.asarray(sample.convert("RGB"), dtype=np.int16)
    moved = np.asarray(transform.apply(sample), dtype=np.int16)
    return bool(np.abs(moved - plain).max() <= _SAME_COLOUR_LEVELS)
