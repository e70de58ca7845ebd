"""Which photo comes first for the text queries of the sample photos? All of them, misses too.

The pairs in `data/queries.csv` were fixed before any model was run on the photos.

    python -m tests.benchmarks.sample_queries
"""

import csv
import tempfile
from pathlib import Path

import click

from indexer.settings import Settings
from service.collection import open_collection
from service.indexing import index_photos
from service.search import Query, Words, search
from tests.benchmarks.machine import describe_machine


@click.command()
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True),
    default="data",
    show_default=True,
    help="Folder with photos/, labels.csv and queries.csv.",
)
@click.option("--top-k", default=5, show_default=True, help="Hits looked at.")
def main(data: Path, top_k: int) -> None:
    """Print the rank of the first right photo for every query."""
    click.echo(describe_machine(("onnxruntime", "pillow")))
    labels = {row["path"]: row["label"] for row in rows(data / "labels.csv")}
    queries = rows(data / "queries.csv")
    photos = (data / "photos").resolve()
    first = found = 0
    with tempfile.TemporaryDirectory() as place:
        settings = Settings(collection=f"{place}/collection")
        index_photos([photos], settings=settings, report=lambda _: None)
        collection = open_collection(settings)
        for query in queries:
            hits = search(
                collection,
                [Query(Words(query["text"]))],
                top_k=top_k,
                where="path not like 'planted/%'",
            ).hits
            ranked = [labels[str(Path(hit.path).relative_to(photos))] for hit in hits]
            rank = ranked.index(query["label"]) + 1 if query["label"] in ranked else None
            first += rank == 1
            found += rank is not None
            shown = f"rank {rank}" if rank else f"not in the first {top_k}"
            click.echo(f"{query['text']:45} {shown:20} first: {ranked[0]}")
    click.echo(f"{len(queries)} queries: {first} first, {found} in the first {top_k}")


def rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file by column name."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    main()
