"""The web service of one collection: its routes, and what they share."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from indexer.encoders.encoder import Encoder
from indexer.settings import Settings
from schemas.errors import IsophoteError
from service.overview import isophote_version
from service.photo_processes import PhotoProcesses
from service.thumbnail_cache import ThumbnailCache, default_cache_folder
from service.thumbnails import Thumbnails
from service.web.answers import (
    answer_http_error,
    answer_isophote_error,
    answer_wrong_parameters,
)
from service.web.guards.guarding import add_guards
from service.web.guards.tokens import Door
from service.web.jobs import DuplicateSearches
from service.web.live import LiveCollection
from service.web.metrics import CollectionSize, Metrics, metrics_router
from service.web.options import ServingOptions
from service.web.query_threads import QueryThreads
from service.web.routes import collection, duplicates, export, ingest, photos, rankings, search
from service.web.state import Serving
from service.web.static import page_router
from service.web.uploads import Uploads

API = "/api/v1"

MIN_QUERY_THREADS = 4
"""On a small machine: a slow question must not hold up all quick ones."""

FILE_THREADS = 16
"""They wait, for the disk and for the processes that decode."""

DESCRIPTION = """
Search, judge and clean a collection of photos.

What `isophote` answers on the command line, from the same functions. Every answer of status 400
or above has the body `{"error": {"code", "message"}}`; the message says what is wrong and the way
out. Requests that change something, and uploads, need the header `Isophote-Request: 1`.
"""


def build_app(
    settings: Settings,
    options: ServingOptions,
    *,
    cache: ThumbnailCache | None = None,
    encoder: Encoder | None = None,
) -> FastAPI:
    """Return the service of the collection that the settings name.

    Parameters
    ----------
    settings : Settings
    options : ServingOptions
    cache : ThumbnailCache, optional
        That of the user, with the options' limit, by default.
    encoder : Encoder, optional
        That of the collection by default.

    Raises
    ------
    CollectionError
        If the collection cannot be opened.
    """
    cache = cache or ThumbnailCache(
        default_cache_folder(), max_bytes=options.thumbnail_cache_mb * 10**6
    )
    serving = _serving(settings, options, cache, encoder)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        serving.start()
        try:
            yield
        finally:
            serving.close()

    app = FastAPI(
        title="Isophote",
        version=isophote_version(),
        description=DESCRIPTION,
        lifespan=lifespan,
        openapi_url=f"{API}/openapi.json",
        # Their pages load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
    )
    app.state.serving = serving
    _add_routes(app)
    metrics = Metrics(lambda: _size(serving))
    app.include_router(metrics_router(metrics))
    door = None if options.token is None else Door(options.token)
    add_guards(app, metrics=metrics, door=door, names=options.allowed_hosts)
    return app


def _serving(
    settings: Settings, options: ServingOptions, cache: ThumbnailCache, encoder: Encoder | None
) -> Serving:
    # One core for each of many searches, rather than all for each; see QueryThreads.
    settings = settings.model_copy(update={"encoder_threads": settings.encoder_threads or 1})
    processes = PhotoProcesses(n_processes=settings.threads)
    return Serving(
        settings=settings,
        live=LiveCollection(settings, encoder),
        queries=QueryThreads("query", max(MIN_QUERY_THREADS, settings.threads)),
        files=QueryThreads("files", FILE_THREADS),
        photo_processes=processes,
        thumbnails=Thumbnails(processes, cache, max_pixels=settings.max_pixels),
        uploads=Uploads(),
        duplicate_searches=DuplicateSearches(settings),
        allows_changes=options.allows_changes,
    )


def _add_routes(app: FastAPI) -> None:
    app.add_exception_handler(IsophoteError, answer_isophote_error)
    app.add_exception_handler(RequestValidationError, answer_wrong_parameters)
    app.add_exception_handler(HTTPException, answer_http_error)
    for module in (search, photos, rankings, duplicates, collection, ingest, export):
        app.include_router(module.router, prefix=API)
    app.include_router(collection.health_router)
    app.include_router(page_router())


def _size(serving: Serving) -> CollectionSize:
    table = serving.live.photo_table
    return CollectionSize(
        n_images=len(table),
        n_failures=serving.collection.store.count_failures(),
        version=table.version,
    )
