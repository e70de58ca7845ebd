"""Which of several photos to keep, and why."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from indexer.arrays import IntArray
from indexer.scan import stored_path
from schemas.errors import InputError
from service.paths import full_paths, lies_below

RANKED_COLUMNS = (
    "root",
    "path",
    "width",
    "height",
    "format",
    "file_size",
    "taken_at",
    "camera",
    "latitude",
    "jpeg_quality",
    "quality",
    "sharpness",
)
"""Columns of `images` that decide which photo is kept."""

FOUND_COLUMNS = ("n_alike", "n_same_way", "mean_alike", "has_frame")
"""Further columns, from what was found: how many photos are within the threshold of one, how many
of them lie the same way, and their mean cosine; and whether a frame was put around it. What several
copies were made from is like all of them; they are less like each other."""

_LOSSLESS = ("PNG", "TIFF", "BMP")

# How programs and people name what they made of a photo, as a word of its own.
_COPY_NAME = re.compile(
    r"\(\d+\)|(?:^|[\s_.()-])(?:copy|kopie|copie|copia|edit|edited|bearbeitet|resized|scaled|small"
    r"|thumb|thumbnail|preview|export|whatsapp|screenshot|cropped)(?:$|[\s_.()\d-])",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Preference:
    """Folders whose photos are kept rather than others, the most preferred first; full paths."""

    folders: tuple[str, ...] = ()

    @classmethod
    def of(cls, folders: Sequence[Path]) -> "Preference":
        """Return the preference for folders as a user names them."""
        return cls(tuple(stored_path(os.path.realpath(path.expanduser())) for path in folders))

    def refuse_unknown(self, facts: pa.Table) -> None:
        """Refuse folders in which none of the photos lies.

        Raises
        ------
        InputError
        """
        for folder in self.folders:
            if not lies_below(facts, folder).any():
                raise InputError(
                    f"no photo that is compared lies in {folder}, so none can be preferred; "
                    "name a folder as it was indexed"
                )


Values = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class _Criterion:
    """What makes one photo a better keeper than another.

    `values` gives a number for each photo, of which the lower is the better. `reason` says it in
    words of the facts of the better photo and those of the runner-up.
    """

    values: Callable[[pa.Table, Preference], Values]
    reason: Callable[[Mapping[str, Any], Mapping[str, Any]], str]


@dataclass(frozen=True, slots=True)
class Ranking:
    """In which order photos make good keepers.

    Attributes
    ----------
    order : int64 of shape (n,)
        Rows, the best keeper first. It depends on the photos alone, not on when they were indexed.
    ranks : int64 of shape (n,)
        The place of each row in that order.
    """

    order: IntArray
    ranks: IntArray
    _values: tuple[Values, ...]

    @classmethod
    def of(cls, facts: pa.Table, preference: Preference) -> "Ranking":
        """Rank photos, given RANKED_COLUMNS and FOUND_COLUMNS of each."""
        values = tuple(criterion.values(facts, preference) for criterion in _CRITERIA)
        # The path is the last resort, so that no two photos are equal.
        order = np.lexsort([_text_ranks(full_paths(facts)), *reversed(values)])
        ranks = np.empty(len(order), np.int64)
        ranks[order] = np.arange(len(order))
        return cls(order, ranks, values)

    def reason(self, keeper: int, other: int, facts: Sequence[Mapping[str, Any]]) -> str:
        """Return why a row is a better keeper than another, whose facts are the second of two."""
        for criterion, values in zip(_CRITERIA, self._values, strict=True):
            if values[keeper] != values[other]:
                return criterion.reason(*facts)
        return "first by path; nothing else tells them apart"


def _preferred(facts: pa.Table, preference: Preference) -> Values:
    places = np.full(len(facts), len(preference.folders))
    for place, folder in reversed(list(enumerate(preference.folders))):
        places[lies_below(facts, folder)] = place
    return places


def _framed(facts: pa.Table, _: Preference) -> Values:
    return _numbers(facts, "has_frame")


def _far_fewer_pixels(facts: pa.Table, _: Preference) -> Values:
    # In powers of two: a frame adds pixels, and a slight crop takes some, without any merit.
    return -np.floor(np.log2(np.maximum(_pixels(facts), 1)))


def _like_fewer(facts: pa.Table, _: Preference) -> Values:
    return -_numbers(facts, "n_alike")


def _like_fewer_as_they_lie(facts: pa.Table, _: Preference) -> Values:
    return -_numbers(facts, "n_same_way")


def _less_like(facts: pa.Table, _: Preference) -> Values:
    return -np.round(_numbers(facts, "mean_alike"), 2)


def _fewer_pixels(facts: pa.Table, _: Preference) -> Values:
    return -_pixels(facts)


def _no_raw(facts: pa.Table, _: Preference) -> Values:
    return ~_is_format(facts, ("RAW",))


def _missing_facts(facts: pa.Table, _: Preference) -> Values:
    known = [facts[name].is_valid() for name in ("taken_at", "camera", "latitude")]
    counts: Values = np.sum([_numpy(column, np.int64) for column in known], axis=0)
    return -counts


def _named_as_copy(facts: pa.Table, _: Preference) -> Values:
    names = facts["path"].to_pylist()
    return np.array([_is_copy_name(name) for name in names], np.bool_)


def _lossy(facts: pa.Table, _: Preference) -> Values:
    return ~_is_format(facts, _LOSSLESS)


def _compression(facts: pa.Table, _: Preference) -> Values:
    # Where the tables do not tell, as little is known as in the middle.
    return -_numbers(facts, "jpeg_quality", unknown=50.0)


def _low_quality(facts: pa.Table, _: Preference) -> Values:
    return -np.round(_numbers(facts, "quality"), 2)


def _blur(facts: pa.Table, _: Preference) -> Values:
    return -np.round(_numbers(facts, "sharpness"), 1)


def _fewer_bytes(facts: pa.Table, _: Preference) -> Values:
    return -_numbers(facts, "file_size")


def _long_path(facts: pa.Table, _: Preference) -> Values:
    return _numpy(pc.utf8_length(full_paths(facts)), np.int64)


def _most_pixels(own: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    sizes = [f"{photo['width']} x {photo['height']}" for photo in (own, other)]
    return f"most pixels: {sizes[0]}, not {sizes[1]}"


_CRITERIA = (
    _Criterion(_preferred, lambda *_: "in a preferred folder"),
    _Criterion(_framed, lambda *_: "no frame around it"),
    _Criterion(_far_fewer_pixels, _most_pixels),
    _Criterion(_no_raw, lambda *_: "a camera raw file"),
    _Criterion(_missing_facts, lambda *_: "most is known of where and how it was taken"),
    _Criterion(_named_as_copy, lambda *_: "the others are named as copies"),
    _Criterion(_like_fewer, lambda *_: "most of the others are like it"),
    _Criterion(_like_fewer_as_they_lie, lambda *_: "most of the others lie the same way"),
    _Criterion(_fewer_pixels, _most_pixels),
    _Criterion(_less_like, lambda *_: "closest to the others"),
    _Criterion(_lossy, lambda own, other: f"{own['format']} loses nothing, {other['format']} does"),
    _Criterion(
        _compression,
        lambda own, other: (
            f"least compressed: JPEG quality {own['jpeg_quality'] or 'unknown'}, "
            f"not {other['jpeg_quality'] or 'unknown'}"
        ),
    ),
    _Criterion(
        _low_quality,
        lambda own, other: (
            f"highest quality: {own['quality'] or 0:.2f}, not {other['quality'] or 0:.2f}"
        ),
    ),
    _Criterion(_blur, lambda *_: "sharpest"),
    _Criterion(_fewer_bytes, lambda *_: "largest file"),
    _Criterion(_long_path, lambda *_: "shortest path; nothing else tells them apart"),
)


def _is_copy_name(path: str) -> bool:
    stem = path.rpartition("/")[2].rpartition(".")[0]
    return _COPY_NAME.search(stem) is not None


def _is_format(facts: pa.Table, formats: Sequence[str]) -> Values:
    return _numpy(pc.is_in(facts["format"], pa.array(formats)), np.bool_)


def _pixels(facts: pa.Table) -> Values:
    return _numbers(facts, "width") * _numbers(facts, "height")


def _numbers(facts: pa.Table, name: str, *, unknown: float = 0.0) -> Values:
    return _numpy(facts[name].cast(pa.float64()).fill_null(unknown), np.float64)


def _text_ranks(texts: pa.ChunkedArray) -> Values:
    ranks = np.empty(len(texts), np.int64)
    ranks[np.asarray(pc.sort_indices(texts), dtype=np.int64)] = np.arange(len(texts))
    return ranks


def _numpy(column: pa.ChunkedArray, dtype: npt.DTypeLike) -> Values:
    return np.asarray(column.to_numpy(), dtype=dtype)
