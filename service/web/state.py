"""What all routes of a running service share."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from indexer.settings import Settings
from schemas.errors import ForbiddenError
from schemas.tables import FAILURES_SCHEMA
from service.collection import Collection
from service.conditions import safe_condition
from service.photo_processes import PhotoProcesses
from service.thumbnails import Thumbnails
from service.web.jobs import DuplicateSearches
from service.web.live import LiveCollection
from service.web.query_threads import QueryThreads
from service.web.uploads import Uploads


@dataclass(frozen=True, slots=True)
class Serving:
    """A collection that is served, and what serves it.

    `queries` are the threads in which routes ask the collection, `files` those in which they wait
    for files and for the processes that decode them. `allows_changes` says whether photos may be
    moved to the trash and brought back.
    """

    settings: Settings
    live: LiveCollection
    queries: QueryThreads
    files: QueryThreads
    photo_processes: PhotoProcesses
    thumbnails: Thumbnails
    uploads: Uploads
    duplicate_searches: DuplicateSearches
    allows_changes: bool

    @property
    def collection(self) -> Collection:
        """The collection as of its last commit that was seen; take it once per request."""
        return self.live.collection

    def condition(self, where: str | None) -> str | None:
        """Return a client's filter as the store may be asked it.

        Raises
        ------
        FilterError
            If it is anything but one condition on columns of photos.
        """
        if where is None or not where.strip():
            return None
        return safe_condition(where, columns=self.collection.store.image_columns)

    def failure_condition(self, where: str | None) -> str | None:
        """Return a client's filter of failures; see :meth:`condition`."""
        if where is None or not where.strip():
            return None
        return safe_condition(where, columns=FAILURES_SCHEMA)

    def start(self) -> None:
        """Prepare for the first questions, and follow the collection."""
        self.live.start()
        self.files.begin(self.photo_processes.start)

    def close(self) -> None:
        """Let go of all; what is being moved to the trash is moved to its end."""
        self.live.close()
        self.duplicate_searches.close()
        self.photo_processes.close()
        self.files.close()
        self.queries.close()


async def serving_of(request: Request) -> Serving:
    """Return what the routes of this app share; a dependency of theirs.

    Async, as FastAPI would call it in a thread otherwise, at each request.
    """
    serving: Serving = request.app.state.serving
    return serving


Served = Annotated[Serving, Depends(serving_of)]
"""What the routes share, as a parameter of a route."""


def require_changes(serving: Serving) -> None:
    """Refuse a change where none is allowed.

    Raises
    ------
    ForbiddenError
    """
    if not serving.allows_changes:
        raise ForbiddenError(
            "this server moves no photos; start it with `isophote serve --allow-changes`"
        )
