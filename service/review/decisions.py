"""Read what a person decided on the review page."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from schemas.duplicates import Review
from schemas.errors import InputError
from service.collection import Collection

# A sentence names a few ids; the rest is counted.
_SHOWN_IDS = 5


def read_review(path: Path, collection: Collection) -> Review:
    """Read decisions that the review page saved, and check that they can be carried out.

    Parameters
    ----------
    path : Path
        A Review as JSON.
    collection : Collection
        Whose photos they are about.

    Raises
    ------
    InputError
        If the file cannot be read or is no review; if it was made of another collection, or names
        a photo that this one no longer has; if it puts no photo into the trash, or one that it
        also keeps or has there already.
    """
    review = _parsed(path)
    store = collection.store
    if review.created_at != store.info.created_at:
        raise InputError(
            f"{path} was saved for the collection {review.collection!r} made at "
            f"{review.created_at:%Y-%m-%d %H:%M:%S}, not for {store.uri!r} made at "
            f"{store.info.created_at:%Y-%m-%d %H:%M:%S}; name that one with --collection"
        )
    _refuse_contradictions(path, review)
    named = [i for group in review.groups for i in (group.keeper_id, *group.copy_ids)]
    present = frozenset(store.images(["image_id"])["image_id"].to_pylist())
    if missing := sorted(set(named) - present):
        raise InputError(
            f"{path} names photos that are no longer in the collection ({_ids_told(missing)}); "
            "make a new review page"
        )
    return review


def _parsed(path: Path) -> Review:
    try:
        return Review.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        problem = f"{place}: {first['msg']}" if place else first["msg"]
        raise InputError(
            f"{path} holds no decisions of a review page ({problem}); save them there again"
        ) from error


def _refuse_contradictions(path: Path, review: Review) -> None:
    trashed = Counter(i for group in review.groups for i in group.copy_ids)
    if not trashed:
        raise InputError(f"{path} puts no photo into the trash; choose some on the review page")
    kept = {group.keeper_id for group in review.groups}
    if both := sorted(kept & trashed.keys()):
        raise InputError(
            f"{path} both keeps and trashes photos ({_ids_told(both)}); decide on the review page"
        )
    if twice := sorted(i for i, count in trashed.items() if count > 1):
        raise InputError(
            f"{path} trashes photos more than once ({_ids_told(twice)}); remove the repetition"
        )


def _ids_told(image_ids: Iterable[int]) -> str:
    ids = list(image_ids)
    told = ", ".join(f"id:{image_id}" for image_id in ids[:_SHOWN_IDS])
    return told + (f" and {len(ids) - _SHOWN_IDS:,} more" if len(ids) > _SHOWN_IDS else "")
