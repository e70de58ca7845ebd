"""Searches for duplicates in processes of their own, and what is kept of them."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

from indexer.ingest import IngestProgress
from indexer.lock import writer_lock
from indexer.settings import Settings
from indexer.store import open_store
from schemas.duplicates import ReviewedGroup
from schemas.errors import (
    CollectionError,
    CollectionNotFoundError,
    FilterError,
    InputError,
    LockedError,
)
from schemas.http import DuplicatesRunning
from service.collection import Collection
from service.duplicates.keepers import Preference
from service.duplicates.material import Asked
from service.web import jobs
from service.web.jobs import DuplicateAnswer, DuplicateQuestion, DuplicateSearches
from tests.makers.libraries import indexed_folder
from tests.makers.stores import NOON
from tests.service.duplicates.copied_photos import found, write_family
from tests.service.trash.libraries import hooked_calls
from tests.service.web.copied_files import Search, copied_files, found_in, group, listed, search_by

SETTINGS = Settings(collection="nowhere")

FIRST = ReviewedGroup(keeper_id=0, copy_ids=[1, 2])
SECOND = ReviewedGroup(keeper_id=3, copy_ids=[4])


def question(where: str | None = None) -> DuplicateQuestion:
    return DuplicateQuestion(created_at=NOON, where=where)


def finished(searches: DuplicateSearches, asked: DuplicateQuestion, **how: Any) -> DuplicateAnswer:
    """Ask until there is an answer."""
    answer = searches.ask(asked, **how)
    deadline = time.monotonic() + 30
    while isinstance(answer, DuplicatesRunning):
        assert time.monotonic() < deadline
        time.sleep(0.01)
        answer = searches.ask(asked)
    return answer


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class StandIn:
    """A search that tells of itself in files, and goes on when it may."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._gate = folder / "open"

    def __call__(
        self, connection: Connection, settings: Settings, asked: DuplicateQuestion
    ) -> None:
        name = asked.where or "all"
        with (self._folder / name).open("a") as begun:
            begun.write(f"{os.getpid()}\n")
        while not self._gate.exists():
            connection.send(IngestProgress(3, 7, 0))
            time.sleep(0.005)
        connection.send(DuplicateAnswer.of(listed(group(1, 2, 3), group(4, 5)), version=1))

    def let_go(self) -> None:
        self._gate.touch()

    def processes(self, asked: DuplicateQuestion) -> list[int]:
        """The processes that began to answer a question."""
        path = self._folder / (asked.where or "all")
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def wait_for(self, asked: DuplicateQuestion) -> int:
        wait_until(lambda: bool(self.processes(asked)))
        return self.processes(asked)[-1]


@pytest.fixture
def searching_by(monkeypatch) -> Iterator[Callable[..., DuplicateSearches]]:
    opened: list[DuplicateSearches] = []

    def opening(search: Search, *, settings: Settings = SETTINGS) -> DuplicateSearches:
        search_by(monkeypatch, search)
        opened.append(DuplicateSearches(settings))
        return opened[-1]

    yield opening
    for searches in opened:
        searches.close()


@pytest.fixture
def stand_in(tmp_path) -> StandIn:
    return StandIn(tmp_path)


@pytest.fixture
def searches(searching_by, stand_in) -> DuplicateSearches:
    return searching_by(stand_in)


def test_a_page_has_what_was_found():
    whole = listed(group(1, 2), group(3, 4, 5), group(6, 7))
    answer = DuplicateAnswer.of(whole, version=8)
    page = answer.page(offset=1, limit=1, version=8)
    assert page.groups == whole.groups[1:2]
    assert (page.n_groups, page.offset, page.version, page.is_current) == (3, 1, 8, True)
    shared = whole.model_dump(exclude={"collection", "groups"})
    assert page.model_dump(include=set(shared)) == shared
    assert answer.page(offset=3, limit=5, version=9).groups == []
    assert not answer.page(offset=0, limit=5, version=9).is_current


def test_photos_that_are_gone_leave_their_groups():
    answer = DuplicateAnswer.of(
        listed(group(1, 2, 3), group(4, 5), group(6, 7), group(8, 9)), version=8
    )
    # A copy of the first, the only one of the second, and the keeper of the third.
    left = answer.without(frozenset({2, 5, 6}))
    assert left.image_ids == [(1, 3), (8, 9)]
    page = left.page(offset=0, limit=9, version=8)
    assert page.groups == [group(1, 3), group(8, 9)]
    assert (page.n_groups, page.n_copies, page.n_bytes) == (2, 2, 103 + 109)
    assert len(answer.documents) == 4


def test_progress_is_told_until_there_is_an_answer_which_is_kept(searches, stand_in):
    assert searches.ask(question()) == DuplicatesRunning(n_done=0, n_total=0)
    wait_until(lambda: searches.ask(question()) == DuplicatesRunning(n_done=3, n_total=7))
    stand_in.let_go()
    answer = finished(searches, question())
    assert answer.image_ids == [(1, 2, 3), (4, 5)]
    assert searches.ask(question()) is answer
    assert len(stand_in.processes(question())) == 1


def test_one_search_runs_at_a_time(searches, stand_in):
    searches.ask(question("first"))
    searches.ask(question("second"))
    stand_in.wait_for(question("first"))
    time.sleep(0.05)
    assert stand_in.processes(question("second")) == []
    assert searches.ask(question("second")) == DuplicatesRunning(n_done=0, n_total=0)
    stand_in.let_go()
    assert len(finished(searches, question("second")).documents) == 2
    assert len(finished(searches, question("first")).documents) == 2


def test_another_look_replaces_an_answer_but_no_search(searches, stand_in):
    searches.ask(question(), again=True)
    searches.ask(question(), again=True)
    stand_in.let_go()
    before = finished(searches, question())
    assert finished(searches, question(), again=True) is not before
    assert len(stand_in.processes(question())) == 2


def test_the_last_answers_are_kept(searches, stand_in):
    stand_in.let_go()
    asked = [question(name) for name in ("first", "second", "third", "fourth", "fifth")]
    answers = [finished(searches, one) for one in asked]
    assert [searches.ask(one) for one in asked[1:]] == answers[1:]
    assert finished(searches, asked[0]) is not answers[0]


def test_of_too_many_questions_those_asked_longest_ago_lose_their_place(searches, stand_in):
    asked = [question(f"{number}") for number in range(jobs.MAX_WAITING + 3)]
    for one in asked:
        searches.ask(one)
        stand_in.wait_for(asked[0])
    stand_in.let_go()
    finished(searches, asked[-1])
    began = [one.where for one in asked if stand_in.processes(one)]
    assert began == ["0", *(one.where for one in asked[-jobs.MAX_WAITING :])]


def test_a_search_that_is_killed_is_an_error_and_the_next_one_begins_anew(searches, stand_in):
    searches.ask(question())
    os.kill(stand_in.wait_for(question()), signal.SIGKILL)
    with pytest.raises(CollectionError, match=r"ended before it had an .* \(SIGKILL\), as"):
        finished(searches, question())
    stand_in.let_go()
    assert len(finished(searches, question()).documents) == 2


def test_a_search_that_crashes_is_an_error(searching_by, capfd):
    def crash(*_: Any) -> None:
        raise ZeroDivisionError("a bug")

    with pytest.raises(CollectionError, match=r"\(exit status 1\)"):
        finished(searching_by(crash), question())
    assert "ZeroDivisionError: a bug" in capfd.readouterr().err


def test_a_process_that_cannot_be_started_is_an_error(searches, monkeypatch):
    def refuse(*_: Any) -> None:
        raise OSError("no memory")

    monkeypatch.setattr(multiprocessing.get_context("fork").Process, "start", refuse)
    with pytest.raises(CollectionError, match=r"\(it could not be started\)"):
        finished(searches, question())


def test_what_a_search_refuses_is_told_once(searching_by, tmp_path):
    def refuse_once(connection: Connection, *_: Any) -> None:
        if (tmp_path / "refused").exists():
            connection.send(DuplicateAnswer.of(listed(), version=1))
        (tmp_path / "refused").touch()
        connection.send(FilterError("no condition"))

    searches = searching_by(refuse_once)
    with pytest.raises(FilterError, match="no condition"):
        finished(searches, question())
    assert finished(searches, question()).documents == []


def test_a_search_that_nobody_asks_about_is_given_up(searches, stand_in, monkeypatch):
    monkeypatch.setattr(jobs, "UNWANTED_SECONDS", 0.3)
    searches.ask(question("first"))
    searches.ask(question("second"))
    pid = stand_in.wait_for(question("first"))
    wait_until(lambda: not is_alive(pid))
    monkeypatch.setattr(jobs, "UNWANTED_SECONDS", 60.0)
    stand_in.let_go()
    assert len(finished(searches, question("first")).documents) == 2
    assert stand_in.processes(question("second")) == []
    assert len(stand_in.processes(question("first"))) == 2


def test_closing_ends_what_runs_and_begins_nothing(searches, stand_in):
    searches.ask(question("first"))
    searches.ask(question("second"))
    pid = stand_in.wait_for(question("first"))
    started = time.monotonic()
    searches.close()
    assert time.monotonic() - started < 3
    assert not is_alive(pid)
    assert stand_in.processes(question("second")) == []


def test_a_search_ends_when_its_service_is_gone(monkeypatch):
    monkeypatch.setattr(jobs, "_REPORT_SECONDS", 0.0)
    monkeypatch.setattr(jobs, "_stand_back", lambda: None)
    seen = []

    def found_until(*arguments: Any) -> DuplicateAnswer:
        for number in range(1000):
            seen.append(number)
            arguments[-1](IngestProgress(number, 1000, 0))
        raise AssertionError

    monkeypatch.setattr(jobs, "_found", found_until)
    ours, theirs = multiprocessing.Pipe(duplex=False)
    ours.close()
    jobs._search(theirs, SETTINGS, question())
    assert seen == [0]


def test_the_process_stands_back():
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)

    def tell() -> None:
        before = os.nice(0)
        jobs._stand_back()
        score = Path("/proc/self/oom_score_adj")
        theirs.send(
            (
                os.nice(0) - before,
                signal.getsignal(signal.SIGINT) == signal.SIG_IGN,
                int(score.read_text()) if score.exists() else 1000,
            )
        )

    process = context.Process(target=tell)
    process.start()
    assert ours.recv() == (10, True, 1000)
    process.join()


@pytest.fixture
def collection(tmp_path) -> Collection:
    """Two photos with copies, and one without."""
    folder = tmp_path / "photos"
    folder.mkdir()
    write_family(folder, 1, "resaved.jpg", "half.jpg")
    write_family(folder, 2, "same.png")
    write_family(folder, 3)
    return indexed_folder(folder, tmp_path / "c")


def question_of(collection: Collection, **asked: Any) -> DuplicateQuestion:
    return DuplicateQuestion(created_at=collection.store.info.created_at, **asked)


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param({}, id="near"),
        pytest.param({"tier": "pixels", "where": "path LIKE '%2%'"}, id="filtered"),
        pytest.param({"asked": Asked(similarity=0.2), "tier": "similar"}, id="similar"),
    ],
)
@pytest.mark.slow
def test_a_process_finds_what_the_command_line_finds(collection, asked):
    expected = found(collection, **asked)
    with DuplicateSearches(collection.settings) as searches:
        answer = finished(searches, question_of(collection, **asked))
    page = answer.page(offset=0, limit=9, version=collection.store.version)
    assert expected.groups
    assert page.groups == expected.groups
    assert page.is_current
    same = expected.model_dump(exclude={"collection", "groups", "seconds"})
    assert page.model_dump(include=set(same)) == same


@pytest.mark.slow
def test_what_a_process_refuses_reaches_the_asker(collection, tmp_path):
    with DuplicateSearches(collection.settings) as searches:
        wrong = question_of(collection, where="nothing > 1")
        unknown = question_of(collection, preference=Preference(("/nowhere",)))
        searches.ask(wrong)
        with pytest.raises(InputError, match="no photo that is compared lies in /nowhere"):
            finished(searches, unknown)
        with pytest.raises(FilterError, match="nothing > 1"):
            finished(searches, wrong)
        (tmp_path / "c").rename(tmp_path / "away")
        with pytest.raises(CollectionNotFoundError, match="no collection at"):
            finished(searches, question_of(collection))


@pytest.fixture
def copies(tmp_path) -> Collection:
    return copied_files(tmp_path)


def test_another_collection_at_the_place_is_refused(copies):
    later = NOON + timedelta(seconds=1)
    with pytest.raises(InputError, match=r"another collection was made at .* load the page again"):
        jobs._found(copies.settings, DuplicateQuestion(created_at=later), lambda _: None)
    with (
        DuplicateSearches(copies.settings) as searches,
        pytest.raises(InputError, match="another collection was made at"),
    ):
        searches.trash([FIRST], created_at=later).result()
    assert copies.store.count_images() == 6


@pytest.fixture
def moving(copies, searching_by) -> DuplicateSearches:
    """Searches that have found the copies."""
    answer = DuplicateAnswer.of(found_in(copies.store), version=copies.store.version)
    searches = searching_by(
        lambda connection, *_: connection.send(answer), settings=copies.settings
    )
    finished(searches, question())
    return searches


def test_copies_that_were_moved_leave_the_answers(copies, moving):
    before = finished(moving, question())
    first_copy = ReviewedGroup(keeper_id=0, copy_ids=[1])
    # The second waits for the first, and is not refused.
    moves = [moving.trash([first_copy], created_at=NOON), moving.trash([SECOND], created_at=NOON)]
    assert [move.result().n_photos for move in moves] == [1, 1]
    assert copies.store.count_images() == 4
    after = finished(moving, question())
    assert (before.image_ids, after.image_ids) == ([(0, 1, 2), (3, 4)], [(0, 2)])
    assert before.version < after.version == copies.store.version
    assert finished(moving, question()) is after


def test_a_later_search_is_not_taken_for_an_earlier_one(copies, moving):
    moving.trash([SECOND], created_at=NOON).result()
    answer = finished(moving, question("other"))  # of before the move, as the stand-in has it
    assert answer.image_ids == [(0, 1, 2)]
    assert answer.version == copies.store.version


def test_moves_in_another_collection_at_the_place_do_not_count(copies, moving):
    moving.trash([SECOND], created_at=NOON).result()
    later = DuplicateQuestion(created_at=NOON + timedelta(seconds=1))
    assert finished(moving, later).image_ids == [(0, 1, 2), (3, 4)]


def test_what_others_commit_makes_an_answer_outdated_and_leaves_it(copies, moving):
    answer = finished(moving, question())
    open_store(copies.store.uri).delete_images(np.array([5]))
    assert finished(moving, question()) is answer
    moving.trash([FIRST], created_at=NOON).result()
    after = finished(moving, question())
    assert after.image_ids == [(3, 4)]
    assert after.version == answer.version < copies.store.version


def test_photos_that_others_moved_leave_the_answers_when_they_are_met(copies, moving):
    open_store(copies.store.uri).delete_images(np.array([4]))
    made_up = ReviewedGroup(keeper_id=0, copy_ids=[2**62])
    summary = moving.trash([SECOND, made_up], created_at=NOON).result()
    assert [left.path for left in summary.left] == ["id:4", f"id:{2**62}"]
    assert finished(moving, question()).image_ids == [(0, 1, 2)]
    ((move,),) = moving._moves.values()
    assert move.gone == {4}  # what clients make up takes no memory


def test_moved_photos_come_back(copies, moving, tmp_path):
    folder = tmp_path / "photos"
    before = {path: path.read_bytes() for path in folder.rglob("*.jpg")}
    moved = moving.trash([FIRST, SECOND], created_at=NOON).result()
    assert moved.n_photos == 3
    back = moving.bring_back(None).result()
    assert (back.n_photos, back.runs) == (3, [moved.run])
    assert {path: path.read_bytes() for path in folder.rglob("*.jpg")} == before
    assert finished(moving, question()).documents == []
    with pytest.raises(InputError, match="there is no run 'x' in the trash"):
        moving.bring_back("x").result()


@pytest.mark.parametrize("act", ["trash", "bring_back"])
def test_a_move_ends_after_the_photo_at_hand_when_the_service_stops(
    copies, moving, monkeypatch, act
):
    moves = {
        "trash": lambda: moving.trash([FIRST, SECOND], created_at=NOON),
        "bring_back": lambda: moving.bring_back(None),
    }
    if act == "bring_back":
        moving.trash([FIRST, SECOND], created_at=NOON).result()
    closing = Thread(target=moving.close)

    def close_meanwhile(name: str, _: Any) -> None:
        if name in ("rename", "link") and closing.ident is None:
            closing.start()
            wait_until(moving._is_closing.is_set)

    hooked_calls(monkeypatch.setattr, close_meanwhile)
    summary = moves[act]().result()
    closing.join()
    assert summary.interrupted
    assert (summary.n_photos, summary.n_pending, summary.left) == (1, 2, [])
    assert copies.store.count_images() == (5 if act == "trash" else 3)


def test_a_move_while_another_process_writes_is_refused(copies, moving):
    with (
        writer_lock(Path(copies.store.uri)),
        pytest.raises(LockedError, match="is being written by process"),
    ):
        moving.trash([FIRST], created_at=NOON).result()
    assert moving.trash([FIRST], created_at=NOON).result().n_photos == 2
