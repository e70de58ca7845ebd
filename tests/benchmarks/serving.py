"""How fast does the service answer, how much memory does it take, and does it last?

A library of as many photos as asked for, made of the given ones (hard links, vectors moved a
little), is served by `isophote serve` in a process of its own; clients in another one ask for
pages, searches and thumbnails, each its next request as soon as it has an answer. Beside each
search: what the same search takes within a process, one at a time on one core.

    python -m tests.benchmarks.serving --photos ~/Pictures
    python -m tests.benchmarks.serving --photos ~/Pictures --minutes 30

With --minutes an ingest adds photos all the while, and the memory is told every minute.
"""

import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import click
import numpy as np
from threadpoolctl import threadpool_limits

from indexer.arrays import FloatArray
from indexer.gallery import stored_vector
from indexer.scoring.metrics import recall_at_k
from indexer.scoring.similarity import exact_search
from indexer.settings import Settings
from indexer.spaces import SpaceMap
from indexer.store import open_store
from service.indexing import index_photos
from service.photos import found_page
from service.search import Query, StoredPhoto, Words, find
from service.vectors import space_vectors
from service.web.live import LiveCollection
from tests.benchmarks.http_clients import Measured, Plan, ask
from tests.benchmarks.machine import describe_machine
from tests.benchmarks.tiny_photos import make_tiny_photos
from tests.makers.large_library import multiplied_library
from tests.service.web.browser import CHROMIUM, running_browser

TARGET_P50_MS, TARGET_P99_MS = 15.0, 60.0
TARGET_FIRST_PAGE_SECONDS = 1.0
TARGET_MEGABYTES = 1500.0
# From the second quarter of a long run to the last.
TARGET_GROWTH = 1.1

API = "/api/v1"
HITS = 50
N_IN_PROCESS = 200
PHOTOS_PER_INGEST = 500
SECONDS_PER_KIND = 10.0
MIXED_SECONDS = 5.0

SUBJECTS = ("dog", "child", "beach", "car", "boat", "mountain", "horse", "street", "tree", "crowd")
DOINGS = ("running", "sitting", "jumping", "standing", "playing", "eating", "sleeping", "waiting")
PLACES = ("water", "grass", "field", "city", "sun", "rain", "park", "house", "road", "table")


@dataclass(frozen=True, slots=True)
class Kind:
    """Requests of one kind; `queries` and `where` are what they search for, if they do."""

    name: str
    paths: list[str]
    queries: Sequence[Query] = ()
    where: str | None = None


class Server:
    """`isophote serve` on a free port, and what it and its processes take."""

    def __init__(self, collection: Path, cache: Path) -> None:
        self._process = subprocess.Popen(
            [*_isophote(), "serve", "--port", "0", "-c", str(collection)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "XDG_CACHE_HOME": str(cache)},
        )
        told = self._process.stdout.readline() if self._process.stdout else ""
        found = re.search(r":(\d+) \(", told)
        if found is None:
            raise RuntimeError(f"the server told {told!r}")
        self.port = int(found[1])

    def ask(self, paths: list[str], *, n_clients: int, seconds: float, seed: int = 0) -> Measured:
        """Have clients ask for paths."""
        return ask(Plan(self.port, paths, n_clients, seconds, seed))

    def megabytes(self) -> tuple[float, float]:
        """Return the memory of the server, and with the processes it decodes in, in MB (PSS)."""
        own = _megabytes(self._process.pid)
        return own, own + sum(map(_megabytes, _descendants(self._process.pid)))

    def close(self) -> None:
        """Stop it as Ctrl-C does."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait(30)
        if self._process.stdout:
            self._process.stdout.close()


@contextmanager
def running_server(collection: Path, cache: Path) -> Iterator[Server]:
    """Give a server that has answered its first searches."""
    server = Server(collection, cache)
    try:
        for path in (f"{API}/images/0/similar", f"{API}/search?q=a+dog"):
            server.ask([path], n_clients=1, seconds=0.1)
        yield server
    finally:
        server.close()


def kinds_of_requests(n_images: int, generator: np.random.Generator) -> list[Kind]:
    """Return what clients ask for."""
    image_ids = generator.integers(0, n_images, 5000).tolist()
    known, others = _descriptions(200, generator), _descriptions(20_000, generator, numbered=True)
    where = "quality > 0.4"
    return [
        Kind(
            "photos like one of the collection",
            [f"{API}/images/{image_id}/similar?limit={HITS}" for image_id in image_ids],
            [Query(StoredPhoto(image_id)) for image_id in image_ids],
        ),
        Kind(
            "words that were asked before",
            [_search_path(q=text) for text in known],
            [Query(Words(text)) for text in known],
        ),
        Kind(
            "words never asked before",
            [_search_path(q=text) for text in others],
            [Query(Words(text)) for text in others],
        ),
        Kind(
            f"words where {where}",
            [_search_path(q=text, where=where) for text in known],
            [Query(Words(text)) for text in known],
            where,
        ),
        Kind(
            "a page of 100 of the grid",
            [f"{API}/images?offset={image_id}&limit=100" for image_id in image_ids],
        ),
        Kind(
            "a thumbnail that is kept",
            [f"{API}/images/{image_id}/thumbnail?v=1" for image_id in image_ids[:500]],
        ),
    ]


def in_process_ms(live: LiveCollection, kind: Kind) -> float:
    """Return the median milliseconds of a search and its answer, within a process."""
    latencies = []
    for query in kind.queries[:N_IN_PROCESS]:
        started = time.perf_counter()
        found = find(live.collection, [query], top_k=HITS, where=kind.where)
        found_page(live.collection, found, offset=0).model_dump_json()
        latencies.append(1000 * (time.perf_counter() - started))
    return statistics.median(latencies)


def report_kinds(server: Server, live: LiveCollection, kinds: list[Kind], n_clients: int) -> None:
    """Print one line for each kind of request."""
    click.echo(
        f"{f'{n_clients} clients':<36}{'p50 ms':>8}{'p95':>8}{'p99':>8}{'per s':>8}{'errors':>8}"
        f"{'in process':>12}"
    )
    for kind in kinds:
        alone = f"{in_process_ms(live, kind):.1f}" if kind.queries else "-"
        if kind.where is None:
            server.ask(kind.paths[:500], n_clients=2, seconds=2)
        measured = server.ask(kind.paths, n_clients=n_clients, seconds=SECONDS_PER_KIND)
        is_met = measured.p50 < TARGET_P50_MS and measured.p99 < TARGET_P99_MS
        columns = f"{measured.p50:>8.1f}{measured.p95:>8.1f}{measured.p99:>8.1f}"
        click.echo(
            f"{kind.name:<36}{columns}{measured.per_second:>8.0f}{measured.n_errors:>8}"
            f"{alone:>12}  {'met' if is_met else 'missed'}"
        )


def report_recall(live: LiveCollection, kinds: list[Kind]) -> None:
    """Print how many of the nearest photos a search finds that does not compare them all."""
    for kind in kinds:
        found = [
            find(live.collection, [query], top_k=HITS, include_self=True)
            for query in kind.queries[:N_IN_PROCESS]
        ]
        space_map = live.collection.gallery(found[0].space).space_map
        image_ids, vectors = space_vectors(live.collection, space_map)
        queries = np.stack(
            [_query_vector(live, query, space_map) for query in kind.queries[: len(found)]]
        )
        nearest = image_ids[exact_search(queries, vectors, top_k=HITS)[1]]
        recall = recall_at_k(np.stack([one.image_ids for one in found]), nearest, k=HITS)
        click.echo(
            f"recall@{HITS} of {len(found)} searches, {kind.name}: {recall:.3f} "
            f"({vectors.shape[1]} dimensions)"
        )


def _query_vector(live: LiveCollection, query: Query, space_map: SpaceMap) -> FloatArray:
    if isinstance(query.content, StoredPhoto):
        stored = stored_vector(live.collection.store, space_map, query.content.image_id)
        if stored is None:
            raise ValueError(f"there is no photo {query.content.image_id}")
        return stored
    if isinstance(query.content, Words):
        return space_map.text_vectors(live.collection.text_embedding(query.content.text))[0]
    raise TypeError(f"no vector for {query.content}")


def report_memory(server: Server) -> None:
    """Print what the server takes."""
    own, everything = server.megabytes()
    verdict = "met" if own < TARGET_MEGABYTES else "missed"
    click.echo(
        f"memory {own:,.0f} MB, with the processes that decode {everything:,.0f} MB  "
        f"(under {TARGET_MEGABYTES:,.0f} MB {verdict})"
    )


def report_first_page(server: Server) -> None:
    """Print when all photos in view are there, in a browser that has never been here."""
    if CHROMIUM is None:
        click.echo("first page: not measured, chromium is not installed")
        return
    with running_browser() as browser:
        for thumbnails in ("made", "kept"):
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            started = time.perf_counter()
            page.goto(f"http://127.0.0.1:{server.port}/")
            page.wait_for_function(_ALL_IN_VIEW)
            seconds = time.perf_counter() - started
            verdict = "met" if seconds < TARGET_FIRST_PAGE_SECONDS else "missed"
            click.echo(
                f"first page, its thumbnails {thumbnails}: {seconds:.2f} s to the last photo in "
                f"view (under {TARGET_FIRST_PAGE_SECONDS:g} s {verdict})"
            )
            page.close()


# Every tile that can be seen shows its photo; before there are tiles there is nothing to see.
_ALL_IN_VIEW = """() => {
  const isSeen = (image) => {
    const { top, bottom, width } = image.getBoundingClientRect();
    return width > 50 && bottom > 0 && top < innerHeight;
  };
  const seen = [...document.querySelectorAll(".grid img")].filter(isSeen);
  return seen.length > 10 && seen.every((image) => image.complete && image.naturalWidth > 0);
}"""


def report_mixed(
    server: Server, collection: Path, kinds: list[Kind], *, minutes: int, n_clients: int
) -> None:
    """Ask for everything while photos are indexed; print errors and memory every minute."""
    paths = [path for kind in kinds for path in kind.paths[:500]]
    megabytes, n_errors, n_requests = [], 0, 0
    with added_photos(collection) as added:
        for minute in range(1, minutes + 1):
            ends, slowest = time.monotonic() + 60, 0.0
            while time.monotonic() < ends:
                measured = server.ask(
                    paths, n_clients=n_clients, seconds=MIXED_SECONDS, seed=n_requests
                )
                n_errors += measured.n_errors
                n_requests += measured.n_requests
                slowest = max(slowest, measured.p99)
            megabytes.append(server.megabytes()[0])
            click.echo(
                f"minute {minute:>2}: {n_requests:>9,} requests, {n_errors} errors, worst p99 "
                f"{slowest:.0f} ms, {megabytes[-1]:,.0f} MB, {added.n_images:,} photos added"
            )
    quarter = max(1, len(megabytes) // 4)
    growth = max(megabytes[-quarter:]) / max(megabytes[quarter : 2 * quarter] or megabytes)
    verdict = "met" if n_errors == 0 and growth < TARGET_GROWTH else "missed"
    click.echo(f"no error and no growth ({growth:.2f}, over the second quarter): {verdict}")


class AddedPhotos:
    """Runs `isophote index` again and again on a folder that grows."""

    def __init__(self, collection: Path, folder: Path) -> None:
        self.n_images = 0
        self._collection, self._folder = collection, folder
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End after the run that is under way."""
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._is_over.is_set():
            make_tiny_photos(self._folder, count=PHOTOS_PER_INGEST, first=self.n_images)
            command = [*_isophote(), "index", str(self._folder), "-c", str(self._collection)]
            subprocess.run(command, check=True, capture_output=True)
            self.n_images += PHOTOS_PER_INGEST


@contextmanager
def added_photos(collection: Path) -> Iterator[AddedPhotos]:
    """Add photos to a collection while the block runs."""
    with tempfile.TemporaryDirectory() as folder:
        added = AddedPhotos(collection, Path(folder))
        added.start()
        try:
            yield added
        finally:
            added.close()


def _isophote() -> list[str]:
    return [sys.executable, "-c", "from service.cli import main; main()"]


def _search_path(**parameters: str) -> str:
    return f"{API}/search?{urlencode({**parameters, 'limit': HITS})}"


def _descriptions(
    count: int, generator: np.random.Generator, *, numbered: bool = False
) -> list[str]:
    words = [generator.choice(choices, count) for choices in (SUBJECTS, DOINGS, PLACES)]
    texts = [
        f"a {subject} {doing} near the {place}"
        for subject, doing, place in zip(*words, strict=True)
    ]
    return [f"{text} {number}" for number, text in enumerate(texts)] if numbered else texts


def _megabytes(pid: int) -> float:
    try:
        told = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return 0.0  # it has ended
    kilobytes = re.search(r"^Pss: +(\d+) kB", told, re.MULTILINE)
    return int(kilobytes[1]) / 1000 if kilobytes else 0.0


def _descendants(pid: int) -> list[int]:
    try:
        told = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    except OSError:
        return []
    children = [int(child) for child in told.split()]
    return [*children, *(below for child in children for below in _descendants(child))]


@click.command()
@click.option("--photos", type=click.Path(exists=True, path_type=Path), default=Path("data/photos"))
@click.option("--images", default=100_000, show_default=True)
@click.option("--clients", default=8, show_default=True)
@click.option("--minutes", default=0, show_default=True, help="Of mixed load with an ingest.")
@click.option("--seed", default=0, show_default=True)
def main(photos: Path, images: int, clients: int, minutes: int, seed: int) -> None:
    """Serve a large library and ask it."""
    click.echo(describe_machine(("lancedb", "numpy", "faiss-cpu", "fastapi", "uvicorn")))
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        originals = shutil.copytree(photos, place / "originals")
        settings = Settings(collection=str(place / "source"))
        index_photos([originals], settings=settings, report=lambda _: None)
        source = open_store(settings.collection)
        store = multiplied_library(source, place=place, n_images=images, seed=seed)
        click.echo(
            f"{images:,} photos made of {source.count_images():,}, model {store.info.model.id}, "
            f"{store.info.model.feature_dim} features, seed {seed}"
        )
        collection = Path(store.uri)
        kinds = kinds_of_requests(images, np.random.default_rng(seed))
        with running_server(collection, place / "cache") as server:
            with threadpool_limits(limits=1):
                live = LiveCollection(
                    settings.model_copy(
                        update={"collection": str(collection), "encoder_threads": 1}
                    )
                )
                report_first_page(server)
                report_kinds(server, live, kinds, clients)
                report_recall(live, kinds[:2])
            report_memory(server)
            if minutes:
                report_mixed(server, collection, kinds, minutes=minutes, n_clients=clients)


if __name__ == "__main__":
    main()
