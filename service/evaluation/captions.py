"""How well captions find their photos, and photos their captions, in each space."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from indexer.arrays import FloatArray, IntArray
from indexer.scoring.metrics import caption_recall_of_vectors
from schemas.errors import InputError
from schemas.evaluation import CaptionEvaluation, CaptionRow, UnusableSpace
from schemas.model import Space
from service.collection import Collection
from service.evaluation.caption_files import read_captions
from service.evaluation.measured_spaces import MeasuredSpace, SpaceChoice, measured_spaces
from service.evaluation.published import published_caption_recall
from service.texts import read_named_embeddings, text_embeddings
from service.vectors import space_vectors

TEXT_SPACES: tuple[Space, ...] = ("clip", "semantic")

RECALL_KS = (1, 5, 10)


@dataclass(frozen=True, slots=True)
class CaptionChoice:
    """Which captions are measured, and where their embeddings come from.

    `split` keeps the captions of that split, of a file that names splits. `limit` photos, drawn
    by `seed`, are kept with all their captions where there are more. `embeddings` is an NPZ file
    with the captions as names, for collections whose model is not at hand.
    """

    split: str | None = None
    limit: int | None = None
    seed: int = 0
    embeddings: Path | None = None


@dataclass(frozen=True, slots=True)
class _CaptionedPhotos:
    """Ids of photos, int64 ascending, with the texts and the row of the photo of each."""

    image_ids: IntArray
    texts: tuple[str, ...]
    photo_of: IntArray
    n_outside: int
    is_drawn: bool


_ALL_SPACES = SpaceChoice()
_ALL_CAPTIONS = CaptionChoice()


def evaluate_captions(
    collection: Collection,
    source: Path,
    *,
    where: str | None = None,
    spaces: SpaceChoice = _ALL_SPACES,
    captions: CaptionChoice = _ALL_CAPTIONS,
) -> CaptionEvaluation:
    """Measure recall at 1, 5 and 10 from captions to photos and back.

    Parameters
    ----------
    collection : Collection
    source : Path
        Of the captions; see :func:`service.evaluation.caption_files.read_captions`. Those of
        photos that the collection does not have are counted and left out, as are photos without
        a caption.
    where : str, optional
        SQL condition; only photos for which it holds are asked for.
    spaces : SpaceChoice
        Of those that take texts.
    captions : CaptionChoice

    Raises
    ------
    InputError
        If the captions, the condition or all spaces cannot be used.
    ModelError, MissingExtraError
        If the collection's model is needed and cannot be opened.
    """
    start = time.perf_counter()
    photos = _captioned_photos(collection, source, where=where, choice=captions)
    embeddings = _embedded(collection, photos.texts, given=captions.embeddings)
    rows: list[CaptionRow] = []
    unusable: list[UnusableSpace] = []
    for measured in measured_spaces(collection, spaces, only=TEXT_SPACES):
        if isinstance(measured, UnusableSpace):
            unusable.append(measured)
        else:
            rows.append(_row(collection, photos, embeddings, measured))
    if not rows:
        raise InputError("; ".join(dict.fromkeys(space.reason for space in unusable)))
    return CaptionEvaluation(
        collection=collection.store.uri,
        captions=str(source),
        n_photos=len(photos.image_ids),
        n_captions=len(photos.texts),
        n_outside=photos.n_outside,
        seed=captions.seed if photos.is_drawn else None,
        rows=rows,
        unusable=unusable,
        published=published_caption_recall(collection.store.info.model.id),
        seconds=time.perf_counter() - start,
    )


def _row(
    collection: Collection,
    photos: _CaptionedPhotos,
    embeddings: FloatArray,
    measured: MeasuredSpace,
) -> CaptionRow:
    image_ids, vectors = space_vectors(collection, measured.space_map)
    places = np.searchsorted(image_ids, photos.image_ids)
    if not np.array_equal(image_ids[np.minimum(places, len(image_ids) - 1)], photos.image_ids):
        raise InputError("photos were removed from the collection meanwhile; run it again")
    texts = measured.space_map.text_vectors(embeddings)
    recall = caption_recall_of_vectors(texts, vectors[places], photos.photo_of, ks=RECALL_KS)
    return CaptionRow(
        space=measured.space,
        n_dimensions=texts.shape[1],
        text_to_image=recall.text_to_image,
        image_to_text=recall.image_to_text,
    )


def _embedded(collection: Collection, texts: tuple[str, ...], *, given: Path | None) -> FloatArray:
    """Return unit embeddings (n_texts, d); each different text is embedded once."""
    distinct, text_of = np.unique(np.array(texts, dtype=object), return_inverse=True)
    if given is None:
        return text_embeddings(collection, distinct.tolist())[text_of]
    found = read_named_embeddings(given, dim=collection.store.info.model.embedding_dim)
    row_of = {name: row for row, name in enumerate(found.names)}
    missing = [text for text in distinct.tolist() if text not in row_of]
    if missing:
        raise InputError(
            f"{given} has no embedding of {len(missing):,} captions, {missing[0]!r} among them; "
            "its `names` must be the captions as they are written"
        )
    rows = np.array([row_of[text] for text in distinct.tolist()], dtype=np.int64)
    return found.embeddings[rows[text_of]]


def _captioned_photos(
    collection: Collection, source: Path, *, where: str | None, choice: CaptionChoice
) -> _CaptionedPhotos:
    read = read_captions(collection.store, source, split=choice.split)
    ids, texts = read.image_ids, np.array(read.texts, dtype=object)
    if where is not None:
        kept = np.isin(ids, collection.store.matching_ids(where))
        ids, texts = ids[kept], texts[kept]
    asked = np.unique(ids)
    if not len(asked):
        raise InputError(
            f"none of the {len(read.texts) + read.n_outside:,} captions in {source} is of a photo "
            "of the collection that was asked for; index their photos first, or widen --where"
        )
    is_drawn = choice.limit is not None and choice.limit < len(asked)
    if is_drawn:
        generator = np.random.default_rng(choice.seed)
        asked = np.sort(generator.choice(asked, choice.limit, replace=False))
        kept = np.isin(ids, asked)
        ids, texts = ids[kept], texts[kept]
    return _CaptionedPhotos(
        asked, tuple(texts.tolist()), np.searchsorted(asked, ids), read.n_outside, is_drawn
    )
