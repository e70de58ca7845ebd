"""How alike two photos are: the tier, the cosine, and what sets the second apart in words."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from indexer.arrays import FloatArray, IntArray
from indexer.scoring.thumbnail_agreement import Overlay, copy_evidence, overlay
from schemas.tiers import Tier
from service.duplicates.copies import USUAL_EVIDENCE, pair_similarities
from service.duplicates.material import Material
from service.duplicates.photos import PhotoSet

# How the second photo lies, by the turn that lays it on the first; see
# `scoring.thumbnail_agreement.turned`.
_ORIENTATIONS = (
    "",
    "mirrored",
    "flipped",
    "upside down",
    "mirrored on its side",
    "turned right",
    "turned left",
    "mirrored on its side",
)

# Shares of the area that are cut or added, and of the width that are lost or gained, to be told:
# thumbnails place a picture to a pixel in 32.
_LEAST_CUT, _LEAST_RESIZING = 0.06, 0.03
# A thumbnail that agrees less was changed in more than size and compression.
_UNEDITED_AGREEMENT = 0.93
# Levels of JPEG quality.
_LEAST_RECOMPRESSION = 3


@dataclass(frozen=True, slots=True)
class Side:
    """One photo of each of n pairs: `rows` of the photos, and of the material, -1 if not in it."""

    photos: PhotoSet
    rows: IntArray
    material: Material | None
    material_rows: IntArray


@dataclass(frozen=True, slots=True)
class Likeness:
    """How alike two photos are, the strictest tier that makes, and what sets the second apart."""

    tier: Tier
    similarity: float
    difference: str


def likenesses(first: Side, second: Side, *, tier: Tier) -> list[Likeness]:
    """Tell how alike the photos of n pairs are; `tier` is that for which no stricter one holds."""
    similarities, laid, evidence = _compared(first, second)
    ones, others = (side.photos.taken(side.rows).to_pylist() for side in (first, second))
    found = []
    for n, (one, other) in enumerate(zip(ones, others, strict=True)):
        if one["content_hash"] is not None and one["content_hash"] == other["content_hash"]:
            found.append(Likeness("bytes", 1.0, "same bytes"))
        elif one["pixel_hash"] is not None and one["pixel_hash"] == other["pixel_hash"]:
            found.append(Likeness("pixels", 1.0, _same_pixels(one, other)))
        elif tier == "near" or evidence[n] >= USUAL_EVIDENCE:
            told = _changes(one, other, laid, n)
            found.append(Likeness("near", float(similarities[n]), told))
        else:
            found.append(Likeness("similar", float(similarities[n]), "similar, but no copy"))
    return found


def _compared(first: Side, second: Side) -> tuple[FloatArray, Overlay, FloatArray]:
    """Return cosines, overlays and evidence; all zero where there is no material."""
    n_pairs = len(first.rows)
    similarities, evidence = np.zeros(n_pairs, np.float32), np.zeros(n_pairs, np.float32)
    laid = Overlay(evidence.copy(), np.zeros(n_pairs, np.int64), np.ones(n_pairs, np.float32))
    if first.material is None or second.material is None:
        return similarities, laid, evidence
    rows, others = first.material_rows, second.material_rows
    similarities = pair_similarities(first.material, second.material, rows, others)
    laid = overlay(first.material.thumbnails[rows], second.material.thumbnails[others])
    return similarities, laid, copy_evidence(laid.agreements, similarities)


def _same_pixels(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    if one["format"] != other["format"]:
        return f"same pixels, as {other['format']}"
    return "same pixels, other metadata or compression"


def _changes(one: Mapping[str, Any], other: Mapping[str, Any], laid: Overlay, row: int) -> str:
    changes = [_ORIENTATIONS[laid.orientations[row]], _cut(float(laid.areas[row]))]
    changes += [_resized(one, other, turned=laid.orientations[row] >= 4)]  # noqa: PLR2004 - bit 2
    changes += [_saved(one, other)]
    told = [change for change in changes if change]
    if laid.agreements[row] < _UNEDITED_AGREEMENT and not changes[1]:
        told.insert(0, "edited")
    return ", ".join(told) or "saved anew"


def _cut(area: float) -> str:
    """Tell from the area of the first photo, of that of the second."""
    if area > 1 + _LEAST_CUT:
        return f"cropped to {1 / area:.0%}"
    return "with a frame, or less cropped" if area < 1 - _LEAST_CUT else ""


def _resized(one: Mapping[str, Any], other: Mapping[str, Any], *, turned: bool) -> str:
    if one["width"] is None or other["width"] is None:
        return ""
    width = other["height"] if turned else other["width"]
    share = width / one["width"]
    return f"{share:.0%} as wide" if abs(share - 1) > _LEAST_RESIZING else ""


def _saved(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    if one["format"] != other["format"]:
        return f"as {other['format']}"
    before, after = one["jpeg_quality"], other["jpeg_quality"]
    if before is None or after is None or before - after < _LEAST_RECOMPRESSION:
        return ""
    return f"JPEG quality {after}, not {before}"
