"""`isophote eval retrieval` and `isophote eval text` through the entry point."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from schemas.evaluation import CaptionEvaluation, RetrievalEvaluation
from service.cli import cli
from tests.makers.labelled import labelled_store, write_colour_embeddings


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A collection whose model is unknown: three red photos, two green ones, a blue one."""
    place = tmp_path_factory.mktemp("place") / "collection"
    labelled_store(place, source=None)
    return place


@pytest.fixture(scope="module")
def embeddings(tmp_path_factory):
    return write_colour_embeddings(tmp_path_factory.mktemp("embeddings") / "colours.npz")


@pytest.fixture(scope="module")
def captions(tmp_path_factory):
    path = tmp_path_factory.mktemp("captions") / "captions.tsv"
    path.write_text("file\tn\tcaption\n3.png\t0\tgreen\n5.png\t0\tblue\n9.png\t0\tred\n")
    return path


def run(*arguments):
    return CliRunner().invoke(cli, ["eval", *(str(argument) for argument in arguments)])


def assert_refused(result, *parts, code=1):
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    message = result.stderr.strip().splitlines()[-1]
    assert message.startswith("Error: ")
    for part in parts:
        assert part in message


def test_retrieval_prints_one_line_per_space(place, embeddings):
    result = run("retrieval", "--labels", "folders", "--label-embeddings", embeddings, "-c", place)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        "space     dims    mAP  mAP@R    P@R    R@1",
        "clip        12  1.000  1.000  1.000  1.000",
        "isoclip     12  1.000  1.000  1.000  1.000",
        "trunk       12  1.000  1.000  1.000  1.000",
        "semantic     3  1.000  1.000  1.000  1.000",
    ]
    assert "5 queries of 2 labels, among 6 photos with 1 distractor; " in result.stderr
    assert "compare the gains and not the values" in result.stderr


def test_tables_fit_60_columns(place, embeddings, captions):
    bands = run("retrieval", "--labels", "folders", "--sweep", "band=0/0,3/2,4/4", "-c", place)
    texts = run(
        *("text", "--captions", captions, "--caption-embeddings", embeddings),
        *("--label-embeddings", embeddings, "-c", place),
    )
    for result in (bands, texts):
        assert result.exit_code == 0, result.output
        assert max(map(len, result.stdout.splitlines())) <= 60


def test_retrieval_prints_one_json_document(place):
    result = run(
        *("retrieval", "--labels", "folders", "--space", "clip", "--classes-min", "3"),
        *("--limit", "2", "--seed", "7", "--json", "-c", place),
    )
    found = RetrievalEvaluation.model_validate_json(result.stdout)
    assert (found.n_queries, found.n_labels, found.n_distractors, found.seed) == (2, 1, 3, 7)
    assert set(json.loads(result.stdout)["rows"][0]) == {
        "space",
        "setting",
        "n_dimensions",
        "mean_average_precision",
        "mean_average_precision_at_r",
        "precision_at_r",
        "recall_at_1",
    }
    assert result.stderr == ""


def test_retrieval_names_what_it_could_not_measure(place):
    result = run("retrieval", "--labels", "folders", "-c", place)
    assert result.exit_code == 0
    assert "semantic" not in result.stdout
    assert "Not measured: semantic: " in result.stderr
    assert "known by its vectors only" in result.stderr


def test_a_sweep_prints_one_line_per_value(place, embeddings):
    result = run(
        *("retrieval", "--labels", "folders", "--space", "clip", "--sweep", "axes=1:4:1"),
        *("--label-embeddings", embeddings, "--axes-centred", "-c", place),
    )
    lines = result.stdout.splitlines()
    names = [line.rpartition("  ")[0].split("  ")[0] for line in lines]
    assert names == ["space", "clip", "semantic axes=1", "semantic axes=2", "semantic axes=3"]
    assert "Not measured: semantic axes=4: only 3 axes" in result.stderr


def test_retrieval_says_how_many_were_drawn_and_left_out(place, tmp_path):
    (tmp_path / "labels.csv").write_text("path,label\nred/0.png,r\nred/1.png,r\nnew.png,r\n")
    (tmp_path / "new.png").write_bytes(b"not looked at")
    result = run(
        *("retrieval", "--labels", tmp_path / "labels.csv", "--space", "clip"),
        *("--limit", 1, "--seed", 3, "-c", place),
    )
    assert (
        "1 query of 1 label, drawn by seed 3, among 2 photos with 0 distractors; " in result.stderr
    )
    assert "Left out, as the collection does not have their photos: 1 label." in result.stderr


def test_text_prints_recall_both_ways(place, captions, embeddings):
    result = run(
        *("text", "--captions", captions, "--caption-embeddings", embeddings),
        *("--label-embeddings", embeddings, "-c", place),
    )
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        "space     dims  t2i@1  t2i@5  t2i@10  i2t@1  i2t@5  i2t@10",
        "clip        12  1.000  1.000   1.000  1.000  1.000   1.000",
        "semantic     3  1.000  1.000   1.000  1.000  1.000   1.000",
    ]
    assert "2 captions of 2 photos; " in result.stderr
    assert "Left out, as the collection does not have their photos: 1 caption." in result.stderr


def test_text_prints_one_json_document(place, captions, embeddings):
    result = run(
        *("text", "--captions", captions, "--caption-embeddings", embeddings),
        *("--space", "clip", "--json", "-c", place),
    )
    found = CaptionEvaluation.model_validate_json(result.stdout)
    assert found.rows[0].text_to_image == {1: 1.0, 5: 1.0, 10: 1.0}
    assert (found.n_photos, found.n_captions, found.n_outside) == (2, 2, 1)


class TestRefusals:
    def test_labels_that_do_not_exist(self, place):
        result = run("retrieval", "--labels", "no/such/place", "-c", place)
        assert_refused(result, "no/such/place does not exist")

    def test_a_file_that_is_no_table(self, place, tmp_path):
        (tmp_path / "labels.csv").write_bytes(b"\x00\xff\xfe" * 40)
        assert_refused(run("retrieval", "--labels", tmp_path / "labels.csv", "-c", place))

    def test_a_sweep_of_something_else(self, place):
        result = run("retrieval", "--labels", "folders", "--sweep", "lambda=1", "-c", place)
        assert_refused(result, "cannot sweep 'lambda' here; choose one of band, axes")

    def test_a_condition_that_is_none(self, place):
        result = run("retrieval", "--labels", "folders", "--where", "no such", "-c", place)
        assert_refused(result)

    def test_captions_of_no_photo(self, place, tmp_path):
        (tmp_path / "captions.csv").write_text("path,caption\nx.png,words\n")
        result = run("text", "--captions", tmp_path / "captions.csv", "-c", place)
        assert_refused(result, "is of a photo of the collection")

    def test_words_for_a_model_that_is_unknown(self, place, captions):
        result = run("text", "--captions", captions, "-c", place)
        assert_refused(result, "known by its vectors only")

    def test_embeddings_of_another_width(self, place, captions, tmp_path):
        np.savez(tmp_path / "e.npz", names=np.array(["a"]), embeddings=np.ones((1, 5), "f4"))
        result = run(
            *("text", "--captions", captions, "--caption-embeddings", tmp_path / "e.npz"),
            *("-c", place),
        )
        assert_refused(result, "this collection needs (names, 12)")

    def test_too_few_photos_per_label(self, place):
        result = run("retrieval", "--labels", "folders", "--classes-min", 1, "-c", place)
        assert_refused(result, "1 is not in the range x>=2", code=2)


@pytest.mark.parametrize("command", ["retrieval", "text"])
def test_help_starts_with_a_verb_and_shows_an_example(command):
    result = run(command, "--help")
    assert "Measure how well" in result.stdout
    assert f"\n  isophote eval {command} " in result.stdout
