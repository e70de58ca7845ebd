"""The one writer of a run: collects changes and commits them in large blocks."""

import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from indexer.arrays import IntArray
from indexer.known_images import Key
from indexer.plan import KnownFiles
from indexer.prepare import PhotoFailure
from indexer.rows import file_columns, file_values
from indexer.scan import ScanFailure, ScannedFile, joined_path
from indexer.store import Store
from schemas.results import Failure
from schemas.tables import FAILURES_SCHEMA, images_schema

# Size and time of what has none, such as a folder that cannot be listed.
UNKNOWN_STAT = -1


class Writer:
    """Holds back changes until enough of them make a commit worth its cost.

    New rows are committed before the rows they replace are removed, at the end of the run: a
    crash leaves both, which the next run finds and mends.

    Parameters
    ----------
    store : Store
        Its writer lock held by the caller.
    known : KnownFiles
        What the collection held when the run began.
    append_rows, append_seconds : int, float
        Commit when so many rows wait, or so long after the last commit.
    """

    def __init__(
        self, store: Store, known: KnownFiles, *, append_rows: int, append_seconds: float
    ) -> None:
        self._store = store
        self._schema = images_schema(store.info.model)
        self._append_rows = append_rows
        self._append_seconds = append_seconds
        self._next_image_id = store.next_image_id()
        self._rows: list[pa.Table] = []
        self._copies: list[tuple[int, ScannedFile]] = []
        self._updates: list[tuple[int, ScannedFile]] = []
        self._outdated: list[int] = known.images.image_ids[known.images.superseded].tolist()
        self._failures = dict(known.failures)
        self._failures_changed = False
        self._committed_at = time.monotonic()

    def new_image_ids(self, count: int) -> IntArray:
        """Return ids (int64) that no photo has had."""
        first = self._next_image_id
        self._next_image_id += count
        return np.arange(first, first + count, dtype=np.int64)

    def add_rows(self, rows: pa.Table) -> None:
        """Add photos; their keys are no failures any more."""
        self._rows.append(rows)
        self.forget_failures(zip(rows["root"].to_pylist(), rows["path"].to_pylist(), strict=True))
        self._commit_if_due()

    def add_copy(self, image_id: int, file: ScannedFile) -> None:
        """Add a photo whose bytes are those of a stored one, with its vectors and scores."""
        self._copies.append((image_id, file))
        self.forget_failures([(file.root, file.path)])
        self._commit_if_due()

    def relocate(self, image_id: int, file: ScannedFile) -> None:
        """Give a stored photo a new place, or the new time of a file that was only touched."""
        self._updates.append((image_id, file))
        self.forget_failures([(file.root, file.path)])
        self._commit_if_due()

    def remove(self, image_ids: Iterable[int]) -> None:
        """Remove photos when the run ends."""
        self._outdated.extend(image_ids)

    def add_failure(self, failure: PhotoFailure | ScanFailure) -> None:
        """Record a file that cannot be indexed."""
        row = _failure_row(failure)
        self._failures[row["root"], row["path"]] = row
        self._failures_changed = True

    def forget_failures(self, keys: Iterable[Key]) -> None:
        """Forget failures whose files are gone or mended; other keys do no harm."""
        for key in keys:
            if self._failures.pop(key, None) is not None:
                self._failures_changed = True

    @property
    def failures(self) -> dict[Key, dict[str, Any]]:
        """Rows of `failures` by key, as they will be committed."""
        return self._failures

    def commit(self) -> None:
        """Commit new and changed rows, and the failures so far."""
        if self._copies:
            self._rows.append(self._copied_rows())
            self._copies = []
        if self._rows:
            self._store.append_images(pa.concat_tables(self._rows))
            self._rows = []
        if self._updates:
            self._store.update_images(_relocations(self._updates))
            self._updates = []
        if self._failures_changed:
            rows = pa.Table.from_pylist(list(self._failures.values()), schema=FAILURES_SCHEMA)
            self._store.replace_failures(rows)
            self._failures_changed = False
        self._committed_at = time.monotonic()

    def finish(self) -> None:
        """Commit what is left, then remove what is outdated."""
        self.commit()
        self._store.delete_images(np.unique(np.array(self._outdated, dtype=np.int64)))
        self._outdated = []

    def _commit_if_due(self) -> None:
        n_waiting = sum(map(len, self._rows)) + len(self._copies) + len(self._updates)
        waited = time.monotonic() - self._committed_at
        if n_waiting >= self._append_rows or waited >= self._append_seconds:
            self.commit()

    def _copied_rows(self) -> pa.Table:
        """Rows of the photos that copies were made of, under new ids and in new places."""
        source_ids = np.array([image_id for image_id, _ in self._copies], dtype=np.int64)
        changed: dict[str, Any] = {
            **file_columns([file for _, file in self._copies]),
            "image_id": self.new_image_ids(len(self._copies)),
            "indexed_at": [datetime.now(UTC)] * len(self._copies),
        }
        rows = self._store.images_by_id(source_ids, self._schema.names)
        return pa.table(
            [
                pa.array(changed[field.name], field.type)
                if field.name in changed
                else rows[field.name]
                for field in self._schema
            ],
            schema=self._schema,
        )


def failure_record(row: dict[str, Any]) -> Failure:
    """Return a row of `failures` as what is shown of it."""
    return Failure(
        path=joined_path(row["root"], row["path"]),
        stage=row["stage"],
        reason=row["reason"],
        error_class=row["error_class"],
        file_size=None if row["file_size"] == UNKNOWN_STAT else row["file_size"],
        failed_at=row["failed_at"],
    )


def _failure_row(failure: PhotoFailure | ScanFailure) -> dict[str, Any]:
    common = {
        "error_class": failure.error_class,
        "reason": failure.reason,
        "failed_at": datetime.now(UTC),
    }
    if isinstance(failure, PhotoFailure):
        return {**file_values(failure.file), "stage": failure.stage, **common}
    unknown = ScannedFile(failure.root, failure.path, UNKNOWN_STAT, UNKNOWN_STAT)
    return {**file_values(unknown), "stage": "scan", **common}


def _relocations(updates: list[tuple[int, ScannedFile]]) -> pa.Table:
    # The last word counts where one photo was moved twice in a run.
    latest = dict(updates)
    return pa.table(
        {"image_id": pa.array(latest, pa.int64()), **file_columns(list(latest.values()))}
    )
