"""Anomaly references as they are stored, and the scores they give."""

import io
import zipfile
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from indexer.arrays import FloatArray, IntArray
from indexer.rows import AnomalyScorer
from indexer.scoring.anomaly import NormalStatistics, anomaly_scores, neighbour_distances
from indexer.store import Store
from schemas.anomalies import NeighbourScoring, ReferenceSettings, TextScoring
from schemas.errors import CollectionDamagedError
from schemas.tables import ANOMALY_FIELDS, REFERENCES_SCHEMA

WORD_SEPARATOR = "; "

ANOMALY_COLUMNS = ("anomaly", "anomaly_reference", *(field.name for field in ANOMALY_FIELDS))
"""Columns of `images` that a score fills, and that are null without."""


@dataclass(frozen=True, slots=True)
class TextReference:
    """Normal photos by their similarity to texts (`indexer.scoring.anomaly.anomaly_scores`).

    `scoring` is that of the settings. `dictionary` are the names of the m texts; those of the C
    classes are in the settings.
    """

    name: str
    settings: ReferenceSettings
    scoring: TextScoring
    statistics: NormalStatistics
    dictionary: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NeighbourReference:
    """Normal photos themselves: unit vectors float32 (n, d) in the space `clip`, and ids (n,).

    `scoring` is that of the settings. The id is -1 for a photo outside the collection.
    """

    name: str
    settings: ReferenceSettings
    scoring: NeighbourScoring
    normal: FloatArray
    image_ids: IntArray


def reference_row(reference: TextReference | NeighbourReference, created_at: datetime) -> pa.Table:
    """Return a reference as a row of REFERENCES_SCHEMA; it is not the active one."""
    row = {
        "name": reference.name,
        "created_at": created_at,
        "is_active": False,
        "settings": reference.settings.model_dump_json(),
        "arrays": _packed(reference),
    }
    return pa.Table.from_pylist([row], schema=REFERENCES_SCHEMA)


def load_reference(store: Store, name: str) -> TextReference | NeighbourReference:
    """Return a reference of a collection.

    Raises
    ------
    ValueError
        If there is no such reference.
    CollectionDamagedError
        If what is stored of it cannot be read.
    """
    rows = {row["name"]: row["settings"] for row in store.references().to_pylist()}
    packed = store.reference_arrays(name)
    try:
        settings = ReferenceSettings.model_validate_json(rows[name])
        with np.load(io.BytesIO(packed)) as file:
            arrays = dict(file)
        scoring = settings.scoring
        if isinstance(scoring, NeighbourScoring):
            return NeighbourReference(name, settings, scoring, **arrays)
        names = tuple(map(str, arrays.pop("dictionary_names").tolist()))
        return TextReference(name, settings, scoring, NormalStatistics(**arrays), names)
    except (ValueError, KeyError, TypeError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise CollectionDamagedError(
            f"the anomaly reference {name!r} in {store.uri!r} cannot be read; make it anew with "
            "`isophote anomalies fit`"
        ) from error


def active_name(store: Store) -> str | None:
    """Return the name of the reference by which new photos are scored, or None."""
    references = store.references()
    names: list[str] = references.filter(references["is_active"])["name"].to_pylist()
    return names[0] if names else None


def active_scorer(store: Store) -> AnomalyScorer | None:
    """Return what scores photos by the active reference of a collection, or None."""
    name = active_name(store)
    return None if name is None else partial(anomaly_columns, load_reference(store, name))


def anomaly_columns(
    reference: TextReference | NeighbourReference,
    vectors: FloatArray,
    image_ids: IntArray | None = None,
) -> dict[str, Any]:
    """Return the columns of `images` that say how anomalous photos are.

    Parameters
    ----------
    reference : TextReference or NeighbourReference
    vectors : float32 of shape (n, d)
        Unit length, in the space `clip`.
    image_ids : int64 of shape (n,), optional
        Of photos of the collection. One that is among the normal photos of a neighbour reference
        is not counted as its own neighbour.

    Returns
    -------
    dict of n values each
        By the names of ANOMALY_COLUMNS. The same for a photo alone and in any company.
    """
    if isinstance(reference, TextReference):
        columns = _text_columns(reference, vectors)
    else:
        columns = _neighbour_columns(reference, vectors, image_ids)
    return {**columns, "anomaly_reference": pa.repeat(reference.name, len(vectors))}


def _text_columns(reference: TextReference, vectors: FloatArray) -> dict[str, Any]:
    scored = anomaly_scores(
        vectors,
        reference.statistics,
        external_weight=reference.scoring.external_weight,
        k=reference.scoring.neighbours,
    )
    class_names = pa.array([normal.name for normal in reference.settings.classes], pa.string())
    words = pa.array(reference.dictionary, pa.string())
    of_photos = [words.take(pa.array(entries)) for entries in scored.words.T]
    return {
        "anomaly": scored.scores,
        "anomaly_class": class_names.take(pa.array(scored.classes)),
        "anomaly_internal": scored.internal,
        "anomaly_external": scored.external,
        "anomaly_words": pc.binary_join_element_wise(*of_photos, WORD_SEPARATOR),
    }


def _neighbour_columns(
    reference: NeighbourReference, vectors: FloatArray, image_ids: IntArray | None
) -> dict[str, Any]:
    k = reference.scoring.nearest
    distances = neighbour_distances(vectors, reference.normal, k=k)
    if image_ids is not None:
        # A photo is its own nearest neighbour, so that without it the next is the k-th.
        own = np.flatnonzero(np.isin(image_ids, reference.image_ids))
        distances[own] = neighbour_distances(vectors[own], reference.normal, k=k + 1)
    unknown = {field.name: pa.nulls(len(vectors), field.type) for field in ANOMALY_FIELDS}
    return {"anomaly": distances, **unknown}


def _packed(reference: TextReference | NeighbourReference) -> bytes:
    buffer = io.BytesIO()
    if isinstance(reference, NeighbourReference):
        np.savez(buffer, normal=reference.normal, image_ids=reference.image_ids)
    else:
        known = reference.statistics
        np.savez(
            buffer,
            label_embeddings=known.label_embeddings,
            dictionary=known.dictionary,
            internal_mean=known.internal_mean,
            internal_std=known.internal_std,
            external_mean=known.external_mean,
            external_std=known.external_std,
            dictionary_names=np.array(reference.dictionary, dtype=np.str_),
        )
    return buffer.getvalue()
