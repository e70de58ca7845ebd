"""Spaces of similarity: the linear maps from stored vectors to the vectors that are compared."""

import hashlib
from dataclasses import dataclass, replace

import numpy as np
from threadpoolctl import threadpool_limits

from indexer.arrays import FloatArray
from indexer.encoders.encoder import EncodedImages, Projectors
from indexer.scoring.projection import (
    default_band,
    inter_modal_spectrum,
    intra_modal_projector,
    project,
    with_bias,
)
from indexer.scoring.similarity import normalised
from schemas.errors import InputError, UnsupportedSpaceError
from schemas.model import Band, ModelDescription, Space


@dataclass(frozen=True, slots=True)
class SpaceMap:
    """How stored image vectors, and embeddings of texts, become unit vectors of one space.

    A stored vector x, float32 (p,) from the store's `column`, becomes
    ``normalised(weight @ x + bias - centre)``; with `axes` (k, d) it becomes
    ``normalised(axes @ (normalised(weight @ x + bias) - centre))``. A part that is None is left
    out. `needs_centre` asks for the gallery's own mean as `centre`. `text_centre` (d,) takes the
    place of `centre` for texts, which lie elsewhere in the shared space than images do.
    """

    space: Space
    column: str
    weight: FloatArray | None = None
    bias: FloatArray | None = None
    centre: FloatArray | None = None
    needs_centre: bool = False
    axes: FloatArray | None = None
    text_centre: FloatArray | None = None

    def image_vectors(self, stored: FloatArray) -> FloatArray:
        """Map stored vectors (n, p) to unit vectors (n, d) of the space."""
        return self._placed(self.uncentred(stored), self.centre)

    def text_vectors(self, embeddings: FloatArray) -> FloatArray:
        """Map unit embeddings of texts (n, d) in the space `clip` to unit vectors of this one.

        Raises
        ------
        ValueError
            If it is a space of images only.
        """
        if not self.takes_texts:
            raise ValueError(f"texts have no place in the space {self.space!r}")
        return self._placed(embeddings, self.text_centre)

    @property
    def takes_texts(self) -> bool:
        """Whether texts can be compared with images here."""
        return self.space in ("clip", "semantic")

    def uncentred(self, stored: FloatArray) -> FloatArray:
        """Map stored vectors (n, p) to what the centre is a mean of."""
        if self.weight is not None:
            stored = project(stored, self.weight, self.bias)
        return stored if self.axes is None else normalised(stored)

    def centred_at(self, centre: FloatArray | None) -> "SpaceMap":
        """Return the same map with another centre."""
        return replace(self, centre=centre)

    def along(self, axes: FloatArray, *, text_centre: FloatArray | None = None) -> "SpaceMap":
        """Return the map of the space `semantic`, from that of the space `clip`.

        Parameters
        ----------
        axes : float32 of shape (k, d)
            Orthonormal rows.
        text_centre : float32 of shape (d,), optional
            The mean of texts; the images are then centred at their own mean as well.
        """
        is_centred = text_centre is not None
        return replace(
            self, space="semantic", axes=axes, text_centre=text_centre, needs_centre=is_centred
        )

    @property
    def digest(self) -> str:
        """Sha256 (16 hex digits) of all that decides the map but the centre."""
        digest = hashlib.sha256(f"{self.space} {self.column} {self.needs_centre}".encode())
        parts = [self.weight, self.bias]
        if self.axes is not None:
            parts += [self.axes, self.text_centre]
        for part in parts:
            digest.update(b"none" if part is None else np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()[:16]

    def _placed(self, vectors: FloatArray, centre: FloatArray | None) -> FloatArray:
        if centre is not None:
            vectors = vectors - centre
        return normalised(vectors if self.axes is None else project(vectors, self.axes))


def require_space(model: ModelDescription, space: Space) -> None:
    """Refuse a space that the model cannot serve.

    Raises
    ------
    UnsupportedSpaceError
        Naming the model and the spaces that do work.
    """
    if space not in (*model.spaces, "semantic"):
        lack = "its image projector is not known"
        if not model.needs_features:
            lack = "photos are stored without pre-projection features"
        raise UnsupportedSpaceError(
            f"model {model.id!r} ({model.family}) cannot serve the space {space!r}: "
            f"{lack}; use {' or '.join([*model.spaces, 'semantic'])}"
        )


def space_map(
    space: Space, *, model: ModelDescription, projectors: Projectors, band: Band | None
) -> SpaceMap:
    """Return the map from stored vectors to a space.

    Raises
    ------
    UnsupportedSpaceError
        If the model cannot serve the space.
    """
    require_space(model, space)
    if space == "semantic":
        raise ValueError("the semantic space needs axes: take the clip space along them")
    if space == "trunk":
        return SpaceMap(space, "features", needs_centre=not model.centred_features)
    if space == "isoclip":
        if band is None:
            raise ValueError("the isoclip space needs a band")
        weight, bias = _intra_modal_map(projectors, band)
        return SpaceMap(space, "features", weight, bias)
    if not model.linear_image_head:
        return SpaceMap(space, "raw_embedding")
    return SpaceMap(space, "features", projectors.image_weight, projectors.image_bias)


def encoded_column(encoded: EncodedImages, column: str) -> FloatArray:
    """Return what the encoder gave for a vector column of the store."""
    if column == "features":
        return encoded.features
    if encoded.raw_embeddings is None:
        raise ValueError(f"the encoder gave no {column}")
    return encoded.raw_embeddings


def text_vectors(features: FloatArray, projectors: Projectors) -> FloatArray:
    """Map text features (n, p_t) to unit vectors (n, d) of the `clip` space."""
    return normalised(project(features, projectors.text_weight, projectors.text_bias))


def resolved_band(
    model: ModelDescription, projectors: Projectors, *, asked: Band | None = None
) -> tuple[Band | None, bool]:
    """Return the band of the intra-modal projector, and whether it is only a default.

    The user's own choice comes before the published one, that before the default shares.

    Raises
    ------
    InputError
        If the asked band leaves nothing of the spectrum, or the model has none.
    """
    if "isoclip" not in model.spaces:
        if asked is not None:
            raise InputError(f"model {model.id!r} has no projector to narrow; leave out --band")
        return None, False
    rank = _rank(projectors)
    if asked is None:
        return (default_band(rank), True) if model.band is None else (model.band, False)
    if asked.k_top + asked.k_bottom >= rank:
        raise InputError(
            f"a band that removes {asked.k_top} + {asked.k_bottom} singular values leaves "
            f"nothing of rank {rank}; choose fewer"
        )
    return asked, False


def _rank(projectors: Projectors) -> int:
    weight, text_weight = _weights_with_bias(projectors)
    with _one_blas_thread():
        return inter_modal_spectrum(weight, text_weight).rank


def _weights_with_bias(projectors: Projectors) -> tuple[FloatArray, FloatArray]:
    if projectors.image_weight is None:
        raise ValueError("the model has no known image projector")
    return (
        with_bias(projectors.image_weight, projectors.image_bias),
        with_bias(projectors.text_weight, projectors.text_bias),
    )


def _intra_modal_map(projectors: Projectors, band: Band) -> tuple[FloatArray, FloatArray | None]:
    """Return weight (d, p) and bias (d,) of the intra-modal projector."""
    weight, text_weight = _weights_with_bias(projectors)
    with _one_blas_thread():
        kept = intra_modal_projector(weight, text_weight, k_top=band.k_top, k_bottom=band.k_bottom)
    # A bias came along as the last column, the weight of a feature that is always one.
    return (kept, None) if projectors.image_bias is None else (kept[:, :-1], kept[:, -1])


def _one_blas_thread() -> threadpool_limits:
    """Keep BLAS on one core, where a spectrum takes 40 ms: on busy ones its threads spin."""
    return threadpool_limits(limits=1, user_api="blas")


def projectors_digest(projectors: Projectors) -> str:
    """Return a sha256 (16 hex digits) of all projector arrays."""
    digest = hashlib.sha256()
    for part in (
        projectors.image_weight,
        projectors.image_bias,
        projectors.text_weight,
        projectors.text_bias,
    ):
        digest.update(b"none" if part is None else np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()[:16]
