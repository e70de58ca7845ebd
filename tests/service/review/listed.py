"""Lists of duplicates that follow from a few paths and tiers."""

from datetime import datetime
from pathlib import Path
from typing import Any

from indexer.scan import stored_path
from schemas.duplicates import (
    DuplicateCopy,
    DuplicateGroup,
    DuplicateList,
    DuplicatePhoto,
    PairThreshold,
)
from schemas.tiers import Tier

THRESHOLD = PairThreshold(
    strictness="normal", similarity=0.93, agreement=0.9, false_pair_rate=0.0012, n_sampled=1000
)


def listed_photo(image_id: int, path: Path | str, **known: Any) -> DuplicatePhoto:
    """A photo of 1,200 x 800 pixels and 2.5 MB; `known` replaces what is made up."""
    made_up = {
        "content_hash": None,
        "file_size": 2_500_000,
        "width": 1200,
        "height": 800,
        "format": "JPEG",
        "taken_at": datetime(2024, 5, 1, 12, 30, 15),  # noqa: DTZ001 - cameras know no zone
        "quality": 0.713,
        "sharpness": 0.2,
    }
    return DuplicatePhoto(image_id=image_id, path=stored_path(str(path)), **{**made_up, **known})


def listed_group(
    keeper: DuplicatePhoto,
    *copies: DuplicatePhoto,
    tier: Tier = "near",
    difference: str = "half as wide",
) -> DuplicateGroup:
    """A group whose copies are all of one tier; their similarity falls from .99 in steps of .01."""
    return DuplicateGroup(
        keeper=keeper,
        reason="most pixels",
        copies=[
            DuplicateCopy(
                photo=photo, tier=tier, similarity=0.99 - 0.01 * place, difference=difference
            )
            for place, photo in enumerate(copies)
        ],
        smallest_similarity=0.951,
    )


def listed_duplicates(*groups: DuplicateGroup, collection: str = "/c") -> DuplicateList:
    """What a search that found these groups answers."""
    sizes = [copy.photo.file_size or 0 for group in groups for copy in group.copies]
    return DuplicateList(
        collection=collection,
        tier="near",
        threshold=THRESHOLD,
        n_compared=1234,
        n_unmeasured=0,
        recall=1.0,
        n_copies=len(sizes),
        n_bytes=sum(sizes),
        groups=list(groups),
        seconds=0.5,
    )
