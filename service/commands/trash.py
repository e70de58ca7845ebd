"""`isophote undo`, and what is printed of photos that move to the trash and back."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from service.commands.options import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    collection_option,
    json_option,
    settings_from,
)
from service.lines import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schemas.trash import LeftFile, RestoreSummary, TrashList, TrashSummary

SHOWN_FILES = 20


@click.command()
@click.argument("run", required=False)
@click.option(
    "--file",
    "files",
    metavar="PATH",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Only this photo, by the path it had, and what was moved along with it; may be repeated.",
)
@click.option(
    "--trash",
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="Look in this trash folder only, as when the collection is lost.  [default: those that "
    "the collection has used]",
)
@click.option("--list", "only_list", is_flag=True, help="List what is in the trash instead.")
@collection_option
@json_option
def undo(
    run: str | None,
    files: tuple[Path, ...],
    trash: Path | None,
    only_list: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Bring back photos that `isophote duplicates --apply` moved to the trash.

    All of the last run, or of RUN. Nothing is overwritten: a photo whose place has been taken
    stays in the trash, and the exit status is 1. The trash is emptied by deleting its folders,
    which no command of isophote does.

    \b
    isophote undo
    isophote undo --list
    isophote undo 2026-11-26-101500-ab12cd
    isophote undo --file ~/Pictures/2019/IMG_1.jpg
    """
    from service.terminal import show_progress
    from service.trash.restoring import list_trash, trash_of
    from service.trash.restoring import undo as bring_back

    if only_list and (run or files):
        raise click.UsageError("--list goes without RUN and --file")
    settings = settings_from(**options)
    folders = [_full_path(trash)] if trash is not None else trash_of(settings.collection)
    if only_list:
        listed = list_trash(folders)
        if as_json:
            click.echo(listed.model_dump_json())
        else:
            _show_list(listed)
        return
    with show_progress() as report:
        summary = bring_back(folders, run=run, files=files, report=report)
    if as_json:
        click.echo(summary.model_dump_json())
    show_restored(summary, with_counts=not as_json)
    exit_for(summary)


def show_trashed(summary: TrashSummary, *, with_counts: bool) -> None:
    """Print what was moved to the trash, and on stderr what was not."""
    from service.terminal import shown_path

    _show_left(summary.left)
    if with_counts:
        if summary.run is None:
            click.echo("Moved nothing.")
        else:
            folders = " and ".join(map(shown_path, summary.folders))
            moved = _amount(summary.n_photos, summary.n_files, summary.n_bytes)
            which = "that folder" if len(summary.folders) == 1 else "those folders"
            click.echo(
                f"Moved {moved} to {folders}; `isophote undo` brings them back, and deleting "
                f"{which} frees their room."
            )
    _show_interrupt(summary.n_pending, interrupted=summary.interrupted)


def show_restored(summary: RestoreSummary, *, with_counts: bool) -> None:
    """Print what came back from the trash, and on stderr what did not."""
    from service.terminal import shown_path

    _show_left(summary.left)
    _show_unreached(summary.unreached)
    if with_counts:
        amount = _amount(summary.n_photos, summary.n_files, summary.n_bytes)
        told = f"Brought back {amount} from {', '.join(map(shown_path, summary.runs))}"
        if summary.n_present:
            told += f"; {counted(summary.n_present, 'file')} had been in place already"
        if summary.n_files:
            told += ". Run `isophote index` to have them in the collection again"
        click.echo(f"{told}.")
    _show_interrupt(summary.n_pending, interrupted=summary.interrupted)


def exit_for(summary: TrashSummary | RestoreSummary) -> None:
    """End with the status of what was interrupted, or could not be moved, if anything."""
    if summary.interrupted:
        sys.exit(EXIT_INTERRUPTED)
    if summary.left:
        sys.exit(EXIT_FAILED)


def _show_list(listed: TrashList) -> None:
    """Print each run of the trash: its name, what it holds, and where."""
    from service.terminal import shown_path

    for run in listed.runs:
        amount = _amount(run.n_photos, run.n_files, run.n_bytes)
        click.echo(f"{run.run}  {amount}  {' and '.join(map(shown_path, run.folders))}")
    if not listed.runs:
        click.echo("The trash is empty.", err=True)
    _show_unreached(listed.unreached)


def _show_left(left: Sequence[LeftFile]) -> None:
    from service.terminal import shown_path

    for file in left[:SHOWN_FILES]:
        click.echo(f"{shown_path(file.path)} {shown_path(file.reason)}", err=True)
    if len(left) > SHOWN_FILES:
        more = len(left) - SHOWN_FILES
        click.echo(f"... and {counted(more, 'more file')}; --json tells all", err=True)


def _show_unreached(folders: Sequence[str]) -> None:
    from service.terminal import shown_path

    for folder in folders:
        click.echo(f"{shown_path(folder)} cannot be looked at: is its drive mounted?", err=True)


def _show_interrupt(n_pending: int, *, interrupted: bool) -> None:
    if interrupted:
        click.echo(
            f"Interrupted with {counted(n_pending, 'photo')} to go. Run the same command to go on.",
            err=True,
        )


def _amount(n_photos: int, n_files: int, n_bytes: int) -> str:
    beside = n_files - n_photos
    also = f" and {counted(beside, 'file')} that go with them" if beside else ""
    return f"{counted(n_photos, 'photo')}{also} ({n_bytes / 1e6:,.1f} MB)"


def _full_path(folder: Path) -> Path:
    return Path(os.path.realpath(folder.expanduser()))
