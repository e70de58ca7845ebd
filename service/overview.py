"""What a collection holds, as a service tells it at first."""

from collections import Counter
from functools import cache
from importlib.metadata import version

import numpy as np

from schemas.http import Overview
from schemas.model import Space
from service.collection import Collection, collection_report

MAX_LABELS = 1000


@cache
def isophote_version() -> str:
    """Return which release this is; looking it up reads a file."""
    return version("isophote")


def overview(collection: Collection, *, allows_changes: bool) -> Overview:
    """Return what a collection holds, what it was made with, and what can be asked of it.

    Parameters
    ----------
    collection : Collection
        With its photo table.
    allows_changes : bool
        Whether the service may move photos.
    """
    table = collection.photo_table
    if table is None:
        raise ValueError("the collection was opened without its photo table")
    report = collection_report(collection)
    model = report.info.model
    spaces: list[Space] = [*model.spaces, "semantic"]
    return Overview(
        **report.model_dump(include={"collection", "n_failures", "n_bytes"}),
        info=report.info,
        roots=report.roots,
        ann=report.ann,
        version=table.version,
        n_images=len(table),
        n_rated=int(np.isfinite(table.numbers("quality")).sum()),
        n_scored=int(np.isfinite(table.numbers("anomaly")).sum()),
        formats=dict(Counter(table.words("format")).most_common()),
        label_names=[name for name, _ in Counter(table.words("label")).most_common(MAX_LABELS)],
        spaces=spaces,
        default_image_space=model.default_image_space,
        can_embed_words=report.info.source is not None,
        can_embed_photos=report.info.source is not None and model.preprocessing is not None,
        has_files=report.info.origin != "vectors",
        allows_changes=allows_changes,
        isophote_version=isophote_version(),
    )
