"""The photos of a view as a file that other programs read."""

from typing import Literal

import numpy as np
import pyarrow as pa

from indexer.arrays import FloatArray, IntArray
from service.paths import full_paths, nul_separated
from service.photo_table import PhotoTable
from service.table_files import table_bytes

ViewFormat = Literal["csv", "jsonl", "parquet", "paths"]

MEDIA_TYPES: dict[ViewFormat, str] = {
    "csv": "text/csv; charset=utf-8",
    "jsonl": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
    "paths": "application/octet-stream",
}

_COLUMNS = (
    "image_id",
    "root",
    "path",
    "width",
    "height",
    "format",
    "file_size",
    "taken_at",
    "quality",
    "anomaly",
    "label",
    "content_hash",
)


def view_file(
    table: PhotoTable,
    image_ids: IntArray,
    *,
    kind: ViewFormat,
    similarities: FloatArray | None = None,
) -> bytes:
    """Return photos as the bytes of a file, in their order.

    Parameters
    ----------
    table : PhotoTable
    image_ids : int64 of shape (n,)
        Photos that are not there any more are left out.
    kind : {"csv", "jsonl", "parquet", "paths"}
        "paths" are the full paths as the file system knows them, each ended by NUL.
    similarities : float32 of shape (n,), optional
        Another column, of what a search found.
    """
    photos = table.photos(image_ids, _COLUMNS)
    paths = full_paths(photos)
    if kind == "paths":
        return nul_separated(paths.to_pylist())
    rows = photos.drop_columns(["root"]).set_column(1, "path", paths)
    if similarities is not None:
        is_there = np.isin(image_ids, table.image_ids)
        rows = rows.append_column("similarity", pa.array(similarities[is_there]))
    return table_bytes(rows, suffix=f".{kind}")
