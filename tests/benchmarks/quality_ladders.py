"""Does the pixel quality score fall along ladders of growing damage?

For every photo and every kind of damage the score is taken at the original and at each level. A
ladder counts as met when every single step lowers the score.

    python -m tests.benchmarks.quality_ladders --photos DIR
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import click
import numpy as np

from indexer.arrays import ByteArray, FloatArray
from indexer.decode import DecodedPhoto, decode_photo
from indexer.pixels import PixelMeasures, measure_pixels
from indexer.scoring.pixel_quality import pixel_quality
from tests.benchmarks.machine import describe_machine
from tests.makers import photos as makers

MIN_SIDE = 224
Damage = Callable[[ByteArray], tuple[ByteArray, float]]


def untagged(spoil: Callable[..., ByteArray], level: float) -> Damage:
    """Damage after which no JPEG tables tell the quality."""
    return lambda pixels: (spoil(pixels, level), np.nan)


def blur(sigma: float) -> Damage:
    """Blur by a width that is stated for a short side of 512 pixels."""
    return lambda pixels: (makers.blurred(pixels, sigma * min(pixels.shape[:2]) / 512), np.nan)


def jpeg(quality: int) -> Damage:
    return lambda pixels: (makers.recompressed(pixels, quality), quality)


LADDERS: dict[str, Sequence[Damage]] = {
    "blur": [blur(sigma) for sigma in makers.BLUR_SIGMAS],
    "noise": [untagged(makers.noisy, sigma) for sigma in makers.NOISE_SIGMAS],
    "jpeg": [jpeg(quality) for quality in makers.JPEG_QUALITIES],
    "downscale": [untagged(makers.downscaled, factor) for factor in makers.DOWNSCALE_FACTORS],
    "underexposure": [untagged(makers.exposed, -stops) for stops in makers.EXPOSURE_STOPS],
    "overexposure": [untagged(makers.exposed, stops) for stops in makers.EXPOSURE_STOPS],
    "jpeg without its tables": [
        untagged(makers.recompressed, quality) for quality in makers.JPEG_QUALITIES
    ],
}


def scores(pictures: Sequence[tuple[ByteArray, float]]) -> FloatArray:
    """Measure and score pixels, each with its JPEG quality or NaN."""
    measures = [measure_pixels(pixels) for pixels, _ in pictures]
    columns = {
        name: np.array([getattr(measure, name) for measure in measures], dtype=np.float32)
        for name in PixelMeasures.__slots__
    }
    qualities = np.array([quality for _, quality in pictures], dtype=np.float32)
    return pixel_quality(**columns, jpeg_quality=qualities)


def ladder(photo: DecodedPhoto, levels: Sequence[Damage]) -> FloatArray:
    """Score the original and each level of damage that is worse than the file's own JPEG quality.

    Damage does not undo earlier compression: the worse of the two qualities counts.
    """
    original = float(photo.jpeg_quality or np.nan)
    damaged = (damage(photo.pixels) for damage in levels)
    return scores(
        [(photo.pixels, original)]
        + [
            (pixels, np.fmin(quality, original))
            for pixels, quality in damaged
            if not quality >= original
        ]
    )


@click.command()
@click.option(
    "--photos", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True,
    help="Folder of undamaged pictures, such as Kodak's 24.",
)  # fmt: skip
@click.option("--limit", default=24, show_default=True, help="Number of pictures to take.")
def main(photos: Path, limit: int) -> None:
    """Print the share of ladders along which the score falls at every step."""
    files = sorted(path for path in photos.iterdir() if path.suffix.lower() in {".png", ".jpg"})
    pictures = [decode_photo(file.read_bytes(), min_side=MIN_SIDE) for file in files[:limit]]
    if not pictures:
        raise click.ClickException(f"{photos} holds no PNG or JPEG files")
    click.echo(describe_machine(("numpy", "pillow")))
    click.echo(f"{len(pictures)} pictures from {photos}")
    originals = scores([(p.pixels, p.jpeg_quality or np.nan) for p in pictures])
    click.echo(f"originals: quantiles 0/25/50/75/100 % {np.quantile(originals, np.arange(5) / 4)}")
    met = {
        name: [bool((np.diff(ladder(picture, levels)) < 0).all()) for picture in pictures]
        for name, levels in LADDERS.items()
    }
    for name, flags in met.items():
        click.echo(f"{name:24s} {sum(flags)} of {len(flags)}")
    counted = [flag for name, flags in met.items() if "without" not in name for flag in flags]
    click.echo(f"the six ladders together: {np.mean(counted):.1%}")


if __name__ == "__main__":
    main()
