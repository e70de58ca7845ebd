"""The pipeline on real files with a fake encoder."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from indexer.encoders.encoder import EncodedImages
from indexer.ingest import IngestProgress, ingest, retry_failures
from indexer.settings import Settings
from indexer.store import create_store, vectors_of
from schemas.collection import ModelSource
from schemas.errors import StorageError
from schemas.tables import images_schema
from service.collection import describe_collection
from tests.fakes import COLOURS, FakeEncoder
from tests.makers.raw import dng_file


class Library:
    """A folder of photos, a collection, and runs of the ingest over them."""

    def __init__(self, place: Path, **settings) -> None:
        self.folder = place / "photos"
        self.folder.mkdir()
        self.settings = Settings(collection=str(place / "collection"), **{"threads": 2, **settings})
        self.encoder = FakeEncoder()
        info = describe_collection(self.encoder, source=ModelSource(model="fake"), band=None)
        self.store = create_store(self.settings.collection, info, self.encoder.projectors)
        self.progress: list[IngestProgress] = []

    def draw(self, name: str, colour: str = "red", side: int = 40) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (side, side), COLOURS[colour]).save(path)
        return path

    def run(self, *folders: Path, **options):
        return ingest(
            options.pop("folders", folders or [self.folder]),
            store=self.store,
            open_encoder=lambda: self.encoder,
            settings=self.settings,
            report=options.pop("report", self.progress.append),
            **options,
        )

    def rows(self, *columns: str) -> dict[str, tuple[Any, ...]]:
        table = self.store.images(["path", *columns]).to_pylist()
        assert len({row["path"] for row in table}) == len(table)
        return {row["path"]: tuple(row[name] for name in columns) for row in table}


@pytest.fixture
def library(tmp_path):
    return Library(tmp_path)


def test_a_folder_becomes_rows_with_vectors_and_scores(library):
    library.draw("red.png", "red")
    library.draw("below/blue.jpg", "blue", side=64)

    summary = library.run()

    assert (summary.n_files, summary.n_encoded, summary.n_images) == (2, 2, 2)
    rows = library.rows("format", "width", "file_size", "magnitude")
    assert rows["red.png"][:2] == ("PNG", 40)
    assert rows["below/blue.jpg"][1] == 64
    assert rows["red.png"][2] == (library.folder / "red.png").stat().st_size
    assert rows["red.png"][3] == pytest.approx(np.sqrt(12), rel=1e-3)  # twelve features of +-1
    stored = library.store.images(["path", "features", "embedding"]).sort_by("path")
    red = vectors_of(stored["features"])[1]
    np.testing.assert_allclose(red, np.tile([1, -1, -1], 4), atol=1e-2)
    np.testing.assert_allclose(
        np.linalg.norm(vectors_of(stored["embedding"]), axis=1), 1, rtol=1e-3
    )


def test_ids_follow_the_order_of_the_scan(library):
    for name in ("c.png", "a.png", "b/z.png"):
        library.draw(name)
    library.run()
    assert library.rows("image_id") == {"a.png": (0,), "c.png": (1,), "b/z.png": (2,)}


def test_unchanged_files_are_not_read_again(library):
    path = library.draw("red.png")
    library.run()
    before = path.stat()
    path.write_bytes(b"x" * before.st_size)  # same size and time, other bytes: never looked at
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    summary = library.run()

    assert (summary.n_unchanged, summary.n_encoded, library.encoder.n_encoded) == (1, 0, 1)


def test_a_touched_file_keeps_its_id_and_vectors(library):
    path = library.draw("red.png")
    library.run()
    os.utime(path, ns=(1, 2_000_000_000))

    assert library.run().n_reused == 1
    assert library.rows("image_id", "mtime_ns") == {"red.png": (0, 2_000_000_000)}
    assert library.run().n_unchanged == 1
    assert library.encoder.n_encoded == 1


def test_a_renamed_file_keeps_its_id_and_vectors(library):
    library.draw("red.png")
    library.draw("blue.png", "blue")
    library.run()
    (library.folder / "red.png").rename(library.folder / "rouge.png")

    summary = library.run()

    assert (summary.n_reused, summary.n_encoded, summary.n_deleted) == (1, 0, 0)
    assert library.rows("image_id") == {"rouge.png": (1,), "blue.png": (0,)}


def test_a_renamed_folder_encodes_nothing(library):
    for number in range(30):
        library.draw(f"old/{number:02}.png", side=20 + number)
    library.run()
    (library.folder / "old").rename(library.folder / "new")

    summary = library.run()

    assert (summary.n_reused, summary.n_deleted, library.encoder.n_encoded) == (30, 0, 30)
    assert set(library.rows()) == {f"new/{number:02}.png" for number in range(30)}


def test_a_copy_gets_its_own_row_with_the_same_vectors(library):
    library.draw("red.png")
    library.run()
    shutil.copy(library.folder / "red.png", library.folder / "copy.png")

    assert library.run().n_reused == 1

    rows = library.rows("image_id", "content_hash", "magnitude", "width")
    assert rows["copy.png"][0] == 1
    assert rows["copy.png"][1:] == rows["red.png"][1:]
    features = vectors_of(library.store.images(["features"])["features"])
    np.testing.assert_array_equal(features[0], features[1])
    assert library.encoder.n_encoded == 1


def test_a_file_moved_and_copied_in_one_go_is_encoded_once(library):
    library.draw("red.png")
    library.draw("blue.png", "blue")
    library.run()
    shutil.copy(library.folder / "red.png", library.folder / "second.png")
    (library.folder / "red.png").rename(library.folder / "first.png")

    assert library.run().n_reused == 2
    assert library.rows("image_id") == {"blue.png": (0,), "first.png": (1,), "second.png": (2,)}
    assert library.encoder.n_encoded == 2


def test_an_edited_file_is_a_new_image_and_the_old_row_is_gone(library):
    library.draw("photo.png", "red")
    library.run()
    library.draw("photo.png", "blue", side=50)

    summary = library.run()

    assert (summary.n_encoded, summary.n_deleted, summary.n_images) == (1, 0, 1)
    assert library.rows("image_id", "width") == {"photo.png": (1, 50)}


def test_two_photos_that_swap_names_are_not_encoded(library):
    library.draw("a.png", "red", side=30)
    library.draw("b.png", "blue", side=50)
    library.run()
    (library.folder / "a.png").rename(library.folder / "t.png")
    (library.folder / "b.png").rename(library.folder / "a.png")
    (library.folder / "t.png").rename(library.folder / "b.png")

    library.run()

    assert {path: row[0] for path, row in library.rows("width").items()} == {
        "a.png": 50,
        "b.png": 30,
    }
    assert library.encoder.n_encoded == 2
    assert library.run().n_unchanged == 2


def test_bad_files_are_recorded_and_the_others_indexed(library):
    library.draw("good.png")
    (library.folder / "text.jpg").write_text("a shopping list")
    (library.folder / "empty.png").touch()
    whole = library.draw("whole.jpg", side=200).read_bytes()
    (library.folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])

    summary = library.run()

    assert (summary.n_encoded, summary.n_failed) == (2, 3)
    reasons = {Path(failure.path).name: failure.reason for failure in summary.failures}
    assert reasons["text.jpg"] == "is text, not an image"
    assert "empty" in reasons["empty.png"]
    assert reasons["cut.jpg"].startswith("is a damaged JPEG")
    assert {row["stage"] for row in library.store.failures().to_pylist()} == {"decode"}


def test_a_failed_file_is_tried_again_only_when_it_changes(library):
    broken = library.folder / "photo.png"
    broken.write_text("not yet")
    library.draw("good.png")
    library.run()

    again = library.run()
    assert (again.n_failed, again.n_failed_before) == (0, 1)
    assert library.store.failures().num_rows == 1

    library.draw("photo.png")
    mended = library.run()
    assert (mended.n_failed_before, mended.n_encoded) == (0, 0)
    assert mended.n_reused == 1  # the same bytes as good.png
    assert library.store.failures().num_rows == 0


def test_a_failure_is_forgotten_when_its_file_is_gone(library):
    library.draw("good.png")
    (library.folder / "bad.png").write_text("x")
    library.run()
    (library.folder / "bad.png").unlink()
    library.run()
    assert library.store.failures().num_rows == 0


def test_a_photo_overwritten_by_something_else_loses_its_row(library):
    library.draw("a.png")
    library.draw("b.png", "blue")
    library.run()
    (library.folder / "a.png").write_text("no picture any more")

    assert library.run().n_failed == 1
    assert set(library.rows()) == {"b.png"}


def test_deleted_files_leave_the_index(library):
    for name in ("a.png", "b.png", "c.png"):
        library.draw(name, side=30 + ord(name[0]))
    library.run()
    (library.folder / "a.png").unlink()

    summary = library.run()

    assert (summary.n_deleted, summary.n_images) == (1, 2)
    assert set(library.rows()) == {"b.png", "c.png"}


def test_an_emptied_folder_is_held_until_confirmed(library):
    for number in range(4):
        library.draw(f"{number}.png", side=30 + number)
    library.run()
    for path in library.folder.iterdir():
        path.unlink()

    held = library.run()
    assert held.n_images == 4
    assert [(deletion.n_known, deletion.n_missing) for deletion in held.held_deletions] == [(4, 4)]

    confirmed = library.run(confirm_deletions=True)
    assert (confirmed.n_deleted, confirmed.n_images, confirmed.held_deletions) == (4, 0, [])


def test_ids_are_not_reused_after_everything_was_deleted(library):
    library.draw("a.png")
    library.run()
    (library.folder / "a.png").unlink()
    library.run(confirm_deletions=True)
    library.draw("b.png", "blue")
    library.run()
    assert library.rows("image_id") == {"b.png": (1,)}


def test_a_folder_inside_an_indexed_one_is_not_indexed_twice(library):
    library.draw("year/trip/a.png")
    library.draw("year/b.png", "blue")
    library.run(library.folder)
    library.draw("year/trip/new.png", "green")

    summary = library.run(library.folder / "year" / "trip")

    assert (summary.n_files, summary.n_encoded, summary.n_unchanged) == (2, 1, 1)
    assert set(library.rows()) == {"year/trip/a.png", "year/b.png", "year/trip/new.png"}


def test_a_folder_around_an_indexed_one_leaves_its_photos_where_they_are(library):
    library.draw("trip/a.png")
    library.draw("b.png", "blue")
    library.run(library.folder / "trip")

    summary = library.run(library.folder)

    assert (summary.n_encoded, summary.n_unchanged, summary.n_images) == (1, 1, 2)
    roots = {row["path"]: row["root"] for row in library.store.images(["path", "root"]).to_pylist()}
    assert roots == {"a.png": str(library.folder / "trip"), "b.png": str(library.folder)}


def test_without_folders_all_known_ones_are_looked_through(library, tmp_path):
    library.draw("a.png")
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(library.folder / "a.png", other / "copy.png")
    library.run(library.folder, other)
    library.draw("new.png", "green")

    summary = library.run(folders=[])

    assert (summary.n_files, summary.n_encoded) == (3, 1)


def test_batches_are_full_but_for_the_last(tmp_path):
    library = Library(tmp_path, batch_size=4, queue_photos=3)
    for number in range(10):
        library.draw(f"{number}.png", side=20 + number)
    library.run()
    assert library.encoder.batch_sizes == [4, 4, 2]


def test_scores_do_not_depend_on_the_batch(tmp_path):
    rows = []
    for batch_size in (1, 7):
        place = tmp_path / str(batch_size)
        place.mkdir()
        library = Library(place, batch_size=batch_size)
        for number, colour in enumerate(COLOURS):
            library.draw(f"{number}.png", colour, side=20 + number)
        library.run()
        rows.append(library.rows("quality", "quality_sim", "quality_mag", "magnitude", "features"))
    assert rows[0] == rows[1]


def test_progress_counts_every_file_once(tmp_path):
    library = Library(tmp_path, batch_size=2)
    for number in range(5):
        library.draw(f"{number}.png", side=20 + number)
    (library.folder / "bad.png").write_text("x")
    library.run()
    assert library.progress[-1] == IngestProgress(n_done=6, n_total=6, n_failed=1)
    done = [state.n_done for state in library.progress]
    assert done == sorted(done)


class InterruptedEncoder(FakeEncoder):
    """Lets the user press Ctrl-C in the middle of its second batch."""

    def encode_images(self, pixels) -> EncodedImages:
        if self.batch_sizes:
            raise KeyboardInterrupt
        return super().encode_images(pixels)


def test_an_interrupted_run_keeps_what_was_encoded_and_can_go_on(tmp_path):
    library = Library(tmp_path, batch_size=3)
    for number in range(9):
        library.draw(f"{number}.png", side=20 + number)
    library.encoder = InterruptedEncoder()

    cut_short = library.run()

    assert (cut_short.interrupted, cut_short.n_encoded, cut_short.n_pending) == (True, 3, 6)
    assert len(library.rows()) == 3

    library.encoder = FakeEncoder()
    resumed = library.run(folders=[])  # the folder is known already
    assert (resumed.interrupted, resumed.n_unchanged, resumed.n_encoded) == (False, 3, 6)
    assert len(library.rows()) == 9


def test_an_interrupted_run_deletes_nothing(tmp_path):
    library = Library(tmp_path, batch_size=1)
    for number in range(5):
        library.draw(f"{number}.png", side=20 + number)
    library.run()
    (library.folder / "0.png").unlink()
    library.draw("8.png", side=90)
    library.draw("9.png", side=91)
    library.encoder = InterruptedEncoder()

    assert library.run().interrupted
    assert "0.png" in library.rows()


def test_rows_left_by_a_killed_run_are_mended(library):
    """A kill between adding an edited photo's new row and removing the old one leaves both."""
    library.draw("photo.png")
    library.run()
    schema = images_schema(library.store.info.model)
    row = library.store.images(schema.names)
    newer = [pa.array([7]) if name == "image_id" else row[name] for name in schema.names]
    library.store.append_images(pa.table(newer, schema=schema))

    assert library.run().n_unchanged == 1
    assert library.rows("image_id") == {"photo.png": (7,)}


class OverflowingEncoder(FakeEncoder):
    def encode_images(self, pixels) -> EncodedImages:
        features = super().encode_images(pixels).features
        features[pixels.reshape(len(pixels), -1).max(axis=1) == 0] = np.nan  # black pictures
        return EncodedImages(features)


def test_features_that_are_no_numbers_are_a_failure_of_their_photo_alone(library):
    library.encoder = OverflowingEncoder()
    library.draw("black.png", "black")
    library.draw("red.png", "red")

    summary = library.run()

    assert (summary.n_encoded, summary.n_failed) == (1, 1)
    assert summary.failures[0].stage == "encode"
    assert set(library.rows()) == {"red.png"}


def test_a_full_disk_keeps_what_was_committed(tmp_path, monkeypatch):
    library = Library(tmp_path, batch_size=2, append_rows=2)
    for number in range(6):
        library.draw(f"{number}.png", side=20 + number)
    append = library.store.append_images
    appended: list[pa.Table] = []

    def append_until_full(rows):
        if appended:
            raise StorageError("no space left on device")
        appended.append(rows)
        append(rows)

    monkeypatch.setattr(library.store, "append_images", append_until_full)
    with pytest.raises(StorageError, match="no space left"):
        library.run()

    monkeypatch.undo()
    assert len(library.rows()) == 2
    assert library.run().n_encoded == 4


def test_a_file_that_vanishes_during_the_run_is_a_read_failure(tmp_path):
    library = Library(tmp_path, queue_photos=1, batch_size=1)
    library.draw("a.png")
    library.draw("b.png", "blue")
    vanishing = library.draw("c.png", "green")

    summary = library.run(report=lambda _: vanishing.unlink(missing_ok=True))

    assert [(failure.path, failure.stage) for failure in summary.failures] == [
        (str(vanishing), "read")
    ]
    assert set(library.rows()) == {"a.png", "b.png"}
    assert library.run().n_failed == 0
    assert library.store.failures().num_rows == 0


# Trying failures again


def retry(library, *paths, **changes):
    return retry_failures(
        [(str(library.folder), path) for path in paths],
        store=library.store,
        open_encoder=lambda: library.encoder,
        settings=library.settings.model_copy(update=changes),
        report=library.progress.append,
    )


def failed_at(library):
    return {row["path"]: row["failed_at"] for row in library.store.failures().to_pylist()}


def test_a_retry_under_other_limits_indexes_what_failed_and_nothing_else(tmp_path):
    library = Library(tmp_path, max_pixels=1000)
    for name in ("big.png", "large.png"):
        library.draw(name)  # 1,600 pixels
    (library.folder / "text.jpg").write_text("a shopping list")
    library.run()
    before = failed_at(library)
    library.draw("new.png", "blue", side=20)
    roots = library.store.roots().to_pylist()

    done = retry(library, "big.png", "text.jpg", max_pixels=2000)

    assert (done.n_selected, done.n_vanished, done.unreached) == (2, 0, [])
    counts = (done.ingest.n_files, done.ingest.n_encoded, done.ingest.n_failed)
    assert counts == (2, 1, 1)
    assert done.ingest.n_pending == done.ingest.n_failed_before == 0
    assert [Path(failure.path).name for failure in done.ingest.failures] == ["text.jpg"]
    assert library.rows() == {"big.png": ()}
    after = failed_at(library)
    assert after.keys() == {"large.png", "text.jpg"}
    assert after["large.png"] == before["large.png"]
    assert after["text.jpg"] > before["text.jpg"]
    assert library.store.roots().to_pylist() == roots
    assert library.progress[-1] == IngestProgress(n_done=2, n_total=2, n_failed=1)


def test_a_retry_removes_no_photos_and_forgets_only_chosen_files_that_are_gone(library):
    library.draw("photo.png")
    for name in ("gone.jpg", "gone-too.jpg"):
        (library.folder / name).write_text("text")
    library.run()
    for path in library.folder.iterdir():
        path.unlink()
    (library.folder / "something-else").touch()

    done = retry(library, "gone.jpg")

    assert (done.n_vanished, done.ingest.n_files, done.ingest.n_deleted) == (1, 0, 0)
    assert library.rows() == {"photo.png": ()}
    assert failed_at(library).keys() == {"gone-too.jpg"}


def test_a_retry_keeps_the_failures_of_a_root_that_is_gone(library):
    (library.folder / "bad.jpg").write_text("text")
    library.run()
    before = failed_at(library)
    library.folder.rename(library.folder.with_name("elsewhere"))
    done = retry(library, "bad.jpg")
    assert [reached.model_dump() for reached in done.unreached] == [
        {"root": str(library.folder), "n_failures": 1}
    ]
    assert failed_at(library) == before


def test_a_retried_scan_failure_that_is_mended_becomes_a_photo(library):
    target = library.folder.with_name("outside.png")
    (library.folder / "link.png").symlink_to(target)
    (summary,) = library.run().failures
    assert (summary.stage, summary.file_size) == ("scan", None)
    assert retry(library, "link.png").ingest.n_failed == 1

    library.draw("../outside.png")
    done = retry(library, "link.png")

    assert (done.ingest.n_failed, done.ingest.n_encoded) == (0, 1)
    assert library.rows() == {"link.png": ()}
    assert failed_at(library) == {}
    assert library.run().n_unchanged == 1


def test_a_retried_file_with_the_bytes_of_a_photo_is_a_copy_of_it(library):
    library.draw("photo.png")
    (library.folder / "bad.png").write_text("text")
    library.run()
    shutil.copy(library.folder / "photo.png", library.folder / "bad.png")
    assert retry(library, "bad.png").ingest.n_reused == 1
    assert library.rows().keys() == {"photo.png", "bad.png"}
    assert library.encoder.n_encoded == 1


def test_an_interrupted_retry_keeps_what_it_did_not_reach(library):
    for name in ("a.jpg", "gone.jpg"):
        (library.folder / name).write_text("text")
    library.run()
    (library.folder / "gone.jpg").unlink()

    def interrupt(_):
        raise KeyboardInterrupt

    done = retry_failures(
        [(str(library.folder), name) for name in ("a.jpg", "gone.jpg")],
        store=library.store,
        open_encoder=lambda: library.encoder,
        settings=library.settings,
        report=interrupt,
    )
    assert (done.ingest.interrupted, done.n_vanished) == (True, 0)
    assert failed_at(library).keys() == {"a.jpg", "gone.jpg"}


# Raw files


def shoot(library, name, colour="red", *, side=40):
    pytest.importorskip("rawpy")
    pixels = np.full((side, side, 3), COLOURS[colour], np.uint8)
    (library.folder / f"{name}.dng").write_bytes(dng_file(pixels))


def test_a_raw_file_is_indexed_by_its_preview(library):
    shoot(library, "a", "blue")
    assert library.run().n_encoded == 1
    assert library.rows("format", "width", "jpeg_quality") == {"a.dng": ("RAW", 64, None)}


def test_a_raw_file_and_its_photo_are_one_item(library):
    shoot(library, "a")
    library.draw("a.jpg")
    summary = library.run()
    assert (summary.n_files, summary.n_encoded, summary.n_paired) == (1, 1, 1)
    assert set(library.rows()) == {"a.jpg"}
    (library.folder / "a.jpg").unlink()
    library.draw("b.jpg", "blue")
    assert library.run(confirm_deletions=True).n_paired == 0
    assert set(library.rows()) == {"a.dng", "b.jpg"}


def test_photos_put_beside_indexed_raw_files_take_their_place(library):
    names = [f"{number:02}" for number in range(10)]
    for number, name in enumerate(names):
        shoot(library, name, side=20 + number)
    assert library.run().n_encoded == 10
    for number, name in enumerate(names):
        library.draw(f"{name}.JPG", side=20 + number)

    summary = library.run()

    assert (summary.n_encoded, summary.n_paired, summary.n_images) == (10, 10, 10)
    assert (summary.n_deleted, summary.n_pending, summary.held_deletions) == (0, 0, [])
    assert set(library.rows()) == {f"{name}.JPG" for name in names}
    again = library.run()
    assert (again.n_unchanged, again.n_paired, again.n_encoded) == (10, 10, 0)


def test_a_raw_file_moved_away_from_its_photo_is_an_item_again(library):
    shoot(library, "a")
    library.run()
    library.draw("a.jpg")
    (library.folder / "raw").mkdir()
    shutil.copy(library.folder / "a.dng", library.folder / "raw" / "a.dng")

    assert library.run().n_reused == 1

    assert set(library.rows()) == {"a.jpg", "raw/a.dng"}
