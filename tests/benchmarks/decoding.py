"""How fast is scaled decoding, and how far from decoding in full?

On one core, for JPEGs of several sizes: pictures per second of `decode_photo` + `preprocess`
against Pillow's full decode + bicubic resize, and the difference of the results in grey levels.

    python -m tests.benchmarks.decoding --photos DIR
"""

import itertools
import statistics
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import click
import numpy as np
from PIL import Image

from indexer.arrays import ByteArray
from indexer.decode import decode_photo
from indexer.preprocess import decoding_side, preprocess
from schemas.model import Preprocessing
from tests.benchmarks.machine import describe_machine
from tests.makers.photos import drawn_photo, image_file

MEGAPIXELS = (1, 3, 12, 24)
JPEG_QUALITY = 90
TARGET = Preprocessing(
    height=224,
    width=224,
    resize="shortest",
    interpolation="bicubic",
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
)


def scaled_decoding(content: bytes) -> ByteArray:
    """What indexing does."""
    return preprocess(decode_photo(content, min_side=decoding_side(TARGET)).pixels, TARGET)


def full_decoding(content: bytes) -> ByteArray:
    """Every pixel decoded by Pillow, then resized."""
    with Image.open(BytesIO(content)) as image:
        return preprocess(np.asarray(image.convert("RGB")), TARGET)


def source_pictures(photos: Path | None, *, limit: int, seed: int) -> list[Image.Image]:
    """Open the pictures of a folder, or draw some."""
    if photos is None:
        return [Image.fromarray(drawn_photo(seed + n, width=768, height=512)) for n in range(limit)]
    files = sorted(path for path in photos.iterdir() if path.suffix.lower() in {".png", ".jpg"})
    return [Image.open(path).convert("RGB") for path in files[:limit]]


def jpeg_of(picture: Image.Image, megapixels: float) -> bytes:
    """Enlarge a picture to a number of pixels and compress it."""
    factor = (megapixels * 1e6 / (picture.width * picture.height)) ** 0.5
    size = (round(picture.width * factor), round(picture.height * factor))
    return image_file(picture.resize(size, Image.Resampling.BICUBIC), "JPEG", quality=JPEG_QUALITY)


def seconds_per_picture(decode: Callable[[bytes], ByteArray], contents: list[bytes]) -> float:
    """Time one pass over all files."""
    start = time.perf_counter()
    for content in contents:
        decode(content)
    return (time.perf_counter() - start) / len(contents)


@click.command()
@click.option(
    "--photos",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of pictures to enlarge; seeded drawings without it.",
)
@click.option("--limit", default=6, show_default=True, help="Number of pictures.")
@click.option("--repeats", default=5, show_default=True, help="Alternating passes of each way.")
@click.option("--seed", default=0, show_default=True, help="Seed of the drawings.")
def main(photos: Path | None, limit: int, repeats: int, seed: int) -> None:
    """Print pictures per second of both ways, their ratio, and the difference of the results."""
    click.echo(describe_machine(("pillow", "pillow-heif", "numpy")))
    pictures = source_pictures(photos, limit=limit, seed=seed)
    if not pictures:
        raise click.ClickException(f"{photos} holds no PNG or JPEG files")
    origin = photos or f"drawings, seed {seed}"
    click.echo(f"{len(pictures)} pictures ({origin}), {repeats} repeats, quality {JPEG_QUALITY}")
    click.echo("   MP  scaled/s  full/s  ratio (lowest..highest)  mean and largest difference")
    for megapixels in MEGAPIXELS:
        contents = [jpeg_of(picture, megapixels) for picture in pictures]
        click.echo(f"{megapixels:5d}  {compare(contents, repeats)}")


def compare(contents: list[bytes], repeats: int) -> str:
    """Time both ways in turn, so that a busy machine slows both, and compare their pixels."""
    ways = (scaled_decoding, full_decoding)
    passes = [
        seconds_per_picture(way, contents)
        for way in itertools.chain(*itertools.repeat(ways, repeats))
    ]
    scaled, full = passes[::2], passes[1::2]
    ratios = [slow / quick for quick, slow in zip(scaled, full, strict=True)]
    differences = [
        np.abs(scaled_decoding(content).astype(int) - full_decoding(content))
        for content in contents
    ]
    return (
        f"{1 / min(scaled):8.1f} {1 / min(full):7.1f}  {statistics.median(ratios):5.2f} "
        f"({min(ratios):.2f}..{max(ratios):.2f})         "
        f"{np.mean(differences):.2f} and {np.max(differences)}"
    )


if __name__ == "__main__":
    main()
