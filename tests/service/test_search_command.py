"""`isophote search` in the semantic space, and in a collection that has only vectors."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from schemas.results import Hit, SearchResult
from service.cli import cli
from service.terminal import show_hits
from tests.fakes import FEATURES
from tests.makers.stores import described, new_store, random_features

NAMES = ("dog", "cat", "horse", "bee")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Thirty vectors of a model that nobody knows."""
    place = tmp_path_factory.mktemp("place") / "c"
    model = described(preprocessing=None)
    new_store(place, model=model, features=random_features(30), source=None)
    return place


@pytest.fixture
def given(tmp_path):
    path = tmp_path / "embeddings.npz"
    np.savez(path, names=NAMES, embeddings=random_features(len(NAMES), seed=4))
    return path


@pytest.fixture
def names_file(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("dog\nhorse\nbee\n")
    return path


def run(place, *arguments: object):
    return CliRunner().invoke(cli, ["search", "-c", str(place), *map(str, arguments)])


def found(place, *arguments: object):
    result = run(place, "--json", *arguments)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def slow_similarities(embeddings, axes, query):
    """Cosines of P unit(z), vector by vector."""

    def along(vector):
        placed = axes @ (vector / np.linalg.norm(vector))
        return placed / np.linalg.norm(placed)

    return [float(along(vector) @ along(query)) for vector in embeddings]


def test_hits_are_those_along_the_asked_axes(place, given, names_file):
    options = ["--space", "semantic", "--axes", names_file, "--label-embeddings", given]
    answer = found(place, "id:3", *options, "--axes-components", 1, "--top-k", 29)
    assert answer["space"] == "semantic"
    labels = random_features(4, seed=4)[[0, 2, 3]].astype(np.float64)
    labels /= np.linalg.norm(labels, axis=1, keepdims=True)
    _, _, components = np.linalg.svd(labels - labels.mean(axis=0))
    embeddings = random_features(30).astype(np.float64)
    expected = slow_similarities(embeddings, components[:1], embeddings[3])
    assert len(answer["hits"]) == 29
    for hit in answer["hits"]:
        assert hit["similarity"] == pytest.approx(expected[hit["image_id"]], abs=1e-5)


def test_each_option_of_the_axes_counts(place, given, names_file):
    options = ["id:3", "--space", "semantic", "--label-embeddings", given]
    variants = [
        [],
        ["--axes", names_file],
        ["--axes-components", 2],
        ["--axes-centred"],
        ["--where", "format = 'PNG'"],
        ["--minus", "dog"],
    ]
    answers = [json.dumps(found(place, *options, *variant)["hits"]) for variant in variants]
    assert len(set(answers)) == len(variants)


def test_given_words_are_answered_without_a_model(place, given):
    plain = found(place, "dog", "--label-embeddings", given)
    assert plain["space"] == "clip"
    embeddings = random_features(30).astype(np.float64)
    query = random_features(4, seed=4)[0]
    expected = slow_similarities(embeddings, np.eye(FEATURES), query)
    assert plain["hits"][0]["similarity"] == pytest.approx(max(expected), abs=1e-3)


@pytest.mark.parametrize(
    "options", [["--axes", "names.txt"], ["--axes-components", "3"], ["--axes-centred"]]
)
@pytest.mark.parametrize("space", [[], ["--space", "clip"]])
def test_axes_of_another_space_are_wrong_usage(place, options, space):
    result = run(place, "id:3", *options, *space)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--axes, --axes-components and --axes-centred need --space semantic" in result.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(None, "cannot read {path}: no such file or directory", id="missing"),
        pytest.param(b"", "{path} holds no name; write one a line", id="empty"),
        pytest.param(b"\xff\xfe\x00", "{path} is no UTF-8 text; write one name a line", id="bytes"),
        pytest.param(b"dog\nyak", "has no embedding of 'yak'", id="name-without-embedding"),
        pytest.param(b"dog", "no axis can be made of 1 class name; give at", id="one-name"),
    ],
)
def test_files_of_names_that_cannot_be_used_are_named(place, given, tmp_path, content, message):
    path = tmp_path / "list.txt"
    if content is not None:
        path.write_bytes(content)
    options = ["--space", "semantic", "--axes", path, "--label-embeddings", given]
    result = run(place, "id:3", *options)
    assert (result.exit_code, result.stdout) == (1, "")
    assert message.format(path=path) in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_words_for_an_unknown_model_are_refused_in_one_line(place):
    result = run(place, "a dog")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "ask with id:N, or give embeddings of the texts" in result.stderr


def test_a_hit_of_unknown_quality_shows_a_dash(capsys):
    known = {"width": None, "height": None, "format": None, "taken_at": None}
    hits = [
        Hit(image_id=7, path="s3://bucket/a\nb.jpg", similarity=0.25, quality=None, **known),
        Hit(image_id=8, path="c.jpg", similarity=0.2, quality=0.5, **known),
    ]
    show_hits(SearchResult(space="clip", n_searched=2, hits=hits))
    assert capsys.readouterr().out.splitlines() == [
        "     0.250        -  id:7    s3://bucket/a\\x0ab.jpg",
        "     0.200     0.50  id:8    c.jpg",
    ]
