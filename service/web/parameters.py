"""Parameters of the routes. A parameter that is not known is refused, as it would be overlooked."""

from typing import Annotated, Literal

from fastapi import Path
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from schemas.errors import Stage
from schemas.http import MAX_FOUND, MAX_PAGE
from schemas.model import Space
from schemas.photos import PhotoOrder
from schemas.quality import QualityOrder
from service.conditions import MAX_CHARACTERS
from service.thumbnails import ThumbnailSide

MAX_TEXT_CHARACTERS = 2000
MAX_QUERIES = 20
MAX_OFFSET = 10**9

# Larger numbers do not fit the integers of the store.
PhotoId = Annotated[int, Path(ge=0, lt=2**63, description="Id of a photo.", examples=[0])]

Text = Annotated[str, Field(max_length=MAX_TEXT_CHARACTERS)]
Condition = Annotated[str, Field(max_length=MAX_CHARACTERS)]


class Parameters(BaseModel):
    """What all have in common."""

    model_config = ConfigDict(extra="forbid")


class Selection(Parameters):
    """Photos that match."""

    where: Condition | None = Field(
        default=None,
        description="Only photos for which this SQL condition on their columns holds.",
        examples=["quality > 0.5 and width > 100"],
    )


class Page(Selection):
    """Some of a list of photos that match."""

    offset: int = Field(
        default=0, ge=0, le=MAX_OFFSET, description="How many of the first are passed over."
    )
    limit: int = Field(
        default=100, ge=1, le=MAX_PAGE, description="How many come back at most.", examples=[20]
    )


class PhotoListParameters(Page):
    """Of a list of photos."""

    sort: PhotoOrder = Field(
        default="-taken_at",
        description="What they are listed by, with - the greatest first. Photos of which it is "
        "unknown come last.",
    )


class QualityParameters(Page):
    """Of photos by quality."""

    order: QualityOrder = Field(default="worst", description="Which come first.")


class AnomalyParameters(Page):
    """Of photos by anomaly."""

    reference: Text | None = Field(
        default=None, description="Name of the reference; the active one by default."
    )


class FailureParameters(Page):
    """Of files that could not be indexed; the condition is on the columns of failures."""

    stage: Stage | None = Field(default=None, description="Only those that failed there.")


class HistogramParameters(Selection):
    """Of a histogram."""

    bins: int = Field(default=40, ge=1, le=1000, description="Number of bins of equal width.")


class SimilarParameters(Selection):
    """Of photos that are like another one."""

    space: Space | None = Field(
        default=None,
        description="What photos are compared in: with words clip, else the model's best space, "
        "by default.",
    )
    offset: int = Field(
        default=0, ge=0, lt=MAX_FOUND, description="How many of the best are passed over."
    )
    limit: int = Field(
        default=50, ge=1, le=MAX_PAGE, description="How many come back at most.", examples=[20]
    )

    @property
    def top_k(self) -> int:
        """How many hits are looked for."""
        return min(self.offset + self.limit, MAX_FOUND)


class SearchParameters(SimilarParameters):
    """Of a search."""

    q: list[Text] = Field(
        min_length=1,
        max_length=MAX_QUERIES,
        description="Words, id:N for a photo of the collection, or upload:ID for one that was "
        "sent. Several are added up; ^WEIGHT at the end of one makes it count more or less.",
        examples=[["a dog on the beach", "id:0^0.5"]],
    )
    minus: list[Text] = Field(
        default=[], max_length=MAX_QUERIES, description="Lead away from these.", examples=[["snow"]]
    )
    include_self: bool = Field(default=False, description="Let a photo find itself.")


class ExportParameters(Selection):
    """Of a file with all photos of a view: of a list, or with `q` of a search."""

    format: Literal["csv", "jsonl", "parquet", "paths"] = Field(
        default="csv", description="`paths` are full paths, each ended by NUL, as for xargs -0."
    )
    sort: PhotoOrder = "-taken_at"
    q: list[Text] = Field(default=[], max_length=MAX_QUERIES)
    minus: list[Text] = Field(default=[], max_length=MAX_QUERIES)
    space: Space | None = None


class ThumbnailParameters(Parameters):
    """Of a thumbnail."""

    # Pydantic takes text for a number, but not for one of several.
    side: Annotated[ThumbnailSide, BeforeValidator(int)] = Field(
        default=256, description="Pixels of the long side at most."
    )
    v: Text | None = Field(
        default=None,
        description="Anything that names the collection, such as when it was made: the thumbnail "
        "under such an address may be kept for ever.",
    )


class OriginalParameters(Parameters):
    """Of a photo's file."""

    download: bool = Field(default=False, description="Offer it to be saved.")
