"""Ingest runs in processes of their own, to be killed and measured.

    python -m tests.processes PHOTOS COLLECTION SETTINGS

Says "ready" when everything is imported, starts at the first line on its standard input, prints
"working" at each report of progress, and at last the summary. SETTINGS is JSON. The model is the
fake one.
"""

import json
import os
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[1]


class IngestProcess:
    """An ingest in a session of its own, so that all processes it starts are known by it.

    Leaving the context ends what is left of them.

    Parameters
    ----------
    photos, collection : Path
    settings
        As for `indexer.settings.Settings`.

    Attributes
    ----------
    messages : str
        What it wrote to stderr; known when it has ended.
    """

    def __init__(self, photos: Path, collection: Path, **settings: object) -> None:
        arguments = [str(photos), str(collection), json.dumps(settings)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.processes", *arguments],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,  # or `communicate` would miss what `readline` took in advance
            start_new_session=True,
        )
        self._last_line = b""
        self.messages = ""

    def __enter__(self) -> "IngestProcess":
        return self

    def __exit__(self, *_: object) -> None:
        for process in session_members(self.pid):
            os.kill(process, signal.SIGKILL)
        with self._process:
            pass

    @property
    def pid(self) -> int:
        """Number of the process, and of its session."""
        return self._process.pid

    def start(self) -> None:
        """Let the ingest begin, once everything is imported."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"
        self._process.stdin.write(b"go\n")

    def is_running(self) -> bool:
        """Return whether the ingest has not ended."""
        return self._process.poll() is None

    def wait_for_reports(self, count: int) -> bool:
        """Wait until progress was reported so often; False if the ingest ended before."""
        assert self._process.stdout is not None
        for _ in range(count):
            line = self._process.stdout.readline()
            if line != b"working\n":
                self._last_line = line
                return False
        return True

    def summary(self) -> dict[str, Any]:
        """Wait for the end and return the summary as JSON; the process must not have failed."""
        self._read_to_end()
        assert self._process.returncode == 0, self.messages
        summary: dict[str, Any] = json.loads(self._last_line)
        return summary

    def kill(self) -> bool:
        """Kill the ingest, and nothing that it started; return whether it had ended before."""
        self._process.send_signal(signal.SIGKILL)
        self._read_to_end()
        return self._last_line.startswith(b"{")

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the ingest and all it started, as a terminal does."""
        os.killpg(self.pid, number)

    def _read_to_end(self) -> None:
        printed, messages = self._process.communicate(timeout=60)
        self.messages = messages.decode()
        self._last_line = (printed.splitlines() or [self._last_line])[-1]

    def wait_for_session_end(self, *, seconds: float) -> list[int]:
        """Return the processes of the session that are still alive after so long."""
        deadline = time.monotonic() + seconds
        while (alive := session_members(self.pid)) and time.monotonic() < deadline:
            time.sleep(0.01)
        return alive

    def resident_bytes(self) -> int:
        """Return the memory that all processes of the session hold now."""
        return sum(map(_resident_bytes, session_members(self.pid)))


def session_members(session: int) -> list[int]:
    """Return the processes of a session that have not ended."""
    members = []
    for entry in Path("/proc").iterdir():
        fields = _stat_fields(entry) if entry.name.isdigit() else []
        if fields and fields[0] != "Z" and int(fields[3]) == session:
            members.append(int(entry.name))
    return members


def _stat_fields(entry: Path) -> list[str]:
    """Return the fields of /proc/PID/stat from the state on; none if the process has ended."""
    try:
        return (entry / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _resident_bytes(process: int) -> int:
    fields = _stat_fields(Path(f"/proc/{process}"))
    return int(fields[21]) * os.sysconf("SC_PAGE_SIZE") if fields else 0


def main() -> None:
    """Run one ingest with the fake model."""
    import service.collection
    from indexer.settings import Settings
    from service.indexing import index_photos
    from tests.fakes import FakeEncoder

    import_module("lancedb")  # so that "ready" means ready
    service.collection.open_encoder = lambda *_, **__: FakeEncoder()  # type: ignore[attr-defined]
    photos, collection, settings = sys.argv[1:]
    say("ready")
    sys.stdin.readline()
    summary = index_photos(
        [Path(photos)],
        settings=Settings(collection=collection, **json.loads(settings)),
        report=lambda _: say("working"),
    )
    say(summary.model_dump_json())


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
