"""Files of vectors that others made: where the vectors are, and what came along with them.

Read are the folders that clip-retrieval writes, folders of Parquet files, single Parquet, NPZ
and NPY files. All of them in blocks, so that a file may be larger than memory.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import compute, parquet

from indexer.arrays import FloatArray
from schemas.errors import InputError
from service.exchange.array_files import StoredArray, array_errors, stored_array, stored_arrays

TEXT_COLUMN = "text_embedding"
"""Column of the embeddings of the photos' captions, of the length they came with."""

MARK = "isophote"
"""Where files written by `isophote export` say what they hold, as JSON."""

NULL_SUFFIX = ".null"
"""Ends the name of an NPZ array that says where another has no value."""

# The projector of an unknown model is stored as a matrix of this side: 268 MB at most.
MAX_DIMENSIONS = 8192

# Memory of a block, of which a few exist at a time.
BLOCK_BYTES = 2**25
MAX_BLOCK_ROWS = 8192

_VECTOR_NAMES = ("embedding", "embeddings", "vector", "vectors")
_PANDAS_INDEX = "__index_level_"
_MATRIX_DIMENSIONS = 2
# NumPy also has weeks, years, and less than nanoseconds.
_ARROW_UNITS = ("D", "s", "ms", "us", "ns")
_PART = re.compile(r"(?P<kind>img_emb|text_emb|metadata)_(?P<number>\d+)\.(npy|parquet)")

Columns = Mapping[str, pa.Array]


@dataclass(frozen=True, slots=True)
class VectorBlock:
    """Vectors float32 (n, d), of any length, with columns of n values by name."""

    vectors: FloatArray
    columns: Columns


@dataclass(frozen=True, slots=True)
class VectorPart:
    """One file of vectors, or one numbered part of many.

    `columns` is the schema of what comes along, `left_out` says why other columns do not. `mark`
    is what `isophote export` noted, empty for files of others.
    """

    name: str
    n_rows: int
    dim: int
    columns: pa.Schema
    left_out: Mapping[str, str]
    mark: Mapping[str, Any]
    read: Callable[[int], Iterator[VectorBlock]]
    row_bytes: int

    def blocks(self) -> Iterator[VectorBlock]:
        """Yield all rows, in blocks of bounded memory.

        Raises
        ------
        InputError
            If the file is damaged.
        """
        return self.read(max(1, min(MAX_BLOCK_ROWS, BLOCK_BYTES // self.row_bytes)))


def vector_parts(source: Path, *, vector_column: str | None = None) -> list[VectorPart]:
    """Return the parts of a source, in order.

    Parameters
    ----------
    source : Path
        A folder as clip-retrieval writes it, a folder of Parquet files, or a .parquet, .npz or
        .npy file.
    vector_column : str, optional
        Name of the vectors in Parquet and NPZ; found by itself where there is but one candidate.

    Raises
    ------
    InputError
        If the source is none of these, or not whole.
    """
    if not source.exists():
        raise InputError(f"{source} does not exist; name a folder or file of vectors")
    if source.is_dir():
        return _folder_parts(source, vector_column)
    read = _READERS.get(source.suffix.lower())
    if read is None:
        raise InputError(
            f"{source} holds no vectors that can be read; give a folder as clip-retrieval writes "
            f"it, or a file that ends with {', '.join(_READERS)}"
        )
    return [read(source, vector_column)]


def _folder_parts(folder: Path, vector_column: str | None) -> list[VectorPart]:
    if (folder / "img_emb").is_dir():
        return _clip_retrieval_parts(folder)
    files = sorted(folder.glob("*.parquet"))
    if not files:
        raise InputError(
            f"{folder} has neither img_emb/img_emb_0.npy, as clip-retrieval writes it, nor "
            "Parquet files"
        )
    return [_parquet_part(file, vector_column) for file in files]


# clip-retrieval


def _clip_retrieval_parts(folder: Path) -> list[VectorPart]:
    """Return the numbered parts; see `OutputSink` in clip_retrieval/clip_inference/writer.py."""
    images = _numbered(folder, "img_emb")
    if not images:
        raise InputError(f"{folder / 'img_emb'} holds no img_emb_0.npy")
    rows = _partners(folder, "metadata", images)
    texts = _partners(folder, "text_emb", images)
    return [
        _clip_retrieval_part(images[number], rows.get(number), texts.get(number))
        for number in sorted(images)
    ]


def _numbered(folder: Path, kind: str) -> dict[int, Path]:
    """Return files by their number, which is padded with zeros if there are ten parts or more."""
    found: dict[int, Path] = {}
    for path in sorted((folder / kind).glob("*")):
        matched = _PART.fullmatch(path.name)
        if matched is None or matched["kind"] != kind:
            continue
        number = int(matched["number"])
        if number in found:
            raise InputError(
                f"{path} and {found[number].name} are both part {number}; remove what is left of "
                "another run"
            )
        found[number] = path
    return found


def _partners(folder: Path, kind: str, images: Mapping[int, Path]) -> dict[int, Path]:
    """Return the files beside those of the images; none at all, or one for each."""
    found = _numbered(folder, kind)
    if found and (alone := found.keys() ^ images.keys()):
        number = min(alone)
        present = images.get(number) or found[number]
        lacking = kind if number in images else "img_emb"
        raise InputError(
            f"{folder} has {present.name} but no {lacking} with the number {number}; the parts "
            "must be complete"
        )
    return found


def _clip_retrieval_part(image: Path, row: Path | None, text: Path | None) -> VectorPart:
    vectors = _matrix(stored_array(image))
    table = None if row is None else _ParquetTable.opened(row)
    texts = None if text is None else _matrix(stored_array(text))
    fields = [] if table is None else list(table.columns)
    if table is not None:
        _require_rows(str(row), table.n_rows, image.name, vectors.shape[0])
    if texts is not None:
        _require_rows(str(text), texts.shape[0], image.name, vectors.shape[0])
        _require_text_dim(texts, vectors.shape[1])
        fields = [field for field in fields if field.name != TEXT_COLUMN]
        fields.append(_text_field(vectors.shape[1]))

    def read(block_rows: int) -> Iterator[VectorBlock]:
        with array_errors(image):
            blocks = vectors.blocks(block_rows)
            others = _endless() if table is None else table.blocks(block_rows)
            captions = None if texts is None else texts.blocks(block_rows)
            for block, columns in zip(blocks, others, strict=False):
                if captions is not None:
                    columns = {**columns, TEXT_COLUMN: _half_vectors(next(captions))}
                yield VectorBlock(_single_precision(block), columns)

    return VectorPart(
        name=str(image),
        n_rows=vectors.shape[0],
        dim=vectors.shape[1],
        columns=pa.schema(fields),
        left_out={} if table is None else table.left_out,
        mark={} if table is None else table.mark,
        read=read,
        row_bytes=4 * vectors.shape[1],
    )


def _endless() -> Iterator[Columns]:
    while True:
        yield {}


# NPY and NPZ


def _npy_part(path: Path, vector_column: str | None) -> VectorPart:
    if vector_column is not None:
        raise InputError(f"{path} holds one array without a name; leave out --vector-column")
    return _clip_retrieval_part(path, None, None)


def _npz_part(path: Path, vector_column: str | None) -> VectorPart:
    arrays = stored_arrays(path)
    name = _vector_array(path, arrays, vector_column)
    vectors = _matrix(arrays.pop(name))
    with array_errors(path):
        has_mark = MARK in arrays and arrays[MARK].shape == ()
        mark = _read_mark(str(arrays.pop(MARK).whole()) if has_mark else None)
    masks = {key: arrays[key + NULL_SUFFIX] for key in arrays if key + NULL_SUFFIX in arrays}
    for key in masks:
        del arrays[key + NULL_SUFFIX]
    columns, left_out = _npz_columns(arrays, vectors)

    def read(block_rows: int) -> Iterator[VectorBlock]:
        with array_errors(path):
            streams = {key: arrays[key].blocks(block_rows) for key in columns.names}
            nulls = {key: stored.blocks(block_rows) for key, stored in masks.items()}
            for block in vectors.blocks(block_rows):
                read_columns = {}
                for key, stream in streams.items():
                    mask = nulls.get(key)
                    values = next(stream)
                    read_columns[key] = _arrow_values(values, None if mask is None else next(mask))
                yield VectorBlock(_single_precision(block), read_columns)

    return VectorPart(
        name=str(path),
        n_rows=vectors.shape[0],
        dim=vectors.shape[1],
        columns=columns,
        left_out=left_out,
        mark=mark,
        read=read,
        row_bytes=max([4 * vectors.shape[1], *(arrays[key].row_bytes for key in columns.names)]),
    )


def _vector_array(path: Path, arrays: Mapping[str, StoredArray], vector_column: str | None) -> str:
    candidates = [
        name
        for name, stored in arrays.items()
        if len(stored.shape) == _MATRIX_DIMENSIONS and stored.dtype.kind == "f"
    ]
    return _chosen_vectors(path, candidates, vector_column, known=list(arrays))


def _npz_columns(
    arrays: Mapping[str, StoredArray], vectors: StoredArray
) -> tuple[pa.Schema, dict[str, str]]:
    fields, left_out = [], {}
    n_rows, dim = vectors.shape
    for name, stored in arrays.items():
        if len(stored.shape) == 0:
            left_out[name] = "is a single value"
            continue
        _require_rows(stored.name, stored.shape[0], vectors.name, n_rows)
        if name == TEXT_COLUMN and stored.shape == (n_rows, dim) and stored.dtype.kind == "f":
            fields.append(_text_field(dim))
        elif len(stored.shape) > 1:
            left_out[name] = f"has the shape {stored.shape}"
        elif stored.row_bytes > BLOCK_BYTES:
            left_out[name] = f"has values of {stored.row_bytes / 1e6:,.0f} MB"
        elif stored.dtype.kind not in "biufUSM":
            left_out[name] = f"has the type {stored.dtype}"
        else:
            fields.append(pa.field(name, _arrow_values(np.empty(0, stored.dtype), None).type))
    return pa.schema(fields), left_out


def _arrow_values(values: npt.NDArray[Any], is_null: npt.NDArray[Any] | None) -> pa.Array:
    if values.ndim > 1:
        return _half_vectors(values)
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8", "replace")
    if values.dtype.kind == "U":
        return pa.array(values.tolist(), pa.string(), mask=is_null)
    if values.dtype == np.float16:
        values = values.astype(np.float32)
    if values.dtype.kind == "M" and np.datetime_data(values.dtype)[0] not in _ARROW_UNITS:
        values = values.astype("datetime64[us]")
    return pa.array(values, mask=is_null, from_pandas=True)


# Parquet


@dataclass(frozen=True, slots=True)
class _ParquetTable:
    """A Parquet file without the columns that cannot be stored."""

    path: Path
    n_rows: int
    columns: pa.Schema
    vectors: pa.Schema
    left_out: dict[str, str]
    mark: Mapping[str, Any]

    @classmethod
    def opened(cls, path: Path) -> "_ParquetTable":
        with _parquet_errors(path), parquet.ParquetFile(path) as file:
            schema, n_rows = file.schema_arrow, file.metadata.num_rows
        columns, vectors, left_out = [], [], {}
        for field in schema:
            plain = _plain_type(field.type)
            if field.name.startswith(_PANDAS_INDEX):
                left_out[field.name] = "is an index of pandas"
            elif plain is not None:
                columns.append(pa.field(field.name, plain))
            elif _is_vector(field.type):
                vectors.append(field)
            else:
                left_out[field.name] = f"has the type {field.type}"
        mark = (schema.metadata or {}).get(MARK.encode())
        return cls(path, n_rows, pa.schema(columns), pa.schema(vectors), left_out, _read_mark(mark))

    def blocks(self, block_rows: int, vectors: Sequence[str] = ()) -> Iterator[dict[str, pa.Array]]:
        """Yield the columns, and the vector columns that are named, in blocks of equal size."""
        names = [*self.columns.names, *vectors]
        with _parquet_errors(self.path), parquet.ParquetFile(self.path) as file:
            batches = file.iter_batches(batch_size=block_rows, columns=names)
            for table in _even_blocks(batches, block_rows):
                columns = {name: table[name].combine_chunks() for name in names}
                for field in self.columns:
                    columns[field.name] = columns[field.name].cast(field.type)
                yield columns


def _parquet_part(path: Path, vector_column: str | None) -> VectorPart:
    table = _ParquetTable.opened(path)
    name = _chosen_vectors(path, table.vectors.names, vector_column, known=table.vectors.names)
    dim = _list_size(table, name)
    left_out = dict(table.left_out)
    fields, has_texts = list(table.columns), False
    for other in table.vectors.names:
        if other == TEXT_COLUMN != name and _list_size(table, other) == dim:
            has_texts = True
            fields.append(_text_field(dim))
        elif other != name:
            left_out[other] = "is a list"

    def read(block_rows: int) -> Iterator[VectorBlock]:
        first = 0
        for columns in table.blocks(block_rows, [name, TEXT_COLUMN] if has_texts else [name]):
            vectors = _listed_vectors(columns.pop(name), dim, path=path, first_row=first)
            if has_texts:
                texts = _listed_vectors(columns[TEXT_COLUMN], dim, path=path, first_row=first)
                columns[TEXT_COLUMN] = _half_vectors(texts)
            first += len(vectors)
            yield VectorBlock(vectors, columns)

    return VectorPart(
        name=str(path),
        n_rows=table.n_rows,
        dim=dim,
        columns=pa.schema(fields),
        left_out=left_out,
        mark=table.mark,
        read=read,
        row_bytes=4 * dim,
    )


def _list_size(table: _ParquetTable, name: str) -> int:
    """Return the length of the vectors of a column: that of the first one."""
    kind = table.vectors.field(name).type
    if pa.types.is_fixed_size_list(kind):
        return _checked_dim(kind.list_size, f"{name} of {table.path}")
    with _parquet_errors(table.path), parquet.ParquetFile(table.path) as file:
        for batch in file.iter_batches(batch_size=16, columns=[name]):
            lengths = compute.list_value_length(batch[name]).drop_null()
            if len(lengths):
                return _checked_dim(lengths[0].as_py(), f"{name} of {table.path}")
    raise InputError(f"{name} of {table.path} has no vector")


def _listed_vectors(column: pa.Array, dim: int, *, path: Path, first_row: int) -> FloatArray:
    """Return lists as float32 (n, dim); NaN where there is none."""
    lengths = compute.list_value_length(column)
    wrong = compute.indices_nonzero(compute.not_equal(lengths, dim).fill_null(fill_value=False))
    if len(wrong):
        row = wrong[0].as_py()
        raise InputError(
            f"row {first_row + row} of {path} has a vector of {lengths[row]} numbers, others "
            f"have {dim}; all must have one length"
        )
    vectors = np.full((len(column), dim), np.nan, np.float32)
    # flatten() leaves out the lists that are null.
    present = column.is_valid().to_numpy(zero_copy_only=False)
    values = column.flatten().to_numpy(zero_copy_only=False)
    vectors[present] = _single_precision(values).reshape(-1, dim)
    return vectors


def _even_blocks(batches: Iterator[pa.RecordBatch], block_rows: int) -> Iterator[pa.Table]:
    """Cut batches of any size into blocks of one size; the last one is shorter."""
    held: list[pa.RecordBatch] = []
    n_held = 0
    for batch in batches:
        start = 0
        while start < len(batch):
            piece = batch.slice(start, block_rows - n_held)
            held.append(piece)
            start, n_held = start + len(piece), n_held + len(piece)
            if n_held == block_rows:
                yield pa.Table.from_batches(held)
                held, n_held = [], 0
    if held:
        yield pa.Table.from_batches(held)


@contextmanager
def _parquet_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        reason = str(error).split("\n")[0]
        raise InputError(f"cannot read {path} as Parquet: {reason}") from error


def _plain_type(kind: pa.DataType) -> pa.DataType | None:
    """Return the type under which a column is stored; None for what cannot be filtered by."""
    types = pa.types
    if types.is_dictionary(kind):
        return _plain_type(kind.value_type)
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return pa.string()
    if types.is_float16(kind):
        return pa.float32()
    if types.is_decimal(kind):
        return pa.float64()
    if types.is_date(kind):
        return pa.date32()
    tests = (types.is_boolean, types.is_integer, types.is_floating, types.is_timestamp)
    return kind if any(test(kind) for test in tests) else None


def _is_vector(kind: pa.DataType) -> bool:
    types = pa.types
    tests = (types.is_list, types.is_large_list, types.is_fixed_size_list)
    return any(test(kind) for test in tests) and types.is_floating(kind.value_type)


# What all layouts share


def _chosen_vectors(
    path: Path, candidates: Sequence[str], asked: str | None, *, known: Sequence[str]
) -> str:
    """Return the name of the vectors: the one asked for, the only one, or the usual one."""
    if asked is not None:
        if asked not in candidates:
            named = "is not a matrix of numbers" if asked in known else "does not exist"
            raise InputError(
                f"{asked!r} in {path} {named}; vectors are {_listed(candidates)} there"
            )
        return asked
    usual = [name for name in _VECTOR_NAMES if name in candidates]
    possible = usual or [name for name in candidates if name != TEXT_COLUMN]
    if not possible:
        raise InputError(
            f"{path} has no vectors: no matrix and no column of lists of floating-point numbers"
        )
    if len(possible) > 1:
        raise InputError(
            f"{path} has several columns of vectors: {_listed(possible)}; choose one with "
            "--vector-column"
        )
    return possible[0]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names)) or "none"


def _matrix(stored: StoredArray) -> StoredArray:
    if len(stored.shape) != _MATRIX_DIMENSIONS or stored.dtype.kind != "f":
        raise InputError(
            f"{stored.name} holds {stored.dtype} of the shape {stored.shape}; vectors are float16 "
            "or float32 of the shape (n, d)"
        )
    _checked_dim(stored.shape[1], stored.name)
    return stored


def _checked_dim(dim: int, name: str) -> int:
    if not 1 <= dim <= MAX_DIMENSIONS:
        raise InputError(
            f"{name} has vectors of {dim:,} numbers; 1 to {MAX_DIMENSIONS:,} can be imported"
        )
    return dim


def _require_rows(name: str, n_rows: int, other: str, n_expected: int) -> None:
    if n_rows != n_expected:
        raise InputError(
            f"{name} has {n_rows:,} rows, but {other} has {n_expected:,}; they must belong together"
        )


def _require_text_dim(texts: StoredArray, dim: int) -> None:
    if texts.shape[1] != dim:
        raise InputError(
            f"{texts.name} has vectors of {texts.shape[1]} numbers, the images have {dim}"
        )


def _text_field(dim: int) -> pa.Field:
    return pa.field(TEXT_COLUMN, pa.list_(pa.float16(), dim))


def _single_precision(values: npt.NDArray[Any]) -> FloatArray:
    # What float32 cannot hold becomes infinite, and is refused as that.
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


def _half_vectors(vectors: npt.NDArray[Any]) -> pa.Array:
    """Return vectors as the store keeps them; null where they are not finite."""
    with np.errstate(over="ignore"):
        halves = np.ascontiguousarray(vectors, np.float16)
    unusable = pa.array(~np.isfinite(halves).all(axis=1))
    return pa.FixedSizeListArray.from_arrays(
        pa.array(halves.ravel()), vectors.shape[1], mask=unusable
    )


def _read_mark(text: bytes | str | None) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        mark = json.loads(text)
    except ValueError:
        return {}
    return mark if isinstance(mark, dict) else {}


_READERS: dict[str, Callable[[Path, str | None], VectorPart]] = {
    ".parquet": _parquet_part,
    ".npz": _npz_part,
    ".npy": _npy_part,
}
