"""The photos of a view as a file to download."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response

from schemas.http import MAX_FOUND
from service.photos import ordered_ids
from service.search import find
from service.view_export import MEDIA_TYPES, ViewFormat, view_file
from service.web.answers import refusals
from service.web.parameters import ExportParameters
from service.web.routes.search import parsed_queries
from service.web.state import Served, Serving

router = APIRouter(tags=["photos"])

_NAMES: dict[ViewFormat, str] = {
    "csv": "photos.csv",
    "jsonl": "photos.jsonl",
    "parquet": "photos.parquet",
    "paths": "photos.paths",
}


@router.get(
    "/export",
    response_class=Response,
    responses={
        200: {"content": {kind: {} for kind in MEDIA_TYPES.values()}},
        **refusals(400, 404, 422, 503),
    },
)
async def export(serving: Served, parameters: Annotated[ExportParameters, Query()]) -> Response:
    """Return all photos of a list, or with `q` the best 10,000 of a search, as a file."""
    return await serving.queries.answer(partial(_exported, serving, parameters))


def _exported(serving: Serving, parameters: ExportParameters) -> Response:
    kind = parameters.format
    content = _searched(serving, parameters) if parameters.q else _listed(serving, parameters)
    headers = {"Content-Disposition": f'attachment; filename="{_NAMES[kind]}"'}
    return Response(content, media_type=MEDIA_TYPES[kind], headers=headers)


def _listed(serving: Serving, parameters: ExportParameters) -> bytes:
    where = serving.condition(parameters.where)
    image_ids = ordered_ids(serving.collection, order=parameters.sort, where=where)
    return view_file(serving.live.photo_table, image_ids, kind=parameters.format)


def _searched(serving: Serving, parameters: ExportParameters) -> bytes:
    found = find(
        serving.collection,
        parsed_queries(serving, parameters.q, parameters.minus),
        top_k=MAX_FOUND,
        where=serving.condition(parameters.where),
        space=parameters.space,
    )
    return view_file(
        serving.live.photo_table,
        found.image_ids,
        kind=parameters.format,
        similarities=found.similarities,
    )
