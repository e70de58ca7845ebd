"""The photos that are looked through for duplicates, the best keeper first, with what tells them.

Everything about a photo is addressed by its row here. As rows come in the order in which photos
make good keepers, "better" is "lower".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from indexer.arrays import BoolArray, ByteArray, Float16Array, IntArray
from indexer.scan import joined_path
from indexer.scoring.thumbnail_agreement import SIDE
from indexer.spaces import SpaceMap
from indexer.store import Store
from schemas.duplicates import DuplicatePhoto
from service.duplicates.keepers import FOUND_COLUMNS, RANKED_COLUMNS, Preference, Ranking

if TYPE_CHECKING:
    from service.collection import Collection

_SHOWN_COLUMNS = ("image_id", "content_hash", "pixel_hash", "taken_at")


@dataclass(frozen=True, slots=True)
class PhotoSet:
    """Photos of a collection, the best keeper first. `facts` has a row for each."""

    store: Store
    facts: pa.Table

    def __len__(self) -> int:
        return len(self.facts)

    @property
    def image_ids(self) -> IntArray:
        """Ids, int64 (n,)."""
        return np.asarray(self.facts["image_id"], dtype=np.int64)

    def codes(self, column: str) -> IntArray:
        """Return int64 (n,): equal where a column of text is equal, -1 where it is null."""
        encoded = self.facts[column].combine_chunks().dictionary_encode()
        return np.asarray(encoded.indices.fill_null(-1), dtype=np.int64)

    def taken(self, rows: IntArray) -> pa.Table:
        """Return the facts of some photos."""
        return self.facts.take(pa.array(rows, pa.int64()))

    def with_found(self, found: Mapping[str, npt.NDArray[Any]]) -> "PhotoSet":
        """Return the same photos with other FOUND_COLUMNS, (n,) each; they are 0 by default."""
        facts = self.facts.select([n for n in self.facts.column_names if n not in FOUND_COLUMNS])
        nothing = np.zeros(len(facts))
        for name in FOUND_COLUMNS:
            facts = facts.append_column(name, pa.array(found.get(name, nothing)))
        return PhotoSet(self.store, facts)

    def records(self, rows: IntArray) -> list[DuplicatePhoto]:
        """Return what is shown of photos."""
        return [photo_record(facts) for facts in self.taken(rows).to_pylist()]


def load_photos(collection: "Collection", *, where: str | None, preference: Preference) -> PhotoSet:
    """Read the photos for which a condition holds.

    Raises
    ------
    FilterError
        If the condition is not one.
    InputError
        If no photo lies in a preferred folder.
    """
    columns = dict.fromkeys((*_SHOWN_COLUMNS, *RANKED_COLUMNS))
    facts = collection.store.images(list(columns), where)
    preference.refuse_unknown(facts)
    photos = PhotoSet(collection.store, facts).with_found({})
    return PhotoSet(photos.store, photos.taken(Ranking.of(photos.facts, preference).order))


def photo_vectors(photos: PhotoSet, rows: IntArray, placed: SpaceMap) -> Float16Array:
    """Return the vectors float16 (m, d) of some photos in a space, which must have its centre."""
    wanted = _RowFinder.of(photos, rows)
    vectors: Float16Array | None = None
    for image_ids, stored in photos.store.vector_blocks(placed.column):
        at, is_wanted = wanted.find(image_ids)
        block = placed.image_vectors(stored[is_wanted]).astype(np.float16)
        if vectors is None:
            vectors = np.zeros((len(rows), block.shape[1]), np.float16)
        vectors[at] = block
    return np.zeros((len(rows), 1), np.float16) if vectors is None else vectors


def photo_thumbnails(photos: PhotoSet, rows: IntArray) -> tuple[ByteArray, BoolArray]:
    """Return thumbnails uint8 (m, 32, 32) of some photos, and which have one."""
    wanted = _RowFinder.of(photos, rows)
    thumbnails = np.zeros((len(rows), SIDE, SIDE), np.uint8)
    is_known = np.zeros(len(rows), np.bool_)
    columns = ["image_id", "luma_thumbnail"]
    for block in photos.store.image_blocks(columns, "luma_thumbnail IS NOT NULL"):
        at, is_wanted = wanted.find(np.asarray(block["image_id"], dtype=np.int64))
        chosen = block["luma_thumbnail"].filter(pa.array(is_wanted))
        thumbnails[at] = np.frombuffer(b"".join(chosen.to_pylist()), np.uint8).reshape(
            len(at), SIDE, SIDE
        )
        is_known[at] = True
    return thumbnails, is_known


@dataclass(frozen=True, slots=True)
class _RowFinder:
    """Finds the places of ids among wanted ones."""

    sorted_ids: IntArray
    places: IntArray

    @classmethod
    def of(cls, photos: PhotoSet, rows: IntArray) -> "_RowFinder":
        ids = photos.image_ids[rows]
        order = np.argsort(ids)
        return cls(ids[order], order)

    def find(self, image_ids: IntArray) -> tuple[IntArray, BoolArray]:
        """Return the places of those ids that are wanted, and which are."""
        if not len(self.sorted_ids):
            return np.empty(0, np.int64), np.zeros(len(image_ids), np.bool_)
        nearest = np.searchsorted(self.sorted_ids, image_ids).clip(max=len(self.sorted_ids) - 1)
        is_wanted = self.sorted_ids[nearest] == image_ids
        return self.places[nearest[is_wanted]], is_wanted


def photo_record(facts: Mapping[str, Any]) -> DuplicatePhoto:
    """Return what is shown of a photo."""
    names = DuplicatePhoto.model_fields.keys() - {"path"}
    path = joined_path(str(facts["root"]), str(facts["path"]))
    return DuplicatePhoto.model_validate({"path": path, **{name: facts[name] for name in names}})
