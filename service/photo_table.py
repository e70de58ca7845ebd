"""What lists and hits show of photos, in memory, as of one commit."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from indexer.arrays import FloatArray, IntArray
from indexer.store import Store
from schemas.photos import PhotoOrder
from service.paths import full_paths

COLUMNS = (
    "image_id",
    "root",
    "path",
    "width",
    "height",
    "format",
    "taken_at",
    "quality",
    "anomaly",
    "anomaly_reference",
    "label",
    "file_size",
    "mtime_ns",
    "content_hash",
)
"""Some 220 bytes a photo, and what its full path takes."""

_SUMMARY_COLUMNS = (
    "image_id",
    "width",
    "height",
    "format",
    "taken_at",
    "quality",
    "anomaly",
    "label",
)


class PhotoTable:
    """COLUMNS of all photos, by id.

    Parameters
    ----------
    version : int
        Of the collection, by which the table is known.
    table : pa.Table
        With the columns COLUMNS.

    Attributes
    ----------
    image_ids : int64 of shape (n,)
        Ascending; not to be written into.
    """

    def __init__(self, version: int, table: pa.Table) -> None:
        self.version = version
        self._table = table.sort_by("image_id").combine_chunks()
        self.image_ids: IntArray = np.asarray(self._table["image_id"], np.int64)
        # Made once: every page and every search takes some of its rows.
        summaries = self._table.select(_SUMMARY_COLUMNS)
        self._summaries = summaries.append_column("path", full_paths(self._table))
        self._ordered: dict[PhotoOrder, IntArray] = {}

    @classmethod
    def read(cls, store: Store) -> "PhotoTable":
        """Return the photos of a collection as they are now."""
        # The version first: a commit in between is seen again by whoever compares it.
        version = store.version
        return cls(version, store.images(COLUMNS))

    def __len__(self) -> int:
        return len(self.image_ids)

    def photos(self, image_ids: IntArray, columns: Sequence[str]) -> pa.Table:
        """Return some of COLUMNS of photos, in the order of the ids; unknown ids are left out."""
        return self._table.select(list(columns)).take(pa.array(self._rows(image_ids)))

    def summaries(self, image_ids: IntArray) -> list[dict[str, Any]]:
        """Return the fields of PhotoSummary of photos, as for :meth:`photos`."""
        rows: list[dict[str, Any]] = self._summaries.take(
            pa.array(self._rows(image_ids))
        ).to_pylist()
        return rows

    def numbers(self, name: str) -> FloatArray:
        """Return a numeric column as float32, in the order of `image_ids`; null as NaN."""
        column = self._table[name].cast(pa.float32()).combine_chunks()
        return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float32)

    def words(self, name: str) -> list[str]:
        """Return a column of words without what is unknown, in the order of `image_ids`."""
        words: list[str] = self._table[name].drop_null().to_pylist()
        return words

    def ordered_ids(self, order: PhotoOrder) -> IntArray:
        """Return the ids of all photos in an order; what is unknown comes last, then by path."""
        if order not in self._ordered:
            self._ordered[order] = self._sorted_ids(order)
        return self._ordered[order]

    def _sorted_ids(self, order: PhotoOrder) -> IntArray:
        name = order.removeprefix("-")
        keys = [(name, "descending" if order.startswith("-") else "ascending")]
        keys += [(other, "ascending") for other in ("path", "image_id") if other != name]
        rows = pc.sort_indices(self._table, sort_keys=keys)  # null comes last in either direction
        ordered: IntArray = self.image_ids[np.asarray(rows, np.int64)]
        return ordered

    def _rows(self, image_ids: IntArray) -> IntArray:
        """Return the rows of the ids that are known, in their order."""
        rows = np.searchsorted(self.image_ids, image_ids)
        rows = np.minimum(rows, max(len(self.image_ids) - 1, 0))
        is_known = self.image_ids[rows] == image_ids if len(self) else np.zeros(len(rows), bool)
        known: IntArray = rows[is_known]
        return known
