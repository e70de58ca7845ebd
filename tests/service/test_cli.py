"""The command through its entry point, on real files with the built-in model."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from service.cli import cli
from service.commands.models import model
from tests.makers.photos import STORED_AS, drawn_photo, image_file

HEAVY_MODULES = (
    "matplotlib",
    "torch",
    "open_clip",
    "lancedb",
    "faiss",
    "onnxruntime",
    "pyarrow",
    "numpy",
    "PIL",
)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Six drawn photos, one below a folder, and two files that are none."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "2023").mkdir()
    for seed in range(6):
        name = f"2023/photo-{seed}.jpg" if seed == 5 else f"photo-{seed}.jpg"
        (folder / name).write_bytes(image_file(drawn_photo(seed), "JPEG"))
    (folder / "list.jpg").write_text("a shopping list")
    (folder / "empty.png").touch()
    return folder


@pytest.fixture(scope="module")
def place(photos, tmp_path_factory):
    """A collection of these photos."""
    place = tmp_path_factory.mktemp("place") / "collection"
    result = run("index", photos, "-c", place)
    assert result.exit_code == 1  # two files failed
    return place


def run(*arguments: object, **environment: str):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], env=environment)


def assert_refused(result, *parts: str, code: int = 1) -> None:
    """One line that says what is wrong; nothing on stdout; no traceback."""
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    message = result.stderr.strip().splitlines()[-1]
    assert message.startswith("Error: ")
    for part in parts:
        assert part in message
    if code == 1:
        assert len(result.stderr.strip().splitlines()) == 1


def test_the_entry_point_is_installed():
    (found,) = entry_points(group="console_scripts", name="isophote")
    assert found.value == "service.cli:main"


def test_help_loads_nothing_heavy():
    code = (
        "import sys; from service.cli import cli; cli(['--help'], standalone_mode=False);"
        f"sys.exit(','.join(name for name in {HEAVY_MODULES} if name in sys.modules) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_command_has_help_that_starts_with_a_verb_and_shows_an_example():
    commands = {"": cli, **cli.commands, **model.commands}
    for name, command in commands.items():
        result = CliRunner().invoke(command, ["--help"])
        assert result.exit_code == 0
        assert (command.help or "")[:1].isupper()
        if name != "model":
            assert "\n  isophote" in result.output, name


def test_index_counts_lists_failures_and_exits_with_1(photos, tmp_path):
    result = run("index", photos, "-c", tmp_path / "collection")
    assert result.exit_code == 1
    assert "8 photos in" in result.stdout
    assert "6 indexed, 2 failed" in result.stdout
    assert f"{photos}/list.jpg is text, not an image [decode]" in result.stderr
    assert f"{photos}/empty.png is empty (0 bytes) [decode]" in result.stderr


def test_index_again_finds_nothing_to_do(photos, place):
    result = run("index", photos, "-c", place)
    assert result.exit_code == 0
    assert "6 unchanged, 2 failed before and unchanged" in result.stdout


def test_index_prints_one_json_document(photos, tmp_path):
    result = run("index", photos, "-c", tmp_path / "collection", "--json")
    summary = json.loads(result.stdout)
    assert (summary["n_files"], summary["n_encoded"], summary["n_failed"]) == (8, 6, 2)
    assert {Path(failure["path"]).name for failure in summary["failures"]} == {
        "list.jpg",
        "empty.png",
    }


def test_the_environment_names_the_collection(photos, tmp_path):
    place = tmp_path / "from-environment"
    run("index", photos, ISOPHOTE_COLLECTION=str(place))
    assert json.loads(run("info", "--json", "-c", place).stdout)["n_images"] == 6


def test_search_prints_hits_best_first(photos, place):
    result = run("search", photos / "photo-0.jpg", "-c", place, "--top-k", 3)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert len(lines) == 3
    values = [float(line.split()[0]) for line in lines]
    assert values == sorted(values, reverse=True)
    assert str(photos / "photo-0.jpg") not in result.stdout


def test_search_prints_one_json_document(photos, place):
    result = run(
        "search", photos / "photo-0.jpg", "-c", place, "--json", "--include-self", "--top-k", 1
    )
    found = json.loads(result.stdout)
    assert found["space"] == "trunk"
    (hit,) = found["hits"]
    assert hit["path"] == str(photos / "photo-0.jpg")
    assert hit["similarity"] == pytest.approx(1.0, abs=2e-3)
    assert set(hit) >= {"image_id", "path", "similarity", "quality"}


def test_search_by_words_with_a_filter_gives_k_hits(place):
    result = run("search", "a red circle", "-c", place, "--where", "path like '%2023%'", "--json")
    found = json.loads(result.stdout)
    assert found["space"] == "clip"
    assert [Path(hit["path"]).name for hit in found["hits"]] == ["photo-5.jpg"]


def test_search_without_a_match_says_so(place):
    result = run("search", "anything", "-c", place, "--where", "width > 99999")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "No photo matches" in result.stderr


def test_weights_and_minus_reach_the_search(place):
    plain = json.loads(run("search", "id:0", "-c", place, "--json").stdout)
    shifted = json.loads(run("search", "id:0", "--minus", "id:1^0.5", "-c", place, "--json").stdout)
    assert plain["hits"] != shifted["hits"]


def test_info_tells_what_the_collection_is(photos, place):
    shown = run("info", "-c", place).stdout
    for part in ("pocket", "photos         6", "failures       2", str(photos), "trunk", "current"):
        assert part in shown
    report = json.loads(run("info", "-c", place, "--json").stdout)
    assert report["info"]["model"]["id"] == "pocket"
    assert report["n_bytes"] > 1000


def test_failures_are_listed(photos, place):
    assert run("failures", "-c", place).stdout.splitlines() == [
        f"{photos}/empty.png is empty (0 bytes) [decode]",
        f"{photos}/list.jpg is text, not an image [decode]",
    ]
    listed = json.loads(run("failures", "-c", place, "--json").stdout)
    assert [failure["stage"] for failure in listed["failures"]] == ["decode", "decode"]
    assert [failure["file_size"] for failure in listed["failures"]] == [0, 15]


def test_failures_are_counted_on_stderr(place):
    assert run("failures", "-c", place).stderr == "2 failures: 2 decode.\n"


def test_failures_are_selected_by_stage_and_condition(photos, place):
    result = run("failures", "-c", place, "--stage", "decode", "--where", "path like '%.png'")
    assert result.stdout == f"{photos}/empty.png is empty (0 bytes) [decode]\n"
    none = run("failures", "-c", place, "--stage", "read")
    assert (none.exit_code, none.stdout, none.stderr) == (0, "", "No failure matches.\n")


def test_failed_paths_are_printed_for_xargs(photos, place):
    result = run("failures", "-c", place, "-0")
    assert result.stdout_bytes == os.fsencode(f"{photos}/empty.png\0{photos}/list.jpg\0")
    assert result.stderr == ""


def test_failures_are_exported(place, tmp_path):
    result = run("failures", "-c", place, "--export", tmp_path / "failures.csv")
    assert result.stdout == f"Wrote 2 failures to {tmp_path}/failures.csv.\n"
    assert len((tmp_path / "failures.csv").read_text().splitlines()) == 3
    refused = run("failures", "-c", place, "--export", tmp_path / "failures.xlsx")
    assert_refused(refused, "failures.xlsx", ".csv, .jsonl, .parquet")


def test_failures_are_tried_again(tmp_path):
    folder, place = tmp_path / "photos", tmp_path / "collection"
    folder.mkdir()
    (folder / "photo.png").write_bytes(image_file(drawn_photo(1), "PNG"))
    (folder / "list.jpg").write_text("a shopping list")
    assert run("index", folder, "-c", place, ISOPHOTE_MAX_PIXELS="10").exit_code == 1

    again = run("failures", "--retry", "-c", place)
    assert again.exit_code == 1
    assert "2 photos in" in again.stdout
    assert "1 indexed, 1 failed" in again.stdout
    assert again.stderr == f"{folder}/list.jpg is text, not an image [decode]\n"

    (folder / "list.jpg").unlink()
    gone = run("failures", "--retry", "--json", "-c", place)
    assert gone.exit_code == 0
    retry = json.loads(gone.stdout)
    assert (retry["n_selected"], retry["n_vanished"], retry["ingest"]["n_files"]) == (1, 1, 0)
    assert gone.stderr == "Forgot 1 failure of files that are gone.\n"

    nothing = run("failures", "--retry", "-c", place)
    assert (nothing.exit_code, nothing.stdout) == (0, "")
    assert nothing.stderr == "Every file could be indexed.\n"


def test_failures_of_a_drive_that_is_not_mounted_are_kept(tmp_path):
    folder, place = tmp_path / "drive", tmp_path / "collection"
    folder.mkdir()
    (folder / "list.jpg").write_text("a shopping list")
    run("index", folder, "-c", place)
    folder.rename(tmp_path / "elsewhere")
    result = run("failures", "--retry", "-c", place)
    assert result.exit_code == 1
    assert result.stderr == (
        f"{folder} is missing or empty: kept its 1 failure without trying again. "
        "Is the drive mounted?\n"
    )
    assert len(json.loads(run("failures", "--json", "-c", place).stdout)["failures"]) == 1


def test_no_such_path_writes_nothing(tmp_path):
    result = run("index", tmp_path / "nowhere", "-c", tmp_path / "collection")
    assert_refused(result, str(tmp_path / "nowhere"), "does not exist")
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_writes_nothing(tmp_path):
    (tmp_path / "empty").mkdir()
    result = run("index", tmp_path / "empty", "-c", tmp_path / "collection")
    assert_refused(result, "no photos in", str(tmp_path / "empty"))
    assert not (tmp_path / "collection").exists()


def test_no_path_and_no_collection(tmp_path):
    result = run("index", "-c", tmp_path / "collection")
    assert_refused(result, "no collection", "isophote index")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_model_writes_nothing(photos, tmp_path):
    result = run("index", photos, "-c", tmp_path / "collection", "--model", "ViT-B-23")
    assert_refused(result, "ViT-B-23")
    assert list(tmp_path.iterdir()) == []


def test_another_model_than_the_collections(photos, place):
    result = run("index", photos, "-c", place, "--model", "ViT-B-32")
    assert_refused(result, "'pocket'", "'ViT-B-32'", "--collection")


def test_another_band_than_the_collections(photos, place):
    result = run("index", photos, "-c", place, "--band", "3", "4")
    assert_refused(result, "3/4", "--band")


def test_a_band_that_leaves_nothing(photos, tmp_path):
    result = run("index", photos, "-c", tmp_path / "collection", "--band", "3000", "4000")
    assert_refused(result, "3000", "rank")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_collection(tmp_path):
    for command in (["search", "a dog"], ["info"], ["failures"]):
        result = run(*command, "-c", tmp_path / "none")
        assert_refused(result, "no collection", str(tmp_path / "none"), "isophote index")
    assert list(tmp_path.iterdir()) == []


def test_a_collection_that_is_a_file(photos, tmp_path):
    (tmp_path / "file").write_text("x")
    assert_refused(run("index", photos, "-c", tmp_path / "file"), "is a file")


def test_a_damaged_collection(place, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(place, broken)
    for path in (broken / "images.lance" / "_versions").iterdir():
        path.write_bytes(b"junk")
    for command in (["search", "a dog"], ["info"], ["index"]):
        assert_refused(run(*command, "-c", broken), str(broken), "cannot be read")


def test_an_invalid_filter(place):
    result = run("search", "a dog", "-c", place, "--where", "colour = 'red'")
    assert_refused(result, "colour = 'red'", "quality")
    result = run("failures", "-c", place, "--where", "colour = 'red'")
    assert_refused(result, "colour = 'red'", "error_class")


def test_a_query_that_is_no_image(photos, place):
    assert_refused(run("search", photos / "list.jpg", "-c", place), "list.jpg", "is text")


def test_a_query_photo_that_does_not_exist(place):
    assert_refused(run("search", "missing.jpg", "-c", place), "missing.jpg", "does not exist")


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["search", "a dog", "--top-k", "0"], id="k-below-1"),
        pytest.param(["search"], id="no-query"),
        pytest.param(["search", "a dog", "--space", "moon"], id="unknown-space"),
        pytest.param(["index", ".", "--threads", "0"], id="no-threads"),
        pytest.param(["index", ".", "--pretrained", "openai"], id="pretrained-alone"),
        pytest.param(["failures", "--stage", "lunch"], id="unknown-stage"),
        pytest.param(["failures", "--retry", "--print0"], id="retry-and-list"),
        pytest.param(["failures", "--json", "--export", "x.csv"], id="two-outputs"),
        pytest.param(["nonsense"], id="unknown-command"),
    ],
)
def test_wrong_usage_exits_with_2(arguments):
    assert_refused(run(*arguments), code=2)


def test_a_wrong_environment_variable_is_named():
    assert_refused(run("info", ISOPHOTE_THREADS="many"), "ISOPHOTE_THREADS", "many", code=2)


def test_names_that_would_act_on_a_terminal_are_escaped(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a\n\x1b[31mred.jpg").write_bytes(image_file(drawn_photo(1), "JPEG"))
    (folder / "b\n.jpg").write_text("text")
    result = run("index", folder, "-c", tmp_path / "collection")
    assert "b\\x0a.jpg is text" in result.stderr
    found = run("search", "id:0", "--include-self", "-c", tmp_path / "collection")
    assert "\\x0a\\x1b[31mred.jpg" in found.stdout
    assert "\x1b" not in found.stdout


def test_undecodable_names_are_indexed_and_shown(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    name = os.fsencode(folder) + b"/caf\xe9.jpg"
    with open(name, "wb") as file:  # noqa: PTH123 - a Path cannot be made of bytes
        file.write(image_file(drawn_photo(1), "JPEG"))
    place = tmp_path / "collection"
    assert run("index", folder, "-c", place).exit_code == 0
    assert run("index", folder, "-c", place).exit_code == 0
    found = run("search", "id:0", "--include-self", "-c", place, "--json")
    assert json.loads(found.stdout)["hits"][0]["path"].startswith(str(folder))


def test_ctrl_c_keeps_finished_work_and_says_how_to_go_on(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(400):
        (folder / f"{seed}.jpg").write_bytes(image_file(drawn_photo(seed), "JPEG"))
    place = tmp_path / "collection"
    command = [sys.executable, "-c", "from service.cli import main; main()"]
    arguments = ["index", str(folder), "-c", str(place), "--batch-size", "2"]
    process = subprocess.Popen(
        [*command, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "ISOPHOTE_APPEND_ROWS": "2"},
    )
    while not list(place.glob("images.lance/data/*")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=20)

    assert process.returncode == 130
    assert "Interrupted" in stderr
    assert "Traceback" not in stderr
    n_kept = json.loads(run("info", "-c", place, "--json").stdout)["n_images"]
    resumed = json.loads(run("index", folder, "-c", place, "--json").stdout)
    assert 0 < n_kept < 400
    assert resumed["n_unchanged"] == n_kept
    assert resumed["n_images"] == 400


def test_a_second_writer_is_refused_naming_the_first(photos, place):
    hold = (
        "import sys, time; from pathlib import Path; from indexer.lock import writer_lock\n"
        "with writer_lock(Path(sys.argv[1])):\n    print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", hold, str(place)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert_refused(run("index", photos, "-c", place), f"process {holder.pid}")
        assert run("search", "id:0", "-c", place).exit_code == 0  # readers are not held up
    finally:
        holder.kill()
        holder.communicate()


def test_a_photo_library_with_every_orientation_is_upright(tmp_path):
    """The same scene stored in all eight orientations is eight copies of one photo."""
    folder = tmp_path / "photos"
    folder.mkdir()
    upright = Image.fromarray(drawn_photo(3, width=320, height=240))
    for tag, transposition in STORED_AS.items():
        stored = upright if transposition is None else upright.transpose(transposition)
        exif = Image.Exif()
        exif[0x0112] = tag
        stored.save(folder / f"{tag}.png", exif=exif)
    (folder / "other.png").write_bytes(image_file(drawn_photo(4, width=320, height=240), "PNG"))
    place = tmp_path / "collection"
    assert run("index", folder, "-c", place).exit_code == 0
    hits = json.loads(run("search", folder / "1.png", "-c", place, "--json").stdout)["hits"]
    assert [hit["similarity"] > 0.999 for hit in hits] == [True] * 7 + [False]
    assert {(hit["width"], hit["height"]) for hit in hits} == {(320, 240)}


def test_a_collection_of_a_newer_release(place, tmp_path):
    newer = tmp_path / "newer"
    shutil.copytree(place, newer)
    import lancedb

    table = lancedb.connect(str(newer)).open_table("collection")
    table.update(values={"schema_version": 99})
    for command in (["search", "a dog"], ["info"], ["index"]):
        assert_refused(run(*command, "-c", newer), str(newer), "schema version 99", "upgrade")


def test_missing_weights_and_no_network(photos, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    model = ("--model", "ViT-B-32", "--pretrained", "openai")
    result = run("index", photos, "-c", tmp_path / "collection", *model)
    assert_refused(result, "ViT-B-32", "openai", "local-dir:")
    assert not (tmp_path / "collection").exists()


@pytest.mark.parametrize(
    ("package", "arguments", "extra"),
    [
        pytest.param("onnxruntime", [], "cpu", id="onnxruntime"),
        pytest.param("open_clip", ["--model", "ViT-B-32"], "clip", id="open_clip"),
    ],
)
def test_a_missing_extra_is_named(photos, tmp_path, monkeypatch, package, arguments, extra):
    monkeypatch.setitem(sys.modules, package, None)  # the import fails as if it were not there
    result = run("index", photos, "-c", tmp_path / "collection", *arguments)
    assert_refused(result, package, f'pip install "isophote[{extra}]"')
    assert not (tmp_path / "collection").exists()


def test_an_unreadable_folder(tmp_path, monkeypatch):
    (tmp_path / "private").mkdir()
    scandir = os.scandir

    def guarded(path):  # permission bits do not stop root, as which these tests may run
        if Path(path).name == "private":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    result = run("index", tmp_path / "private", "-c", tmp_path / "collection")
    assert_refused(result, str(tmp_path / "private"), "cannot be read")
    assert not (tmp_path / "collection").exists()


def test_the_demo_shows_an_answer_of_each_kind(tmp_path):
    data = Path(__file__).parent.parent.parent / "data"
    result = run("demo", data, "-c", tmp_path / "collection")
    assert result.exit_code == 0
    for part in ("143 photos in", "Similar to", "Photos of", "Copies of", "Lowest quality:"):
        assert part in result.stdout
    assert f'isophote search "a dog" -c "{tmp_path / "collection"}"' in result.stdout
    assert f'isophote serve -c "{tmp_path / "collection"}"' in result.stdout
    assert "broken on purpose" in result.stderr


def test_the_demo_elsewhere_says_where_to_run_it(tmp_path):
    assert_refused(run("demo", tmp_path), str(tmp_path), "checkout")
