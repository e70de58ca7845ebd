"""What does a second run over unchanged files cost, and one after a folder was renamed?

Tiny JPEGs, each with bytes of its own, a thousand to a folder, and the stub encoder of the tests.
Every run is a process of its own, its start and its imports included. Beside it: a bare walk of
the same tree that lists every folder and asks for every file's size and time.

    python -m tests.benchmarks.unchanged
"""

import os
import tempfile
import time
from pathlib import Path

import click

from tests.benchmarks.machine import describe_machine
from tests.benchmarks.tiny_photos import (
    PHOTOS_PER_FOLDER,
    IndexRun,
    index_in_process,
    make_tiny_photos,
)

TARGET_SECONDS = 5.0


def walk_seconds(folder: Path) -> float:
    """Time a walk that does no more than it must."""
    started = time.perf_counter()
    waiting = [str(folder)]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir():
                    waiting.append(entry.path)
                else:
                    entry.stat()
    return time.perf_counter() - started


def report_run(name: str, run: IndexRun, verdict: str) -> None:
    """Print one line of the table."""
    summary = run.summary
    counts = [summary[f"n_{kind}"] for kind in ("files", "unchanged", "reused", "deleted")]
    columns = "".join(f"{count:>11,}" for count in counts)
    click.echo(f"{name:<24}{columns}{run.n_encoded:>11,}{run.seconds:>9.2f}  {verdict}")


@click.command()
@click.option("--photos", default=100_000, show_default=True)
@click.option("--renamed", default=10_000, show_default=True, help="Photos of the renamed folder.")
@click.option("--repeats", default=3, show_default=True, help="Second runs; the median is shown.")
def main(photos: int, renamed: int, repeats: int) -> None:
    """Time the runs that should cost next to nothing."""
    began = time.perf_counter()
    click.echo(describe_machine(("lancedb", "numpy", "pyarrow")))
    with tempfile.TemporaryDirectory() as place:
        folder, collection = Path(place, "photos"), Path(place, "collection")
        make_tiny_photos(folder / "kept", count=photos - renamed)
        make_tiny_photos(folder / "old name", count=renamed, first=photos - renamed)
        click.echo(f"{photos:,} photos, {PHOTOS_PER_FOLDER:,} to a folder; no random numbers")
        click.echo(
            f"{'':<24}{'files':>11}{'unchanged':>11}{'reused':>11}{'deleted':>11}"
            f"{'encoded':>11}{'seconds':>9}"
        )
        first = index_in_process(folder, collection)
        report_run("first run", first, f"{photos / first.seconds:,.0f} photos/s")
        runs = [index_in_process(folder, collection) for _ in range(repeats)]
        second = sorted(runs, key=lambda run: run.seconds)[len(runs) // 2]
        is_met = second.seconds < TARGET_SECONDS and second.summary["n_unchanged"] == photos
        report_run(
            "unchanged", second, f"under {TARGET_SECONDS:g} s {'met' if is_met else 'missed'}"
        )
        click.echo(f"{'bare walk with stat':<24}{'':>55}{walk_seconds(folder):>9.2f}")
        (folder / "old name").rename(folder / "new name")
        moved = index_in_process(folder, collection)
        # Every photo that is decoded is encoded: no encoding means no decoding.
        is_met = (moved.n_encoded, moved.summary["n_reused"]) == (0, renamed)
        report_run(
            f"{renamed:,} renamed", moved, f"nothing encoded {'met' if is_met else 'missed'}"
        )
    click.echo(f"this took {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
