"""The photos of a collection: listed in pages, found, and counted by what they have."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from indexer.arrays import IntArray
from indexer.store import quoted
from schemas.photos import (
    AnomalyPage,
    AnomalySummary,
    DateList,
    FolderCount,
    FolderList,
    FoundPage,
    Histogram,
    HistogramColumn,
    MonthCount,
    PhotoOrder,
    PhotoPage,
    QualityPage,
    RatedSummary,
)
from schemas.quality import QualityOrder
from service.anomalies import rank_anomalies
from service.collection import Collection
from service.photo_table import PhotoTable
from service.quality import rank_quality
from service.search import Found

MAX_FOLDERS = 10_000


def list_photos(
    collection: Collection,
    *,
    order: PhotoOrder = "-taken_at",
    where: str | None = None,
    offset: int = 0,
    limit: int = 100,
) -> PhotoPage:
    """Return some photos of all, or of those that match, in an order.

    Parameters
    ----------
    collection : Collection
        With its photo table.
    order : PhotoOrder
    where : str, optional
        SQL condition on the columns of `images`.
    offset, limit : int
        At least 0.

    Raises
    ------
    FilterError
        If the condition is not one.
    """
    table = _table(collection)
    image_ids = ordered_ids(collection, order=order, where=where)
    page = {
        "version": table.version,
        "n_images": len(image_ids),
        "offset": offset,
        "images": table.summaries(image_ids[offset : offset + limit]),
    }
    # At once, which takes a quarter of the time of making the photos one by one.
    return PhotoPage.model_validate(page)


def ordered_ids(collection: Collection, *, order: PhotoOrder, where: str | None = None) -> IntArray:
    """Return the ids of all photos, or of those that match, in an order.

    Raises
    ------
    FilterError
        If the condition is not one.
    """
    image_ids = _table(collection).ordered_ids(order)
    if where is None:
        return image_ids
    return image_ids[np.isin(image_ids, collection.store.matching_ids(where))]


def found_page(collection: Collection, found: Found, *, offset: int) -> FoundPage:
    """Return the hits of a search from `offset` on, with what is shown of them."""
    table = _table(collection)
    image_ids, similarities = found.image_ids[offset:], found.similarities[offset:]
    similarity_of = dict(zip(image_ids.tolist(), similarities.tolist(), strict=True))
    page = {
        "version": table.version,
        "space": found.space,
        "n_searched": found.n_searched,
        "offset": offset,
        # A photo removed since the gallery was opened is no hit.
        "hits": [
            {**row, "similarity": similarity_of[row["image_id"]]}
            for row in table.summaries(image_ids)
        ],
    }
    return FoundPage.model_validate(page)


def quality_page(
    collection: Collection,
    *,
    order: QualityOrder = "worst",
    where: str | None = None,
    offset: int = 0,
    limit: int = 100,
) -> QualityPage:
    """Return some of the photos by quality, with the reason; see `service.quality`.

    Raises
    ------
    FilterError
        If the condition is not one.
    """
    table = _table(collection)
    ranked = rank_quality(collection, order=order, top_k=limit, where=where, offset=offset)
    return QualityPage(
        version=table.version,
        order=order,
        n_rated=ranked.n_rated,
        n_unrated=ranked.n_unrated,
        offset=offset,
        images=[
            RatedSummary(**{**row, "quality": photo.quality}, reason=photo.reason, cues=photo.cues)
            for row, photo in _with_summaries(table, ranked.photos)
        ],
    )


def anomaly_page(
    collection: Collection,
    *,
    reference: str | None = None,
    where: str | None = None,
    offset: int = 0,
    limit: int = 100,
) -> AnomalyPage:
    """Return some of the most anomalous photos, with the reason; see `service.anomalies`.

    Raises
    ------
    InputError
        If there is no such reference, or none of the selected photos has a score from it.
    FilterError
        If the condition is not one.
    """
    table = _table(collection)
    ranked = rank_anomalies(collection, reference, top_k=limit, where=where, offset=offset)
    return AnomalyPage(
        version=table.version,
        reference=ranked.reference,
        n_scored=ranked.n_scored,
        n_unscored=ranked.n_unscored,
        offset=offset,
        images=[
            AnomalySummary(**{**row, **photo.model_dump(exclude={"image_id", "path"})})
            for row, photo in _with_summaries(table, ranked.photos)
        ],
    )


def _with_summaries(
    table: PhotoTable, photos: Sequence[Any]
) -> Iterator[tuple[dict[str, Any], Any]]:
    image_ids = np.array([photo.image_id for photo in photos], dtype=np.int64)
    photo_of = {photo.image_id: photo for photo in photos}
    for row in table.summaries(image_ids):
        yield row, photo_of[row["image_id"]]


def histogram(
    collection: Collection, column: HistogramColumn, *, where: str | None = None, n_bins: int = 40
) -> Histogram:
    """Return how many photos have which value of a column.

    Parameters
    ----------
    collection : Collection
    column : HistogramColumn
    where : str, optional
        SQL condition on the columns of `images`.
    n_bins : int
        At least 1. Bins are of equal width, from the least known value to the greatest.

    Raises
    ------
    FilterError
        If the condition is not one.
    """
    stored = collection.store.images([column], where)[column].cast(pa.float64())
    values = np.asarray(stored.to_numpy(), dtype=np.float64)
    known = values[np.isfinite(values)]
    counts, edges = np.histogram(known, bins=n_bins) if len(known) else (np.empty(0), np.empty(0))
    return Histogram(
        column=column,
        n_known=len(known),
        n_unknown=len(values) - len(known),
        edges=edges.tolist(),
        counts=counts.astype(np.int64).tolist(),
    )


def dates(collection: Collection, *, where: str | None = None) -> DateList:
    """Return how many photos were taken in each month that has some.

    Raises
    ------
    FilterError
        If the condition is not one.
    """
    taken = collection.store.images(["taken_at"], where)["taken_at"]
    months = pc.strftime(taken.drop_null(), format="%Y-%m").value_counts().to_pylist()
    return DateList(
        months=sorted(
            (MonthCount(month=month["values"], n_images=month["counts"]) for month in months),
            key=lambda month: month.month,
        ),
        n_undated=taken.null_count,
    )


def folders(collection: Collection, *, where: str | None = None) -> FolderList:
    """Return the folders that photos lie in, those with most photos if there are too many.

    Raises
    ------
    FilterError
        If the condition is not one.
    """
    photos = collection.store.images(["root", "path"], where)
    folder = pc.replace_substring_regex(photos["path"], r"(?s)(^|/)[^/]*$", "")
    counts = pa.table({"root": photos["root"], "folder": folder}).group_by(["root", "folder"])
    counted = counts.aggregate([([], "count_all")]).sort_by([("count_all", "descending")])
    kept = counted.slice(0, MAX_FOLDERS).sort_by([("root", "ascending"), ("folder", "ascending")])
    return FolderList(
        folders=[
            FolderCount(
                root=row["root"],
                folder=row["folder"],
                n_images=row["count_all"],
                where=_below(row["root"], row["folder"]),
            )
            for row in kept.to_pylist()
        ],
        n_left_out=len(counted) - len(kept),
    )


def _below(root: str, folder: str) -> str:
    in_root = f"root = {quoted(root)}"
    return in_root if not folder else f"{in_root} and starts_with(path, {quoted(f'{folder}/')})"


def _table(collection: Collection) -> PhotoTable:
    if collection.photo_table is None:
        raise ValueError("the collection was opened without its photo table")
    return collection.photo_table
