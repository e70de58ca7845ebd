"""Compare our search with numpy and LanceDB: latency, recall, and both under a filter.

    python -m tests.benchmarks.search --rows 100000 --dim 512 --seed 0

Every method runs once per round, in a new order each, and the table gives medians: another
process slows all methods alike. Read the ratios, not the milliseconds.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa

from indexer.ann import AnnIndex, build_ann_index
from indexer.arrays import FloatArray, IntArray
from indexer.scoring.metrics import recall_at_k
from indexer.scoring.similarity import exact_search, normalised
from tests.benchmarks.machine import describe_machine

TOP_K = 10
BATCH = 400
INTRINSIC_DIMENSION = 64
ROWS_PER_CLUSTER = 200
SELECTIVITIES = (0.5, 0.1, 0.01, 0.001)
# LanceDB answers one query at a time and slowly: its part of a batch is measured on these.
LANCE_QUERIES = 40

Search = Callable[[FloatArray, IntArray | None], IntArray]


@dataclass(frozen=True, slots=True)
class Method:
    """One way to search: `search(queries, allowed_rows)` returns rows (m, TOP_K), -1 for none."""

    name: str
    search: Search
    takes_batches: bool = True


def clustered_vectors(n_rows: int, dimension: int, *, spread: float, seed: int) -> FloatArray:
    """Draw unit vectors in clusters within a 64-d subspace, plus a little noise.

    Uniform vectors have no near neighbours, so that recall on them says nothing. Rounded to
    float16, in which a collection keeps them.
    """
    generator = np.random.default_rng(seed)
    n_clusters = max(16, n_rows // ROWS_PER_CLUSTER)
    subspace = generator.standard_normal((INTRINSIC_DIMENSION, dimension), dtype=np.float32)
    centres = generator.standard_normal((n_clusters, INTRINSIC_DIMENSION), dtype=np.float32)
    offsets = generator.standard_normal((n_rows, INTRINSIC_DIMENSION), dtype=np.float32)
    members = centres[generator.integers(n_clusters, size=n_rows)] + np.float32(spread) * offsets
    noise = generator.standard_normal((n_rows, dimension), dtype=np.float32)
    vectors = members @ subspace + np.float32(0.2) * noise
    return normalised(vectors).astype(np.float16).astype(np.float32)


def numpy_method(gallery: FloatArray) -> Method:
    """One matrix product and a partition: what a user would write."""

    def search(queries: FloatArray, rows: IntArray | None) -> IntArray:
        chosen = gallery if rows is None else gallery[rows]
        similarities = queries @ chosen.T
        k = min(TOP_K, len(chosen))
        columns = np.argpartition(similarities, -k, axis=1)[:, -k:]
        order = np.argsort(-np.take_along_axis(similarities, columns, axis=1), axis=1)
        best = np.take_along_axis(columns, order, axis=1)
        return best if rows is None else rows[best]

    return Method("numpy", search)


def ann_method(name: str, ann_index: AnnIndex) -> Method:
    """Our index."""

    def search(queries: FloatArray, rows: IntArray | None) -> IntArray:
        return ann_index.search(queries, top_k=TOP_K, rows=rows)[1]

    return Method(name, search)


def lance_method(name: str, table: Any, *, is_indexed: bool) -> Method:
    """LanceDB, with its filter on the same rows: they carry a random `rank` for that."""

    def search_one(query: FloatArray, rows: IntArray | None) -> IntArray:
        request = table.search(query, vector_column_name="vector").distance_type("cosine")
        if is_indexed:
            request = request.nprobes(20).refine_factor(5)
        else:
            request = request.bypass_vector_index()
        if rows is not None:
            request = request.where(f"rank < {len(rows)}", prefilter=True)
        found = request.select(["row", "_distance"]).limit(TOP_K).to_arrow()["row"].to_numpy()
        return np.pad(found, (0, TOP_K - len(found)), constant_values=-1)

    def search(queries: FloatArray, rows: IntArray | None) -> IntArray:
        return np.stack([search_one(query, rows) for query in queries])

    return Method(name, search, takes_batches=False)


def lance_table(folder: Path, gallery: FloatArray, ranks: IntArray) -> Any:
    """Write the gallery as float16, indexed by IVF_RQ and by rank."""
    import lancedb
    from lancedb.index import BTree, IvfRq

    values = pa.array(gallery.astype(np.float16).ravel())
    columns = {
        "row": pa.array(np.arange(len(gallery))),
        "rank": pa.array(ranks),
        "vector": pa.FixedSizeListArray.from_arrays(values, gallery.shape[1]),
    }
    table = lancedb.connect(str(folder)).create_table("images", pa.table(columns))
    table.create_index("vector", config=IvfRq(distance_type="cosine"))
    table.create_index("rank", config=BTree())
    return table


def median_milliseconds(
    methods: list[Method], queries: FloatArray, rows: IntArray | None, *, repeats: int
) -> dict[str, float]:
    """Median time of one call of each method over rounds in which all take their turn."""
    seconds: dict[str, list[float]] = {method.name: [] for method in methods}
    generator = np.random.default_rng(0)
    for turn in range(repeats + 1):
        for method in (methods[place] for place in generator.permutation(len(methods))):
            start = time.perf_counter()
            method.search(queries, rows)
            if turn > 0:  # the first round warms caches
                seconds[method.name].append(time.perf_counter() - start)
    return {name: 1000 * float(np.median(times)) for name, times in seconds.items()}


def report_plain(
    methods: list[Method], gallery: FloatArray, queries: FloatArray, *, repeats: int
) -> None:
    """Print latency and recall without a filter, then the two requirements."""
    single = median_milliseconds(methods, queries[:1], None, repeats=repeats)
    batched = [method for method in methods if method.takes_batches]
    batch = median_milliseconds(batched, queries, None, repeats=max(3, repeats // 3))
    truth = exact_search(queries, gallery, top_k=TOP_K)[1]
    click.echo(f"\n{'method':<16}{'single ms':>11}{'batch ms/query':>16}{'recall@10':>11}")
    for method in methods:
        n_queries = BATCH if method.takes_batches else LANCE_QUERIES
        found = method.search(queries[:n_queries], None)
        recall = recall_at_k(found, truth[:n_queries], k=TOP_K)
        per_query = f"{batch[method.name] / BATCH:.2f}" if method.takes_batches else "-"
        click.echo(f"{method.name:<16}{single[method.name]:>11.2f}{per_query:>16}{recall:>11.4f}")
    for name in ("ours, exact", "ours, ivf"):
        click.echo(
            f"{name}: {single['LanceDB flat'] / single[name]:.1f} x LanceDB flat (wanted 8), "
            f"{single['numpy'] / single[name]:.2f} x numpy for one query, "
            f"{batch['numpy'] / batch[name]:.2f} x for {BATCH} (wanted 1)"
        )


def report_filtered(
    methods: list[Method],
    gallery: FloatArray,
    queries: FloatArray,
    ranks: IntArray,
    *,
    repeats: int,
) -> None:
    """Print latency, recall and completeness of filtered search at each selectivity."""
    header = f"{'selected':<10}{'method':<16}{'single ms':>11}{'batch ms/query':>16}"
    click.echo(f"\n{header}{'recall@10':>11}{'all k':>7}")
    for selectivity in SELECTIVITIES:
        rows = np.flatnonzero(ranks < round(selectivity * len(gallery)))
        k = min(TOP_K, len(rows))
        single = median_milliseconds(methods, queries[:1], rows, repeats=repeats)
        batched = [method for method in methods if method.takes_batches]
        batch = median_milliseconds(batched, queries[:LANCE_QUERIES], rows, repeats=3)
        truth = exact_search(queries[:LANCE_QUERIES], gallery, top_k=k, rows=rows)[1]
        for method in methods:
            found = method.search(queries[:LANCE_QUERIES], rows)
            recall = recall_at_k(found, truth, k=k)
            has_all = "yes" if (found[:, :k] >= 0).all() else "NO"
            slow = f"{batch[method.name] / LANCE_QUERIES:.2f}" if method.takes_batches else "-"
            click.echo(
                f"{selectivity:<10.1%}{method.name:<16}{single[method.name]:>11.2f}"
                f"{slow:>16}{recall:>11.4f}{has_all:>7}"
            )


@click.command()
@click.option("--rows", default=100_000, show_default=True, help="Vectors in the gallery.")
@click.option("--dim", default=512, show_default=True, help="Length of a vector.")
@click.option("--spread", default=0.8, show_default=True, help="Width of a cluster; 1.2 is hard.")
@click.option("--repeats", default=15, show_default=True, help="Rounds of single queries.")
@click.option("--seed", default=0, show_default=True)
def main(rows: int, dim: int, spread: float, repeats: int, seed: int) -> None:
    """Print latency and recall of every method, with and without a filter."""
    click.echo(describe_machine())
    click.echo(f"{rows} x {dim}, spread {spread}, top {TOP_K}, {repeats} rounds, seed {seed}")
    vectors = clustered_vectors(rows + BATCH, dim, spread=spread, seed=seed)
    gallery, queries = vectors[:rows], vectors[rows:]
    ranks = np.random.default_rng(seed).permutation(rows)
    with tempfile.TemporaryDirectory() as folder:
        table = lance_table(Path(folder), gallery, ranks)
        start = time.perf_counter()
        ivf_index = build_ann_index(gallery, seed=seed, exact_limit=0)
        click.echo(f"our ivf index: built in {time.perf_counter() - start:.1f} s")
        methods = [
            numpy_method(gallery),
            ann_method("ours, exact", build_ann_index(gallery, exact_limit=rows)),
            ann_method("ours, ivf", ivf_index),
            lance_method("LanceDB flat", table, is_indexed=False),
            lance_method("LanceDB IVF_RQ", table, is_indexed=True),
        ]
        report_plain(methods, gallery, queries, repeats=repeats)
        report_filtered(methods, gallery, queries, ranks, repeats=repeats)


if __name__ == "__main__":
    main()
