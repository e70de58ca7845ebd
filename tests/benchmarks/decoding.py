"""How fast is scaled decoding, and how far from decoding in full?

On one core, for JPEGs of several sizes: photos per second of `decode_photo` + `preprocess`
against Pillow's full decode + bicubic resize (what open_clip's own transform does), the
difference of the results in grey levels, and what it does to the embedding of the built-in model.
Photos smaller than a camera's are enlarged, with the noise of a sensor; JPEGs in the folder that
have a megapixel or more are also measured as they are.

    python -m tests.benchmarks.decoding --photos DIR
"""

import itertools
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from io import BytesIO
from pathlib import Path

import click
import numpy as np
from PIL import Image

from indexer.arrays import ByteArray, FloatArray
from indexer.decode import decode_photo
from indexer.encoders.encoder import Encoder
from indexer.encoders.onnx import open_pocket
from indexer.preprocess import decoding_side, preprocess
from indexer.spaces import encoded_column, space_map
from schemas.model import Preprocessing, Space
from tests.benchmarks.machine import describe_machine
from tests.makers.enlarged import (
    CAMERA_MULTIPLE,
    JPEG_QUALITY,
    NOISE_STEP,
    enlarged_jpeg,
    noise_deviation,
    photo_files,
)
from tests.makers.photos import drawn_photo

MEGAPIXELS = (1, 3, 12, 24)
COMPARED_MEGAPIXELS = 12
OWN_SIZE_PIXELS = 1_000_000
# Multiple of the sides and step of the noise.
ENLARGED_KINDS = ((CAMERA_MULTIPLE, 2), (CAMERA_MULTIPLE, 3), (1, 2))
TARGET_COSINE = 0.995
BATCH = 32


def scaled_decoding(content: bytes, about: Preprocessing) -> ByteArray:
    """What indexing does."""
    photo = decode_photo(content, min_side=decoding_side(about))
    return preprocess(photo.pixels, about, extent=photo.extent)


def full_decoding(content: bytes, about: Preprocessing) -> ByteArray:
    """Every pixel decoded by Pillow, then resized."""
    with Image.open(BytesIO(content)) as image:
        return preprocess(np.asarray(image.convert("RGB")), about)


def some_of(paths: Sequence[Path], limit: int) -> list[Path]:
    """Take so many, evenly spread."""
    return (
        [paths[n * len(paths) // limit] for n in range(limit)] if len(paths) > limit else [*paths]
    )


def open_photos(folder: Path | None, *, limit: int) -> list[tuple[str, Image.Image]]:
    """Open some photos of a folder, or draw some pictures."""
    if folder is None:
        sizes = {"width": 768, "height": 512}
        return [
            (f"drawing {seed}", Image.fromarray(drawn_photo(seed, **sizes)))
            for seed in range(limit)
        ]
    photos = []
    for path in some_of(photo_files(folder), limit):
        with Image.open(path) as image:
            photos.append((path.name, image.convert("RGB")))
    return photos


def photos_of_own_size(folder: Path | None, *, limit: int) -> list[bytes]:
    """Read JPEG files that are large enough as they are."""
    if folder is None:
        return []
    large = [path for path in photo_files(folder) if path.suffix == ".jpg" and is_large(path)]
    return [path.read_bytes() for path in some_of(large, limit)]


def is_large(path: Path) -> bool:
    """Look at a photo's header."""
    with Image.open(path) as image:
        return image.width * image.height >= OWN_SIZE_PIXELS


def seconds_per_photo(decode: Callable[[bytes], ByteArray], contents: list[bytes]) -> float:
    """Time one pass over all files."""
    start = time.perf_counter()
    for content in contents:
        decode(content)
    return (time.perf_counter() - start) / len(contents)


def compare_speed(contents: list[bytes], about: Preprocessing, repeats: int) -> str:
    """Time both ways in turn, so that a busy machine slows both, and compare their pixels."""
    ways = (lambda content: scaled_decoding(content, about), lambda c: full_decoding(c, about))
    passes = [
        seconds_per_photo(way, contents)
        for way in itertools.chain(*itertools.repeat(ways, repeats))
    ]
    scaled, full = passes[::2], passes[1::2]
    ratios = [slow / quick for quick, slow in zip(scaled, full, strict=True)]
    differences = [np.abs(ways[0](content).astype(int) - ways[1](content)) for content in contents]
    return (
        f"{1 / min(scaled):8.1f} {1 / min(full):7.1f}  {statistics.median(ratios):5.2f} "
        f"({min(ratios):.2f}..{max(ratios):.2f})         "
        f"{np.mean(differences):.2f} and {np.max(differences)}"
    )


def print_agreement(contents: Iterable[bytes], names: Sequence[str]) -> None:
    """Compare tower inputs, and embeddings of the built-in model, after either way of decoding."""
    encoder = open_pocket(n_threads=1)
    about = encoder.description.require_preprocessing()
    pairs = [(scaled_decoding(c, about), full_decoding(c, about)) for c in contents]
    scaled, full = (np.stack(way) for way in zip(*pairs, strict=True))
    differences = np.abs(scaled.astype(np.int16) - full)
    click.echo(f"  grey levels: mean {differences.mean():.2f}, largest {differences.max()}")
    for space in (encoder.description.default_image_space, "clip"):
        ours, theirs = (embeddings(encoder, space, pixels) for pixels in (scaled, full))
        cosines = np.sum(ours * theirs, axis=1)
        worst = int(np.argmin(cosines))
        click.echo(
            f"  {space:5} cosine: minimum {cosines[worst]:.5f} ({names[worst]}), 1st percentile "
            f"{np.percentile(cosines, 1):.5f}, mean {cosines.mean():.5f}; minimum over "
            f"{TARGET_COSINE} {'met' if cosines[worst] > TARGET_COSINE else 'missed'}"
        )


def embeddings(encoder: Encoder, space: Space, pixels: ByteArray) -> FloatArray:
    """Encode tower inputs and map them into a space: unit vectors."""
    model = encoder.description
    to_space = space_map(space, model=model, projectors=encoder.projectors, band=model.band)
    batches = [
        encoded_column(encoder.encode_images(pixels[start : start + BATCH]), to_space.column)
        for start in range(0, len(pixels), BATCH)
    ]
    return to_space.image_vectors(np.concatenate(batches))


def print_speeds(photos: Sequence[Image.Image], own: list[bytes], repeats: int) -> None:
    """Print one line per size, and one for large photos as they are."""
    about = open_pocket(n_threads=1).description.require_preprocessing()
    click.echo("   MP  scaled/s  full/s  ratio (lowest..highest)  mean and largest difference")
    for megapixels in MEGAPIXELS:
        contents = [
            enlarged_jpeg(photo, megapixels=megapixels, seed=seed)
            for seed, photo in enumerate(photos)
        ]
        click.echo(f"{megapixels:5d}  {compare_speed(contents, about, repeats)}")
    if own:
        click.echo(f"  own  {compare_speed(own, about, repeats)}")


@click.command()
@click.option(
    "--photos",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of photos; seeded drawings without it.",
)
@click.option("--limit", default=6, show_default=True, help="Photos that are timed.")
@click.option("--compared", default=200, show_default=True, help="Photos that are embedded.")
@click.option("--repeats", default=5, show_default=True, help="Alternating passes of each way.")
def main(photos: Path | None, limit: int, compared: int, repeats: int) -> None:
    """Print the speed of both ways, their ratio, and how far their results are apart."""
    click.echo(describe_machine(("pillow", "pillow-heif", "numpy", "onnxruntime")))
    timed = [photo for _, photo in open_photos(photos, limit=limit)]
    if not timed:
        raise click.ClickException(f"{photos} holds no PNG or JPEG files")
    click.echo(
        f"{len(timed)} photos ({photos or 'drawings'}), enlarged, noise of "
        f"{noise_deviation(NOISE_STEP):.1f} grey levels (seeds 0..), JPEG quality {JPEG_QUALITY}; "
        f"{repeats} repeats"
    )
    print_speeds(timed, photos_of_own_size(photos, limit=limit), repeats)
    print_agreements(photos, limit=compared)


def print_agreements(folder: Path | None, *, limit: int) -> None:
    """Compare the results for enlarged photos of two kinds, and for large ones as they are."""
    named = open_photos(folder, limit=limit)
    for multiple, noise_step in ENLARGED_KINDS:
        sides = "like a camera's" if multiple == CAMERA_MULTIPLE else "any, as after cropping"
        click.echo(
            f"{len(named)} photos enlarged to {COMPARED_MEGAPIXELS} MP, sides {sides}, noise of "
            f"{noise_deviation(noise_step):.1f} grey levels:"
        )
        contents = (
            enlarged_jpeg(
                photo,
                megapixels=COMPARED_MEGAPIXELS,
                seed=seed,
                multiple=multiple,
                noise_step=noise_step,
            )
            for seed, (_, photo) in enumerate(named)
        )
        print_agreement(contents, [name for name, _ in named])
    own = photos_of_own_size(folder, limit=limit)
    if own:
        click.echo(f"{len(own)} photos of 1 MP or more as they are:")
        print_agreement(own, [f"number {n}" for n in range(len(own))])


if __name__ == "__main__":
    main()
