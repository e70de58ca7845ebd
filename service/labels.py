"""Label photos by a few examples of each label."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import pyarrow as pa

from indexer.arrays import FloatArray, IntArray
from indexer.gallery import centred
from indexer.lock import writer_lock
from indexer.scoring.classification import (
    Calibration,
    LinearClassifier,
    MakeClassifier,
    NoCovarianceError,
    calibration,
    classify,
    discriminant_classifier,
    prototype_classifier,
    scaled,
)
from indexer.spaces import SpaceMap
from indexer.store import Store, local_directory
from schemas.errors import InputError
from schemas.labels import ClassifierKind, ClearedLabels, LabelCount, LabelSummary
from schemas.model import Space
from schemas.tables import LABEL_FIELDS
from service.axes import AxesChoice
from service.collection import Collection
from service.examples import labelled_vectors, read_labels

CHANGES_SCHEMA = pa.schema([pa.field("image_id", pa.int64(), nullable=False), *LABEL_FIELDS])

_CLASSIFIERS: Mapping[ClassifierKind, MakeClassifier] = MappingProxyType(
    {"prototype": prototype_classifier, "lda": discriminant_classifier}
)


@dataclass(frozen=True, slots=True)
class Labelling:
    """How photos are labelled.

    `space` is the model's default image space if None; a choice of axes means `semantic`.
    `min_confidence` in [0, 1]: a photo less sure gets no label. `seed` deals out the examples that
    are held out.
    """

    classifier: ClassifierKind = "prototype"
    space: Space | AxesChoice | None = None
    min_confidence: float = 0.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class _Learnt:
    """A calibrated classifier, its class names, and how many examples each has, int64 (C,)."""

    classifier: LinearClassifier
    names: tuple[str, ...]
    n_examples: IntArray
    calibration: Calibration


def label_photos(
    collection: Collection, source: str, *, how: Labelling, where: str | None = None
) -> LabelSummary:
    """Write `label` and `label_confidence` of photos, learnt from examples.

    Examples in the collection are labelled like all others: by what the classifier finds, not by
    what they were given. A photo below `min_confidence` has no label, but keeps the confidence.

    Parameters
    ----------
    collection : Collection
    source : str
        Of the examples; see :func:`service.examples.read_labels`.
    how : Labelling
    where : str, optional
        Only photos for which this SQL condition holds are labelled; those of others stay.

    Raises
    ------
    InputError
        If the examples, the space or the condition cannot be used.
    LockedError
        If another process writes to the collection.
    """
    placed = centred(collection.chosen_map(how.space), collection.store)
    learnt = _learnt(collection, source, placed, how)
    with writer_lock(local_directory(collection.store.uri)):
        image_ids, classes, confidences = _classified(collection, placed, learnt, where)
        classes[confidences < how.min_confidence] = -1
        _write(collection.store, _changes(image_ids, classes, confidences, learnt.names))
    n_photos = np.bincount(classes[classes >= 0], minlength=len(learnt.names))
    return LabelSummary(
        space=placed.space,
        classifier=how.classifier,
        min_confidence=how.min_confidence,
        n_photos=len(image_ids),
        n_unlabelled=int(np.sum(classes < 0)),
        n_held_out=learnt.calibration.n_held_out,
        held_out_accuracy=learnt.calibration.accuracy,
        labels=[
            LabelCount(label=name, n_examples=given, n_photos=found)
            for name, given, found in zip(
                learnt.names, learnt.n_examples.tolist(), n_photos.tolist(), strict=True
            )
        ],
    )


def clear_labels(collection: Collection, *, where: str | None = None) -> ClearedLabels:
    """Remove the labels of all photos, or of those for which a SQL condition holds.

    Raises
    ------
    FilterError
        If the condition is not one.
    LockedError
        If another process writes to the collection.
    """
    store = collection.store
    with writer_lock(local_directory(store.uri)):
        rows = store.images(["image_id", "label_confidence"], where)
        labelled = rows.filter(rows["label_confidence"].is_valid())
        nulls = [pa.nulls(labelled.num_rows, field.type) for field in LABEL_FIELDS]
        _write(store, pa.table([labelled["image_id"], *nulls], schema=CHANGES_SCHEMA))
    return ClearedLabels(n_cleared=labelled.num_rows)


def _learnt(collection: Collection, source: str, placed: SpaceMap, how: Labelling) -> _Learnt:
    examples = labelled_vectors(collection, read_labels(collection, source), placed)
    names, class_of, counts = np.unique(
        np.array(examples.labels, dtype=object), return_inverse=True, return_counts=True
    )
    if len(names) == 1:
        raise InputError(
            f"all examples in {source} have the label {names[0]!r}; give examples of at least two "
            "labels"
        )
    make_classifier = _CLASSIFIERS[how.classifier]
    try:
        classifier = make_classifier(examples.vectors, class_of)
    except NoCovarianceError as error:
        raise InputError(
            f"no label in {source} has two different examples, which --classifier lda needs; give "
            "more examples, or use --classifier prototype"
        ) from error
    held_out = calibration(
        examples.vectors, class_of, make_classifier=make_classifier, seed=how.seed
    )
    return _Learnt(scaled(classifier, held_out.scale), tuple(names), counts, held_out)


def _classified(
    collection: Collection, placed: SpaceMap, learnt: _Learnt, where: str | None
) -> tuple[IntArray, IntArray, FloatArray]:
    """Return ids, classes and confidences of photos, all (n,)."""
    ids, classes = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    confidences = [np.empty(0, np.float32)]
    for image_ids, stored in collection.store.vector_blocks(placed.column, where):
        found = classify(placed.image_vectors(stored), learnt.classifier)
        ids.append(image_ids)
        classes.append(found.classes)
        confidences.append(found.confidences)
    return np.concatenate(ids), np.concatenate(classes), np.concatenate(confidences)


def _write(store: Store, changes: pa.Table) -> None:
    if changes.num_rows:
        # An update writes whole rows anew: what the last one replaced goes first.
        store.optimize()
        store.update_images(changes)


def _changes(
    image_ids: IntArray, classes: IntArray, confidences: FloatArray, names: tuple[str, ...]
) -> pa.Table:
    """Return rows of CHANGES_SCHEMA; the class -1 is no label."""
    codes = pa.array(classes, mask=classes < 0)
    labels = pa.DictionaryArray.from_arrays(codes, pa.array(names, pa.string())).cast(pa.string())
    return pa.table([image_ids, labels, confidences], schema=CHANGES_SCHEMA)
