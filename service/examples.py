"""Photos with labels: from folders, a file, or a column of the collection."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from indexer.arrays import FloatArray, IntArray
from indexer.scan import (
    ScannedFile,
    absolute_path,
    joined_path,
    resolve_root,
    scan,
    stored_path,
)
from indexer.spaces import SpaceMap
from indexer.store import vectors_of
from schemas.errors import InputError
from service.paths import full_paths
from service.table_files import read_table
from service.vectors import encoded_vectors

if TYPE_CHECKING:
    from service.collection import Collection

FOLDERS = "folders"
COLUMN_PREFIX = "column:"

# 4,096 x 1,280 features are 21 MB in float32.
PHOTOS_PER_READ = 4096

SHOWN_PATHS = 3


@dataclass(frozen=True, slots=True)
class Labels:
    """Labels of photos, in the order of their source.

    `image_ids` is int64 (n,), of photos of the collection with the first n of `labels`; then
    come those of `outside`, photos on disk that are not in it, or changed since.
    """

    image_ids: IntArray
    labels: tuple[str, ...]
    outside: tuple[tuple[Path, str], ...] = ()


@dataclass(frozen=True, slots=True)
class LabelledVectors:
    """Unit vectors float32 (n, d) with n labels and ids; the id is -1 outside the collection."""

    vectors: FloatArray
    labels: tuple[str, ...]
    image_ids: IntArray


def read_labels(collection: "Collection", source: str, *, where: str | None = None) -> Labels:
    """Read the labels of photos.

    Parameters
    ----------
    collection : Collection
    source : str
        A folder that has one folder of photos per label; a .csv, .tsv, .jsonl or .parquet file
        with columns `label` and `path` or `image_id`; "column:NAME", a column of the collection;
        or "folders", the name of the folder in which each photo of the collection lies. A path in
        a file is a full one, or relative to the file or to an indexed folder.
    where : str, optional
        Only photos of the collection for which this SQL condition holds, and none outside it.

    Raises
    ------
    InputError
        If the source cannot be read, names photos that do not exist, or has no label.
    """
    read = _read_source(collection, source)
    if where is not None:
        kept = np.isin(read.image_ids, collection.store.matching_ids(where))
        names = np.array(read.labels[: len(kept)], dtype=object)[kept]
        read = Labels(read.image_ids[kept], tuple(names))
    if not read.labels and not read.outside:
        raise InputError(f"{source} gives no photo a label; {_WAYS}")
    return read


_WAYS = (
    "give a folder with one folder per label, a .csv, .tsv, .jsonl or .parquet file with the "
    f"columns path and label, {COLUMN_PREFIX}NAME, or {FOLDERS}"
)


def labelled_vectors(
    collection: "Collection", labels: Labels, space_map: SpaceMap
) -> LabelledVectors:
    """Return the vectors of labelled photos; those outside the collection are encoded.

    Parameters
    ----------
    collection : Collection
    labels : Labels
    space_map : SpaceMap
        With its centre, if it asks for one.

    Raises
    ------
    InputError
        If a photo outside the collection cannot be encoded, or one of it was removed meanwhile.
    """
    ids = labels.image_ids
    blocks = [
        _stored_vectors(collection, ids[start : start + PHOTOS_PER_READ], space_map)
        for start in range(0, len(ids), PHOTOS_PER_READ)
    ]
    paths = [path for path, _ in labels.outside]
    blocks.append(encoded_vectors(collection, paths, space_map))
    return LabelledVectors(
        np.concatenate(blocks),
        (*labels.labels, *(label for _, label in labels.outside)),
        np.concatenate([ids, np.full(len(paths), -1, np.int64)]),
    )


def _stored_vectors(
    collection: "Collection", image_ids: IntArray, space_map: SpaceMap
) -> FloatArray:
    rows = collection.store.images_by_id(image_ids, [space_map.column])
    if len(rows) != len(image_ids):
        raise InputError("photos were removed from the collection meanwhile; run it again")
    return space_map.image_vectors(vectors_of(rows[space_map.column]))


def _read_source(collection: "Collection", source: str) -> Labels:
    if source.startswith(COLUMN_PREFIX):
        return _labels_in_column(collection, source.removeprefix(COLUMN_PREFIX))
    path = Path(source).expanduser()
    if source == FOLDERS and not path.exists():
        return _labels_of_folders(collection)
    if path.is_dir():
        return _labels_below(collection, path)
    if path.is_file():
        return _labels_in_file(collection, path)
    raise InputError(f"{source} does not exist; {_WAYS}")


def _labels_in_column(collection: "Collection", name: str) -> Labels:
    known = collection.store.image_columns.names
    if name not in known:
        raise InputError(f"the collection has no column {name!r}; it has {', '.join(known)}")
    rows = collection.store.images(["image_id", name])
    try:
        labels = rows[name].cast(pa.string())
    except pa.ArrowNotImplementedError as error:
        raise InputError(f"the column {name!r} holds no labels but {rows[name].type}") from error
    return _labelled(rows["image_id"], labels)


def _labels_of_folders(collection: "Collection") -> Labels:
    rows = collection.store.images(["image_id", "root", "path"])
    # A photo that lies in an indexed folder itself is labelled by that folder's name.
    folders = pc.extract_regex(full_paths(rows), r"(?:^|/)(?P<label>[^/]+)/[^/]*$")
    return _labelled(rows["image_id"], pc.struct_field(folders, "label"))


def _labels_below(collection: "Collection", folder: Path) -> Labels:
    root = resolve_root(folder)
    found = [file for file in scan(root) if isinstance(file, ScannedFile) and "/" in file.path]
    if not found:
        raise InputError(f"{folder} has no photos in folders of their own; {_WAYS}")
    labels = [file.path.partition("/")[0] for file in found]
    paths = [joined_path(file.root, file.path) for file in found]
    rows = _rows_at(collection, paths, ["file_size", "mtime_ns"])
    stats = [(file.size, file.mtime_ns) for file in found]
    image_ids = [
        row["image_id"] if row and (row["file_size"], row["mtime_ns"]) == stat else None
        for row, stat in zip(rows, stats, strict=True)
    ]
    return _with_outside(image_ids, labels, [absolute_path(file.root, file.path) for file in found])


def _labels_in_file(collection: "Collection", path: Path) -> Labels:
    table = read_table(path)
    if "label" not in table.column_names or not {"path", "image_id"} & set(table.column_names):
        raise InputError(
            f"{path} has the columns {', '.join(table.column_names)}; it needs label, and path or "
            "image_id"
        )
    given = table.select(
        [name for name in ("image_id", "path", "label") if name in table.column_names]
    )
    given = given.filter(_is_told(given["label"]))
    if "image_id" in given.column_names:
        return _labels_by_id(collection, given, path)
    labels = given["label"].cast(pa.string()).to_pylist()
    return _labels_by_path(collection, given["path"].cast(pa.string()).to_pylist(), labels, path)


def _labels_by_id(collection: "Collection", given: pa.Table, path: Path) -> Labels:
    try:
        image_ids = given["image_id"].cast(pa.int64())
    except pa.ArrowInvalid as error:
        raise InputError(f"{path} has an image_id that is no whole number") from error
    known = np.asarray(collection.store.images(["image_id"])["image_id"], dtype=np.int64)
    unknown = np.setdiff1d(np.asarray(image_ids, dtype=np.int64), known)
    if len(unknown):
        raise InputError(
            f"{path} names {len(unknown):,} image ids that the collection does not have, "
            f"{unknown[0]} among them"
        )
    return _labelled(image_ids, given["label"])


def _labels_by_path(
    collection: "Collection", given: Sequence[str], labels: Sequence[str], file: Path
) -> Labels:
    """Find each path: as it is, relative to the file, or relative to an indexed folder."""
    beside = [str(file.resolve().parent / path) for path in given]
    full = _rows_at(collection, [stored_path(path) for path in given], [])
    near = _rows_at(collection, [stored_path(path) for path in beside], [])
    below = _rows_below_roots(collection, [stored_path(path) for path in given], file)
    image_ids = [
        next((row["image_id"] for row in rows if row is not None), None)
        for rows in zip(full, near, below, strict=True)
    ]
    on_disk = [
        Path(path) if image_id is not None or Path(path).is_file() else Path(other)
        for path, other, image_id in zip(given, beside, image_ids, strict=True)
    ]
    missing = [
        path
        for path, place, image_id in zip(given, on_disk, image_ids, strict=True)
        if image_id is None and not place.is_file()
    ]
    if missing:
        raise InputError(
            f"{file} names {len(missing):,} photos that are neither in the collection nor on disk: "
            f"{', '.join(missing[:SHOWN_PATHS])}{' ...' if len(missing) > SHOWN_PATHS else ''}"
        )
    return _with_outside(image_ids, labels, on_disk)


def _rows_at(
    collection: "Collection", paths: Sequence[str], columns: Sequence[str]
) -> list[dict[str, int] | None]:
    """Return id and columns of the photo at each full stored path, or None."""
    table = collection.store.images(["image_id", "root", "path", *columns])
    return _found(table, full_paths(table), paths, columns)


def _rows_below_roots(
    collection: "Collection", paths: Sequence[str], file: Path
) -> list[dict[str, int] | None]:
    table = collection.store.images(["image_id", "path"])
    asked = table.filter(pc.is_in(table["path"], pa.array(paths, pa.string())))
    if len(asked) > pc.count_distinct(asked["path"]).as_py():
        counts = pc.value_counts(asked["path"]).to_pylist()
        twice = next(count["values"] for count in counts if count["counts"] > 1)
        raise InputError(
            f"{file} names {twice}, which lies in more than one indexed folder; give full paths"
        )
    return _found(asked, asked["path"], paths, [])


def _found(
    table: pa.Table, keys: pa.ChunkedArray, paths: Sequence[str], columns: Sequence[str]
) -> list[dict[str, int] | None]:
    rows = pc.index_in(pa.array(paths, pa.string()), keys.combine_chunks())
    found = table.select(["image_id", *columns]).take(rows).to_pylist()
    return [row if row["image_id"] is not None else None for row in found]


def _with_outside(
    image_ids: Sequence[int | None], labels: Sequence[str], paths: Sequence[Path]
) -> Labels:
    known = [row for row, image_id in enumerate(image_ids) if image_id is not None]
    return Labels(
        np.array([image_ids[row] for row in known], dtype=np.int64),
        tuple(labels[row] for row in known),
        tuple(
            (path, label)
            for path, label, image_id in zip(paths, labels, image_ids, strict=True)
            if image_id is None
        ),
    )


def _labelled(image_ids: pa.ChunkedArray, labels: pa.ChunkedArray) -> Labels:
    told = _is_told(labels)
    kept = pc.filter(labels, told).cast(pa.string())
    ids = np.asarray(pc.filter(image_ids, told), dtype=np.int64)
    return Labels(ids, tuple(kept.to_pylist()))


def _is_told(labels: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return which labels are neither null nor empty."""
    return pc.fill_null(pc.not_equal(labels.cast(pa.string()), ""), False)  # noqa: FBT003
