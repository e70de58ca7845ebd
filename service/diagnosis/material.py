"""What the plots of a diagnosis are made of, drawn from a collection by a seed."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from indexer.arrays import FloatArray, IntArray
from indexer.gallery import centred
from indexer.spaces import SpaceMap
from schemas.errors import InputError, MissingExtraError, ModelError, UnknownModelError
from service.axes import AxesChoice
from service.collection import Collection
from service.evaluation.opinion_files import MatchedOpinions, match_opinions, read_opinions
from service.examples import Labels, labelled_vectors, read_labels
from service.texts import (
    NamedEmbeddings,
    embedded_dictionary,
    embedded_names,
    read_named_embeddings,
    read_names,
)

Part = TypeVar("Part")

# Sets the error of a mean similarity below 0.001; a gather of them takes a quarter of a second.
N_PAIRS = 100_000

# Of a dictionary; the one of ImageNet has 1,842.
MAX_TEXTS = 5000

# What is raised where texts have to be embedded and the model for it is not to be had.
_NO_MODEL = (UnknownModelError, ModelError, MissingExtraError)


@dataclass(frozen=True, slots=True)
class DiagnosisChoice:
    """What a diagnosis is made of, and how much of it.

    `labels` is a source for :func:`service.examples.read_labels`; `names` a file of label names,
    those of the labels by default; `label_embeddings` and `dictionary_embeddings` NPZ files in
    place of the collection's model. `opinions` is a file of opinion scores. At most `n_images`
    photos are drawn from those for which `where` holds, by `seed`.
    """

    labels: str | None = None
    names: Path | None = None
    label_embeddings: Path | None = None
    dictionary: Path | None = None
    dictionary_embeddings: Path | None = None
    template: str | None = None
    opinions: Path | None = None
    axes: AxesChoice = field(default_factory=AxesChoice)
    where: str | None = None
    n_images: int = 2000
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Missing:
    """In place of something that plots are made of: why it is not there, as a clause."""

    reason: str


@dataclass(frozen=True, slots=True)
class Material:
    """What the plots are made of, drawn from a collection.

    `images` float32 (n, d) are photos drawn from the `n_matching` ones, in the space `clip`, of
    unit length; `labelled` are photos drawn from those with labels. `texts` are what the photos
    are compared with: `text_kind` says in the plural what they are. `semantic` is the map of that
    space.
    """

    collection: Collection
    n_matching: int
    images: FloatArray
    labelled: Labels | Missing
    label_texts: NamedEmbeddings | Missing
    dictionary: NamedEmbeddings | Missing
    texts: NamedEmbeddings | Missing
    text_kind: str
    opinions: MatchedOpinions | Missing
    semantic: SpaceMap | Missing
    n_pairs: int
    seed: int


class PlotLeftOutError(Exception):
    """A plot that cannot be made of this material; the message is a clause that says why."""


def gather_material(collection: Collection, choice: DiagnosisChoice) -> Material:
    """Draw photos from a collection, and read or embed all that they are compared with.

    Raises
    ------
    InputError
        If no photo matches, n_images < 1, or a given file cannot be used.
    FilterError
        If `where` is no condition.
    """
    if choice.n_images < 1:
        raise InputError(f"the number of photos must be at least 1, got {choice.n_images}")
    image_ids = _matching_ids(collection, choice.where)
    sample = image_ids[_drawn_rows(len(image_ids), choice.n_images, seed=choice.seed)]
    labelled = _labelled(collection, choice)
    label_texts = _label_texts(collection, labelled, choice)
    dictionary = _dictionary(collection, choice)
    texts, text_kind = dictionary, "dictionary entries"
    if isinstance(dictionary, Missing) and not isinstance(label_texts, Missing):
        texts, text_kind = label_texts, "labels"
    clip = collection.space_map("clip")
    return Material(
        collection=collection,
        n_matching=len(image_ids),
        images=vectors_in(collection, Labels(sample, ("",) * len(sample)), clip),
        labelled=labelled,
        label_texts=label_texts,
        dictionary=dictionary,
        texts=texts,
        text_kind=text_kind,
        opinions=_opinions(collection, choice),
        semantic=_semantic(collection, choice.axes),
        n_pairs=N_PAIRS,
        seed=choice.seed,
    )


def _matching_ids(collection: Collection, where: str | None) -> IntArray:
    """Return the ids to draw from, ascending."""
    store = collection.store
    if where is not None:
        image_ids = store.matching_ids(where)
    else:
        image_ids = np.sort(np.asarray(store.images(["image_id"])["image_id"], dtype=np.int64))
    if not len(image_ids):
        raise InputError(
            "the collection holds no photo; index some first"
            if where is None
            else f"no photo matches {where!r}; leave out --where, or ask for other photos"
        )
    return image_ids


def _drawn_rows(n_rows: int, n_drawn: int, *, seed: int) -> IntArray:
    """Draw at most so many rows, ascending."""
    if n_rows <= n_drawn:
        return np.arange(n_rows)
    return np.sort(np.random.default_rng(seed).choice(n_rows, n_drawn, replace=False))


def _labelled(collection: Collection, choice: DiagnosisChoice) -> Labels | Missing:
    """Return a sample of the photos of the collection that have labels."""
    if choice.labels is None:
        return Missing("it needs labels of photos; give them with --labels")
    found = read_labels(collection, choice.labels, where=choice.where)
    n_known = len(found.image_ids)
    if not n_known:
        return Missing(f"no photo that {choice.labels} names is in the collection")
    rows = _drawn_rows(n_known, choice.n_images, seed=choice.seed)
    return Labels(found.image_ids[rows], tuple(found.labels[row] for row in rows))


def _label_texts(
    collection: Collection, labelled: Labels | Missing, choice: DiagnosisChoice
) -> NamedEmbeddings | Missing:
    given = choice.label_embeddings
    if choice.names is not None:
        names: tuple[str, ...] = read_names(choice.names)
    elif not isinstance(labelled, Missing):
        names = tuple(sorted(set(labelled.labels)))
    elif given is not None:
        return read_named_embeddings(given, dim=collection.store.info.model.embedding_dim)
    else:
        return Missing("it needs names of labels; give --names, --labels or --label-embeddings")
    try:
        return embedded_names(collection, names, template=choice.template, given=given)
    except _NO_MODEL as error:
        return Missing(str(error))


def _dictionary(collection: Collection, choice: DiagnosisChoice) -> NamedEmbeddings | Missing:
    try:
        found = embedded_dictionary(
            collection,
            names=choice.dictionary,
            template=choice.template,
            given=choice.dictionary_embeddings,
        )
    except _NO_MODEL as error:
        return Missing(str(error))
    rows = _drawn_rows(len(found.names), MAX_TEXTS, seed=choice.seed)
    return NamedEmbeddings(tuple(found.names[row] for row in rows), found.embeddings[rows])


def _semantic(collection: Collection, axes: AxesChoice) -> SpaceMap | Missing:
    try:
        return collection.space_map("semantic", axes)
    except _NO_MODEL as error:
        return Missing(str(error))
    except InputError as error:
        if axes.labels is not None or axes.n_axes is not None:
            raise
        # The names of --label-embeddings were not given to span axes, and may be too few.
        return Missing(str(error))


def _opinions(collection: Collection, choice: DiagnosisChoice) -> MatchedOpinions | Missing:
    if choice.opinions is None:
        return Missing("it needs opinion scores of photos; give them with --mos")
    found = match_opinions(collection.store, read_opinions(choice.opinions), path=choice.opinions)
    kept = np.arange(len(found.image_ids))
    if choice.where is not None:
        kept = np.flatnonzero(np.isin(found.image_ids, collection.store.matching_ids(choice.where)))
    if not len(kept):
        return Missing(f"no photo that {choice.opinions} names matches the condition")
    kept = kept[_drawn_rows(len(kept), choice.n_images, seed=choice.seed)]
    return MatchedOpinions(found.image_ids[kept], found.values[kept])


def vectors_in(collection: Collection, photos: Labels, space_map: SpaceMap) -> FloatArray:
    """Return the unit vectors float32 (n, d) of photos of a collection in a space."""
    placed = centred(space_map, collection.store)
    return labelled_vectors(collection, photos, placed).vectors


def require(part: Part | Missing) -> Part:
    """Return a part of the material, or leave the plot out that needs it."""
    if isinstance(part, Missing):
        raise PlotLeftOutError(part.reason)
    return part
