"""What `isophote eval retrieval` and `isophote eval text` answer."""

from schemas.evaluation_detection import PublishedScore
from schemas.model import Space
from schemas.results import Record


class RetrievalRow(Record):
    """How well photos find those of their own label in one space.

    All are means over queries, in [0, 1], higher is better. `n_dimensions` is the length of the
    compared vectors; `setting` is the swept value.
    """

    space: Space
    setting: str | None
    n_dimensions: int
    mean_average_precision: float
    mean_average_precision_at_r: float
    precision_at_r: float
    recall_at_1: float


class CaptionRow(Record):
    """Recall of captions and their photos in one space, by k; in [0, 1], higher is better."""

    space: Space
    n_dimensions: int
    text_to_image: dict[int, float]
    image_to_text: dict[int, float]


class UnusableSpace(Record):
    """A space, or a swept value of it, that could not be measured, and why."""

    space: Space
    setting: str | None
    reason: str


class RetrievalEvaluation(Record):
    """What `isophote eval retrieval` prints.

    Of the `n_photos` labelled photos, `n_queries` of `n_labels` labels ask, each against all
    others. `n_distractors` are only ever found: they are alone with their label, or too few. Where
    a limit was given, `seed` drew the queries. `n_outside` labelled photos are not in the
    collection, or have changed since; they were left out.
    """

    collection: str
    labels: str
    n_photos: int
    n_queries: int
    n_labels: int
    n_distractors: int
    n_outside: int
    seed: int | None
    rows: list[RetrievalRow]
    unusable: list[UnusableSpace]
    published: list[PublishedScore]
    seconds: float


class CaptionEvaluation(Record):
    """What `isophote eval text` prints.

    Captions are asked for among the `n_photos` that have any, and photos among their
    `n_captions`. `n_outside` captions are of photos that the collection does not have.
    """

    collection: str
    captions: str
    n_photos: int
    n_captions: int
    n_outside: int
    seed: int | None
    rows: list[CaptionRow]
    unusable: list[UnusableSpace]
    published: list[PublishedScore]
    seconds: float
