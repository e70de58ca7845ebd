"""What only crosses HTTP: errors, uploads, progress, and what a client may ask to be changed."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.collection import CollectionInfo
from schemas.duplicates import DuplicateGroup, PairThreshold, ReviewedGroup
from schemas.model import Space
from schemas.results import AnnReport, Record, RootReport, Writer
from schemas.tiers import Tier

MAX_FOUND = 10_000
"""Hits that one search can page through."""

MAX_PAGE = 500
"""Photos of one page of a list."""

MAX_GROUPS_APPLIED = 100_000

MAX_GROUP_PHOTOS = 100_000

ImageId = Annotated[int, Field(ge=0, lt=2**63, strict=True)]
"""Strict, or true would be the photo 1."""


class ErrorDetail(Record):
    """What went wrong: a word for programs and the sentence that the command line prints."""

    code: str
    message: str


class ErrorAnswer(Record):
    """The body of every answer with a status of 400 or above."""

    error: ErrorDetail


class Health(Record):
    """That the server answers, and what version of Isophote it is."""

    status: Literal["ok"] = "ok"
    isophote_version: str


class Overview(Record):
    """What a collection holds, what it was made with, and what this server allows.

    `can_embed_words` and `can_embed_photos` say whether searches by them are possible,
    `has_files` whether there are files to show. `n_rated` photos have a quality, `n_scored` an
    anomaly score. `label_names` are the labels given by `isophote label`, at most 1,000 of them,
    the most frequent first; `formats` counts photos by format.
    """

    collection: str
    version: int
    n_images: int
    n_failures: int
    n_rated: int
    n_scored: int
    formats: dict[str, int]
    label_names: list[str]
    roots: list[RootReport]
    spaces: list[Space]
    default_image_space: Space
    can_embed_words: bool
    can_embed_photos: bool
    has_files: bool
    allows_changes: bool
    info: CollectionInfo
    ann: list[AnnReport]
    n_bytes: int
    isophote_version: str


class Upload(Record):
    """A photo that was sent to be searched by, as `upload:ID`, until `expires_at`."""

    upload_id: str
    width: int
    height: int
    format: str
    expires_at: datetime


class IngestStatus(Record):
    """Who writes to the collection, and how far that is.

    `writer` is None while nobody writes: it may index photos, label them, or move them to the
    trash. Of photos that are indexed `n_done` of `n_total` are through, and `n_failed` of these
    failed; None while the folders are looked through, and for other writers. `n_images` and
    `version` are what has been committed.
    """

    is_running: bool
    writer: Writer | None
    n_done: int | None
    n_total: int | None
    n_failed: int | None
    n_images: int
    version: int
    roots: list[RootReport]


class DuplicatesRunning(Record):
    """Duplicates are being looked for; ask again. `n_done` of `n_total` photos are compared."""

    state: Literal["running"] = "running"
    n_done: int
    n_total: int


class DuplicatesPage(Record):
    """Some groups of duplicates, those that free most bytes first, from `offset` on.

    The other fields are those of :class:`schemas.duplicates.DuplicateList`. `version` is that of
    the collection when they were looked for; `is_current` says whether it still is.
    """

    state: Literal["done"] = "done"
    version: int
    is_current: bool
    tier: Tier
    threshold: PairThreshold | None
    n_compared: int
    n_unmeasured: int
    recall: float
    n_copies: int
    n_bytes: int
    n_groups: int
    offset: int
    groups: list[DuplicateGroup]
    seconds: float


class Asked(BaseModel):
    """What all bodies share: a field that is not known is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ApplyGroup(Asked):
    """A photo to keep, and those to move to the trash in favour of it."""

    keeper_id: ImageId
    copy_ids: list[ImageId] = Field(min_length=1, max_length=MAX_GROUP_PHOTOS)

    def reviewed(self) -> ReviewedGroup:
        """Return the decision as `service.trash` takes it."""
        return ReviewedGroup(keeper_id=self.keeper_id, copy_ids=self.copy_ids)


class ApplyRequest(Asked):
    """Which copies to move to the trash.

    `created_at` is that of the collection, as :class:`Overview` has it: ids mean other photos in
    another one at the same place.
    """

    created_at: datetime
    groups: list[ApplyGroup] = Field(min_length=1, max_length=MAX_GROUPS_APPLIED)


class UndoRequest(Asked):
    """Which run to bring back from the trash; the last one by default."""

    run: str | None = Field(default=None, max_length=200)
