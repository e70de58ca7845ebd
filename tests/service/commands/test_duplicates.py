"""`isophote duplicates`, with what it prints, writes and moves."""

import json
import os
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from pyarrow import csv

from indexer.store import open_store
from schemas.duplicates import DuplicateList, PairThreshold
from service.cli import cli
from service.commands.duplicate_lines import show_page, show_summary
from tests.makers.libraries import indexed_folder
from tests.service.duplicates.copied_photos import write_family


def write_library(folder):
    """Two photos, one with a small and a turned copy, one with its bytes in another folder."""
    write_family(folder, 1, "half.jpg", "turned.jpg")
    write_family(folder / "card", 2)
    (folder / "sorted").mkdir()
    shutil.copy(folder / "card/photo2.png", folder / "sorted/photo2.png")
    indexed_folder(folder, folder.parent / "collection")
    return folder


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return write_library(tmp_path_factory.mktemp("library") / "photos")


@pytest.fixture
def photos(library):
    """A library that is not to be changed."""
    return library


@pytest.fixture
def place(photos):
    return photos.parent / "collection"


@pytest.fixture
def own_photos(tmp_path):
    """A library that may be changed."""
    return write_library(tmp_path / "photos")


@pytest.fixture
def own_place(own_photos):
    return own_photos.parent / "collection"


def run(*arguments, place):
    return CliRunner().invoke(cli, ["duplicates", *map(str, arguments), "-c", str(place)])


def test_groups_are_printed_with_reasons_and_differences(photos, place):
    result = run(place=place)
    assert result.exit_code == 0
    assert result.stdout == (
        f"keep   id:3      {photos}/card/photo2.png  (shortest path; nothing else tells them apart)"
        "\n"
        f" 1.000 id:4      {photos}/sorted/photo2.png  (same bytes)\n"
        "\n"
        f"keep   id:2      {photos}/photo1.png  (most of the others lie the same way)\n"
        f" 1.000 id:0      {photos}/photo1-half.jpg  (50% as wide, as JPEG)\n"
        f" 0.408 id:1      {photos}/photo1-turned.jpg  (turned left, as JPEG)\n"
        "\n"
    )
    assert "2 groups with 3 copies (0." in result.stderr
    assert "among 5 photos.\nThreshold (normal): cosine of .500 and thumbnails" in result.stderr
    assert result.stderr.endswith("--apply moves the copies to the trash.\n")


def test_a_preferred_folder(photos, place):
    result = run("--tier", "bytes", "--prefer", photos / "sorted", place=place)
    assert result.stdout.splitlines()[0] == (
        f"keep   id:4      {photos}/sorted/photo2.png  (in a preferred folder)"
    )
    assert "Threshold" not in result.stderr


def test_nothing_found(place):
    result = run("--where", "path = 'photo1.png'", place=place)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.startswith("No photo of 1 photo has a double of tier near.\n")
    assert "--apply" not in result.stderr


def test_json(place):
    result = run("--json", place=place)
    listed = DuplicateList.model_validate_json(result.stdout)
    assert listed.n_copies == 3
    assert result.stderr == ""


def test_paths_for_other_programs(photos, place):
    result = run("--print0", place=place)
    paths = result.stdout.split("\0")
    expected = ["sorted/photo2.png", "photo1-half.jpg", "photo1-turned.jpg", ""]
    assert paths == [f"{photos}/{name}" if name else "" for name in expected]


def test_an_exported_list(place, tmp_path):
    result = run("--export", tmp_path / "copies.csv", place=place)
    assert result.stdout == f"Wrote 3 copies to {tmp_path}/copies.csv.\n"
    table = csv.read_csv(tmp_path / "copies.csv")
    assert table["role"].to_pylist().count("copy") == 3


def test_a_page_to_review(place, tmp_path):
    result = run("--review", tmp_path / "page.html", place=place)
    assert result.exit_code == 0
    assert result.stdout == ""
    assert f"Wrote {tmp_path}/page.html; open it in a browser." in result.stderr
    assert "photo1-half.jpg" in (tmp_path / "page.html").read_text()


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".isophote-trash" not in path.parts
    }


def test_copies_move_to_the_trash_and_come_back(own_photos, own_place):
    before = contents(own_photos)
    result = run("--apply", place=own_place)
    assert result.exit_code == 0
    assert result.stdout.startswith("Moved 3 photos (")
    assert set(contents(own_photos)) == {"photo1.png", "card/photo2.png"}
    assert run(place=own_place).stderr.startswith("No photo of 2 photos")
    undone = CliRunner().invoke(cli, ["undo", "-c", str(own_place)])
    assert undone.exit_code == 0
    assert contents(own_photos) == before


def test_without_apply_nothing_is_touched(photos, place):
    before = contents(photos)
    for options in ([], ["--json"], ["--print0"], ["--tier", "similar"]):
        run(*options, place=place)
    assert contents(photos) == before
    assert not list(photos.rglob(".isophote-trash"))


def test_what_was_decided_is_moved_and_nothing_else(own_photos, own_place, tmp_path):
    listed = DuplicateList.model_validate_json(run("--json", place=own_place).stdout)
    group = next(g for g in listed.groups if g.keeper.path.endswith("photo1.png"))
    kept = next(c.photo for c in group.copies if c.photo.path.endswith("turned.jpg"))
    info = open_store(str(own_place)).info
    decisions = {
        "collection": str(own_place),
        "created_at": info.created_at.isoformat(),
        "groups": [{"keeper_id": kept.image_id, "copy_ids": [group.keeper.image_id]}],
    }
    (tmp_path / "decisions.json").write_text(json.dumps(decisions))
    result = run("--apply", "--reviewed", tmp_path / "decisions.json", place=own_place)
    assert result.exit_code == 0
    assert result.stdout.startswith("Moved 1 photo (")
    assert not (own_photos / "photo1.png").exists()
    assert (own_photos / "photo1-half.jpg").exists()


def test_another_trash_folder(own_photos, own_place, tmp_path):
    result = run(
        "--apply", "--tier", "bytes", "--trash", tmp_path / "bin", "--json", place=own_place
    )
    summary = json.loads(result.stdout)
    assert summary["n_photos"] == 1
    assert all(folder.startswith(str(tmp_path / "bin")) for folder in summary["folders"])


def test_what_cannot_be_moved_is_told_and_fails(own_photos, own_place):
    with (own_photos / "photo1-half.jpg").open("ab") as file:
        file.write(b"changed")
    result = run("--apply", place=own_place)
    assert result.exit_code == 1
    assert "photo1-half.jpg" in result.stderr
    assert "changed since it was indexed" in result.stderr
    assert (own_photos / "photo1-half.jpg").exists()
    assert not (own_photos / "photo1-turned.jpg").exists()


def test_pairs_of_two_sets(photos, place):
    result = run("--across", photos / "card", place=place)
    assert result.stdout == (
        f" 1.000  {photos}/sorted/photo2.png  {photos}/card/photo2.png  (same bytes)\n"
    )
    assert result.stderr.startswith(
        f"1 pair of tier near or stricter: 1 of 4 photos of {place} without {photos}/card and 1 of "
        f"1 of {photos}/card.\nThreshold (normal)"
    )


def test_pairs_for_other_programs(photos, place, tmp_path):
    across = ("--across", photos / "card")
    printed = run(*across, "--print0", place=place).stdout
    assert printed == f"{photos}/card/photo2.png\0"
    assert json.loads(run(*across, "--json", place=place).stdout)["n_right_alike"] == 1
    written = run(*across, "--export", tmp_path / "pairs.jsonl", place=place)
    assert written.stdout == f"Wrote 1 pair to {tmp_path}/pairs.jsonl.\n"
    assert len((tmp_path / "pairs.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--json", "--print0"], "give one of --export, --print0 and --json"),
        (["--apply", "--print0"], "--apply goes without --review, --export and --print0"),
        (["--reviewed", "d.json"], "--reviewed and --trash need --apply"),
        (["--trash", "bin"], "--reviewed and --trash need --apply"),
        (["--apply", "--reviewed", "d.json", "--prefer", "x"], "--reviewed goes without --where"),
        (["--across", "x", "--apply"], "--across goes without --apply, --review and --prefer"),
        (["--across", "x", "--prefer", "y"], "--across goes without"),
        (["--tier", "similar", "--apply"], "are no copies of each other; decide on each with"),
        (["--review", "page.txt"], "page.txt is to be a page; end its name with .html"),
        (["--similarity", "0.9", "--tier", "bytes"], "--similarity is not for --tier bytes"),
        (["--similarity", "0"], "'--similarity'"),
        (["--similarity", "1.1"], "'--similarity'"),
        (["--tier", "alike"], "'--tier'"),
    ],
)
def test_wrong_usage(place, options, message):
    result = run(*options, place=place)
    assert result.exit_code == 2
    assert message in result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--across", "nowhere"], "nowhere is neither a collection nor a folder"),
        (["--prefer", "elsewhere"], "elsewhere, so none can be preferred; name a folder"),
        (["--where", "quality >"], "the filter 'quality >' is not valid"),
        (["--export", "copies.txt"], "cannot export to copies.txt"),
        (["--apply", "--reviewed", "nothing.json"], "nothing.json"),
    ],
)
def test_mistakes_that_can_be_mended(place, options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(*options, place=place)
    assert result.exit_code == 1
    assert result.stderr.count("\n") <= 3
    assert message in result.stderr


def test_names_that_would_act_on_a_terminal(tmp_path, monkeypatch):
    folder = tmp_path / "photos"
    write_family(folder, 1, name="a\x1b[2J\nb")
    shutil.copy(folder / "a\x1b[2J\nb.png", folder / "caf\udce9.png")
    indexed_folder(folder, tmp_path / "c")
    result = run(place=tmp_path / "c")
    assert "\x1b" not in result.stdout
    assert len(result.stdout.splitlines()) == 3
    raw = CliRunner().invoke(cli, ["duplicates", "-0", "-c", str(tmp_path / "c")])
    assert raw.stdout_bytes.rstrip(b"\0").rpartition(b"/")[2] in (
        os.fsencode("caf\udce9.png"),
        b"a\x1b[2J\nb.png",
    )


def summary(**changes):
    threshold = PairThreshold(
        strictness="strict", similarity=0.7, agreement=0.88, false_pair_rate=0.00012, n_sampled=9
    )
    listed = DuplicateList(
        collection="/c",
        tier="near",
        threshold=threshold,
        n_compared=1000,
        n_unmeasured=0,
        recall=1.0,
        n_copies=0,
        n_bytes=0,
        groups=[],
        seconds=1.0,
    )
    return listed.model_copy(update=changes)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "thumbnails that agree to .880; expected to pair 1 photo in 8,300 with an unrelated"),
        ({"recall": 0.987}, "Not all pairs were compared: of those of a sample 98.7% were found."),
        ({"n_unmeasured": 3}, "3 photos came in with an older release, which kept no thumbnails"),
        ({"threshold": None}, "No photo of 1,000 photos has a double of tier near.\n"),
        (
            {
                "threshold": PairThreshold(
                    strictness=None,
                    similarity=0.93,
                    agreement=None,
                    false_pair_rate=None,
                    n_sampled=9,
                )
            },
            "Threshold (given): cosine of .930; too few photos to estimate how often it is wrong.",
        ),
    ],
)
def test_how_sure_an_answer_is(capsys, changes, told):
    show_summary(summary(**changes), is_hinted=True)
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("n_groups", "told"), [(500, "browser.\n"), (501, "browser. It shows the 500 groups that")]
)
def test_a_page_does_not_show_more_than_can_be_reviewed(capsys, n_groups, told):
    show_page(Path("page.html"), n_groups=n_groups)
    assert told in capsys.readouterr().err


def test_help_shows_every_option(place):
    result = CliRunner().invoke(cli, ["duplicates", "--help"])
    assert result.exit_code == 0
    for option in ("--tier", "--across", "--apply", "--reviewed", "--strictness", "--prefer"):
        assert option in result.stdout
