"""What a collection must know of the model that embedded it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.errors import UnknownModelError

Space = Literal["clip", "isoclip", "trunk", "semantic"]
"""clip: plain projector. isoclip: intra-modal projector. trunk: centred pre-projection features.
semantic: the plain projector's embeddings along axes of class names."""


class Preprocessing(BaseModel):
    """How an upright sRGB picture becomes the input of an image tower.

    `shortest` scales the short side to the target and crops the centre, `longest` scales the
    long side and pads with `fill`, `squash` ignores the aspect ratio. `mean` and `std` are per
    RGB channel on the 0..1 scale; the encoder applies them, so that batches travel as bytes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    height: int = Field(gt=0)
    width: int = Field(gt=0)
    resize: Literal["shortest", "longest", "squash"]
    interpolation: Literal["bicubic", "bilinear"]
    fill: int = Field(default=0, ge=0, le=255)
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class Band(BaseModel):
    """Singular values of the inter-modal operator that are removed at either end."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    k_top: int = Field(ge=0)
    k_bottom: int = Field(ge=0)


class ModelDescription(BaseModel):
    """A model's name, shapes and the choices that its makers or its card made.

    `band` is None where nobody published one: the default shares of the rank are used then.
    `quality_cue` names what `quality` is made of: the magnitude-aware score of the embedding, or
    pixel measures for towers whose magnitude carries no quality signal. `centred_features` says
    that the tower already subtracts its own mean, so that the trunk space needs no other centre.
    `linear_image_head` is False where the image embedding is no linear map of the features; the
    encoder then returns the embedding beside them. `spaces` lists what the model can serve
    besides `semantic`, which every model can. `preprocessing` is None for a model that is known
    by its vectors only, as those of an imported collection may be.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    family: str
    feature_dim: int = Field(gt=0)
    text_feature_dim: int = Field(gt=0)
    embedding_dim: int = Field(gt=0)
    logit_scale: float = Field(gt=0)
    preprocessing: Preprocessing | None
    default_image_space: Space
    spaces: tuple[Space, ...] = ("clip", "isoclip", "trunk")
    band: Band | None = None
    quality_cue: Literal["magnitude", "pixels"] = "magnitude"
    prompt_template: str = "a photo of {}"
    centred_features: bool = False
    linear_image_head: bool = True

    @property
    def needs_features(self) -> bool:
        """Whether any space is made of the pre-projection features."""
        return self.linear_image_head or not {"isoclip", "trunk"}.isdisjoint(self.spaces)

    def require_preprocessing(self) -> Preprocessing:
        """Return how photos become the input of the image tower.

        Raises
        ------
        UnknownModelError
            If the model is known by its vectors only.
        """
        if self.preprocessing is None:
            raise UnknownModelError(
                f"the model {self.id!r} of this collection is known by its vectors only, so "
                "photos cannot be embedded; ask with id:N, or with given embeddings"
            )
        return self.preprocessing
