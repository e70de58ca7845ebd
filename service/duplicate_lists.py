"""Duplicates and leaks as files and path lists that other programs read."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from schemas.duplicates import (
    DuplicateCopy,
    DuplicateGroup,
    DuplicateList,
    DuplicatePair,
    DuplicatePhoto,
    LeakList,
)
from schemas.tables import CAMERA_TIME
from service.paths import nul_separated
from service.table_files import write_blocks

# Bounds the Python objects that exist beside the list itself.
BLOCK_ROWS = 8192

_PHOTO_FIELDS = (
    pa.field("path", pa.string()),
    pa.field("file_size", pa.int64()),
    pa.field("width", pa.int32()),
    pa.field("height", pa.int32()),
    pa.field("format", pa.string()),
    pa.field("taken_at", CAMERA_TIME),
    pa.field("quality", pa.float64()),
    pa.field("image_id", pa.int64()),
    pa.field("content_hash", pa.string()),
)

_ALIKE_FIELDS = (
    pa.field("tier", pa.string()),
    pa.field("similarity", pa.float64()),
    pa.field("difference", pa.string()),
)

DUPLICATES_SCHEMA = pa.schema(
    [
        pa.field("group", pa.int64()),
        pa.field("role", pa.string()),
        pa.field("keeper_path", pa.string()),
        pa.field("reason", pa.string()),
        *_ALIKE_FIELDS,
        *_PHOTO_FIELDS,
    ]
)
"""Columns of exported duplicates, one row per photo.

`group` counts from 1 in the order of the list, `role` is "keeper" or "copy"; the keeper comes
first. `reason` is null for copies; `tier`, `similarity` and `difference` are null for keepers.
"""

LEAKS_SCHEMA = pa.schema(
    [
        *_ALIKE_FIELDS,
        *(
            pa.field(f"{side}_{field.name}", field.type)
            for side in ("left", "right")
            for field in _PHOTO_FIELDS
        ),
    ]
)
"""Columns of exported leaks, one row per pair."""


def export_duplicates(listed: DuplicateList, target: Path) -> None:
    """Write the photos of all groups as CSV, JSON lines or Parquet, as the extension says.

    Raises
    ------
    InputError
        If the extension is another, or the file cannot be written.
    """
    rows = (row for n, group in enumerate(listed.groups, 1) for row in _group_rows(n, group))
    write_blocks(DUPLICATES_SCHEMA, _blocks(rows, DUPLICATES_SCHEMA), target)


def export_leaks(listed: LeakList, target: Path) -> None:
    """Write all pairs as CSV, JSON lines or Parquet, as the extension says.

    Raises
    ------
    InputError
        If the extension is another, or the file cannot be written.
    """
    write_blocks(LEAKS_SCHEMA, _blocks(map(_pair_row, listed.pairs), LEAKS_SCHEMA), target)


def nul_separated_copies(listed: DuplicateList) -> bytes:
    """Return the copies' paths as the file system's bytes, each ended by NUL, as for xargs -0."""
    return nul_separated(copy.photo.path for group in listed.groups for copy in group.copies)


def nul_separated_leaks(listed: LeakList) -> bytes:
    """Return the paths of the right photos of all pairs, each once; see above."""
    return nul_separated(pair.right.path for pair in listed.pairs)


def _group_rows(number: int, group: DuplicateGroup) -> Iterator[dict[str, Any]]:
    shared = {"group": number, "keeper_path": group.keeper.path}
    yield {**shared, "role": "keeper", "reason": group.reason, **_photo_values(group.keeper)}
    for copy in group.copies:
        yield {**shared, "role": "copy", **_alike_values(copy), **_photo_values(copy.photo)}


def _pair_row(pair: DuplicatePair) -> dict[str, Any]:
    return {
        **_alike_values(pair),
        **_photo_values(pair.left, "left_"),
        **_photo_values(pair.right, "right_"),
    }


def _alike_values(alike: DuplicateCopy | DuplicatePair) -> dict[str, Any]:
    return {field.name: getattr(alike, field.name) for field in _ALIKE_FIELDS}


def _photo_values(photo: DuplicatePhoto, prefix: str = "") -> dict[str, Any]:
    return {f"{prefix}{field.name}": getattr(photo, field.name) for field in _PHOTO_FIELDS}


def _blocks(rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    remaining = iter(rows)
    while block := list(islice(remaining, BLOCK_ROWS)):
        yield pa.RecordBatch.from_pylist(block, schema=schema)
