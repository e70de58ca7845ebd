"""`isophote label` through its entry point."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from indexer.store import open_store
from service.cli import cli
from tests.makers.stores import new_store, random_features

FAR = np.array([40] * 6 + [0] * 6, np.float32)


@pytest.fixture
def place(tmp_path):
    """Forty vectors of two kinds: even ids on one side, odd ones on the other."""
    side = np.where(np.arange(40) % 2, 1, -1)[:, np.newaxis].astype(np.float32)
    new_store(tmp_path / "c", features=random_features(40) + side * FAR, source=None)
    return tmp_path / "c"


@pytest.fixture
def examples(tmp_path):
    path = tmp_path / "labels.csv"
    rows = [f"{image_id},{('left', 'right')[image_id % 2]}" for image_id in range(7)]
    path.write_text("\n".join(["image_id,label", *rows]))
    return path


def run(place, *arguments: object):
    return CliRunner().invoke(cli, ["label", "-c", str(place), *map(str, arguments)])


def test_counts_are_printed_and_how_far_to_trust_them(place, examples):
    result = run(place, "--examples", examples)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        "     20  left  (4 examples)",
        "     20  right  (3 examples)",
    ]
    assert result.stderr.splitlines() == [
        "Labelled 40 of 40 photos. Compared in the space clip.",
        "Tested on examples held out from learning: 7 of 7 right (100%).",
    ]
    assert open_store(str(place)).count_images("label = 'right' and image_id % 2 = 1") == 20


def test_one_json_document(place, examples):
    options = ["--classifier", "lda", "--space", "trunk", "--where", "image_id < 9", "--json"]
    result = run(place, "--examples", examples, *options)
    summary = json.loads(result.stdout)
    assert (summary["space"], summary["classifier"], summary["n_photos"]) == ("trunk", "lda", 9)
    assert summary["labels"] == [
        {"label": "left", "n_examples": 4, "n_photos": 5},
        {"label": "right", "n_examples": 3, "n_photos": 4},
    ]
    assert result.stderr == ""


def test_unsure_photos_are_counted(place, examples):
    result = run(place, "--examples", examples, "--min-confidence", 1)
    assert "Labelled 0 of 40 photos; the others were less sure than 1." in result.stderr


def test_single_examples_are_not_tested(place, tmp_path):
    (tmp_path / "two.csv").write_text("image_id,label\n0,left\n1,right\n")
    result = run(place, "--examples", tmp_path / "two.csv")
    assert result.stdout.splitlines()[0] == "     20  left  (1 example)"
    assert "too few examples to test any of them: the confidences are rough" in result.stderr


def test_the_semantic_space_takes_given_axes(place, examples, tmp_path):
    path = tmp_path / "axes.npz"
    embeddings = np.stack([FAR, -FAR, np.ones(12)])
    np.savez(path, names=["a", "b", "c"], embeddings=embeddings)
    options = ["--space", "semantic", "--label-embeddings", path, "--axes-components", 1]
    result = run(place, "--examples", examples, *options, "--json")
    assert json.loads(result.stdout)["space"] == "semantic"
    assert open_store(str(place)).count_images("label = 'left' and image_id % 2 = 0") == 20


def test_labels_are_cleared(place, examples):
    run(place, "--examples", examples)
    assert run(place, "--clear", "--where", "label = 'left'").stdout == (
        "Removed the labels of 20 photos.\n"
    )
    assert json.loads(run(place, "--clear", "--json").stdout) == {"n_cleared": 20}
    assert run(place, "--clear").stdout == "Removed the labels of 0 photos.\n"


@pytest.mark.parametrize("options", [[], ["--clear", "--examples", "folders"]])
def test_examples_or_clear_is_needed(place, options):
    result = run(place, *options)
    assert result.exit_code == 2
    assert "give either --examples or --clear" in result.stderr


def test_axes_of_another_space_are_wrong_usage(place, examples):
    result = run(place, "--examples", examples, "--axes-centred")
    assert result.exit_code == 2
    assert "need --space semantic" in result.stderr


@pytest.mark.parametrize(
    ("source", "message"),
    [
        pytest.param("/no/such/place", "/no/such/place does not exist; give a folder", id="none"),
        pytest.param("column:nosuch", "the collection has no column 'nosuch'", id="column"),
        pytest.param("column:format", "", id="a-column-of-text"),
        pytest.param("folders", "all examples in folders have the label 'photos'", id="one-label"),
    ],
)
def test_sources_that_cannot_be_used_are_named(place, source, message):
    result = run(place, "--examples", source)
    assert result.exit_code == (1 if message else 0), result.output
    assert message in result.stderr
