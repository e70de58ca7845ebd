"""`isophote undo`, and what is printed of photos that move to the trash."""

import json
import os
import signal
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from indexer.store import open_store
from schemas.duplicates import ReviewedGroup
from schemas.trash import LeftFile, TrashSummary
from service.cli import cli
from service.commands.trash import exit_for, show_trashed
from service.trash.journal import TRASH_NAME
from service.trash.trashing import trash_copies
from tests.fakes import FakeEncoder
from tests.makers.libraries import indexed_colours
from tests.service.trash.libraries import Library, hooked_calls, two_groups


@pytest.fixture
def library(tmp_path, monkeypatch) -> Library:
    """A shot of three files and a single photo in the trash."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    library = Library(tmp_path)
    library.trash(*two_groups(library))
    return library


def run_folder(library: Library) -> Path:
    (folder,) = library.run_folders()
    return folder.path


def isophote_undo(place: Path, *arguments: object) -> Result:
    words = ["undo", "-c", str(place), *map(str, arguments)]
    return CliRunner().invoke(cli, words)


def test_photos_of_a_real_collection_go_and_come_back(tmp_path):
    """The same photos are in the collection before and after, and none is embedded twice."""
    photos = tmp_path / "photos"
    photos.mkdir()
    encoder = FakeEncoder()
    indexed_colours(photos, tmp_path / "c", encoder=encoder)
    red = (photos / "red.png").read_bytes()
    (photos / "copy.png").write_bytes(red)
    collection = indexed_colours(photos, tmp_path / "c", encoder=encoder)
    rows = collection.store.images(["image_id", "path"]).to_pylist()
    ids = {row["path"]: row["image_id"] for row in rows}
    group = ReviewedGroup(keeper_id=ids["red.png"], copy_ids=[ids["copy.png"]])
    summary = trash_copies(collection, [group], report=lambda _: None)
    assert summary.n_photos == 1
    left = open_store(str(tmp_path / "c")).images(["path"])["path"].to_pylist()
    assert sorted([*left, "copy.png"]) == sorted(ids)

    result = isophote_undo(tmp_path / "c")
    assert result.exit_code == 0, result.output
    assert (photos / "copy.png").read_bytes() == red
    again = indexed_colours(photos, tmp_path / "c", encoder=encoder)
    assert sorted(again.store.images(["path"])["path"].to_pylist()) == sorted(ids)
    assert encoder.n_encoded == 6


def test_what_came_back_is_printed_on_one_line(library):
    run = run_folder(library).name
    result = isophote_undo(library.collection_folder)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == (
        f"Brought back 2 photos and 2 files that go with them (0.0 MB) from {run}. Run `isophote "
        "index` to have them in the collection again.\n"
    )
    result = isophote_undo(library.collection_folder)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: there is nothing to undo in the trash")


def test_what_stays_is_told_and_the_exit_status_is_1(library):
    single, shot = (library.place / f"photos/there/{name}" for name in ("single.png", "shot.jpg"))
    single.write_text("other\n")
    shot.write_text("shot")
    run = run_folder(library).name
    result = isophote_undo(library.collection_folder)
    assert result.exit_code == 1
    assert result.stdout.startswith(
        f"Brought back 0 photos and 2 files that go with them (0.0 MB) from {run}; 1 file had been "
        "in place already. Run"
    )
    assert result.stderr.startswith(f"{single} has another file in its place; move or rename")


def test_one_json_document(library):
    run = run_folder(library).name
    result = isophote_undo(library.collection_folder, "--json", run)
    summary = json.loads(result.stdout)
    assert (summary["n_photos"], summary["n_files"]) == (2, 4)
    assert (summary["runs"], summary["left"]) == ([run], [])
    assert result.stderr == ""


def test_runs_are_listed(library):
    result = isophote_undo(library.collection_folder, "--list")
    folder = run_folder(library)
    assert result.stdout == (
        f"{folder.name}  2 photos and 2 files that go with them (0.0 MB)  {folder}\n"
    )
    listed = json.loads(isophote_undo(library.collection_folder, "--list", "--json").stdout)
    assert [run["run"] for run in listed["runs"]] == [folder.name]
    library.undo()
    result = isophote_undo(library.collection_folder, "--list")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "The trash is empty.\n")


def test_a_trash_is_found_without_its_collection(library, tmp_path):
    trash = tmp_path / "photos" / TRASH_NAME
    file = tmp_path / "photos/there/single.png"
    result = isophote_undo(tmp_path / "none", "--trash", trash, "--file", file)
    assert result.stdout.startswith("Brought back 1 photo (0.0 MB) from ")
    assert file.read_text() == "single"


def test_a_trash_that_is_out_of_reach_is_told(library, tmp_path):
    (tmp_path / "photos").rename(tmp_path / "unplugged")
    result = isophote_undo(tmp_path / "collection", "--list")
    trash = tmp_path / "photos" / TRASH_NAME
    assert result.stderr.splitlines() == [
        "The trash is empty.",
        f"{trash} cannot be looked at: is its drive mounted?",
    ]


def test_ctrl_c_exits_with_130(library, monkeypatch):
    def interrupt(name, arguments):
        if name == "link":
            signal.raise_signal(signal.SIGINT)

    hooked_calls(monkeypatch.setattr, interrupt)
    result = isophote_undo(library.collection_folder)
    assert result.exit_code == 130
    assert "Interrupted with 2 photos to go. Run the same command to go on." in result.stderr


@pytest.mark.parametrize("arguments", [["--list", "a-run"], ["--list", "--file", "a.jpg"]])
def test_a_list_is_of_everything(tmp_path, arguments):
    result = isophote_undo(tmp_path, *arguments)
    assert result.exit_code == 2
    assert "--list goes without RUN and --file" in result.stderr


def trashed(**changes: object) -> TrashSummary:
    values = {
        "collection": "/c",
        "run": "2026-run",
        "folders": ["/a/2026-run", "/b\n/2026-run"],
        "n_copies": 12,
        "n_photos": 12,
        "n_files": 12,
        "n_bytes": 34_500_000,
        "n_pending": 0,
        "left": [],
        "interrupted": False,
        "seconds": 1.0,
    }
    return TrashSummary.model_validate({**values, **changes})


def printed(summary: TrashSummary, **how: bool) -> Result:
    @click.command()
    def show() -> None:
        show_trashed(summary, **{"with_counts": True, **how})
        exit_for(summary)

    return CliRunner().invoke(show)


def test_what_was_moved_is_printed_on_one_line():
    result = printed(trashed())
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == (
        "Moved 12 photos (34.5 MB) to /a/2026-run and /b\\x0a/2026-run; `isophote undo` brings "
        "them back, and deleting those folders frees their room.\n"
    )
    assert printed(trashed(), with_counts=False).stdout == ""


def test_what_was_not_moved_is_told_up_to_a_screen():
    left = [LeftFile(path=f"/{number}\n", reason="is gone") for number in range(22)]
    result = printed(trashed(run=None, folders=[], n_photos=0, left=left))
    assert (result.exit_code, result.stdout) == (1, "Moved nothing.\n")
    assert result.stderr.splitlines()[0] == "/0\\x0a is gone"
    assert result.stderr.splitlines()[20:] == ["... and 2 more files; --json tells all"]


def test_an_interrupted_run_exits_with_130():
    result = printed(trashed(n_photos=11, n_pending=1, interrupted=True))
    assert result.exit_code == 130
    assert result.stderr == "Interrupted with 1 photo to go. Run the same command to go on.\n"
