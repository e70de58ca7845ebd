"""The collection as a whole: what it holds, and which files it could not take in."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response

from schemas.http import Health, Overview
from schemas.photos import FailurePage
from service.failures import list_failures
from service.overview import isophote_version, overview
from service.web.answers import json_answer, refusals
from service.web.parameters import FailureParameters
from service.web.state import Served, Serving

router = APIRouter(tags=["collection"])
health_router = APIRouter(tags=["collection"])


@health_router.get("/health", response_model=Health)
async def health() -> Response:
    """Say that the server answers."""
    return json_answer(Health(isophote_version=isophote_version()))


@router.get("/collection", response_model=Overview)
async def collection(serving: Served) -> Response:
    """Tell what the collection holds, what it was made with, and what can be asked of it."""
    return await serving.queries.answer(
        lambda: json_answer(overview(serving.collection, allows_changes=serving.allows_changes))
    )


@router.get("/failures", response_model=FailurePage, responses=refusals(400, 422))
async def failures(serving: Served, parameters: Annotated[FailureParameters, Query()]) -> Response:
    """List the files that could not be indexed, and why."""
    return await serving.queries.answer(partial(_listed, serving, parameters))


def _listed(serving: Serving, parameters: FailureParameters) -> Response:
    where = serving.failure_condition(parameters.where)
    listed = list_failures(serving.collection, stage=parameters.stage, where=where).failures
    page = listed[parameters.offset : parameters.offset + parameters.limit]
    return json_answer(
        FailurePage(
            version=serving.live.photo_table.version,
            n_failures=len(listed),
            offset=parameters.offset,
            failures=page,
        )
    )
