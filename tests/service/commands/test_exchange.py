"""`isophote import` and `isophote export` as they are typed."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from service.cli import cli
from tests.fakes import FakeEncoder
from tests.makers.cifar import pickled_cifar10, pickled_cifar100
from tests.makers.vectors import clip_retrieval_folder, raw_vectors, unit_vectors


def run(*arguments: object):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def assert_refused(found, *parts: str, code: int = 1) -> None:
    assert found.exit_code == code, found.output
    assert found.stdout == ""
    message = found.stderr.strip().splitlines()[-1]
    for part in ("Error: ", *parts):
        assert part in message


@pytest.fixture
def fake_models(monkeypatch):
    monkeypatch.setattr("service.collection.open_encoder", lambda *_, **__: FakeEncoder())


@pytest.fixture
def vectors(tmp_path):
    np.savez(
        tmp_path / "v.npz",
        vectors=raw_vectors(9),
        ids=np.array([f"{row}.jpg" for row in range(9)]),
        n=np.arange(9),
        quality=np.array(["fine"] * 9),
        matrix=np.zeros((9, 2)),
    )
    return tmp_path / "v.npz"


def test_import_tells_what_it_did(vectors, tmp_path):
    found = run("import", vectors, "-c", tmp_path / "c", "--vector-column", "vectors")
    assert found.exit_code == 0, found.output
    first, second = found.stdout.splitlines()
    assert first.startswith("9 rows in ")
    assert first.endswith(" s: 9 imported.")
    assert second == (
        f"The collection {tmp_path / 'c'} holds 9 vectors of the model unknown. These have 6 "
        "numbers and lengths of their own."
    )
    notes = found.stderr.splitlines()
    assert notes[-3:-1] == [
        "The column 'quality' is called 'given_quality' here.",
        "The column 'matrix' was left out: it has the shape (9, 2).",
    ]
    assert "give embeddings of texts with --label-embeddings" in notes[-1]


def test_what_was_imported_can_be_asked(vectors, tmp_path):
    run("import", vectors, "-c", tmp_path / "c", "--model-id", "mine")
    assert "mine (known by its vectors)" in run("info", "-c", tmp_path / "c").stdout
    found = run("search", "id:3", "-c", tmp_path / "c", "-k", 1, "--where", "n = 5")
    assert found.stdout.split()[1:] == ["-", "id:5", "5.jpg"]
    assert_refused(run("search", "a dog", "-c", tmp_path / "c"), "'mine'", "--label-embeddings")
    refused = run("search", "id:3", "--space", "trunk", "-c", tmp_path / "c")
    assert_refused(refused, "photos are stored without pre-projection features; use clip or")
    assert run("failures", "-c", tmp_path / "c").exit_code == 0
    assert_refused(run("failures", "--retry", "-c", tmp_path / "c"), "takes no photos")
    assert_refused(run("index", tmp_path, "-c", tmp_path / "c"), "takes no photos")


def test_import_prints_one_json_document(vectors, tmp_path):
    found = run(
        "import", vectors, "-c", tmp_path / "c", "--vector-column", "vectors", "--unit", "--json"
    )
    summary = json.loads(found.stdout)
    assert (summary["n_imported"], summary["is_unit"]) == (9, True)
    assert summary["renamed"] == {"ids": "path", "quality": "given_quality"}


def test_bad_rows_need_to_be_told_to_be_left_out(tmp_path):
    vectors = raw_vectors(4)
    vectors[2] = np.nan
    np.savez(tmp_path / "v.npz", vectors=vectors, ids=np.array(["a", "a", "b", "c"]))
    refused = run("import", tmp_path / "v.npz", "-c", tmp_path / "c")
    assert_refused(refused, "1 of 4 rows", "row 2", "holds NaN", "--skip-bad")
    found = run("import", tmp_path / "v.npz", "-c", tmp_path / "c", "--skip-bad")
    assert "2 imported, 1 without a usable vector, 1 with the name of an earlier" in found.stdout
    again = run("import", tmp_path / "v.npz", "-c", tmp_path / "c", "--skip-bad", "--skip-known")
    assert again.stdout.splitlines()[0].endswith(
        "1 without a usable vector, 1 with the name of an earlier row, 2 known already."
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give one of SOURCE, --cifar10 and --cifar100"),
        (["a.npz", "--cifar10", "x"], "give one of SOURCE, --cifar10 and --cifar100"),
        (["a.npz", "--pretrained", "x"], "--pretrained needs --model"),
        (["a.npz", "--split", "test"], "--split needs --cifar10 or --cifar100"),
        (["a.npz", "--model", "x", "--model-id", "y"], "or --model-id to only name it"),
        (["--cifar10", "x", "--raw"], "--unit/--raw are of vectors, not of CIFAR"),
        (["--cifar10", "x", "--skip-bad", "--id-column", "y"], "--id-column, --skip-bad are of"),
    ],
)
def test_options_that_do_not_go_together(tmp_path, arguments, message):
    assert_refused(run("import", *arguments, "-c", tmp_path / "c"), message, code=2)


def test_words_work_with_the_model(tmp_path, fake_models):
    np.savez(tmp_path / "v.npz", embedding=FakeEncoder().encode_texts(["red", "blue", "green"]))
    found = run("import", tmp_path / "v.npz", "-c", tmp_path / "c", "--model", "fake")
    assert (found.exit_code, "--label-embeddings" in found.stderr) == (0, False)
    hits = run("search", "a blue thing", "-c", tmp_path / "c", "-k", 1)
    assert hits.stdout.split()[-1] == "v.npz/1"


@pytest.mark.parametrize(
    ("option", "write"), [("--cifar10", pickled_cifar10), ("--cifar100", pickled_cifar100)]
)
def test_cifar_is_imported_with_labels(tmp_path, fake_models, option, write):
    found = run(
        "import", option, write(tmp_path / "d"), "-c", tmp_path / "c", "--split", "test",
        "--model", "fake", "--json",
    )  # fmt: skip
    assert found.exit_code == 0, found.output
    n_images = json.loads(found.stdout)["n_images"]
    assert n_images == len(json.loads(
        run("search", "id:0", "--where", "split = 'test'", "--include-self", "-c", tmp_path / "c",
            "--json").stdout
    )["hits"])  # fmt: skip
    again = run("import", option, tmp_path / "d", "-c", tmp_path / "c", "--split", "test")
    assert f"{n_images} known already" in again.stdout


def test_an_interrupt_exits_with_130_and_says_how_to_go_on(vectors, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("indexer.store.Store.append_images", interrupted)
    found = run("import", vectors, "-c", tmp_path / "c", "--vector-column", "vectors")
    assert found.exit_code == 130
    assert "9 not reached" in found.stdout
    assert "Interrupted with 9 rows to go" in found.stderr
    assert "--skip-known" in found.stderr


def test_export_tells_what_it_wrote(vectors, tmp_path):
    run("import", vectors, "-c", tmp_path / "c", "--vector-column", "vectors")
    found = run("export", tmp_path / "out.parquet", "-c", tmp_path / "c", "--where", "n > 4")
    assert found.stdout.startswith("Wrote 4 photos with vectors of the space clip in float32 and ")
    assert f"columns to {tmp_path / 'out.parquet'} (0.0 MB, " in found.stdout
    found = run("export", tmp_path / "out.csv", "-c", tmp_path / "c")
    assert "9 photos without vectors" in found.stdout
    found = run("export", tmp_path / "out.csv", "-c", tmp_path / "c", "--vectors", "--json")
    summary = json.loads(found.stdout)
    assert (summary["format"], summary["space"], summary["n_images"]) == ("csv", "clip", 9)
    assert_refused(run("export", tmp_path / "x.xlsx", "-c", tmp_path / "c"), "--format")
    refused = run("export", tmp_path / "x.npz", "-c", tmp_path / "c", "--axes-centred")
    assert_refused(refused, "need --space semantic", code=2)


def test_a_round_trip_through_the_command_line(tmp_path):
    folder = clip_retrieval_folder(
        tmp_path / "f", unit_vectors(5), part_rows=2, image_path=list("abcde"), n=[1, 2, 3, 4, 5]
    )
    run("import", folder, "-c", tmp_path / "c1", "--model-id", "mine")
    assert run("export", tmp_path / "out", "-c", tmp_path / "c1").exit_code == 0
    found = run("import", tmp_path / "out", "-c", tmp_path / "c2", "--json")
    assert json.loads(found.stdout)["model"] == "mine"
    run("export", tmp_path / "again", "-c", tmp_path / "c2")
    first, second = (
        np.load(tmp_path / name / "img_emb" / "img_emb_0.npy") for name in ("out", "again")
    )
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first, unit_vectors(5))


def test_captions_become_a_file_of_named_embeddings(tmp_path):
    folder = clip_retrieval_folder(
        tmp_path / "f", unit_vectors(3), part_rows=3, texts=unit_vectors(3), caption=list("aab")
    )
    run("import", folder, "-c", tmp_path / "c")
    found = run("export", tmp_path / "captions.npz", "--captions", "-c", tmp_path / "c")
    assert found.stdout.startswith("Wrote 2 captions with vectors of the space clip in float16")
    hits = run(
        "search",
        "b",
        "--label-embeddings",
        tmp_path / "captions.npz",
        "-k",
        1,
        "-c",
        tmp_path / "c",
    )
    assert hits.stdout.split()[2] == "id:2"
