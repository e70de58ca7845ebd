"""A collection that is kept current while other processes write to it."""

import logging
from pathlib import Path
from threading import Event, Lock, Thread

import pyarrow as pa

from indexer.encoders.encoder import Encoder
from indexer.growing_gallery import open_served_gallery
from indexer.settings import Settings
from indexer.store import is_remote, open_store
from schemas.errors import IsophoteError
from schemas.model import Space
from service.collection import Collection
from service.photo_table import PhotoTable

REFRESH_SECONDS = 1.0
"""How long after a commit its photos may be missing. Looking for one takes 0.2 ms."""

logger = logging.getLogger(__name__)


class LiveCollection:
    """The collection as of the last commit that was seen.

    Parameters
    ----------
    settings : Settings
    encoder : Encoder, optional
        The collection's own, opened when first needed, by default.

    Raises
    ------
    CollectionError
        If the collection cannot be opened.
    """

    def __init__(self, settings: Settings, encoder: Encoder | None = None) -> None:
        self._settings = settings
        self._encoder = encoder
        self._made = _identity(settings.collection)
        self._collection = self._opened()
        self._refreshing = Lock()
        self._stopping = Event()
        self._thread: Thread | None = None

    @property
    def collection(self) -> Collection:
        """What there is now; it stays as it is while it is used."""
        return self._collection

    @property
    def photo_table(self) -> PhotoTable:
        """The photos of the collection as it is now."""
        table = self._collection.photo_table
        if table is None:  # of a Collection opened here it never is
            raise ValueError("the collection has no photo table")
        return table

    def start(self) -> None:
        """Open what the first search needs, and follow commits, in a thread of its own."""
        self._thread = Thread(target=self._follow, name="follow", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Follow no longer."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def refresh(self) -> None:
        """Take in what was committed since; called after a change, too, so that it is seen at once.

        Raises
        ------
        CollectionError
            If the collection cannot be read now.
        """
        with self._refreshing:
            made = _identity(self._settings.collection)
            if made != self._made and self._is_another():
                # Nothing of the old one holds.
                self._collection = self._opened()
            elif self._collection.store.version != self.photo_table.version:
                table = PhotoTable.read(self._collection.store)
                self._collection = self._collection.followed_by(table)
                # Of the table before; Arrow would keep it for itself.
                pa.default_memory_pool().release_unused()
            self._made = made

    def _is_another(self) -> bool:
        """Return whether another collection was made at the same place."""
        present = open_store(self._settings.collection).info
        return present.created_at != self._collection.store.info.created_at

    def _opened(self) -> Collection:
        store = open_store(self._settings.collection)
        return Collection(
            store,
            self._settings,
            self._encoder,
            photo_table=PhotoTable.read(store),
            open_gallery=open_served_gallery,
        )

    def _follow(self) -> None:
        self._warm_up()
        told = ""
        while not self._stopping.wait(REFRESH_SECONDS):
            try:
                self.refresh()
                told = ""
            except (IsophoteError, OSError, RuntimeError) as error:
                # Answered from what is known; said once, not every second.
                if str(error) != told:
                    logger.warning("%s", error)
                told = str(error)

    def _warm_up(self) -> None:
        model = self._collection.store.info.model
        spaces: tuple[Space, ...] = (model.default_image_space, "clip")
        try:
            for space in dict.fromkeys(spaces):
                self._collection.gallery(space)
            self._collection.text_embedding("a photo")
        except IsophoteError as error:
            logger.warning("%s", error)


def _identity(uri: str) -> tuple[int, ...]:
    """Return what changes when another collection is made at a place; and at times without."""
    if is_remote(uri):
        return ()
    try:
        status = (Path(uri) / "collection.lance").stat()
    except OSError:
        return ()
    return (status.st_dev, status.st_ino, status.st_ctime_ns)
