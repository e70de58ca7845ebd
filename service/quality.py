"""Photos ranked by quality, with the reason in words, and thresholds of the collection's own."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from indexer.arrays import BoolArray, FloatArray, IntArray
from indexer.lock import writer_lock
from indexer.scan import joined_path
from indexer.scoring.pixel_quality import PIXEL_CUES, pixel_quality, pixel_terms
from indexer.store import local_directory
from schemas.errors import InputError
from schemas.quality import (
    QualityList,
    QualityOrder,
    QualityRecomputation,
    QualityThreshold,
    QualityThresholds,
    RatedPhoto,
)
from service.collection import Collection

DEFAULT_TOP_K = 10

PERCENTS = (1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 98.0, 99.0)
"""Shares of a collection whose thresholds are told."""

_EMBEDDING_CUES = ("quality_sim", "quality_mag")

_REASONS = {
    "quality_sim": "described as poor (prompts)",
    "quality_mag": "weak features (magnitude)",
    "sharpness": "blurred",
    "noise": "noisy",
    "darkness": "dark",
    "brightness": "overexposed",
    "contrast": "low contrast",
    "tones": "few tones",
    "compression": "compressed",
    "resolution": "few pixels",
}
# Terms of a good photo (medians of the 24 Kodak pictures) where they are not 1: a reason is what
# costs more than it does there.
_TYPICAL_TERMS = {"sharpness": 0.7, "tones": 0.92, "resolution": 0.84}
# A cue above this takes so little from the score that it is no reason for anything.
_NO_REASON = 0.75
# Noise below this term hides so much detail that the photo is noisy rather than blurred.
_NOISE_HIDES_DETAIL = 0.85
# Few tones come from too little or too much light where it is as little or as much as this.
_DARK, _BRIGHT = 0.3, 0.6
# Rows that are scored at a time: 6 MB of measures.
_BLOCK_ROWS = 100_000


def rank_quality(
    collection: Collection,
    *,
    order: QualityOrder = "worst",
    top_k: int | None = None,
    percent: float | None = None,
    where: str | None = None,
    offset: int = 0,
) -> QualityList:
    """Return the photos of the lowest or highest quality, and what their score is due to.

    Parameters
    ----------
    collection : Collection
    order : {"worst", "best"}
        Which come first; photos of one quality by id.
    top_k : int, optional
        At least 1; 10 if neither this nor `percent` is given. Fewer come back where fewer match.
    percent : float, optional
        Instead: this share of those that match, above 0 and at most 100, rounded up.
    where : str, optional
        Only photos for which this SQL condition holds.
    offset : int
        How many of the first are passed over.

    Raises
    ------
    InputError
        If top_k or percent is out of range, or both are given.
    FilterError
        If the condition is not one.
    """
    _check_length(top_k, percent)
    columns = ["image_id", "quality", *_embedding_cues(collection)]
    table = collection.store.images(columns, where)
    quality = _numbers(table, "quality")
    is_rated = ~np.isnan(quality)
    n_rated = int(is_rated.sum())
    length = top_k or DEFAULT_TOP_K
    if percent is not None:
        length = math.ceil(n_rated * percent / 100)
    image_ids = _ids(table)
    rank = np.lexsort((image_ids, quality if order == "worst" else -quality))
    # NaN sorts last in either direction.
    listed = rank[offset : min(offset + length, n_rated)]
    return QualityList(
        order=order,
        n_rated=n_rated,
        n_unrated=len(quality) - n_rated,
        photos=_rated_photos(collection, image_ids[listed], table),
    )


def rated_photo(collection: Collection, image_id: int) -> RatedPhoto | None:
    """Return one photo's quality with what it is due to; None without a quality, or a photo."""
    ids = np.array([image_id], dtype=np.int64)
    rows = collection.store.images_by_id(ids, ["quality"])
    if not rows.num_rows or rows["quality"].null_count:
        return None
    cues = _embedding_cues(collection)
    everyone = collection.store.images(cues) if cues else rows
    return _rated_photos(collection, ids, everyone)[0]


def quality_thresholds(collection: Collection, *, where: str | None = None) -> QualityThresholds:
    """Return the qualities below which the worst 1 %, 2 %, 5 % ... of the photos lie.

    Parameters
    ----------
    collection : Collection
    where : str, optional
        Only photos for which this SQL condition holds.

    Raises
    ------
    InputError
        If no photo that matches has a quality.
    FilterError
        If the condition is not one.
    """
    table = collection.store.images(["quality"], where)
    quality = _numbers(table, "quality")
    rated = np.sort(quality[~np.isnan(quality)])
    if not len(rated):
        raise InputError(
            "no photo that matches has a quality, so there are no thresholds; "
            "index photos first, or change --where"
        )
    return QualityThresholds(
        n_rated=len(rated),
        n_unrated=len(quality) - len(rated),
        thresholds=[_threshold(rated, percent, where) for percent in PERCENTS],
    )


def recompute_quality(collection: Collection) -> QualityRecomputation:
    """Score all photos anew from their stored pixel measures, after a change of the formula.

    Measures that an older release did not store count as those of a typical photo.

    Raises
    ------
    InputError
        If the collection's quality does not come from pixel measures.
    LockedError
        If another process writes to the collection.
    """
    store = collection.store
    if store.info.model.quality_cue != "pixels":
        raise InputError(
            f"quality comes from the embeddings of {store.info.model.id!r} here, and their formula "
            "has not changed; there is nothing to recompute"
        )
    with writer_lock(local_directory(store.uri)):
        table = store.images(["image_id", "quality", *PIXEL_CUES])
        present, anew = _numbers(table, "quality"), _pixel_quality(table)
        changed = np.flatnonzero(~np.isnan(anew) & (present != anew))
        image_ids = _ids(table)
        for start in range(0, len(changed), _BLOCK_ROWS):
            rows = changed[start : start + _BLOCK_ROWS]
            store.update_images(pa.table({"image_id": image_ids[rows], "quality": anew[rows]}))
    return QualityRecomputation(n_images=len(image_ids), n_changed=len(changed))


def _check_length(top_k: int | None, percent: float | None) -> None:
    if top_k is not None and percent is not None:
        raise InputError("give either a number of photos or a percentage, not both")
    if top_k is not None and top_k < 1:
        raise InputError(f"the number of photos must be at least 1, got {top_k}")
    if percent is not None and not 0 < percent <= 100:  # noqa: PLR2004 - of a hundred
        raise InputError(f"the percentage must be above 0 and at most 100, got {percent:g}")


def _threshold(rated: FloatArray, percent: float, where: str | None) -> QualityThreshold:
    """Put a threshold between the worst share of sorted qualities and the next photo."""
    n_worst = math.ceil(len(rated) * percent / 100)
    upper = rated[min(n_worst, len(rated) - 1)]
    # Photos of one quality stay together, above the threshold.
    n_below = int(np.searchsorted(rated, upper))
    value = _short_number(float(rated[n_below - 1]), float(upper)) if n_below else float(upper)
    condition = f"quality < {value!r}"
    return QualityThreshold(
        percent=percent,
        quality=value,
        where=condition if where is None else f"({where}) and {condition}",
        n_photos=n_below,
    )


def _short_number(lower: float, upper: float) -> float:
    """Return a number of as few digits as will do, above `lower` and at most `upper`."""
    for digits in range(4, 12):
        value = math.ceil(lower * 10.0**digits + 1e-9) / 10.0**digits
        if lower < np.float32(value) <= upper and lower < value <= upper:
            return value
    return upper


def _embedding_cues(collection: Collection) -> list[str]:
    is_pixels = collection.store.info.model.quality_cue == "pixels"
    return [] if is_pixels else list(_EMBEDDING_CUES)


def _rated_photos(
    collection: Collection, image_ids: IntArray, everyone: pa.Table
) -> list[RatedPhoto]:
    cue_names = _embedding_cues(collection) or list(PIXEL_CUES)
    rows = collection.store.images_by_id(image_ids, ["root", "path", "quality", *cue_names])
    if _embedding_cues(collection):
        cues: Mapping[str, np.ndarray[Any, Any]] = {
            name: _share_below(_numbers(rows, name), _numbers(everyone, name)) for name in cue_names
        }
    else:
        cues = pixel_terms(_measures(rows))
    luma = _numbers(rows, "brightness") if "brightness" in rows.column_names else None
    photos = rows.select(["image_id", "root", "path", "quality"]).to_pylist()
    return [
        RatedPhoto(
            image_id=photo["image_id"],
            path=joined_path(photo["root"], photo["path"]),
            quality=photo["quality"],
            reason=_reason(known, luma=None if luma is None else float(luma[n])),
            cues=known,
        )
        for n, photo in enumerate(photos)
        for known in [_known_cues(cues, n)]
    ]


def _known_cues(cues: Mapping[str, np.ndarray[Any, Any]], row: int) -> dict[str, float]:
    return {name: float(cue[row]) for name, cue in cues.items() if not np.isnan(cue[row])}


def _reason(cues: Mapping[str, float], *, luma: float | None) -> str:
    """Return in words what costs a photo most, beyond what it costs a good one."""
    relative = {name: cue / _TYPICAL_TERMS.get(name, 1.0) for name, cue in cues.items()}
    worst = min(relative, key=lambda name: relative[name], default=None)
    if worst is None or relative[worst] > _NO_REASON:
        return ""
    if worst == "sharpness" and cues["noise"] < _NOISE_HIDES_DETAIL:
        worst = "noise"
    if worst == "tones" and luma is not None and not _DARK <= luma <= _BRIGHT:
        worst = "darkness" if luma < _DARK else "brightness"
    return _REASONS[worst]


def _share_below(values: FloatArray, everyone: FloatArray) -> FloatArray:
    """Return which share of all known values is lower than each; NaN for NaN."""
    known = np.sort(everyone[~np.isnan(everyone)])
    shares = (np.searchsorted(known, values) / max(len(known), 1)).astype(np.float32)
    return np.where(np.isnan(values), np.float32(np.nan), shares)


def _pixel_quality(table: pa.Table) -> FloatArray:
    measures = _measures(table)
    quality = pixel_quality(measures)
    # Vectors that were imported without photos have no measures at all.
    is_measured: BoolArray = ~np.isnan(measures["sharpness"])
    return np.where(is_measured, quality, np.float32(np.nan))


def _measures(table: pa.Table) -> dict[str, FloatArray]:
    return {name: _numbers(table, name) for name in PIXEL_CUES}


def _numbers(table: pa.Table, name: str) -> FloatArray:
    """Return a numeric column as float32, null as NaN."""
    column = table[name].cast(pa.float32()).combine_chunks()
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float32)


def _ids(table: pa.Table) -> IntArray:
    return np.asarray(table["image_id"], dtype=np.int64)
