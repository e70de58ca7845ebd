"""What there is to say of anomaly references and of the scores they give."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.results import Record

NormalOrigin = Literal["examples", "labels", "cover", "all"]
"""How the normal photos were found: given; by given names of classes; by the names that cover
most of the collection; or all photos taken for normal."""


class NormalClass(BaseModel):
    """A class of normal photos: what it is called, and how many examples were taken."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    n_examples: int


class TextSource(BaseModel):
    """Texts: how many, where they came from, and a sha256 (16 hex digits) of their names.

    `template` made sentences of the names; None where `embeddings`, a file, has their vectors.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_texts: int
    origin: str
    digest: str
    template: str | None = None
    embeddings: str | None = None


class TextScoring(BaseModel):
    """Similarity to texts, corrected for its bias, and what decides it.

    `external_weight` is the paper's lambda, `neighbours` its K. `labels` are the texts of the
    normal classes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Literal["bliss"] = "bliss"
    external_weight: float = Field(ge=0)
    neighbours: int = Field(ge=1)
    labels: TextSource
    dictionary: TextSource


class NeighbourScoring(BaseModel):
    """Distance to the `nearest`-th nearest normal photo.

    Of more than `sample` normal photos so many were drawn, by `seed`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Literal["knn"] = "knn"
    nearest: int = Field(ge=1)
    sample: int = Field(ge=1)
    seed: int


class ReferenceSettings(BaseModel):
    """What an anomaly reference was made of, and what decides the scores it gives.

    `examples` is the SOURCE of given examples. `confident` is the share of the photos of a named
    class that were taken as its examples; `cover` the share of the photos that the most frequent
    names were to cover, and `least` the share that each was to hold; None where not asked for.
    `skipped` are classes with too few examples. `n_normal` photos were taken in all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    scoring: TextScoring | NeighbourScoring = Field(discriminator="method")
    origin: NormalOrigin
    examples: str | None = None
    where: str | None = None
    confident: float | None = None
    cover: float | None = None
    least: float | None = None
    classes: tuple[NormalClass, ...] = ()
    skipped: tuple[NormalClass, ...] = ()
    n_normal: int = Field(ge=1)


class AnomalyReference(Record):
    """A stored reference. `n_scored` photos have their score from it.

    `n_cleared` photos lost their scores because it took the place of another of its name.
    """

    name: str
    created_at: datetime
    is_active: bool
    n_scored: int
    n_cleared: int = 0
    settings: ReferenceSettings


class AnomalyReferenceList(Record):
    """What `isophote anomalies references` prints, by name."""

    references: list[AnomalyReference]


class AnomalyScoring(Record):
    """What `isophote anomalies score` did."""

    reference: str
    n_scored: int
    seconds: float


class RemovedReference(Record):
    """What `isophote anomalies remove` did."""

    name: str
    was_active: bool
    n_cleared: int


class RankedAnomaly(Record):
    """A photo with its anomaly score, higher = more anomalous, and why it has it.

    `anomaly_class` is the normal class that came closest, `internal` and `external` the parts of
    the score, `words` the texts most similar to the photo; None and empty for knn.
    """

    image_id: int
    path: str
    anomaly: float
    anomaly_class: str | None
    internal: float | None
    external: float | None
    words: list[str]
    reason: str


class AnomalyList(Record):
    """What `isophote anomalies list` prints, the most anomalous first.

    `n_scored` of the selected photos have a score from the reference, `n_unscored` have none.
    """

    reference: str
    n_scored: int
    n_unscored: int
    photos: list[RankedAnomaly]
