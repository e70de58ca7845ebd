"""`isophote eval anomaly` and `isophote eval quality`, on made-up photos without a model."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from service.cli import cli
from tests.fakes import COLOURS, FakeEncoder
from tests.makers.stores import image_rows, new_store

WORDS = tuple(COLOURS)
LABELS = ["red", "red", "blue", "green"] * 8


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Photos of red, blue and green; qualities that rise and fall with their ids."""
    place = tmp_path_factory.mktemp("place") / "collection"
    generator = np.random.default_rng(0)
    colours = np.array([np.tile(np.array(COLOURS[name]) / 127.5 - 1, 4) for name in LABELS])
    features = (colours + generator.normal(0, 0.1, colours.shape)).astype(np.float32)
    rising = np.linspace(0, 1, len(LABELS)).astype(np.float32)
    store = new_store(place, source=None)
    store.append_images(
        image_rows(store, features, label=LABELS, quality=list(rising), sharpness=list(1 - rising))
    )
    return place


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """The options that give embeddings of labels and dictionary in place of the model's."""
    path = tmp_path_factory.mktemp("given") / "words.npz"
    np.savez(path, names=np.array(WORDS), embeddings=FakeEncoder().encode_texts(WORDS))
    return ("--label-embeddings", path, "--dictionary-embeddings", path, "--neighbours", 3)


def run(*arguments):
    return CliRunner().invoke(cli, ["eval", *map(str, arguments)])


def opinion_file(path, opinions):
    lines = [f"{number:05}.jpg,{value}" for number, value in enumerate(opinions)]
    path.write_text("\n".join(["image_name,MOS", *lines]))
    return path


def assert_refused(result, message, *, code=1):
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert message in " ".join(result.stderr.split())


class TestAnomaly:
    def test_red_and_blue_are_normal_and_green_is_found(self, place, given):
        result = run(
            "anomaly", "--labels", "column:label", "-c", place, *given, "--normal", "red, blue",
            "--shots", 5, "--draws", 2,
        )  # fmt: skip
        assert result.exit_code == 0, result.output
        lines = result.stdout.splitlines()
        assert lines[0].split() == [
            *("score", "[space]", "AUROC", "splits", "draws"),
            *("FPR@95", "splits", "draws"),
        ]
        assert [line.split("  ")[0] for line in lines[1:]] == [
            "BLISS [clip]",
            "internal only [clip]",
            "external only [clip]",
            "nearest example [clip]",
            "maximum text similarity [clip]",
        ]
        nearest = lines[4].split()
        assert nearest[-6:] == ["1.000", "-", ".000", ".000", "-", ".000"]
        told = "3 classes, splits, 1 split, 2 draws of 5 shots by seed 0; 14 normal and 8 anomalous"
        assert told in result.stderr
        assert all(len(line) < 80 for line in lines)

    def test_json_has_every_row_and_nothing_else(self, place, given):
        result = run(
            "anomaly", "--labels", "column:label", "-c", place, *given, "--shots", 3,
            "--sweep", "K=1,2", "--json",
        )  # fmt: skip
        assert result.exit_code == 0, result.output
        answer = json.loads(result.stdout)
        assert answer["protocol"] == "one-class"
        assert answer["splits"] == ["blue", "green", "red"]
        settings = [row["setting"] for row in answer["rows"]]
        assert settings == [None] * 5 + ["K=1", "K=2"]
        assert all(0 <= row["auroc"] <= 1 for row in answer["rows"])
        assert result.stderr == ""

    def test_labels_from_a_file_and_splits_from_another(self, place, given, tmp_path):
        labels, splits = tmp_path / "labels.csv", tmp_path / "splits.txt"
        rows = [f"{number:05}.jpg,{label}" for number, label in enumerate(LABELS)]
        labels.write_text("\n".join(["path,label", *rows]))
        splits.write_text("red\nblue,green\n")
        result = run(
            "anomaly", "--labels", labels, "-c", place, *given, "--splits", splits, "--shots", 3,
            "--json",
        )  # fmt: skip
        assert result.exit_code == 0, result.output
        assert len(json.loads(result.stdout)["splits"]) == 2

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--shots", "all"], "all photos as examples leave none to test on"),
            (["--normal", "violet"], "no photo has the label 'violet' of --normal"),
            (["--splits", "none.txt"], "cannot read the splits none.txt"),
            (["--sweep", "alpha=1"], "cannot sweep 'alpha' here; choose one of lambda, K, shots"),
        ],
    )
    def test_what_does_not_fit_is_said(self, place, given, options, message):
        result = run("anomaly", "--labels", "column:label", "-c", place, *given, *options)
        assert_refused(result, message)

    def test_classes_with_few_photos_are_only_anomalous(self, place, given):
        result = run("anomaly", "--labels", "column:label", "-c", place, *given, "--shots", 8)
        assert result.exit_code == 0, result.output
        assert "Too few photos for examples and a test in 2 of 3 classes" in result.stderr

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--normal", "red", "--splits", "x"], "give one of --normal and --splits"),
            (["--shots", "few"], "'few' is neither a number nor all"),
            (["--external-weight", "-1"], "-1.0 is not in the range"),
        ],
    )
    def test_wrong_usage(self, place, options, message):
        result = run("anomaly", "--labels", "column:label", "-c", place, *options)
        assert_refused(result, message, code=2)

    def test_texts_that_neither_model_nor_file_gives(self, place):
        result = run("anomaly", "--labels", "column:label", "-c", place, "--shots", 3)
        assert_refused(result, "known by its vectors only")


class TestQuality:
    def test_measures_are_compared_with_opinions(self, place, tmp_path):
        path = opinion_file(tmp_path / "mos.csv", range(len(LABELS)))
        result = run("quality", "--mos", path, "-c", place)
        assert result.exit_code == 0, result.output
        rows = {line.split("  ")[0]: line.split()[-5:] for line in result.stdout.splitlines()}
        assert rows["measure"] == ["is", "photos", "SRCC", "PLCC", "KRCC"]
        assert rows["quality"][:3] == ["high", "32", "1.000"]
        assert rows["sharpness"][2] == "-1.000"
        assert rows["noise"] == ["low", "32", "-", "-", "-"]
        assert "32 of 32 opinions are of photos in the collection; single mode" in result.stderr

    def test_differences_are_turned_and_json_is_alone(self, place, tmp_path):
        path = opinion_file(tmp_path / "mos.csv", [*range(len(LABELS)), 99])
        result = run(
            "quality", "--mos", path, "-c", place, "--lower-is-better", "--sweep", "alpha=0,1",
            "--json",
        )  # fmt: skip
        assert result.exit_code == 0, result.output
        answer = json.loads(result.stdout)
        by_measure = {row["measure"]: row for row in answer["rows"]}
        assert by_measure["quality"]["srcc"] == pytest.approx(-1)
        assert (answer["n_opinions"], answer["n_matched"]) == (33, 32)
        assert [row["setting"] for row in answer["rows"][-2:]] == ["alpha=0", "alpha=1"]
        assert result.stderr == ""

    def test_figures_of_the_paper_are_notes(self, place, tmp_path):
        path = tmp_path / "koniq.csv"
        lines = [f"{number:05}.jpg,0,9,{number}" for number in range(len(LABELS))]
        path.write_text("\n".join(["image_name,c1,c5,MOS", *lines]))
        result = run("quality", "--mos", path, "-c", place)
        assert "opinions of KonIQ-10k are of photos in the collection" in result.stderr
        assert "Published: SRCC .765, MA-CLIP; CLIP RN50" in result.stderr

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("path,mos\nx.jpg,1\n", "none of the 1 photos in"),
            ("path,rating\n00001.jpg,1\n", "has the columns path, rating"),
        ],
    )
    def test_other_files_are_refused(self, place, tmp_path, content, message):
        path = tmp_path / "mos.csv"
        path.write_text(content)
        assert_refused(run("quality", "--mos", path, "-c", place), message)
