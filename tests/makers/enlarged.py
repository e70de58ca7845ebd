"""Files as large as a camera's, made from small photos."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops

from tests.makers.photos import image_file

JPEG_QUALITY = 92
"""With the default noise, 12 megapixels take 2 to 3 MB, as from a phone."""

CAMERA_MULTIPLE = 16
"""Cameras make sides that are whole JPEG blocks, of 8 or 16 pixels."""

NOISE_STEP = 3
"""Noise with a standard deviation of 4.2 grey levels: a phone indoors."""

DRAWN_PHOTOS = 40

# The number of set bits of a random byte is close to normal noise with this deviation, and drawn
# in a tenth of the time.
_BITS_DEVIATION = 2**0.5
_MEAN_BITS = 4


def noise_deviation(noise_step: int) -> float:
    """Return the standard deviation, in grey levels, of the noise that `enlarged_jpeg` adds."""
    return noise_step * _BITS_DEVIATION


def enlarged_jpeg(
    photo: Image.Image,
    *,
    megapixels: float,
    seed: int,
    multiple: int = CAMERA_MULTIPLE,
    noise_step: int = NOISE_STEP,
) -> bytes:
    """Return a JPEG of so many million pixels, with the noise of a sensor.

    Enlarging alone leaves nothing at the scale of a pixel for a decoder to get wrong. With the
    noise there is something, yet no sharp detail as in a real photo of that size. Both sides
    become multiples of `multiple`: 1 gives the odd sizes of cropped photos.
    """
    factor = (megapixels * 1e6 / (photo.width * photo.height)) ** 0.5
    width, height = (multiple * round(side * factor / multiple) for side in photo.size)
    enlarged = photo.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    random_bytes = np.random.default_rng(seed).bytes(3 * width * height)
    levels = [noise_step * byte.bit_count() for byte in range(256)]
    noise = Image.frombytes("RGB", (width, height), random_bytes).point(levels * 3)
    noisy = ImageChops.add(enlarged, noise, scale=1, offset=-_MEAN_BITS * noise_step)
    return image_file(noisy, "JPEG", quality=JPEG_QUALITY)


def photo_files(folder: Path) -> list[Path]:
    """List PNG and JPEG files at any depth, without those planted to be damaged or doubled."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in {".png", ".jpg"})
    return sorted(path for path in found if "planted" not in path.parts)


def write_enlarged_photos(
    folder: Path, sources: Sequence[Path], *, count: int, megapixels: float
) -> None:
    """Fill a new folder with different JPEG files, `DRAWN_PHOTOS` of which differ in pixels.

    The others repeat them with more bytes after their end, which no decoder reads: drawing each
    would take longer than indexing it ten times.
    """
    folder.mkdir()
    drawn = sources[: min(count, DRAWN_PHOTOS)]
    contents = []
    for seed, source in enumerate(drawn):
        with Image.open(source) as photo:
            contents.append(enlarged_jpeg(photo, megapixels=megapixels, seed=seed))
    for number in range(count):
        content = contents[number % len(contents)] + bytes(number // len(contents))
        (folder / f"{number:05}.jpg").write_bytes(content)
