"""Very many very small photos, and `isophote index` on them in a process of its own.

As a script, it is that process: it prints one line of JSON.
"""

import json
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import click
from PIL import Image

from tests.processes import session_members

PHOTOS_PER_FOLDER = 1000

SAMPLE_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class IndexRun:
    """What a process did: wall seconds with its start and imports, and memory if that was asked.

    `memory` has pairs of files done (share, in [0, 1]) and MB of the process and its children.
    """

    summary: dict[str, Any]
    n_encoded: int
    seconds: float
    memory: list[tuple[float, float]] = field(default_factory=list)


def make_tiny_photos(folder: Path, *, count: int, first: int = 0) -> None:
    """Write JPEGs of 16 x 16 pixels that differ in a comment, a thousand to a folder."""
    buffer = BytesIO()
    Image.linear_gradient("L").resize((16, 16)).convert("RGB").save(buffer, "JPEG")
    start, rest = buffer.getvalue()[:2], buffer.getvalue()[2:]
    for number in range(first, first + count):
        place = folder / f"{number // PHOTOS_PER_FOLDER:05}"
        if number == first or number % PHOTOS_PER_FOLDER == 0:
            place.mkdir(parents=True, exist_ok=True)
        comment = b"\xff\xfe\x00\x0a" + number.to_bytes(8)
        (place / f"IMG_{number:07}.jpg").write_bytes(start + comment + rest)


def index_in_process(
    folder: Path, collection: Path, *, model: str = "stub", with_memory: bool = False
) -> IndexRun:
    """Index a folder in another process, by the stub encoder of the tests or by a real model."""
    command = [sys.executable, "-m", "tests.benchmarks.tiny_photos", folder, collection, model]
    if with_memory:
        command.append("--with-memory")
    started = time.perf_counter()
    ended = subprocess.run(
        [*map(str, command)], check=True, stdout=subprocess.PIPE, start_new_session=True
    )
    seconds = time.perf_counter() - started
    return IndexRun(seconds=seconds, **json.loads(ended.stdout))


class MemorySampler(threading.Thread):
    """Notes what this process and its children hold, shared pages counted once.

    `share_done` is set from outside.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.share_done = 0.0
        self.samples: list[tuple[float, float]] = []
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            self.samples.append((self.share_done, _session_megabytes()))

    def end(self) -> None:
        self._ended.set()
        self.join()


def _session_megabytes() -> float:
    """Return the memory of this process and all that it started; Linux only."""
    return sum(map(_proportional_bytes, session_members(os.getsid(0)))) / 1e6


def _proportional_bytes(process: int) -> int:
    """Return the PSS of a process, 0 if it has ended."""
    with suppress(OSError):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return 1024 * int(line.split()[1])
    return 0


def _index(folder: str, collection: str, model: str, sampler: MemorySampler) -> dict[str, Any]:
    import service.collection
    from indexer.ingest import IngestProgress
    from indexer.settings import Settings
    from service.indexing import index_photos
    from tests.fakes import FakeEncoder

    encoder = FakeEncoder()
    if model == "stub":
        service.collection.open_encoder = lambda *_, **__: encoder  # type: ignore[attr-defined]

    def note(progress: IngestProgress) -> None:
        sampler.share_done = progress.n_done / max(progress.n_total, 1)

    summary = index_photos([Path(folder)], settings=Settings(collection=collection), report=note)
    return {"summary": summary.model_dump(mode="json"), "n_encoded": encoder.n_encoded}


@click.command()
@click.argument("folder")
@click.argument("collection")
@click.argument("model")
@click.option("--with-memory", is_flag=True)
def main(folder: str, collection: str, model: str, with_memory: bool) -> None:
    """Index one folder."""
    sampler = MemorySampler()
    if with_memory:
        sampler.start()
    done = _index(folder, collection, model, sampler)
    if with_memory:
        sampler.end()
    click.echo(json.dumps({**done, "memory": sampler.samples}))


if __name__ == "__main__":
    main()
