"""What `isophote subset` answers."""

from typing import Literal

from schemas.model import Space
from schemas.results import Record

SubsetMethod = Literal["k-centre", "facility-location", "semdedup"]
"""How photos are chosen.

k-centre: none is far from a chosen one. facility-location: all are similar to a chosen one, on
average. semdedup: those that are most similar to another one are left out.
"""


class Coverage(Record):
    """Cosines of the photos left out to the nearest chosen one, in [-1, 1]."""

    lowest_similarity: float
    mean_similarity: float


class SubsetSummary(Record):
    """How `n_chosen` of `n_photos` photos were chosen, and what that bought.

    `random_coverage` is that of a random choice of as many; both are None where no photo is left
    out. With facility-location the photos were chosen among `n_sampled` of all, drawn at random
    if these are fewer. With semdedup each photo left out has a cosine of `threshold` at least to
    another of its cell, one of `n_cells`, and its nearest chosen one is that of its cell, where it
    has one; `threshold` is None where no photo is left out. With other methods these are None.
    """

    method: SubsetMethod
    space: Space
    seed: int
    n_photos: int
    n_chosen: int
    coverage: Coverage | None
    random_coverage: Coverage | None
    n_sampled: int | None = None
    n_cells: int | None = None
    threshold: float | None = None


class ChosenPhoto(Record):
    """A photo that was chosen as the `rank`-th, from 1.

    It is the nearest chosen one of `n_covered` photos, itself included.
    """

    rank: int
    n_covered: int
    image_id: int
    path: str


class LeftOutPhoto(Record):
    """A photo that was not chosen, and its cosine to the nearest that was."""

    similarity: float
    nearest_id: int
    image_id: int
    path: str


class Subset(Record):
    """The chosen photos, by rank."""

    summary: SubsetSummary
    photos: list[ChosenPhoto]


class SubsetRest(Record):
    """The photos left out, the most similar to a chosen one first."""

    summary: SubsetSummary
    photos: list[LeftOutPhoto]
