"""What `isophote quality` answers."""

from typing import Literal

from schemas.results import Record

QualityOrder = Literal["worst", "best"]


class RatedPhoto(Record):
    """A photo in a list ranked by quality.

    `reason` says in words what holds its score down most, empty where nothing does; `cues` are
    what it was chosen from, in [0, 1], higher is better: the terms of the pixel quality, or the
    share of the collection's photos that the two cues of the embedding place lower.
    """

    image_id: int
    path: str
    quality: float
    reason: str
    cues: dict[str, float]


class QualityList(Record):
    """Photos by quality, the worst or the best first.

    `n_rated` photos match and have a quality; `n_unrated`, which were imported as vectors
    without one, are left out.
    """

    order: QualityOrder
    n_rated: int
    n_unrated: int
    photos: list[RatedPhoto]


class QualityThreshold(Record):
    """A quality below which the worst `percent` of a collection's photos lie.

    `where` is the filter that selects them, `n_photos` how many it does; fewer than asked where
    several have the same quality.
    """

    percent: float
    quality: float
    where: str
    n_photos: int


class QualityThresholds(Record):
    """What "the worst 5 %" means in a collection; counts as for :class:`QualityList`."""

    n_rated: int
    n_unrated: int
    thresholds: list[QualityThreshold]


class QualityRecomputation(Record):
    """What `isophote quality recompute` did: photos scored anew, and those that changed."""

    n_images: int
    n_changed: int
