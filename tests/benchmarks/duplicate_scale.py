"""How long does the search for duplicates take at scale, in what memory, and what does it miss?

Made-up vectors in clusters, as those of `tests.benchmarks.search`, some of them replaced by noisy
copies of others. The noise lies in the subspace of the clusters: in all directions alike it would
hardly lead from one cell to the next. The join and the grouping run in a process of their own
each, whose peak memory is what the operating system says (ru_maxrss), the vectors included. CPU
seconds are those of all threads, BLAS threads that wait for each other included.

Where pairs are only looked for in cells, recall is told three times: as the search itself measures
it, of the planted pairs, and of all pairs within a sample of rows, compared by brute force.

    python -m tests.benchmarks.duplicate_scale --rows 1000000
"""

import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import click
import numpy as np

from indexer.arrays import FloatArray, IntArray
from indexer.scoring.keeper_groups import keeper_groups
from indexer.scoring.similarity import normalised
from indexer.scoring.similarity_join import JoinPlan, Pairs, SearchRecall, joined_pairs
from tests.benchmarks.machine import describe_machine

# The mixture of tests.benchmarks.search. That one is drawn as a whole in float32, which takes ten
# times the memory of a million vectors in half precision.
INTRINSIC_DIMENSION = 64
ROWS_PER_CLUSTER = 200
ROWS_AT_A_TIME = 20_000

HIGHEST_COSINE = 0.999

# Seconds and MB of the join, by rows; those of the grouping hold for all.
TARGETS = {100_000: (150, 1500), 1_000_000: (2400, 4000)}
GROUPING_TARGET = (60, 2000)

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Sizes:
    """What is made up, and from which cosine on two rows are a pair."""

    rows: int
    dim: int
    spread: float
    duplicates: float
    threshold: float
    seed: int


@dataclass(frozen=True)
class Spent:
    """What a task took: by the clock, on all cores, and at its peak."""

    seconds: float
    cpu_seconds: float
    megabytes: float

    def __str__(self) -> str:
        return (
            f"{self.seconds:.1f} s, {self.cpu_seconds:.1f} s of CPU, {self.megabytes:,.0f} MB peak"
        )


def in_process(
    task: Callable[Arguments, Answer], *arguments: Arguments.args, **options: Arguments.kwargs
) -> Answer:
    """Return what a task answers in a new process. This one stays small: peaks are inherited."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(task, arguments, options)


def blocks(n_rows: int) -> Iterator[slice]:
    """Yield the rows in parts."""
    for start in range(0, n_rows, ROWS_AT_A_TIME):
        yield slice(start, min(start + ROWS_AT_A_TIME, n_rows))


def draw_vectors(sizes: Sizes, folder: Path) -> None:
    """Write vectors.npy, float16, and planted.npy, original and copy of each planted pair."""
    generator = np.random.default_rng(sizes.seed)
    vectors = np.lib.format.open_memmap(
        folder / "vectors.npy", "w+", np.float16, (sizes.rows, sizes.dim)
    )
    n_clusters = max(16, sizes.rows // ROWS_PER_CLUSTER)
    subspace = generator.standard_normal((INTRINSIC_DIMENSION, sizes.dim), np.float32)
    centres = generator.standard_normal((n_clusters, INTRINSIC_DIMENSION), np.float32)
    for span in blocks(sizes.rows):
        chosen = centres[generator.integers(n_clusters, size=span.stop - span.start)]
        offsets = generator.standard_normal(chosen.shape, np.float32)
        members = (chosen + np.float32(sizes.spread) * offsets) @ subspace
        noise = generator.standard_normal(members.shape, np.float32)
        vectors[span] = normalised(members + np.float32(0.2) * noise)
    n_planted = round(sizes.duplicates * sizes.rows)
    planted = generator.permutation(sizes.rows)[: 2 * n_planted].reshape(n_planted, 2)
    for span in blocks(n_planted):
        originals = vectors[planted[span, 0]].astype(np.float32)
        offsets = generator.standard_normal((len(originals), INTRINSIC_DIMENSION), np.float32)
        vectors[planted[span, 1]] = turned(originals, offsets @ subspace, sizes, generator)
    np.save(folder / "planted.npy", planted)


def turned(
    originals: FloatArray, directions: FloatArray, sizes: Sizes, generator: np.random.Generator
) -> FloatArray:
    """Return the vectors turned in such directions, by an angle from almost none to the widest."""
    cosines = generator.uniform(sizes.threshold, HIGHEST_COSINE, (len(originals), 1))
    along = (directions * originals).sum(axis=1, keepdims=True)
    sideways = normalised(directions - along * originals)
    return (cosines * originals + np.sqrt(1 - cosines**2) * sideways).astype(np.float32)


def join(sizes: Sizes, folder: Path, plan: JoinPlan) -> tuple[Spent, SearchRecall]:
    """Search for pairs, and write them to pairs.npz."""
    vectors = np.load(folder / "vectors.npy")
    started, cpu_started = time.perf_counter(), time.process_time()
    joined = joined_pairs(vectors, threshold=sizes.threshold, plan=plan)
    spent = _spent_since(started, cpu_started)
    pairs = joined.pairs
    np.savez(
        folder / "pairs.npz",
        first=pairs.first,
        second=pairs.second,
        similarities=pairs.similarities,
    )
    return spent, joined.recall


def group(folder: Path, n_rows: int) -> tuple[Spent, int, int]:
    """Group the pairs; return what it took, and the number of groups and of all in them."""
    with np.load(folder / "pairs.npz") as written:
        pairs = Pairs(written["first"], written["second"], written["similarities"])
    started, cpu_started = time.perf_counter(), time.process_time()
    keeper_of = keeper_groups(pairs, n_rows)
    spent = _spent_since(started, cpu_started)
    keepers = keeper_of[keeper_of != np.arange(n_rows)]
    n_groups = len(np.unique(keepers))
    return spent, n_groups, n_groups + len(keepers)


def planted_recall(sizes: Sizes, folder: Path) -> tuple[int, int]:
    """Return how many planted pairs were found, of how many that reach the threshold."""
    vectors = np.load(folder / "vectors.npy", mmap_mode="r")
    planted = np.sort(np.load(folder / "planted.npy"), axis=1)
    cosines = np.empty(len(planted))
    for span in blocks(len(planted)):
        originals, copies = (vectors[rows].astype(np.float64) for rows in planted[span].T)
        lengths = np.linalg.norm(originals, axis=1) * np.linalg.norm(copies, axis=1)
        cosines[span] = (originals * copies).sum(axis=1) / lengths
    return _n_found(folder, planted[cosines >= sizes.threshold])


def sampled_recall(sizes: Sizes, folder: Path, n_sampled: int) -> tuple[int, int]:
    """Return how many pairs within a sample of rows were found, of how many there are."""
    generator = np.random.default_rng(sizes.seed + 1)
    rows = np.sort(generator.choice(sizes.rows, n_sampled, replace=False))
    vectors = np.load(folder / "vectors.npy", mmap_mode="r")[rows]
    plan = JoinPlan(exact_limit=n_sampled)
    exact = joined_pairs(vectors, threshold=sizes.threshold, plan=plan).pairs
    return _n_found(folder, np.stack([rows[exact.first], rows[exact.second]], axis=1))


def _n_found(folder: Path, true: IntArray) -> tuple[int, int]:
    with np.load(folder / "pairs.npz") as written:
        found = written["second"].astype(np.int64) << 32 | written["first"]
    return int(np.isin(true[:, 1] << 32 | true[:, 0], found).sum()), len(true)


def _spent_since(started: float, cpu_started: float) -> Spent:
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Bytes on macOS, kibibytes elsewhere.
    megabytes = peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
    return Spent(seconds, cpu_seconds, megabytes)


def _verdict(spent: Spent, target: tuple[int, int] | None) -> str:
    if target is None:
        return ""
    is_met = spent.seconds < target[0] and spent.megabytes < target[1]
    return f"; target {target[0]} s and {target[1]:,} MB {'met' if is_met else 'missed'}"


def _share(name: str, n_found: int, n_true: int) -> str:
    share = f"{n_found / n_true:.4f}" if n_true else "-"
    return f"recall of {name}: {share} ({n_found:,} of {n_true:,})"


def report(sizes: Sizes, folder: Path, plan: JoinPlan, n_sampled: int) -> None:
    """Print what the join and the grouping take, and what was found."""
    in_process(draw_vectors, sizes, folder)
    spent, recall = in_process(join, sizes, folder, plan)
    click.echo(f"join: {spent}{_verdict(spent, TARGETS.get(sizes.rows))}")
    with np.load(folder / "pairs.npz") as written:
        click.echo(f"{len(written['first']):,} pairs")
    click.echo(f"recall as measured by the search: {recall.share:.4f} ({recall.n_pairs:,} pairs)")
    click.echo(_share("planted pairs", *in_process(planted_recall, sizes, folder)))
    if sizes.rows > plan.exact_limit:
        counts = in_process(sampled_recall, sizes, folder, min(n_sampled, sizes.rows))
        click.echo(_share(f"pairs within {n_sampled:,} rows", *counts))
    spent, n_groups, n_grouped = in_process(group, folder, sizes.rows)
    click.echo(f"grouping: {spent}{_verdict(spent, GROUPING_TARGET)}")
    click.echo(f"{n_groups:,} groups of {n_grouped:,} rows")


@click.command()
@click.option("--rows", default=100_000, show_default=True)
@click.option("--dim", default=512, show_default=True, help="Length of a vector.")
@click.option("--spread", default=0.8, show_default=True, help="Width of a cluster; 1.2 is hard.")
@click.option("--duplicates", default=0.05, show_default=True, help="Share of rows: copies.")
@click.option("--threshold", default=0.9, show_default=True, help="Least cosine of a pair.")
@click.option("--exact-limit", default=JoinPlan().exact_limit, show_default=True)
@click.option("--exact-sample", default=100_000, show_default=True, help="Rows, by brute force.")
@click.option("--seed", default=0, show_default=True)
def main(exact_limit: int, exact_sample: int, **options: Any) -> None:
    """Print seconds, peak memory, pairs and recall of a join and the grouping of its pairs."""
    sizes = Sizes(**options)
    click.echo(describe_machine(("numpy",)))
    click.echo(
        f"{sizes.rows:,} x {sizes.dim}, spread {sizes.spread}, {sizes.duplicates:.0%} noisy copies "
        f"of cosine {sizes.threshold} to {HIGHEST_COSINE}, threshold {sizes.threshold}, "
        f"seed {sizes.seed}"
    )
    plan = JoinPlan(exact_limit=exact_limit, seed=sizes.seed)
    with tempfile.TemporaryDirectory() as folder:
        report(sizes, Path(folder), plan, exact_sample)


if __name__ == "__main__":
    main()
