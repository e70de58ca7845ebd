"""Photos ranked by their quality score."""

from indexer.scan import joined_path
from schemas.errors import InputError
from schemas.results import RatedPhoto
from service.collection import Collection


def lowest_quality(collection: Collection, *, n_photos: int) -> list[RatedPhoto]:
    """Return the photos with the lowest quality, worst first.

    Parameters
    ----------
    collection : Collection
    n_photos : int
        At least 1; fewer come back where the collection has fewer.

    Raises
    ------
    InputError
        If n_photos < 1.
    """
    if n_photos < 1:
        raise InputError(f"the number of photos must be at least 1, got {n_photos}")
    table = collection.store.images(["image_id", "root", "path", "quality"])
    worst = table.sort_by([("quality", "ascending"), ("image_id", "ascending")]).slice(0, n_photos)
    return [
        RatedPhoto(
            image_id=row["image_id"],
            path=joined_path(row["root"], row["path"]),
            quality=row["quality"],
        )
        for row in worst.to_pylist()
    ]
