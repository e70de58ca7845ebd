"""Which photos are normal: given ones, or those that the names of classes find."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from indexer.arrays import BoolArray, FloatArray, IntArray
from indexer.scoring.anomaly import MIN_EXAMPLES
from indexer.scoring.zero_shot import Assignment, zero_shot_classes
from schemas.anomalies import NormalClass, NormalOrigin
from schemas.errors import InputError
from service.collection import Collection
from service.examples import labelled_vectors, read_labels
from service.texts import (
    NamedEmbeddings,
    embedded_names,
    imagenet_names,
    read_named_embeddings,
    read_names,
)
from service.vectors import space_vectors

ANOMALY_TEMPLATE = "This is a photo of a {}"
"""The paper's sentence around a name, for classes and dictionary alike."""

# As many as the paper shows to do; a class that has fewer gives all of its photos.
ENOUGH_EXAMPLES = 10


@dataclass(frozen=True, slots=True)
class NormalChoice:
    """How normal photos are to be found; see :func:`normal_photos`."""

    examples: str | None = None
    labels: Path | None = None
    label_embeddings: Path | None = None
    template: str = ANOMALY_TEMPLATE
    confident: float = 0.5
    cover: float = 0.95
    least: float = 0.1
    where: str | None = None

    @property
    def origin(self) -> Literal["examples", "labels", "cover"]:
        """Which of the three ways is meant."""
        if self.examples is not None:
            return "examples"
        return "cover" if self.labels is None else "labels"


@dataclass(frozen=True, slots=True)
class NormalPhotos:
    """Unit vectors float32 (n, d) in the space `clip`, with ids and classes, int64 (n,).

    The id is -1 outside the collection; the class is a place in `classes`. `labels` are the texts
    of the classes, None where they were not needed. `skipped` classes had too few photos.
    """

    origin: NormalOrigin
    vectors: FloatArray
    image_ids: IntArray
    class_of: IntArray
    classes: tuple[NormalClass, ...]
    skipped: tuple[NormalClass, ...] = ()
    labels: NamedEmbeddings | None = None


def normal_photos(collection: Collection, choice: NormalChoice) -> NormalPhotos:
    """Find the normal photos of each class.

    Given examples are the paper's way (arXiv:2407.17083). The others are ours. By given names,
    photos go to the class whose text is most similar, and the share `confident` of each class,
    the surest first, become its examples. Without names, the most frequent ones of ImageNet-1k by
    their first synonyms are taken until they cover the share `cover` of the photos; those that
    hold less than the share `least` give their photos to the others, and all photos are examples.

    Parameters
    ----------
    collection : Collection
    choice : NormalChoice

    Raises
    ------
    InputError
        If a source cannot be used.
    """
    if choice.examples is not None:
        return _given(collection, choice.examples, where=choice.where)
    image_ids, vectors = _selected_vectors(collection, choice.where)
    logit_scale = collection.store.info.model.logit_scale
    labels = _candidates(collection, choice)
    if choice.labels is None:
        frequent = frequent_classes(vectors, labels.embeddings, choice, logit_scale=logit_scale)
        labels = _chosen(labels, frequent)
    assigned = zero_shot_classes(vectors, labels.embeddings, logit_scale=logit_scale)
    share = 1.0 if choice.labels is None else choice.confident
    rows = np.flatnonzero(confident_examples(assigned, share))
    found = _classed(
        choice.origin,
        labels.names,
        vectors=vectors[rows],
        image_ids=image_ids[rows],
        class_of=assigned.classes[rows],
    )
    return replace(found, labels=_chosen(labels, np.unique(assigned.classes[rows])))


def all_photos(collection: Collection, *, where: str | None = None) -> NormalPhotos:
    """Take all photos for normal, as one class without a name.

    Raises
    ------
    InputError
        If there are fewer than two.
    """
    image_ids, vectors = _selected_vectors(collection, where)
    return NormalPhotos("all", vectors, image_ids, np.zeros(len(vectors), np.int64), ())


def frequent_classes(
    vectors: FloatArray, label_embeddings: FloatArray, choice: NormalChoice, *, logit_scale: float
) -> IntArray:
    """Return the classes that most photos go to, none of them rare.

    Of a thousand names most get a photo or two even where all photos show four subjects, and such
    classes are no measure of what is normal. Eight draws of four subjects of Flickr8k with 10 % of
    others (223 photos, told by their captions), AUROC of the pocket model: .62 with all names that
    cover 95 %, .77 without those under ten photos, .86 without those under 10 % as well.

    Parameters
    ----------
    vectors : float32 of shape (n, d)
        Of photos; unit length, in the space `clip`.
    label_embeddings : float32 of shape (C, d)
        Of the texts of all classes that there may be.
    choice : NormalChoice
        For `cover` and `least`.
    logit_scale : float

    Returns
    -------
    int64 of shape (n_classes,)
        Rows of the texts, ascending; one at least.
    """
    n_least = max(ENOUGH_EXAMPLES, choice.least * len(vectors))
    counts = _assigned_counts(vectors, label_embeddings, logit_scale)
    kept = _covering(counts, choice.cover)
    while len(kept) > 1:
        counts = _assigned_counts(vectors, label_embeddings[kept], logit_scale)
        rare = np.flatnonzero(counts < n_least)
        if not len(rare):
            break
        # The rarer half only: their photos may be what the others lack.
        rarest = rare[np.argsort(counts[rare], kind="stable")][: (len(rare) + 1) // 2]
        kept = np.delete(kept, rarest)
    return kept


def confident_examples(assigned: Assignment, share: float) -> BoolArray:
    """Return which photos are among the surest of their class: such a share of it, ten at least.

    Where two are equally sure, as all are of a single class, the more similar one comes first.
    """
    order = np.lexsort((-assigned.similarities, -assigned.confidences, assigned.classes))
    counts = np.bincount(assigned.classes)
    firsts = np.cumsum(counts) - counts
    sorted_classes = assigned.classes[order]
    ranks = np.arange(len(order)) - firsts[sorted_classes]
    n_wanted = np.maximum(np.ceil(share * counts - 1e-9), ENOUGH_EXAMPLES)
    is_confident = np.zeros(len(order), np.bool_)
    is_confident[order] = ranks < n_wanted[sorted_classes]
    return is_confident


def with_spread(photos: NormalPhotos) -> NormalPhotos:
    """Leave out classes without two photos that differ, whose spread cannot be known.

    Raises
    ------
    InputError
        If that is all of them.
    """
    members = _members(photos)
    kept = [
        number
        for number, rows in enumerate(members)
        if (photos.vectors[rows] != photos.vectors[rows[0]]).any()
    ]
    if not kept:
        raise InputError(
            "no class has two photos that differ, and a class needs them to know its spread; "
            "give more photos or fewer classes"
        )
    rows = np.concatenate([members[number] for number in kept])
    labels = None if photos.labels is None else _chosen(photos.labels, np.array(kept))
    return NormalPhotos(
        photos.origin,
        photos.vectors[rows],
        photos.image_ids[rows],
        np.searchsorted(kept, photos.class_of[rows]),
        tuple(photos.classes[number] for number in kept),
        tuple(found for number, found in enumerate(photos.classes) if number not in kept),
        labels,
    )


def _given(collection: Collection, source: str, *, where: str | None) -> NormalPhotos:
    read = read_labels(collection, source, where=where)
    examples = labelled_vectors(collection, read, collection.space_map("clip"))
    names, class_of = np.unique(np.array(examples.labels, dtype=np.str_), return_inverse=True)
    return _classed(
        "examples",
        tuple(map(str, names)),
        vectors=examples.vectors,
        image_ids=examples.image_ids,
        class_of=class_of,
    )


def _selected_vectors(collection: Collection, where: str | None) -> tuple[IntArray, FloatArray]:
    image_ids, vectors = space_vectors(collection, collection.space_map("clip"), where=where)
    if len(vectors) < MIN_EXAMPLES:
        selected = "the collection has" if where is None else "--where selects"
        raise InputError(
            f"{selected} {len(vectors)} photos, and what is normal takes at least {MIN_EXAMPLES}"
        )
    return image_ids, vectors


def _candidates(collection: Collection, choice: NormalChoice) -> NamedEmbeddings:
    """Return the names that photos may go to."""
    given = choice.label_embeddings
    if choice.labels is None and given is not None:
        return read_named_embeddings(given, dim=collection.store.info.model.embedding_dim)
    names = imagenet_names(synonyms=False) if choice.labels is None else read_names(choice.labels)
    return embedded_names(collection, names, template=choice.template, given=given)


def _assigned_counts(
    vectors: FloatArray, label_embeddings: FloatArray, logit_scale: float
) -> IntArray:
    assigned = zero_shot_classes(vectors, label_embeddings, logit_scale=logit_scale)
    return np.bincount(assigned.classes, minlength=len(label_embeddings))


def _chosen(labels: NamedEmbeddings, rows: IntArray) -> NamedEmbeddings:
    return NamedEmbeddings(tuple(labels.names[row] for row in rows), labels.embeddings[rows])


def _covering(counts: IntArray, share: float) -> IntArray:
    """Return the fewest classes that hold such a share of all photos, ascending."""
    by_size = np.argsort(-counts, kind="stable")
    covered = np.cumsum(counts[by_size])
    # A share of .95 of 20 photos is 19, and 19.000000000000004 in floating point.
    n_classes = int(np.searchsorted(covered, share * counts.sum() - 1e-9)) + 1
    return np.sort(by_size[:n_classes])


def _classed(
    origin: NormalOrigin,
    names: Sequence[str],
    *,
    vectors: FloatArray,
    image_ids: IntArray,
    class_of: IntArray,
) -> NormalPhotos:
    """Return photos by class, with the classes that have any numbered anew."""
    present, class_of = np.unique(class_of, return_inverse=True)
    counts = np.bincount(class_of).tolist()
    classes = tuple(
        NormalClass(name=names[number], n_examples=count)
        for number, count in zip(present.tolist(), counts, strict=True)
    )
    return NormalPhotos(origin, vectors, image_ids, class_of, classes)


def _members(photos: NormalPhotos) -> list[IntArray]:
    """Return the rows of each class."""
    order = np.argsort(photos.class_of, kind="stable")
    counts = np.bincount(photos.class_of, minlength=len(photos.classes))
    return np.split(order, np.cumsum(counts)[:-1])
