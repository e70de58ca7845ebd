"""Embed the pictures of CIFAR-10 or CIFAR-100 into a collection of their own."""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from indexer.arrays import ByteArray, IntArray
from indexer.decode import DecodedPhoto
from indexer.embedder import Embedder
from indexer.ingest import IngestProgress
from indexer.interrupt import deferred_interrupt
from indexer.lock import writer_lock
from indexer.prepare import PreparedPhoto, photo_columns
from indexer.preprocess import preprocess
from indexer.scan import ScannedFile
from indexer.settings import Settings
from indexer.store import Store, create_store, local_directory, store_exists
from schemas.collection import ModelSource
from schemas.errors import InputError
from schemas.exchange import ImportSummary
from schemas.model import Preprocessing
from schemas.tables import imported_schema
from service.collection import (
    Collection,
    describe_collection,
    open_collection,
    open_source,
    refuse_other_choice,
)
from service.exchange.cifar import (
    PICTURE_BYTES,
    SIDE,
    Cifar,
    CifarFile,
    CifarKind,
    CifarSplit,
    open_cifar,
)
from service.indexing import DEFAULT_MODEL, refresh_search, with_full_paths

_ADDED = {
    "cifar10": [pa.field("split", pa.string())],
    "cifar100": [pa.field("split", pa.string()), pa.field("coarse_label", pa.string())],
}


def import_cifar(
    folder: Path,
    *,
    kind: CifarKind,
    splits: Sequence[CifarSplit] = ("train", "test"),
    source: ModelSource | None = None,
    settings: Settings,
    report: Callable[[IngestProgress], None],
) -> ImportSummary:
    """Embed CIFAR's pictures with the preprocessing and model of a collection.

    Rows have the features of photos, so that all spaces work. `path` is the split and the number
    of the picture in it, as in test/00017, `label` the name of its (fine) class; `split` is a
    column, and so is `coarse_label` for CIFAR-100. Pictures that the collection has are left out,
    as after an import that was interrupted.

    Parameters
    ----------
    folder : Path
        Of the unpacked archive.
    kind : {"cifar10", "cifar100"}
    splits : sequence of {"train", "test"}
    source : ModelSource, optional
        The model of a new collection; must be that of an existing one.
    settings : Settings
    report : callable
        Told the progress.

    Raises
    ------
    IsophoteError
        If the files, the collection or the model cannot be used.
    """
    started = time.monotonic()
    cifar = open_cifar(folder, kind=kind)
    # All is read once before anything is made: a damaged file is found now, not after an hour.
    n_pictures = sum(len(file.labels) for file in cifar.files(splits))
    uri = settings.collection
    source = None if source is None else with_full_paths(source)
    with writer_lock(local_directory(uri)):
        if store_exists(uri):
            collection = open_collection(settings)
            _refuse_other_pictures(collection.store, kind)
            refuse_other_choice(collection.store.info, source=source, band=None, where=uri)
        else:
            collection = _created(cifar, source or ModelSource(model=DEFAULT_MODEL), settings)
        embedder = Embedder(collection.store.info, lambda: collection.encoder, settings)
        run = _Import(cifar, collection, embedder, n_pictures)
        run.write(splits, report)
        if not run.was_interrupted:
            collection.store.optimize()
            refresh_search(collection, n_images=collection.store.count_images())
    return run.summary(seconds=time.monotonic() - started)


def _created(cifar: Cifar, source: ModelSource, settings: Settings) -> Collection:
    encoder = open_source(source, settings)
    info = describe_collection(encoder, source=source, band=None).model_copy(
        update={"origin": "vectors"}
    )
    columns = imported_schema(info.model, _ADDED[cifar.kind])
    store = create_store(settings.collection, info, encoder.projectors, columns=columns)
    return Collection(store, settings, encoder)


def _refuse_other_pictures(store: Store, kind: CifarKind) -> None:
    names = set(store.image_columns.names)
    is_alike = names.issuperset({"split"}) and ("coarse_label" in names) == (kind == "cifar100")
    if store.info.origin != "vectors" or not is_alike:
        raise InputError(
            f"the collection {store.uri!r} holds something else than {kind}; import into another "
            "--collection"
        )


@dataclass(slots=True)
class _Import:
    """The pictures on their way into an open collection."""

    cifar: Cifar
    collection: Collection
    embedder: Embedder
    n_read: int
    n_known: int = 0
    n_unusable: int = 0
    n_written: int = 0
    was_interrupted: bool = False
    _next_id: int = 0
    _waiting: list[pa.Table] = field(default_factory=list)

    def write(self, splits: Sequence[CifarSplit], report: Callable[[IngestProgress], None]) -> None:
        """Embed the splits; Ctrl-C keeps what is committed."""
        store = self.collection.store
        known = set(store.images(["path"])["path"].to_pylist())
        self._next_id = store.next_image_id()
        try:
            for file in self.cifar.files(splits):
                self._embed(file, known, report)
            self._commit()
        except KeyboardInterrupt:
            self.was_interrupted = True
            self._commit()

    def _embed(
        self, file: CifarFile, known: set[str], report: Callable[[IngestProgress], None]
    ) -> None:
        preprocessing = self.collection.store.info.model.require_preprocessing()
        labels = _LabelColumns(self.cifar, file)
        for row in range(len(file.labels)):
            path = f"{file.split}/{file.first_number + row:05d}"
            if path in known:
                self.n_known += 1
                continue
            photo = _prepared(file.pixels[row], path, preprocessing, format_name=_shown(self.cifar))
            if self.embedder.add(photo):
                self._take_batch(labels)
                report(self._progress())
        self._take_batch(labels)

    def _take_batch(self, labels: "_LabelColumns") -> None:
        batch = self.embedder.rows(self._new_ids)
        if batch is None:
            return
        self.n_unusable += len(batch.unusable)
        rows = labels.added_to(batch.table, self.collection.store.image_columns)
        self._waiting.append(rows)
        if sum(map(len, self._waiting)) >= self.collection.settings.append_rows:
            self._commit()

    def _commit(self) -> None:
        if not self._waiting:
            return
        with deferred_interrupt():
            rows = pa.concat_tables(self._waiting)
            self._waiting = []
            self.collection.store.append_images(rows)
            self.n_written += len(rows)

    def _new_ids(self, count: int) -> IntArray:
        first, self._next_id = self._next_id, self._next_id + count
        return np.arange(first, self._next_id, dtype=np.int64)

    def _progress(self) -> IngestProgress:
        n_waiting = sum(map(len, self._waiting))
        n_done = self.n_written + n_waiting + self.n_unusable
        return IngestProgress(n_done, self.n_read - self.n_known, self.n_unusable)

    def summary(self, *, seconds: float) -> ImportSummary:
        """Return what was done; see :class:`ImportSummary`."""
        store = self.collection.store
        return ImportSummary(
            collection=store.uri,
            model=store.info.model.id,
            is_opened=True,
            embedding_dim=store.info.model.embedding_dim,
            is_unit=False,
            n_read=self.n_read,
            n_imported=self.n_written,
            n_unusable=self.n_unusable,
            n_repeated=0,
            n_known=self.n_known,
            n_pending=self.n_read - self.n_written - self.n_unusable - self.n_known,
            renamed={},
            left_out={},
            n_images=store.count_images(),
            seconds=seconds,
            interrupted=self.was_interrupted,
        )


@dataclass(frozen=True, slots=True)
class _LabelColumns:
    """The columns that a file of CIFAR gives its pictures beside those of all photos."""

    cifar: Cifar
    file: CifarFile

    def added_to(self, table: pa.Table, schema: pa.Schema) -> pa.Table:
        """Return rows of pictures of this file with the columns of the collection."""
        numbers = [int(path.rpartition("/")[2]) for path in table["path"].to_pylist()]
        rows = np.array(numbers, dtype=np.int64) - self.file.first_number
        given = {
            "split": [self.file.split] * len(rows),
            "label": [self.cifar.names[label] for label in self.file.labels[rows]],
        }
        if self.file.coarse_labels is not None:
            coarse = self.file.coarse_labels[rows]
            given["coarse_label"] = [self.cifar.coarse_names[label] for label in coarse]
        columns = [
            pa.array(given[field.name], field.type) if field.name in given else table[field.name]
            for field in schema
        ]
        return pa.table(columns, schema=schema)


def _prepared(
    pixels: ByteArray, path: str, preprocessing: Preprocessing, *, format_name: str
) -> PreparedPhoto:
    pixels = np.ascontiguousarray(pixels)
    photo = DecodedPhoto(
        pixels=pixels,
        extent=(0, 0, SIDE, SIDE),
        width=SIDE,
        height=SIDE,
        format=format_name,
        frames=1,
        taken_at=None,
        camera=None,
        latitude=None,
        longitude=None,
        jpeg_quality=None,
    )
    return PreparedPhoto(
        file=ScannedFile("", path, PICTURE_BYTES, 0),
        content_hash=hashlib.sha256(pixels.tobytes()).hexdigest(),
        pixels=preprocess(pixels, preprocessing),
        columns=photo_columns(photo),
    )


def _shown(cifar: Cifar) -> str:
    return cifar.kind.upper().replace("CIFAR", "CIFAR-")
