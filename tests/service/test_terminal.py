"""What the command line shows, word for word."""

import io
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from indexer.ingest import IngestProgress
from schemas.results import (
    ExportAgreement,
    Failure,
    HeldDeletion,
    IngestSummary,
    RetrySummary,
    UnreachedRoot,
)
from service import terminal
from service.terminal import (
    SHOWN_FAILURES,
    SHOWN_REASONS,
    show_agreement,
    show_exported_failures,
    show_failures,
    show_ingest,
    show_progress,
    show_retry,
    shown_path,
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def summary(**changes) -> IngestSummary:
    counts = {name: 0 for name in IngestSummary.model_fields if name.startswith("n_")}
    rest: dict[str, Any] = {"collection": "/c", "seconds": 1.25, "interrupted": False}
    return IngestSummary(**{"failures": [], "held_deletions": [], **counts, **rest, **changes})


def failure(name: str, *, stage: str = "decode", reason: str = "is text, not an image") -> Failure:
    return Failure(
        path=f"/photos/{name}",
        stage=stage,
        reason=reason,
        error_class="PhotoError",
        file_size=4,
        failed_at=datetime(2026, 11, 22, 12, tzinfo=UTC),
    )


def test_counts_that_are_not_zero_are_told(capsys):
    show_ingest(
        summary(n_files=1234, n_encoded=1200, n_reused=30, n_failed=4, n_images=5000),
        with_counts=True,
    )
    assert capsys.readouterr().out.splitlines() == [
        "1,234 photos in 1.2 s: 1,200 indexed, 30 known by content, 4 failed.",
        "The collection /c holds 5,000 photos.",
    ]


@pytest.mark.parametrize(
    ("count", "told"),
    [(1, "1 raw file paired with its photo"), (1200, "1,200 raw files paired with their photo")],
)
def test_paired_raw_files_are_told(capsys, count, told):
    show_ingest(summary(n_files=2, n_unchanged=2, n_paired=count), with_counts=True)
    assert capsys.readouterr().out.startswith(f"2 photos in 1.2 s: 2 unchanged, {told}.\n")


def test_nothing_to_do_is_told(capsys):
    show_ingest(summary(), with_counts=True)
    assert capsys.readouterr().out.startswith("0 photos in 1.2 s: nothing to do.\n")


def test_many_failures_are_cut_short(capsys):
    failures = [failure(f"{number}.jpg") for number in range(SHOWN_FAILURES + 3)]
    show_ingest(summary(failures=failures), with_counts=False)
    shown = capsys.readouterr()
    assert shown.out == ""
    lines = shown.err.splitlines()
    assert lines[0] == "/photos/0.jpg is text, not an image [decode]"
    assert lines[-1] == "... and 3 more; see `isophote failures`"
    assert len(lines) == SHOWN_FAILURES + 1


def test_held_deletions_name_the_folder_and_the_way_out(capsys):
    held = HeldDeletion(root="/media/usb", n_known=2000, n_missing=1900)
    show_ingest(summary(held_deletions=[held]), with_counts=False)
    message = capsys.readouterr().err
    assert message.startswith("/media/usb: 1,900 of 2,000 indexed photos are missing.")
    assert "--confirm-deletions" in message


def test_an_interruption_says_how_to_go_on(capsys):
    show_ingest(summary(interrupted=True, n_pending=1), with_counts=False)
    message = capsys.readouterr().err
    assert message.startswith("Interrupted with 1 photo to go; everything finished is kept.")


def test_no_failures_are_told(capsys):
    show_failures([], is_selection=False)
    assert capsys.readouterr() == ("", "Every file could be indexed.\n")


def test_no_failures_among_those_asked_for_are_told(capsys):
    show_failures([], is_selection=True)
    assert capsys.readouterr() == ("", "No failure matches.\n")


def test_a_few_failures_are_counted_by_stage(capsys):
    show_failures([failure("a.jpg"), failure("b.jpg", stage="read")], is_selection=False)
    assert capsys.readouterr() == (
        "/photos/a.jpg is text, not an image [decode]\n"
        "/photos/b.jpg is text, not an image [read]\n",
        "2 failures: 1 decode, 1 read.\n",
    )


def test_of_many_failures_the_most_frequent_reasons_are_told(capsys):
    many = [failure(f"{number}.jpg") for number in range(1200)]
    few = [failure(f"{n}.png", stage="read", reason=f"is \x1b{n}") for n in range(SHOWN_REASONS)]
    show_failures([*few, *many], is_selection=False)
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 1200 + SHOWN_REASONS
    assert shown.err.splitlines() == [
        "1,205 failures: 1,200 decode, 5 read.",
        "Most often:",
        "    1,200  is text, not an image [decode]",
        *(f"        1  is \\x1b{n} [read]" for n in range(SHOWN_REASONS - 1)),
    ]


def test_a_retry_tells_of_files_and_folders_that_are_gone(capsys):
    retry = RetrySummary(
        n_selected=7,
        n_vanished=1,
        unreached=[UnreachedRoot(root="/media/u\nsb", n_failures=4)],
        ingest=summary(n_files=2, n_encoded=2, n_images=5),
    )
    show_retry(retry, with_counts=True)
    assert capsys.readouterr() == (
        "2 photos in 1.2 s: 2 indexed.\nThe collection /c holds 5 photos.\n",
        "Forgot 1 failure of files that are gone.\n"
        "/media/u\\x0asb is missing or empty: kept its 4 failures without trying again. "
        "Is the drive mounted?\n",
    )


def test_a_retry_that_found_no_file_counts_none(capsys):
    retry = RetrySummary(n_selected=3, n_vanished=3, unreached=[], ingest=summary())
    show_retry(retry, with_counts=True)
    assert capsys.readouterr() == ("", "Forgot 3 failures of files that are gone.\n")


def test_an_export_says_how_many_rows_went_where(capsys):
    show_exported_failures(1204, Path("bro\nken.csv"))
    assert capsys.readouterr().out == "Wrote 1,204 failures to bro\\x0aken.csv.\n"


def test_an_agreement_is_one_line(capsys):
    show_agreement(
        ExportAgreement(
            directory="/m",
            n_images=100,
            image_minimum=0.9991,
            image_mean=0.9998,
            text_minimum=1.0,
            text_mean=1.0,
        )
    )
    assert capsys.readouterr().out == (
        "Wrote /m. Cosine similarity to the original: images 0.99910 at least, 0.99980 on average "
        "(100 photos); texts 1.00000 at least, 1.00000 on average.\n"
    )


def test_a_log_gets_a_line_every_few_seconds(capsys, monkeypatch):
    clock = iter([100.0, 101.0, 106.0, 106.0, 107.0, 112.0, 112.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    with show_progress() as report:
        report(IngestProgress(n_done=10, n_total=7300, n_failed=0))
        report(IngestProgress(n_done=60, n_total=7300, n_failed=1))
        report(IngestProgress(n_done=70, n_total=7300, n_failed=1))
        report(IngestProgress(n_done=120, n_total=7300, n_failed=2))
    assert capsys.readouterr().err.splitlines() == [
        "60 of 7,300 photos, 10.0/s, 12 min 04 s left, 1 failed",
        "120 of 7,300 photos, 10.0/s, 11 min 58 s left, 2 failed",
    ]


def test_a_terminal_gets_a_bar_that_leaves_no_trace(monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    with show_progress() as report:
        report(IngestProgress(n_done=25, n_total=100, n_failed=3))
    shown = screen.getvalue()
    assert "25/100" in shown
    assert "3 failed" in shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.04, "0.0 s"), (59.4, "59.4 s"), (61, "1 min 01 s"), (7384, "2 h 03 min")],
)
def test_durations_are_told_in_the_unit_that_fits(seconds, shown):
    assert terminal._duration(seconds) == shown


def test_names_cannot_act_on_the_terminal():
    assert shown_path("a\nb\x1b[31m\x9bc é 木.jpg") == "a\\x0ab\\x1b[31m\\x9bc é 木.jpg"
