"""How well the quality measures of a collection agree with opinion scores of its photos."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from scipy.special import logit

from indexer.arrays import DoubleArray, FloatArray
from indexer.scoring.opinion import (
    MIN_FITTED,
    is_constant,
    krcc,
    plcc_after_logistic,
    srcc,
)
from indexer.scoring.quality import fused_quality, magnitude_quality
from indexer.store import vectors_of
from schemas.errors import InputError
from schemas.evaluation_detection import OpinionRow, PublishedScore, QualityEvaluation
from service.collection import Collection
from service.evaluation.opinion_files import (
    MatchedOpinions,
    Opinions,
    match_opinions,
    read_opinions,
)
from service.evaluation.sweep import Sweep, SweptKind, parse_sweep, shown_value

Good = Literal["high", "low", "neither"]

FUSED = "quality_sim + quality_mag"

# The end that is good is what the definition of a measure says (indexer.pixels): more light is
# neither better nor worse. Never turned by what the opinions say.
MEASURES: Mapping[str, Good] = {
    "quality_sim": "high",
    "quality_mag": "high",
    FUSED: "high",
    "quality": "high",
    "magnitude": "high",
    "sharpness": "high",
    "contrast": "high",
    "brightness": "neither",
    "shadows_clipped": "low",
    "highlights_clipped": "low",
    "noise": "low",
    "blockiness": "low",
    "jpeg_quality": "high",
}

SWEPT: Mapping[str, SweptKind] = {"box-cox": "number", "alpha": "number", "weights": "number"}
"""box-cox: exponent of quality_mag. alpha: of the fusion. weights: the share of quality_sim in a
fusion with fixed weights."""

# arXiv:2511.09948, SRCC without and with magnitude, as METHODS 4 of the project quotes it.
_PUBLISHED_SRCC = {
    "TID2013": (0.579, 0.599),
    "KADID-10k": (0.501, 0.525),
    "KonIQ-10k": (0.685, 0.765),
    "SPAQ": (0.714, 0.773),
}
_PUBLISHED_NOTE = "CLIP RN50 without positional embedding, mean over crops of 224 pixels"

# 4,096 x 1,280 features are 21 MB in float32.
PHOTOS_PER_READ = 4096


@dataclass(frozen=True, slots=True)
class _Rated:
    """The columns of n rated photos, and their opinion scores float64 (n,), higher is better."""

    columns: Mapping[str, FloatArray]
    opinions: DoubleArray


def evaluate_quality(
    collection: Collection,
    path: Path,
    *,
    lower_is_better: bool = False,
    where: str | None = None,
    sweep: str | None = None,
) -> QualityEvaluation:
    """Compare every quality measure of a collection with opinion scores.

    Parameters
    ----------
    collection : Collection
    path : Path
        File of opinion scores: see :func:`service.evaluation.opinion_files.read_opinions`.
    lower_is_better : bool
        The opinions are differences from a pristine picture (DMOS), as those of LIVE and CSIQ.
    where : str, optional
        Only photos for which this SQL condition holds.
    sweep : str, optional
        NAME=VALUES of one of `SWEPT`, for further rows.

    Raises
    ------
    InputError
        If the file cannot be used, or what is swept cannot be had from this collection.
    """
    started = time.perf_counter()
    swept = None if sweep is None else parse_sweep(sweep, allowed=SWEPT)
    opinions = read_opinions(path)
    matched = _selected(collection, match_opinions(collection.store, opinions, path=path), where)
    values = -matched.values if lower_is_better else matched.values
    rated = _Rated(_columns(collection, matched), values)
    rows = [_row(rated, name, None, rated.columns[name]) for name in MEASURES]
    if swept is not None:
        rows += _swept_rows(collection, matched, rated, swept)
    info = collection.store.info
    return QualityEvaluation(
        opinions=str(path),
        dataset=opinions.dataset,
        n_opinions=len(opinions.values),
        n_matched=len(matched.image_ids),
        quality_mode=info.quality_mode,
        quality_cue=info.model.quality_cue,
        rows=rows,
        published=_published(opinions),
        notes=_notes(collection, opinions, rated, lower_is_better=lower_is_better),
        seconds=time.perf_counter() - started,
    )


def _selected(
    collection: Collection, matched: MatchedOpinions, where: str | None
) -> MatchedOpinions:
    if where is None:
        return matched
    kept = np.isin(matched.image_ids, collection.store.matching_ids(where))
    if not kept.any():
        raise InputError(f"none of the rated photos matches {where!r}; ask for others")
    return MatchedOpinions(matched.image_ids[kept], matched.values[kept])


def _columns(collection: Collection, matched: MatchedOpinions) -> dict[str, FloatArray]:
    """Return each measure of the rated photos, float32 (n,), NaN where it is not known."""
    stored = [name for name in MEASURES if name != FUSED]
    table = collection.store.images_by_id(matched.image_ids, stored)
    columns = {name: _floats(table[name]) for name in stored}
    columns[FUSED] = _fused(columns["quality_sim"], columns["quality_mag"])
    return columns


def _fused(
    q_sim: FloatArray,
    q_mag: FloatArray,
    *,
    fuse: Callable[[FloatArray, FloatArray], FloatArray] = fused_quality,
) -> FloatArray:
    """Fuse the cues where both are known; NaN elsewhere."""
    known = np.isfinite(q_sim) & np.isfinite(q_mag)
    fused = np.full(len(q_sim), np.nan, np.float32)
    fused[known] = fuse(q_sim[known], q_mag[known])
    return fused


def _floats(column: pa.ChunkedArray) -> FloatArray:
    # Nulls become NaN.
    values: FloatArray = column.cast(pa.float32()).to_numpy().astype(np.float32)
    return values


def _row(rated: _Rated, measure: str, setting: str | None, values: FloatArray) -> OpinionRow:
    good_is = MEASURES[measure]
    known = np.isfinite(values)
    scores = values[known].astype(np.float64)
    agreement = _agreement(-scores if good_is == "low" else scores, rated.opinions[known])
    return OpinionRow(
        measure=measure,
        good_is=good_is,
        setting=setting,
        n_photos=int(known.sum()),
        **agreement,
    )


def _agreement(scores: DoubleArray, opinions: DoubleArray) -> dict[str, float | bool | None]:
    """Return what can be told of the agreement, None for what cannot."""
    if len(scores) < MIN_FITTED or is_constant(scores) or is_constant(opinions):
        return dict.fromkeys(("srcc", "krcc", "plcc", "is_fitted"))
    fitted = plcc_after_logistic(scores, opinions)
    return {
        "srcc": srcc(scores, opinions),
        "krcc": krcc(scores, opinions),
        "plcc": fitted.plcc,
        "is_fitted": fitted.is_fitted,
    }


def _swept_rows(
    collection: Collection, matched: MatchedOpinions, rated: _Rated, sweep: Sweep
) -> Iterator[OpinionRow]:
    """Return one row for each swept value; for the exponent one of quality_mag as well."""
    q_sim, q_mag = rated.columns["quality_sim"], rated.columns["quality_mag"]
    if not np.isfinite(q_sim + q_mag).any():
        raise InputError(
            f"{sweep.name} cannot be swept: this collection has no quality_sim and quality_mag; "
            "index the photos themselves, with their model"
        )
    if sweep.name == "box-cox":
        return _exponent_rows(collection, matched, rated, sweep.numbers)
    return _fusion_rows(rated, sweep.name, sweep.numbers)


def _fusion_rows(rated: _Rated, name: str, values: tuple[float, ...]) -> Iterator[OpinionRow]:
    q_sim, q_mag = rated.columns["quality_sim"], rated.columns["quality_mag"]
    for value in values:
        if name == "alpha":
            fuse = partial(fused_quality, alpha=value)
        else:
            fuse = partial(fused_quality, alpha=0.0, base_weights=_fixed_weights(value))
        yield _row(rated, FUSED, f"{name}={shown_value(value)}", _fused(q_sim, q_mag, fuse=fuse))


def _fixed_weights(share: float) -> tuple[float, float]:
    """Return the logits of fixed fusion weights: `share` for quality_sim, the rest for the other.

    Raises
    ------
    InputError
        If it is no share.
    """
    if not 0 <= share <= 1:
        raise InputError(f"weights are shares of quality_sim in [0, 1], got {share:g}")
    return float(logit(share)), 0.0


def _exponent_rows(
    collection: Collection, matched: MatchedOpinions, rated: _Rated, values: tuple[float, ...]
) -> Iterator[OpinionRow]:
    if collection.store.info.quality_mode != "single":
        raise InputError(
            "box-cox cannot be swept: quality_mag of this collection is a mean over crops, whose "
            "embeddings are not stored; index in single mode, or sweep alpha or weights"
        )
    cues = _magnitude_cues(collection, matched, values)
    for value, q_mag in zip(values, cues, strict=True):
        setting = f"box-cox={shown_value(value)}"
        yield _row(rated, "quality_mag", setting, q_mag)
        yield _row(rated, FUSED, setting, _fused(rated.columns["quality_sim"], q_mag))


def _magnitude_cues(
    collection: Collection, matched: MatchedOpinions, values: tuple[float, ...]
) -> list[FloatArray]:
    """Return quality_mag of the rated photos for each exponent, from their stored vectors."""
    clip_map = collection.space_map("clip")
    blocks = []
    for start in range(0, len(matched.image_ids), PHOTOS_PER_READ):
        ids = matched.image_ids[start : start + PHOTOS_PER_READ]
        rows = collection.store.images_by_id(ids, [clip_map.column])
        raw = clip_map.uncentred(vectors_of(rows[clip_map.column]))
        blocks.append([magnitude_quality(raw, box_cox_lambda=value) for value in values])
    return [np.concatenate(cues) for cues in zip(*blocks, strict=True)]


def _published(opinions: Opinions) -> list[PublishedScore]:
    if opinions.dataset not in _PUBLISHED_SRCC:
        return []
    return [
        PublishedScore(method=method, measure="SRCC", value=value, note=_PUBLISHED_NOTE)
        for method, value in zip(
            ("CLIP-IQA, as the paper quotes it", "MA-CLIP"),
            _PUBLISHED_SRCC[opinions.dataset],
            strict=True,
        )
    ]


def _notes(
    collection: Collection, opinions: Opinions, rated: _Rated, *, lower_is_better: bool
) -> list[str]:
    notes = []
    if opinions.column.lower() == "dmos" and opinions.dataset is None and not lower_is_better:
        notes.append(
            f"The column {opinions.column} is read as higher = better; where it is a difference "
            "from a pristine picture, add --lower-is-better."
        )
    if opinions.dataset is not None and lower_is_better:
        notes.append(f"The opinions of {opinions.dataset} are higher = better as they come.")
    if collection.store.info.quality_mode == "crops":
        notes.append(f"{FUSED} is the fusion of the means over crops, not the mean of the fusions.")
    if len(rated.opinions) < MIN_FITTED:
        notes.append(f"Correlations need at least {MIN_FITTED} photos.")
    return notes
