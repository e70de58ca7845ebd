"""`isophote anomalies`, on a collection whose texts come from files: no model is opened."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from service.cli import cli
from service.commands.anomalies import anomalies
from tests.fakes import COLOURS, FakeEncoder
from tests.makers.shades import copied_shades, indexed_shades


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """Twelve reds and blues and a green one."""
    folder = tmp_path_factory.mktemp("shades")
    return indexed_shades(folder / "photos", folder / "c")


@pytest.fixture(scope="module")
def unlearned(template):
    """A collection without a reference, which a test leaves as it is."""
    return template.store.uri


@pytest.fixture
def place(template, tmp_path):
    """A collection beside embeddings of the texts of colours."""
    names = list(COLOURS)
    texts = FakeEncoder().encode_texts(names)
    np.savez(tmp_path / "texts.npz", names=np.array(names), embeddings=texts)
    copied_shades(template, tmp_path / "c")
    return tmp_path / "c"


def run(*arguments: object):
    return CliRunner().invoke(cli, ["anomalies", *map(str, arguments)])


def fit(place, name="usual", *arguments: object):
    texts = place.parent / "texts.npz"
    return run(
        *("fit", name, "-c", place, "--examples", "folders", "--neighbours", 1),
        *("--label-embeddings", texts, "--dictionary-embeddings", texts, *arguments),
    )


def assert_refused(result, *parts: str, code: int = 1) -> None:
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    message = result.stderr.strip().splitlines()[-1]
    assert message.startswith("Error: ")
    for part in parts:
        assert part in message


def test_from_learning_to_forgetting(place):
    learned = fit(place)
    assert (learned.exit_code, learned.stdout) == (
        0,
        "Learned 'usual' from 24 normal photos of 2 classes named by their folders.\n"
        "Classes: blue (12), red (12).\n",
    )
    assert learned.stderr == (
        "Left out for want of two photos that differ: green (1).\n"
        "Next: isophote anomalies score usual\n"
    )
    scored = run("score", "-c", place)
    assert scored.stdout.startswith("Scored 25 photos by 'usual' in ")
    assert scored.stdout.endswith("s; new photos are scored by it when they are indexed.\n")
    listed = run("list", "-c", place, "-k", 1)
    assert listed.exit_code == 0
    assert listed.stderr == ""
    (line,) = listed.stdout.splitlines()
    assert "/green/0-0.png: far from '" in line
    assert "closer than its examples to: green (external" in line
    references = run("references", "-c", place).stdout
    assert references.startswith(
        "usual: active, 25 photos scored, bliss (lambda 0.75, K 1, 6 texts), from 24 normal "
        "photos of 2 classes named by their folders, made on "
    )
    removed = run("remove", "usual", "-c", place)
    assert removed.stdout == "Removed 'usual' and the scores of 25 photos.\n"
    assert removed.stderr == "It was the active one: new photos are not scored any more.\n"
    nothing = run("references", "-c", place)
    assert (nothing.stdout, nothing.exit_code) == ("", 0)
    assert nothing.stderr == "There is no reference yet; `isophote anomalies fit NAME` makes one.\n"


def test_json_is_one_document_on_stdout(place):
    fitted = json.loads(fit(place, "usual", "--json").stdout)
    assert fitted["settings"]["scoring"]["method"] == "bliss"
    assert json.loads(run("score", "-c", place, "--json").stdout)["n_scored"] == 25
    listed = json.loads(run("list", "-c", place, "--json", "-k", 2).stdout)
    assert listed["photos"][0]["words"] == ["green"]
    (reference,) = json.loads(run("references", "-c", place, "--json").stdout)["references"]
    assert (reference["is_active"], reference["n_scored"]) == (True, 25)
    assert json.loads(run("remove", "usual", "-c", place, "--json").stdout)["n_cleared"] == 25


def test_distances_are_listed_with_their_own_reason(place):
    learned = run("fit", "near", "-c", place, "--method", "knn", "--nearest", 2)
    assert learned.stdout == "Learned 'near' from 25 normal photos, taken from all.\n"
    run("score", "-c", place)
    assert "from the 2nd nearest of 25 normal photos" in run("list", "-c", place).stdout
    assert "25 photos scored, knn (nearest 2)" in run("references", "-c", place).stdout


def test_names_of_classes_find_normal_photos(place):
    labels = place.parent / "labels.txt"
    labels.write_text("red\nblue\n")
    texts = place.parent / "texts.npz"
    learned = run(
        *("fit", "usual", "-c", place, "--labels", labels, "--confident", 1, "--neighbours", 1),
        *("--label-embeddings", texts, "--dictionary-embeddings", texts),
    )
    assert "25 normal photos of 2 classes found by their names." in learned.stdout


def test_the_most_frequent_names_find_normal_photos(place):
    texts = place.parent / "texts.npz"
    learned = run(
        *("fit", "usual", "-c", place, "--cover", 0.9, "--neighbours", 1),
        *("--label-embeddings", texts, "--dictionary-embeddings", texts),
    )
    assert "25 normal photos of 2 classes found by the most frequent names." in learned.stdout


def test_few_examples_and_a_replaced_namesake_are_told(place):
    fit(place)
    run("score", "-c", place)
    again = fit(place, "usual", "--where", "image_id % 2 = 0")
    assert "It replaces the reference of this name, whose scores of 25 photos were cleared.\n" in (
        again.stderr
    )
    assert "Fewer than 10 examples make rough scores: " in again.stderr


def test_photos_without_a_score_are_counted(place):
    fit(place, "my holiday")
    run("score", "-c", place)
    fit(place, "other")
    result = run("list", "-c", place, "--reference", "other")
    assert_refused(result, "no photo has a score", "`isophote anomalies score other`")
    assert "id:" in run("list", "-c", place).stdout
    assert run("list", "-c", place, "--where", "width = 1").stderr == "No photo matches.\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--nearest", 2], "--nearest needs --method knn"),
        (["--sample", 20], "--sample needs --method knn"),
        (["--method", "knn", "--neighbours", 2], "--neighbours needs --method bliss"),
        (["--method", "knn", "--external-weight", 1], "--external-weight needs --method bliss"),
        (["--examples", "folders", "--labels", "x"], "give --examples or --labels, not both"),
        (["--examples", "folders", "--confident", 0.5], "--confident needs --labels"),
        (["--labels", "x", "--least", 0.5], "--least is for --method bliss with neither"),
        (["--labels", "x", "--cover", 0.5], "--cover is for --method bliss with neither"),
        (["--method", "knn", "--cover", 0.5], "--cover is for --method bliss with neither"),
        (["--method", "knn", "--confident", 0.5], "--confident needs --labels"),
    ],
)
def test_options_without_effect_are_refused(unlearned, arguments, message):
    assert_refused(run("fit", "usual", "-c", unlearned, *arguments), message, code=2)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["fit", "x", "--examples", "/nowhere"], ["/nowhere does not exist"]),
        (["fit", "x", "--labels", "/nowhere"], ["cannot read /nowhere: no such file"]),
        (["fit", "x", "--method", "knn", "--where", "colour = 1"], ["the filter 'colour = 1'"]),
        (["fit", "", "--method", "knn"], ["'' cannot name a reference"]),
        (["score"], ["no anomaly reference yet", "`isophote anomalies fit NAME`"]),
        (["list"], ["no anomaly reference yet", "`isophote anomalies fit NAME`"]),
        (["remove", "x"], ["no anomaly reference yet", "`isophote anomalies fit NAME`"]),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(unlearned, arguments, parts):
    assert_refused(run(*arguments, "-c", unlearned), *parts)


def test_no_collection_is_told(tmp_path):
    assert_refused(run("list", "-c", tmp_path / "none"), "no collection at", "isophote index")


def test_every_command_has_help_that_starts_with_a_verb_and_shows_an_example():
    for name, command in anomalies.commands.items():
        shown = CliRunner().invoke(command, ["--help"]).stdout
        assert f"isophote anomalies {name}" in shown
        assert (command.help or "")[:1].isupper()
