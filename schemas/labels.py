"""What labelling a collection answers."""

from typing import Literal

from schemas.model import Space
from schemas.results import Record

ClassifierKind = Literal["prototype", "lda"]
"""prototype: the nearest class mean. lda: a linear discriminant."""


class LabelCount(Record):
    """One label: how many examples it was learnt from, and how many photos were given it."""

    label: str
    n_examples: int
    n_photos: int


class LabelSummary(Record):
    """What `isophote label` did.

    Of `n_photos`, `n_unlabelled` were less sure than `min_confidence` and have no label.
    `held_out_accuracy` in [0, 1] is the share of right answers for `n_held_out` examples by
    classifiers made of the others; None where none could be held out, and confidences then are not
    calibrated.
    """

    space: Space
    classifier: ClassifierKind
    min_confidence: float
    n_photos: int
    n_unlabelled: int
    n_held_out: int
    held_out_accuracy: float | None
    labels: list[LabelCount]


class ClearedLabels(Record):
    """How many photos lost their label."""

    n_cleared: int
