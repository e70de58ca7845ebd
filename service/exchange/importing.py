"""Import vectors that others made: a collection without photos.

All rows are read twice: first to find what is unusable, before anything is written, then to
write. An import that is interrupted keeps what was committed and is taken up again by leaving out
what is known.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute

from indexer.arrays import BoolArray, IntArray
from indexer.ingest import IngestProgress
from indexer.interrupt import deferred_interrupt
from indexer.lock import writer_lock
from indexer.scoring.similarity import normalised
from indexer.settings import Settings
from indexer.store import Store, create_store, local_directory, open_store, store_exists
from schemas.collection import ModelSource
from schemas.errors import InputError, MismatchError
from schemas.exchange import ImportSummary
from service.collection import Collection, refuse_other_choice
from service.exchange.import_columns import (
    ColumnPlan,
    import_schema,
    placed_columns,
    planned_columns,
)
from service.exchange.import_survey import Survey, survey
from service.exchange.imported_models import (
    ImportedModel,
    ModelNote,
    VectorScorer,
    opened_model,
    refuse_other_name,
    refuse_other_vectors,
    unknown_model,
)
from service.exchange.vector_files import VectorBlock, VectorPart, vector_parts
from service.indexing import refresh_search, with_full_paths

# A commit costs 20 ms and a file; so many rows of 512 take 130 MB until they are committed.
APPEND_ROWS = 32_768


@dataclass(frozen=True, slots=True)
class ImportChoice:
    """What a user says of the vectors.

    Parameters
    ----------
    source : ModelSource, optional
        The model that made them, to be opened for words, photos and quality prompts.
    model_id : str, optional
        Only its name.
    logit_scale : float, optional
        What the model multiplies cosines with.
    is_unit : bool, optional
        Whether the vectors lost their lengths; found out if left out.
    vector_column, id_column : str, optional
        Columns with the vectors, and with the names of the photos.
    skip_bad : bool
        Leave out rows without a usable vector, and those whose name an earlier row has.
    skip_known : bool
        Leave out rows whose name the collection has.
    """

    source: ModelSource | None = None
    model_id: str | None = None
    logit_scale: float | None = None
    is_unit: bool | None = None
    vector_column: str | None = None
    id_column: str | None = None
    skip_bad: bool = False
    skip_known: bool = False


def import_vectors(
    sources: Sequence[Path],
    *,
    settings: Settings,
    choice: ImportChoice | None = None,
    report: Callable[[IngestProgress], None],
) -> ImportSummary:
    """Add vectors to a collection of imported vectors, and create it if there is none.

    Parameters
    ----------
    sources : sequence of Path
        At least one; see :func:`service.exchange.vector_files.vector_parts`.
    settings : Settings
        Names the collection.
    choice : ImportChoice, optional
    report : callable
        Told the progress; each of the two readings is half of the way.

    Raises
    ------
    IsophoteError
        Before anything is written if the input is at fault.
    """
    choice = choice or ImportChoice()
    started = time.monotonic()
    parts = [
        part
        for source in sources
        for part in vector_parts(source, vector_column=choice.vector_column)
    ]
    model = _described(parts, choice, settings)
    n_rows = sum(part.n_rows for part in parts)
    surveyed = survey(
        parts,
        planned_columns(parts, id_column=choice.id_column),
        skip_bad=choice.skip_bad,
        report=lambda n_done: report(IngestProgress(n_done // 2, n_rows, 0)),
    )
    is_unit = surveyed.is_unit if choice.is_unit is None else choice.is_unit
    score = VectorScorer.of(model, is_unit=is_unit)
    uri = settings.collection
    with writer_lock(local_directory(uri)):
        target = _new_target(uri, model, surveyed)
        if target is None:
            # Again, for another process may have made it in the meantime.
            refuse_other_vectors(open_store(uri).info, dim=parts[0].dim, where=uri)
            target = _present_target(uri, surveyed, skip_known=choice.skip_known)
        run = _Import(parts, surveyed, target, score)
        run.write(report)
        if not run.was_interrupted:
            target.store.optimize()
            collection = Collection(target.store, settings)
            refresh_search(collection, n_images=target.store.count_images())
    return run.summary(seconds=time.monotonic() - started)


def _described(
    parts: Sequence[VectorPart], choice: ImportChoice, settings: Settings
) -> ImportedModel:
    """Return the model as the collection has it, as the user names it, or as the files do."""
    dim = _common_dim(parts)
    uri = settings.collection
    source = None if choice.source is None else with_full_paths(choice.source)
    if store_exists(uri):
        info = open_store(uri).info
        refuse_other_vectors(info, dim=dim, where=uri)
        refuse_other_choice(info, source=source, band=None, where=uri)
        refuse_other_name(info, model_id=choice.model_id, logit_scale=choice.logit_scale, where=uri)
        source = info.source
    if source is not None:
        return opened_model(source, dim=dim, logit_scale=choice.logit_scale, settings=settings)
    note = ModelNote.read(parts[0].mark)
    return unknown_model(
        replace(
            note,
            model_id=choice.model_id or note.model_id,
            logit_scale=choice.logit_scale or note.logit_scale,
        ),
        dim=dim,
    )


def _common_dim(parts: Sequence[VectorPart]) -> int:
    if not parts:
        raise InputError("nothing to import; name a folder or file of vectors")
    for part in parts:
        if part.dim != parts[0].dim:
            raise InputError(
                f"{part.name} has vectors of {part.dim} numbers, {parts[0].name} of "
                f"{parts[0].dim}; import them into collections of their own"
            )
    return parts[0].dim


@dataclass(frozen=True, slots=True)
class _Target:
    """An open collection, and which rows of the source it is to get.

    `wanted` is bool (n,), `known` bool (n,); `image_ids` is int64 (n,) where given ids are kept.
    """

    store: Store
    plan: ColumnPlan
    wanted: BoolArray
    known: BoolArray
    image_ids: IntArray | None


def _new_target(uri: str, model: ImportedModel, surveyed: Survey) -> _Target | None:
    """Create the collection; None if there is one."""
    if store_exists(uri):
        return None
    schema = import_schema(surveyed.plan, model.info.model)
    store = create_store(uri, model.info, model.projectors, columns=schema)
    wanted = surveyed.usable & surveyed.first
    return _Target(store, surveyed.plan, wanted, np.zeros_like(wanted), surveyed.image_ids)


def _present_target(uri: str, surveyed: Survey, *, skip_known: bool) -> _Target:
    """Make room for new columns in the collection; its own ids go on."""
    store = open_store(uri)
    wanted = surveyed.usable & surveyed.first
    known = wanted & _known_paths(store, surveyed.paths)
    if known.any() and not skip_known:
        name = surveyed.paths[int(np.argmax(known))].as_py()
        raise InputError(
            f"the collection {uri!r} has {np.count_nonzero(known):,} of these {len(known):,} rows "
            f"by name, as {name!r}; add only the others with --skip-known"
        )
    plan = surveyed.plan.without_ids()
    _make_room(store, plan)
    return _Target(store, plan, wanted & ~known, known, None)


def _known_paths(store: Store, paths: pa.ChunkedArray) -> BoolArray:
    stored = store.images(["path"])["path"].combine_chunks()
    known: BoolArray = compute.is_in(paths, value_set=stored).to_numpy()
    return known


def _make_room(store: Store, plan: ColumnPlan) -> None:
    present = store.image_columns
    missing = [field for field in plan.added_fields if field.name not in present.names]
    for field in plan.added_fields:
        kind = field.type if field in missing else present.field(field.name).type
        if pa.types.is_fixed_size_list(kind) != pa.types.is_fixed_size_list(field.type):
            raise MismatchError(
                f"the column {field.name!r} is {field.type} in these files and {kind} in the "
                f"collection {store.uri!r}; import into another --collection"
            )
    store.add_image_columns(missing)


@dataclass(slots=True)
class _Import:
    """The second reading."""

    parts: Sequence[VectorPart]
    surveyed: Survey
    target: _Target
    score: VectorScorer
    n_written: int = 0
    was_interrupted: bool = False

    def write(self, report: Callable[[IngestProgress], None]) -> None:
        """Append the rows that are wanted; Ctrl-C ends it between two commits."""
        n_rows = len(self.target.wanted)
        waiting: list[pa.Table] = []
        try:
            for n_done, rows in self._tables():
                waiting.append(rows)
                if sum(map(len, waiting)) >= APPEND_ROWS:
                    self._commit(waiting)
                    waiting = []
                report(IngestProgress((n_rows + n_done) // 2, n_rows, 0))
            self._commit(waiting)
        except KeyboardInterrupt:
            self.was_interrupted = True

    def _commit(self, waiting: Sequence[pa.Table]) -> None:
        if not (n_rows := sum(map(len, waiting))):
            return
        with deferred_interrupt():
            self.target.store.append_images(pa.concat_tables(waiting))
            self.n_written += n_rows

    def _tables(self) -> Iterator[tuple[int, pa.Table]]:
        """Yield how many rows were read, and those of them that are wanted."""
        schema = self.target.store.image_columns
        next_id = self.target.store.next_image_id()
        n_done = 0
        for part in self.parts:
            for block in part.blocks():
                rows = np.flatnonzero(self.target.wanted[n_done : n_done + len(block.vectors)])
                columns = self._columns(block, rows, first_row=n_done, schema=schema)
                columns.setdefault("image_id", np.arange(next_id, next_id + len(rows)))
                next_id += len(rows)
                n_done += len(block.vectors)
                yield n_done, _table(columns, schema, len(rows))

    def _columns(
        self, block: VectorBlock, rows: IntArray, *, first_row: int, schema: pa.Schema
    ) -> dict[str, Any]:
        vectors = block.vectors[rows]
        given = {name: column.take(pa.array(rows)) for name, column in block.columns.items()}
        placed = placed_columns(self.target.plan, given, schema)
        columns: dict[str, Any] = {
            **self.score(vectors),
            **placed,
            "path": self.surveyed.paths.take(pa.array(first_row + rows)).combine_chunks(),
            "embedding": normalised(vectors),
            "raw_embedding": vectors,
        }
        if self.target.image_ids is not None:
            columns["image_id"] = self.target.image_ids[first_row + rows]
        return columns

    def summary(self, *, seconds: float) -> ImportSummary:
        """Return what was done; see :class:`ImportSummary`."""
        target, surveyed = self.target, self.surveyed
        info = target.store.info
        taken = {*target.plan.types}
        return ImportSummary(
            collection=target.store.uri,
            model=info.model.id,
            is_opened=info.source is not None,
            embedding_dim=info.model.embedding_dim,
            is_unit=self.score.is_unit,
            n_read=len(target.wanted),
            n_imported=self.n_written,
            n_unusable=int(np.count_nonzero(~surveyed.usable)),
            n_repeated=int(np.count_nonzero(surveyed.usable & ~surveyed.first)),
            n_known=int(np.count_nonzero(target.known)),
            n_pending=int(np.count_nonzero(target.wanted)) - self.n_written,
            renamed=target.plan.renamed,
            left_out={
                name: why
                for part in self.parts
                for name, why in part.left_out.items()
                if name not in taken
            },
            n_images=target.store.count_images(),
            seconds=seconds,
            interrupted=self.was_interrupted,
        )


def _table(columns: dict[str, Any], schema: pa.Schema, n_rows: int) -> pa.Table:
    known = {"root": [""] * n_rows, "indexed_at": [datetime.now(UTC)] * n_rows}
    return pa.table(
        [
            _arrow_column(columns.get(field.name, known.get(field.name)), field, n_rows)
            for field in schema
        ],
        schema=schema,
    )


def _arrow_column(values: Any, field: pa.Field, n_rows: int) -> pa.Array:
    if values is None:
        return pa.nulls(n_rows, field.type)
    if isinstance(values, pa.Array):
        return values
    if pa.types.is_fixed_size_list(field.type):
        halves = np.ascontiguousarray(values, np.float16).ravel()
        return pa.FixedSizeListArray.from_arrays(pa.array(halves), field.type.list_size)
    return pa.array(values, field.type)
