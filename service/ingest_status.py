"""Who writes to a collection, and how far that is."""

from typing import TYPE_CHECKING

from indexer.ingest import noted_progress
from indexer.lock import lock_holder
from indexer.store import local_directory
from schemas.http import IngestStatus
from schemas.results import RootReport

if TYPE_CHECKING:
    from service.collection import Collection


def ingest_status(collection: "Collection") -> IngestStatus:
    """Return whether a collection is written to, how far that is, and what was committed.

    Whoever indexes tells how far it is once all folders were looked through; others that write,
    as to give labels, never do. The numbers stand at the end while the search index is built.

    Parameters
    ----------
    collection : Collection
        Of a remote one only the writers on this machine are known.
    """
    store = collection.store
    directory = local_directory(store.uri)
    writer = lock_holder(directory)
    progress = None if writer is None else noted_progress(directory)
    return IngestStatus(
        is_running=writer is not None,
        writer=writer,
        n_done=None if progress is None else progress.n_done,
        n_total=None if progress is None else progress.n_total,
        n_failed=None if progress is None else progress.n_failed,
        n_images=store.count_images(),
        version=store.version,
        roots=[RootReport.model_validate(row) for row in store.roots().to_pylist()],
    )
