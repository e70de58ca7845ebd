"""Photos by quality and by anomaly, and what that means in this collection."""

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response

from schemas.anomalies import AnomalyReferenceList
from schemas.photos import AnomalyPage, QualityPage
from schemas.quality import QualityThresholds
from service.anomaly_references import list_references
from service.photos import anomaly_page, quality_page
from service.quality import quality_thresholds
from service.web.answers import json_answer, refusals
from service.web.parameters import AnomalyParameters, QualityParameters, Selection
from service.web.state import Served

router = APIRouter()


@router.get("/quality", tags=["quality"], response_model=QualityPage, responses=refusals(400, 422))
async def quality(serving: Served, parameters: Annotated[QualityParameters, Query()]) -> Response:
    """List the photos of the lowest or highest quality, with what holds each of them down."""

    def ranked() -> Response:
        page = quality_page(
            serving.collection,
            order=parameters.order,
            where=serving.condition(parameters.where),
            offset=parameters.offset,
            limit=parameters.limit,
        )
        return json_answer(page)

    return await serving.queries.answer(ranked)


@router.get(
    "/quality/thresholds",
    tags=["quality"],
    response_model=QualityThresholds,
    responses=refusals(400, 422),
)
async def thresholds(serving: Served, parameters: Annotated[Selection, Query()]) -> Response:
    """Tell what "the worst 5 %" means in this collection, as filters."""
    return await serving.queries.answer(
        lambda: json_answer(
            quality_thresholds(serving.collection, where=serving.condition(parameters.where))
        )
    )


@router.get(
    "/anomalies", tags=["anomalies"], response_model=AnomalyPage, responses=refusals(400, 422)
)
async def anomalies(serving: Served, parameters: Annotated[AnomalyParameters, Query()]) -> Response:
    """List the photos that belong least to what is normal, with the reason in words."""

    def ranked() -> Response:
        page = anomaly_page(
            serving.collection,
            reference=parameters.reference,
            where=serving.condition(parameters.where),
            offset=parameters.offset,
            limit=parameters.limit,
        )
        return json_answer(page)

    return await serving.queries.answer(ranked)


@router.get("/anomalies/references", tags=["anomalies"], response_model=AnomalyReferenceList)
async def references(serving: Served) -> Response:
    """List what photos can be called normal by."""
    return await serving.queries.answer(lambda: json_answer(list_references(serving.collection)))
