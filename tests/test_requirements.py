"""What users ask for, through the command and over HTTP: requirements 1 to 24.

That the page of requirement 24 works is shown in a browser, in tests/service/web.

The model is the fake one, whose features are the colours of a photo's four quadrants, so that
what was seen can be read from what was stored.
"""

import json
import os
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from indexer.encoders.onnx import POCKET_DIRECTORY
from indexer.store import open_store
from service.cli import cli
from service.web.app import API
from tests.fakes import FakeEncoder
from tests.makers.photos import (
    STORED_AS,
    drawn_photo,
    exif_block,
    image_file,
    swapped_rgb_profile,
)
from tests.makers.raw import dng_file
from tests.processes import IngestProcess
from tests.service.web.apps import CHANGE, client_of

RED, BLUE = (255, 0, 0), (0, 0, 255)


@dataclass(frozen=True)
class Library:
    """A folder of photos, its collection, and the command."""

    folder: Path
    place: Path
    encoder: FakeEncoder

    def write(self, name: str, content: bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def draw(self, n_photos: int) -> None:
        """Write so many different photos: 00.jpg, 01.jpg, ..."""
        for seed in range(n_photos):
            self.write(f"{seed:02}.jpg", image_file(drawn_photo(seed), "JPEG"))

    def isophote(self, *arguments: object) -> Result:
        words = [*map(str, arguments), "-c", str(self.place)]
        return CliRunner().invoke(cli, words, env={"ISOPHOTE_THREADS": "2"})

    def index(self, *options: object) -> dict[str, Any]:
        """Index the folder and return the summary."""
        result = self.isophote("index", self.folder, "--json", *options)
        summary: dict[str, Any] = json.loads(result.stdout)
        assert result.exit_code == (1 if summary["n_failed"] + len(held(summary)) else 0)
        return summary

    def rows(self, *columns: str) -> dict[str, dict[str, Any]]:
        table = open_store(str(self.place)).images(["path", *columns])
        return {row["path"]: row for row in table.to_pylist()}

    def colours(self, path: str) -> np.ndarray:
        """Return the colours of a photo's quadrants (4, 3) as they were seen, 0 to 255."""
        features = self.rows("features")[path]["features"]
        return (np.reshape(features, (4, 3)).astype(float) + 1) * 127.5


def held(summary: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = summary["held_deletions"]
    return found


@pytest.fixture
def library(tmp_path, monkeypatch) -> Library:
    encoder = FakeEncoder()
    monkeypatch.setattr("service.collection.open_encoder", lambda *_, **__: encoder)
    (tmp_path / "photos").mkdir()
    return Library(tmp_path / "photos", tmp_path / "collection", encoder)


@pytest.fixture(scope="module", autouse=True)
def _heif_writer():
    import pillow_heif

    pillow_heif.register_heif_opener()


def plain(colour: object = RED, mode: str = "RGB", side: int = 32) -> Image.Image:
    return Image.new(mode, (side, side), colour)  # type: ignore[arg-type]


@pytest.mark.parametrize("format_name", ["JPEG", "HEIF"])
def test_requirement_01_photos_are_upright_before_they_are_embedded(library, format_name):
    upright = Image.fromarray(drawn_photo(1, width=96, height=64))
    for orientation, turn in STORED_AS.items():
        stored = upright if turn is None else upright.transpose(turn)
        exif = exif_block({0x0112: orientation}).tobytes()
        ending = {"JPEG": "jpg", "HEIF": "heic"}[format_name]
        library.write(
            f"{orientation}.{ending}", image_file(stored, format_name, exif=exif, quality=95)
        )
    library.index()
    rows = library.rows("width", "height")
    assert {(row["width"], row["height"]) for row in rows.values()} == {(96, 64)}
    seen = np.stack([library.colours(path) for path in rows])
    assert len(seen) == 8
    assert np.ptp(seen, axis=0).max() < 4


def test_requirement_02_all_formats_are_read(library):
    names = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "TIFF": "tif", "GIF": "gif"}
    names |= {"BMP": "bmp", "JPEG2000": "jp2", "HEIF": "heic", "AVIF": "avif"}
    for format_name, ending in names.items():
        library.write(f"{format_name}.{ending}", image_file(plain(), format_name))
    assert library.index()["n_encoded"] == 9
    for path, row in library.rows("format").items():
        assert path.startswith(row["format"])
        np.testing.assert_allclose(library.colours(path), [RED] * 4, atol=4)


def test_requirement_02_raw_files_are_read_by_their_preview_and_paired_with_their_photo(library):
    pytest.importorskip("rawpy")
    preview = image_file(plain(BLUE, side=64), "JPEG", quality=95)
    library.write("alone.dng", dng_file(preview))
    library.write("pair.dng", dng_file(preview))
    library.write("pair.jpg", image_file(plain(), "JPEG"))
    library.index()
    assert {path: row["format"] for path, row in library.rows("format").items()} == {
        "alone.dng": "RAW",
        "pair.jpg": "JPEG",
    }
    np.testing.assert_allclose(library.colours("alone.dng"), [BLUE] * 4, atol=4)


def test_requirement_03_colours_are_what_a_viewer_shows(library):
    clear = plain((0, 0, 0, 0), "RGBA")
    palette = plain(0, "P")
    palette.putpalette([9, 9, 9])
    grey16 = Image.fromarray(np.full((32, 32), 128 * 257, np.uint16))
    cases = {
        "profile.png": (image_file(plain(), "PNG", icc_profile=swapped_rgb_profile()), (0, 255, 0)),
        "cmyk.jpg": (image_file(plain((0, 255, 255, 0), "CMYK"), "JPEG"), RED),
        "grey-16-bit.png": (image_file(grey16, "PNG"), (128,) * 3),
        "grey.png": (image_file(plain(77, "L"), "PNG"), (77,) * 3),
        "clear.png": (image_file(clear, "PNG"), (255,) * 3),
        "clear-palette.png": (image_file(palette, "PNG", transparency=0), (255,) * 3),
    }
    for name, (content, _) in cases.items():
        library.write(name, content)
    library.index()
    for name, (_, expected) in cases.items():
        np.testing.assert_allclose(library.colours(name), [expected] * 4, atol=4, err_msg=name)


def test_requirement_04_bad_files_neither_stop_nor_hang_a_run(library):
    library.draw(2)
    whole = library.write("whole.png", image_file(drawn_photo(9), "PNG")).read_bytes()
    library.write("cut.jpg", image_file(drawn_photo(8), "JPEG")[:900])
    library.write("empty.png", b"")
    library.write("text.jpg", b"a shopping list")
    library.write("png-by-content.jpg", whole)
    (library.folder / "folder.jpg").mkdir()
    (library.folder / "dangling.jpg").symlink_to("vanished.jpg")
    os.mkfifo(library.folder / "fifo.jpg")

    summary = library.index()

    failed = {Path(failure["path"]).name for failure in summary["failures"]}
    assert failed == {"cut.jpg", "empty.png", "text.jpg", "dangling.jpg", "fifo.jpg"}
    assert library.rows().keys() == {"00.jpg", "01.jpg", "whole.png", "png-by-content.jpg"}


def test_requirement_05_failures_are_shown_kept_and_tried_again_when_they_change(library):
    library.draw(2)
    bad = library.write("bad.jpg", b"a shopping list")

    first = library.isophote("index", library.folder)
    assert first.exit_code == 1
    line = f"{bad} is text, not an image [decode]"
    assert line in first.stderr.splitlines()
    assert library.isophote("failures").stdout.splitlines() == [line]

    again = library.index()
    assert (again["n_failed"], again["n_failed_before"]) == (0, 1)

    library.write("bad.jpg", image_file(drawn_photo(5), "JPEG"))
    assert library.index()["n_encoded"] == 1
    assert library.isophote("failures").stdout == ""


def test_requirement_06_content_is_believed_and_not_the_extension(library):
    library.write("png.jpg", image_file(plain(), "PNG"))
    library.write("webp.gif", image_file(plain(), "WEBP"))
    library.write("IMG_0001", image_file(plain(), "JPEG"))
    library.write("page.jpg", b"<!DOCTYPE html><title>404</title>")
    library.write("README", b"no photo, and not called one")
    summary = library.index()
    assert {path: row["format"] for path, row in library.rows("format").items()} == {
        "png.jpg": "PNG",
        "webp.gif": "WEBP",
        "IMG_0001": "JPEG",
    }
    (failure,) = summary["failures"]
    assert failure["reason"] == "is a web page or an SVG drawing, not an image"


def test_requirement_07_large_pictures_are_refused_by_their_header_unless_allowed(library):
    content = image_file(plain(side=1200), "PNG")
    library.write("large.png", content)
    library.write("bomb.png", content[:16] + b"\0\1\0\0" * 2 + content[24:])
    library.draw(1)

    started = time.monotonic()
    summary = library.index("--max-pixels", 1_000_000)
    assert time.monotonic() - started < 30

    reasons = {Path(failure["path"]).name: failure["reason"] for failure in summary["failures"]}
    limit = "is 1200 x 1200 = 1.44 MP, over the limit of 1 MP; raise ISOPHOTE_MAX_PIXELS, or "
    assert reasons["large.png"] == limit + "--max-pixels of `isophote failures --retry`"
    assert summary["n_encoded"] == 1
    library.isophote("failures", "--retry", "--max-pixels", 2_000_000)
    assert set(library.rows()) == {"large.png", "00.jpg"}


@pytest.mark.parametrize("format_name", ["GIF", "WEBP", "TIFF", "PNG"])
def test_requirement_08_the_first_frame_is_taken_and_all_are_counted(library, format_name):
    frames = [plain(colour) for colour in (BLUE, RED, RED)]
    frames[2].putpixel((0, 0), (0, 255, 0))
    content = image_file(frames[0], format_name, save_all=True, append_images=frames[1:])
    library.write("album", content)
    library.index()
    assert library.rows("frames")["album"]["frames"] == 3
    np.testing.assert_allclose(library.colours("album"), [BLUE] * 4, atol=4)


def test_requirement_09_any_name_is_indexed_found_and_shown(library):
    names = [
        "été 🌅.jpg",
        "two\nlines.jpg",
        os.fsdecode(b"caf\xe9.jpg"),
        "a/IMG_1.jpg",
        "b/IMG_1.jpg",
    ]
    names += ["/".join(["d" * 200] * 10) + "/deep.jpg", "it's 100%; DROP TABLE.jpg"]
    hidden = ["@eaDir/x.jpg", ".thumbnails/x.jpg", ".x.jpg", "#recycle/x.jpg"]
    for number, name in enumerate(names + hidden):
        library.write(name, image_file(drawn_photo(number), "JPEG"))
    (library.folder / "a" / "loop").symlink_to(library.folder)

    assert library.index()["n_images"] == len(names)
    again = library.index()
    assert (again["n_unchanged"], again["n_deleted"]) == (len(names), 0)
    for number, name in enumerate(names):
        result = library.isophote("search", library.folder / name, "--include-self", "--json")
        (hit, *_) = json.loads(result.stdout)["hits"]
        assert hit["similarity"] > 0.999, (number, name)


def test_requirement_10_only_what_changed_is_embedded_again(library):
    library.draw(12)
    (library.folder / "trip").mkdir()
    for name in ("00.jpg", "01.jpg", "02.jpg"):
        (library.folder / name).rename(library.folder / "trip" / name)
    library.index()
    ids = {path: row["image_id"] for path, row in library.rows("image_id").items()}
    library.encoder.n_encoded = 0

    (library.folder / "trip").rename(library.folder / "holiday")
    shutil.copy(library.folder / "03.jpg", library.folder / "copy.jpg")
    os.utime(library.folder / "04.jpg", ns=(0, 1))
    library.write("05.jpg", image_file(drawn_photo(50), "JPEG"))

    summary = library.index()
    assert (summary["n_unchanged"], summary["n_reused"], summary["n_encoded"]) == (7, 5, 1)
    assert library.encoder.n_encoded == 1
    now = {path: row["image_id"] for path, row in library.rows("image_id").items()}
    assert [now[f"holiday/0{n}.jpg"] for n in range(3)] == [ids[f"trip/0{n}.jpg"] for n in range(3)]


def test_requirement_11_a_killed_run_is_resumed_and_nothing_embedded_twice(library):
    """Many more moments are in test_killed_ingest."""
    library.draw(40)
    options = {"threads": 2, "batch_size": 4, "append_rows": 4, "queue_photos": 8}
    with IngestProcess(library.folder, library.place, **options) as process:
        process.start()
        process.wait_for_reports(25)
        process.kill()
        assert process.wait_for_session_end(seconds=5) == []
    kept = library.rows()
    assert 8 <= len(kept) < 40

    summary = library.index()

    assert (summary["n_unchanged"], summary["n_encoded"]) == (len(kept), 40 - len(kept))
    assert len(library.rows()) == summary["n_images"] == 40


def test_requirement_12_deleted_files_leave_but_an_unmounted_drive_takes_nothing(library, tmp_path):
    library.draw(10)
    library.index()
    (library.folder / "00.jpg").unlink()
    assert library.index()["n_deleted"] == 1

    library.folder.rename(tmp_path / "unplugged")
    library.folder.mkdir()
    result = library.isophote("index", library.folder)
    assert result.exit_code == 1
    assert "9 of 9 indexed photos are missing" in result.stderr
    assert "--confirm-deletions" in result.stderr
    assert len(library.rows()) == 9

    library.folder.rmdir()
    (tmp_path / "unplugged").rename(library.folder)
    assert library.index()["n_unchanged"] == 9

    for path in library.folder.iterdir():
        path.unlink()
    assert library.index("--confirm-deletions")["n_deleted"] == 9


def test_requirement_13_progress_in_a_log_has_rate_and_time_left(library, monkeypatch):
    monkeypatch.setattr("service.terminal.LOG_SECONDS", 0.0)
    library.draw(8)
    library.write("bad.jpg", b"a shopping list")
    lines = library.isophote("index", library.folder, "--batch-size", 2).stderr.splitlines()
    progress = [line for line in lines if " of 9 photos, " in line]
    assert len(progress) > 4
    pattern = r"\d of 9 photos, \d+\.\d/s, (unknown time|\d+\.\d s) left(, 1 failed)?"
    assert all(re.fullmatch(pattern, line) for line in progress), progress
    assert progress[-1].startswith("9 of 9 photos")
    assert "\r" not in "".join(lines)


def test_requirement_14_a_bounded_number_of_photos_is_in_flight(library):
    """Photos that were not begun when the first one was done are gone when their turn comes."""
    from indexer.settings import Settings
    from service.indexing import index_photos

    library.draw(60)

    def empty_the_folder(_: object) -> None:
        for path in library.folder.iterdir():
            path.unlink()

    summary = index_photos(
        [library.folder],
        settings=Settings(collection=str(library.place), threads=2, queue_photos=8),
        report=empty_the_folder,
    )
    assert 1 <= summary.n_encoded <= 9
    assert summary.n_encoded + summary.n_failed == 60


def test_requirement_15_a_model_folder_is_all_it_takes_and_another_is_refused(tmp_path):
    # pytest-socket refuses every connection but those within this machine.
    model = tmp_path / "model"
    shutil.copytree(POCKET_DIRECTORY, model, ignore=shutil.ignore_patterns("*.py", "*.tsv"))
    library = Library(tmp_path / "photos", tmp_path / "collection", FakeEncoder())
    library.draw(3)
    assert library.index("--model", model)["n_encoded"] == 3

    card = json.loads((model / "model.json").read_text())
    card["preprocessing"]["mean"] = [0.1, 0.2, 0.3]
    (model / "model.json").write_text(json.dumps(card))
    library.draw(4)
    refused = library.isophote("index", library.folder)
    assert refused.exit_code == 1
    assert refused.stderr.startswith("Error: ")
    assert "preprocessing" in refused.stderr
    assert len(library.rows()) == 3


def drawn(seed: int) -> Image.Image:
    return Image.fromarray(drawn_photo(seed, width=320, height=240))


def found(library: Library, *options: object) -> list[tuple[str, list[str]]]:
    """Return the names of each keeper and of its copies."""
    listed = json.loads(library.isophote("duplicates", "--json", *options).stdout)
    return sorted(
        (
            Path(group["keeper"]["path"]).name,
            sorted(Path(copy["photo"]["path"]).name for copy in group["copies"]),
        )
        for group in listed["groups"]
    )


def test_requirement_16_photos_are_found_by_words_photos_bytes_and_ids_together(library):
    for name, colour in (("red", RED), ("blue", BLUE), ("purple", (128, 0, 128))):
        library.write(f"{name}.png", image_file(plain(colour), "PNG"))
    library.index()
    ids = {name: row["image_id"] for name, row in library.rows("image_id").items()}
    queries = ("red", library.folder / "blue.png", "--minus", f"id:{ids['red.png']}^0.5")
    by_command = json.loads(library.isophote("search", "--json", *queries).stdout)["hits"]
    with client_of(library.place) as client:
        sent = client.post(
            f"{API}/uploads", content=(library.folder / "blue.png").read_bytes(), headers=CHANGE
        ).json()
        asked: Any = {
            "q": ["red", f"upload:{sent['upload_id']}"],
            "minus": f"id:{ids['red.png']}^0.5",
        }
        by_http = client.get(f"{API}/search", params=asked).json()["hits"]
    assert Path(by_command[0]["path"]).name == "purple.png"
    # A photo of the collection does not find itself; of bytes that were sent nobody knows whose.
    assert [Path(hit["path"]).name for hit in by_http] == ["purple.png", "blue.png"]
    found = {hit["image_id"]: hit["similarity"] for hit in by_http}
    for hit in by_command:
        assert found[hit["image_id"]] == pytest.approx(hit["similarity"], abs=1e-5)


def test_requirement_17_filters_leave_as_many_hits_as_there_are(library):
    for shade in range(40):
        name = f"{'dark' if shade < 8 else 'light'}/{shade:02}.png"
        library.write(name, image_file(plain((shade * 6, 0, 0)), "PNG"))
    library.index()
    where = "path like 'dark/%' and width = 32 and format = 'PNG'"
    asked = ("search", "red", "--json", "-k", 8, "--where", where)
    by_command = json.loads(library.isophote(*asked).stdout)["hits"]
    with client_of(library.place) as client:
        parameters: Any = {"q": "red", "limit": 8, "where": where}
        by_http = client.get(f"{API}/search", params=parameters).json()["hits"]
    assert len(by_command) == 8
    assert [hit["image_id"] for hit in by_http] == [hit["image_id"] for hit in by_command]


def test_requirement_18_duplicates_come_in_tiers(library):
    photo = drawn(1)
    png = image_file(photo, "PNG")
    library.write("a.png", png)
    library.write("b.png", png)
    library.write("c.webp", image_file(photo, "WEBP", lossless=True))
    library.write("d.jpg", image_file(photo.resize((160, 120)), "JPEG", quality=60))
    library.write("e.jpg", image_file(photo.transpose(Image.Transpose.ROTATE_90), "JPEG"))
    library.write("f.jpg", image_file(drawn(6), "JPEG"))
    library.index()
    assert found(library, "--tier", "bytes") == [("a.png", ["b.png"])]
    assert found(library, "--tier", "pixels") == [("a.png", ["b.png", "c.webp"])]
    assert found(library) == [("a.png", ["b.png", "c.webp", "d.jpg", "e.jpg"])]
    everything = found(library, "--tier", "similar", "--similarity", 0.01)
    assert "f.jpg" in everything[0][1]


def test_requirement_19_groups_do_not_chain(library):
    """Windows that slide over a scene: each is near the next, the first is not near the last."""
    for step in range(8):
        left = 18 * step
        window = drawn(3).crop((left, 0, left + 190, 240))
        library.write(f"{step}.png", image_file(window, "PNG"))
    library.index()
    listed = json.loads(library.isophote("duplicates", "--json").stdout)
    assert len(listed["groups"]) > 1
    for group in listed["groups"]:
        lowest = min(copy["similarity"] for copy in group["copies"])
        assert -1 <= group["smallest_similarity"] <= lowest


def test_requirement_20_a_keeper_with_its_reason_a_dry_run_and_an_undo(library):
    library.write("large.png", image_file(drawn(1), "PNG"))
    small = library.write("small.jpg", image_file(drawn(1).resize((160, 120)), "JPEG"))
    library.index()
    content = small.read_bytes()
    dry = library.isophote("duplicates")
    assert "large.png  (most pixels: 320 x 240, not 160 x 120)" in dry.stdout
    assert small.exists()
    assert library.isophote("duplicates", "--apply").exit_code == 0
    assert not small.exists()
    assert library.isophote("undo").exit_code == 0
    assert small.read_bytes() == content


def test_requirement_21_thresholds_are_the_collections_own_and_say_how_often_they_err(library):
    generator = np.random.default_rng(0)
    for number in range(60):
        colours = generator.integers(0, 255, (2, 2, 3), dtype=np.uint8)
        picture = Image.fromarray(colours).resize((32, 32), Image.Resampling.NEAREST)
        library.write(f"{number:02}.png", image_file(picture, "PNG"))
    library.index()
    cosines = []
    for word in ("loose", "normal", "strict"):
        options = ("--tier", "similar", "--strictness", word)
        listed = json.loads(library.isophote("duplicates", "--json", *options).stdout)
        cosines.append(listed["threshold"]["similarity"])
        assert listed["threshold"]["strictness"] == word
        assert 0 < listed["threshold"]["false_pair_rate"] <= 0.011
    assert cosines == sorted(cosines)
    assert cosines[0] < cosines[-1]


def test_requirement_22_what_two_sets_have_in_common(library):
    for seed in (1, 2, 3):
        library.write(f"train/{seed}.png", image_file(drawn(seed), "PNG"))
    library.write("test/leak.jpg", image_file(drawn(2).resize((160, 120)), "JPEG"))
    library.write("test/new.png", image_file(drawn(4), "PNG"))
    library.index()
    listed = json.loads(
        library.isophote("duplicates", "--json", "--across", library.folder / "test").stdout
    )
    pairs = [(Path(p["left"]["path"]).name, Path(p["right"]["path"]).name) for p in listed["pairs"]]
    assert pairs == [("2.png", "leak.jpg")]


def test_requirement_23_low_quality_and_outliers_are_ranked_with_reasons_and_exported(library):
    library.draw(8)
    library.write("dark.png", image_file(plain((4, 4, 4)), "PNG"))
    library.index()
    assert library.isophote("anomalies", "fit", "usual", "--method", "knn").exit_code == 0
    assert library.isophote("anomalies", "score", "usual").exit_code == 0
    with client_of(library.place) as client:
        worst = client.get(f"{API}/quality", params={"limit": 1}).json()["images"][0]
        strangest = client.get(f"{API}/anomalies", params={"limit": 1}).json()["images"][0]
        exported = {
            kind: client.get(f"{API}/export", params={"format": kind, "sort": "quality"}).content
            for kind in ("csv", "jsonl", "parquet", "paths")
        }
    assert (Path(worst["path"]).name, bool(worst["reason"])) == ("dark.png", True)
    assert "nearest of 9 normal photos" in strangest["reason"]
    assert exported["paths"].split(b"\0")[0] == os.fsencode(library.folder / "dark.png")
    assert json.loads(exported["jsonl"].splitlines()[0])["path"].endswith("/dark.png")
    assert exported["csv"].count(b"\n") == 1 + 9
    assert exported["parquet"].startswith(b"PAR1")


def test_requirement_24_a_page_to_look_at(library):
    library.draw(2)
    library.index()
    with client_of(library.place) as client:
        page = client.get("/")
        listed = client.get(f"{API}/images").json()
        thumbnail = client.get(f"{API}/images/{listed['images'][0]['image_id']}/thumbnail")
    assert "<title>Isophote</title>" in page.text
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert listed["n_images"] == 2
    assert thumbnail.headers["content-type"] == "image/jpeg"
