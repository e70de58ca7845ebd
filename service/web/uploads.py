"""Photos that clients sent to search by, for a while."""

import secrets
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from threading import Lock

from schemas.errors import InputError
from service.search import EncodedPhoto

KEPT_UPLOADS = 1000
"""Only what the encoder made of them is kept: 5 KB each at 1,280 features."""

KEPT_FOR = timedelta(hours=6)


class Uploads:
    """The last photos that were sent, by ids that cannot be guessed.

    Parameters
    ----------
    now : callable
        Returns the time, with a zone.
    """

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now
        self._kept: OrderedDict[str, tuple[EncodedPhoto, datetime]] = OrderedDict()
        self._lock = Lock()

    def keep(self, photo: EncodedPhoto) -> tuple[str, datetime]:
        """Keep a photo; return its id and until when it can be asked for."""
        upload_id, expires_at = secrets.token_urlsafe(12), self._now() + KEPT_FOR
        with self._lock:
            self._kept[upload_id] = (photo, expires_at)
            while len(self._kept) > KEPT_UPLOADS:
                self._kept.popitem(last=False)
        return upload_id, expires_at

    def photo(self, upload_id: str) -> EncodedPhoto:
        """Return a photo that was sent.

        Raises
        ------
        InputError
            If there is none of this id any more.
        """
        with self._lock:
            photo, expires_at = self._kept.get(upload_id, (None, None))
        if photo is None or expires_at is None or expires_at < self._now():
            raise InputError(
                f"there is no photo upload:{upload_id} (any more); send the photo again"
            )
        return photo
