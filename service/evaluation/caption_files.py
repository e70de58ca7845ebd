"""Captions of photos, from plain tables and from the files that data sets come with."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from indexer.arrays import IntArray
from indexer.store import Store
from schemas.errors import InputError
from service.evaluation.photo_names import rows_by_name
from service.table_files import read_table

ID_COLUMN = "image_id"
NAME_COLUMNS = ("path", "file", "filename", "file_name", "image", "image_name")
CAPTION_COLUMNS = ("caption", "raw", "text", "sentence")
SPLIT_COLUMN = "split"

SHOWN_NAMES = 3


@dataclass(frozen=True, slots=True)
class Captions:
    """Captions of photos of a collection: ids int64 (n,) and n texts, in the order of their file.

    A photo may have several. `n_outside` more are of photos that the collection does not have.
    """

    image_ids: IntArray
    texts: tuple[str, ...]
    n_outside: int


def read_captions(store: Store, path: Path, *, split: str | None = None) -> Captions:
    """Read a file of captions.

    Parameters
    ----------
    store : Store
    path : Path
        A .tsv, .csv, .jsonl or .parquet file with a line per caption: its text in one of
        `CAPTION_COLUMNS`, and the photo in `image_id` or one of `NAME_COLUMNS`; or a .json file
        as of Karpathy and Fei-Fei (CVPR 2015), {"images": [{"filename", "split", "sentences":
        [{"raw"}]}]}. Empty captions are left out. Names are matched as full paths, then relative
        to an indexed folder, then by file name.
    split : str, optional
        Only captions whose `split` this is.

    Raises
    ------
    InputError
        If it cannot be read, has no such columns or split, or a name fits several photos.
    """
    table = _read_karpathy(path) if path.suffix.lower() == ".json" else _read_plain(path)
    if split is not None:
        table = _of_split(table, split, path=path)
    table = table.filter(_is_told(table["caption"]))
    if path.suffix.lower() == ".tsv":
        _refuse_lone_quotes(table["caption"], path=path)
    if not len(table):
        raise InputError(f"{path} holds no caption")
    rows = _photo_rows(store, table["photo"].combine_chunks(), path=path)
    is_known = np.asarray(pc.is_valid(rows))
    return Captions(
        np.asarray(pc.drop_null(rows), dtype=np.int64),
        tuple(table["caption"].filter(pa.array(is_known)).to_pylist()),
        int((~is_known).sum()),
    )


def _photo_rows(store: Store, photos: pa.Array, *, path: Path) -> pa.Array:
    """Return the image_id of each photo, null where the collection has none."""
    stored = store.images(["image_id", "root", "path"])
    image_ids = stored["image_id"].combine_chunks()
    if pa.types.is_integer(photos.type):
        return pc.if_else(pc.is_in(photos, value_set=image_ids), photos, None)
    return image_ids.take(rows_by_name(photos, stored, file=path))


def _read_plain(path: Path) -> pa.Table:
    """Return a table with `photo`, an id or a name, `caption` and perhaps `split`."""
    table = read_table(path)
    column_of = {name.strip().lower(): name for name in table.column_names}
    photos = [name for name in (ID_COLUMN, *NAME_COLUMNS) if name in column_of]
    captions = [name for name in CAPTION_COLUMNS if name in column_of]
    if not photos or not captions:
        raise InputError(
            f"{path} has the columns {', '.join(table.column_names)}; it needs one of "
            f"{', '.join((ID_COLUMN, *NAME_COLUMNS))} and one of {', '.join(CAPTION_COLUMNS)}"
        )
    wanted_type = pa.int64() if photos[0] == ID_COLUMN else pa.string()
    try:
        named = {
            "photo": table[column_of[photos[0]]].cast(wanted_type),
            "caption": table[column_of[captions[0]]].cast(pa.string()),
        }
    except pa.ArrowException as error:
        raise InputError(
            f"{path} has {photos[0]} or {captions[0]} of another kind: {error}"
        ) from error
    if SPLIT_COLUMN in column_of:
        named["split"] = table[column_of[SPLIT_COLUMN]].cast(pa.string())
    return pa.table(named)


def _read_karpathy(path: Path) -> pa.Table:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        captions = [
            (_karpathy_name(image), sentence["raw"], str(image.get("split", "")))
            for image in content["images"]
            for sentence in image["sentences"]
        ]
    except OSError as error:
        raise InputError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f'{path} is no JSON of the form {{"images": [{{"filename": ..., "sentences": '
            '[{"raw": ...}]}]}; give other captions as .jsonl, .tsv or .csv'
        ) from error
    names, texts, splits = zip(*captions, strict=True) if captions else ((), (), ())
    return pa.table(
        {
            "photo": pa.array(names, pa.string()),
            "caption": pa.array(texts, pa.string()),
            "split": pa.array(splits, pa.string()),
        }
    )


def _karpathy_name(image: dict[str, Any]) -> str:
    # COCO's file has the folder of a photo beside its name.
    folder = image.get("filepath")
    return f"{folder}/{image['filename']}" if folder else str(image["filename"])


def _of_split(table: pa.Table, split: str, *, path: Path) -> pa.Table:
    if "split" not in table.column_names:
        raise InputError(f"{path} names no splits; leave out --split")
    kept = table.filter(pc.equal(table["split"], split))
    if not len(kept):
        known = sorted(filter(None, pc.unique(table["split"]).to_pylist()))
        raise InputError(f"{path} has no split {split!r}; it has {', '.join(known) or 'none'}")
    return kept


def _refuse_lone_quotes(captions: pa.ChunkedArray, *, path: Path) -> None:
    """Refuse captions of several lines: a lone quotation mark swallows all up to the next."""
    several = captions.filter(pc.match_substring(captions, "\n"))
    if len(several):
        begin = several[0].as_py().partition("\n")[0]
        raise InputError(
            f"{path} has a caption that goes on over the end of its line, after {begin!r}; put a "
            "quotation mark that begins a caption three times, and one at the end"
        )


def _is_told(captions: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return which captions are more than white space."""
    trimmed = pc.utf8_trim_whitespace(captions)
    return pc.fill_null(pc.not_equal(trimmed, ""), False)  # noqa: FBT003
