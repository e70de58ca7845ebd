"""Write a collection's vectors and columns for other programs, in blocks of bounded memory."""

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import compute, parquet
from pydantic_core import to_json

from indexer.ingest import IngestProgress
from schemas.errors import InputError
from schemas.exchange import ExchangeFormat, ExportSummary
from service.collection import Collection
from service.exchange.array_writing import ArrayFiles, start_array
from service.exchange.exported_rows import ExportChoice, ExportedRows
from service.exchange.import_columns import PREFIX
from service.exchange.vector_files import MARK, NULL_SUFFIX, TEXT_COLUMN
from service.table_files import part_place, replaced_file, write_blocks

VECTOR_COLUMN = "embedding"
"""Name of the vectors in all files but those of clip-retrieval."""

Report = Callable[[IngestProgress], None]

# As clip-retrieval cuts its parts.
PART_ROWS = 1_000_000

_EXTENSIONS: dict[str, ExchangeFormat] = {
    "": "clip-retrieval",
    ".npz": "npz",
    ".parquet": "parquet",
    ".csv": "csv",
    ".jsonl": "jsonl",
}


def export_collection(
    collection: Collection,
    target: Path,
    *,
    choice: ExportChoice | None = None,
    report: Callable[[IngestProgress], None],
) -> ExportSummary:
    """Write ids, columns and vectors of a collection, or of a part of it, by ascending id.

    `path` is the full path as stored. A file that is there is replaced when the new one is
    complete; a folder that is there is refused.

    Parameters
    ----------
    collection : Collection
    target : Path
    choice : ExportChoice, optional
    report : callable
        Told the progress.

    Raises
    ------
    InputError
        If nothing is selected, or the target, format or space cannot be used.
    CollectionError
        If another process removes photos meanwhile.
    """
    choice = choice or ExportChoice()
    started = time.monotonic()
    kind = _format_of(target, choice)
    has_vectors = choice.with_vectors or kind not in ("csv", "jsonl")
    rows = ExportedRows.selected(collection, choice, kind=kind, has_vectors=has_vectors)
    _WRITERS[kind](rows, target, report)
    return ExportSummary(
        target=str(target),
        format=kind,
        n_images=len(rows.image_ids),
        space=choice.space if has_vectors else None,
        dtype=rows.dtype if has_vectors else None,
        columns=tuple(rows.columns.names),
        n_bytes=_disk_bytes(target),
        seconds=time.monotonic() - started,
    )


def _format_of(target: Path, choice: ExportChoice) -> ExchangeFormat:
    suffix = target.suffix.lower()
    kind = choice.format or _EXTENSIONS.get(suffix)
    if kind is None:
        raise InputError(
            f"cannot tell the format of {target}; end its name with .npz, .parquet, .csv or "
            ".jsonl, or give --format"
        )
    if kind in ("parquet", "csv", "jsonl") and suffix != f".{kind}":
        raise InputError(f"{target} is to be {kind}; end its name with .{kind}")
    return kind


# clip-retrieval


def _write_clip_retrieval(rows: ExportedRows, target: Path, report: Report) -> None:
    if target.exists():
        raise InputError(f"{target} exists already; name another folder, or remove it")
    part = part_place(target)
    try:
        for kind in ("img_emb", "metadata", *(["text_emb"] if rows.has_texts else [])):
            (part / kind).mkdir(parents=True)
        n_parts = -(-len(rows.image_ids) // PART_ROWS)
        for number in range(n_parts):
            # Padded, so that programs that sort names find the parts in order.
            name = f"{number:0{len(str(n_parts - 1))}d}"
            _write_part(rows, part, name, first=number * PART_ROWS, report=report)
        part.rename(target)
    except OSError as error:
        raise InputError(
            f"cannot write {target}: {error.strerror or error}; name a place that can be written"
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write_part(rows: ExportedRows, folder: Path, name: str, *, first: int, report: Report) -> None:
    last = min(first + PART_ROWS, len(rows.image_ids))
    schema = _marked(_with_image_path(rows.columns), rows)
    with ExitStack() as stack:
        metadata = folder / "metadata" / f"metadata_{name}.parquet"
        table = stack.enter_context(parquet.ParquetWriter(metadata, schema))
        images = stack.enter_context((folder / "img_emb" / f"img_emb_{name}.npy").open("wb"))
        start_array(images, (last - first, rows.dim), np.dtype(rows.dtype))
        texts: IO[bytes] | None = None
        if rows.has_texts:
            texts = stack.enter_context((folder / "text_emb" / f"text_emb_{name}.npy").open("wb"))
            start_array(texts, (last - first, rows.text_dim), np.dtype(np.float16))
        for columns, vectors in _reported(rows, report, first, last):
            images.write(vectors.tobytes())
            if texts is not None:
                texts.write(_text_vectors(columns).tobytes())
            table.write(
                columns.select(rows.columns.names).rename_columns(schema.names).cast(schema)
            )


def _with_image_path(columns: pa.Schema) -> pa.Schema:
    """Return the schema with clip-retrieval's name of the path."""
    names = []
    for name in columns.names:
        is_taken = name == "image_path" and "path" in columns.names
        names.append(PREFIX + name if is_taken else "image_path" if name == "path" else name)
    return pa.schema([field.with_name(name) for field, name in zip(columns, names, strict=True)])


def _text_vectors(columns: pa.Table) -> npt.NDArray[np.float16]:
    """Return the embeddings of captions, NaN where a photo has none."""
    column = columns[TEXT_COLUMN].combine_chunks()
    vectors = np.full((len(column), column.type.list_size), np.nan, np.float16)
    present = column.is_valid().to_numpy(zero_copy_only=False)
    values = column.flatten().to_numpy(zero_copy_only=False)
    vectors[present] = values.reshape(-1, column.type.list_size)
    return vectors


# Tables


def _write_parquet(rows: ExportedRows, target: Path, report: Report) -> None:
    fields = [*rows.columns, _vector_field(rows)]
    if rows.has_texts:
        fields.append(pa.field(TEXT_COLUMN, pa.list_(pa.float16(), rows.text_dim)))
    schema = _marked(pa.schema(fields), rows)
    blocks = (
        _with_vectors(columns, vectors, rows).select(schema.names).cast(schema)
        for columns, vectors in _reported(rows, report)
    )
    write_blocks(schema, blocks, target)


def _write_json_lines(rows: ExportedRows, target: Path, report: Report) -> None:
    schema = rows.columns if rows.place is None else rows.columns.append(_vector_field(rows))
    blocks = (
        _with_vectors(columns, vectors, rows).select(schema.names)
        for columns, vectors in _reported(rows, report)
    )
    write_blocks(schema, blocks, target)


def _write_csv(rows: ExportedRows, target: Path, report: Report) -> None:
    schema = rows.columns
    if rows.place is not None:
        schema = schema.append(pa.field(VECTOR_COLUMN, pa.string()))
    write_blocks(schema, _text_blocks(rows, report), target)


def _text_blocks(rows: ExportedRows, report: Report) -> Iterator[pa.Table]:
    for columns, vectors in _reported(rows, report):
        block = columns.select(rows.columns.names)
        if rows.place is not None:
            # CSV has no lists: each vector is text, in the notation of JSON.
            texts = [to_json(vector.tolist()).decode() for vector in vectors]
            block = block.append_column(VECTOR_COLUMN, pa.array(texts, pa.string()))
        yield block


def _vector_field(rows: ExportedRows) -> pa.Field:
    kind = pa.float16() if rows.dtype == "float16" else pa.float32()
    return pa.field(VECTOR_COLUMN, pa.list_(kind, rows.dim))


def _with_vectors(columns: pa.Table, vectors: npt.NDArray[Any], rows: ExportedRows) -> pa.Table:
    if rows.place is None:
        return columns
    lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), rows.dim)
    return columns.append_column(_vector_field(rows), lists)


def _marked(schema: pa.Schema, rows: ExportedRows) -> pa.Schema:
    return schema.with_metadata({MARK: rows.mark})


# NPZ


def _write_npz(rows: ExportedRows, target: Path, report: Report) -> None:
    columns = _npz_dtypes(rows)
    with (
        replaced_file(target) as file,
        ArrayFiles(target.parent, len(rows.image_ids)) as arrays,
    ):
        arrays.add(VECTOR_COLUMN, dtype=np.dtype(rows.dtype), width=(rows.dim,))
        if rows.has_texts:
            arrays.add(TEXT_COLUMN, dtype=np.dtype(np.float16), width=(rows.text_dim,))
        for name, dtype in columns.items():
            arrays.add(name, dtype=dtype)
        for table, vectors in _reported(rows, report):
            arrays.append({VECTOR_COLUMN: vectors, **_npz_columns(table, columns)})
            if rows.has_texts:
                arrays.append({TEXT_COLUMN: _text_vectors(table)})
        arrays.pack(file, values={MARK: rows.mark})


def _npz_dtypes(rows: ExportedRows) -> dict[str, np.dtype[Any]]:
    """Return the types of the arrays; text has the width of the longest of it.

    NumPy has no null: a column with some is followed by one that says where, and a column with
    nothing else is left out.
    """
    widths = dict.fromkeys(rows.columns.names, 0)
    n_null = dict.fromkeys(rows.columns.names, 0)
    for table in rows.columns_only():
        for field in rows.columns:
            column = table[field.name]
            n_null[field.name] += column.null_count
            if pa.types.is_string(field.type):
                longest = compute.max(compute.utf8_length(column)).as_py() or 0
                widths[field.name] = max(widths[field.name], longest)
    dtypes: dict[str, np.dtype[Any]] = {}
    for field in rows.columns:
        if n_null[field.name] == len(rows.image_ids):
            continue
        dtypes[field.name] = _npz_dtype(field.type, widths[field.name])
        if n_null[field.name]:
            dtypes[field.name + NULL_SUFFIX] = np.dtype(np.bool_)
    return dtypes


def _npz_dtype(kind: pa.DataType, width: int) -> np.dtype[Any]:
    if pa.types.is_string(kind):
        return np.dtype(f"U{max(width, 1)}")
    if pa.types.is_timestamp(kind):
        return np.dtype(f"datetime64[{kind.unit}]")
    if pa.types.is_date(kind):
        return np.dtype("datetime64[D]")
    dtype: np.dtype[Any] = np.dtype(kind.to_pandas_dtype())
    return dtype


def _npz_columns(
    table: pa.Table, dtypes: Mapping[str, np.dtype[Any]]
) -> dict[str, npt.NDArray[Any]]:
    columns = {}
    for name in table.column_names:
        if name not in dtypes:
            continue
        column = table[name].combine_chunks()
        if name + NULL_SUFFIX in dtypes:
            columns[name + NULL_SUFFIX] = column.is_null().to_numpy(zero_copy_only=False)
        columns[name] = _numpy_values(column, dtypes[name])
    return columns


def _numpy_values(column: pa.Array, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Return the values, with zeros or empty text for null."""
    values: npt.NDArray[Any]
    if dtype.kind == "U":
        values = np.array(column.fill_null("").to_pylist(), dtype)
    elif dtype.kind == "M":
        # Without the zone, which is UTC wherever there is one.
        numbers = column.cast(pa.int32() if pa.types.is_date32(column.type) else pa.int64())
        values = numbers.fill_null(0).to_numpy().astype(np.int64).view(dtype)
    else:
        nothing = pa.scalar(0).cast(column.type)
        values = column.fill_null(nothing).to_numpy(zero_copy_only=False)
    return values


# What all formats share


def _reported(
    rows: ExportedRows, report: Report, first: int = 0, last: int | None = None
) -> Iterator[tuple[pa.Table, npt.NDArray[Any]]]:
    """Yield blocks of rows and tell how many were yielded."""
    n_done = first
    for columns, vectors in rows.blocks(first, last):
        yield columns, vectors
        n_done += len(columns)
        report(IngestProgress(n_done, len(rows.image_ids), 0))


def _disk_bytes(target: Path) -> int:
    files = target.rglob("*") if target.is_dir() else [target]
    return sum(file.stat().st_size for file in files if file.is_file())


_WRITERS: dict[ExchangeFormat, Callable[[ExportedRows, Path, Report], None]] = {
    "clip-retrieval": _write_clip_retrieval,
    "npz": _write_npz,
    "parquet": _write_parquet,
    "csv": _write_csv,
    "jsonl": _write_json_lines,
}
