"""Figures of papers and cards, to be read beside a user's own.

They were measured on other photos than the user's, which every one of them says.
"""

from dataclasses import dataclass

from schemas.evaluation_detection import PublishedScore
from schemas.model import Space


@dataclass(frozen=True, slots=True)
class _PaperFigure:
    """mAP of image-to-image retrieval, plain and in the paper's space, by open_clip's names."""

    name: str
    tag: str
    space: Space
    plain: float
    improved: float


# Magistri et al., CVPR 2026, arXiv:2603.19862: means over 13 data sets.
_INTRA_MODAL = (
    _PaperFigure("ViT-B-32", "openai", "isoclip", 0.409, 0.451),
    _PaperFigure("ViT-B-16", "openai", "isoclip", 0.463, 0.528),
    _PaperFigure("ViT-L-14", "openai", "isoclip", 0.543, 0.607),
    _PaperFigure("ViT-B-16", "datacomp_xl_s13b_b90k", "isoclip", 0.563, 0.586),
)

# Herzog & Wang, CVPR 2026, arXiv:2603.16100.
_SEMANTIC = (
    _PaperFigure("ViT-B-32", "openai", "semantic", 0.416, 0.490),
    _PaperFigure("ViT-L-14", "openai", "semantic", 0.537, 0.613),
    _PaperFigure("ViT-B-16-SigLIP", "webli", "semantic", 0.572, 0.628),
    _PaperFigure("ViT-B-16-SigLIP2", "webli", "semantic", 0.586, 0.644),
)

_SOURCES: dict[Space, str] = {
    "isoclip": "mean of 13 other data sets (arXiv:2603.19862)",
    "semantic": "mean of other data sets (arXiv:2603.16100)",
}

# Shown where nobody published a figure for the collection's own model.
_ORIENTATION = ("ViT-B-32", "openai")

# Flickr8k test, 1,000 photos and 5,000 captions, from the model's card.
_POCKET_RECALL = {
    "text to image": {1: 0.267, 5: 0.553, 10: 0.687},
    "image to text": {1: 0.336, 5: 0.636, 10: 0.744},
}


def published_retrieval(model_id: str) -> list[PublishedScore]:
    """Return published mAP of image-to-image retrieval for a model, else for CLIP ViT-B/32.

    Parameters
    ----------
    model_id : str
        As in a collection: an architecture of open_clip, a slash and the tag of its weights.
    """
    name, _, tag = model_id.partition("/")
    asked = (name.removesuffix("-quickgelu"), tag)
    figures = [figure for figure in (*_INTRA_MODAL, *_SEMANTIC) if _key(figure) == asked]
    return [
        score
        for figure in figures or (*_INTRA_MODAL, *_SEMANTIC)
        if figures or _key(figure) == _ORIENTATION
        for score in _scores(figure)
    ]


def published_caption_recall(model_id: str) -> list[PublishedScore]:
    """Return the recall of captions that a model's card gives; none where we know of no card."""
    if model_id != "pocket":
        return []
    return [
        PublishedScore(
            method=f"pocket, {direction}",
            measure=f"R@{k}",
            value=value,
            note="Flickr8k test, 1,000 photos, 5,000 captions (model card)",
        )
        for direction, recall in _POCKET_RECALL.items()
        for k, value in recall.items()
    ]


def _key(figure: _PaperFigure) -> tuple[str, str]:
    return figure.name, figure.tag


def _scores(figure: _PaperFigure) -> list[PublishedScore]:
    values: dict[Space, float] = {"clip": figure.plain, figure.space: figure.improved}
    return [
        PublishedScore(
            method=f"{figure.name}/{figure.tag}, {space}",
            measure="mAP",
            value=value,
            note=_SOURCES[figure.space],
        )
        for space, value in values.items()
    ]
