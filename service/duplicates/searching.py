"""What is compared with what, and which pairs are alike."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from indexer.arrays import IntArray
from schemas.tiers import Tier
from service.duplicates.copies import copies_within
from service.duplicates.differences import Side
from service.duplicates.likeness import similar_within
from service.duplicates.material import Asked, Matches, Material, Report, default_map
from service.duplicates.photos import PhotoSet

if TYPE_CHECKING:
    from service.collection import Collection


@dataclass(frozen=True, slots=True)
class Search:
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
    ) -> "Search":
        """Compare photos."""
        column = "content_hash" if tier == "bytes" else "pixel_hash"
        distinct, place = first_of_equal(photos, column)
        if tier in ("bytes", "pixels"):
            return cls(photos, tier, distinct, place, None, None)
        material = Material.of(photos, distinct, default_map(collection))
        match = copies_within if tier == "near" else similar_within
        matches = match(material, asked, report=report)
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
