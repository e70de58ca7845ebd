"""Groups of photos that are alike: one to keep, and those that are like it."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from indexer.ingest import IngestProgress
from schemas.duplicates import DuplicateList
from schemas.errors import InputError
from schemas.tiers import Tier
from service.duplicates.grouping import freed_bytes, groups_of
from service.duplicates.keepers import Preference
from service.duplicates.material import Asked
from service.duplicates.photos import load_photos
from service.duplicates.searching import Search

if TYPE_CHECKING:
    from service.collection import Collection

Report = Callable[[IngestProgress], None]


def find_duplicates(
    collection: "Collection",
    *,
    tier: Tier = "near",
    asked: Asked | None = None,
    where: str | None = None,
    preference: Preference | None = None,
    report: Report,
) -> DuplicateList:
    """Return the groups of photos that are alike, those that free most bytes first.

    In a group every photo is within the threshold of the keeper, so that nothing chains. The
    answer is the same for the same photos, whenever they were indexed.

    Parameters
    ----------
    collection : Collection
    tier : {"bytes", "pixels", "near", "similar"}
        How much alike; photos of the stricter tiers are in the groups as well.
    asked : Asked, optional
        Threshold of the tiers near and similar.
    where : str, optional
        Only photos for which this SQL condition holds.
    preference : Preference, optional
        Folders to keep photos of.
    report : callable
        Told the progress of the comparison.

    Raises
    ------
    InputError
        If the collection's photos do not have what the tier compares, or none lies in a preferred
        folder.
    FilterError
        If the condition is not one.
    """
    started = time.monotonic()
    refuse_without_files(collection, tier)
    preference = preference or Preference()
    photos = load_photos(collection, where=where, preference=preference)
    told = progress_of(len(photos), report)
    search = Search.of(collection, photos, tier, asked or Asked(), told)
    groups = groups_of(search, preference)
    return DuplicateList(
        collection=collection.store.uri,
        tier=tier,
        threshold=None if search.matches is None else search.matches.threshold,
        n_compared=len(photos),
        n_unmeasured=search.n_unmeasured,
        recall=1.0 if search.matches is None else search.matches.recall,
        n_copies=sum(len(group.copies) for group in groups),
        n_bytes=sum(freed_bytes(group) for group in groups),
        groups=groups,
        seconds=time.monotonic() - started,
    )


def refuse_without_files(collection: "Collection", tier: Tier) -> None:
    """Refuse a tier that needs what imported vectors came without.

    Raises
    ------
    InputError
    """
    if collection.store.info.origin == "vectors" and tier != "similar":
        raise InputError(
            f"the collection {collection.store.uri!r} holds imported vectors, of which neither "
            f"bytes nor pixels are known, so there is no tier {tier}; give --tier similar"
        )


def progress_of(n_photos: int, report: Report) -> Callable[[int, int], None]:
    """Return a report of comparisons that tells them as photos."""

    def told(done: int, total: int) -> None:
        report(IngestProgress(n_photos * done // max(total, 1), n_photos, 0))

    return told
