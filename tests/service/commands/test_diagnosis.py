"""`isophote diagnose` on vectors of a model that is not known: no words can be embedded."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from indexer.encoders.encoder import Projectors
from service.cli import cli
from tests.fakes import FEATURES
from tests.makers.stores import described, new_store, random_features


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("vectors") / "collection"
    model = described(id="unknown", spaces=("clip",), linear_image_head=False, preprocessing=None)
    new_store(
        place,
        model=model,
        projectors=Projectors(None, np.eye(FEATURES, dtype=np.float32)),
        features=random_features(20),
        source=None,
        band=None,
        origin="vectors",
    )
    return place


@pytest.fixture(scope="module")
def words(place):
    file = place.parent / "words.npz"
    embeddings = np.random.default_rng(1).normal(size=(30, FEATURES))
    np.savez(file, names=np.array([f"word {n}" for n in range(30)]), embeddings=embeddings)
    return file


def run(place, *arguments):
    return CliRunner().invoke(cli, ["diagnose", *map(str, arguments), "-c", str(place)])


def test_prints_what_was_drawn_and_what_was_left_out(place, words, tmp_path):
    target = tmp_path / "report\x1b[2J"
    result = run(place, target, "--dictionary-embeddings", words)
    assert result.exit_code == 0, result.output
    shown = str(target).replace("\x1b", "\\x1b")
    assert result.stdout.splitlines() == [
        f"{shown}/report.html  the report",
        f"{shown}/modality-similarities.png  Photos and texts",
        f"{shown}/modality-gap.png  The modality gap",
        f"{shown}/map.png  A map of photos and texts",
    ]
    assert [line.partition(": ")[2].partition(":")[0] for line in result.stderr.splitlines()] == [
        "Photos that share a label, and others",
        "Singular values and the kept band",
        "Labels, unrelated words and photos",
        "Quality and opinions",
    ]
    assert (target / "report.html").is_file()


def test_prints_one_json_document(place, tmp_path):
    result = run(place, tmp_path / "report", "--json", "--limit", 5, "--seed", 3)
    found = json.loads(result.stdout)
    assert result.stderr == ""
    assert (found["n_images"], found["n_sampled"], found["seed"]) == (20, 5, 3)
    assert found["plots"] == []
    assert {plot["name"] for plot in found["left_out"]} >= {"map", "modality-gap", "opinions"}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--where", "colour = 3"], 1, "colour"),
        (["--labels", "nowhere.csv"], 1, "nowhere.csv does not exist"),
        (["--limit", "1"], 2, "'--limit': 1 is not in the range x>=2"),
    ],
)
def test_refuses_in_one_line(place, tmp_path, arguments, code, message):
    result = run(place, tmp_path / "report", *arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert message in result.stderr
    assert "Traceback" not in result.output
