"""How much memory does an ingest take, and does it grow with the photos?

Of the process and all its children, pages that they share counted once (PSS), every 0.2 s: the
peak of each quarter of the photos, and of the end, when the search index is built. Many tiny
photos with the stub encoder of the tests, and a few of 12 megapixels with the built-in model.

    python -m tests.benchmarks.memory
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click

from indexer.settings import Settings
from tests.benchmarks.machine import describe_machine
from tests.benchmarks.tiny_photos import IndexRun, index_in_process, make_tiny_photos
from tests.makers.enlarged import photo_files, write_enlarged_photos

TARGET_MEGABYTES = 1000
# From the second quarter to the last: in the first the processes are still starting.
TARGET_GROWTH = 1.25


def quarter_peaks(run: IndexRun) -> list[float]:
    """Return the peak MB of each quarter of the photos, and of what comes after the last."""
    peaks = [0.0] * 5
    for share, megabytes in run.memory:
        quarter = min(int(4 * share), 4)
        peaks[quarter] = max(peaks[quarter], megabytes)
    return peaks


def report_case(name: str, make: Callable[[Path], None], *, model: str, is_flat: bool) -> None:
    """Make photos, index them, and print one line of the table."""
    with tempfile.TemporaryDirectory() as place:
        photos = Path(place, "photos")
        make(photos)
        run = index_in_process(photos, Path(place, "collection"), model=model, with_memory=True)
    n_images = run.summary["n_images"]
    peaks = quarter_peaks(run)
    growth = peaks[3] / peaks[1] if peaks[1] else float("nan")
    verdicts = ["met" if max(peaks) < TARGET_MEGABYTES else "missed"]
    if is_flat:
        verdicts.append(f"flat {'met' if growth <= TARGET_GROWTH else 'missed'} ({growth:.2f})")
    rounded = [round(peak) for peak in (*peaks, max(peaks))]
    columns = "".join(f"{peak or '-':>8}" for peak in rounded)
    click.echo(
        f"{name:<22}{n_images:>9,}{n_images / run.seconds:>10.1f}{columns}  {', '.join(verdicts)}"
    )


@click.command()
@click.option("--tiny", default=200_000, show_default=True, help="Photos of 16 x 16 pixels.")
@click.option("--large", default=60, show_default=True, help="Photos of 12 megapixels.")
@click.option(
    "--photos",
    type=click.Path(path_type=Path, exists=True),
    default="data/photos",
    show_default=True,
    help="Folder of photos that the large ones are made from.",
)
def main(tiny: int, large: int, photos: Path) -> None:
    """Measure the memory of two ingests."""
    began = time.perf_counter()
    click.echo(describe_machine())
    settings = Settings()
    click.echo(
        f"{settings.threads} threads, batch {settings.batch_size}, {settings.append_rows:,} rows a "
        f"commit; seed: the number of photos; targets: under {TARGET_MEGABYTES:,} MB; rows: last "
        f"quarter at most {TARGET_GROWTH} of the second"
    )
    header = "".join(f"{part:>8}" for part in ("0-25 %", "-50 %", "-75 %", "-100 %", "end", "peak"))
    click.echo(f"{'MB (PSS of all)':<22}{'photos':>9}{'photos/s':>10}{header}")
    report_case(
        "tiny, stub encoder",
        lambda folder: make_tiny_photos(folder, count=tiny),
        model="stub",
        is_flat=True,
    )
    sources = photo_files(photos)
    report_case(
        "12 MP, pocket model",
        lambda folder: write_enlarged_photos(folder, sources, count=large, megapixels=12),
        model="pocket",
        is_flat=False,
    )
    click.echo(f"this took {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
