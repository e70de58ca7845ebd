"""Photos as the service lists and shows them."""

from datetime import datetime
from typing import Literal

from schemas.model import Space
from schemas.results import Failure, Record

FileState = Literal["present", "changed", "vanished", "outside", "none"]
"""What stands at a photo's place: the file that was indexed; another one, or a later version of
it; nothing; a link that leads out of the indexed folder. "none" for imported vectors."""

PhotoOrder = Literal[
    "-taken_at", "taken_at", "quality", "-quality", "-anomaly", "anomaly", "path", "-image_id"
]
"""What photos are listed by, with - the greatest first; those of which it is unknown come last."""

HistogramColumn = Literal["quality", "anomaly", "sharpness", "brightness", "contrast", "noise"]


class PhotoSummary(Record):
    """A photo in a list or a grid.

    `path` is the full path as stored, `label` what `isophote label` called it. What is known of a
    file is None for imported vectors that came without it.
    """

    image_id: int
    path: str
    width: int | None
    height: int | None
    format: str | None
    taken_at: datetime | None
    quality: float | None
    anomaly: float | None
    label: str | None


class PhotoPage(Record):
    """Some photos of a list, from `offset` on, of `n_images` in all.

    `version` is that of the collection; pages of one version fit each other.
    """

    version: int
    n_images: int
    offset: int
    images: list[PhotoSummary]


class FoundPhoto(PhotoSummary):
    """A photo found by a search. `similarity` is a cosine in [-1, 1]."""

    similarity: float


class FoundPage(Record):
    """Some hits of a search, best first, from `offset` on.

    `n_searched` photos were compared, in the space `space`. There are more hits behind these if
    `offset` plus their number is below `n_searched` and below the limit of 10,000.
    """

    version: int
    space: Space
    n_searched: int
    offset: int
    hits: list[FoundPhoto]


class QualityReason(Record):
    """Why a photo has its quality.

    `reason` and `cues` are those of :class:`schemas.quality.RatedPhoto`; `better_than` is the share
    of the collection's rated photos that are worse, in [0, 1].
    """

    quality: float
    reason: str
    cues: dict[str, float]
    better_than: float


class AnomalyReason(Record):
    """Why a photo has its anomaly score, by which reference.

    As :class:`schemas.anomalies.RankedAnomaly`; `stranger_than` is the share of the scored photos
    whose score is lower, in [0, 1].
    """

    reference: str
    anomaly: float
    anomaly_class: str | None
    internal: float | None
    external: float | None
    words: list[str]
    reason: str
    stranger_than: float


class PhotoRecord(PhotoSummary):
    """All there is to know of a photo.

    `folder` is the indexed folder it was found in. `measures` are its pixel measures by column,
    `given` what came with imported vectors.
    """

    folder: str
    file_state: FileState
    file_size: int | None
    frames: int | None
    camera: str | None
    latitude: float | None
    longitude: float | None
    content_hash: str | None
    pixel_hash: str | None
    label_confidence: float | None
    indexed_at: datetime
    quality_reason: QualityReason | None
    anomaly_reason: AnomalyReason | None
    measures: dict[str, float]
    given: dict[str, str | float | int | bool | None]


class RatedSummary(PhotoSummary):
    """A photo in a list ranked by quality; see :class:`schemas.quality.RatedPhoto`."""

    reason: str
    cues: dict[str, float]


class QualityPage(Record):
    """Some photos by quality, from `offset` on; see :class:`schemas.quality.QualityList`."""

    version: int
    order: Literal["worst", "best"]
    n_rated: int
    n_unrated: int
    offset: int
    images: list[RatedSummary]


class AnomalySummary(PhotoSummary):
    """A photo in a list ranked by anomaly; see :class:`schemas.anomalies.RankedAnomaly`."""

    anomaly_class: str | None
    internal: float | None
    external: float | None
    words: list[str]
    reason: str


class AnomalyPage(Record):
    """The most anomalous photos, from `offset` on; see :class:`schemas.anomalies.AnomalyList`."""

    version: int
    reference: str
    n_scored: int
    n_unscored: int
    offset: int
    images: list[AnomalySummary]


class Histogram(Record):
    """How many photos have which value of a column.

    Bin n holds `counts[n]` photos from `edges[n]` to below `edges[n + 1]`, the last one with its
    upper edge; of `n_unknown` photos that match the value is not known. Without known values
    there are no bins.
    """

    column: HistogramColumn
    n_known: int
    n_unknown: int
    edges: list[float]
    counts: list[int]


class MonthCount(Record):
    """How many photos were taken in a month, as in "2023-07"."""

    month: str
    n_images: int


class DateList(Record):
    """Photos by the month they were taken in, the earliest first; `n_undated` have no date."""

    months: list[MonthCount]
    n_undated: int


class FolderCount(Record):
    """A folder with the photos that lie in it, those of its subfolders left out.

    `root` is the indexed folder, `folder` the path below it, empty for itself; `where` is the
    filter that selects the folder with everything below it.
    """

    root: str
    folder: str
    n_images: int
    where: str


class FolderList(Record):
    """All folders with photos, by path; `n_left_out` of them were too many."""

    folders: list[FolderCount]
    n_left_out: int


class FailurePage(Record):
    """Some files that could not be indexed, by path, from `offset` on, of `n_failures`."""

    version: int
    n_failures: int
    offset: int
    failures: list[Failure]
