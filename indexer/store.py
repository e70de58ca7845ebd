"""The tables of one collection. The only module that knows LanceDB.

Arrays, ids and Arrow tables go in and come out; never a LanceDB object.
"""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from platformdirs import user_cache_path

from indexer.arrays import FloatArray, IntArray
from indexer.compaction import KEEP_VERSIONS, TableState, compact
from indexer.encoders.encoder import Projectors
from indexer.lock import writer_lock
from indexer.migrations import Migration, pending_migrations
from indexer.store_errors import damaged_message, first_line, store_errors
from schemas.collection import SCHEMA_VERSION, CollectionInfo
from schemas.errors import (
    CollectionDamagedError,
    CollectionNotFoundError,
    InputError,
)
from schemas.tables import (
    COLLECTION_SCHEMA,
    FAILURES_SCHEMA,
    REFERENCES_SCHEMA,
    ROOTS_SCHEMA,
    images_schema,
)

READ_ROWS = 8192
"""Rows per block when vectors are streamed: 21 MB of 1,280 float16."""

# LanceDB evaluates a long IN list once per row; blocks keep the filter cheap and short.
IDS_PER_FILTER = 1000

REMEMBERED_CONDITIONS = 8
"""Of a million photos that match, the ids take 8 MB."""

INDEXED_ROWS = 10_000
"""Below this a scan of the key column takes a few milliseconds and needs no index."""

TABLES = ("collection", "images", "failures", "roots", "references")

REMOTE_SCHEMES = ("s3://", "gs://", "az://")


def is_remote(uri: str) -> bool:
    """Return whether a collection lies in object storage."""
    return uri.startswith(REMOTE_SCHEMES)


def local_directory(uri: str) -> Path:
    """Return where files beside a collection lie: in it, or in the user's cache if it is remote."""
    if not is_remote(uri):
        return Path(uri)
    name = uri.replace("://", "-").replace("/", "-")
    return user_cache_path("isophote", appauthor=False) / name


def disk_bytes(uri: str) -> int:
    """Return the bytes a collection takes on this machine."""
    files = (path for path in local_directory(uri).rglob("*") if path.is_file())
    return sum(path.stat().st_size for path in files)


class Store:
    """An open collection.

    Reads see what any process has committed; writes must hold
    :func:`indexer.lock.writer_lock`. Get one from :func:`create_store` or :func:`open_store`.
    """

    def __init__(self, uri: str, connection: Any) -> None:
        self.uri = uri
        self._connection = connection
        self._tables = {name: connection.open_table(name) for name in TABLES}
        for name, table in self._tables.items():
            # What LanceDB makes of a manifest of zeros, as a power cut leaves it.
            if not table.schema.names:
                raise CollectionDamagedError(damaged_message(uri, f"{name} has no columns"))
        stored = self._read("collection").to_pylist()
        if not stored:
            raise CollectionDamagedError(damaged_message(uri, "its description is empty"))
        self.info = CollectionInfo.model_validate_json(stored[0]["info"]).model_copy(
            update={"schema_version": stored[0]["schema_version"]}
        )
        self._projectors = stored[0]["projectors"]
        self._matching = lru_cache(REMEMBERED_CONDITIONS)(self._matching_at)

    @property
    def version(self) -> int:
        """Version of the `images` table; it grows with every commit."""
        with self._errors():
            return int(self._tables["images"].version)

    @property
    def projectors(self) -> Projectors:
        """The model's projectors, kept here so that spaces need no model."""
        return unpacked_projectors(self._projectors)

    def count_images(self, where: str | None = None) -> int:
        """Return the number of photos, or of those that match a condition."""
        if where is not None:
            return len(self.matching_ids(where))  # which a search asks for next, and finds kept
        with self._errors():
            return int(self._tables["images"].count_rows())

    def images(self, columns: Sequence[str], where: str | None = None) -> pa.Table:
        """Return columns of `images` for all rows, or for those that match a condition.

        Raises
        ------
        FilterError
            If the condition is not one.
        """
        return self._read("images", columns, where)

    def image_blocks(
        self, columns: Sequence[str], where: str | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield columns of `images` for all rows, or those that match, in bounded blocks."""
        with self._errors(where):
            query = self._tables["images"].search().select(list(columns))
            if where is not None:
                query = query.where(where)
            yield from query.to_batches(batch_size=READ_ROWS)

    def images_by_id(self, image_ids: IntArray, columns: Sequence[str]) -> pa.Table:
        """Return columns for the given ids, in the order of the ids; unknown ids are left out."""
        names = ["image_id", *(name for name in columns if name != "image_id")]
        blocks = [
            self._read("images", names, _ids_condition(image_ids[start : start + IDS_PER_FILTER]))
            for start in range(0, max(len(image_ids), 1), IDS_PER_FILTER)
        ]
        table = pa.concat_tables(blocks)
        row_of_id = {image_id: row for row, image_id in enumerate(table["image_id"].to_pylist())}
        rows = [row_of_id[image_id] for image_id in image_ids.tolist() if image_id in row_of_id]
        return table.take(pa.array(rows, pa.int64()))

    def matching_ids(self, where: str) -> IntArray:
        """Return the ids (int64, ascending) of the photos that match a SQL condition.

        Whoever pages through what matches asks again and again: the answers to the last
        conditions are kept until the photos change, and must not be written into.
        """
        return self._matching(self.version, where)

    def _matching_at(self, version: int, where: str) -> IntArray:  # noqa: ARG002 - a part of the key
        return np.sort(_column(self._read("images", ["image_id"], where)))

    def vector_blocks(
        self, column: str, where: str | None = None
    ) -> Iterator[tuple[IntArray, FloatArray]]:
        """Yield ids (n,) and float32 vectors (n, d) of a vector column, in bounded blocks."""
        for batch in self.image_blocks(["image_id", column], where):
            yield _column(batch), vectors_of(batch[column])

    def nearest(
        self, query: FloatArray, *, top_k: int, where: str | None = None
    ) -> tuple[FloatArray, IntArray]:
        """Search the `embedding` column with the store's own index.

        Parameters
        ----------
        query : float32 of shape (d,)
            Unit length, in the default image space of the model.
        top_k : int
            At least 1.
        where : str, optional
            Condition applied before the search, so that top_k rows come back where they exist.

        Returns
        -------
        similarities, image_ids : float32 and int64 of shape (n,)
            Cosines, best first; n <= top_k.
        """
        with self._errors(where):
            search = (
                self._tables["images"]
                .search(query, vector_column_name="embedding")
                .distance_type("cosine")
                .select(["image_id", "_distance"])
                .limit(top_k)
            )
            if self._has_index("embedding"):
                # Quantised codes rank roughly: without refining recall@10 is under .72 (STACK).
                search = search.nprobes(20).refine_factor(5)
            if where is not None:
                search = search.where(where, prefilter=True)
            found = search.to_arrow()
        distances = found["_distance"].to_numpy().astype(np.float32)
        return np.subtract(1, distances, dtype=np.float32), _column(found)

    def append_images(self, rows: pa.Table) -> None:
        """Append photos; rows follow :func:`schemas.tables.images_schema`."""
        with self._errors():
            self._tables["images"].add(rows)

    def next_image_id(self) -> int:
        """Return the first id that no photo, present or deleted, has had."""
        ids = _column(self._read("images", ["image_id"]))
        floor = int(self._read("collection", ["next_image_id"])["next_image_id"][0].as_py())
        return max(int(ids.max(initial=-1)) + 1, floor)

    def update_images(self, changes: pa.Table) -> None:
        """Overwrite columns of existing photos; `changes` has `image_id` and those columns."""
        with self._errors():
            self._tables["images"].merge_insert("image_id").when_matched_update_all().execute(
                changes
            )

    def delete_images(self, image_ids: IntArray) -> None:
        """Remove photos by id. Their ids are not given out again."""
        if not len(image_ids):
            return
        # First the floor, then the rows: a crash between the two wastes ids, never reuses one.
        floor = {"next_image_id": self.next_image_id()}
        with self._errors():
            self._tables["collection"].update(values=floor)
            for start in range(0, len(image_ids), IDS_PER_FILTER):
                block = image_ids[start : start + IDS_PER_FILTER]
                self._tables["images"].delete(_ids_condition(block))

    def failures(self, where: str | None = None) -> pa.Table:
        """Return the files that could not be indexed, or those that match a condition.

        Raises
        ------
        FilterError
            If the condition is not one.
        """
        return self._read("failures", where=where)

    def count_failures(self) -> int:
        """Return the number of files that could not be indexed."""
        with self._errors():
            return int(self._tables["failures"].count_rows())

    def replace_failures(self, rows: pa.Table) -> None:
        """Make `rows` (FAILURES_SCHEMA) the whole list of failures."""
        with self._errors():
            self._tables["failures"].add(rows, mode="overwrite")

    def roots(self) -> pa.Table:
        """Return the indexed folders."""
        return self._read("roots")

    def record_roots(self, rows: pa.Table) -> None:
        """Add or update indexed folders (ROOTS_SCHEMA), keyed by `root`."""
        if not rows.num_rows:
            return  # even an empty merge is a commit
        with self._errors():
            self._tables["roots"].merge_insert(
                "root"
            ).when_matched_update_all().when_not_matched_insert_all().execute(rows)

    @property
    def image_columns(self) -> pa.Schema:
        """Schema of `images`, with the columns that came with imported vectors."""
        with self._errors():
            return self._tables["images"].schema

    def add_image_columns(self, fields: Sequence[pa.Field]) -> None:
        """Add columns to `images` that are null in every row."""
        if fields:
            with self._errors():
                self._tables["images"].add_columns(list(fields))

    def references(self) -> pa.Table:
        """Return the anomaly references by name, without their arrays."""
        names = [name for name in REFERENCES_SCHEMA.names if name != "arrays"]
        return self._read("references", names).sort_by("name")

    def reference_arrays(self, name: str) -> bytes:
        """Return the NPZ file of an anomaly reference.

        Raises
        ------
        ValueError
            If there is no such reference.
        """
        stored = self._read("references", ["name", "arrays"]).to_pylist()
        for row in stored:
            if row["name"] == name:
                return bytes(row["arrays"])
        raise ValueError(f"there is no anomaly reference {name!r}")

    def save_reference(self, row: pa.Table) -> None:
        """Add an anomaly reference (one row of REFERENCES_SCHEMA), or replace its namesake."""
        with self._errors():
            self._tables["references"].merge_insert(
                "name"
            ).when_matched_update_all().when_not_matched_insert_all().execute(row)

    def delete_reference(self, name: str) -> None:
        """Remove an anomaly reference; the scores it gave stay."""
        with self._errors():
            self._tables["references"].delete(f"name = {quoted(name)}")

    def activate_reference(self, name: str | None) -> None:
        """Make one anomaly reference the active one, or none."""
        is_active = "false" if name is None else f"name = {quoted(name)}"
        with self._errors():
            if self._tables["references"].count_rows():
                self._tables["references"].update(values_sql={"is_active": is_active})

    def optimize(self, *, keep_versions: timedelta = KEEP_VERSIONS) -> None:
        """Compact small files where it pays, and drop versions that were replaced long ago.

        Compaction leaves the files it replaced, for readers that are at them. They go when this
        is called again after a while, before rows are added: call it at both ends of a run.

        Parameters
        ----------
        keep_versions : timedelta
            How long a reader may take: an old version stays for this long after it was replaced.
        """
        from lancedb.index import BTree

        with self._errors():
            images = self._tables["images"]
            is_due = TableState.of(images, keep_versions).needs_compaction
            if images.count_rows() >= INDEXED_ROWS and (is_due or not self._has_index("image_id")):
                # All rows in it, for LanceDB never merges fragments of which only one is.
                images.create_index("image_id", config=BTree())
            for table in self._tables.values():
                compact(table, keep_versions)

    def build_vector_index(self) -> None:
        """Index the `embedding` column inside the store, for search without FAISS."""
        from lancedb.index import IvfRq

        with self._errors():
            self._tables["images"].create_index("embedding", config=IvfRq(distance_type="cosine"))

    def _has_index(self, column: str) -> bool:
        indices = self._tables["images"].list_indices()
        return [column] in [index.columns for index in indices]

    def _read(
        self, name: str, columns: Sequence[str] | None = None, where: str | None = None
    ) -> pa.Table:
        with self._errors(where):
            query = self._tables[name].search()
            if columns is not None:
                query = query.select(list(columns))
            if where is not None:
                query = query.where(where)
            return query.to_arrow()

    @contextmanager
    def _errors(self, where: str | None = None) -> Iterator[None]:
        with store_errors(self.uri, where):
            yield


class StoredTables:
    """Changes of tables that migrations make; each may have been made before a crash."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def add_columns(self, name: str, fields: Sequence[pa.Field]) -> None:
        """Add columns that are null in every row."""
        table = self._connection.open_table(name)
        if missing := [field for field in fields if field.name not in table.schema.names]:
            table.add_columns(missing)

    def create_table(self, name: str, schema: pa.Schema) -> None:
        """Make an empty table."""
        self._connection.create_table(name, schema=schema, exist_ok=True)


def create_store(
    uri: str, info: CollectionInfo, projectors: Projectors, *, columns: pa.Schema | None = None
) -> Store:
    """Make an empty collection.

    Parameters
    ----------
    uri : str
    info : CollectionInfo
    projectors : Projectors
    columns : pa.Schema, optional
        Of `images`, for imported vectors; that of photos by default.

    Raises
    ------
    ValueError
        If there is one already.
    StorageError
        If the place cannot be written to.
    CollectionDamagedError
        If there are photos without a description.
    """
    description = pa.Table.from_pylist(
        [
            {
                "schema_version": info.schema_version,
                "info": info.model_dump_json(),
                "projectors": packed_projectors(projectors),
                "next_image_id": 0,
            }
        ],
        schema=COLLECTION_SCHEMA,
    )
    if store_exists(uri):
        raise ValueError(f"there is a collection at {uri!r} already")
    with store_errors(uri):
        connection = _connect(uri)
        _drop_remains(connection, uri)
        connection.create_table("images", schema=columns or images_schema(info.model))
        connection.create_table("failures", schema=FAILURES_SCHEMA)
        connection.create_table("roots", schema=ROOTS_SCHEMA)
        connection.create_table("references", schema=REFERENCES_SCHEMA)
        # Last: a collection exists from the moment its description does.
        connection.create_table("collection", description)
        return Store(uri, connection)


def _drop_remains(connection: Any, uri: str) -> None:
    """Remove the empty tables that a process killed in :func:`create_store` left."""
    for name in set(TABLES[1:]).intersection(connection.list_tables().tables):
        try:
            n_rows = connection.open_table(name).count_rows()
        except ValueError:  # not even its first version was written
            n_rows = 0
        if n_rows:
            raise CollectionDamagedError(damaged_message(uri, f"it has {name} but no description"))
        connection.drop_table(name)


def open_store(uri: str) -> Store:
    """Open an existing collection; one of an older release is brought up to date first.

    Raises
    ------
    CollectionNotFoundError, CollectionDamagedError, NewerSchemaError
        If nothing was indexed there, files are missing, or a newer release wrote it.
    LockedError, StorageError
        If it must be brought up to date, and another process writes to it or it is read-only.
    """
    if not store_exists(uri):
        raise CollectionNotFoundError(
            f"no collection at {uri!r}; make one with `isophote index FOLDER`, "
            "or name another with --collection"
        )
    with store_errors(uri):
        try:
            connection = _connect(uri)
            if _pending(connection, uri):
                _migrate(connection, uri)
            return Store(uri, connection)
        except ValueError as error:
            raise CollectionDamagedError(damaged_message(uri, first_line(error))) from error


def _pending(connection: Any, uri: str) -> list[Migration]:
    stored = connection.open_table("collection").search().limit(1).to_list()
    version = stored[0]["schema_version"] if stored else SCHEMA_VERSION
    return pending_migrations(version, where=uri)


def _migrate(connection: Any, uri: str) -> None:
    with writer_lock(local_directory(uri)):
        # Again: another process may have done it while this one waited for the lock.
        for migrate in _pending(connection, uri):
            connection.open_table("collection").update(
                values={"schema_version": migrate(StoredTables(connection))}
            )


def store_exists(uri: str) -> bool:
    """Return whether a collection was made at a place. Creates nothing.

    Raises
    ------
    InputError
        If the place is taken by something else.
    StorageError, CollectionDamagedError
        If it cannot be reached.
    """
    with store_errors(uri):
        if is_remote(uri):
            return "collection" in _connect(uri).list_tables().tables
        place = Path(uri)
        if place.exists() and not place.is_dir():
            raise InputError(f"the collection {uri!r} is a file; name a folder with --collection")
        return (place / "collection.lance").exists()


def packed_projectors(projectors: Projectors) -> bytes:
    """Return the projectors as the bytes of an NPZ file without those that are None."""
    arrays = {
        "image_weight": projectors.image_weight,
        "text_weight": projectors.text_weight,
        "image_bias": projectors.image_bias,
        "text_bias": projectors.text_bias,
    }
    buffer = io.BytesIO()
    present: dict[str, Any] = {name: part for name, part in arrays.items() if part is not None}
    np.savez(buffer, **present)
    return buffer.getvalue()


def unpacked_projectors(packed: bytes) -> Projectors:
    """Return the projectors from the bytes that :func:`packed_projectors` made."""
    with np.load(io.BytesIO(packed)) as arrays:
        return Projectors(
            image_weight=arrays.get("image_weight"),
            text_weight=arrays["text_weight"],
            image_bias=arrays.get("image_bias"),
            text_bias=arrays.get("text_bias"),
        )


def vectors_of(column: pa.Array | pa.ChunkedArray) -> FloatArray:
    """Return a fixed-size-list column as a float32 matrix (n_rows, d)."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    # flatten() and not .values: it respects the offset and length of a slice.
    flat = np.asarray(column.flatten().to_numpy(zero_copy_only=False), dtype=np.float32)
    return flat.reshape(len(column), column.type.list_size)


def _connect(uri: str) -> Any:
    # Imported here: lancedb takes over a second, and `isophote --help` must not pay for it.
    import lancedb

    # Without an interval a reader never sees what another process commits.
    return lancedb.connect(uri, read_consistency_interval=timedelta(0))


def _column(table: pa.Table | pa.RecordBatch) -> IntArray:
    return np.asarray(table["image_id"], dtype=np.int64)


def _ids_condition(image_ids: IntArray) -> str:
    # An empty IN () is no SQL.
    return f"image_id IN ({', '.join(map(str, image_ids.tolist())) or 'NULL'})"


def quoted(text: str) -> str:
    """Return text as a string in a SQL condition."""
    return "'" + text.replace("'", "''") + "'"
