"""Photos that two sets have in common: those for training and for tests, a card and a library."""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from indexer.arrays import IntArray
from indexer.scan import stored_path
from indexer.store import store_exists
from schemas.duplicates import DuplicatePair, LeakList
from schemas.errors import InputError, MismatchError
from schemas.tiers import Tier
from service.duplicates.copies import copies_between
from service.duplicates.differences import Side, likenesses
from service.duplicates.finding import Report, progress_of, refuse_without_files
from service.duplicates.keepers import Preference
from service.duplicates.likeness import similar_between
from service.duplicates.material import Asked, Matches, Material, default_map
from service.duplicates.photos import PhotoSet, load_photos
from service.paths import lies_below

if TYPE_CHECKING:
    from service.collection import Collection


def find_leaks(
    collection: "Collection",
    other: str,
    *,
    tier: Tier = "near",
    asked: Asked | None = None,
    where: str | None = None,
    report: Report,
) -> LeakList:
    """Return all pairs of a photo of a collection and one of another set that are alike.

    Parameters
    ----------
    collection : Collection
    other : str
        An indexed folder of the collection: its photos are compared with those of all others. Or
        the place of another collection, made with the same model.
    tier : {"bytes", "pixels", "near", "similar"}
        How much alike; pairs of the stricter tiers are among them.
    asked : Asked, optional
        Threshold of the tiers near and similar.
    where : str, optional
        Only photos of the collection for which this SQL condition holds.
    report : callable
        Told the progress of the comparison.

    Raises
    ------
    InputError
        If `other` is neither, one of the sets has no photos, or they do not have what the tier
        compares.
    MismatchError
        If the other collection was made in another way.
    FilterError
        If the condition is not one.
    """
    started = time.monotonic()
    refuse_without_files(collection, tier)
    sets = _Sets.of(collection, other, where, tier)
    rows, others = _equal_pairs(sets, "content_hash" if tier == "bytes" else "pixel_hash")
    materials: tuple[Material, Material] | None = None
    matches: Matches | None = None
    if tier in ("near", "similar"):
        materials = sets.materials(collection)
        between = copies_between if tier == "near" else similar_between
        n_photos = len(sets.left) + len(sets.right)
        matches = between(*materials, asked or Asked(), report=progress_of(n_photos, report))
        rows, others = _united(rows, others, matches, n_right=len(sets.right))
    pairs = _pairs(sets, materials, rows, others, tier)
    return LeakList(
        left=sets.left_name,
        right=sets.right_name,
        tier=tier,
        threshold=None if matches is None else matches.threshold,
        n_left=len(sets.left),
        n_right=len(sets.right),
        n_left_alike=len(np.unique(rows)),
        n_right_alike=len(np.unique(others)),
        n_unmeasured=_n_unmeasured(materials) if tier == "near" else 0,
        recall=1.0 if matches is None else matches.recall,
        pairs=pairs,
        seconds=time.monotonic() - started,
    )


@dataclass(frozen=True, slots=True)
class _Sets:
    """The two sets of photos and what they are called."""

    left: PhotoSet
    right: PhotoSet
    left_name: str
    right_name: str

    @classmethod
    def of(cls, collection: "Collection", other: str, where: str | None, tier: Tier) -> "_Sets":
        photos = load_photos(collection, where=where, preference=Preference())
        folder = stored_path(os.path.realpath(Path(other).expanduser()))
        is_inside = lies_below(photos.facts, folder)
        name = collection.store.uri
        if is_inside.any():
            left, right = (
                PhotoSet(photos.store, photos.facts.filter(pa.array(chosen)))
                for chosen in (~is_inside, is_inside)
            )
            sets = cls(left, right, f"{name} without {folder}", folder)
        elif store_exists(other):
            second = _opened(collection, other, tier)
            theirs = load_photos(second, where=None, preference=Preference())
            sets = cls(photos, theirs, name, second.store.uri)
        else:
            raise InputError(
                f"{other} is neither a collection nor a folder that has photos in {name}; index "
                "it, or name another"
            )
        sets.refuse_empty()
        return sets

    def refuse_empty(self) -> None:
        """Refuse sets of which one has no photos."""
        for photos, name in ((self.left, self.left_name), (self.right, self.right_name)):
            if not len(photos):
                raise InputError(f"{name} has no photos to compare; index some, or change --where")

    def materials(self, collection: "Collection") -> tuple[Material, Material]:
        """Read what the photos are compared by, in one space."""
        placed = default_map(collection)
        everyone = [np.arange(len(photos)) for photos in (self.left, self.right)]
        return (
            Material.of(self.left, everyone[0], placed),
            Material.of(self.right, everyone[1], placed),
        )


def _opened(collection: "Collection", other: str, tier: Tier) -> "Collection":
    """Open another collection, and refuse one whose photos cannot be compared."""
    from service.collection import open_collection

    second = open_collection(collection.settings.model_copy(update={"collection": other}))
    refuse_without_files(second, tier)
    ours, theirs = collection.store.info, second.store.info
    compared = [("preprocessing", ours.preprocessing_fingerprint, theirs.preprocessing_fingerprint)]
    if tier in ("near", "similar"):
        compared += [
            ("model", ours.model.id, theirs.model.id),
            ("weights", ours.weights_digest, theirs.weights_digest),
            ("projectors", ours.projectors_digest, theirs.projectors_digest),
        ]
    for what, one, another in compared if tier != "bytes" else []:
        if one != another:
            raise MismatchError(
                f"{other!r} was made with other {what} ({another[:16]}, not {one[:16]}), so its "
                "photos cannot be compared; index them with the same model, or give --tier bytes"
            )
    return second


def _equal_pairs(sets: _Sets, column: str) -> tuple[IntArray, IntArray]:
    """Return all pairs of a left and a right row with the same value."""
    ours, theirs = sets.left.facts[column], sets.right.facts[column]
    both = pa.chunked_array([*ours.chunks, *theirs.chunks], ours.type).combine_chunks()
    codes = np.asarray(both.dictionary_encode().indices.fill_null(-1), dtype=np.int64)
    left, right = codes[: len(ours)], codes[len(ours) :]
    order = np.argsort(right, kind="stable")
    first = np.searchsorted(right[order], left, side="left")
    n_equal = np.searchsorted(right[order], left, side="right") - first
    n_equal[left < 0] = 0
    rows = np.repeat(np.arange(len(left)), n_equal)
    # Within each run of one left row, the places count up from its first.
    counted = np.arange(len(rows)) - np.repeat(np.cumsum(n_equal) - n_equal, n_equal)
    return rows, order[np.repeat(first, n_equal) + counted]


def _united(
    rows: IntArray, others: IntArray, matches: Matches, *, n_right: int
) -> tuple[IntArray, IntArray]:
    found = matches.pairs.first.astype(np.int64) * n_right + matches.pairs.second
    key = np.unique(np.concatenate([rows * n_right + others, found]))
    return key // n_right, key % n_right


def _pairs(
    sets: _Sets,
    materials: tuple[Material, Material] | None,
    rows: IntArray,
    others: IntArray,
    tier: Tier,
) -> list[DuplicatePair]:
    left, right = materials or (None, None)
    told = likenesses(
        Side(sets.left, rows, left, rows), Side(sets.right, others, right, others), tier=tier
    )
    shown = zip(sets.left.records(rows), sets.right.records(others), told, strict=True)
    pairs = [
        DuplicatePair(
            left=one,
            right=other,
            tier=how.tier,
            similarity=how.similarity,
            difference=how.difference,
        )
        for one, other, how in shown
    ]
    return sorted(pairs, key=lambda pair: (-pair.similarity, pair.left.path, pair.right.path))


def _n_unmeasured(materials: tuple[Material, Material] | None) -> int:
    return sum(int((~material.is_measured).sum()) for material in materials or ())
