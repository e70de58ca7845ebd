"""A gallery that stays open while photos are added and removed.

What an index was opened with is left as it is, so that searches go on meanwhile; photos that came
since are kept in a small exact index beside it.
"""

import multiprocessing
import os
import signal
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np

from indexer.ann import build_ann_index, faiss_is_available
from indexer.arrays import FloatArray, IntArray
from indexer.gallery import (
    MAX_DELETED_ROWS,
    AnnGallery,
    Gallery,
    StoreGallery,
    added_blocks,
    cached_ann_gallery,
    centred,
    open_ann_gallery,
)
from indexer.spaces import SpaceMap
from indexer.store import Store, open_store

SERVED_EXACT_ROWS = 20_000
"""Up to so many photos all are compared. A service has two cores for eight searches at once: to
compare all of 100,000 x 512 takes 4.5 ms of both, 64 cells 0.7 (measured once, by hand)."""

SERVED_N_PROBE = 48
"""Cells visited per query. Among 100,000 photos recall@50 is .987 in 1,280 dimensions and .981 in
256 (`tests.benchmarks.serving`). What counts is how much memory is read: with 64 cells a
quarter fewer searches were answered, and up to .01 more was found (measured once, by hand)."""

# Beyond so many, a copy of the vectors at each commit (50 MB at 1,280 dimensions) and their scan
# cost more than bringing the large index up to date.
MAX_RECENT_ROWS = 10_000

# Of 19 at most: searches come first.
_NICENESS = 10


@dataclass(frozen=True, slots=True)
class GrowingGallery:
    """A space in two indexes: `settled`, as it was opened, and `recent`, what came since."""

    settled: AnnGallery
    recent: AnnGallery

    @property
    def space_map(self) -> SpaceMap:
        """The map by which image vectors come into the space."""
        return self.settled.space_map

    def search(
        self, query: FloatArray, *, top_k: int, where: str | None = None
    ) -> tuple[FloatArray, IntArray]:
        """Search both indexes; see :class:`indexer.gallery.Gallery`."""
        similarities, image_ids = self.settled.search(query, top_k=top_k, where=where)
        if not len(self.recent.image_ids):
            return similarities, image_ids
        recent_similarities, recent_ids = self.recent.search(query, top_k=top_k, where=where)
        similarities = np.concatenate([similarities, recent_similarities])
        image_ids = np.concatenate([image_ids, recent_ids])
        best = np.argsort(-similarities, kind="stable")[:top_k]
        return similarities[best], image_ids[best]

    def vector(self, image_id: int) -> FloatArray | None:
        """Return a photo's vector; see :class:`indexer.gallery.Gallery`."""
        settled = self.settled.vector(image_id)
        return self.recent.vector(image_id) if settled is None else settled

    def caught_up(self, image_ids: IntArray) -> "GrowingGallery":
        """Return the gallery of the photos that there are now.

        Parameters
        ----------
        image_ids : int64 of shape (n,)
            All photos of the collection, ascending.
        """
        if is_far_behind(self.settled, image_ids):
            return open_growing(self.settled.store, self.space_map, image_ids)
        return self.with_changes(image_ids)

    def with_changes(self, image_ids: IntArray) -> "GrowingGallery":
        """Return the gallery of the photos that there are now, however many changed."""
        is_gone = ~np.isin(self.settled.image_ids, image_ids)
        recent_ids = image_ids[~np.isin(image_ids, self.settled.image_ids)]
        return GrowingGallery(replace(self.settled, deleted=is_gone), self._with_recent(recent_ids))

    def _with_recent(self, image_ids: IntArray) -> AnnGallery:
        known = self.recent
        is_kept = np.isin(known.image_ids, image_ids)
        ids = [known.image_ids[is_kept]]
        vectors = [known.ann_index.vectors(np.flatnonzero(is_kept))]
        missing = image_ids[~np.isin(image_ids, ids[0])]
        for block_ids, stored in added_blocks(self.settled.store, self.space_map.column, missing):
            ids.append(block_ids)
            vectors.append(self.space_map.image_vectors(stored))
        return _exact_gallery(self.settled, np.concatenate(ids), np.concatenate(vectors))


def caught_up(gallery: Gallery, image_ids: IntArray) -> Gallery:
    """Return a gallery of the photos that there are now; one that asks the store is as it was."""
    return gallery.caught_up(image_ids) if isinstance(gallery, GrowingGallery) else gallery


def is_far_behind(gallery: AnnGallery, image_ids: IntArray) -> bool:
    """Return whether a gallery lacks or still has too many photos to go on with it."""
    n_gone = np.count_nonzero(~np.isin(gallery.image_ids, image_ids))
    n_recent = np.count_nonzero(~np.isin(image_ids, gallery.image_ids))
    return bool(n_gone > MAX_DELETED_ROWS or n_recent > MAX_RECENT_ROWS)


def open_served_gallery(store: Store, space_map: SpaceMap) -> Gallery:
    """Return a gallery for many searches at once, by FAISS where it is installed."""
    if faiss_is_available():
        image_ids = np.asarray(store.images(["image_id"])["image_id"], np.int64)
        return open_growing(store, space_map, np.sort(image_ids))
    return StoreGallery(store, centred(space_map, store))


def open_growing(store: Store, space_map: SpaceMap, image_ids: IntArray) -> GrowingGallery:
    """Return the gallery of the photos that there are.

    Parameters
    ----------
    store : Store
    space_map : SpaceMap
    image_ids : int64 of shape (n,)
        All photos of the collection, ascending.
    """
    settled = _settled_gallery(store, space_map, image_ids)
    settled.ann_index.visit_cells(SERVED_N_PROBE)
    empty = np.empty((0, settled.ann_index.dimension), np.float32)
    recent = _exact_gallery(settled, np.empty(0, np.int64), empty)
    return GrowingGallery(settled, recent).with_changes(image_ids)


def _settled_gallery(store: Store, space_map: SpaceMap, image_ids: IntArray) -> AnnGallery:
    """Return a gallery of nearly all photos; of many, one that is mapped from its cache."""
    if len(image_ids) <= SERVED_EXACT_ROWS:
        # The usual cache, which `isophote index` keeps up to date.
        return open_ann_gallery(store, space_map)
    cached = cached_ann_gallery(store, space_map, exact_limit=SERVED_EXACT_ROWS)
    if cached is None or is_far_behind(cached, image_ids):
        _settle_elsewhere(store.uri, space_map)
        cached = cached_ann_gallery(store, space_map, exact_limit=SERVED_EXACT_ROWS)
    # Where no cache can be written, it is built in memory.
    return cached or open_ann_gallery(store, space_map, exact_limit=SERVED_EXACT_ROWS)


def _settle_elsewhere(uri: str, space_map: SpaceMap) -> None:
    """Write the cache of a space anew in a process of its own.

    To build an index of 100,000 x 1,280, or to add to it, takes a gigabyte for some seconds, of
    which a service would keep a part.
    """
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_settle, args=(uri, space_map, SERVED_EXACT_ROWS), daemon=True)
    process.start()
    process.join()


def _settle(uri: str, space_map: SpaceMap, exact_limit: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(OSError, AttributeError):
        os.nice(_NICENESS)
    open_ann_gallery(open_store(uri), space_map, exact_limit=exact_limit)


def _exact_gallery(settled: AnnGallery, image_ids: IntArray, vectors: FloatArray) -> AnnGallery:
    return AnnGallery(
        store=settled.store,
        space_map=settled.space_map,
        image_ids=image_ids,
        ann_index=build_ann_index(vectors, use_gpu=False),
        deleted=np.zeros(len(image_ids), np.bool_),
        n_trained=len(image_ids),
    )
