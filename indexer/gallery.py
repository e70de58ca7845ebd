"""A collection's photos in one space, ready to be searched.

With FAISS the vectors of a space are kept in an index beside the collection. The collection is
the truth: the index is stamped with what it was made of, extended by rows added since, and
rebuilt when it cannot be trusted. Without FAISS the store itself answers.
"""

import json
import secrets
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from indexer.ann import (
    EXACT_LIMIT,
    AnnIndex,
    DamagedIndexError,
    build_ann_index,
    faiss_is_available,
    load_ann_index,
)
from indexer.arrays import BoolArray, FloatArray, IntArray
from indexer.scoring.similarity import exact_search
from indexer.spaces import SpaceMap
from indexer.store import Store, local_directory, vectors_of
from schemas.errors import StorageError
from schemas.model import Space
from schemas.results import AnnReport

# Deleted rows stay in the index until so many were deleted that a search, which asks for as many
# extra hits, would notice; a rebuild of 100,000 rows takes about a second.
MAX_DELETED_ROWS = 256

# A cache that differs from the collection by less is not written anew: 100,000 x 1,280 float32
# are half a gigabyte. Rows added cost a copy in memory when opening, 0.3 s for 100 MB; rows
# deleted cost nothing.
MIN_SAVED_SHARE = 0.01

# Added rows are appended to the index; it is rebuilt once it has grown by half, because the
# cells of an approximate index suit the rows they were trained on.
MAX_GROWTH = 1.5

# Each list of class names makes another space `semantic`. Whoever compares two lists finds both
# kept; 100,000 x 256 float32 are 100 MB each.
KEPT_SEMANTIC = 3


class Gallery(Protocol):
    """Photos of a collection that can be searched in one space."""

    @property
    def space_map(self) -> SpaceMap:
        """The map by which image vectors come into the space."""

    def search(
        self, query: FloatArray, *, top_k: int, where: str | None = None
    ) -> tuple[FloatArray, IntArray]:
        """Return the photos nearest to a unit vector (d,).

        Parameters
        ----------
        query : float32 of shape (d,)
        top_k : int
            At least 1.
        where : str, optional
            A SQL condition; the answer is then exact among the photos that match it.

        Returns
        -------
        similarities, image_ids : float32 and int64 of shape (n,)
            Cosines in [-1, 1], best first; n = top_k where so many photos match.

        Raises
        ------
        FilterError
            If the condition is not one.
        """

    def vector(self, image_id: int) -> FloatArray | None:
        """Return a photo's unit vector (d,); None if it is not in the gallery."""


def open_gallery(store: Store, space_map: SpaceMap) -> Gallery:
    """Return the gallery of a space, by FAISS where it is installed."""
    if faiss_is_available():
        return open_ann_gallery(store, space_map)
    return StoreGallery(store, centred(space_map, store))


class Stamp(BaseModel):
    """What a cached index was made of; written last, so that it only ever names whole files.

    `created_at` is that of the collection: another one may have been made at the same place.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    created_at: datetime
    space: Space
    token: str
    map_digest: str
    table_version: int
    n_rows: int
    n_trained: int
    kind: str


@dataclass(slots=True)
class AnnGallery:
    """A space in a FAISS index. `image_ids` is int64 (n,) in the order of its rows."""

    store: Store
    space_map: SpaceMap
    image_ids: IntArray
    ann_index: AnnIndex
    deleted: BoolArray
    n_trained: int

    def search(
        self, query: FloatArray, *, top_k: int, where: str | None = None
    ) -> tuple[FloatArray, IntArray]:
        """Search the index; see :class:`Gallery`."""
        rows = None if where is None else self._rows_of(self.store.matching_ids(where))
        n_deleted = int(self.deleted.sum()) if rows is None else 0
        similarities, found = self.ann_index.search(
            query[np.newaxis], top_k=top_k + n_deleted, rows=rows
        )
        kept = found[0] >= 0
        kept[kept] = ~self.deleted[found[0][kept]]
        best = np.clip(similarities[0][kept][:top_k], -1.0, 1.0)
        return best, self.image_ids[found[0][kept][:top_k]]

    def vector(self, image_id: int) -> FloatArray | None:
        """Return a photo's vector as the index has it; see :class:`Gallery`."""
        rows = np.flatnonzero(self.image_ids == image_id)
        is_there = len(rows) and not self.deleted[rows[0]]
        return self.ann_index.vectors(rows)[0] if is_there else None

    def differs_from(self, cached: "AnnGallery") -> bool:
        """Return whether the cache that this came from is worth writing anew."""
        n_added = len(self.image_ids) - len(cached.image_ids)
        n_deleted = int(self.deleted.sum()) - int(cached.deleted.sum())
        was_rebuilt = self.ann_index is not cached.ann_index
        return was_rebuilt or n_added + n_deleted > MIN_SAVED_SHARE * len(cached.image_ids)

    def _rows_of(self, image_ids: IntArray) -> IntArray:
        return np.flatnonzero(np.isin(self.image_ids, image_ids) & ~self.deleted)


@dataclass(frozen=True, slots=True)
class StoreGallery:
    """A space searched by the store: its own index where it has one, else by brute force.

    With its own index the store's answer is approximate, under a condition as well.
    """

    store: Store
    space_map: SpaceMap

    def search(
        self, query: FloatArray, *, top_k: int, where: str | None = None
    ) -> tuple[FloatArray, IntArray]:
        """Search the store; see :class:`Gallery`."""
        space_map = self.space_map
        # The store's embeddings have no centre: a collection's mean is not known before its end.
        is_stored = space_map.space == self.store.info.model.default_image_space
        if is_stored and not space_map.needs_centre:
            similarities, image_ids = self.store.nearest(query, top_k=top_k, where=where)
            return np.clip(similarities, -1.0, 1.0), image_ids
        best, best_ids = np.empty(0, np.float32), np.empty(0, np.int64)
        for image_ids, stored in self.store.vector_blocks(space_map.column, where):
            vectors = space_map.image_vectors(stored)
            similarities, rows = exact_search(query[np.newaxis], vectors, top_k=top_k)
            found = rows[0] >= 0
            best = np.concatenate([best, similarities[0][found]])
            best_ids = np.concatenate([best_ids, image_ids[rows[0][found]]])
            order = np.lexsort((best_ids, -best))[:top_k]
            best, best_ids = best[order], best_ids[order]
        return np.clip(best, -1.0, 1.0), best_ids

    def vector(self, image_id: int) -> FloatArray | None:
        """Return a photo's vector from the store; see :class:`Gallery`."""
        return stored_vector(self.store, self.space_map, image_id)


def stored_vector(store: Store, space_map: SpaceMap, image_id: int) -> FloatArray | None:
    """Return the unit vector (d,) of a photo in a space; None if there is no such photo."""
    row = store.images_by_id(np.array([image_id], dtype=np.int64), [space_map.column])
    if not row.num_rows:
        return None
    vector: FloatArray = space_map.image_vectors(vectors_of(row[space_map.column]))[0]
    return vector


def open_ann_gallery(
    store: Store, space_map: SpaceMap, *, exact_limit: int = EXACT_LIMIT
) -> AnnGallery:
    """Return the FAISS gallery of a space, from its cache if that can be trusted.

    Changes are written back to the cache, unless its folder cannot be written to.

    Parameters
    ----------
    store : Store
    space_map : SpaceMap
    exact_limit : int
        Up to so many photos all are compared. Another limit than the usual one has a cache of
        its own.
    """
    table_version = store.version
    cached = _load(store, space_map, exact_limit)
    if cached is not None and cached[1].table_version == table_version:
        return cached[0]
    gallery = None if cached is None else _brought_up_to_date(cached[0])
    if gallery is None:
        gallery = _built(store, space_map, exact_limit)
    if cached is not None and not gallery.differs_from(cached[0]):
        return gallery
    _save(gallery, table_version, _cache_name(space_map, exact_limit))
    saved = _load(store, space_map, exact_limit)
    # Mapped from its file, its vectors are no burden where memory is short. The file may be
    # another process's, or none.
    return saved[0] if saved is not None and saved[1].table_version == table_version else gallery


def cached_ann_gallery(store: Store, space_map: SpaceMap, *, exact_limit: int) -> AnnGallery | None:
    """Return the FAISS gallery of a space as it was when its cache was written; None without one.

    Parameters are those of :func:`open_ann_gallery`.
    """
    cached = _load(store, space_map, exact_limit)
    return None if cached is None else cached[0]


def centred(space_map: SpaceMap, store: Store) -> SpaceMap:
    """Return the map with the gallery's mean as its centre, if it asks for one."""
    if not space_map.needs_centre:
        return space_map
    total, count = np.zeros(1), 0
    for _, stored in store.vector_blocks(space_map.column):
        total = total + space_map.uncentred(stored).sum(axis=0, dtype=np.float64)
        count += len(stored)
    return space_map.centred_at((total / max(count, 1)).astype(np.float32) if count else None)


def ann_reports(store: Store) -> list[AnnReport]:
    """Return the state of all cached indexes of a collection."""
    version = store.version
    reports = []
    for path in sorted(cache_directory(store.uri).glob("*.json")):
        stamp = _read_stamp(path)
        if stamp is None:
            continue
        files = path.parent.glob(f"{path.stem}-{stamp.token}.*")
        reports.append(
            AnnReport(
                space=stamp.space,
                kind=stamp.kind,
                n_rows=stamp.n_rows,
                is_current=stamp.table_version == version,
                n_bytes=sum(file.stat().st_size for file in files),
            )
        )
    return reports


def cache_directory(uri: str) -> Path:
    """Return where the indexes of a collection lie."""
    return local_directory(uri) / "ann"


def _built(store: Store, space_map: SpaceMap, exact_limit: int) -> AnnGallery:
    space_map = centred(space_map, store)
    capacity = store.count_images()
    image_ids = np.empty(capacity, np.int64)
    vectors: FloatArray | None = None
    n_rows = 0
    for ids, stored in store.vector_blocks(space_map.column):
        block = space_map.image_vectors(stored)[: capacity - n_rows]
        if vectors is None:
            vectors = np.empty((capacity, block.shape[1]), np.float32)
        vectors[n_rows : n_rows + len(block)] = block
        image_ids[n_rows : n_rows + len(block)] = ids[: len(block)]
        n_rows += len(block)
    if vectors is None:
        vectors = np.empty((0, _dimension(space_map, store)), np.float32)
    ann_index = build_ann_index(vectors[:n_rows], exact_limit=exact_limit)
    no_rows_deleted = np.zeros(n_rows, np.bool_)
    return AnnGallery(store, space_map, image_ids[:n_rows], ann_index, no_rows_deleted, n_rows)


def _dimension(space_map: SpaceMap, store: Store) -> int:
    if space_map.axes is not None:
        return len(space_map.axes)
    if space_map.weight is not None:
        return len(space_map.weight)
    model = store.info.model
    return model.feature_dim if space_map.column == "features" else model.embedding_dim


def _brought_up_to_date(gallery: AnnGallery) -> AnnGallery | None:
    """Return the gallery with rows added and deleted since; None if it must be rebuilt.

    Vectors under one id never change, so the ids alone tell what is new and what is gone.
    """
    current = np.sort(np.asarray(gallery.store.images(["image_id"])["image_id"], dtype=np.int64))
    deleted = ~np.isin(gallery.image_ids, current)
    added = current[~np.isin(current, gallery.image_ids)]
    n_after = len(gallery.image_ids) + len(added)
    if deleted.sum() > MAX_DELETED_ROWS or n_after > MAX_GROWTH * gallery.n_trained:
        return None
    new_ids = [gallery.image_ids]
    for ids, stored in added_blocks(gallery.store, gallery.space_map.column, added):
        gallery.ann_index.add(gallery.space_map.image_vectors(stored))
        new_ids.append(ids)
    image_ids = np.concatenate(new_ids)
    return replace(
        gallery,
        image_ids=image_ids,
        deleted=np.pad(deleted, (0, len(image_ids) - len(deleted))),
    )


def added_blocks(
    store: Store, column: str, added: IntArray
) -> Iterator[tuple[IntArray, FloatArray]]:
    """Yield ids and stored vectors, as `Store.vector_blocks`, of ids that were added, ascending."""
    if not len(added):
        return
    # Ids only grow: new rows are those from the first new id on, less any that stood there.
    for ids, stored in store.vector_blocks(column, f"image_id >= {added[0]}"):
        is_new = np.isin(ids, added)
        yield ids[is_new], stored[is_new]


def _load(store: Store, space_map: SpaceMap, exact_limit: int) -> tuple[AnnGallery, Stamp] | None:
    """Return the cached gallery and its stamp; None if there is none of this map."""
    directory, cache_name = cache_directory(store.uri), _cache_name(space_map, exact_limit)
    stamp = _read_stamp(directory / f"{cache_name}.json")
    expected = (space_map.digest, store.info.created_at)
    if stamp is None or (stamp.map_digest, stamp.created_at) != expected:
        return None
    name = f"{cache_name}-{stamp.token}"
    try:
        ann_index = load_ann_index(directory / f"{name}.faiss")
        # Opened here: np.load leaves a damaged file open.
        with (directory / f"{name}.npz").open("rb") as file, np.load(file) as arrays:
            image_ids, deleted = arrays["image_ids"], arrays["deleted"]
            centre = arrays.get("centre")
    except (DamagedIndexError, OSError, EOFError, zipfile.BadZipFile, KeyError, ValueError):
        return None
    if not ann_index.n_rows == len(image_ids) == len(deleted) == stamp.n_rows:
        return None
    placed = space_map.centred_at(centre)
    return AnnGallery(store, placed, image_ids, ann_index, deleted, stamp.n_trained), stamp


def _save(gallery: AnnGallery, table_version: int, cache_name: str) -> None:
    directory = cache_directory(gallery.store.uri)
    stamp = Stamp(
        created_at=gallery.store.info.created_at,
        space=gallery.space_map.space,
        token=secrets.token_hex(4),
        map_digest=gallery.space_map.digest,
        table_version=table_version,
        n_rows=len(gallery.image_ids),
        n_trained=gallery.n_trained,
        kind=gallery.ann_index.kind,
    )
    name = f"{cache_name}-{stamp.token}"
    arrays: dict[str, Any] = {"image_ids": gallery.image_ids, "deleted": gallery.deleted}
    if gallery.space_map.centre is not None:
        arrays["centre"] = gallery.space_map.centre
    try:
        directory.mkdir(parents=True, exist_ok=True)
        gallery.ann_index.save(directory / f"{name}.faiss")
        np.savez(directory / f"{name}.npz", **arrays)
        temporary = directory / f"{name}.tmp"
        temporary.write_text(stamp.model_dump_json(), encoding="utf-8")
        temporary.replace(directory / f"{cache_name}.json")
    except (OSError, StorageError):
        # A cache that cannot be written is no reason not to answer: a collection on a read-only
        # disk is searched from memory. What a full disk took of it would only fill it further.
        _remove(directory.glob(f"{name}*"))
    else:
        others = directory.glob(f"{cache_name}-*")
        _remove(path for path in others if not path.name.startswith(name))
        _drop_old_semantic(directory)


def _cache_name(space_map: SpaceMap, exact_limit: int) -> str:
    """Return what the files of a cached index are called: the space, and which of its kind."""
    kind = "" if exact_limit == EXACT_LIMIT else f"_exact{exact_limit}"
    if space_map.space == "semantic":
        return f"semantic_{space_map.digest}{kind}"
    return f"{space_map.space}{kind}"


def _drop_old_semantic(directory: Path) -> None:
    """Remove the indexes of all but the newest lists of class names."""
    with suppress(OSError):  # another process may be at it
        stamps = sorted(directory.glob("semantic_*.json"), key=lambda path: path.stat().st_mtime_ns)
        for stamp in stamps[:-KEPT_SEMANTIC]:
            _remove([stamp, *directory.glob(f"{stamp.stem}-*")])


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        with suppress(OSError):
            path.unlink()


def _read_stamp(path: Path) -> Stamp | None:
    try:
        return Stamp.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError):
        return None
