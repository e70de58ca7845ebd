"""Who writes to a collection, and how far that is, as others see it."""

import json
import signal
from contextlib import nullcontext
from pathlib import Path

import pytest

from indexer import ingest as ingesting
from indexer.ingest import IngestProgress, noted_progress
from indexer.lock import HOLDER_NAME, PROGRESS_NAME, writer_lock
from schemas.http import IngestStatus
from service.collection import Collection
from service.failures import retry_failures
from service.indexing import index_photos
from service.ingest_status import ingest_status
from service.watching import WatchPace, follow_changes
from tests.fakes import FakeEncoder
from tests.makers.libraries import indexed_colours
from tests.makers.photos import drawn_photo, image_file
from tests.processes import IngestProcess


@pytest.fixture
def photos(tmp_path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


@pytest.fixture
def place(tmp_path) -> Path:
    return tmp_path / "c"


@pytest.fixture
def collection(photos, place, monkeypatch) -> Collection:
    """Six photos."""
    monkeypatch.setattr("service.collection.open_encoder", lambda *_, **__: FakeEncoder())
    return indexed_colours(photos, place)


def draw(folder: Path, count: int) -> None:
    for seed in range(count):
        pixels = drawn_photo(seed, width=48, height=32)
        (folder / f"{seed:03}.jpg").write_bytes(image_file(pixels, "JPEG"))


def counts(status: IngestStatus) -> tuple[int | None, int | None, int | None]:
    return status.n_done, status.n_total, status.n_failed


def test_without_a_writer_what_was_committed_is_told(collection, photos):
    status = ingest_status(collection)
    assert (status.is_running, status.writer, counts(status)) == (False, None, (None, None, None))
    assert (status.n_images, status.version) == (6, collection.store.version)
    assert [(root.root, root.n_files) for root in status.roots] == [(str(photos), 6)]


@pytest.mark.slow
def test_an_ingest_of_another_process_is_seen_until_it_is_killed(collection, photos, place):
    draw(photos, 80)
    with IngestProcess(photos, place, threads=1, batch_size=4, queue_photos=4) as process:
        process.start()
        assert process.wait_for_reports(10)
        process.send(signal.SIGSTOP)
        status = ingest_status(collection)
        assert status.is_running
        assert status.writer is not None
        assert status.writer.pid == process.pid
        assert (status.n_total, status.n_failed) == (80, 0)
        assert status.n_done is not None
        assert 0 <= status.n_done < 80
        process.send(signal.SIGKILL)
        process.kill()
    assert {HOLDER_NAME, PROGRESS_NAME} <= {path.name for path in place.iterdir()}
    status = ingest_status(collection)
    assert (status.is_running, status.writer, counts(status)) == (False, None, (None, None, None))


def test_who_writes_without_telling_how_far_it_is_has_no_progress(collection, place):
    left = json.dumps({"n_done": 3, "n_total": 4, "n_failed": 0})
    (place / PROGRESS_NAME).write_text(left)  # of a run that was killed
    with writer_lock(place):
        status = ingest_status(collection)
    assert status.is_running
    assert counts(status) == (None, None, None)


def test_every_way_to_index_tells_how_far_it_is(collection, photos, place, monkeypatch):
    monkeypatch.setattr(ingesting, "_NOTE_SECONDS", 0.0)
    seen: list[tuple[int | None, int | None, int | None]] = []

    def look(_: IngestProgress) -> None:
        seen.append(counts(ingest_status(collection)))

    draw(photos, 3)
    (photos / "text.jpg").write_text("no picture")
    summary = index_photos([photos], settings=collection.settings, report=look)
    assert (seen[0][1], seen[-1]) == (4, (4, 4, 1))

    seen.clear()
    retry_failures(collection, report=look)
    assert seen[-1] == (1, 1, 1)

    seen.clear()
    (photos / "other.jpg").write_bytes((photos / "001.jpg").read_bytes())
    watch = follow_changes(
        [photos],
        first=summary,
        settings=collection.settings,
        reporting=lambda: nullcontext(look),
        pace=WatchPace(quiet_seconds=0.05),
    )
    next(watch)
    assert seen[-1] == (1, 1, 0)
    assert not (place / PROGRESS_NAME).exists()


def test_a_note_that_cannot_be_made_is_no_error(collection, photos, place):
    draw(photos, 1)
    (place / PROGRESS_NAME).unlink(missing_ok=True)
    (place / PROGRESS_NAME).mkdir()
    summary = index_photos([photos], settings=collection.settings, report=lambda _: None)
    assert (summary.n_encoded, summary.n_images) == (1, 7)
    assert noted_progress(place) is None


def test_notes_are_made_once_a_second_and_at_the_end(collection, photos, place):
    draw(photos, 30)
    noted = set()
    index_photos(
        [photos],
        settings=collection.settings,
        report=lambda _: noted.add(noted_progress(place)),
    )
    assert len(noted) <= 4  # of 31 reports
    assert IngestProgress(30, 30, 0) in noted


@pytest.mark.parametrize("left", ["", "[1]", '{"n_done": 1}'])
def test_a_note_that_is_none_is_passed_over(tmp_path, left):
    (tmp_path / PROGRESS_NAME).write_text(left)
    assert noted_progress(tmp_path) is None
