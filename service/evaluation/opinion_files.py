"""Opinion scores of photos, from the files that data sets come with and from plain tables."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from indexer.arrays import DoubleArray, IntArray
from indexer.store import Store
from schemas.errors import InputError
from service.evaluation.photo_names import rows_by_name
from service.table_files import read_table

Dataset = Literal["KonIQ-10k", "SPAQ", "KADID-10k", "TID2013"]

ID_COLUMN = "image_id"
NAME_COLUMNS = ("path", "image_name", "image name", "filename", "file_name", "file", "image")
SCORE_COLUMNS = ("mos", "dmos", "score", "opinion")

# Columns by which the original files are known: Hosu et al., IEEE TIP 2020; Fang et al., CVPR
# 2020; Lin et al., QoMEX 2019.
_HEADERS: tuple[tuple[Dataset, frozenset[str], str, str], ...] = (
    ("KonIQ-10k", frozenset(("image_name", "c1", "c5", "mos")), "image_name", "mos"),
    ("SPAQ", frozenset(("image name", "mos", "brightness", "sharpness")), "image name", "mos"),
    ("KADID-10k", frozenset(("dist_img", "ref_img", "dmos")), "dist_img", "dmos"),
)
# A line of mos_with_names.txt of TID2013 (Ponomarenko et al., 2015): 5.51429 I01_01_1.bmp
_TID2013_LINE = r"^(?P<opinion>\d+(?:\.\d+)?)\s+(?P<photo>[iI]\d+_\d+_\d\.(?:bmp|BMP))$"

_BINARY = {
    ".xlsx": "save the sheet as CSV",
    ".xls": "save the sheet as CSV",
    ".mat": "write names and scores into a CSV file with the columns path and mos",
}
SHOWN_NAMES = 3


@dataclass(frozen=True, slots=True)
class Opinions:
    """Opinion scores of n photos, in the order of their file.

    `photos` are int64 image ids or strings, `values` float64 (n,). `dataset` is known where the
    file is an original one; `column` is what the scores are called there.
    """

    dataset: Dataset | None
    photos: pa.Array
    values: DoubleArray
    column: str


@dataclass(frozen=True, slots=True)
class MatchedOpinions:
    """Ids (int64) of photos of the collection and their opinion scores (float64), both (n,)."""

    image_ids: IntArray
    values: DoubleArray


def read_opinions(path: Path) -> Opinions:
    """Read a file of opinion scores.

    Parameters
    ----------
    path : Path
        The original file of KonIQ-10k (koniq10k_scores_and_distributions.csv), KADID-10k
        (dmos.csv) or TID2013 (mos_with_names.txt), the sheet of SPAQ saved as CSV, or any .csv,
        .tsv, .jsonl or .parquet file with a column `image_id`, `path` or another of
        `NAME_COLUMNS`, and one of `SCORE_COLUMNS`, in upper or lower case. Photos without a
        score are left out.

    Raises
    ------
    InputError
        If it cannot be read, has no such columns, or a score is no finite number.
    """
    suffix = path.suffix.lower()
    if suffix in _BINARY:
        raise InputError(f"cannot read {path}: {suffix} is no plain table; {_BINARY[suffix]}")
    if suffix == ".txt":
        return _read_tid2013(path)
    table = read_table(path)
    dataset, key, score = _known_columns(table, path)
    photos = table[key] if key.lower() != ID_COLUMN else _image_ids(table[key], path)
    return _opinions(path, dataset, photos, table[score], column=score)


def match_opinions(store: Store, opinions: Opinions, *, path: Path) -> MatchedOpinions:
    """Find the photos of a collection that opinions are about.

    Names are matched as full paths, then relative to an indexed folder, then by file name alone,
    then by that in any case. A name that fits several photos is refused, not guessed.

    Parameters
    ----------
    store : Store
    opinions : Opinions
    path : Path
        Of the file, for messages.

    Raises
    ------
    InputError
        If a name fits several photos, a photo has several opinions, or none is known.
    """
    table = store.images(["image_id", "root", "path"])
    if pa.types.is_integer(opinions.photos.type):
        rows = pc.index_in(opinions.photos, table["image_id"].combine_chunks())
    else:
        rows = rows_by_name(opinions.photos, table, file=path)
    is_found = np.asarray(pc.is_valid(rows))
    found = np.asarray(pc.drop_null(rows), dtype=np.int64)
    if not len(found):
        raise InputError(
            f"none of the {len(is_found):,} photos in {path} is in the collection; "
            "index their folder first, or check how the file names them: "
            f"{', '.join(map(str, opinions.photos[:SHOWN_NAMES].to_pylist()))}"
        )
    if len(np.unique(found)) < len(found):
        twice = int(found[np.bincount(found)[found] > 1][0])
        raise InputError(
            f"{path} has more than one opinion of {table['path'][twice].as_py()}; "
            "give one a photo, their mean"
        )
    return MatchedOpinions(
        np.asarray(table["image_id"], dtype=np.int64)[found], opinions.values[is_found]
    )


def _known_columns(table: pa.Table, path: Path) -> tuple[Dataset | None, str, str]:
    """Return the data set, and the columns of photos and of scores."""
    column_of = {name.strip().lower(): name for name in table.column_names}
    for dataset, header, key, score in _HEADERS:
        if header <= column_of.keys():
            return dataset, column_of[key], column_of[score]
    keys = [name for name in (ID_COLUMN, *NAME_COLUMNS) if name in column_of]
    scores = [name for name in SCORE_COLUMNS if name in column_of]
    if not keys or not scores:
        raise InputError(
            f"{path} has the columns {', '.join(table.column_names)}; it needs one of "
            f"{', '.join((ID_COLUMN, *NAME_COLUMNS))} and one of {', '.join(SCORE_COLUMNS)}"
        )
    return None, column_of[keys[0]], column_of[scores[0]]


def _read_tid2013(path: Path) -> Opinions:
    try:
        lines = pa.array(path.read_text(encoding="utf-8-sig").split("\n"), pa.string())
    except OSError as error:
        raise InputError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no UTF-8 text") from error
    lines = pc.utf8_trim_whitespace(lines)
    lines = lines.filter(pc.not_equal(lines, ""))
    parts = pc.extract_regex(lines, _TID2013_LINE)
    strange = lines.filter(pc.is_null(parts))
    if len(strange) or not len(lines):
        raise InputError(
            f"{path} is no mos_with_names.txt of TID2013"
            f"{f': it has the line {strange[0].as_py()[:80]!r}' if len(strange) else ''}; "
            "give other scores as .csv or .tsv with a line of column names"
        )
    photos, values = pc.struct_field(parts, "photo"), pc.struct_field(parts, "opinion")
    return _opinions(path, "TID2013", photos, values, column="mos")


def _opinions(
    path: Path, dataset: Dataset | None, photos: pa.Array, scores: pa.Array, *, column: str
) -> Opinions:
    values = _numbers(scores, path, column)
    is_given = pc.and_(pc.is_valid(values), pc.is_valid(photos))
    kept = pc.filter(photos, is_given)
    kept = kept.combine_chunks() if isinstance(kept, pa.ChunkedArray) else kept
    if not len(kept):
        raise InputError(f"{path} holds no opinion score")
    return Opinions(
        dataset, kept, np.asarray(pc.filter(values, is_given), dtype=np.float64), column
    )


def _image_ids(photos: pa.ChunkedArray, path: Path) -> pa.ChunkedArray:
    try:
        return photos.cast(pa.int64())
    except pa.ArrowException as error:
        raise InputError(f"{path} has an {ID_COLUMN} that is no whole number: {error}") from error


def _numbers(scores: pa.Array, path: Path, column: str) -> pa.Array:
    """Return scores as float64, null where there is none."""
    if pa.types.is_string(scores.type) or pa.types.is_large_string(scores.type):
        trimmed = pc.utf8_trim_whitespace(scores)
        scores = pc.if_else(pc.equal(trimmed, ""), None, trimmed)
    try:
        values = scores.cast(pa.float64())
    except pa.ArrowException as error:
        raise InputError(f"{path} has a {column} that is no number: {error}") from error
    values = pc.if_else(pc.is_nan(values), None, values)
    if pc.any(pc.is_inf(values)).as_py():
        raise InputError(f"{path} has a {column} that is infinite; give finite scores")
    return values
