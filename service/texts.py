"""Embeddings of class names and dictionaries: encoded once, or read from a file."""

import hashlib
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from indexer.arrays import FloatArray
from indexer.scoring.similarity import MIN_NORM, normalised
from indexer.spaces import text_vectors
from indexer.store import local_directory
from schemas.errors import InputError

if TYPE_CHECKING:
    from service.collection import Collection

# Bounds the padded token arrays of one pass.
TEXTS_PER_PASS = 256

# An ImageNet dictionary at 512 dimensions is a file of 4 MB.
CACHED_LISTS = 32

SLOT = "{}"


@dataclass(frozen=True, slots=True)
class NamedEmbeddings:
    """Names and their unit embeddings, float32 (n, d), in the space `clip`."""

    names: tuple[str, ...]
    embeddings: FloatArray


def read_names(path: Path) -> tuple[str, ...]:
    """Read names, one a line; empty lines, repeats and lines that start with # are left out.

    Raises
    ------
    InputError
        If the file cannot be read as text, or has no name.
    """
    names = _name_lines(_text_of(path))
    if not names:
        raise InputError(f"{path} holds no name; write one a line")
    return tuple(dict.fromkeys(names))


@cache
def imagenet_names(*, synonyms: bool) -> tuple[str, ...]:
    """Return the names of the ImageNet-1k classes, each once, in the order of the classes.

    Parameters
    ----------
    synonyms : bool
        All names of each class (1,842), or the first of each (998: a crane is a bird and a
        machine, a maillot two garments).
    """
    text = files("service").joinpath("names", "imagenet.txt").read_text(encoding="utf-8")
    classes = [line.split(", ") for line in _name_lines(text)]
    chosen = classes if synonyms else [names[:1] for names in classes]
    return tuple(dict.fromkeys(name for names in chosen for name in names))


def read_named_embeddings(path: Path, *, dim: int) -> NamedEmbeddings:
    """Read an NPZ file with `names` (n,) and `embeddings` (n, d).

    Parameters
    ----------
    path : Path
    dim : int
        The d that is expected.

    Returns
    -------
    NamedEmbeddings
        Scaled to unit length.

    Raises
    ------
    InputError
        If the file is no such NPZ, its counts or d do not fit, a name comes twice, or an
        embedding is zero or not finite.
    """
    names, embeddings = _npz_arrays(path)
    if embeddings.shape != (len(names), dim) or not len(names):
        raise InputError(
            f"{path} has {len(names):,} names and embeddings of shape {embeddings.shape}; "
            f"this collection needs (names, {dim})"
        )
    if len(set(names)) < len(names):
        twice = next(name for number, name in enumerate(names) if name in names[:number])
        raise InputError(f"{path} has the name {twice!r} more than once")
    usable = np.isfinite(embeddings).all(axis=1)
    usable &= np.linalg.norm(np.nan_to_num(embeddings), axis=1) >= MIN_NORM
    if not usable.all():
        bad = names[int(np.argmin(usable))]
        raise InputError(f"{path} has an embedding of {bad!r} that is zero or not finite")
    return NamedEmbeddings(names, normalised(embeddings))


def text_embeddings(collection: "Collection", texts: Sequence[str]) -> FloatArray:
    """Return unit embeddings of texts, float32 (n, d), in the space `clip`.

    They are kept beside the collection, so that a list is encoded once.

    Raises
    ------
    UnknownModelError, ModelError, MissingExtraError
        If the collection's model cannot be opened.
    """
    place = _cached_list(collection, texts)
    embeddings = _read_cached(place, n_texts=len(texts))
    if embeddings is None:
        embeddings = _encoded(collection, texts)
        _write_cached(place, embeddings)
    return embeddings


def embedded_names(
    collection: "Collection",
    names: Sequence[str],
    *,
    template: str | None = None,
    given: Path | None = None,
) -> NamedEmbeddings:
    """Return the embeddings of class names.

    Parameters
    ----------
    collection : Collection
    names : sequence of str
    template : str, optional
        Sentence with {} in place of the name; that of the model by default.
    given : Path, optional
        NPZ file that has them, instead of the collection's model; no template is applied.

    Raises
    ------
    InputError
        If the template has no {}, or the file lacks a name.
    """
    if given is None:
        prompts = prompts_of(names, template or collection.store.info.model.prompt_template)
        return NamedEmbeddings(tuple(names), text_embeddings(collection, prompts))
    found = read_named_embeddings(given, dim=collection.store.info.model.embedding_dim)
    row_of = {name: row for row, name in enumerate(found.names)}
    missing = [name for name in names if name not in row_of]
    if missing:
        raise InputError(
            f"{given} has no embedding of {', '.join(map(repr, missing[:5]))}"
            f"{' and others' if len(missing) > 5 else ''}"  # noqa: PLR2004 - a line holds five
        )
    return NamedEmbeddings(tuple(names), found.embeddings[[row_of[name] for name in names]])


def embedded_dictionary(
    collection: "Collection", *, names: Path | None, template: str | None, given: Path | None
) -> NamedEmbeddings:
    """Return the embeddings of a dictionary.

    Parameters
    ----------
    collection : Collection
    names : Path, optional
        File with one entry a line; all names of ImageNet-1k by default.
    template : str, optional
        As for :func:`embedded_names`.
    given : Path, optional
        NPZ file with the whole dictionary, or with the entries of `names`.

    Raises
    ------
    InputError
        If a file cannot be used.
    """
    if given is not None and names is None:
        return read_named_embeddings(given, dim=collection.store.info.model.embedding_dim)
    entries = imagenet_names(synonyms=True) if names is None else read_names(names)
    return embedded_names(collection, entries, template=template, given=given)


def prompts_of(names: Sequence[str], template: str) -> list[str]:
    """Return the template with each name in place of {}; underscores become spaces.

    Raises
    ------
    InputError
        If the template has no {}.
    """
    if SLOT not in template:
        raise InputError(f"the template {template!r} has no {SLOT} for the name")
    return [template.replace(SLOT, name.replace("_", " ")) for name in names]


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no UTF-8 text; write one name a line") from error


def _name_lines(text: str) -> list[str]:
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _npz_arrays(path: Path) -> tuple[tuple[str, ...], FloatArray]:
    try:
        # Opened here: np.load leaves a damaged file open.
        with path.open("rb") as file, np.load(file) as arrays:
            names, embeddings = arrays["names"], arrays["embeddings"]
            return tuple(map(str, names.tolist())), embeddings.astype(np.float32)
    except OSError as error:
        raise InputError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
    except (ValueError, KeyError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path} is no NPZ file with `names` (n,) and `embeddings` (n, d); write one with "
            "numpy.savez(file, names=..., embeddings=...)"
        ) from error


def _encoded(collection: "Collection", texts: Sequence[str]) -> FloatArray:
    encoder = collection.encoder
    blocks = [
        encoder.encode_texts(list(texts[start : start + TEXTS_PER_PASS]))
        for start in range(0, len(texts), TEXTS_PER_PASS)
    ]
    return text_vectors(np.concatenate(blocks), collection.store.projectors)


def _cached_list(collection: "Collection", texts: Sequence[str]) -> Path:
    info = collection.store.info
    digest = hashlib.sha256(f"{info.weights_digest} {info.projectors_digest}".encode())
    for text in texts:
        digest.update(b"\0" + text.encode("utf-8", "surrogatepass"))
    return local_directory(collection.store.uri) / "texts" / f"{digest.hexdigest()[:32]}.npy"


def _read_cached(place: Path, *, n_texts: int) -> FloatArray | None:
    try:
        with place.open("rb") as file:
            embeddings = np.load(file)
    except (OSError, ValueError, EOFError):
        return None
    return embeddings if len(embeddings) == n_texts else None


def _write_cached(place: Path, embeddings: FloatArray) -> None:
    # A cache that cannot be written is no reason not to answer.
    with suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        part = place.with_suffix(".part")
        with part.open("wb") as file:
            np.save(file, embeddings)
        part.replace(place)
        kept = sorted(place.parent.glob("*.npy"), key=lambda path: path.stat().st_mtime)
        for path in kept[:-CACHED_LISTS]:
            path.unlink()
