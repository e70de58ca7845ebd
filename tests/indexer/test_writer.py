import numpy as np
import pytest

from indexer.known_images import KNOWN_COLUMNS
from indexer.plan import KnownFiles
from indexer.prepare import PhotoFailure
from indexer.scan import ScanFailure, ScannedFile
from indexer.store import open_store
from indexer.writer import UNKNOWN_STAT, Writer
from schemas.errors import StorageError
from schemas.tables import images_schema
from tests.makers.stores import image_rows, new_store, random_features

ANOTHER_PLACE = ScannedFile("/elsewhere", "sub/copy.jpg", 1002, 555)


@pytest.fixture
def store(tmp_path):
    return new_store(tmp_path / "c", features=random_features(5))


def writer_of(store, *, append_rows=100, append_seconds=3600.0):
    known = KnownFiles.read(store.image_blocks(KNOWN_COLUMNS), store.failures())
    return Writer(store, known, append_rows=append_rows, append_seconds=append_seconds)


def rows_of(store, writer, count=1):
    image_ids = writer.new_image_ids(count)
    return image_rows(store, random_features(count, seed=9), first_id=image_ids[0])


def failed(path, *, stage="decode", size=10, mtime_ns=20):
    file = ScannedFile("/photos", path, size, mtime_ns)
    return PhotoFailure(file, stage, "OSError", "is cut short")


def test_new_ids_follow_all_that_were_given_out(store):
    store.delete_images(np.array([4]))
    writer = writer_of(store)
    assert writer.new_image_ids(3).tolist() == [5, 6, 7]
    assert writer.new_image_ids(0).tolist() == []
    assert writer.new_image_ids(1).tolist() == [8]


def test_rows_wait_until_there_are_enough(store):
    writer = writer_of(store, append_rows=3)
    writer.add_rows(rows_of(store, writer, 2))
    assert store.count_images() == 5
    writer.add_rows(rows_of(store, writer, 1))
    assert store.count_images() == 8
    writer.add_rows(rows_of(store, writer, 1))
    assert store.count_images() == 8
    writer.commit()
    assert store.images(["image_id"])["image_id"].to_pylist() == list(range(9))


def test_rows_are_committed_when_they_have_waited_long_enough(store):
    writer = writer_of(store, append_seconds=1e-9)
    writer.add_rows(rows_of(store, writer))
    assert store.count_images() == 6


def test_copies_and_moves_count_as_rows_that_wait(store):
    writer = writer_of(store, append_rows=2)
    writer.add_copy(2, ANOTHER_PLACE)
    assert store.count_images() == 5
    writer.relocate(3, ScannedFile("/photos", "moved.jpg", 1, 2))
    assert store.count_images() == 6
    assert store.matching_ids("path = 'moved.jpg'").tolist() == [3]


def test_nothing_to_write_makes_no_new_version(store):
    version = store.version
    writer = writer_of(store)
    writer.commit()
    writer.finish()
    assert store.version == version


def test_a_copy_has_all_columns_but_id_place_and_time(store):
    names = images_schema(store.info.model).names
    writer = writer_of(store)
    writer.add_copy(2, ANOTHER_PLACE)
    writer.add_copy(2, ScannedFile("/photos", "again.jpg", 1002, 556))
    writer.add_copy(0, ScannedFile("/photos", "first.jpg", 1000, 557))
    writer.commit()
    table = store.images_by_id(np.array([2, 5, 6, 0, 7]), names)
    original, copy, again, first, copy_of_first = table.to_pylist()
    changed = {"image_id", "root", "path", "mtime_ns", "indexed_at", "file_size"}
    for name in set(names) - changed:
        assert copy[name] == again[name] == original[name]
        assert copy_of_first[name] == first[name]
    assert (copy["root"], copy["path"]) == ("/elsewhere", "sub/copy.jpg")
    assert (copy["file_size"], copy["mtime_ns"], again["mtime_ns"]) == (1002, 555, 556)
    assert copy["indexed_at"] > original["indexed_at"]


def test_relocating_keeps_id_and_vectors_and_the_last_place_counts(store):
    names = [name for name in images_schema(store.info.model).names if name != "image_id"]
    before = store.images_by_id(np.array([1]), names).to_pylist()[0]
    writer = writer_of(store)
    writer.relocate(1, ScannedFile("/photos", "between.jpg", 7, 8))
    writer.relocate(1, ANOTHER_PLACE)
    writer.commit()
    after = store.images_by_id(np.array([1]), names).to_pylist()[0]
    place = {"root": "/elsewhere", "path": "sub/copy.jpg", "file_size": 1002, "mtime_ns": 555}
    assert after == {"image_id": 1, **before, **place}
    assert store.count_images() == 5


def test_removal_waits_for_the_end(store):
    writer = writer_of(store)
    writer.remove([1, 3])
    writer.add_rows(rows_of(store, writer))
    writer.commit()
    assert store.count_images() == 6
    writer.finish()
    assert store.images(["image_id"])["image_id"].to_pylist() == [0, 2, 4, 5]
    store.append_images(image_rows(store, random_features(1), first_id=3))
    writer.finish()  # what was removed once is not removed again
    assert store.count_images() == 5


def test_rows_that_a_killed_run_left_behind_are_removed(store):
    # The newer version of photo 2 was committed, the old one not yet removed.
    newer = image_rows(store, random_features(1), first_id=5, path=["00002.jpg"])
    store.append_images(newer)
    writer_of(store).finish()
    assert store.images(["image_id"])["image_id"].to_pylist() == [0, 1, 3, 4, 5]


# Failures


def test_failures_are_recorded_with_what_tells_a_change(store):
    writer = writer_of(store)
    writer.add_failure(failed("bad.jpg"))
    writer.add_failure(ScanFailure("/photos", "locked", "PermissionError", "cannot be listed"))
    assert store.failures().num_rows == 0
    writer.commit()
    rows = {row["path"]: row for row in store.failures().to_pylist()}
    times = [row.pop("failed_at") for row in rows.values()]
    assert all(time.tzinfo is not None for time in times)
    assert rows == {
        "bad.jpg": {
            "root": "/photos",
            "path": "bad.jpg",
            "file_size": 10,
            "mtime_ns": 20,
            "stage": "decode",
            "error_class": "OSError",
            "reason": "is cut short",
        },
        "locked": {
            "root": "/photos",
            "path": "locked",
            "file_size": UNKNOWN_STAT,
            "mtime_ns": UNKNOWN_STAT,
            "stage": "scan",
            "error_class": "PermissionError",
            "reason": "cannot be listed",
        },
    }


def test_failures_of_earlier_runs_stay_until_forgotten(store):
    writer = writer_of(store)
    for path in ("a.jpg", "b.jpg", "00002.jpg", "copy.jpg", "moved.jpg"):
        writer.add_failure(failed(path))
    writer.finish()
    writer = writer_of(store)
    writer.add_failure(failed("a.jpg", stage="read", size=11))
    writer.forget_failures([("/photos", "b.jpg"), ("/photos", "never-failed.jpg")])
    writer.add_rows(image_rows(store, random_features(1), first_id=5, path=["00002.jpg"]))
    writer.add_copy(1, ScannedFile("/photos", "copy.jpg", 1, 1))
    writer.relocate(3, ScannedFile("/photos", "moved.jpg", 1, 1))
    assert list(writer.failures) == [("/photos", "a.jpg")]
    assert store.failures().num_rows == 5
    writer.finish()
    (row,) = store.failures().to_pylist()
    assert (row["path"], row["stage"], row["file_size"]) == ("a.jpg", "read", 11)
    assert open_store(store.uri).failures().num_rows == 1


def test_a_commit_that_fails_loses_no_rows_that_wait(store):
    class FullDisk:
        def add(self, rows):
            raise RuntimeError("lance error: LanceError(IO): No space left on device")

    writer = writer_of(store)
    writer.add_rows(rows_of(store, writer, 2))
    images, store._tables["images"] = store._tables["images"], FullDisk()
    with pytest.raises(StorageError, match="No space left"):
        writer.commit()
    store._tables["images"] = images
    writer.commit()
    assert store.count_images() == 7


def test_appended_blocks_are_one_commit(store):
    writer = writer_of(store)
    for _ in range(5):
        writer.add_rows(rows_of(store, writer, 2))
    version = store.version
    writer.commit()
    assert store.version == version + 1
    assert store.count_images() == 15
