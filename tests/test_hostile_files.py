"""All hostile files in one run: each has its outcome, and nothing else comes to harm."""

import os
import re
import shutil
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest

from indexer.ingest import IngestProgress, ingest
from indexer.prepare import PhotoFailure, PreparedPhoto, prepare_photo
from indexer.scan import ScanFailure, ScannedFile, scan, stored_path
from indexer.settings import Settings
from indexer.store import Store, create_store, open_store, vectors_of
from schemas.collection import ModelSource
from service.collection import describe_collection
from tests.fakes import FAKE_DESCRIPTION, FakeEncoder
from tests.makers.hostile import Failed, HostileCase, hostile_cases, write_hostile_cases
from tests.makers.photos import drawn_photo, image_file
from tests.processes import IngestProcess

# A run of all cases takes 6 s on two shared cores, and 0.4 GB in all processes together.
RUN_SECONDS = 45.0
RUN_BYTES = 1e9


@dataclass
class HostileRun:
    """A library of all cases, the run over it, and what it left in the collection."""

    folder: Path
    collection: Path
    summary: dict[str, Any]
    seconds: float
    peak_bytes: int
    store: Store
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    failures: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        columns = ("path", "width", "height", "frames", "content_hash", "camera", "features")
        self.rows = {row["path"]: row for row in self.store.images(columns).to_pylist()}
        self.failures = {row["path"]: row for row in self.store.failures().to_pylist()}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    place = tmp_path_factory.mktemp("hostile")
    folder, collection = place / "photos", place / "collection"
    folder.mkdir()
    write_hostile_cases(folder)
    with IngestProcess(folder, collection, threads=2) as process:
        process.start()
        started, seconds, peak_bytes = time.monotonic(), 0.0, 0
        while process.is_running() and seconds < RUN_SECONDS:
            peak_bytes = max(peak_bytes, process.resident_bytes())
            time.sleep(0.05)
            seconds = time.monotonic() - started
        summary = process.summary()
    store = open_store(str(collection))
    return HostileRun(folder, collection, summary, seconds, peak_bytes, store)


@pytest.mark.parametrize("case", hostile_cases(), ids=lambda case: case.name)
def test_outcome(hostile, case: HostileCase):
    below = f"{case.name}/"
    expected = {below + stored_path(path): outcome for path, outcome in case.outcomes.items()}
    rows = {path: row for path, row in hostile.rows.items() if path.startswith(below)}
    failures = {path: row for path, row in hostile.failures.items() if path.startswith(below)}
    assert {**rows, **failures}.keys() == expected.keys()
    for path, outcome in expected.items():
        if isinstance(outcome, Failed):
            assert failures[path]["stage"] == outcome.stage
            assert re.search(outcome.reason, failures[path]["reason"]), failures[path]["reason"]
        else:
            shape = tuple(rows[path][name] for name in ("width", "height", "frames"))
            assert shape == (outcome.width, outcome.height, outcome.frames)


def test_the_run_counts_every_file(hostile):
    outcomes = [outcome for case in hostile_cases() for outcome in case.outcomes.values()]
    n_failed = sum(isinstance(outcome, Failed) for outcome in outcomes)
    summary = hostile.summary
    assert (summary["n_files"], summary["n_failed"]) == (len(outcomes), n_failed)
    assert summary["n_images"] == len(outcomes) - n_failed


def test_time_and_memory_are_bounded(hostile):
    assert hostile.seconds < RUN_SECONDS
    assert 0 < hostile.peak_bytes < RUN_BYTES


def test_reasons_are_fragments_of_a_sentence_that_a_terminal_can_show(hostile):
    for failure in hostile.failures.values():
        reason = failure["reason"]
        assert reason.isprintable()
        assert re.match(r"(is|cannot|starts like|changes|takes|ends) \S", reason), reason
        assert len(reason) < 200
        assert not re.search(r"<|0x[0-9a-f]{6}|Traceback|BytesIO|\w+Error", reason), reason


def test_vectors_are_finite_and_metadata_printable(hostile):
    features = vectors_of(hostile.store.images(["features"])["features"])
    assert np.isfinite(features).all()
    assert all((row["camera"] or "").isprintable() for row in hostile.rows.values())


def test_the_same_bytes_under_several_names_have_the_same_vectors(hostile):
    by_hash: dict[str, list[list[float]]] = {}
    for row in hostile.rows.values():
        by_hash.setdefault(row["content_hash"], []).append(row["features"])
    assert max(map(len, by_hash.values())) > 20
    assert all(features == same[0] for same in by_hash.values() for features in same)


def test_a_second_run_tries_read_failures_alone(hostile):
    with IngestProcess(hostile.folder, hostile.collection, threads=2) as process:
        process.start()
        again = process.summary()
    at_reading = [row for row in hostile.failures.values() if row["stage"] == "read"]
    assert [failure["stage"] for failure in again["failures"]] == ["read"] * len(at_reading)
    assert again["n_failed_before"] == hostile.summary["n_failed"] - len(at_reading)
    assert again["n_unchanged"] == hostile.summary["n_images"]


def append(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"more")


def cut(path: Path) -> None:
    os.truncate(path, 1000)


def rewrite(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))
    os.utime(path, ns=(0, 1))


@pytest.mark.parametrize("change", [append, cut, rewrite])
def test_a_file_that_changes_while_it_is_read_is_tried_again(tmp_path, monkeypatch, change):
    (tmp_path / "a.jpg").write_bytes(image_file(drawn_photo(1), "JPEG"))
    (file,) = scan(tmp_path)
    change_after_fstat(monkeypatch, lambda: change(tmp_path / "a.jpg"))
    failure = prepared(file)
    assert isinstance(failure, PhotoFailure)
    reason = "changes while it is read; the next run tries it again"
    assert (failure.stage, failure.reason) == ("read", reason)


def test_a_file_that_is_replaced_while_it_is_read_is_known_by_its_older_time(tmp_path, monkeypatch):
    (tmp_path / "a.jpg").write_bytes(image_file(drawn_photo(1), "JPEG"))
    (file,) = scan(tmp_path)
    (tmp_path / "new").write_bytes(image_file(drawn_photo(2), "JPEG"))
    os.utime(tmp_path / "new", ns=(0, 5))
    change_after_fstat(monkeypatch, lambda: (tmp_path / "new").rename(tmp_path / "a.jpg"))
    photo = prepared(file)
    assert isinstance(photo, PreparedPhoto)
    assert photo.file == file
    assert list(scan(tmp_path)) != [file]


def prepared(file):
    preprocessing = FAKE_DESCRIPTION.require_preprocessing()
    return prepare_photo(file, preprocessing=preprocessing, max_pixels=10**6, known_hashes=())


def change_after_fstat(monkeypatch, change: Callable[[], object]) -> None:
    """Let a file change once, right after it was opened and looked at."""
    fstat = os.fstat
    changes = [change]

    def fstat_and_change(descriptor):
        status = fstat(descriptor)
        while changes:
            changes.pop()()
        return status

    monkeypatch.setattr("indexer.prepare.os.fstat", fstat_and_change)


def test_what_disappears_between_scan_and_read_fails_alone(tmp_path):
    folder = tmp_path / "photos"
    (folder / "card").mkdir(parents=True)
    names = ("a.png", "b.png", "c.png", "card/d.png", "card/e.png")
    for seed, name in enumerate(names):
        (folder / name).write_bytes(image_file(drawn_photo(seed), "PNG"))

    def pull_the_card(_):
        if (folder / "card").exists():
            shutil.rmtree(folder / "card")
            (folder / "c.png").unlink()
            (folder / "c.png").mkdir()

    summary = index_fake(folder, tmp_path / "collection", report=pull_the_card)

    reasons = {Path(failure.path).name: failure.reason for failure in summary.failures}
    assert reasons == {
        "c.png": "cannot be read: is a directory",
        "d.png": "cannot be read: no such file or directory",
        "e.png": "cannot be read: no such file or directory",
    }
    assert {failure.stage for failure in summary.failures} == {"read"}
    assert summary.n_images == 2
    again = index_fake(folder, tmp_path / "collection")
    assert (again.n_unchanged, again.n_failed, again.n_failed_before) == (2, 0, 0)


def index_fake(
    folder: Path, place: Path, *, report: Callable[[IngestProgress], None] = lambda _: None
):
    """Index one photo at a time, in a collection of the fake model."""
    encoder = FakeEncoder()
    settings = Settings(collection=str(place), threads=1, batch_size=1, queue_photos=1)
    if not place.exists():
        info = describe_collection(encoder, source=ModelSource(model="fake"), band=None)
        create_store(settings.collection, info, encoder.projectors)
    return ingest(
        [folder],
        store=open_store(settings.collection),
        open_encoder=lambda: encoder,
        settings=settings,
        report=report,
    )


def test_a_path_beyond_the_systems_limit_is_a_scan_failure(tmp_path):
    (tmp_path / "a.jpg").touch()
    folder = os.open(tmp_path, os.O_RDONLY)
    for _ in range(25):
        os.mkdir("d" * 200, dir_fd=folder)
        deeper = os.open("d" * 200, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = deeper
    os.close(folder)
    file, failure = scan(tmp_path)
    assert isinstance(file, ScannedFile)
    assert isinstance(failure, ScanFailure)
    assert failure.reason == "cannot be listed: File name too long"


@contextmanager
def as_nobody():
    """Act without root's right to read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_files_and_folders_without_permission_fail_alone():
    # Not in tmp_path, below a folder that root alone may enter.
    with TemporaryDirectory() as place:
        root = Path(place)
        (root / "closed").mkdir()
        for name in ("a.jpg", "b.jpg", "c", "closed/d.jpg"):
            (root / name).write_bytes(image_file(drawn_photo(1), "JPEG"))
        root.chmod(0o755)
        for name in ("b.jpg", "c", "closed"):
            (root / name).chmod(0)
        with as_nobody():
            found = list(scan(root))
            photos = [prepared(file) for file in found if isinstance(file, ScannedFile)]
        (root / "closed").chmod(0o700)
    denied = "cannot be read: permission denied"
    assert isinstance(photos[0], PreparedPhoto)
    assert [(photo.file.path, photo.stage, photo.reason) for photo in photos[1:]] == [
        ("b.jpg", "read", denied),
        ("c", "read", denied),
    ]
    (folder,) = (entry for entry in found if isinstance(entry, ScanFailure))
    assert (folder.path, folder.reason) == ("closed", "cannot be listed: Permission denied")
