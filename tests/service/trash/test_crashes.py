"""Whatever breaks off, and wherever: undo brings back every file, once, bit for bit."""

import errno
import os
from itertools import count

import pytest

from schemas.errors import InputError
from service.trash.restoring import list_trash, trash_of
from tests.service.trash.crashing import CrashingRuns
from tests.service.trash.libraries import (
    Library,
    hooked_calls,
    refuse_other_drive,
    two_groups,
    write_two_groups,
)

ACROSS = pytest.mark.parametrize(
    "across", [pytest.param(False, id="one-drive"), pytest.param(True, id="two-drives")]
)


@pytest.fixture(scope="module")
def crashing_runs():
    with CrashingRuns() as runs:
        yield runs


def undo_if_anything(library):
    """Undo; there is nothing to undo if the run broke off before it moved anything."""
    try:
        summary = library.undo()
    except InputError as error:
        assert "there is nothing to undo" in str(error)  # noqa: PT017 - raised now and then
    else:
        assert summary.left == []


def assert_as_before(library, before):
    """All files are in their places, none twice, and no trash is left that holds any."""
    assert library.photos() == before
    assert library.all_files().total() == before.total()
    assert list_trash(trash_of(library.store.uri)).runs == []
    for path in library.place.glob("photos/*here/*"):
        assert path.stat().st_mtime_ns == 1_700_000_000_123_456_789


@ACROSS
def test_a_run_killed_before_any_call_is_undone(tmp_path, crashing_runs, across):
    for before_call in count(1):
        library = Library(tmp_path / str(before_call))
        write_two_groups(library)
        before = library.photos()
        killed = crashing_runs.is_killed(
            library.place, "trash", before_call=before_call, across=across
        )
        assert set(library.all_files()) >= {content for _, content in before}
        undo_if_anything(library)
        assert_as_before(library, before)
        if not killed:
            break
    assert before_call > (50 if across else 25)


@ACROSS
def test_an_undo_killed_before_any_call_is_completed_by_the_next(tmp_path, crashing_runs, across):
    for before_call in count(1):
        library = Library(tmp_path / str(before_call))
        groups = two_groups(library)
        before = library.photos()
        assert library.trash(*groups).n_photos == 2
        killed = crashing_runs.is_killed(
            library.place, "undo", before_call=before_call, across=across
        )
        assert set(library.all_files()) >= {content for _, content in before}
        undo_if_anything(library)
        assert_as_before(library, before)
        if not killed:
            break
    assert before_call > (35 if across else 15)


@ACROSS
@pytest.mark.parametrize(
    "lasting", [pytest.param(False, id="once"), pytest.param(True, id="from-then-on")]
)
@pytest.mark.parametrize("act", ["trash", "undo"])
def test_a_call_that_fails_loses_nothing(tmp_path, act, across, lasting):
    for failing_call in count(1):
        library = Library(tmp_path / str(failing_call))
        groups = two_groups(library)
        before = library.photos()
        if act == "undo":
            library.trash(*groups)
        calls = iter(count(1))

        def fail_in_time(name, arguments, calls=calls, failing_call=failing_call):
            number = next(calls)
            if number == failing_call or (lasting and number > failing_call):
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            if across:
                refuse_other_drive(name, arguments)

        with pytest.MonkeyPatch.context() as patch:
            hooked_calls(patch.setattr, fail_in_time)
            summary = library.trash(*groups) if act == "trash" else library.undo()
        assert summary.n_pending == 0
        assert set(library.all_files()) >= {content for _, content in before}
        undo_if_anything(library)
        assert_as_before(library, before)
        if next(calls) <= failing_call:
            break
    assert failing_call > (35 if across else 15)
