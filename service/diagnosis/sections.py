"""The plots of a diagnosis: what each measures, says in words, and how it is to be read."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from indexer.arrays import DoubleArray, FloatArray, IntArray
from indexer.scoring.diagnostics import (
    LabelSimilarities,
    class_pairs,
    cross_pairs,
    gap_positions,
    histogram_overlap,
    independent_rows,
    label_similarities,
    modality_gap,
    pair_similarities,
    principal_plane,
    recovered_similarities,
    similarity_histograms,
)
from indexer.scoring.opinion import is_constant, srcc
from indexer.scoring.projection import inter_modal_spectrum, with_bias
from schemas.model import Space
from service.diagnosis.material import Material, Missing, PlotLeftOutError, require, vectors_in
from service.diagnosis.plots import (
    HistogramPanel,
    OpinionPanel,
    gap_png,
    histograms_alt,
    histograms_png,
    label_bias_png,
    map_png,
    opinions_png,
    spectrum_png,
)
from service.examples import Labels
from service.texts import NamedEmbeddings

# Drawn anew, 1,000 pairs of two normal distributions overlap by 0.013 more or less (standard
# deviation), 100 by 0.04.
FEW_PAIRS = 1000

# More rows of names cannot be read beside the histograms.
SHOWN_LABELS = 16

# Nothing is read off these bins but the shape, and single photos may stand in some.
LABEL_BINS = 40

# The recovery of similarities takes the square of this in memory.
RECOVERED_PHOTOS = 200

QUALITY_CUES = ("quality_sim", "magnitude", "quality")
_MIN_RATED = 3


@dataclass(frozen=True, slots=True)
class Section:
    """A plot with its words.

    `finding` tells the numbers in words, `reading` how to read the picture, `alt` stands for the
    picture.
    """

    png: bytes
    finding: str
    reading: str
    alt: str
    numbers: Mapping[str, float]


def class_similarities(material: Material) -> Section:
    """Draw the similarities of photos that share a label and of photos that do not, per space."""
    labelled = require(material.labelled)
    names, class_of = np.unique(np.array(labelled.labels), return_inverse=True)
    if len(names) < 2:  # noqa: PLR2004 - "different" needs two
        raise PlotLeftOutError(
            f"it compares photos of different labels, and all {len(class_of):,} have the label "
            f"{str(names[0])!r}"
        )
    same, other = class_pairs(class_of, n_pairs=material.n_pairs, seed=material.seed)
    if not len(same):
        raise PlotLeftOutError("no two photos share a label")
    default = material.collection.store.info.model.default_image_space
    overlaps, panels, notes = {}, [], []
    for space, found in _vectors_by_space(material, labelled):
        if isinstance(found, Missing):
            notes.append(f"The space {space} is not shown: {found.reason}.")
            continue
        histograms = similarity_histograms(
            pair_similarities(found, found, same), pair_similarities(found, found, other)
        )
        overlaps[space] = histogram_overlap(*histograms.shares)
        marked = f"{space} (default)" if space == default else space
        panels.append(HistogramPanel(f"{marked}: overlap {overlaps[space]:.2f}", histograms))
    series = ("same label", "different labels")
    told = ", ".join(f"{value:.2f} in {space}" for space, value in overlaps.items())
    if len(same) < FEW_PAIRS:
        notes.append("With so few pairs of one label, small differences say nothing.")
    return Section(
        png=histograms_png(panels, series=series),
        finding=(
            f"Of {len(class_of):,} photos with {len(names):,} labels, {len(same):,} pairs with the "
            f"same label and {len(other):,} with different ones overlap by {told}. "
            f"{' '.join(notes)}"
        ).strip(),
        reading=(
            "Look for two separate hills, those of one label on the right: 0 means that one "
            "threshold tells all pairs apart, 1 that no threshold tells any. Hills upon each other "
            "are a bad picture: similarity in this space says little about these labels. "
            "The space semantic compares photos by what class names describe; do not use it where "
            "the label is not the main thing in the photo, such as its weather or time of day. "
            "Pairs are not rankings: `isophote eval retrieval` measures those."
        ),
        alt="; ".join(histograms_alt(panel, series=series) for panel in panels),
        numbers={f"overlap_{space}": value for space, value in overlaps.items()},
    )


def modality_similarities(material: Material) -> Section:
    """Draw the similarities among photos, between photos and texts, and among texts."""
    images, texts = _require_two_photos(material), require(material.texts).embeddings
    seed, n_pairs = material.seed, material.n_pairs
    crossed = cross_pairs(len(images), len(texts), n_pairs=n_pairs, seed=seed)
    samples = {
        "photo and photo": pair_similarities(images, images, _pairs_among(images, material)),
        "photo and text": pair_similarities(images, texts, crossed),
    }
    if len(texts) > 1:
        among = _pairs_among(texts, material)
        samples["text and text"] = pair_similarities(texts, texts, among)
    histograms = similarity_histograms(*samples.values())
    overlap = histogram_overlap(*histograms.shares[:2])
    panel = HistogramPanel("space clip", histograms)
    means = {name: float(values.mean()) for name, values in samples.items()}
    told = ", ".join(f"{mean:.2f} between {name}" for name, mean in means.items())
    return Section(
        png=histograms_png([panel], series=tuple(samples)),
        finding=(
            f"The mean cosine similarity is {told} ({len(images):,} photos, {len(texts):,} "
            f"{material.text_kind}). Photo pairs and photo-text pairs overlap by {overlap:.2f}. "
            + _recovery_told(images, texts)
        ),
        reading=(
            "Each kind of pair usually has a hill of its own, and that is no fault: only the order "
            "within one kind means something. A threshold found for photo pairs must not be used "
            "for words. A bad picture is a hill of photo pairs that is narrow and close to 1: this "
            "space then hardly tells photos apart."
        ),
        alt=histograms_alt(panel, series=tuple(samples)),
        numbers={
            "overlap": overlap,
            **{f"mean_{name.replace(' ', '_')}": mean for name, mean in means.items()},
        },
    )


def gap_between_modalities(material: Material) -> Section:
    """Draw photos and texts along the line through their means."""
    images, texts = material.images, require(material.texts).embeddings
    gap = modality_gap(images, texts)
    positions = gap_positions(images, texts)
    histograms = similarity_histograms(*positions)
    overlap = histogram_overlap(*histograms.shares)
    spreads = [
        float(np.sqrt(2 - 2 * min(_mean_length(part) ** 2, 1.0))) for part in (images, texts)
    ]
    return Section(
        png=gap_png(*positions, histograms),
        finding=(
            f"The mean of {len(images):,} photos and that of {len(texts):,} {material.text_kind} "
            f"are {gap:.2f} apart. For comparison: two photos are {spreads[0]:.2f} apart (root "
            f"mean square), two texts {spreads[1]:.2f}. Along the line through both means they "
            f"overlap by {overlap:.2f}."
        ),
        reading=(
            "Unit vectors are at most 2 apart; 0 would mean that photos and texts share a centre. "
            "A gap with two hills that do not touch is what contrastive training leaves in nearly "
            "every model. It harms neither search by photo nor the order of hits for words, but "
            "scores that add up similarities of both kinds must correct for it."
        ),
        alt=(
            f"Two histograms along one line: the mean of photos is {gap:.2f} above that of texts, "
            f"and they overlap by {overlap:.2f}."
        ),
        numbers={"gap": gap, "overlap": overlap},
    )


def projector_spectrum(material: Material) -> Section:
    """Draw the singular values of the inter-modal operator, and the band that is kept of them."""
    store = material.collection.store
    model, band, projectors = store.info.model, store.info.band, store.projectors
    if band is None or projectors.image_weight is None or "isoclip" not in model.spaces:
        raise PlotLeftOutError(
            f"the space isoclip has no band here: the image projector of {model.id!r} is not known "
            "to be linear, or the features before it were not stored"
        )
    values = inter_modal_spectrum(
        with_bias(projectors.image_weight, projectors.image_bias),
        with_bias(projectors.text_weight, projectors.text_bias),
    ).singular_values
    rank = len(values)
    kept = values[band.k_top : rank - band.k_bottom]
    share = float(np.sum(kept**2) / np.sum(values**2))
    origin = (
        "a default, nobody published one"
        if store.info.band_is_default
        else ("published for the model or chosen")
    )
    return Section(
        png=spectrum_png(values, k_top=band.k_top, k_bottom=band.k_bottom),
        finding=(
            f"The inter-modal operator has rank {rank:,}. The {band.k_top:,} strongest and "
            f"{band.k_bottom:,} weakest directions are left out ({origin}); the {len(kept):,} kept "
            f"hold {share:.0%} of the squared singular values. The strongest is "
            f"{values[0] / values[-1]:,.0f} times the weakest."
        ),
        reading=(
            "The strongest directions serve all pairs alike, the weakest a single modality; the "
            "space isoclip compares photos by the band between. A good band begins after the steep "
            "fall on the left and ends before the one on the right; a curve without either has no "
            "such ends, and isoclip is then unlikely to help. Another band needs a new collection: "
            "`isophote index --band TOP BOTTOM`."
        ),
        alt=(
            f"A falling curve of {rank:,} singular values from {values[0]:.3g} to "
            f"{values[-1]:.3g}; numbers {band.k_top + 1:,} to {rank - band.k_bottom:,} are marked "
            "as kept."
        ),
        numbers={"rank": rank, "kept": len(kept), "kept_share": share},
    )


def map_of_modalities(material: Material) -> Section:
    """Draw photos and texts on the plane that shows most of both."""
    images, texts = material.images, require(material.texts).embeddings
    if images.shape[1] < 2:  # noqa: PLR2004 - a plane
        raise PlotLeftOutError("the embeddings have a single dimension")
    labels = material.label_texts
    shown = np.empty((0, images.shape[1]), np.float32)
    if not isinstance(labels, Missing) and material.texts is not labels:
        shown = labels.embeddings
    plane = principal_plane(images, np.concatenate([texts, shown]))
    share = float(plane.shares.sum())
    spread, text_spread = (
        float(np.sqrt(part.var(axis=0).sum())) for part in (plane.images, plane.texts)
    )
    return Section(
        png=map_png(plane, labels=plane.texts[len(texts) :]),
        finding=(
            f"The plane shows {share:.0%} of the variance of {len(images):,} photos and "
            f"{len(texts) + len(shown):,} texts. In it the texts lie within {text_spread:.2f} of "
            f"their mean and the photos within {spread:.2f} (root mean square)."
        ),
        reading=(
            "Two clouds apart are the modality gap; a small dense cloud of texts beside a wide one "
            "of photos is the text cluster: words lie closer to each other, whatever they mean, "
            "than to photos of what they name. A plane that shows little of the variance, say "
            "under 20%, hides most of what happens; trust the histograms then."
        ),
        alt=(
            f"A map of two clouds of points: {len(images):,} photos, and "
            f"{len(texts) + len(shown):,} texts."
        ),
        numbers={"variance_share": share, "image_spread": spread, "text_spread": text_spread},
    )


def label_bias(material: Material) -> Section:
    """Draw how similar labels are to unrelated words and to photos."""
    labels = require(material.label_texts)
    dictionary = _without(require(material.dictionary), labels)
    named = _named_photos(material, labels)
    if isinstance(named, Missing):
        crossed = _cross(labels.embeddings, material.images, material)
        photos = pair_similarities(labels.embeddings, material.images, crossed)
        to_words = _to_words(labels, dictionary, material)
        samples = {"photos": photos, "dictionary words": to_words}
        return _label_bias_section(samples, n_words=len(dictionary.names))
    labels = named.labels
    own = np.stack([named.class_of, np.arange(len(named.images))], axis=1)
    samples = {
        "photos of that label": pair_similarities(labels.embeddings, named.images, own),
        "dictionary words": _to_words(labels, dictionary, material),
    }
    crossed = _cross(labels.embeddings, named.images, material)
    crossed = crossed[crossed[:, 0] != named.class_of[crossed[:, 1]]]
    if len(crossed):
        samples["other photos"] = pair_similarities(labels.embeddings, named.images, crossed)
    means = label_similarities(
        labels.embeddings, dictionary.embeddings, named.images, named.class_of
    )
    return _label_bias_section(
        samples, n_words=len(dictionary.names), means=means, names=labels.names
    )


def quality_opinions(material: Material) -> Section:
    """Draw the quality cues of the model against what people said."""
    opinions = require(material.opinions)
    cues = dict(_quality_cues(material, opinions.image_ids))
    if len(opinions.values) < _MIN_RATED or is_constant(opinions.values):
        raise PlotLeftOutError(
            f"{len(opinions.values):,} photos with opinions that differ are too few: it needs "
            f"{_MIN_RATED}"
        )
    ranked = {
        name: srcc(cue, opinions.values) for name, cue in cues.items() if not is_constant(cue)
    }
    if not ranked:
        raise PlotLeftOutError("the collection has no quality cue that differs between photos")
    panels = [
        OpinionPanel(f"{name}: SRCC {value:.2f}", cues[name]) for name, value in ranked.items()
    ]
    cue = material.collection.store.info.model.quality_cue
    told = ", ".join(f"{value:.2f} for {name}" for name, value in ranked.items())
    return Section(
        png=opinions_png(opinions.values, panels),
        finding=(
            f"Over {len(opinions.values):,} photos with opinion scores, the rank correlation "
            f"(SRCC) is {told}. This collection makes its quality from {cue}."
            + "".join(
                f" {name} is not known of all these photos, or does not differ."
                for name in QUALITY_CUES
                if name not in ranked
            )
        ),
        reading=(
            "quality_sim is how much the photo resembles prompts of good photos, magnitude the "
            "length of its embedding. A good cue climbs from the lower left to the upper right in "
            "a narrow band; a shapeless cloud, with an SRCC near 0, says that the cue knows "
            "nothing of quality here and should not be used. Where a lower score is a better "
            "photo, as with DMOS, the signs turn round."
        ),
        alt=f"Photos by opinion score and quality cue; SRCC is {told}.",
        numbers={f"srcc_{name}": value for name, value in ranked.items()},
    )


PLOTS: Mapping[str, tuple[str, Callable[[Material], Section]]] = MappingProxyType(
    {
        "class-similarities": ("Photos that share a label, and others", class_similarities),
        "modality-similarities": ("Photos and texts", modality_similarities),
        "modality-gap": ("The modality gap", gap_between_modalities),
        "spectrum": ("Singular values and the kept band", projector_spectrum),
        "map": ("A map of photos and texts", map_of_modalities),
        "label-bias": ("Labels, unrelated words and photos", label_bias),
        "opinions": ("Quality and opinions", quality_opinions),
    }
)
"""By name, which is that of the PNG file: a title, and what makes the plot."""


@dataclass(frozen=True, slots=True)
class _NamedPhotos:
    """Photos (n, d) with `class_of` (n,), rows of the labels that they have."""

    labels: NamedEmbeddings
    images: FloatArray
    class_of: IntArray


def _require_two_photos(material: Material) -> FloatArray:
    if len(material.images) < 2:  # noqa: PLR2004 - a pair
        raise PlotLeftOutError("it compares photos, and there is only one")
    return material.images


def _pairs_among(vectors: FloatArray, material: Material) -> IntArray:
    """Draw pairs of different rows."""
    rows = np.arange(len(vectors))
    return class_pairs(rows, n_pairs=material.n_pairs, seed=material.seed)[1]


def _cross(first: FloatArray, second: FloatArray, material: Material) -> IntArray:
    return cross_pairs(len(first), len(second), n_pairs=material.n_pairs, seed=material.seed)


def _vectors_by_space(
    material: Material, labelled: Labels
) -> Iterator[tuple[Space, FloatArray | Missing]]:
    collection = material.collection
    for space in collection.store.info.model.spaces:
        yield space, vectors_in(collection, labelled, collection.space_map(space))
    if isinstance(material.semantic, Missing):
        yield "semantic", material.semantic
    else:
        yield "semantic", vectors_in(collection, labelled, material.semantic)


def _mean_length(vectors: FloatArray) -> float:
    return float(np.linalg.norm(vectors.mean(axis=0, dtype=np.float64)))


def _recovery_told(images: FloatArray, texts: FloatArray) -> str:
    """Say what the similarities to texts tell of those among photos; arXiv:2603.16100, eq. 1-3."""
    photos = images[:RECOVERED_PHOTOS].astype(np.float64)
    try:
        anchors = texts[independent_rows(texts)]
    except ValueError:
        return (
            f"The texts do not span all {images.shape[1]:,} dimensions, so that similarities among "
            "photos do not follow from those to these texts."
        )
    recovered = recovered_similarities(anchors, anchors.astype(np.float64) @ photos.T)
    error = float(np.abs(recovered - photos @ photos.T).max())
    return (
        f"From the similarities to {len(anchors):,} of the texts alone, those among "
        f"{len(photos):,} photos follow with an error of at most {error:.0e}: both hold the same "
        "knowledge."
    )


def _without(dictionary: NamedEmbeddings, labels: NamedEmbeddings) -> NamedEmbeddings:
    """Return the entries that are no labels."""
    names = {name.casefold() for name in labels.names}
    kept = [row for row, name in enumerate(dictionary.names) if name.casefold() not in names]
    if not kept:
        raise PlotLeftOutError("every entry of the dictionary is a label; give another dictionary")
    return NamedEmbeddings(
        tuple(dictionary.names[row] for row in kept), dictionary.embeddings[kept]
    )


def _named_photos(material: Material, labels: NamedEmbeddings) -> _NamedPhotos | Missing:
    """Return the labelled photos whose label is among the names, and those names."""
    if isinstance(material.labelled, Missing):
        return material.labelled
    row_of = {name: row for row, name in enumerate(labels.names)}
    rows = np.array([row_of.get(label, -1) for label in material.labelled.labels])
    if not (rows >= 0).any():
        return Missing("no photo has a label that is among the names")
    kept = np.flatnonzero(rows >= 0)
    photos = Labels(
        material.labelled.image_ids[kept], tuple(material.labelled.labels[row] for row in kept)
    )
    used, class_of = np.unique(rows[kept], return_inverse=True)
    return _NamedPhotos(
        NamedEmbeddings(tuple(labels.names[row] for row in used), labels.embeddings[used]),
        vectors_in(material.collection, photos, material.collection.space_map("clip")),
        class_of,
    )


def _to_words(
    labels: NamedEmbeddings, dictionary: NamedEmbeddings, material: Material
) -> DoubleArray:
    crossed = _cross(labels.embeddings, dictionary.embeddings, material)
    return pair_similarities(labels.embeddings, dictionary.embeddings, crossed)


def _label_bias_section(
    samples: Mapping[str, DoubleArray],
    *,
    n_words: int,
    means: LabelSimilarities | None = None,
    names: tuple[str, ...] = (),
) -> Section:
    """Return the section; the first of the samples is of photos, the second of words."""
    averages = {name: float(values.mean()) for name, values in samples.items()}
    told = ", ".join(f"{mean:.2f} similar to {name}" for name, mean in averages.items())
    to_photos, to_words, *_ = averages.values()
    finding = f"On average a label is {told} ({n_words:,} words that are no labels)." + (
        " So the bias is there: words that mean something else come closer."
        if to_words > to_photos
        else " So this model hardly has the bias here: photos come closer than words do."
    )
    numbers = {f"mean_{name.replace(' ', '_')}": mean for name, mean in averages.items()}
    shown, shown_means = names, means
    if means is not None:
        n_closer = int(np.sum(means.dictionary > means.own_images))
        numbers["labels_closer_to_words"] = n_closer
        finding += (
            f" Of {len(names):,} labels, {n_closer:,} {'is' if n_closer == 1 else 'are'} closer to "
            "unrelated words than to photos with that label."
        )
        shown, shown_means = _shown_labels(names, means)
    if len(shown) < len(names):
        finding += f" {len(shown)} of them are shown on their own, evenly chosen by name."
    return Section(
        png=label_bias_png(
            similarity_histograms(*samples.values(), n_bins=LABEL_BINS),
            series=tuple(samples),
            means=shown_means,
            names=shown,
        ),
        finding=finding,
        reading=(
            "In most CLIP models texts cluster together whatever they mean: the hill of dictionary "
            "words lies to the right of those of photos, and triangles to the right of dots. That "
            "is the bias for which `isophote anomalies` corrects, by subtracting what normal "
            "photos score; without that a photo of something else can come closer to a label than "
            "its own photos. Worry where photos of a label (dots) are no closer to it than other "
            "photos (squares): the model does not know this word, so name it otherwise."
        ),
        alt=f"Histograms: on average a label is {told}.",
        numbers=numbers,
    )


def _shown_labels(
    names: tuple[str, ...], means: LabelSimilarities
) -> tuple[tuple[str, ...], LabelSimilarities]:
    """Choose labels evenly, so many that their names can be read."""
    rows = np.unique(np.linspace(0, len(names) - 1, min(SHOWN_LABELS, len(names))).astype(np.int64))
    shown = LabelSimilarities(
        means.dictionary[rows], means.own_images[rows], means.other_images[rows]
    )
    return tuple(names[row] for row in rows), shown


def _quality_cues(material: Material, image_ids: IntArray) -> Iterator[tuple[str, DoubleArray]]:
    """Yield the cues that are known of all rated photos."""
    rows = material.collection.store.images_by_id(image_ids, QUALITY_CUES)
    for name in QUALITY_CUES:
        if not rows[name].null_count:
            yield name, np.asarray(rows[name], dtype=np.float64)
