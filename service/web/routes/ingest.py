"""How far photos are indexed."""

from functools import partial

from fastapi import APIRouter
from fastapi.responses import Response

from schemas.http import IngestStatus
from service.ingest_status import ingest_status
from service.web.answers import json_answer, refusals
from service.web.state import Served, Serving

router = APIRouter(tags=["collection"])


@router.get("/ingest", response_model=IngestStatus, responses=refusals(503))
async def ingest(serving: Served) -> Response:
    """Tell who writes to the collection, and how far that is.

    Photos can be searched as soon as they are committed, once a minute or in blocks.
    """
    return await serving.queries.answer(partial(_ingest, serving))


def _ingest(serving: Serving) -> Response:
    return json_answer(ingest_status(serving.collection))
