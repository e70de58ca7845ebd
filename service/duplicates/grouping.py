"""Groups from pairs: which photo of each to keep, and what there is to say of it and its copies."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from indexer.arrays import IntArray
from indexer.scoring.exact_cosines import smallest_similarity
from indexer.scoring.keeper_groups import keeper_groups
from indexer.scoring.similarity_join import Pairs
from indexer.scoring.thumbnail_agreement import has_frame
from schemas.duplicates import DuplicateCopy, DuplicateGroup
from service.duplicates.differences import Likeness, likenesses
from service.duplicates.keepers import Preference, Ranking
from service.duplicates.material import Matches, Material
from service.duplicates.photos import photo_record
from service.duplicates.searching import Search


def groups_of(search: Search, preference: Preference) -> list[DuplicateGroup]:
    """Return the groups of what was found, those that free most bytes first."""
    ranking = _ranking(search, preference)
    keeper_of = _keepers(search, ranking)
    copies = np.flatnonzero(keeper_of != np.arange(len(keeper_of)))
    copies = copies[np.lexsort([ranking.ranks[copies], keeper_of[copies]])]
    keepers = keeper_of[copies]
    told = likenesses(search.side(keepers), search.side(copies), tier=search.tier)
    # Where a keeper's copies begin, and where the last ones end.
    bounds = np.flatnonzero(np.diff(keepers, prepend=-1, append=-1)).tolist()
    groups = [
        _group(search, ranking, np.append(keepers[start], copies[start:stop]), told[start:stop])
        for start, stop in pairwise(bounds)
    ]
    return sorted(groups, key=lambda group: (-freed_bytes(group), group.keeper.path))


def freed_bytes(group: DuplicateGroup) -> int:
    """Return what the copies of a group take on disk."""
    return sum(copy.photo.file_size or 0 for copy in group.copies)


def _ranking(search: Search, preference: Preference) -> Ranking:
    """Rank all photos anew, now that it is known which are alike."""
    found = {}
    if search.matches is not None and search.material is not None:
        found = _found_columns(search.matches, search.material)
    photos = search.photos.with_found({name: of[search.place] for name, of in found.items()})
    return Ranking.of(photos.facts, preference)


def _found_columns(matches: Matches, material: Material) -> dict[str, npt.NDArray[Any]]:
    """Return what pairs tell of the photos in them, for `keepers.FOUND_COLUMNS`."""
    pairs, n_distinct = matches.pairs, len(material)
    ends, cosines = np.concatenate([pairs.first, pairs.second]), np.tile(pairs.similarities, 2)
    n_alike = np.bincount(ends, minlength=n_distinct)
    total = np.bincount(ends, cosines, minlength=n_distinct)
    n_same_way = np.bincount(ends[np.tile(matches.same_way, 2)], minlength=n_distinct)
    is_framed = np.zeros(n_distinct, np.bool_)
    alike = np.flatnonzero(n_alike)
    is_framed[alike] = has_frame(material.thumbnails[alike])
    return {
        "n_alike": n_alike,
        "n_same_way": n_same_way,
        "mean_alike": total / np.maximum(n_alike, 1),
        "has_frame": is_framed,
    }


def _keepers(search: Search, ranking: Ranking) -> IntArray:
    """Return the row of each photo's keeper, int64 (n,)."""
    if search.matches is None:
        return search.distinct[search.place]
    order = np.argsort(ranking.ranks[search.distinct])
    groups = keeper_groups(_reordered(search.matches.pairs, order), len(order))
    keepers = np.empty(len(order), np.int64)
    keepers[order] = order[groups]
    return search.distinct[keepers[search.place]]


def _reordered(pairs: Pairs, order: IntArray) -> Pairs:
    """Return the pairs by places in an order of the rows, the lower place first."""
    place = np.empty(len(order), np.int32)
    place[order] = np.arange(len(order))
    ends = place[pairs.first], place[pairs.second]
    return Pairs(np.minimum(*ends), np.maximum(*ends), pairs.similarities)


def _group(
    search: Search, ranking: Ranking, rows: IntArray, told: Sequence[Likeness]
) -> DuplicateGroup:
    """Return the group of a keeper, whose row comes first, and its copies, the best first."""
    facts = search.photos.taken(rows).to_pylist()
    shown = [photo_record(one) for one in facts]
    closest = sorted(zip(shown[1:], told, strict=True), key=lambda pair: -pair[1].similarity)
    return DuplicateGroup(
        keeper=shown[0],
        reason=ranking.reason(rows[0], rows[1], facts[:2]),
        copies=[
            DuplicateCopy(
                photo=photo, tier=how.tier, similarity=how.similarity, difference=how.difference
            )
            for photo, how in closest
        ],
        smallest_similarity=_smallest(search, rows, told),
    )


def _smallest(search: Search, rows: IntArray, told: Sequence[Likeness]) -> float:
    places = np.unique(search.place[rows])
    if search.material is None or len(places) < 3:  # noqa: PLR2004 - a pair has one cosine
        return min(how.similarity for how in told)
    return smallest_similarity(search.material.vectors[places])
