"""The parts of a photo whose quality scores are averaged in `crops` mode."""

import math

import numpy as np
from PIL import Image

from indexer.arrays import ByteArray
from indexer.preprocess import RESAMPLING, Extent, covering_size
from schemas.collection import CropEdges
from schemas.model import Preprocessing

# The authors' step of 128 pixels between windows of 224.
_STRIDE, _STRIDE_WINDOW = 128, 224
# The authors' choice for photos of phone cameras (SPAQ): 448 pixels for windows of 224.
_WINDOWS_IN_SHORT_SIDE = 2
# Of photos longer than 5:1 the middle is scored: at most 51 windows and the whole, 8 MB.
_WINDOWS_IN_LONG_SIDE = 10


def quality_crops(
    pixels: ByteArray,
    preprocessing: Preprocessing,
    *,
    edges: CropEdges,
    extent: Extent | None = None,
) -> ByteArray:
    """Return windows of a photo at a fixed step, and the whole of it, each as a tower takes it.

    Parameters
    ----------
    pixels : uint8 of shape (h, w, 3)
        Upright sRGB.
    preprocessing : Preprocessing
        Of the model; windows have the size of its input, here called 224.
    edges : {"pad", "drop"}
        `pad`: no pixel is dropped. Photos are never enlarged, and mirrored at the right and the
        bottom until the last window is full. Mirrored, as the texture of the border goes on: a
        flat edge would look like blur, a black one like a sharp line. `drop`: windows only where
        they are whole, as in the authors' code; the rest at the right and the bottom is in no
        window. A photo with a shorter side is enlarged to it, as torchvision's `Resize` does.
    extent : tuple of float, optional
        Left, top, right and bottom of the picture in `pixels`, as `decode_photo` gives it; all of
        them if left out.

    Returns
    -------
    uint8 of shape (n, preprocessing.height, preprocessing.width, 3)
        Windows by row, then the whole. A photo of 3:2 has 16 with `pad` and 9 with `drop`; none
        has more than 52.

    Notes
    -----
    Liao et al., arXiv:2511.09948, and their code (github.com/zhix000/MA-CLIP): the short side is
    scaled to 448; 224 x 224 windows at a stride of 128; the whole picture scaled to 224 without
    regard to its shape, bilinearly and without a filter against aliasing, as here. Differences of
    both: their code squashes photos of phones (SPAQ) to 448 x 448, and leaves those of most other
    sets as large as they are, where a side under 224 stops it; of photos longer than 5:1 only the
    middle is scored here. Of `pad` alone: the mirrored edges, and that nothing is enlarged.
    """
    scaled = _scaled(pixels, preprocessing, edges=edges, extent=extent)
    rows = window_positions(scaled.height, side=preprocessing.height, edges=edges)
    columns = window_positions(scaled.width, side=preprocessing.width, edges=edges)
    height, width = preprocessing.height, preprocessing.width
    below = max(rows[-1] + height - scaled.height, 0)
    beside = max(columns[-1] + width - scaled.width, 0)
    canvas = np.pad(np.asarray(scaled), ((0, below), (0, beside), (0, 0)), mode="symmetric")
    whole = scaled.transform(
        (width, height), Image.Transform.EXTENT, (0, 0, *scaled.size), Image.Resampling.BILINEAR
    )
    windows = [canvas[top : top + height, left : left + width] for top in rows for left in columns]
    return np.stack([*windows, np.asarray(whole)])


def window_positions(length: int, *, side: int, edges: CropEdges) -> tuple[int, ...]:
    """Return where windows begin along one side of a scaled photo, in pixels.

    Parameters
    ----------
    length : int
        Of the photo; at least 1, with `drop` at least `side`.
    side : int
        Of a window.
    edges : {"pad", "drop"}
        Whether the last window may reach beyond the photo.

    Raises
    ------
    ValueError
        If no window fits.

    Examples
    --------
    >>> window_positions(448, side=224, edges="pad")
    (0, 128, 256)
    >>> window_positions(448, side=224, edges="drop")
    (0, 128)
    """
    if length < (side if edges == "drop" else 1):
        raise ValueError(f"no window of {side} pixels fits into {length}")
    stride = max(round(side * _STRIDE / _STRIDE_WINDOW), 1)
    steps = max(length - side, 0) / stride
    n_windows = 1 + (math.ceil(steps) if edges == "pad" else math.floor(steps))
    return tuple(stride * n for n in range(n_windows))


def _scaled(
    pixels: ByteArray, preprocessing: Preprocessing, *, edges: CropEdges, extent: Extent | None
) -> Image.Image:
    """Scale the part of a photo that is scored."""
    image = Image.fromarray(pixels)
    left, top, right, bottom = extent or (0.0, 0.0, *image.size)
    size = right - left, bottom - top
    window = preprocessing.width, preprocessing.height
    short = window[0] * _WINDOWS_IN_SHORT_SIDE, window[1] * _WINDOWS_IN_SHORT_SIDE
    target = covering_size(size, short)
    if edges == "pad" and target[0] > size[0]:
        target = math.ceil(size[0]), math.ceil(size[1])
    longest = [side * _WINDOWS_IN_LONG_SIDE for side in window]
    kept = [min(pair) for pair in zip(target, longest, strict=True)]
    # Half of what is left out on either side, in pixels of the source.
    margin = [
        (1 - part / now) * source / 2 for part, now, source in zip(kept, target, size, strict=True)
    ]
    box = (left + margin[0], top + margin[1], right - margin[0], bottom - margin[1])
    return image.resize((kept[0], kept[1]), RESAMPLING[preprocessing.interpolation], box=box)
