"""Anomaly scores by references that were made without examples, of the photos that are scored.

Ours, not the paper's: names of the normal classes alone, or nothing at all, as
:func:`service.normal_photos.normal_photos` makes them of a collection. Its photos are then both
what the reference is made of and what is scored, anomalies among them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from indexer.arrays import FloatArray
from indexer.scoring.anomaly import anomaly_scores, neighbour_distances, normal_statistics
from indexer.scoring.zero_shot import zero_shot_classes
from schemas.errors import InputError
from service.collection import Collection
from service.normal_photos import (
    ANOMALY_TEMPLATE,
    NormalChoice,
    confident_examples,
    frequent_classes,
)
from service.texts import embedded_names, imagenet_names

NAMES_ONLY = "BLISS, by names only"
NOTHING = "BLISS, from nothing"
NOTHING_NEIGHBOURS = "nearest photos, from nothing"

Rate = Callable[[FloatArray, FloatArray], FloatArray]
"""Takes photos (n, d) and the texts of the normal classes (C, d); returns anomaly scores (n,)."""

_CHOICE = NormalChoice()


@dataclass(frozen=True, slots=True)
class CorrectedScoring:
    """What corrects the similarity to labels: the dictionary (m, d), the paper's lambda and K."""

    dictionary: FloatArray
    external_weight: float
    k: int


def references_without_examples(
    collection: Collection, scoring: CorrectedScoring
) -> Mapping[str, Rate]:
    """Return how photos are scored by names only, and, where the model has texts, from nothing."""
    logit_scale = collection.store.info.model.logit_scale
    references: dict[str, Rate] = {
        NAMES_ONLY: lambda photos, labels: _scores(photos, labels, scoring, logit_scale=logit_scale)
    }
    if collection.store.info.source is not None:
        names = imagenet_names(synonyms=False)
        known = embedded_names(collection, names, template=ANOMALY_TEMPLATE).embeddings
        references[NOTHING] = lambda photos, _: _scores(
            photos,
            known[frequent_classes(photos, known, _CHOICE, logit_scale=logit_scale)],
            scoring,
            logit_scale=logit_scale,
            confident=1.0,
        )
    return references


def neighbours_without_examples(*, k: int) -> Rate:
    """Return how photos are scored by the distance to their k-th nearest among themselves."""
    # A photo is its own nearest.
    return lambda photos, _: neighbour_distances(photos, photos, k=min(k + 1, len(photos)))


def _scores(
    photos: FloatArray,
    labels: FloatArray,
    scoring: CorrectedScoring,
    *,
    logit_scale: float,
    confident: float = _CHOICE.confident,
) -> FloatArray:
    assigned = zero_shot_classes(photos, labels, logit_scale=logit_scale)
    is_example = confident_examples(assigned, confident)
    usable = [
        number
        for number in np.unique(assigned.classes[is_example]).tolist()
        if _has_spread(photos[is_example & (assigned.classes == number)])
    ]
    if not usable:
        raise InputError(
            "no class of a split gets two photos that differ by its name alone; leave out "
            "--without-examples"
        )
    rows = np.flatnonzero(is_example & np.isin(assigned.classes, usable))
    statistics = normal_statistics(
        photos[rows],
        np.searchsorted(usable, assigned.classes[rows]),
        label_embeddings=labels[usable],
        dictionary=scoring.dictionary,
    )
    return anomaly_scores(
        photos, statistics, external_weight=scoring.external_weight, k=scoring.k
    ).scores


def _has_spread(examples: FloatArray) -> bool:
    return bool((examples != examples[0]).any())
