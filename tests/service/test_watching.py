"""Following changes of folders: real file system events, real collections, the fake encoder."""

import contextlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from indexer.settings import Settings
from schemas.results import HeldDeletion, IngestSummary
from service.cli import cli
from service.collection import open_collection
from service.commands.signals import stop_like_ctrl_c
from service.indexing import index_photos
from service.terminal import show_watch_notice, show_watch_run
from service.watching import WatchPace, follow_changes
from tests.fakes import FakeEncoder
from tests.makers.photos import drawn_photo, image_file

PACE = WatchPace(quiet_seconds=0.1, most_seconds=5, rescan_seconds=600)

PATIENCE_SECONDS = 30


@pytest.fixture(autouse=True)
def fake_models(monkeypatch):
    """Whatever model is named is the fake one; the list holds those that were opened."""
    opened: list[FakeEncoder] = []

    def open_fake(model, *, pretrained, device, n_threads):
        opened.append(FakeEncoder())
        return opened[-1]

    monkeypatch.setattr("service.collection.open_encoder", open_fake)
    return opened


@pytest.fixture
def photos(tmp_path) -> Path:
    """Three photos, and two in a folder."""
    folder = tmp_path / "photos"
    (folder / "trip").mkdir(parents=True)
    for seed, name in enumerate(("0.png", "1.png", "2.png", "trip/3.png", "trip/4.png")):
        write_photo(folder / name, seed)
    return folder


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(collection=str(tmp_path / "collection"), threads=1)


@pytest.fixture
def watching(settings):
    """Start watches that end with the test."""
    with contextlib.ExitStack() as stack:
        yield lambda *paths, pace=PACE: stack.enter_context(
            contextlib.closing(RunningWatch(paths, settings, pace))
        )


class RunningWatch:
    """A watch in a thread, after the run that indexed the folders."""

    def __init__(self, paths, settings: Settings, pace: WatchPace) -> None:
        self.first = index_photos(paths, settings=settings, report=lambda _: None)
        self.place = Path(settings.collection)
        self.n_runs = 0
        self._settings = settings
        self._told: queue.Queue[IngestSummary | str] = queue.Queue()
        self._stop = threading.Event()
        self._ready = threading.Event()
        self._thread = ThreadPoolExecutor(1)
        self._following = self._thread.submit(self._follow, paths, pace)
        # The look through all folders at the start: what happens later is told by events.
        assert self._ready.wait(PATIENCE_SECONDS)

    def next(self) -> IngestSummary | str:
        return self._told.get(timeout=PATIENCE_SECONDS)

    def next_run(self) -> IngestSummary:
        told = self.next()
        assert isinstance(told, IngestSummary), told
        return told

    def says_nothing(self, seconds: float = 0.4) -> bool:
        with contextlib.suppress(queue.Empty):
            return not self._told.get(timeout=seconds)
        return True

    def indexed(self) -> dict[str, int]:
        """Return image ids by path."""
        table = open_collection(self._settings).store.images(["path", "image_id"])
        return dict(zip(table["path"].to_pylist(), table["image_id"].to_pylist(), strict=True))

    def close(self) -> None:
        self._stop.set()
        self._following.result(PATIENCE_SECONDS)
        self._thread.shutdown()

    @contextlib.contextmanager
    def _reporting(self):
        yield lambda _: None
        self.n_runs += 1
        self._ready.set()

    def _follow(self, paths, pace) -> None:
        try:
            for told in follow_changes(
                paths,
                first=self.first,
                settings=self._settings,
                reporting=self._reporting,
                pace=pace,
                stop=self._stop,
            ):
                self._told.put(told)
        finally:
            self._told.put("The watch has ended.")
            self._ready.set()


def write_photo(path: Path, seed: int) -> None:
    path.write_bytes(image_file(drawn_photo(seed), "PNG"))


def counts(summary: IngestSummary) -> dict[str, int]:
    names = ("n_encoded", "n_reused", "n_deleted", "n_failed")
    return {name: getattr(summary, name) for name in names if getattr(summary, name)}


def test_a_new_photo_is_indexed(photos, watching):
    watch = watching(photos)
    write_photo(photos / "new.png", 10)
    run = watch.next_run()
    assert (counts(run), run.n_images) == ({"n_encoded": 1}, 6)
    assert "new.png" in watch.indexed()


def test_an_edited_photo_is_indexed_again(photos, watching):
    watch = watching(photos)
    before = watch.indexed()
    write_photo(photos / "0.png", 10)
    assert counts(watch.next_run()) == {"n_encoded": 1}
    after = watch.indexed()
    assert after.keys() == before.keys()
    assert after["0.png"] != before["0.png"]


def test_only_the_folder_of_a_new_photo_is_looked_through(photos, watching):
    watch = watching(photos)
    write_photo(photos / "trip" / "new.png", 10)
    run = watch.next_run()
    assert (run.n_files, run.n_unchanged) == (3, 2)


def test_a_deleted_photo_leaves_the_index(photos, watching):
    watch = watching(photos)
    (photos / "0.png").unlink()
    assert counts(watch.next_run()) == {"n_deleted": 1}
    assert "0.png" not in watch.indexed()


def test_a_small_folder_may_be_emptied_without_asking(photos, watching):
    watch = watching(photos)
    shutil.rmtree(photos / "trip")
    assert counts(watch.next_run()) == {"n_deleted": 2}
    write_photo(photos / "0.png", 10)
    assert counts(watch.next_run()) == {"n_encoded": 1}


def test_most_of_a_root_is_not_removed_and_that_is_told_once(photos, watching):
    watch = watching(photos, pace=WatchPace(0.1, 5, rescan_seconds=0.2))
    for name in ("0.png", "1.png", "2.png"):
        (photos / name).unlink()
    held = watch.next_run().held_deletions
    assert [(one.root, one.n_known, one.n_missing) for one in held] == [(str(photos), 5, 3)]
    assert len(watch.indexed()) == 5
    assert watch.says_nothing()


def test_a_moved_photo_keeps_its_vectors(photos, watching, fake_models):
    watch = watching(photos)
    image_id = watch.indexed()["0.png"]
    (photos / "0.png").rename(photos / "trip" / "moved.png")
    assert counts(watch.next_run()) == {"n_reused": 1}
    assert watch.indexed()["trip/moved.png"] == image_id
    assert "0.png" not in watch.indexed()


def test_a_photo_moved_between_roots_keeps_its_vectors(photos, watching, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    write_photo(other / "other.png", 20)
    watch = watching(photos, other)
    image_id = watch.indexed()["0.png"]
    (photos / "0.png").rename(other / "moved.png")
    assert counts(watch.next_run()) == {"n_reused": 1}
    assert watch.indexed()["moved.png"] == image_id


def test_a_folder_moved_in_is_indexed_and_watched(photos, watching, tmp_path):
    watch = watching(photos)
    (tmp_path / "album" / "inner").mkdir(parents=True)
    write_photo(tmp_path / "album" / "inner" / "a.png", 10)
    (tmp_path / "album").rename(photos / "album")
    assert counts(watch.next_run()) == {"n_encoded": 1}
    write_photo(photos / "album" / "inner" / "b.png", 11)
    assert counts(watch.next_run()) == {"n_encoded": 1}
    assert {"album/inner/a.png", "album/inner/b.png"} <= watch.indexed().keys()


def test_a_folder_with_a_dot_may_be_moved_away(photos, watching, tmp_path):
    (photos / "trip").rename(photos / "St. Moritz")
    watch = watching(photos)
    (photos / "St. Moritz").rename(tmp_path / "St. Moritz")
    assert counts(watch.next_run()) == {"n_deleted": 2}


def test_files_that_no_scan_sees_start_no_run(photos, watching):
    (photos / "@eaDir").mkdir()
    watch = watching(photos)
    n_runs = watch.n_runs
    write_photo(photos / ".hidden.png", 10)
    write_photo(photos / "@eaDir" / "thumb.png", 11)
    (photos / "catalogue.db-journal").touch()
    (photos / "catalogue.db-journal").unlink()
    (photos / "notes.txt").write_text("a list")
    assert watch.says_nothing()
    assert watch.n_runs == n_runs


def test_a_collection_inside_a_watched_folder_does_not_wake_the_watch(photos, monkeypatch):
    watch = RunningWatch([photos], Settings(collection=str(photos / "kept"), threads=1), PACE)
    write_photo(photos / "new.png", 10)
    assert counts(watch.next_run()) == {"n_encoded": 1}
    assert watch.says_nothing()
    assert watch.n_runs == 2
    watch.close()


@pytest.mark.slow
def test_a_burst_needs_few_runs(photos, watching, fake_models):
    watch = watching(photos)
    png = image_file(drawn_photo(10), "PNG")
    (photos / "burst").mkdir()
    for number in range(500):
        (photos / "burst" / f"{number}.png").write_bytes(png + number.to_bytes(2))
    n_indexed = 0
    while n_indexed < 500:
        n_indexed += watch.next_run().n_encoded
    assert n_indexed == 500
    assert len(watch.indexed()) == 505
    assert watch.n_runs <= 4  # the look at the start is one
    assert len(fake_models) == 2  # of the run before the watch, and of the watch


def test_more_changes_than_are_looked_at_one_by_one(photos, watching, monkeypatch):
    monkeypatch.setattr("service.watching.MOST_PATHS", 2)
    watch = watching(photos)
    for number in range(3):
        write_photo(photos / "trip" / f"new{number}.png", 10 + number)
    assert watch.next_run().n_files == 8


@pytest.mark.slow
def test_a_file_that_grows_slowly_is_indexed_once(photos, watching):
    watch = watching(photos)
    content = image_file(drawn_photo(10), "PNG")
    step = len(content) // 12
    with (photos / "slow.png").open("wb", buffering=0) as file:
        for start in range(0, len(content), step):
            file.write(content[start : start + step])
            time.sleep(0.06)
    assert counts(watch.next_run()) == {"n_encoded": 1}
    assert watch.says_nothing()


@pytest.mark.slow
def test_changes_without_a_pause_are_indexed_in_time(photos, watching):
    watch = watching(photos, pace=WatchPace(0.3, most_seconds=0.6, rescan_seconds=600))
    write_photo(photos / "new.png", 10)
    ended = time.monotonic() + PATIENCE_SECONDS
    while watch.n_runs < 2 and time.monotonic() < ended:
        (photos / "trip" / "3.png").touch()
        time.sleep(0.05)
    run = watch.next_run()
    assert (run.n_encoded, run.n_deleted, run.n_failed) == (1, 0, 0)


def test_a_broken_file_is_told_and_the_watch_goes_on(photos, watching):
    watch = watching(photos)
    (photos / "list.png").write_text("a shopping list")
    run = watch.next_run()
    assert [(one.path, one.stage) for one in run.failures] == [(str(photos / "list.png"), "decode")]
    write_photo(photos / "list.png", 10)
    assert counts(watch.next_run()) == {"n_encoded": 1}


def test_a_collection_that_another_process_writes_to_is_waited_for(photos, watching, tmp_path):
    watch = watching(photos)
    hold = (
        "import sys; from pathlib import Path; from indexer.lock import writer_lock\n"
        "with writer_lock(Path(sys.argv[1])): print(flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", hold, str(watch.place)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        write_photo(photos / "new.png", 10)
        assert f"is being written by process {holder.pid}" in str(watch.next())
        assert watch.says_nothing()
        holder.communicate()
    assert counts(watch.next_run()) == {"n_encoded": 1}


@pytest.mark.slow
def test_a_root_that_vanishes_keeps_its_photos_until_it_is_back(photos, watching, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    write_photo(other / "other.png", 20)
    watch = watching(photos, other)
    photos.rename(tmp_path / "away")
    assert str(watch.next()).startswith(f"{photos} is gone; its photos stay in the index.")
    write_photo(other / "new.png", 21)
    assert counts(watch.next_run()) == {"n_encoded": 1}
    assert len(watch.indexed()) == 7
    write_photo(tmp_path / "away" / "new.png", 22)
    (tmp_path / "away").rename(photos)
    assert watch.next() == f"{photos} is back."
    assert counts(watch.next_run()) == {"n_encoded": 1}
    write_photo(photos / "newer.png", 23)
    assert counts(watch.next_run()) == {"n_encoded": 1}


def test_a_root_that_is_deleted_wipes_nothing(photos, watching):
    watch = watching(photos)
    shutil.rmtree(photos)
    told = watch.next()
    while isinstance(told, IngestSummary):  # a run may begin while files are being deleted
        assert counts(told) == {}
        told = watch.next()
    assert told.startswith(f"{photos} is gone")
    assert len(watch.indexed()) == 5


@pytest.mark.slow
def test_another_folder_in_a_roots_place_is_watched(photos, watching, tmp_path):
    watch = watching(photos)
    shutil.copytree(photos, tmp_path / "copy", copy_function=shutil.copy2)
    photos.rename(tmp_path / "old")
    (tmp_path / "copy").rename(photos)
    assert watch.says_nothing(0.8)
    write_photo(photos / "new.png", 10)
    assert counts(watch.next_run()) == {"n_encoded": 1}


def test_a_root_given_by_a_link_twice_and_inside_another(photos, watching, tmp_path):
    (tmp_path / "link").symlink_to(photos)
    watch = watching(tmp_path / "link", photos, photos / "trip")
    write_photo(photos / "trip" / "new.png", 10)
    assert counts(watch.next_run()) == {"n_encoded": 1}
    assert watch.says_nothing()
    assert len(watch.indexed()) == 6


def test_an_inner_root_that_vanishes_is_told_and_kept(photos, watching, settings, tmp_path):
    index_photos([photos / "trip"], settings=settings, report=lambda _: None)
    watch = watching(photos)
    (photos / "trip").rename(tmp_path / "away")
    held = watch.next_run().held_deletions
    assert [(one.root, one.n_missing) for one in held] == [(str(photos / "trip"), 2)]
    assert len(watch.indexed()) == 5


def test_a_root_that_is_one_file(photos, watching, tmp_path):
    single = tmp_path / "single.png"
    write_photo(single, 20)
    write_photo(tmp_path / "neighbour.png", 21)
    watch = watching(single)
    write_photo(tmp_path / "neighbour.png", 22)
    write_photo(tmp_path / "saved.png", 23)
    (tmp_path / "saved.png").rename(single)  # as editors save
    assert counts(watch.next_run()) == {"n_encoded": 1}
    write_photo(single, 24)
    assert counts(watch.next_run()) == {"n_encoded": 1}
    assert watch.indexed().keys() == {"single.png"}


@pytest.mark.parametrize("changed", ["album", "photos/album"], ids=["real", "link"])
def test_a_photo_behind_a_link_to_a_folder(photos, watching, tmp_path, changed):
    (tmp_path / "album").mkdir()
    write_photo(tmp_path / "album" / "a.png", 10)
    (photos / "album").symlink_to(tmp_path / "album")
    watch = watching(photos)
    write_photo(tmp_path / changed / "b.png", 11)
    assert counts(watch.next_run()) == {"n_encoded": 1}
    assert "album/b.png" in watch.indexed()
    (tmp_path / changed / "b.png").unlink()
    assert counts(watch.next_run()) == {"n_deleted": 1}


def test_a_photo_with_two_ways_to_it_is_indexed_once(photos, watching):
    (photos / "link").symlink_to(photos / "trip")
    watch = watching(photos)
    write_photo(photos / "link" / "new.png", 10)
    assert counts(watch.next_run()) == {"n_encoded": 1}
    assert len(watch.indexed()) == 6


def test_a_name_that_is_not_utf_8(photos, watching):
    watch = watching(photos)
    name = os.fsencode(photos) + b"/caf\xe9.png"
    Path(os.fsdecode(name)).write_bytes(image_file(drawn_photo(10), "PNG"))
    assert counts(watch.next_run()) == {"n_encoded": 1}
    write_photo(photos / "new.png", 11)
    assert counts(watch.next_run()) == {"n_encoded": 1}


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError("OS file watch limit reached."), "There are more folders than the system watches"),
        (OSError("not here"), "The system does not tell of changes (not here): all are"),
    ],
)
def test_without_events_folders_are_looked_through_now_and_then(
    photos, watching, monkeypatch, error, message
):
    def no_watch(*paths, **options):
        raise error

    monkeypatch.setattr("watchfiles.watch", no_watch)
    watch = watching(photos, pace=WatchPace(0.1, 5, rescan_seconds=0.3))
    assert message in str(watch.next())
    write_photo(photos / "new.png", 10)
    assert counts(watch.next_run()) == {"n_encoded": 1}


def test_what_changed_before_the_watch_began_is_found(photos, settings):
    first = index_photos([photos], settings=settings, report=lambda _: None)
    write_photo(photos / "new.png", 10)
    told = follow_changes(
        [],
        first=first,
        settings=settings,
        reporting=lambda: contextlib.nullcontext(lambda _: None),
        pace=PACE,
    )
    run = next(told)
    assert isinstance(run, IngestSummary)
    assert counts(run) == {"n_encoded": 1}


def test_a_run_is_shown_on_one_line_with_the_time_of_day(capsys, monkeypatch):
    monkeypatch.setattr("service.terminal.time.strftime", lambda _: "14:03:22")
    show_watch_run(summary(n_files=9, n_unchanged=6, n_encoded=2, n_deleted=1), as_json=False)
    show_watch_notice("/photos/a\nb is back.")
    shown = capsys.readouterr()
    assert shown.out == "14:03:22  2 indexed, 1 removed; 1,205 photos in all.\n"
    assert shown.err == "14:03:22  /photos/a\\x0ab is back.\n"


def test_a_run_that_only_holds_deletions_is_shown_by_its_message(capsys):
    held = HeldDeletion(root="/photos", n_known=5, n_missing=3)
    show_watch_run(summary(held_deletions=[held]), as_json=False)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("/photos: 3 of 5 indexed photos are missing. Nothing was removed")


def summary(**changes) -> IngestSummary:
    counts = {name: 0 for name in IngestSummary.model_fields if name.startswith("n_")}
    rest: dict[str, Any] = {"collection": "/c", "seconds": 1.25, "interrupted": False}
    rest |= {"n_images": 1205, "failures": [], "held_deletions": []}
    return IngestSummary(**{**counts, **rest, **changes})


def test_rescan_needs_watch(tmp_path):
    done = CliRunner().invoke(cli, ["index", str(tmp_path), "--rescan", "5"])
    assert (done.exit_code, done.stdout) == (2, "")
    assert "--rescan needs --watch" in done.stderr


@pytest.mark.parametrize("ctrl_c", [signal.default_int_handler, signal.SIG_IGN])
def test_a_service_is_stopped_as_by_ctrl_c(ctrl_c):
    before = signal.signal(signal.SIGINT, ctrl_c), signal.getsignal(signal.SIGTERM)
    try:
        stop_like_ctrl_c(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGINT, before[0])
        signal.signal(signal.SIGTERM, before[1])


@pytest.mark.slow
def test_the_command_indexes_follows_and_ends_in_peace(photos, tmp_path):
    command = [sys.executable, "-c", "from service.cli import main; main()", "index", str(photos)]
    process = subprocess.Popen(
        [*command, "--watch", "--json", "-c", str(tmp_path / "place")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["n_encoded"] == 5
        said = "Watching for changes; press Ctrl-C to stop.\n"
        while process.stderr.readline() != said:
            pass  # on a slow machine, the progress of the first run
        write_photo(photos / "new.png", 10)
        assert json.loads(process.stdout.readline())["n_encoded"] == 1
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, out) == (0, "")
    assert err.endswith("Stopped watching.\n")
    assert "Traceback" not in err
