"""Does the pixel quality fall along ladders of growing damage?

Every photo is damaged in every way, at each level of a ladder, saved as a file, and scored as
`isophote index` scores it. A ladder counts as met by a photo when every single step, that from the
original included, lowers the score. The ladders were designed several times over, as anyone may
choose other levels and other programs:

- first: the levels the formula was first set on, saved as PNG; its JPEGs keep their tables.
- whole: whole-pixel blurs, round numbers, other filters, gain instead of light.
- jpeg: the same damage saved as JPEG at quality 95.
- smaller: photos with fewer pixels, not enlarged again.
- hard: what the score cannot be expected to see well; not counted.

    python -m tests.benchmarks.quality_ladders --photos DIR
"""

from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing import Pool
from pathlib import Path

import click
import numpy as np
from PIL import Image

from indexer.arrays import ByteArray, FloatArray
from indexer.decode import decode_photo
from indexer.pixels import PixelMeasures, measure_pixels
from indexer.scoring.pixel_quality import pixel_quality
from tests.benchmarks.machine import describe_machine
from tests.makers import photos as makers

MIN_SIDE = 224
Spoil = Callable[[ByteArray], bytes]


def as_png(damage: Callable[..., ByteArray], *levels: float) -> list[Spoil]:
    return [partial(_png_of, damage, level) for level in levels]


def as_jpeg(damage: Callable[..., ByteArray], *levels: float) -> list[Spoil]:
    return [partial(_jpeg_of, damage, level) for level in levels]


def compressed(*qualities: int) -> list[Spoil]:
    return [partial(makers.image_file, format_name="JPEG", quality=q) for q in qualities]


def _png_of(damage: Callable[..., ByteArray], level: float, pixels: ByteArray) -> bytes:
    return makers.image_file(damage(pixels, level))


def _jpeg_of(damage: Callable[..., ByteArray], level: float, pixels: ByteArray) -> bytes:
    return makers.image_file(damage(pixels, level), "JPEG", quality=95)


def relative_blur(pixels: ByteArray, sigma: float) -> ByteArray:
    """Blur by a width that is stated for a short side of 512 pixels."""
    return makers.blurred(pixels, sigma * min(pixels.shape[:2]) / 512)


def gained(pixels: ByteArray, gain: float) -> ByteArray:
    return makers.to_bytes(pixels * float(gain))


def bent(pixels: ByteArray, gamma: float) -> ByteArray:
    return makers.to_bytes(255.0 * (pixels / 255.0) ** gamma)


def grainy(pixels: ByteArray, sigma: float) -> ByteArray:
    """Add one noise to all three channels."""
    grain = np.random.default_rng(11).normal(0, sigma, (*pixels.shape[:2], 1))
    return makers.to_bytes(pixels + grain)


def enlarged_again(
    pixels: ByteArray, factor: float, *, down: Image.Resampling, up: Image.Resampling
) -> ByteArray:
    image = Image.fromarray(pixels)
    size = (max(round(image.width / factor), 1), max(round(image.height / factor), 1))
    return np.asarray(image.resize(size, down).resize(image.size, up))


def shrunk(pixels: ByteArray, factor: float) -> ByteArray:
    image = Image.fromarray(pixels)
    size = (max(round(image.width / factor), 1), max(round(image.height / factor), 1))
    return np.asarray(image.resize(size, Image.Resampling.LANCZOS))


_LANCZOS, _BILINEAR = Image.Resampling.LANCZOS, Image.Resampling.BILINEAR
_stops_down, _stops_up = [-s for s in makers.EXPOSURE_STOPS], makers.EXPOSURE_STOPS

LADDERS: dict[str, Sequence[Spoil]] = {
    "first blur": as_png(relative_blur, *makers.BLUR_SIGMAS),
    "first noise": as_png(makers.noisy, *makers.NOISE_SIGMAS),
    "first jpeg": compressed(*makers.JPEG_QUALITIES),
    "first downscale": as_png(makers.downscaled, *makers.DOWNSCALE_FACTORS),
    "first underexposure": as_png(makers.exposed, *_stops_down),
    "first overexposure": as_png(makers.exposed, *_stops_up),
    "whole blur": as_png(makers.blurred, 0.5, 1, 2, 3, 4, 6, 8),
    "whole noise": as_png(makers.noisy, 5, 10, 15, 20, 30, 40, 50),
    "whole grain": as_png(grainy, 5, 10, 20, 30, 40, 60),
    "whole jpeg": compressed(95, 85, 70, 50, 30, 15, 5),
    "whole downscale lanczos": as_png(
        partial(enlarged_again, down=_LANCZOS, up=_LANCZOS), 1.5, 2, 3, 4, 6, 8
    ),
    "whole downscale bilinear": as_png(
        partial(enlarged_again, down=_BILINEAR, up=_BILINEAR), 1.5, 2, 3, 4, 6, 8
    ),
    "whole underexposure": as_png(gained, 0.8, 0.65, 0.5, 0.35, 0.25, 0.15, 0.08),
    "whole overexposure": as_png(gained, 1.2, 1.5, 1.8, 2.2, 2.7, 3.5, 5.0),
    "whole bright gamma": as_png(bent, 0.8, 0.65, 0.5, 0.4, 0.3, 0.2),
    "jpeg blur": as_jpeg(makers.blurred, 0.5, 1, 2, 3, 4, 6, 8),
    "jpeg noise": as_jpeg(makers.noisy, 5, 10, 15, 20, 30, 40, 50),
    "jpeg downscale": as_jpeg(makers.downscaled, 1.5, 2, 3, 4, 6, 8),
    "jpeg underexposure": as_jpeg(makers.exposed, *_stops_down),
    "jpeg overexposure": as_jpeg(makers.exposed, *_stops_up),
    "smaller lanczos": as_png(shrunk, 1.5, 2, 3, 4, 6, 8),
    "hard jpeg saved as png": as_png(makers.recompressed, 80, 50, 30, 20, 10, 5),
    "hard dark gamma": as_png(bent, 1.3, 1.6, 2.0, 2.5, 3.2, 4.0),
    "hard fine underexposure": as_jpeg(makers.exposed, -0.3, -0.6, -1.0, -1.5, -2.0, -3.0),
    "hard fine overexposure": as_jpeg(makers.exposed, 0.3, 0.6, 1.0, 1.5, 2.0, 3.0),
    "hard blocky downscale": as_png(
        partial(enlarged_again, down=_LANCZOS, up=Image.Resampling.NEAREST), 2, 3, 4, 6, 8, 12
    ),
}


def measured(content: bytes) -> dict[str, float]:
    """Return the measures of a file, as indexing takes them."""
    photo = decode_photo(content, min_side=MIN_SIDE)
    pixels = measure_pixels(photo.pixels)
    return {
        **{name: getattr(pixels, name) for name in PixelMeasures.__slots__},
        "width": photo.width,
        "height": photo.height,
        "jpeg_quality": np.nan if photo.jpeg_quality is None else photo.jpeg_quality,
    }


def scores(rows: Sequence[dict[str, float]]) -> FloatArray:
    return pixel_quality({name: np.array([row[name] for row in rows], "f4") for name in rows[0]})


def met_ladders(file: Path) -> tuple[float, dict[str, bool]]:
    """Score a photo and every level of every ladder; return its quality and what it met.

    A ladder starts from the photo's pixels saved as PNG; the tables of a JPEG would be lost with
    the first step otherwise, and only that would be measured. Ladders of compression start from
    the file itself, without the levels that damage it less than its own compression did.
    """
    content = file.read_bytes()
    pixels = decode_photo(content, min_side=MIN_SIDE).pixels
    met = {}
    for name, levels in LADDERS.items():
        is_compression = "jpeg" in name.split()[1]
        original = measured(content if is_compression else makers.image_file(pixels))
        rows = [measured(spoil(pixels)) for spoil in levels]
        if is_compression:
            rows = [row for row in rows if not row["jpeg_quality"] >= original["jpeg_quality"]]
        met[name] = bool((np.diff(scores([original, *rows])) < 0).all())
    return float(scores([measured(content)])[0]), met


@click.command()
@click.option(
    "--photos", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True,
    help="Folder of undamaged pictures, such as Kodak's 24.",
)  # fmt: skip
@click.option("--limit", default=24, show_default=True, help="Number of pictures to take.")
@click.option("--skip", default=0, show_default=True, help="Pictures to leave out before them.")
@click.option("--processes", default=2, show_default=True)
def main(photos: Path, limit: int, skip: int, processes: int) -> None:
    """Print the share of ladders along which the score falls at every step."""
    files = sorted(path for path in photos.rglob("*") if path.suffix.lower() in {".png", ".jpg"})
    chosen = files[skip : skip + limit]
    if not chosen:
        raise click.ClickException(f"{photos} holds no PNG or JPEG files")
    click.echo(describe_machine(("numpy", "pillow")))
    click.echo(f"{len(chosen)} pictures from {photos}, {skip} left out before them")
    with Pool(processes) as pool:
        answers = pool.map(met_ladders, chosen, chunksize=1)
    originals = [quality for quality, _ in answers]
    click.echo(f"originals: quantiles 0/25/50/75/100 % {np.quantile(originals, np.arange(5) / 4)}")
    for name in LADDERS:
        flags = [met[name] for _, met in answers]
        click.echo(f"{name:26s} {sum(flags)} of {len(flags)}")
    for design in dict.fromkeys(name.split()[0] for name in LADDERS):
        shares = [met[name] for _, met in answers for name in LADDERS if name.startswith(design)]
        click.echo(f"design {design:19s} {np.mean(shares):.1%}")


if __name__ == "__main__":
    main()
