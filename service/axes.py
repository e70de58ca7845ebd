"""The axes of the space `semantic`: which class names span it."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from threadpoolctl import threadpool_limits

from indexer.scoring.semantic_axes import NoAxisError, SemanticAxes, semantic_axes
from indexer.spaces import SpaceMap
from schemas.errors import InputError
from service.texts import (
    NamedEmbeddings,
    embedded_names,
    imagenet_names,
    read_named_embeddings,
    read_names,
)

if TYPE_CHECKING:
    from service.collection import Collection


@dataclass(frozen=True, slots=True)
class AxesChoice:
    """What spans the space `semantic`.

    `labels` is a file with one class name a line, `label_embeddings` an NPZ file with their
    embeddings; alone, all of its names count. Without both they are the first names of the
    ImageNet-1k classes. `n_axes` is half of the embedding's dimensions by default, or as many
    as the names span. `is_centred`
    subtracts from images and texts the mean of each.
    """

    labels: Path | None = None
    label_embeddings: Path | None = None
    n_axes: int | None = None
    is_centred: bool = False


def semantic_map(collection: "Collection", choice: AxesChoice) -> SpaceMap:
    """Return how stored vectors come into the space `semantic`.

    Raises
    ------
    InputError
        If a file cannot be used, or its names do not span so many axes.
    UnknownModelError, ModelError, MissingExtraError
        If the names must be embedded and the collection's model cannot be opened.
    """
    found = axes_of(axes_labels(collection, choice), n_axes=choice.n_axes)
    text_centre = found.mean if choice.is_centred else None
    return collection.space_map("clip").along(found.axes, text_centre=text_centre)


def axes_labels(collection: "Collection", choice: AxesChoice) -> NamedEmbeddings:
    """Return the class names that span the axes, and their embeddings; errors as above."""
    if choice.labels is None and choice.label_embeddings is not None:
        dim = collection.store.info.model.embedding_dim
        return read_named_embeddings(choice.label_embeddings, dim=dim)
    names = imagenet_names(synonyms=False) if choice.labels is None else read_names(choice.labels)
    return embedded_names(collection, names, given=choice.label_embeddings)


def axes_of(labels: NamedEmbeddings, *, n_axes: int | None) -> SemanticAxes:
    """Return the axes of class names.

    Raises
    ------
    InputError
        If all embeddings are the same, or there are fewer than `n_axes` independent ones.
    """
    try:
        # BLAS may add up in another order on more threads; the digest of the axes, by which a
        # cached index is known, would change with it.
        with threadpool_limits(limits=1, user_api="blas"):
            found = semantic_axes(labels.embeddings, n_axes=n_axes)
    except NoAxisError as error:
        raise InputError(
            f"no axis can be made of {_counted(labels)}; give at least two that differ"
        ) from error
    if n_axes is not None and len(found.axes) < n_axes:
        raise InputError(
            f"only {len(found.axes):,} axes can be made of {_counted(labels)}, not {n_axes:,}; ask "
            "for fewer components, or give more names"
        )
    return found


def _counted(labels: NamedEmbeddings) -> str:
    return "1 class name" if len(labels.names) == 1 else f"{len(labels.names):,} class names"
