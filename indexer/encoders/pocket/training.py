"""Train the projectors on captions and on what the image classifier knows of class names.

Both towers are frozen, so that training sees fixed features and takes minutes on a CPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click
import numpy as np

from indexer.encoders.encoder import Projectors
from indexer.encoders.pocket.text_tower import HiddenLayer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from indexer.arrays import FloatArray, IntArray

# CLIP's own limit: a larger multiplier made training unstable (Radford et al., 2021, sec. 2.5).
MAX_LOGIT_SCALE = 100.0
INITIAL_LOGIT_SCALE = 20.0


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Centred features to train on.

    `image_views` is float32 (n_views, n, p_i), `texts` float32 (m, p_t), `caption_rows` int64
    (n, 5) into `texts`. `class_rows` is float32 (1000, p_i), one direction in image feature space
    per class, `class_texts` float32 (n_templates, 1000, p_t).
    """

    image_views: FloatArray
    texts: FloatArray
    caption_rows: IntArray
    class_rows: FloatArray
    class_texts: FloatArray


@dataclass(frozen=True, slots=True)
class Recipe:
    """How projectors are trained: `n_members` pairs of `dim` dimensions each.

    `n_units` is the size of a pair's layer behind the text tower, of which `unit_dropout` is hidden
    at each step.

    The values were chosen on the dev split.
    """

    dim: int = 256
    n_units: int = 256
    n_epochs: int = 60
    batch_size: int = 1024
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    dropout: float = 0.3
    unit_dropout: float = 0.5
    class_batch_size: int = 512
    class_loss_weight: float = 0.6
    n_members: int = 4


@dataclass(frozen=True, slots=True)
class TrainedPair:
    """Projectors, the text tower's added layer, and the learned multiplier of the cosine.

    `text_weight` has columns for the text features and then for the units of the layer.
    """

    projectors: Projectors
    text_layer: HiddenLayer
    logit_scale: float


def class_directions(classifier: FloatArray, image_features: FloatArray) -> FloatArray:
    """Return a direction in centred image feature space for each row of the classifier.

    A row of the classifier is the direction in which its class is told from the others. The mean
    row is taken away, as it moves all logits alike, and rows get the mean length of the features.

    Parameters
    ----------
    classifier : float32 of shape (1000, p_i)
    image_features : float32 of shape (n, p_i)
        Centred.

    Returns
    -------
    float32 of shape (1000, p_i)
    """
    rows = classifier - classifier.mean(axis=0)
    length = np.linalg.norm(image_features, axis=1).mean()
    scaled: FloatArray = rows * (length / np.linalg.norm(rows, axis=1, keepdims=True))
    return scaled.astype(np.float32)


def train_pair(training_set: TrainingSet, recipe: Recipe, *, seed: int) -> TrainedPair:
    """Train one pair of bias-free projectors and a layer behind the text tower.

    Each step draws photos, one view and one of the five captions of each; and classes, each with
    one of the prompts. The two symmetric contrastive losses are added. Features are brought to
    unit variance for training and the weights scaled back.

    Parameters
    ----------
    training_set : TrainingSet
    recipe : Recipe
    seed : int
        Of weights, dropout and batches; the same seed gives the same pair on one machine.

    Returns
    -------
    TrainedPair

    Notes
    -----
    Loss and learned temperature: Radford et al., "Learning Transferable Visual Models From Natural
    Language Supervision", ICML 2021, fig. 3. The layer, the dropout and the classes are ours.
    """
    import torch

    torch.manual_seed(seed)
    units = (float(training_set.image_views[0].std()), float(training_set.texts.std()))
    weights = _initial_weights(training_set, recipe)
    n_steps = recipe.n_epochs * (len(training_set.caption_rows) // recipe.batch_size)
    decayed = {"params": weights.matrices(), "weight_decay": recipe.weight_decay}
    free = {"params": [weights.bias, weights.log_scale], "weight_decay": 0.0}
    optimiser = torch.optim.AdamW([decayed, free], lr=recipe.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, recipe.learning_rate, total_steps=n_steps, pct_start=0.15
    )
    for pairs in _batches(training_set, recipe, units=units):
        losses = [
            share * _contrastive_loss(images, texts, weights, recipe)
            for share, images, texts in pairs
        ]
        optimiser.zero_grad()
        torch.stack(losses).sum().backward()
        optimiser.step()
        schedule.step()
        weights.log_scale.data.clamp_(max=np.log(MAX_LOGIT_SCALE))
    return weights.trained_pair(units)


def train_merged(training_set: TrainingSet, recipe: Recipe, *, embedding_dim: int) -> TrainedPair:
    """Train all members, seeds 0, 1, ..., and merge them."""
    members = []
    for seed in range(recipe.n_members):
        click.echo(f"training pair {seed + 1} of {recipe.n_members}", err=True)
        members.append(train_pair(training_set, recipe, seed=seed))
    return merged_pair(members, training_set, embedding_dim=embedding_dim)


def merged_pair(
    pairs: Sequence[TrainedPair], training_set: TrainingSet, *, embedding_dim: int
) -> TrainedPair:
    """Join pairs that were trained from different seeds into one, smaller than their sum.

    Laid end to end, the members' embeddings have the mean of the members' similarities as their
    similarity, and errors that differ between members cancel. The joined space is then rotated
    and cut to the directions in which the training embeddings vary most.

    Averaging the members' inter-modal operators and factorising the mean by SVD gives the same
    inner products but other lengths, and gained nothing on the dev split.

    Parameters
    ----------
    pairs : sequence of TrainedPair
    training_set : TrainingSet
    embedding_dim : int
        At most the sum of the members' dimensions.

    Returns
    -------
    TrainedPair
    """
    layer = HiddenLayer(
        np.concatenate([pair.text_layer.weight for pair in pairs]),
        np.concatenate([pair.text_layer.bias for pair in pairs]),
    )
    images = training_set.image_views[0]
    texts = layer.extended(training_set.texts)
    image_weight = np.concatenate([_unit_scaled(p.projectors.image_weight, images) for p in pairs])
    text_weight = np.concatenate(
        [_unit_scaled(weight, texts) for weight in _widened_text_weights(pairs)]
    )
    covariance = sum(
        weight @ (features.T @ features / len(features)) @ weight.T
        for weight, features in ((image_weight, images), (text_weight, texts))
    )
    directions = np.linalg.eigh(covariance)[1][:, ::-1][:, :embedding_dim].T
    projectors = Projectors(
        (directions @ image_weight).astype(np.float32),
        (directions @ text_weight).astype(np.float32),
    )
    return TrainedPair(projectors, layer, float(np.mean([pair.logit_scale for pair in pairs])))


def _widened_text_weights(pairs: Sequence[TrainedPair]) -> list[FloatArray]:
    """Return text projectors over the text features and the units of all pairs."""
    widened = []
    for place, pair in enumerate(pairs):
        weight, n_units = pair.projectors.text_weight, len(pair.text_layer.bias)
        n_features = weight.shape[1] - n_units
        wide = np.zeros((len(weight), n_features + n_units * len(pairs)), np.float32)
        wide[:, :n_features] = weight[:, :n_features]
        first = n_features + place * n_units
        wide[:, first : first + n_units] = weight[:, n_features:]
        widened.append(wide)
    return widened


def _unit_scaled(weight: FloatArray | None, features: FloatArray) -> FloatArray:
    """Return a projector under which embeddings have length 1 in the mean."""
    if weight is None:
        raise ValueError("both projectors must be there to be merged")
    scaled: FloatArray = weight / np.linalg.norm(features @ weight.T, axis=1).mean()
    return scaled


@dataclass(frozen=True, slots=True)
class _Weights:
    """What is trained, as torch tensors, for features of unit variance."""

    image: Tensor
    text: Tensor
    units: Tensor
    layer: Tensor
    bias: Tensor
    log_scale: Tensor

    def matrices(self) -> list[Tensor]:
        """Return the weights that decay."""
        return [self.image, self.text, self.units, self.layer]

    def embed_texts(self, texts: Tensor, recipe: Recipe) -> Tensor:
        """Return embeddings of texts under dropout."""
        from torch.nn import functional

        inner = functional.gelu(texts @ self.layer.T + self.bias)
        units = functional.dropout(inner, recipe.unit_dropout)
        return texts @ self.text.T + units @ self.units.T

    def trained_pair(self, units: tuple[float, float]) -> TrainedPair:
        """Return the weights for features as they are."""
        image, text, outer, layer, bias = (
            tensor.detach().numpy()
            for tensor in (self.image, self.text, self.units, self.layer, self.bias)
        )
        text_weight = np.concatenate([text / units[1], outer], axis=1)
        return TrainedPair(
            Projectors(image / units[0], text_weight),
            HiddenLayer(layer / units[1], bias),
            float(self.log_scale.detach().exp()),
        )


def _initial_weights(training_set: TrainingSet, recipe: Recipe) -> _Weights:
    import torch

    n_image, n_text = training_set.image_views.shape[2], training_set.texts.shape[1]
    shapes = (
        (recipe.dim, n_image),
        (recipe.dim, n_text),
        (recipe.dim, recipe.n_units),
        (recipe.n_units, n_text),
    )
    image, text, units, layer = (
        (torch.randn(shape) * shape[1] ** -0.5).requires_grad_() for shape in shapes
    )
    bias = torch.zeros(recipe.n_units, requires_grad=True)
    log_scale = torch.tensor(np.log(INITIAL_LOGIT_SCALE), dtype=torch.float32, requires_grad=True)
    return _Weights(image, text, units, layer, bias, log_scale)


def _batches(
    training_set: TrainingSet, recipe: Recipe, *, units: tuple[float, float]
) -> Iterator[list[tuple[float, Tensor, Tensor]]]:
    """Yield, per step, the (loss weight, images, texts) of captions and of classes."""
    import torch

    views = torch.from_numpy(training_set.image_views / units[0])
    texts = torch.from_numpy(training_set.texts / units[1])
    caption_rows = torch.from_numpy(training_set.caption_rows)
    class_rows = torch.from_numpy(training_set.class_rows / units[0])
    class_texts = torch.from_numpy(training_set.class_texts / units[1])
    size, n_classes = recipe.batch_size, recipe.class_batch_size
    for _ in range(recipe.n_epochs):
        order = torch.randperm(len(caption_rows))
        for rows in order[: len(order) // size * size].split(size):
            view = torch.randint(len(views), (size,))
            caption = caption_rows[rows, torch.randint(caption_rows.shape[1], (size,))]
            classes = torch.randperm(len(class_rows))[:n_classes]
            template = torch.randint(len(class_texts), (n_classes,))
            yield [
                (1.0, views[view, rows], texts[caption]),
                (recipe.class_loss_weight, class_rows[classes], class_texts[template, classes]),
            ]


def _contrastive_loss(images: Tensor, texts: Tensor, weights: _Weights, recipe: Recipe) -> Tensor:
    """Return the symmetric cross entropy over one batch of pairs."""
    import torch
    from torch.nn import functional

    kept_images = functional.dropout(images, recipe.dropout)
    kept_texts = functional.dropout(texts, recipe.dropout)
    image_embeddings = functional.normalize(kept_images @ weights.image.T, dim=1)
    text_embeddings = functional.normalize(weights.embed_texts(kept_texts, recipe), dim=1)
    logits = weights.log_scale.exp() * image_embeddings @ text_embeddings.T
    own = torch.arange(len(logits))
    both = functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)
    return both / 2
