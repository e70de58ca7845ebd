"""The rows of a collection that are to be exported, in blocks of bounded memory."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from indexer.arrays import FloatArray, IntArray
from indexer.gallery import centred
from indexer.scan import joined_path
from indexer.spaces import SpaceMap
from indexer.store import Store, vectors_of
from schemas.errors import CollectionError, InputError
from schemas.exchange import ExchangeFormat
from schemas.model import Space
from service.axes import AxesChoice
from service.collection import Collection
from service.exchange.vector_files import TEXT_COLUMN

BLOCK_ROWS = 8192

_STORED_VECTORS = ("features", "embedding", "raw_embedding")


@dataclass(frozen=True, slots=True)
class ExportChoice:
    """What to export, and how.

    Parameters
    ----------
    where : str, optional
        SQL condition on the columns of `images`.
    space : Space
        Of the vectors.
    axes : AxesChoice, optional
        Of the space `semantic`.
    keeps_lengths : bool
        Whether the embeddings keep their lengths instead of being unit vectors; in `clip` only.
    format : ExchangeFormat, optional
        By the extension of the target if left out; a name without one becomes a folder as
        clip-retrieval writes it.
    dtype : {"float16", "float32"}, optional
        Of the vectors; by default float16 for clip-retrieval, as it writes itself, else float32.
    with_vectors : bool
        Also where they are left out by default: in CSV and JSON lines.
    """

    where: str | None = None
    space: Space = "clip"
    axes: AxesChoice | None = None
    keeps_lengths: bool = False
    format: ExchangeFormat | None = None
    dtype: Literal["float16", "float32"] | None = None
    with_vectors: bool = False


@dataclass(frozen=True, slots=True)
class ExportedRows:
    """The selected photos, by ascending id.

    `columns` is the schema of what is written beside the vectors, `place` how these are made,
    None for none. `mark` is what an import of the file will want to know, as JSON.
    """

    store: Store
    image_ids: IntArray
    where: str | None
    columns: pa.Schema
    place: SpaceMap | None
    keeps_lengths: bool
    dtype: Literal["float16", "float32"]
    dim: int
    mark: str

    @classmethod
    def selected(
        cls,
        collection: Collection,
        choice: ExportChoice,
        *,
        kind: ExchangeFormat,
        has_vectors: bool,
    ) -> "ExportedRows":
        """Find out what there is to be written.

        Raises
        ------
        InputError
            If nothing is selected, or the vectors cannot be had in the space.
        """
        store = collection.store
        if choice.keeps_lengths and choice.space != "clip":
            raise InputError(
                f"vectors of the space {choice.space!r} have no length of their own; leave out "
                "--raw, or take --space clip"
            )
        image_ids = store.matching_ids(choice.where or "image_id >= 0")
        if not len(image_ids):
            raise InputError("no photo to export: the collection or the selection is empty")
        place = None
        dim = 0
        if has_vectors:
            place = centred(collection.space_map(choice.space, choice.axes), store)
            dim = _dimension(store, place, image_ids)
        return cls(
            store=store,
            image_ids=image_ids,
            where=choice.where,
            columns=_exported_schema(store.image_columns),
            place=place,
            keeps_lengths=choice.keeps_lengths,
            dtype=choice.dtype or ("float16" if kind == "clip-retrieval" else "float32"),
            dim=dim,
            mark=_mark(store, choice),
        )

    @property
    def has_texts(self) -> bool:
        """Whether the photos have embeddings of their captions."""
        return TEXT_COLUMN in self.store.image_columns.names

    @property
    def text_dim(self) -> int:
        """Length of these embeddings."""
        return int(self.store.image_columns.field(TEXT_COLUMN).type.list_size)

    def columns_only(self) -> Iterator[pa.Table]:
        """Yield the columns of all rows in blocks."""
        for ids in self._id_blocks(0, len(self.image_ids)):
            yield self._columns(self._read(ids))

    def blocks(
        self, start: int = 0, stop: int | None = None
    ) -> Iterator[tuple[pa.Table, npt.NDArray[Any]]]:
        """Yield columns, and vectors (n, d) in the type asked for, of a range of the rows."""
        vector_columns = [] if self.place is None else [self.place.column]
        if self.has_texts:
            vector_columns.append(TEXT_COLUMN)
        for ids in self._id_blocks(start, len(self.image_ids) if stop is None else stop):
            table = self._read(ids, vector_columns)
            vectors = np.empty((len(ids), 0), np.float32)
            if self.place is not None:
                vectors = self._vectors(self.place, vectors_of(table[self.place.column]))
            columns = self._columns(table)
            if self.has_texts:
                columns = columns.append_column(TEXT_COLUMN, table[TEXT_COLUMN])
            yield columns, vectors

    def _id_blocks(self, start: int, stop: int) -> Iterator[IntArray]:
        for first in range(start, stop, BLOCK_ROWS):
            yield self.image_ids[first : min(first + BLOCK_ROWS, stop)]

    def _read(self, image_ids: IntArray, vector_columns: Sequence[str] = ()) -> pa.Table:
        names = ["root", *self.columns.names, *vector_columns]
        condition = f"image_id BETWEEN {image_ids[0]} AND {image_ids[-1]}"
        if self.where is not None:
            condition += f" AND ({self.where}\n)"
        table = self.store.images(names, condition).sort_by("image_id")
        if not np.array_equal(np.asarray(table["image_id"]), image_ids):
            raise CollectionError(
                f"photos were added to or removed from the collection {self.store.uri!r} while it "
                "was exported; run again"
            )
        return table

    def _columns(self, table: pa.Table) -> pa.Table:
        roots, paths = table["root"].to_pylist(), table["path"].to_pylist()
        full = [joined_path(root, path) for root, path in zip(roots, paths, strict=True)]
        at = table.schema.get_field_index("path")
        return table.set_column(at, "path", pa.array(full, pa.string())).select(self.columns.names)

    def _vectors(self, place: SpaceMap, stored: FloatArray) -> npt.NDArray[Any]:
        vectors = place.uncentred(stored) if self.keeps_lengths else place.image_vectors(stored)
        with np.errstate(over="ignore"):
            rounded = vectors.astype(self.dtype)
        if not np.isfinite(rounded).all():
            raise InputError(
                "some vectors are too long for float16; give --dtype float32, or leave out --raw"
            )
        return rounded


def _dimension(store: Store, place: SpaceMap, image_ids: IntArray) -> int:
    table = store.images([place.column], f"image_id = {image_ids[0]}")
    return int(place.image_vectors(vectors_of(table[place.column])).shape[1])


def _exported_schema(stored: pa.Schema) -> pa.Schema:
    hidden = {*_STORED_VECTORS, TEXT_COLUMN, "root", "luma_thumbnail"}
    return pa.schema([field for field in stored if field.name not in hidden])


def _mark(store: Store, choice: ExportChoice) -> str:
    """Return what an import of the file will want to know."""
    model = store.info.model
    model_id = model.id if choice.space == "clip" else f"{model.id} ({choice.space})"
    return json.dumps(
        {
            "version": version("isophote"),
            "model": model_id,
            "logit_scale": model.logit_scale,
            "quality_cue": model.quality_cue,
            "prompt_template": model.prompt_template,
            "space": choice.space,
        }
    )
