"""Photos: lists, one photo, its thumbnail and its file, and counts for filters."""

from collections.abc import AsyncIterator
from functools import partial
from pathlib import PurePosixPath
from typing import Annotated, BinaryIO
from urllib.parse import quote

import numpy as np
from fastapi import APIRouter, Path, Query
from fastapi.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from schemas.errors import UnknownPhotoError
from schemas.photos import (
    DateList,
    FolderList,
    Histogram,
    HistogramColumn,
    PhotoPage,
    PhotoRecord,
)
from service.photo_files import (
    FILE_COLUMNS,
    IndexedFile,
    content_type,
    is_shown_by_browsers,
    open_photo,
)
from service.photo_record import photo_record
from service.photos import dates, folders, histogram, list_photos
from service.web.answers import json_answer, refusals
from service.web.parameters import (
    HistogramParameters,
    OriginalParameters,
    PhotoId,
    PhotoListParameters,
    Selection,
    ThumbnailParameters,
)
from service.web.query_threads import QueryThreads
from service.web.state import Served, Serving

router = APIRouter(tags=["photos"])

# Under an address with `v` there is the same thumbnail for ever, as ids are never reused.
_FOR_EVER = "private, max-age=31536000, immutable"
_FOR_NOW = "private, max-age=60"

_CHUNK_BYTES = 2**18


@router.get("/images", response_model=PhotoPage, responses=refusals(400, 422))
async def images(serving: Served, parameters: Annotated[PhotoListParameters, Query()]) -> Response:
    """List all photos, or those that match, in an order."""

    def listed() -> Response:
        page = list_photos(
            serving.collection,
            order=parameters.sort,
            where=serving.condition(parameters.where),
            offset=parameters.offset,
            limit=parameters.limit,
        )
        return json_answer(page)

    return await serving.queries.answer(listed)


@router.get("/images/{image_id}", response_model=PhotoRecord, responses=refusals(404, 422))
async def image(serving: Served, image_id: PhotoId) -> Response:
    """Tell all there is to know of a photo, with the reasons for its scores in words."""
    # Where others wait for files: a network drive that is dead must not hold up searches.
    return await serving.files.answer(
        lambda: json_answer(photo_record(serving.collection, image_id))
    )


@router.get(
    "/images/{image_id}/thumbnail",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {}}}, **refusals(404, 410, 422)},
)
async def thumbnail(
    serving: Served, image_id: PhotoId, parameters: Annotated[ThumbnailParameters, Query()]
) -> Response:
    """Return a photo as a small upright sRGB JPEG."""

    def made() -> Response:
        jpeg = serving.thumbnails.thumbnail(_file(serving, image_id), parameters.side)
        kept = _FOR_NOW if parameters.v is None else _FOR_EVER
        return Response(jpeg, media_type="image/jpeg", headers={"Cache-Control": kept})

    return await serving.files.answer(made)


@router.get(
    "/images/{image_id}/original",
    response_class=StreamingResponse,
    responses={200: {"content": {"image/*": {}}}, **refusals(404, 410, 422)},
)
async def original(
    serving: Served, image_id: PhotoId, parameters: Annotated[OriginalParameters, Query()]
) -> Response:
    """Return a photo's file as it was indexed."""

    def opened() -> Response:
        file = _file(serving, image_id)
        headers = {
            "Content-Type": content_type(file.format),
            "Content-Disposition": _disposition(file, download=parameters.download),
            "Cache-Control": _FOR_NOW,
        }
        return _FileAnswer(open_photo(file), file.file_size or 0, serving.files, headers)

    return await serving.files.answer(opened)


@router.get("/histograms/{column}", response_model=Histogram, responses=refusals(400, 404, 422))
async def histograms(
    serving: Served,
    column: Annotated[HistogramColumn, Path(examples=["quality"])],
    parameters: Annotated[HistogramParameters, Query()],
) -> Response:
    """Count the photos by their value of a column."""

    def counted() -> Response:
        where = serving.condition(parameters.where)
        return json_answer(
            histogram(serving.collection, column, where=where, n_bins=parameters.bins)
        )

    return await serving.queries.answer(counted)


@router.get("/dates", response_model=DateList, responses=refusals(400, 422))
async def months(serving: Served, parameters: Annotated[Selection, Query()]) -> Response:
    """Count the photos by the month they were taken in."""
    return await serving.queries.answer(
        lambda: json_answer(dates(serving.collection, where=serving.condition(parameters.where)))
    )


@router.get("/folders", response_model=FolderList, responses=refusals(400, 422))
async def photo_folders(serving: Served, parameters: Annotated[Selection, Query()]) -> Response:
    """Count the photos by the folder they lie in."""
    return await serving.queries.answer(
        lambda: json_answer(folders(serving.collection, where=serving.condition(parameters.where)))
    )


class _FileAnswer(StreamingResponse):
    """A file, as long as it was when it was indexed; closed however the answer ends."""

    def __init__(
        self, stream: BinaryIO, n_bytes: int, threads: QueryThreads, headers: dict[str, str]
    ) -> None:
        super().__init__(
            _chunks(stream, n_bytes, threads), headers={"Content-Length": str(n_bytes), **headers}
        )
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._stream:
            await super().__call__(scope, receive, send)


async def _chunks(stream: BinaryIO, n_bytes: int, threads: QueryThreads) -> AsyncIterator[bytes]:
    while n_bytes and (
        chunk := await threads.answer(partial(stream.read, min(_CHUNK_BYTES, n_bytes)))
    ):
        n_bytes -= len(chunk)
        yield chunk


def _file(serving: Serving, image_id: int) -> IndexedFile:
    ids = np.array([image_id], np.int64)
    rows = serving.live.photo_table.photos(ids, FILE_COLUMNS).to_pylist()
    if not rows:
        raise UnknownPhotoError(image_id)
    return IndexedFile(**rows[0])


def _disposition(file: IndexedFile, *, download: bool) -> str:
    """Return whether a browser is to show a file or to save it, and under which name."""
    is_shown = is_shown_by_browsers(file.format) and not download
    name = PurePosixPath(file.path).name.encode("utf-8", "replace")
    return f"{'inline' if is_shown else 'attachment'}; filename*=UTF-8''{quote(name, safe='')}"
