"""What an imported collection says of the model that made its vectors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, Literal

import numpy as np

from indexer.arrays import FloatArray
from indexer.encoders.encoder import Encoder, Projectors
from indexer.preprocess import preprocessing_fingerprint
from indexer.scoring.projection import project
from indexer.scoring.quality import (
    PROMPT_PAIRS,
    fused_quality,
    magnitude,
    magnitude_quality,
    prompt_quality,
)
from indexer.settings import Settings
from indexer.spaces import projectors_digest
from schemas.collection import SCHEMA_VERSION, CollectionInfo, ModelSource
from schemas.errors import InputError, MismatchError
from schemas.model import ModelDescription
from service.collection import open_source

UNKNOWN = "unknown"
"""Name, weights and preprocessing of a model of which nothing is known."""

# Of the OpenAI models and most that followed.
DEFAULT_LOGIT_SCALE = 100.0


@dataclass(frozen=True, slots=True)
class ImportedModel:
    """How a collection of imported vectors describes its model.

    `encoder` is the model itself where it could be opened; words and photos need it.
    """

    info: CollectionInfo
    projectors: Projectors
    encoder: Encoder | None = None


@dataclass(frozen=True, slots=True)
class ModelNote:
    """What may be known of a model that is not opened; the fields are those of its description."""

    model_id: str = UNKNOWN
    logit_scale: float = DEFAULT_LOGIT_SCALE
    quality_cue: Literal["magnitude", "pixels"] = "magnitude"
    prompt_template: str = "a photo of {}"

    @classmethod
    def read(cls, mark: Mapping[str, Any]) -> "ModelNote":
        """Return what `isophote export` noted in a file, or the defaults."""
        scale, template = mark.get("logit_scale"), mark.get("prompt_template")
        note = cls(
            model_id=str(mark.get("model", UNKNOWN)),
            quality_cue="pixels" if mark.get("quality_cue") == "pixels" else "magnitude",
        )
        if isinstance(scale, int | float) and 0 < scale < np.inf:
            note = replace(note, logit_scale=float(scale))
        if isinstance(template, str) and "{}" in template:
            note = replace(note, prompt_template=template)
        return note


def unknown_model(note: ModelNote, *, dim: int) -> ImportedModel:
    """Return the description of a model known by its vectors only.

    Its text projector is the identity: texts come as embeddings.
    """
    projectors = Projectors(image_weight=None, text_weight=np.eye(dim, dtype=np.float32))
    description = ModelDescription(
        id=note.model_id,
        family="known by its vectors",
        feature_dim=dim,
        text_feature_dim=dim,
        embedding_dim=dim,
        logit_scale=note.logit_scale,
        preprocessing=None,
        default_image_space="clip",
        spaces=("clip",),
        quality_cue=note.quality_cue,
        prompt_template=note.prompt_template,
        linear_image_head=False,
    )
    return ImportedModel(_info(description, projectors, source=None), projectors)


def opened_model(
    source: ModelSource, *, dim: int, logit_scale: float | None, settings: Settings
) -> ImportedModel:
    """Open a model and return its description without the spaces that need features.

    Raises
    ------
    InputError
        If its embeddings have another length than the vectors.
    ModelError, MissingExtraError
        If it cannot be opened.
    """
    encoder = open_source(source, settings)
    opened = encoder.description
    if opened.embedding_dim != dim:
        raise InputError(
            f"the vectors have {dim} numbers, those of model {opened.id!r} have "
            f"{opened.embedding_dim}; name the model that made them, or leave out --model"
        )
    description = opened.model_copy(
        update={
            "default_image_space": "clip",
            "spaces": ("clip",),
            "linear_image_head": False,
            "logit_scale": logit_scale or opened.logit_scale,
        }
    )
    info = _info(
        description,
        encoder.projectors,
        source=source,
        weights_digest=encoder.weights_digest,
        fingerprint=preprocessing_fingerprint(opened.require_preprocessing()),
    )
    return ImportedModel(info, encoder.projectors, encoder)


def refuse_other_vectors(info: CollectionInfo, *, dim: int, where: str) -> None:
    """Refuse a collection that imported vectors cannot be added to.

    Raises
    ------
    InputError
        If it holds photos, or pictures with their features.
    MismatchError
        If its vectors have another length.
    """
    if info.origin == "photos" or info.model.needs_features:
        held = "photos" if info.origin == "photos" else "pictures with their features"
        raise InputError(
            f"the collection {where!r} holds {held} and takes no vectors; import them into "
            "another --collection"
        )
    if info.model.embedding_dim != dim:
        raise MismatchError(
            f"the collection {where!r} has vectors of {info.model.embedding_dim} numbers, these "
            f"have {dim}; import them into another --collection"
        )


def refuse_other_name(
    info: CollectionInfo, *, model_id: str | None, logit_scale: float | None, where: str
) -> None:
    """Refuse a name or scale of the model that is not that of the collection.

    Raises
    ------
    MismatchError
    """
    compared = (
        ("model", "--model-id", info.model.id, model_id),
        ("logit scale", "--logit-scale", info.model.logit_scale, logit_scale),
    )
    for what, option, stored, given in compared:
        if given is not None and given != stored:
            raise MismatchError(
                f"the collection {where!r} has the {what} {stored!r}, not {given!r}; leave out "
                f"{option}, or import into another --collection"
            )


@dataclass(frozen=True, slots=True)
class VectorScorer:
    """Quality cues of vectors, as far as their lengths and the model's prompts are known.

    `good` and `bad` are embeddings of the quality prompts, None without the model. `is_unit`
    says that the vectors lost their lengths.
    """

    description: ModelDescription
    good: FloatArray | None
    bad: FloatArray | None
    is_unit: bool

    @classmethod
    def of(cls, model: ImportedModel, *, is_unit: bool) -> "VectorScorer":
        """Return the scorer of a model; it encodes the prompts here, once."""
        if model.encoder is None:
            return cls(model.info.model, None, None, is_unit)
        good, bad = (
            _prompt_embeddings(model.encoder, texts) for texts in zip(*PROMPT_PAIRS, strict=True)
        )
        return cls(model.info.model, good, bad, is_unit)

    def __call__(self, vectors: FloatArray) -> dict[str, FloatArray]:
        """Return columns of `images` for vectors (n, d), without those that cannot be known."""
        scores: dict[str, FloatArray] = {}
        if not self.is_unit:
            scores["magnitude"] = magnitude(vectors)
            if vectors.shape[1] > 1:
                scores["quality_mag"] = magnitude_quality(vectors)
        if self.good is not None and self.bad is not None:
            scores["quality_sim"] = prompt_quality(
                vectors, self.good, self.bad, logit_scale=self.description.logit_scale
            )
        is_fused = self.description.quality_cue == "magnitude"
        if is_fused and {"quality_sim", "quality_mag"} <= scores.keys():
            scores["quality"] = fused_quality(scores["quality_sim"], scores["quality_mag"])
        return scores


def _prompt_embeddings(encoder: Encoder, texts: Sequence[str]) -> FloatArray:
    projectors = encoder.projectors
    return project(encoder.encode_texts(texts), projectors.text_weight, projectors.text_bias)


def _info(
    description: ModelDescription,
    projectors: Projectors,
    *,
    source: ModelSource | None,
    weights_digest: str = UNKNOWN,
    fingerprint: str = UNKNOWN,
) -> CollectionInfo:
    return CollectionInfo(
        schema_version=SCHEMA_VERSION,
        source=source,
        model=description,
        weights_digest=weights_digest,
        preprocessing_fingerprint=fingerprint,
        projectors_digest=projectors_digest(projectors),
        band=None,
        band_is_default=False,
        origin="vectors",
        created_at=datetime.now(UTC),
        isophote_version=version("isophote"),
    )
