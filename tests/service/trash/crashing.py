"""Runs that are killed in the middle, in processes of their own.

    python -m tests.service.trash.crashing

Reads a line of JSON for each: `place` of a library of two groups; `act`, "trash" or "undo"; before
which changing call to die; and whether the trash is `across`, on another drive. Prints the exit
status: 9 if it was killed, 0 if it came to its end before.

One process imports everything and forks for each run; the process of the tests has threads by
then, which do not survive a fork.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.processes import PROJECT, say
from tests.service.trash.libraries import (
    Library,
    hooked_calls,
    indexed_groups,
    refuse_other_drive,
    two_groups,
)

KILLED = 9


class CrashingRuns:
    """The process that starts them. Leaving the context ends it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.service.trash.crashing"],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> "CrashingRuns":
        return self

    def __exit__(self, *_: object) -> None:
        with self._process as process:
            process.communicate()

    def is_killed(self, place: Path, act: str, *, before_call: int, across: bool) -> bool:
        """Run to before a changing call; False if the run came to its end before that."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {"place": str(place), "act": act, "before_call": before_call, "across": across}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        status = int(self._process.stdout.readline())
        assert status in (0, KILLED)
        return status == KILLED


def main() -> None:
    """Fork a run for each line."""
    with TemporaryDirectory() as place:  # the first run imports what later ones would each
        library = Library(Path(place))
        library.trash(*two_groups(library))
    for line in sys.stdin:
        child = os.fork()
        if not child:
            _crash(**json.loads(line))
        say(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))


def _crash(*, place: str, act: str, before_call: int, across: bool) -> None:
    library = Library(Path(place))
    n_calls = 0

    def die_in_time(name: str, arguments: Sequence[Any]) -> None:
        nonlocal n_calls
        n_calls += 1
        if n_calls == before_call:
            os._exit(KILLED)
        if across:
            refuse_other_drive(name, arguments)

    if act == "trash":
        groups = indexed_groups(library)
        hooked_calls(setattr, die_in_time)
        library.trash(*groups)
    else:
        hooked_calls(setattr, die_in_time)
        library.undo()
    os._exit(0)


if __name__ == "__main__":
    main()
