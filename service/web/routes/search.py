"""Search by words, photos and uploads; photos like another one; uploads."""

from functools import partial
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from schemas.http import Upload
from schemas.photos import FoundPage
from service.photos import found_page
from service.search import EncodedPhoto, StoredPhoto, find, parse_sent_query
from service.search import Query as SearchQuery
from service.web.answers import json_answer, refusals
from service.web.parameters import PhotoId, SearchParameters, SimilarParameters
from service.web.state import Served, Serving

router = APIRouter(tags=["search"])


@router.get("/search", response_model=FoundPage, responses=refusals(400, 404, 422, 503))
async def search(serving: Served, parameters: Annotated[SearchParameters, Query()]) -> Response:
    """Find photos by words, by photos, or by both together.

    As `isophote search`: unit vectors of the queries are added with their weights, those of
    `minus` subtracted. Words are compared in the space `clip` unless `semantic` is asked for.
    Hits come best first; 10,000 of them can be paged through.
    """
    return await serving.queries.answer(partial(_search, serving, parameters))


@router.get(
    "/images/{image_id}/similar", response_model=FoundPage, responses=refusals(400, 404, 422)
)
async def similar(
    serving: Served, image_id: PhotoId, parameters: Annotated[SimilarParameters, Query()]
) -> Response:
    """Find the photos that are most like one of the collection, without itself."""
    queries = [SearchQuery(StoredPhoto(image_id))]
    return await serving.queries.answer(partial(_found, serving, queries, parameters))


@router.post(
    "/uploads",
    response_model=Upload,
    status_code=201,
    responses=refusals(400, 403, 408, 413, 422, 503),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"image/*": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def upload(serving: Served, request: Request) -> Response:
    """Send a photo to search by, as the body; then ask with q=upload:ID.

    Only what the model makes of it is kept, in memory, for six hours.
    """
    content = await request.body()
    return await serving.files.answer(partial(_kept_upload, serving, content))


def parsed_queries(serving: Serving, q: list[str], minus: list[str]) -> list[SearchQuery]:
    """Return what a client searches for.

    Raises
    ------
    InputError
        If a query is none, or names an upload that is not there any more.
    """
    signed = [*((text, 1) for text in q), *((text, -1) for text in minus)]
    return [
        parse_sent_query(text, uploads=serving.uploads.photo, sign=sign) for text, sign in signed
    ]


def _search(serving: Serving, parameters: SearchParameters) -> Response:
    queries = parsed_queries(serving, parameters.q, parameters.minus)
    return _found(serving, queries, parameters, include_self=parameters.include_self)


def _found(
    serving: Serving,
    queries: list[SearchQuery],
    parameters: SimilarParameters,
    *,
    include_self: bool = False,
) -> Response:
    collection = serving.collection
    found = find(
        collection,
        queries,
        top_k=parameters.top_k,
        where=serving.condition(parameters.where),
        space=parameters.space,
        include_self=include_self,
    )
    return json_answer(found_page(collection, found, offset=parameters.offset))


def _kept_upload(serving: Serving, content: bytes) -> Response:
    collection = serving.collection
    model = collection.store.info.model
    prepared = serving.photo_processes.prepare_upload(
        content, preprocessing=model.require_preprocessing()
    )
    encoded = collection.encoder.encode_images(prepared.pixels[np.newaxis])
    upload_id, expires_at = serving.uploads.keep(EncodedPhoto(encoded))
    answer = Upload(
        upload_id=upload_id,
        width=prepared.width,
        height=prepared.height,
        format=prepared.format,
        expires_at=expires_at,
    )
    return json_answer(answer, status=201)
