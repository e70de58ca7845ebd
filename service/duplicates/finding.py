"""Groups of photos that are alike: one to keep, and those that are like it."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from indexer.arrays import IntArray
from indexer.ingest import IngestProgress
from indexer.scoring.exact_cosines import smallest_similarity
from indexer.scoring.keeper_groups import keeper_groups
from indexer.scoring.similarity_join import Pairs
from indexer.scoring.thumbnail_agreement import has_frame
from schemas.duplicates import DuplicateCopy, DuplicateGroup, DuplicateList
from schemas.errors import InputError
from schemas.tiers import Tier
from service.duplicates.copies import copies_within
from service.duplicates.differences import Likeness, Side, likenesses
from service.duplicates.keepers import Preference, keeper_order, keeper_reason
from service.duplicates.likeness import similar_within
from service.duplicates.material import Asked, Matches, Material, default_map
from service.duplicates.photos import PhotoSet, load_photos

if TYPE_CHECKING:
    from service.collection import Collection

Report = Callable[[IngestProgress], None]


def find_duplicates(
    collection: "Collection",
    *,
    tier: Tier = "near",
    asked: Asked | None = None,
    where: str | None = None,
    preference: Preference | None = None,
    report: Report,
) -> DuplicateList:
    """Return the groups of photos that are alike, those that free most bytes first.

    In a group every photo is within the threshold of the keeper, so that nothing chains. The
    answer is the same for the same photos, whenever they were indexed.

    Parameters
    ----------
    collection : Collection
    tier : {"bytes", "pixels", "near", "similar"}
        How much alike; photos of the stricter tiers are in the groups as well.
    asked : Asked, optional
        Threshold of the tiers near and similar.
    where : str, optional
        Only photos for which this SQL condition holds.
    preference : Preference, optional
        Folders to keep photos of.
    report : callable
        Told the progress of the comparison.

    Raises
    ------
    InputError
        If the collection's photos do not have what the tier compares.
    FilterError
        If the condition is not one.
    """
    started = time.monotonic()
    refuse_without_files(collection, tier)
    preference = preference or Preference()
    photos = load_photos(collection, where=where, preference=preference)
    search = _Search.of(collection, photos, tier, asked or Asked(), report)
    keepers, photos = _keepers(search, preference)
    groups = _groups(replace(search, photos=photos), keepers, preference)
    return DuplicateList(
        collection=collection.store.uri,
        tier=tier,
        threshold=None if search.matches is None else search.matches.threshold,
        n_compared=len(photos),
        n_unmeasured=search.n_unmeasured,
        recall=1.0 if search.matches is None else search.matches.recall,
        n_copies=sum(len(group.copies) for group in groups),
        n_bytes=sum(_freed_bytes(group) for group in groups),
        groups=groups,
        seconds=time.monotonic() - started,
    )


def refuse_without_files(collection: "Collection", tier: Tier) -> None:
    """Refuse a tier that needs what imported vectors came without.

    Raises
    ------
    InputError
    """
    if collection.store.info.origin == "vectors" and tier != "similar":
        raise InputError(
            f"the collection {collection.store.uri!r} holds imported vectors, of which neither "
            f"bytes nor pixels are known, so there is no tier {tier}; give --tier similar"
        )


def progress_of(n_photos: int, report: Report) -> Callable[[int, int], None]:
    """Return a report of comparisons that tells them as photos."""

    def told(done: int, total: int) -> None:
        report(IngestProgress(n_photos * done // max(total, 1), n_photos, 0))

    return told


@dataclass(frozen=True, slots=True)
class _Search:
    """What was found among photos.

    Those with the same pixels, or bytes, are compared once: `distinct` (m,) are the rows that
    stand for them in `material`, `place` (n,) tells which of those stands for each photo.
    """

    photos: PhotoSet
    tier: Tier
    distinct: IntArray
    place: IntArray
    material: Material | None
    matches: Matches | None

    @classmethod
    def of(
        cls, collection: "Collection", photos: PhotoSet, tier: Tier, asked: Asked, report: Report
    ) -> "_Search":
        column = "content_hash" if tier == "bytes" else "pixel_hash"
        distinct, place = first_of_equal(photos, column)
        if tier in ("bytes", "pixels"):
            return cls(photos, tier, distinct, place, None, None)
        material = Material.of(photos, distinct, default_map(collection))
        match = copies_within if tier == "near" else similar_within
        matches = match(material, asked, report=progress_of(len(distinct), report))
        return cls(photos, tier, distinct, place, material, matches)

    @property
    def n_unmeasured(self) -> int:
        """Distinct pictures without a thumbnail, where one is needed."""
        if self.tier != "near" or self.material is None:
            return 0
        return int((~self.material.is_measured).sum())

    def side(self, rows: IntArray) -> Side:
        """Return photos as one side of pairs."""
        return Side(self.photos, rows, self.material, self.place[rows])


def first_of_equal(photos: PhotoSet, column: str) -> tuple[IntArray, IntArray]:
    """Return the first row of each value of a column, ascending, and which of them each row has.

    Photos of which the value is not known are equal to none.
    """
    codes = photos.codes(column)
    unknown = codes < 0
    codes[unknown] = codes.max(initial=-1) + 1 + np.arange(unknown.sum())
    _, first, place = np.unique(codes, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return first[order].astype(np.int64), rank[place]


def _keepers(search: _Search, preference: Preference) -> tuple[IntArray, PhotoSet]:
    """Return the row of each photo's keeper, int64 (n,), and the photos with what decided it."""
    if search.matches is None:
        return search.distinct[search.place], search.photos
    pairs, n_distinct = search.matches.pairs, len(search.distinct)
    found = _found(search.matches, n_distinct)
    if search.material is not None:
        found["has_frame"] = has_frame(search.material.thumbnails)
    photos = search.photos.with_found({name: of[search.place] for name, of in found.items()})
    order = keeper_order(photos.taken(search.distinct), preference)
    groups = order[keeper_groups(_reordered(pairs, order), n_distinct)]
    keepers = np.empty(n_distinct, np.int64)
    keepers[order] = groups
    return search.distinct[keepers[search.place]], photos


def _found(matches: Matches, n_distinct: int) -> dict[str, npt.NDArray[Any]]:
    """Return what pairs tell of photos: the columns of `keepers.FOUND_COLUMNS`."""
    pairs = matches.pairs
    ends, cosines = np.concatenate([pairs.first, pairs.second]), np.tile(pairs.similarities, 2)
    n_alike = np.bincount(ends, minlength=n_distinct)
    total = np.bincount(ends, cosines, minlength=n_distinct)
    n_same_way = np.bincount(ends[np.tile(matches.same_way, 2)], minlength=n_distinct)
    means = total / np.maximum(n_alike, 1)
    return {"n_alike": n_alike, "n_same_way": n_same_way, "mean_alike": means}


def _reordered(pairs: Pairs, order: IntArray) -> Pairs:
    """Return the pairs by places in an order of the rows, the lower place first."""
    place = np.empty(len(order), np.int32)
    place[order] = np.arange(len(order))
    ends = place[pairs.first], place[pairs.second]
    return Pairs(np.minimum(*ends), np.maximum(*ends), pairs.similarities)


def _groups(search: _Search, keeper_of: IntArray, preference: Preference) -> list[DuplicateGroup]:
    copies = np.flatnonzero(keeper_of != np.arange(len(search.photos)))
    copies = copies[np.argsort(keeper_of[copies], kind="stable")]
    keepers = keeper_of[copies]
    told = likenesses(search.side(keepers), search.side(copies), tier=search.tier)
    # Where a keeper's copies begin, and where the last ones end.
    bounds = np.flatnonzero(np.diff(keepers, prepend=-1, append=-1)).tolist()
    groups = [
        _group(search, preference, np.append(keepers[start], copies[start:stop]), told[start:stop])
        for start, stop in pairwise(bounds)
    ]
    return sorted(groups, key=lambda group: (-_freed_bytes(group), group.keeper.path))


def _group(
    search: _Search, preference: Preference, rows: IntArray, told: list[Likeness]
) -> DuplicateGroup:
    """Return the group of a keeper, whose row comes first, and its copies."""
    shown = search.photos.records(rows)
    closest = sorted(zip(shown[1:], told, strict=True), key=lambda pair: -pair[1].similarity)
    return DuplicateGroup(
        keeper=shown[0],
        reason=keeper_reason(search.photos.taken(rows), preference),
        copies=[
            DuplicateCopy(
                photo=photo, tier=how.tier, similarity=how.similarity, difference=how.difference
            )
            for photo, how in closest
        ],
        smallest_similarity=_smallest(search, rows, told),
    )


def _smallest(search: _Search, rows: IntArray, told: list[Likeness]) -> float:
    places = np.unique(search.place[rows])
    if search.material is None or len(places) < 3:  # noqa: PLR2004 - a pair has one cosine
        return min(how.similarity for how in told)
    return smallest_similarity(search.material.vectors[places])


def _freed_bytes(group: DuplicateGroup) -> int:
    return sum(copy.photo.file_size or 0 for copy in group.copies)
