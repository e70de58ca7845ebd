"""Tables as files that other programs read: CSV, JSON lines, Parquet."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
from pydantic_core import to_json

from indexer.store_errors import first_line
from schemas.errors import InputError

# Bounds the Python objects that exist at a time.
JSON_ROWS = 1000

Blocks = Iterable[pa.RecordBatch | pa.Table]


def write_table(table: pa.Table, target: Path) -> None:
    """Write a table into a file; see :func:`write_blocks`."""
    write_blocks(table.schema, table.to_batches(), target)


def write_blocks(schema: pa.Schema, blocks: Blocks, target: Path) -> None:
    """Write a table that comes in blocks into a file of the kind that its extension names.

    A file that is there is replaced, at once and only when the new one is complete. Text is
    UTF-8; in CSV it is quoted, so that commas and line breaks survive.

    Parameters
    ----------
    schema : pa.Schema
        Of every block.
    blocks : iterable of pa.RecordBatch or pa.Table
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
    with replaced_file(target) as file:
        write(schema, blocks, file)


def table_bytes(table: pa.Table, *, suffix: str) -> bytes:
    """Return a table as the bytes of a file of the kind that a suffix names; see `write_blocks`."""
    stream = BytesIO()
    _WRITERS[suffix](table.schema, table.to_batches(), stream)
    return stream.getvalue()


def read_table(source: Path) -> pa.Table:
    """Read a table from a file of the kind that its extension names.

    Parameters
    ----------
    source : Path
        Ends with .csv, .tsv, .jsonl or .parquet. CSV and TSV have a line of column names; their
        values stay strings, so that 007 is no number.

    Raises
    ------
    InputError
        If the extension is another, or the file cannot be read as its extension says.
    """
    read = _READERS.get(source.suffix.lower())
    if read is None:
        raise InputError(f"cannot read {source}; its name must end with {', '.join(_READERS)}")
    try:
        with source.open("rb") as file:
            return read(file)
    except OSError as error:
        raise InputError(
            f"cannot read {source}: {(error.strerror or str(error)).lower()}"
        ) from error
    except pa.ArrowException as error:
        raise InputError(f"cannot read {source} as {source.suffix}: {first_line(error)}") from error


@contextmanager
def replaced_file(target: Path) -> Iterator[BinaryIO]:
    """Open a file that takes the place of `target` when the block ends well.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    # Not one of tempfile's: those are readable by their owner only.
    part = part_place(target)
    try:
        with part.open("wb") as file:
            yield file
        part.replace(target)
    except OSError as error:
        raise InputError(
            f"cannot write {target}: {error.strerror or error}; name a file that can be written"
        ) from error
    finally:
        part.unlink(missing_ok=True)


def part_place(target: Path) -> Path:
    """Return where a target is made until it is complete: beside it."""
    return target.parent / f".isophote-{os.getpid()}.part"


def _write_csv(schema: pa.Schema, blocks: Blocks, file: BinaryIO) -> None:
    from pyarrow import csv

    with csv.CSVWriter(file, schema) as writer:
        for block in blocks:
            writer.write(block)


def _write_json_lines(schema: pa.Schema, blocks: Blocks, file: BinaryIO) -> None:  # noqa: ARG001
    for block in blocks:
        for start in range(0, len(block), JSON_ROWS):
            rows = block.slice(start, JSON_ROWS).to_pylist()
            file.writelines(to_json(row, inf_nan_mode="null") + b"\n" for row in rows)


def _write_parquet(schema: pa.Schema, blocks: Blocks, file: BinaryIO) -> None:
    from pyarrow import parquet

    with parquet.ParquetWriter(file, schema) as writer:
        for block in blocks:
            writer.write(block)


_WRITERS: dict[str, Callable[[pa.Schema, Blocks, BinaryIO], None]] = {
    ".csv": _write_csv,
    ".jsonl": _write_json_lines,
    ".parquet": _write_parquet,
}


def _read_csv(file: BinaryIO, *, delimiter: str = ",") -> pa.Table:
    from pyarrow import csv

    parse = csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    with csv.open_csv(file, parse_options=parse) as reader:
        names = reader.schema.names
    file.seek(0)
    convert = csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()))
    return csv.read_csv(file, parse_options=parse, convert_options=convert)


def _read_json_lines(file: BinaryIO) -> pa.Table:
    from pyarrow import json

    return json.read_json(file)


def _read_parquet(file: BinaryIO) -> pa.Table:
    from pyarrow import parquet

    return parquet.read_table(file)


_READERS: dict[str, Callable[[BinaryIO], pa.Table]] = {
    ".csv": _read_csv,
    ".tsv": partial(_read_csv, delimiter="\t"),
    ".jsonl": _read_json_lines,
    ".parquet": _read_parquet,
}
