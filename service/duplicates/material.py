"""What photos are compared by, and how alike they are asked to be."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from indexer.arrays import BoolArray, ByteArray, Float16Array, IntArray
from indexer.gallery import centred
from indexer.scoring.exact_cosines import HalfRows, half_rows
from indexer.scoring.similarity_join import Pairs
from indexer.spaces import SpaceMap
from schemas.duplicates import PairThreshold
from schemas.tiers import Strictness
from service.duplicates.photos import PhotoSet, photo_thumbnails, photo_vectors

if TYPE_CHECKING:
    from service.collection import Collection

FALSE_PAIR_RATES: dict[Strictness, float] = {"strict": 1e-4, "normal": 1e-3, "loose": 1e-2}
"""Share of photos that may be paired with an unrelated one."""

SEED = 0
"""Of the samples that thresholds are estimated from: a collection has one answer."""

Report = Callable[[int, int], None]
"""Told how many comparisons were made, of how many at the most."""


@dataclass(frozen=True, slots=True)
class Asked:
    """How alike photos must be: in words, or by the cosine of their embeddings."""

    strictness: Strictness = "normal"
    similarity: float | None = None

    @property
    def told_strictness(self) -> Strictness | None:
        """The word, unless the cosine was given."""
        return self.strictness if self.similarity is None else None


@dataclass(frozen=True, slots=True)
class Material:
    """What photos are compared by, one row each.

    `halves` are unit vectors float16 (n, d); `thumbnails` uint8 (n, 32, 32), black where
    `is_measured` is False.
    """

    halves: HalfRows
    thumbnails: ByteArray
    is_measured: BoolArray

    def __len__(self) -> int:
        return len(self.halves)

    @classmethod
    def of(cls, photos: PhotoSet, rows: IntArray, placed: SpaceMap) -> "Material":
        """Read vectors and thumbnails of some photos."""
        vectors = photo_vectors(photos, rows, placed)
        return cls(half_rows("vectors", vectors), *photo_thumbnails(photos, rows))

    @property
    def vectors(self) -> Float16Array:
        """Unit vectors, float16 (n, d)."""
        return self.halves.vectors.astype(np.float16, copy=False)


@dataclass(frozen=True, slots=True)
class Matches:
    """Pairs of rows that are alike, the threshold they met, and the share of all that were found.

    Of one set of photos, first < second; between two, `first` is of the left one. `same_way` (n,)
    tells of which pairs neither photo is turned or mirrored, as far as that was looked at.
    """

    pairs: Pairs
    same_way: BoolArray
    threshold: PairThreshold
    recall: float


def default_map(collection: "Collection") -> SpaceMap:
    """Return the space in which a collection's photos are compared, with its centre."""
    return centred(collection.chosen_map(None), collection.store)
