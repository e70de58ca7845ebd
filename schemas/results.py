"""What commands and routes answer: the records behind every table, `--json` and response."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from schemas.collection import CollectionInfo
from schemas.model import Space


class Record(BaseModel):
    """What all answers share: they are made once and not changed."""

    model_config = ConfigDict(frozen=True)


class Hit(Record):
    """One photo found. `similarity` is a cosine in [-1, 1]; `path` is the full path as stored."""

    image_id: int
    path: str
    similarity: float
    quality: float
    width: int
    height: int
    format: str
    taken_at: datetime | None


class SearchResult(Record):
    """Hits of one search, best first, with the space they were compared in."""

    space: Space
    n_searched: int
    hits: list[Hit]


class Failure(Record):
    """A file that is not in the index, and why."""

    path: str
    stage: str
    reason: str


class FailureList(Record):
    """What `isophote failures` prints."""

    failures: list[Failure]


class RatedPhoto(Record):
    """A photo in a list ranked by quality."""

    image_id: int
    path: str
    quality: float


class HeldDeletion(Record):
    """A folder that lost so many files that nothing was removed without being asked."""

    root: str
    n_known: int
    n_missing: int


class IngestSummary(Record):
    """What one run of `isophote index` did.

    Every candidate file is counted once: n_files = n_unchanged + n_reused + n_encoded +
    n_failed + n_failed_before + n_pending. `n_reused` files took the vectors of known content,
    `n_failed_before` failed in an earlier run and have not changed, `n_pending` were not
    reached because the run was interrupted.
    """

    collection: str
    n_files: int
    n_unchanged: int
    n_reused: int
    n_encoded: int
    n_failed: int
    n_failed_before: int
    n_pending: int
    n_deleted: int
    n_images: int
    seconds: float
    interrupted: bool
    failures: list[Failure]
    held_deletions: list[HeldDeletion]


class RootReport(Record):
    """One indexed folder."""

    root: str
    n_files: int
    scanned_at: datetime


class AnnReport(Record):
    """State of the cached search index of one space."""

    space: Space
    kind: str
    n_rows: int
    is_current: bool
    n_bytes: int


class CollectionReport(Record):
    """What `isophote info` prints."""

    collection: str
    info: CollectionInfo
    n_images: int
    n_failures: int
    roots: list[RootReport]
    ann: list[AnnReport]
    n_bytes: int


class ExportAgreement(Record):
    """What `isophote model export` wrote, and its cosine similarity to the original model."""

    directory: str
    n_images: int
    image_minimum: float
    image_mean: float
    text_minimum: float
    text_mean: float
