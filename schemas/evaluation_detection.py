"""What `isophote eval anomaly` and `isophote eval quality` answer."""

from typing import Literal

from schemas.model import Space
from schemas.results import Record

Protocol = Literal["one-class", "leave-one-out", "splits"]
"""one-class: each class is normal in turn. leave-one-out: each is the anomaly in turn. splits:
given sets of normal classes."""


class PublishedScore(Record):
    """A figure from a paper: `value` as printed there, `note` what differs from this run."""

    method: str
    measure: str
    value: float
    note: str


class AnomalyRow(Record):
    """How well one anomaly score tells normal photos from others.

    AUROC and FPR@95TPR are in [0, 1], means over splits and draws. `*_std_splits` is the
    population standard deviation over the splits, each a mean over draws; `*_std_draws` that over
    the draws, each a mean over splits; None where there is one. `setting` is the swept value.
    """

    method: str
    space: Space
    setting: str | None
    auroc: float
    auroc_std_splits: float | None
    auroc_std_draws: float | None
    fpr_at_95_tpr: float
    fpr_at_95_tpr_std_splits: float | None
    fpr_at_95_tpr_std_draws: float | None


class AnomalyEvaluation(Record):
    """What `isophote eval anomaly` prints.

    `shots` is None where all photos that may be examples are, `class_text` the prompt template
    or the file that gave the embeddings. `mean_normal` and `mean_anomalous` count the photos
    that a split is tested on.
    """

    labels: str
    protocol: Protocol
    splits: list[str]
    n_classes: int
    shots: int | None
    draws: int
    seed: int
    external_weight: float
    k: int
    class_text: str
    n_dictionary: int
    mean_normal: float
    mean_anomalous: float
    rows: list[AnomalyRow]
    published: list[PublishedScore]
    notes: list[str]
    seconds: float


class OpinionRow(Record):
    """How well one measure of the collection agrees with opinions.

    `good_is` says which end of the measure is good by its definition; SRCC and KRCC are turned
    accordingly, so that higher is always better. `plcc` is taken after a logistic fit and has no
    sign; `is_fitted` is False where that fit did not settle. None stands for what cannot be
    told: too few photos, or a measure that is the same for all or was not stored.
    """

    measure: str
    good_is: Literal["high", "low", "neither"]
    setting: str | None
    n_photos: int
    srcc: float | None
    krcc: float | None
    plcc: float | None
    is_fitted: bool | None


class QualityEvaluation(Record):
    """What `isophote eval quality` prints.

    Of `n_opinions` in the file, `n_matched` are of photos of the collection.
    """

    opinions: str
    dataset: str | None
    n_opinions: int
    n_matched: int
    quality_mode: str
    quality_cue: str
    rows: list[OpinionRow]
    published: list[PublishedScore]
    notes: list[str]
    seconds: float
