"""Plant altered copies of photos among other photos, as collections collect them over the years."""

import csv
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFont, ImageOps

COPY_QUALITY = 92
"""JPEG quality of copies whose transform is not recompression: what photo editors offer."""

BRIGHTNESS_STEP = 0.25
BORDER_SHARE = 0.05

BAR_SHARE = 0.09
"""Height of the bar with text, as a share of the photo's."""

BAR_GAP_SHARE = 0.03
FONT_SHARE = 0.75
TEXT_WIDTH_SHARE = 0.94
WATERMARK_OPACITY = 150
CAPTIONS = (
    "When it is Monday again",
    "(c) 2023 Some Body Photography",
    "Greetings from the seaside!",
    "nobody: / absolutely nobody:",
    "PREVIEW - DO NOT COPY",
)

Alteration = Callable[[Image.Image, np.random.Generator], Image.Image]


@dataclass(frozen=True, slots=True)
class Transform:
    """How a copy is made: what happens to the pixels, and the JPEG quality it is saved with."""

    alter: Alteration
    quality: int = COPY_QUALITY


@dataclass(frozen=True, slots=True)
class Planted:
    """A planted file; `original` is the planted photo it was made from.

    `transform` is a key of `TRANSFORMS`; of photos that were not altered it is None, and
    `original` their own path.
    """

    path: Path
    original: Path
    transform: str | None


def unchanged(photo: Image.Image, generator: np.random.Generator) -> Image.Image:
    return photo


def resized(share: float) -> Alteration:
    """Shrink both sides to a share."""

    def alter(photo: Image.Image, generator: np.random.Generator) -> Image.Image:
        size = (round(photo.width * share), round(photo.height * share))
        return photo.resize(size, Image.Resampling.LANCZOS)

    return alter


def transposed(method: Image.Transpose) -> Alteration:
    """Mirror or turn."""

    def alter(photo: Image.Image, generator: np.random.Generator) -> Image.Image:
        return photo.transpose(method)

    return alter


def cropped(share: float) -> Alteration:
    """Take a share of the width and of the height away, parted at random between both ends."""

    def alter(photo: Image.Image, generator: np.random.Generator) -> Image.Image:
        width, height = (round(side * (1 - share)) for side in photo.size)
        left = int(generator.integers(photo.width - width + 1))
        top = int(generator.integers(photo.height - height + 1))
        return photo.crop((left, top, left + width, top + height))

    return alter


def brightened(photo: Image.Image, generator: np.random.Generator) -> Image.Image:
    """Multiply the values, so that half of the copies are brighter and half darker."""
    factor = 1 + float(generator.choice((-BRIGHTNESS_STEP, BRIGHTNESS_STEP)))
    return ImageEnhance.Brightness(photo).enhance(factor)


def framed(photo: Image.Image, generator: np.random.Generator) -> Image.Image:
    """Add a white or black frame, as wide as a share of the short side, around the photo."""
    colour = str(generator.choice(("white", "black")))
    return ImageOps.expand(photo, round(BORDER_SHARE * min(photo.size)), colour)


def captioned(photo: Image.Image, generator: np.random.Generator) -> Image.Image:
    """Write across the lower part: black on a white bar, as memes do, or as a watermark."""
    height = round(BAR_SHARE * photo.height)
    top = photo.height - height - round(BAR_GAP_SHARE * photo.height)
    layer = Image.new("RGBA", photo.size)
    draw = ImageDraw.Draw(layer)
    ink: tuple[int, ...] = (255, 255, 255, WATERMARK_OPACITY)
    if generator.random() < 0.5:
        draw.rectangle((0, top, photo.width, top + height), fill="white")
        ink = (0, 0, 0)
    caption = str(generator.choice(CAPTIONS))
    draw.text(
        (photo.width / 2, top + height / 2), caption, anchor="mm", fill=ink,
        font=_fitting_font(caption, width=TEXT_WIDTH_SHARE * photo.width, height=height),
    )  # fmt: skip
    return Image.alpha_composite(photo.convert("RGBA"), layer).convert("RGB")


def _fitting_font(
    text: str, *, width: float, height: float
) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return the font that comes with Pillow, as large as a bar takes."""
    size = FONT_SHARE * height
    length = ImageFont.load_default(size).getlength(text)
    return ImageFont.load_default(size * min(1, width / length))


TRANSFORMS: Mapping[str, Transform] = {
    "jpeg-30": Transform(unchanged, quality=30),
    "jpeg-60": Transform(unchanged, quality=60),
    "jpeg-90": Transform(unchanged, quality=90),
    "resize-25": Transform(resized(0.25)),
    "resize-50": Transform(resized(0.5)),
    "mirror": Transform(transposed(Image.Transpose.FLIP_LEFT_RIGHT)),
    "rotate-90": Transform(transposed(Image.Transpose.ROTATE_90)),
    "rotate-180": Transform(transposed(Image.Transpose.ROTATE_180)),
    "crop-5": Transform(cropped(0.05)),
    "crop-10": Transform(cropped(0.10)),
    "brightness": Transform(brightened),
    "border": Transform(framed),
    "text": Transform(captioned),
}


def plant(
    photos: Sequence[Path], folder: Path, *, seed: int, distractors: Sequence[Path] = ()
) -> list[Planted]:
    """Fill a new folder with photos, a copy of each by every transform, and distractors.

    Photos and distractors are copied byte for byte, under a number and their own name. Altered
    copies are JPEG files without the photo's metadata, as most web sites leave them. What is drawn
    at random depends on the seed and the place of the photo in the list only.
    """
    folder.mkdir(parents=True)
    unaltered = [
        Path(shutil.copyfile(photo, folder / f"{number:05}-{photo.name}"))
        for number, photo in enumerate([*photos, *distractors])
    ]
    planted = [Planted(path, path, None) for path in unaltered]
    for number, original in enumerate(unaltered[: len(photos)]):
        generator = np.random.default_rng([seed, number])
        planted += [
            Planted(_write_copy(original, name, generator), original, name) for name in TRANSFORMS
        ]
    return planted


def _write_copy(original: Path, name: str, generator: np.random.Generator) -> Path:
    """Save what a transform makes of a photo beside it."""
    with Image.open(original) as stored:
        photo = ImageOps.exif_transpose(stored).convert("RGB")
    path = original.with_name(f"{original.stem}-{name}.jpg")
    TRANSFORMS[name].alter(photo, generator).save(path, quality=TRANSFORMS[name].quality)
    return path


def write_manifest(planted: Sequence[Planted], path: Path) -> None:
    """Write `path`, `original`, `transform` as CSV; unaltered photos have no transform."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "original", "transform"))
        writer.writerows((each.path, each.original, each.transform) for each in planted)
