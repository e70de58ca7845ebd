"""What a collection says of itself."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from schemas.model import Band, ModelDescription

SCHEMA_VERSION = 3
"""Raised by one with every change of a table; `indexer.migrations` has a step for each."""


QualityMode = Literal["single", "crops"]
"""single: from the pass that embeds the photo. crops: mean over windows and the whole photo."""

CropEdges = Literal["pad", "drop"]


class ModelSource(BaseModel):
    """What was given to open the model: `--model` and `--pretrained`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    pretrained: str | None = None


class CollectionInfo(BaseModel):
    """The model, preprocessing and choices that every row of a collection shares.

    `band` is the kept range of the intra-modal projector, None for models that have none;
    `band_is_default` says that nobody published one for this model.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int
    source: ModelSource | None
    model: ModelDescription
    weights_digest: str
    preprocessing_fingerprint: str
    projectors_digest: str
    band: Band | None
    band_is_default: bool
    quality_mode: QualityMode = "single"
    crop_edges: CropEdges = "pad"
    origin: Literal["photos", "vectors"] = "photos"
    created_at: datetime
    isophote_version: str
