"""What `isophote duplicates` answers, and what is decided on it."""

from datetime import datetime

from schemas.results import Record
from schemas.tiers import Strictness, Tier


class DuplicatePhoto(Record):
    """One photo of a group, or of a pair.

    `path` is the full path as stored. What is known of a file is None for imported vectors that
    came without it; `file_size` is in bytes, `sharpness` as in the column of that name.
    """

    image_id: int
    path: str
    content_hash: str | None
    file_size: int | None
    width: int | None
    height: int | None
    format: str | None
    taken_at: datetime | None
    quality: float | None
    sharpness: float | None


class DuplicateCopy(Record):
    """A photo that is like the keeper of its group.

    `tier` is the strictest that holds for the two, `similarity` the cosine of their embeddings in
    [-1, 1]. `difference` tells in words what sets the copy apart, as in "same bytes" or "mirrored,
    50% as wide".
    """

    photo: DuplicatePhoto
    tier: Tier
    similarity: float
    difference: str


class DuplicateGroup(Record):
    """Photos that are alike: one to keep, and those within the threshold of it.

    `reason` tells why this one is proposed as keeper, `smallest_similarity` is the lowest cosine
    between any two of the group. Copies come closest first.
    """

    keeper: DuplicatePhoto
    reason: str
    copies: list[DuplicateCopy]
    smallest_similarity: float


class PairThreshold(Record):
    """From when on two photos count as alike, and how often that is expected to be wrong.

    `strictness` is None where the user gave the cosine. `similarity` is the least cosine; pairs of
    the tier near must also agree in their thumbnails by `agreement`. `false_pair_rate` is the
    share of photos that are expected to be paired with an unrelated one, estimated from `n_sampled`
    photos of this collection; None where there are too few.
    """

    strictness: Strictness | None
    similarity: float
    agreement: float | None
    false_pair_rate: float | None
    n_sampled: int


class DuplicateList(Record):
    """Groups of duplicates, those that free most bytes first.

    `threshold` is None for the tiers bytes and pixels, which compare hashes. `n_compared` photos
    took part; `n_unmeasured` of them, indexed by an older release, have no thumbnail, without
    which no tier near can be told. `recall` is the share of all pairs above the threshold that
    the search for candidates found for a sample of photos; 1 where every pair was compared.
    `n_bytes` is what the copies take on disk.
    """

    collection: str
    tier: Tier
    threshold: PairThreshold | None
    n_compared: int
    n_unmeasured: int
    recall: float
    n_copies: int
    n_bytes: int
    groups: list[DuplicateGroup]
    seconds: float


class DuplicatePair(Record):
    """A photo of each of two sets that are alike; see :class:`DuplicateCopy`."""

    left: DuplicatePhoto
    right: DuplicatePhoto
    tier: Tier
    similarity: float
    difference: str


class LeakList(Record):
    """All pairs between two sets of photos that are alike, the closest first.

    `left` and `right` name the sets; `n_left_alike` and `n_right_alike` photos of them are in a
    pair. The other counts are those of :class:`DuplicateList`.
    """

    left: str
    right: str
    tier: Tier
    threshold: PairThreshold | None
    n_left: int
    n_right: int
    n_left_alike: int
    n_right_alike: int
    n_unmeasured: int
    recall: float
    pairs: list[DuplicatePair]
    seconds: float


class ReviewedGroup(Record):
    """What a person decided on a group: which photo to keep, and which to move to the trash."""

    keeper_id: int
    copy_ids: list[int]


class Review(Record):
    """Decisions on the groups of one collection, as the review page saves them.

    `created_at` is that of the collection: ids mean nothing in another one.
    """

    collection: str
    created_at: datetime
    groups: list[ReviewedGroup]
