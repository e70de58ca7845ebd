"""Tables as files that other programs read: CSV, JSON lines, Parquet."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
from pydantic_core import to_json

from schemas.errors import InputError

# Bounds the Python objects that exist at a time.
JSON_ROWS = 1000


def write_table(table: pa.Table, target: Path) -> None:
    """Write a table into a file of the kind that its extension names.

    A file that is there is replaced, at once and only when the new one is complete. Text is
    UTF-8; in CSV it is quoted, so that commas and line breaks survive.

    Parameters
    ----------
    table : pa.Table
    target : Path
        Ends with .csv, .jsonl or .parquet.

    Raises
    ------
    InputError
        If the extension is another, or the file cannot be written.
    """
    write = _WRITERS.get(target.suffix.lower())
    if write is None:
        raise InputError(f"cannot export to {target}; end its name with {', '.join(_WRITERS)}")
    try:
        with _replaced(target) as file:
            write(table, file)
    except OSError as error:
        raise InputError(
            f"cannot write {target}: {error.strerror or error}; name a file that can be written"
        ) from error


@contextmanager
def _replaced(target: Path) -> Iterator[BinaryIO]:
    """Open a file that takes the place of `target` when the block ends well."""
    # Not one of tempfile's: those are readable by their owner only.
    part = target.parent / f".isophote-{os.getpid()}.part"
    try:
        with part.open("wb") as file:
            yield file
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _write_csv(table: pa.Table, file: BinaryIO) -> None:
    from pyarrow import csv

    csv.write_csv(table, file)


def _write_json_lines(table: pa.Table, file: BinaryIO) -> None:
    for batch in table.to_batches(max_chunksize=JSON_ROWS):
        file.writelines(to_json(row, inf_nan_mode="null") + b"\n" for row in batch.to_pylist())


def _write_parquet(table: pa.Table, file: BinaryIO) -> None:
    from pyarrow import parquet

    parquet.write_table(table, file)


_WRITERS: dict[str, Callable[[pa.Table, BinaryIO], None]] = {
    ".csv": _write_csv,
    ".jsonl": _write_json_lines,
    ".parquet": _write_parquet,
}
