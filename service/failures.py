"""List the files that could not be indexed, export them, and try them again."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
from pyarrow import compute

from indexer import ingest
from indexer.ingest import IngestProgress
from indexer.lock import writer_lock
from indexer.store import Store, local_directory
from indexer.writer import failure_record
from schemas.errors import Stage
from schemas.results import FailureList, RetrySummary
from schemas.tables import UTC_TIME
from service.collection import Collection
from service.indexing import refuse_imported, tidy_up
from service.paths import nul_separated
from service.table_files import write_table

EXPORT_SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("stage", pa.string()),
        ("reason", pa.string()),
        ("error_class", pa.string()),
        ("file_size", pa.int64()),
        ("failed_at", UTC_TIME),
    ]
)
"""Columns of an exported list: the fields of Failure."""


def list_failures(
    collection: Collection, *, stage: Stage | None = None, where: str | None = None
) -> FailureList:
    """Return the files that could not be indexed, by path.

    Parameters
    ----------
    collection : Collection
    stage : Stage, optional
        Only those that failed there.
    where : str, optional
        SQL condition on the columns of FAILURES_SCHEMA; `path` is relative to `root`.

    Raises
    ------
    FilterError
        If the condition is not one.
    """
    selected = _selected(collection.store, stage, where)
    rows = selected.sort_by([("root", "ascending"), ("path", "ascending")])
    return FailureList(failures=[failure_record(row) for row in rows.to_pylist()])


def export_failures(listed: FailureList, target: Path) -> None:
    """Write failures as CSV, JSON lines or Parquet, as the extension of `target` says.

    Raises
    ------
    InputError
        If the extension is another, or the file cannot be written.
    """
    rows = [failure.model_dump() for failure in listed.failures]
    write_table(pa.Table.from_pylist(rows, schema=EXPORT_SCHEMA), target)


def nul_separated_paths(listed: FailureList) -> bytes:
    """Return the paths as the bytes the file system knows, each ended by NUL, as for xargs -0."""
    return nul_separated(failure.path for failure in listed.failures)


def retry_failures(
    collection: Collection,
    *,
    stage: Stage | None = None,
    where: str | None = None,
    report: Callable[[IngestProgress], None],
) -> RetrySummary:
    """Try failed files again, even those that did not change.

    Parameters
    ----------
    collection : Collection
        Its settings may have other limits than those under which the files failed.
    stage, where
        Which ones, as for :func:`list_failures`; all of them without.
    report : callable
        Told the progress.

    Raises
    ------
    IsophoteError
        If the condition is none, another process writes to the collection, or it or its model
        cannot be used.
    """
    store = collection.store
    refuse_imported(store.info, store.uri)
    with writer_lock(local_directory(store.uri)):
        selected = _selected(store, stage, where)
        retry = ingest.retry_failures(
            list(zip(selected["root"].to_pylist(), selected["path"].to_pylist(), strict=True)),
            store=store,
            open_encoder=lambda: collection.encoder,
            settings=collection.settings,
            report=report,
        )
        tidy_up(collection, retry.ingest)
    return retry


def _selected(store: Store, stage: Stage | None, where: str | None) -> pa.Table:
    failures = store.failures(where)
    if stage is None:
        return failures
    # Not a part of the condition: what is told of a wrong one must show the user's own words.
    return failures.filter(compute.field("stage") == stage)
