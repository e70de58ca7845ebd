"""An ingest that is cut short goes on where it was, with nothing lost or doubled."""

import hashlib
import os
import random
import resource
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from indexer.ingest import IngestProgress
from indexer.settings import Settings
from indexer.store import open_store, store_exists
from schemas.errors import LockedError, StorageError
from schemas.results import IngestSummary
from service.indexing import index_photos
from tests.fakes import FakeEncoder
from tests.makers.photos import drawn_photo, image_file
from tests.processes import IngestProcess

N_KILLS = 30
N_PHOTOS = 80
SETTINGS: dict[str, Any] = {"threads": 2, "batch_size": 4, "append_rows": 8, "queue_photos": 16}
STARTS = {"new": None, "update": "indexed"}
NOBODY = 65534
COMPARED = ("content_hash", "features", "embedding", "quality", "magnitude", "pixel_hash")


@dataclass(frozen=True)
class Scene:
    """Folders of one experiment: the same place is laid out anew for each kill.

    `before` was indexed into `indexed`; `after` is what has become of the photos since.
    """

    place: Path

    @property
    def photos(self) -> Path:
        return self.place / "photos"

    @property
    def collection(self) -> Path:
        return self.place / "collection"

    def lay_out(self, photos: str, collection: str | None) -> None:
        for target, source in ((self.photos, photos), (self.collection, collection)):
            shutil.rmtree(target, ignore_errors=True)
            if source is not None:
                shutil.copytree(self.place / source, target)

    def process(self) -> IngestProcess:
        return IngestProcess(self.photos, self.collection, **SETTINGS)

    def rows(self) -> list[dict[str, Any]]:
        """Read all columns of all photos; none if there is no collection yet."""
        if not store_exists(str(self.collection)):
            return []
        store = open_store(str(self.collection))
        store.failures()
        store.roots()
        rows = store.images(("path", "image_id", *COMPARED)).to_pylist()
        assert len({row["image_id"] for row in rows}) == len(rows)
        return rows

    def version(self) -> int:
        """Return how often the photos of the collection were written to."""
        place = str(self.collection)
        return open_store(place).version if store_exists(place) else 1

    def resume(self, *, report: Callable[[IngestProgress], None] = lambda _: None) -> IngestSummary:
        settings = Settings(collection=str(self.collection), **SETTINGS)
        return index_photos([self.photos], settings=settings, report=report)


@dataclass(frozen=True)
class Killed:
    """What a kill left: how far the run was, its processes, and rows before it and after."""

    moment: str
    left_running: list[int]
    earlier_rows: list[dict[str, Any]]
    rows: list[dict[str, Any]]


@pytest.fixture
def scene(tmp_path, monkeypatch) -> Scene:
    monkeypatch.setattr("service.collection.open_encoder", lambda *_, **__: FakeEncoder())
    scene = Scene(tmp_path)
    before = tmp_path / "before"
    for seed in range(N_PHOTOS):
        draw(before / f"{seed % 5}" / f"{seed:02}.jpg", seed)
    scene.lay_out("before", None)
    scene.resume()
    shutil.copytree(scene.collection, tmp_path / "indexed")
    change(shutil.copytree(before, tmp_path / "after"))
    return scene


def draw(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(image_file(drawn_photo(seed, width=48, height=32), "JPEG"))


def change(folder: Path) -> None:
    """Edit, move, copy, touch, swap, remove and add photos."""
    paths = sorted(folder.rglob("*.jpg"))
    for seed, path in enumerate(paths[:14]):
        draw(path, 100 + seed)
    for path in paths[14:26]:
        path.rename(path.with_name(f"moved-{path.name}"))
    for path in paths[26:34]:
        path.unlink()
    for path in paths[34:40]:
        shutil.copy(path, folder / f"copy-{path.name}")
    for path in paths[40:44]:
        os.utime(path, ns=(0, 10**9))
    first, second = paths[44:46]
    first.rename(folder / "swap")
    second.rename(first)
    (folder / "swap").rename(second)
    for seed in range(20):
        draw(folder / "new" / f"{seed}.jpg", 200 + seed)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_run_killed_at_any_moment_is_completed_by_the_next(scene):
    """Every other run is killed in a new collection, the others while it brings one up to date."""
    paces, expected = {}, {}
    for kind, collection in STARTS.items():
        scene.lay_out("after", collection)
        paces[kind] = undisturbed_pace(scene)
        expected[kind] = by_path(scene.rows())
    assert {path: row[0] for path, row in expected["new"].items()} == hashes(scene.photos)
    assert expected["new"] == expected["update"]

    generator = random.Random(20)
    moments: Counter[str] = Counter()
    with ExitStack() as stack:
        following = stack.enter_context(scene.process())
        for number in range(N_KILLS):
            kind = ("new", "update")[number % 2]
            process = following
            scene.lay_out("after", STARTS[kind])
            delay = random_delay(generator, paces[kind], phase=number // 2 % 5)
            killed = kill_after(process, scene, delay)
            # Its imports take a second, and run beside what is checked here.
            following = stack.enter_context(scene.process())
            moments[killed.moment] += 1
            assert killed.left_running == []
            assert_completed(scene, killed, expected[kind])
    assert moments["in the middle"] > N_KILLS / 2, moments


def assert_completed(scene: Scene, killed: Killed, expected: dict[str, tuple[Any, ...]]) -> None:
    """Run the ingest again: every photo is there once, as if nothing had happened."""
    summary = scene.resume()
    rows = scene.rows()
    assert by_path(rows) == expected
    assert len(rows) == len(expected) == summary.n_images
    assert open_store(str(scene.collection)).failures().num_rows == 0
    assert_ids_keep_their_content(killed.earlier_rows, killed.rows, rows)
    if not killed.earlier_rows:
        assert summary.n_unchanged == len(killed.rows)  # nothing is encoded twice


@dataclass(frozen=True)
class Pace:
    """Of an undisturbed run: seconds before the first report and after the last one."""

    first_seconds: float
    n_reports: int
    last_seconds: float


@dataclass(frozen=True)
class Delay:
    """When to kill: so many seconds after so many reports."""

    n_reports: int
    seconds: float


def undisturbed_pace(scene: Scene) -> Pace:
    with scene.process() as process:
        process.start()
        started = time.monotonic()
        reported = []
        while process.wait_for_reports(1):
            reported.append(time.monotonic())
        ended = time.monotonic()
        process.summary()
    return Pace(reported[0] - started, len(reported), ended - reported[-1])


def random_delay(generator: random.Random, pace: Pace, *, phase: int) -> Delay:
    """Choose a moment: in phase 0 of 5 before the first photo, in 4 behind the last one."""
    if phase == 0:
        return Delay(0, generator.uniform(0, pace.first_seconds))
    if phase == 4:
        return Delay(pace.n_reports, generator.uniform(0, pace.last_seconds))
    return Delay(generator.randint(1, pace.n_reports), generator.uniform(0, 0.01))


def kill_after(process: IngestProcess, scene: Scene, delay: Delay) -> Killed:
    """Start the ingest, kill it at the moment, and look at what is left."""
    version, earlier_rows = scene.version(), scene.rows()
    process.start()
    process.wait_for_reports(delay.n_reports)
    time.sleep(delay.seconds)
    had_ended = process.kill()
    left_running = process.wait_for_session_end(seconds=5)
    moment = "before the first commit" if scene.version() == version else "in the middle"
    moment = "after the end" if had_ended else moment
    return Killed(moment, left_running, earlier_rows, scene.rows())


def by_path(rows: list[dict[str, Any]]) -> dict[str, tuple[Any, ...]]:
    return {row["path"]: tuple(row[name] for name in COMPARED) for row in rows}


def hashes(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*.jpg")
    }


def assert_ids_keep_their_content(*generations: list[dict[str, Any]]) -> None:
    """An id never stands for other bytes than it once did."""
    content: dict[int, str] = {}
    for row in (row for rows in generations for row in rows):
        assert content.setdefault(row["image_id"], row["content_hash"]) == row["content_hash"]


def test_a_second_ingest_is_refused_and_the_first_goes_on(scene):
    scene.lay_out("after", "indexed")
    with scene.process() as first:
        first.start()
        first.wait_for_reports(1)
        first.send(signal.SIGSTOP)
        with pytest.raises(LockedError, match=f"is being written by process {first.pid} on "):
            scene.resume()
        first.send(signal.SIGCONT)
        summary = first.summary()
    assert by_path(scene.rows()).keys() == hashes(scene.photos).keys()
    assert not summary["interrupted"]


def test_ctrl_c_in_a_terminal_ends_all_processes_quietly_and_keeps_finished_work(scene):
    scene.lay_out("after", None)
    with scene.process() as process:
        process.start()
        process.wait_for_reports(30)
        process.send(signal.SIGINT)
        started = time.monotonic()
        summary = process.summary()
        assert process.wait_for_session_end(seconds=5) == []
    assert time.monotonic() - started < 15
    assert process.messages == ""
    assert summary["interrupted"]
    assert len(scene.rows()) == summary["n_encoded"] + summary["n_reused"] > 20
    resumed = scene.resume()
    assert resumed.n_unchanged == len(hashes(scene.photos)) - summary["n_pending"]
    assert by_path(scene.rows()).keys() == hashes(scene.photos).keys()


@contextmanager
def full_disk() -> Iterator[None]:
    """Let no file grow beyond a few bytes, which the system holds against root as well."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def lost_permission() -> Iterator[None]:
    """Act as a user who may not enter the folder of the tests, which is closed to others."""
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        pytest.param(full_disk, "File too large", id="disk-full"),
        pytest.param(
            lost_permission,
            "[Pp]ermission denied",
            id="permission-lost",
            marks=pytest.mark.skipif(os.geteuid() != 0, reason="root alone can become another"),
        ),
    ],
)
def test_what_was_committed_before_the_disk_failed_is_kept(scene, trouble, message):
    scene.lay_out("after", None)
    n_reported = 0
    with ExitStack() as stack:

        def fail_after_20(_: object) -> None:
            nonlocal n_reported
            n_reported += 1
            if n_reported == 20:
                stack.enter_context(trouble())

        with pytest.raises(StorageError, match=message) as caught:
            scene.resume(report=fail_after_20)
        stack.close()
    assert str(scene.collection) in str(caught.value)
    assert "run again" in str(caught.value)

    n_kept = len(scene.rows())
    assert 8 <= n_kept <= 20
    assert scene.resume().n_unchanged == n_kept
    assert by_path(scene.rows()).keys() == hashes(scene.photos).keys()
