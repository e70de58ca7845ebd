"""How near does `isophote index` come to what the machine's cores allow?

Photos of 1 and 12 megapixels are made from the sample photos. For each size, in one run: the
preparation of photos alone (read, hash, decode, measure, preprocess), the encoder alone, and the
whole of `isophote index` into a new collection, model loading and commits included. Bound: no
run can take less than the CPU seconds of preparing and encoding, divided by the cores.

    python -m tests.benchmarks.ingest
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click
import numpy as np
from PIL import Image

from indexer.encoders.onnx import open_pocket
from indexer.prepare import PreparedPhoto, prepare_photo
from indexer.scan import ScannedFile, scan
from indexer.settings import Settings, available_cores
from schemas.model import Preprocessing
from service.indexing import index_photos
from tests.benchmarks.machine import describe_machine

TARGET_SHARE = 0.85
JPEG_QUALITY = 88


@dataclass(frozen=True, slots=True)
class Cost:
    """Wall and CPU seconds of one stage over all photos."""

    wall: float
    cpu: float


def make_photos(folder: Path, sources: Sequence[Path], *, count: int, megapixels: float) -> None:
    """Write JPEGs, each another crop of a sample photo, enlarged, with sensor-like noise."""
    folder.mkdir()
    side = (round((megapixels * 1e6 * 4 / 3) ** 0.5), round((megapixels * 1e6 * 3 / 4) ** 0.5))
    rng = np.random.default_rng(count)
    noise = Image.fromarray(rng.normal(128, 6, (side[1], side[0], 3)).astype(np.uint8))
    for number in range(count):
        with Image.open(sources[number % len(sources)]) as opened:
            source = opened.convert("RGB")
        inset = rng.uniform(0, 0.2, 2) * source.size
        box = (*inset, source.width - inset[0], source.height - inset[1])
        photo = source.resize(side, Image.Resampling.BILINEAR, box=box)
        photo = Image.blend(photo, noise, 0.1)
        photo.save(folder / f"{number:05}.jpg", quality=JPEG_QUALITY)


def timed(work: Callable[[], object]) -> Cost:
    """Run once; CPU seconds are those of all threads."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Cost(time.perf_counter() - wall, time.process_time() - cpu)


def prepare_all(files: Sequence[ScannedFile], preprocessing: Preprocessing, cores: int) -> Cost:
    """Prepare all files on all cores, keeping nothing."""
    prepare = partial(
        prepare_photo, preprocessing=preprocessing, max_pixels=200_000_000, known_hashes=()
    )

    def work() -> None:
        with ThreadPoolExecutor(cores) as pool:
            for start in range(0, len(files), 64):
                for prepared in pool.map(prepare, files[start : start + 64]):
                    if not isinstance(prepared, PreparedPhoto):
                        raise click.ClickException(f"a photo made here failed: {prepared}")

    return timed(work)


def encode_all(n_photos: int, cores: int, batch_size: int) -> Cost:
    """Encode as many random pictures, in the batches of an ingest."""
    encoder = open_pocket(n_threads=cores)
    about = encoder.description.preprocessing
    rng = np.random.default_rng(0)
    batch = rng.integers(0, 256, (batch_size, about.height, about.width, 3), dtype=np.uint8)
    encoder.encode_images(batch)

    def work() -> None:
        for start in range(0, n_photos, batch_size):
            encoder.encode_images(batch[: n_photos - start])

    return timed(work)


def index_all(folder: Path, settings: Settings) -> Cost:
    """Index the folder into a new collection."""
    return timed(lambda: index_photos([folder], settings=settings, report=lambda _: None))


def measure(folder: Path, *, cores: int, repeats: int) -> str:
    """Return one line of the table for a folder of photos."""
    files = [found for found in scan(folder) if isinstance(found, ScannedFile)]
    encoder = open_pocket(n_threads=cores)
    rows = []
    for _ in range(repeats):
        prepared = prepare_all(files, encoder.description.preprocessing, cores)
        with tempfile.TemporaryDirectory() as place:
            settings = Settings(collection=f"{place}/collection", threads=cores)
            whole = index_all(folder, settings)
            encoded = encode_all(len(files), cores, settings.batch_size)
        bound = (prepared.cpu + encoded.cpu) / cores
        rows.append((bound / whole.wall, prepared, encoded, whole))
    share, prepared, encoded, whole = sorted(rows, key=lambda row: row[0])[len(rows) // 2]
    rates = [len(files) / cost.wall for cost in (prepared, encoded, whole)]
    return (
        f"{len(files):6} {rates[0]:12.1f} {rates[1]:12.1f} {rates[2]:12.1f} "
        f"{share:10.0%}  {'met' if share >= TARGET_SHARE else 'missed'}"
    )


@click.command()
@click.option("--small", default=2000, show_default=True, help="Photos of 1 megapixel.")
@click.option("--large", default=200, show_default=True, help="Photos of 12 megapixels.")
@click.option("--repeats", default=3, show_default=True, help="The median run is printed.")
@click.option(
    "--photos",
    type=click.Path(path_type=Path, exists=True),
    default="data/photos",
    show_default=True,
    help="Folder of photos that the benchmark's are made from.",
)
def main(small: int, large: int, repeats: int, photos: Path) -> None:
    """Measure the ingest of small and large photos."""
    cores = available_cores()
    click.echo(describe_machine())
    click.echo(
        f"seed: the number of photos; pocket model; {cores} threads; batch {Settings().batch_size}"
    )
    sources = sorted(path for path in photos.rglob("*.jpg") if "planted" not in path.parts)
    click.echo("photos/s:    MP photos      prepare       encode   end to end   of bound  >= 85 %")
    with tempfile.TemporaryDirectory() as place:
        for megapixels, count in ((1, small), (12, large)):
            folder = Path(place, str(megapixels))
            make_photos(folder, sources, count=count, megapixels=megapixels)
            line = measure(folder, cores=cores, repeats=repeats)
            click.echo(f"            {megapixels:3} {line}")


if __name__ == "__main__":
    main()
