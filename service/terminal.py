"""What the command line shows: results as lines on stdout, progress and notes on stderr.

Lines, and no tables: they survive a narrow terminal, a pipe and grep.
"""

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from indexer.ingest import IngestProgress
from schemas.quality import RatedPhoto
from schemas.results import (
    CollectionReport,
    ExportAgreement,
    Failure,
    Hit,
    IngestSummary,
    RetrySummary,
    SearchResult,
)
from service.demo import Demo
from service.lines import counted

# Often enough to see that it lives, rare enough not to fill a log overnight.
LOG_SECONDS = 5.0

SHOWN_FAILURES = 20
SHOWN_REASONS = 5

# A newline or an escape sequence in a file's name must not reach the terminal.
_CONTROLS = {code: f"\\x{code:02x}" for code in [*range(0x20), *range(0x7F, 0xA0)]}


@contextmanager
def show_progress() -> Iterator[Callable[[IngestProgress], None]]:
    """Show an ingest's progress: a bar on a terminal, a line every few seconds in a log."""
    if sys.stderr.isatty():
        with _progress_bar() as report:
            yield report
    else:
        yield _LogLines()


def show_ingest(summary: IngestSummary, *, with_counts: bool) -> None:
    """Print what an ingest run did, and on stderr what needs attention."""
    if with_counts:
        click.echo(_counts_line(summary))
        click.echo(
            f"The collection {shown_path(summary.collection)} holds "
            f"{counted(summary.n_images, 'photo')}."
        )
    for failure in summary.failures[:SHOWN_FAILURES]:
        click.echo(_failure_line(failure), err=True)
    if len(summary.failures) > SHOWN_FAILURES:
        more = len(summary.failures) - SHOWN_FAILURES
        click.echo(f"... and {more:,} more; see `isophote failures`", err=True)
    for held in summary.held_deletions:
        click.echo(
            f"{shown_path(held.root)}: {held.n_missing:,} of {held.n_known:,} indexed photos are "
            "missing. Nothing was removed from the index: is the drive mounted? If they are "
            "gone for good, run again with --confirm-deletions.",
            err=True,
        )
    if summary.interrupted:
        click.echo(
            f"Interrupted with {counted(summary.n_pending, 'photo')} to go; everything finished is "
            "kept. Run the same command to go on.",
            err=True,
        )


def show_watch_run(summary: IngestSummary, *, as_json: bool) -> None:
    """Print what one run of a watch did, on one line; on stderr what needs attention."""
    if as_json:
        click.echo(summary.model_dump_json())
    elif told := _changes_told(summary):
        click.echo(f"{_now()}  {told}; {counted(summary.n_images, 'photo')} in all.")
    show_ingest(summary, with_counts=False)


def show_watch_notice(sentence: str) -> None:
    """Print on stderr what hinders a watch."""
    click.echo(f"{_now()}  {shown_path(sentence)}", err=True)


def show_hits(found: SearchResult) -> None:
    """Print the hits of a search, best first: similarity, quality, id, path."""
    if not found.hits:
        click.echo("No photo matches.", err=True)
        return
    if sys.stdout.isatty():
        click.echo(click.style("similarity  quality  id      photo", dim=True))
    for hit in found.hits:
        click.echo(_hit_line(hit))


def show_failures(failures: list[Failure], *, is_selection: bool) -> None:
    """Print the files that could not be indexed, and on stderr how many failed where and why."""
    if not failures:
        show_no_failures(is_selection=is_selection)
        return
    for failure in failures:
        click.echo(_failure_line(failure))
    stages = Counter(failure.stage for failure in failures).most_common()
    told = ", ".join(f"{count:,} {stage}" for stage, count in stages)
    click.echo(f"{counted(len(failures), 'failure')}: {told}.", err=True)
    # A list that fits a screen is read; of a longer one this is what a person wants to know.
    if len(failures) > SHOWN_FAILURES:
        _show_reasons(failures)


def show_no_failures(*, is_selection: bool) -> None:
    """Say that there are no failures, or none that were asked for."""
    click.echo("No failure matches." if is_selection else "Every file could be indexed.", err=True)


def show_exported_failures(count: int, target: Path) -> None:
    """Say how many failures were written where."""
    click.echo(f"Wrote {counted(count, 'failure')} to {shown_path(str(target))}.")


def show_retry(retry: RetrySummary, *, with_counts: bool) -> None:
    """Print what trying failures again did, and on stderr what needs attention."""
    show_ingest(retry.ingest, with_counts=with_counts and retry.ingest.n_files > 0)
    if retry.n_vanished:
        click.echo(
            f"Forgot {counted(retry.n_vanished, 'failure')} of files that are gone.", err=True
        )
    for unreached in retry.unreached:
        click.echo(
            f"{shown_path(unreached.root)} is missing or empty: kept its "
            f"{counted(unreached.n_failures, 'failure')} without trying again. Is the drive "
            "mounted?",
            err=True,
        )


def show_collection(report: CollectionReport) -> None:
    """Print what a collection holds and what it was made with."""
    info = report.info
    band = "none"
    if info.band is not None:
        origin = (
            "a default, nobody published one" if info.band_is_default else "published or chosen"
        )
        band = f"{info.band.k_top} top and {info.band.k_bottom} bottom left out ({origin})"
    lines = {
        "collection": shown_path(report.collection),
        "photos": f"{report.n_images:,}",
        "failures": f"{report.n_failures:,}",
        "disk use": _megabytes(report.n_bytes),
        "model": f"{info.model.id} ({info.model.family})",
        "weights": info.weights_digest[:16],
        "preprocessing": info.preprocessing_fingerprint,
        "image space": f"{info.model.default_image_space} (of {', '.join(info.model.spaces)})",
        "band": band,
        "quality": f"{info.quality_mode} mode, from {info.model.quality_cue}",
        "made": f"{info.created_at:%Y-%m-%d %H:%M} UTC by isophote {info.isophote_version}, "
        f"schema {info.schema_version}",
    }
    for name, value in lines.items():
        click.echo(f"{name:<14} {value}")
    for root in report.roots:
        click.echo(
            f"{'folder':<14} {shown_path(root.root)}: {root.n_files:,} files on "
            f"{root.scanned_at:%Y-%m-%d %H:%M} UTC"
        )
    for ann in report.ann:
        state = (
            "current"
            if ann.is_current
            else "older than the collection, brought up to date by the next search"
        )
        click.echo(
            f"{'search index':<14} {ann.space}: {ann.kind}, {ann.n_rows:,} rows, "
            f"{_megabytes(ann.n_bytes)}, {state}"
        )


def show_demo(demo: Demo) -> None:
    """Print the demo's questions and answers."""
    from service.commands.duplicate_lines import show_group

    show_ingest(demo.summary, with_counts=True)
    if demo.summary.failures:
        click.echo("(These files are broken on purpose.)", err=True)
    click.echo(f"\nSimilar to {demo.query_photo}:")
    show_hits(demo.similar)
    click.echo(f"\nPhotos of {demo.query_words!r}:")
    show_hits(demo.described)
    click.echo("\nCopies of each other:")
    for group in demo.duplicates.groups:
        show_group(group)
    click.echo("Lowest quality:")
    for photo in demo.lowest_quality:
        show_rated(photo)
    place = shown_path(demo.summary.collection)
    click.echo(f"\nThe collection lies in {place}. Ask it more:")
    click.echo(f'  isophote search "a dog" -c "{place}"')
    click.echo(f'Or look at it in a browser:\n  isophote serve -c "{place}"')


def show_rated(photo: RatedPhoto) -> None:
    """Print a photo of a list ranked by quality: quality, id, reason, path."""
    click.echo(
        f"{photo.quality:7.3f}  {f'id:{photo.image_id}':<7} {photo.reason or '-':<13} "
        f"{shown_path(photo.path)}"
    )


def show_agreement(agreement: ExportAgreement) -> None:
    """Print how well an exported model agrees with its original."""
    click.echo(
        f"Wrote {shown_path(agreement.directory)}. Cosine similarity to the original: "
        f"images {agreement.image_minimum:.5f} at least, {agreement.image_mean:.5f} on average "
        f"({agreement.n_images:,} photos); texts {agreement.text_minimum:.5f} at least, "
        f"{agreement.text_mean:.5f} on average."
    )


def shown_path(path: str) -> str:
    """Return a path without characters that would act on a terminal."""
    return path.translate(_CONTROLS)


@contextmanager
def _progress_bar() -> Iterator[Callable[[IngestProgress], None]]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    progress = Progress(
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(compact=True),
        TextColumn("[red]{task.fields[failed]}"),
        console=Console(stderr=True),
        transient=True,
    )
    with progress:
        task = progress.add_task("", total=None, rate="scanning", failed="")
        started = time.monotonic()

        def report(state: IngestProgress) -> None:
            progress.update(
                task,
                total=state.n_total,
                completed=state.n_done,
                rate=f"{_rate(state, started):.1f}/s",
                failed=f"{state.n_failed:,} failed" if state.n_failed else "",
            )

        yield report


class _LogLines:
    """Reports progress as one line every LOG_SECONDS."""

    def __init__(self) -> None:
        self._started = self._last = time.monotonic()

    def __call__(self, state: IngestProgress) -> None:
        now = time.monotonic()
        if now - self._last < LOG_SECONDS:
            return
        self._last = now
        rate = _rate(state, self._started)
        left = (state.n_total - state.n_done) / rate if rate else float("inf")
        failed = f", {state.n_failed:,} failed" if state.n_failed else ""
        click.echo(
            f"{state.n_done:,} of {counted(state.n_total, 'photo')}, {rate:.1f}/s, "
            f"{_duration(left)} left{failed}",
            err=True,
        )


def _rate(state: IngestProgress, started: float) -> float:
    return state.n_done / max(time.monotonic() - started, 1e-3)


def _changes_told(summary: IngestSummary) -> str:
    counts = [
        (summary.n_encoded, "indexed"),
        (summary.n_reused, "known by content"),
        (summary.n_deleted, "removed"),
        (summary.n_failed, "failed"),
    ]
    return ", ".join(f"{count:,} {what}" for count, what in counts if count)


def _now() -> str:
    return time.strftime("%H:%M:%S")


def _counts_line(summary: IngestSummary) -> str:
    counts = [
        (summary.n_encoded, "indexed"),
        (summary.n_reused, "known by content"),
        (summary.n_unchanged, "unchanged"),
        (summary.n_paired, _paired_raws(summary.n_paired)),
        (summary.n_deleted, "removed"),
        (summary.n_failed, "failed"),
        (summary.n_failed_before, "failed before and unchanged"),
        (summary.n_pending, "not reached"),
    ]
    told = ", ".join(f"{count:,} {what}" for count, what in counts if count) or "nothing to do"
    return f"{counted(summary.n_files, 'photo')} in {_duration(summary.seconds)}: {told}."


def _paired_raws(count: int) -> str:
    return "raw file paired with its photo" if count == 1 else "raw files paired with their photo"


def _hit_line(hit: Hit) -> str:
    quality = "-" if hit.quality is None else f"{hit.quality:.2f}"
    return f"{hit.similarity:10.3f}  {quality:>7}  {f'id:{hit.image_id}':<7} {shown_path(hit.path)}"


def _failure_line(failure: Failure) -> str:
    return f"{shown_path(failure.path)} {failure.reason} [{failure.stage}]"


def _show_reasons(failures: list[Failure]) -> None:
    reasons = Counter(f"{failure.reason} [{failure.stage}]" for failure in failures)
    click.echo("Most often:", err=True)
    for reason, count in reasons.most_common(SHOWN_REASONS):
        click.echo(f"{count:9,}  {shown_path(reason)}", err=True)


def _megabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:,.1f} MB"


def _duration(seconds: float) -> str:
    if seconds == float("inf"):
        return "unknown time"
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{seconds:.1f} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"
