"""Reads all of a source before anything is written: what is unusable, repeated, or not unit."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import compute

from indexer.arrays import BoolArray, DoubleArray, FloatArray, IntArray
from schemas.errors import InputError
from service.exchange.import_columns import ColumnPlan, misfits
from service.exchange.vector_files import VectorBlock, VectorPart

UNIT_TOLERANCE = 1e-3
"""How far from 1 the lengths of unit vectors may be: float16 rounds by less than 5e-4."""

MIN_ROUNDED_COSINE = 0.9999
"""Between a vector and what float16 makes of it. Numbers below 0.00006 lose digits."""

SHOWN_ROWS = 5


@dataclass(frozen=True, slots=True)
class Survey:
    """What a source holds, row by row over all its parts.

    `usable` is bool (n,), `first` bool (n,): whether no earlier row has the same path. `paths`
    has n strings. `image_ids` is int64 (n,) where the given ids can be kept, else None.
    """

    plan: ColumnPlan
    usable: BoolArray
    first: BoolArray
    paths: pa.ChunkedArray
    image_ids: IntArray | None
    is_unit: bool


def survey(
    parts: Sequence[VectorPart],
    plan: ColumnPlan,
    *,
    skip_bad: bool,
    report: Callable[[int], None],
) -> Survey:
    """Read all parts once.

    Parameters
    ----------
    parts : sequence of VectorPart
    plan : ColumnPlan
    skip_bad : bool
        Whether unusable and repeated rows are left out rather than refused.
    report : callable
        Told the number of rows read.

    Raises
    ------
    InputError
        If rows have no usable vector or repeat a path, and `skip_bad` is not set; or if none is
        usable. The message counts them and names the first.
    """
    notes = _Notes(plan)
    n_rows = 0
    for part in parts:
        first_row = 0
        for block in part.blocks():
            notes.take(part, block, first_row=first_row)
            first_row += len(block.vectors)
            report(n_rows + first_row)
        n_rows += first_row
    usable = np.concatenate(notes.usable) if notes.usable else np.zeros(0, np.bool_)
    _refuse_unusable(usable, notes.faults, skip_bad=skip_bad)
    paths = pa.chunked_array(notes.paths, pa.string())
    first = _first_occurrences(paths, usable)
    _refuse_repeated(paths, usable & ~first, skip_bad=skip_bad)
    image_ids = _unique_ids(notes.image_ids, usable & first)
    plan = plan.without_fills(notes.misfits)
    return Survey(
        plan=plan if image_ids is not None else plan.without_ids(),
        usable=usable,
        first=first,
        paths=paths,
        image_ids=image_ids,
        is_unit=notes.is_unit,
    )


@dataclass(slots=True)
class _Notes:
    """What was seen so far."""

    plan: ColumnPlan
    usable: list[BoolArray] = field(default_factory=list)
    paths: list[pa.Array] = field(default_factory=list)
    image_ids: list[pa.Array] = field(default_factory=list)
    misfits: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)
    is_unit: bool = True

    def take(self, part: VectorPart, block: VectorBlock, *, first_row: int) -> None:
        lengths, stored_lengths, cosines = _roundings(block.vectors)
        with np.errstate(invalid="ignore"):
            usable = np.isfinite(stored_lengths) & (cosines >= MIN_ROUNDED_COSINE)
        for row in np.flatnonzero(~usable)[: SHOWN_ROWS - len(self.faults)].tolist():
            fault = _fault(block.vectors[row], stored_lengths[row])
            self.faults.append(f"row {first_row + row} of {part.name} {fault}")
        self.is_unit &= bool(np.all(np.abs(lengths[usable] - 1) <= UNIT_TOLERANCE))
        self.usable.append(usable)
        self.paths.append(_paths(self.plan, part, block, first_row))
        if self.plan.image_id is not None:
            ids = block.columns.get(self.plan.image_id, pa.nulls(len(usable), pa.int64()))
            self.image_ids.append(ids)
        self.misfits |= misfits(self.plan, block.columns)


def _roundings(vectors: FloatArray) -> tuple[DoubleArray, DoubleArray, DoubleArray]:
    """Return lengths (n,) before and after rounding to float16, and the cosine of the two."""
    # Beyond float16 the sums are infinite or NaN, which the caller looks for.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        given = vectors.astype(np.float64)
        stored = vectors.astype(np.float16).astype(np.float64)
        lengths: DoubleArray = np.sqrt(np.square(given).sum(axis=1))
        stored_lengths: DoubleArray = np.sqrt(np.square(stored).sum(axis=1))
        cosines: DoubleArray = (given * stored).sum(axis=1) / (lengths * stored_lengths)
    return lengths, stored_lengths, cosines


def _fault(vector: FloatArray, stored_length: float) -> str:
    if np.isnan(vector).any():
        return "holds NaN"
    if not np.isfinite(stored_length):
        return "holds numbers beyond float16"
    return "is too short for float16" if vector.any() else "is zero"


def _paths(plan: ColumnPlan, part: VectorPart, block: VectorBlock, first_row: int) -> pa.Array:
    """Return what the photos are called; those without a name by their file and row."""
    n_rows = len(block.vectors)
    numbers = pa.array(np.arange(first_row, first_row + n_rows)).cast(pa.string())
    numbered = compute.binary_join_element_wise(Path(part.name).name, numbers, "/")
    if plan.path is None or plan.path not in block.columns:
        return numbered
    given = block.columns[plan.path].cast(pa.string())
    is_named = compute.not_equal(given, "").fill_null(fill_value=False)
    return compute.if_else(is_named, given, numbered)


def _first_occurrences(paths: pa.ChunkedArray, usable: BoolArray) -> BoolArray:
    """Return which rows are the first usable ones of their path."""
    rows = np.flatnonzero(usable)
    encoded = paths.take(pa.array(rows)).combine_chunks().dictionary_encode()
    _, at = np.unique(encoded.indices.to_numpy(), return_index=True)
    first = ~usable
    first[rows[at]] = True
    return first


def _unique_ids(columns: list[pa.Array], kept: BoolArray) -> IntArray | None:
    """Return the given ids of all rows; None if there are none, or they cannot be kept."""
    if not columns:
        return None
    try:
        given = pa.chunked_array([column.cast(pa.int64()) for column in columns])
    except pa.ArrowInvalid:  # beyond 63 bits
        return None
    if given.filter(pa.array(kept)).null_count:
        return None
    image_ids: IntArray = given.fill_null(-1).to_numpy()
    chosen = image_ids[kept]
    is_usable = bool(np.all(chosen >= 0)) and len(np.unique(chosen)) == len(chosen)
    return image_ids if is_usable else None


def _refuse_unusable(usable: BoolArray, faults: Sequence[str], *, skip_bad: bool) -> None:
    n_unusable = int(np.count_nonzero(~usable))
    if not usable.any():
        first = f": {faults[0]}" if faults else ""
        raise InputError(f"there is no usable vector among {len(usable):,} rows{first}")
    if n_unusable and not skip_bad:
        shown = "; ".join(faults) + ("; ..." if n_unusable > len(faults) else "")
        raise InputError(
            f"{n_unusable:,} of {len(usable):,} rows have no usable vector (rows count from 0): "
            f"{shown}. Mend them, or leave them out with --skip-bad"
        )


def _refuse_repeated(paths: pa.ChunkedArray, repeated: BoolArray, *, skip_bad: bool) -> None:
    rows = np.flatnonzero(repeated)
    if len(rows) and not skip_bad:
        raise InputError(
            f"{len(rows):,} of {len(paths):,} rows have the name of an earlier one, as "
            f"{paths[int(rows[0])].as_py()!r}. Names must differ: choose others with --id-column, "
            "or leave the later rows out with --skip-bad"
        )
