"""Search by words, photos and stored photos, alone or combined."""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from indexer.arrays import FloatArray, IntArray
from indexer.encoders.encoder import EncodedImages
from indexer.gallery import Gallery
from indexer.scan import PHOTO_EXTENSIONS, joined_path, stored_path
from indexer.scoring.similarity import composed_query
from indexer.spaces import encoded_column, require_space
from indexer.store import quoted
from schemas.errors import InputError, UnknownPhotoError
from schemas.model import Space
from schemas.results import Hit, SearchResult
from service.axes import AxesChoice
from service.collection import Collection
from service.texts import read_named_embeddings
from service.vectors import encoded_vectors


@dataclass(frozen=True, slots=True)
class Words:
    """A description, compared with photos in the shared space of texts and images."""

    text: str


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddedWords:
    """A description with its unit embedding (d,) in the space `clip`."""

    text: str
    embedding: FloatArray


@dataclass(frozen=True, slots=True)
class PhotoFile:
    """A photo on disk, which need not be in the collection."""

    path: Path


@dataclass(frozen=True, slots=True, eq=False)
class EncodedPhoto:
    """A photo that came without a path, as the collection's encoder saw it."""

    encoded: EncodedImages


@dataclass(frozen=True, slots=True)
class StoredPhoto:
    """A photo of the collection."""

    image_id: int


@dataclass(frozen=True, slots=True)
class Query:
    """One part of what is searched for; a negative weight leads away from it."""

    content: "Content"
    weight: float = 1.0


Content = Words | EmbeddedWords | PhotoFile | EncodedPhoto | StoredPhoto

MAX_WEIGHT = 1e6
"""Beside more, the other queries would vanish in the rounding of float32."""

# Image ids are 64-bit; more digits than these name no photo.
MAX_ID_DIGITS = 18

_WEIGHTED = re.compile(r"(?P<content>.+)\^(?P<weight>\d+(\.\d*)?|\.\d+)", re.DOTALL)
_STORED = re.compile(r"id:(?P<image_id>\d+)")
_WORDS_PREFIX = "text:"
_UPLOAD_PREFIX = "upload:"

Uploaded = Callable[[str], EncodedPhoto]


def parse_query(text: str, *, sign: int = 1) -> Query:
    """Read a query as it is typed: an image path, `id:N`, or words, with `^WEIGHT` at its end.

    What names an existing file is a photo; `text:` before words that do keeps them words.

    Parameters
    ----------
    text : str
    sign : int
        1, or -1 for what is to be avoided.

    Raises
    ------
    InputError
        If it is empty, looks like a path that does not exist, or is a folder.
    """
    if _is_file(text):
        return Query(PhotoFile(Path(text).expanduser()), sign)
    text, weight = _weighed(text)
    return Query(_content(text), sign * weight)


def parse_sent_query(text: str, *, uploads: Uploaded, sign: int = 1) -> Query:
    """Read a query as a client sends it: `id:N`, `upload:ID` or words, and never a path.

    Parameters
    ----------
    text : str
        With `^WEIGHT` at its end, if it is not to count 1.
    uploads : callable
        Returns the photo of an upload's id.
    sign : int
        1, or -1 for what is to be avoided.

    Raises
    ------
    InputError
        If it is empty, or there is no such upload any more.
    """
    text, weight = _weighed(text)
    if text.startswith(_UPLOAD_PREFIX):
        content: Content = uploads(text.removeprefix(_UPLOAD_PREFIX))
    else:
        content = _stored_photo(text) or _words(text.removeprefix(_WORDS_PREFIX).strip())
    return Query(content, sign * weight)


def with_given_embeddings(
    collection: Collection, queries: Sequence[Query], path: Path
) -> list[Query]:
    """Return the queries with the embeddings that a file has of their words.

    Words that are no name in the file are left to the collection's model.

    Parameters
    ----------
    collection : Collection
    queries : sequence of Query
    path : Path
        NPZ file with `names` (n,) and `embeddings` (n, d).

    Raises
    ------
    InputError
        If the file is none, or has embeddings of another length than the collection.
    """
    given = read_named_embeddings(path, dim=collection.store.info.model.embedding_dim)
    row_of = {name: row for row, name in enumerate(given.names)}

    def embedded(content: Content) -> Content:
        if not isinstance(content, Words) or content.text not in row_of:
            return content
        return EmbeddedWords(content.text, given.embeddings[row_of[content.text]])

    return [replace(query, content=embedded(query.content)) for query in queries]


def search(
    collection: Collection,
    queries: Sequence[Query],
    *,
    top_k: int = 10,
    where: str | None = None,
    space: Space | AxesChoice | None = None,
    include_self: bool = False,
) -> SearchResult:
    """Return the photos nearest to a combination of queries.

    Unit vectors of the queries are added with their weights. Words, and everything combined with
    them, are compared in the space `clip` unless `semantic` is asked for; photos alone in the
    model's own best space.

    Parameters
    ----------
    collection : Collection
    queries : sequence of Query
        At least one with a positive weight.
    top_k : int
        At least 1.
    where : str, optional
        A SQL condition over the columns of `images`; top_k photos that match it come back
        wherever so many exist.
    space : {"clip", "isoclip", "trunk", "semantic"} or AxesChoice, optional
        A choice of axes means the space `semantic` along them.
    include_self : bool
        Keep photos that are themselves part of the query.

    Raises
    ------
    InputError
        If the queries, the space or the condition cannot be used.
    """
    found = find(
        collection, queries, top_k=top_k, where=where, space=space, include_self=include_self
    )
    hits = _hits(collection, found.similarities, found.image_ids)
    return SearchResult(space=found.space, n_searched=found.n_searched, hits=hits)


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Photos nearest to a combination of queries, best first, of `n_searched` in `space`.

    `image_ids` is int64 (n,), `similarities` float32 (n,) their cosines in [-1, 1].
    """

    space: Space
    n_searched: int
    image_ids: IntArray
    similarities: FloatArray


def find(
    collection: Collection,
    queries: Sequence[Query],
    *,
    top_k: int,
    where: str | None = None,
    space: Space | AxesChoice | None = None,
    include_self: bool = False,
) -> Found:
    """Return what :func:`search` does, without reading what is known of the photos."""
    if top_k < 1:
        raise InputError(f"the number of hits must be at least 1, got {top_k}")
    if not any(query.weight > 0 for query in queries):
        raise InputError("nothing to search for; give words, a photo, or id:N")
    axes = space if isinstance(space, AxesChoice) else None
    asked: Space | None = "semantic" if isinstance(space, AxesChoice) else space
    chosen = _chosen_space(collection, queries, asked)
    n_searched = collection.count_images(where)
    gallery = collection.gallery(chosen, axes)
    located = [_located(collection, query.content, gallery) for query in queries]
    query_vector = _composed([part.vector for part in located], queries)
    own_ids = [part.image_id for part in located if part.image_id is not None]
    excluded = [] if include_self else own_ids
    if not n_searched:
        return Found(chosen, 0, np.empty(0, np.int64), np.empty(0, np.float32))
    # Room for a billion hits would be allocated if a billion were asked for.
    n_wanted = min(top_k + len(excluded), n_searched)
    similarities, image_ids = gallery.search(query_vector, top_k=n_wanted, where=where)
    kept = np.flatnonzero(~np.isin(image_ids, excluded))[:top_k]
    return Found(chosen, n_searched, image_ids[kept], similarities[kept])


@dataclass(frozen=True, slots=True)
class _LocatedQuery:
    """A unit vector (d,) in the searched space, and the photo it belongs to if it is stored."""

    vector: FloatArray
    image_id: int | None = None


def _located(collection: Collection, content: Content, gallery: Gallery) -> _LocatedQuery:
    space_map = gallery.space_map
    if isinstance(content, Words):
        embedding = collection.text_embedding(content.text)
        return _LocatedQuery(space_map.text_vectors(embedding)[0])
    if isinstance(content, EmbeddedWords):
        return _LocatedQuery(space_map.text_vectors(content.embedding[np.newaxis])[0])
    if isinstance(content, EncodedPhoto):
        stored = encoded_column(content.encoded, space_map.column)
        return _LocatedQuery(space_map.image_vectors(stored)[0])
    if isinstance(content, StoredPhoto):
        return _LocatedQuery(_stored_vector(gallery, content.image_id), content.image_id)
    image_id, is_unchanged = _indexed(collection, content.path)
    if image_id is not None and is_unchanged:
        return _LocatedQuery(_stored_vector(gallery, image_id), image_id)
    return _LocatedQuery(encoded_vectors(collection, [content.path], space_map)[0], image_id)


def _stored_vector(gallery: Gallery, image_id: int) -> FloatArray:
    vector = gallery.vector(image_id)
    if vector is None:
        raise UnknownPhotoError(image_id)
    return vector


def _indexed(collection: Collection, path: Path) -> tuple[int | None, bool]:
    """Return the id under which a file is stored, and whether it still looks the same."""
    real = Path(os.path.realpath(path))
    # Any folder above the photo may be the root it was indexed under.
    keys = [
        f"(root = {_quoted(parent)} AND path = {_quoted(real.relative_to(parent))})"
        for parent in real.parents
    ]
    columns = ["image_id", "file_size", "mtime_ns"]
    rows = collection.store.images(columns, " OR ".join(keys)).to_pylist()
    if not rows:
        return None, False
    newest = max(rows, key=lambda row: int(row["image_id"]))
    status = real.stat()
    is_unchanged = (newest["file_size"], newest["mtime_ns"]) == (
        status.st_size,
        status.st_mtime_ns,
    )
    return newest["image_id"], is_unchanged


def _quoted(path: Path) -> str:
    return quoted(stored_path(str(path)))


def _composed(vectors: Sequence[FloatArray], queries: Sequence[Query]) -> FloatArray:
    weights = np.array([query.weight for query in queries], dtype=np.float32)
    try:
        return composed_query(np.stack(vectors), weights)
    except ValueError as error:
        raise InputError(str(error)) from error


def _chosen_space(collection: Collection, queries: Sequence[Query], asked: Space | None) -> Space:
    model = collection.store.info.model
    has_words = any(isinstance(query.content, Words | EmbeddedWords) for query in queries)
    if asked not in (None, "clip", "semantic") and has_words:
        raise InputError(
            f"words cannot be compared with photos in the space {asked!r}; "
            "use --space clip or semantic, or search by photos alone"
        )
    chosen: Space = asked or ("clip" if has_words else model.default_image_space)
    require_space(model, chosen)
    return chosen


def _hits(collection: Collection, similarities: FloatArray, image_ids: IntArray) -> list[Hit]:
    columns = ["image_id", "root", "path", *_SHOWN]
    rows = {row["image_id"]: row for row in collection.photos_by_id(image_ids, columns).to_pylist()}
    return [
        Hit(
            path=joined_path(rows[image_id]["root"], rows[image_id]["path"]),
            similarity=similarity,
            image_id=image_id,
            **{name: rows[image_id][name] for name in _SHOWN},
        )
        for similarity, image_id in zip(similarities.tolist(), image_ids.tolist(), strict=True)
        # A photo removed since the gallery was opened is no hit.
        if image_id in rows
    ]


_SHOWN = ("quality", "width", "height", "format", "taken_at")


def _weighed(text: str) -> tuple[str, float]:
    """Return a query without its weight, and the weight."""
    weight = 1.0
    if matched := _WEIGHTED.fullmatch(text):
        text, weight = matched["content"], float(matched["weight"])
    if not text.removeprefix(_WORDS_PREFIX).strip():
        raise InputError("a query is empty; give words, a photo, or id:N")
    if not 0 < weight <= MAX_WEIGHT:
        raise InputError(f"the query {text!r} has weight {weight:g}; give one up to {MAX_WEIGHT:g}")
    return text, weight


def _stored_photo(text: str) -> StoredPhoto | None:
    stored = _STORED.fullmatch(text)
    if stored and len(stored["image_id"]) > MAX_ID_DIGITS:
        raise UnknownPhotoError(stored["image_id"])
    return StoredPhoto(int(stored["image_id"])) if stored else None


def _content(text: str) -> Content:
    if text.startswith(_WORDS_PREFIX):
        return _words(text.removeprefix(_WORDS_PREFIX).strip())
    if stored := _stored_photo(text):
        return stored
    if _is_file(text):
        return PhotoFile(Path(text).expanduser())
    _, dot, extension = text.rpartition(".")
    is_pathlike = text.startswith(("/", "./", "../", "~")) or (
        dot and extension.lower() in PHOTO_EXTENSIONS
    )
    if is_pathlike:
        kind = "is a folder" if _is_folder(text) else "does not exist"
        raise InputError(f"{text} {kind}; give the path of a photo, or text:WORDS for words")
    return _words(text)


def _words(text: str) -> Words:
    # Bytes that are no UTF-8 reach Python as lone surrogates, which no tokenizer takes.
    return Words(text.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))


# os.path answers False where pathlib raises: longer than any path, a zero byte, ~nobody.
def _is_file(text: str) -> bool:
    return os.path.isfile(os.path.expanduser(text))  # noqa: PTH111, PTH113


def _is_folder(text: str) -> bool:
    return os.path.isdir(os.path.expanduser(text))  # noqa: PTH111, PTH112
