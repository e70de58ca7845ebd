"""`isophote subset` through its own command."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from pyarrow import csv

from schemas.errors import FilterError
from service.commands.subset import subset
from tests.fakes import FEATURES
from tests.makers.stores import clustered_features, image_rows, new_store


@pytest.fixture
def place(tmp_path):
    """Photos at five angles: k-centre takes 2, 4 and 0."""
    features = np.zeros((5, FEATURES), np.float32)
    radians = np.radians([0, 10, 40, 70, 90])
    features[:, 0], features[:, 1] = np.cos(radians), np.sin(radians)
    store = new_store(tmp_path / "c")
    store.append_images(image_rows(store, features))
    return tmp_path / "c"


def run(place, *arguments: object):
    return CliRunner().invoke(subset, ["-c", str(place), *map(str, arguments)])


def test_chosen_photos_are_printed_and_what_was_reached(place):
    result = run(place, "--count", 3)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        "     1       1  id:2      /photos/00002.jpg",
        "     2       2  id:4      /photos/00004.jpg",
        "     3       2  id:0      /photos/00000.jpg",
    ]
    chose, reached = result.stderr.splitlines()
    assert chose == "Chose 3 of 5 photos by k-centre, compared in the space clip."
    assert reached.startswith(
        "Cosine of a photo left out to the nearest chosen one: 0.962 on average, 0.940 at least. "
        "Of a random choice of as many (seed 0): 0."
    )


def test_photos_left_out_are_printed_with_what_stands_for_them(place):
    result = run(place, "--count", 3, "--rest")
    assert result.stdout.splitlines() == [
        " 0.985  id:0      id:1      /photos/00001.jpg",
        " 0.940  id:4      id:3      /photos/00003.jpg",
    ]


def test_pruning_tells_its_threshold(place):
    result = run(place, "--keep", 0.8)
    assert len(result.stdout.splitlines()) == 4
    assert result.stderr.splitlines()[:2] == [
        "Chose 4 of 5 photos by semdedup, compared in the space clip.",
        "Each photo left out has a cosine of at least 0.985 to another photo.",
    ]


def test_all_photos_leave_none_out(place):
    result = run(place, "--keep", 1)
    assert len(result.stdout.splitlines()) == 5
    assert result.stderr.splitlines()[1:] == ["No photo is left out."]
    assert run(place, "--count", 9, "--rest").stdout == ""


def test_samples_and_cells_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr("indexer.scoring.coverage.SAMPLE_ROWS", 30)
    new_store(tmp_path / "c", features=clustered_features(200, dimension=FEATURES))
    result = run(tmp_path / "c", "--count", 5, "--method", "facility-location", "--seed", 3)
    assert (
        "They come from a random sample of 30 (seed 3) and gave way to the most typical of the "
        "photos around each." in result.stderr
    )
    assert "Of a random choice of as many (seed 3)" in result.stderr


def test_one_json_document(place):
    options = ["--method", "facility-location", "--space", "trunk", "--where", "image_id < 4"]
    result = run(place, "--count", 2, *options, "--seed", 7, "--json")
    listed = json.loads(result.stdout)
    summary = listed["summary"]
    assert (summary["method"], summary["space"], summary["seed"], summary["n_photos"]) == (
        "facility-location", "trunk", 7, 4,
    )  # fmt: skip
    assert [photo["rank"] for photo in listed["photos"]] == [1, 2]
    assert sum(photo["n_covered"] for photo in listed["photos"]) == 4
    assert result.stderr == ""
    rest = json.loads(run(place, "--count", 3, "--rest", "--json").stdout)
    assert [photo["nearest_id"] for photo in rest["photos"]] == [0, 4]


def test_the_semantic_space_takes_given_axes(place, tmp_path):
    # Without the first dimension the photo at 0 degrees is blank, and the others are alike.
    embeddings = np.eye(3, FEATURES, 1)
    np.savez(tmp_path / "axes.npz", names=["a", "b", "c"], embeddings=embeddings)
    options = ["--space", "semantic", "--label-embeddings", tmp_path / "axes.npz"]
    result = run(place, "--count", 2, *options, "--axes-components", 2, "--json")
    listed = json.loads(result.stdout)
    assert listed["summary"]["space"] == "semantic"
    assert 0 in [photo["image_id"] for photo in listed["photos"]]


def test_photos_are_written_into_a_file(place, tmp_path):
    result = run(place, "--count", 3, "--export", tmp_path / "chosen.csv")
    assert result.stdout == f"Wrote 3 photos to {tmp_path / 'chosen.csv'}.\n"
    assert "Chose 3 of 5 photos" in result.stderr
    assert csv.read_csv(tmp_path / "chosen.csv")["image_id"].to_pylist() == [2, 4, 0]


def test_paths_alone_are_printed_for_xargs(place):
    result = run(place, "--count", 3, "--rest", "-0")
    assert result.stdout == "/photos/00001.jpg\0/photos/00003.jpg\0"


@pytest.mark.parametrize("options", [[], ["--count", 3, "--keep", 0.5]])
def test_a_count_or_a_share_is_needed(place, options):
    result = run(place, *options)
    assert result.exit_code == 2
    assert "give either --count or --keep" in result.stderr


def test_one_form_of_output_at_a_time(place, tmp_path):
    result = run(place, "--count", 3, "--json", "--export", tmp_path / "a.csv")
    assert result.exit_code == 2
    assert "give one of --export, --print0 and --json" in result.stderr
    assert not (tmp_path / "a.csv").exists()


@pytest.mark.parametrize("options", [["--count", 0], ["--keep", 0], ["--keep", 1.1]])
def test_numbers_out_of_range_are_wrong_usage(place, options):
    assert run(place, *options).exit_code == 2


def test_axes_of_another_space_are_wrong_usage(place):
    result = run(place, "--count", 3, "--axes-centred")
    assert result.exit_code == 2
    assert "need --space semantic" in result.stderr


def test_a_bad_filter_is_refused(place):
    assert isinstance(run(place, "--count", 3, "--where", "nosuch = 1").exception, FilterError)


def test_help_says_what_each_method_is_for():
    told = " ".join(CliRunner().invoke(subset, ["--help"]).output.split())
    assert "k-centre: no photo is far from a chosen one" in told
    assert "default: k-centre with --count, semdedup with --keep" in told
