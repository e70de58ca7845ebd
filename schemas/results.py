"""What commands and routes answer: the records behind every table, `--json` and response."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from schemas.collection import CollectionInfo
from schemas.model import Space


class Record(BaseModel):
    """What all answers share: they are made once and not changed."""

    model_config = ConfigDict(frozen=True)


class Hit(Record):
    """One photo found. `similarity` is a cosine in [-1, 1]; `path` is the full path as stored.

    What is known of a file is None for imported vectors that came without it.
    """

    image_id: int
    path: str
    similarity: float
    quality: float | None
    width: int | None
    height: int | None
    format: str | None
    taken_at: datetime | None


class SearchResult(Record):
    """Hits of one search, best first, with the space they were compared in."""

    space: Space
    n_searched: int
    hits: list[Hit]


class Failure(Record):
    """A file that is not in the index, and why.

    `path` is the full path as stored, `error_class` the name of the exception behind `reason`.
    `file_size` is in bytes; None for what has none, such as a folder that cannot be listed.
    """

    path: str
    stage: str
    reason: str
    error_class: str
    file_size: int | None
    failed_at: datetime


class FailureList(Record):
    """What `isophote failures` prints, by path."""

    failures: list[Failure]


class Writer(Record):
    """The process that writes to a collection."""

    pid: int
    host: str
    started_at: datetime


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
    reached because the run was interrupted. `n_paired` raw files are no candidates: each lies
    beside the photo of the same shot, which stands for both.
    """

    collection: str
    n_files: int
    n_unchanged: int
    n_reused: int
    n_encoded: int
    n_failed: int
    n_failed_before: int
    n_paired: int
    n_pending: int
    n_deleted: int
    n_images: int
    seconds: float
    interrupted: bool
    failures: list[Failure]
    held_deletions: list[HeldDeletion]


class UnreachedRoot(Record):
    """A folder that is missing or empty; its failures were kept and not tried again."""

    root: str
    n_failures: int


class RetrySummary(Record):
    """What `isophote failures --retry` did.

    Of `n_selected` failures, `n_vanished` were forgotten because their files are gone, and those
    of `unreached` folders were kept. `ingest` tells of the others; where a folder that could not
    be listed was among them, of all photos below it.
    """

    n_selected: int
    n_vanished: int
    unreached: list[UnreachedRoot]
    ingest: IngestSummary


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
