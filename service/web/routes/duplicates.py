"""Duplicates: groups of them, copies that move to the trash, and their way back."""

import asyncio
from contextlib import suppress
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Body, Depends, Query
from fastapi.responses import Response
from pydantic import Field

from schemas.errors import InputError, IsophoteError
from schemas.http import (
    MAX_PAGE,
    ApplyRequest,
    DuplicatesPage,
    DuplicatesRunning,
    UndoRequest,
)
from schemas.tiers import Strictness, Tier
from schemas.trash import RestoreSummary, TrashList, TrashSummary
from service.duplicates.keepers import Preference
from service.duplicates.material import Asked
from service.trash.restoring import list_trash, trash_of
from service.web.answers import json_answer, refusals
from service.web.jobs import DuplicateQuestion
from service.web.parameters import MAX_OFFSET, Selection, Text
from service.web.state import Served, Serving, require_changes

MAX_PREFERRED = 20

router = APIRouter(tags=["duplicates"])


class DuplicatesParameters(Selection):
    """Of groups of duplicates."""

    tier: Tier = Field(
        default="near",
        description="How much alike: the same files; the same decoded pixels; one made from the "
        "other by resizing, recompressing, mirroring, turning, light cropping or editing; or "
        "photos that look alike. Each holds those before it.",
    )
    strictness: Strictness = Field(
        default="normal",
        description="Of the tiers near and similar: one photo in 10,000, in 1,000 or in 100 may be "
        "paired with an unrelated one, estimated on this collection.",
    )
    similarity: float | None = Field(
        default=None, gt=0, le=1, description="Instead: the least cosine of embeddings."
    )
    prefer: list[Text] = Field(
        default=[],
        max_length=MAX_PREFERRED,
        description="Keep photos in these folders, as /folders names them, rather than others; "
        "the first counts most.",
    )
    refresh: bool = Field(
        default=False,
        description="Look again, although it is known what was found before. Ask on without.",
    )
    offset: int = Field(
        default=0, ge=0, le=MAX_OFFSET, description="How many of the first are passed over."
    )
    limit: int = Field(
        default=50, ge=1, le=MAX_PAGE, description="How many groups come back at most."
    )

    @property
    def asked(self) -> Asked:
        """The threshold, without what does not count."""
        if self.tier in ("bytes", "pixels"):
            return Asked()
        if self.similarity is not None:
            return Asked(similarity=self.similarity)
        return Asked(self.strictness)


async def changeable(serving: Served) -> Serving:
    """Return what the routes share, if photos may be moved.

    Raises
    ------
    ForbiddenError
    """
    require_changes(serving)
    return serving


Changeable = Annotated[Serving, Depends(changeable)]


@router.get(
    "/duplicates",
    response_model=DuplicatesPage,
    responses={
        202: {
            "model": DuplicatesRunning,
            "description": "They are being looked for; ask again in half a second.",
        },
        **refusals(400, 422, 503),
    },
)
async def duplicates(
    serving: Served, parameters: Annotated[DuplicatesParameters, Query()]
) -> Response:
    """Find groups of photos that are alike, and propose which of each to keep.

    As `isophote duplicates`. The search takes seconds to minutes; what it finds is kept for all
    pages, and stays as it is until `refresh` is asked for. `is_current` tells whether the
    collection has changed since. A search that nobody asks about for five minutes is given up.
    """
    return await serving.queries.answer(partial(_duplicates, serving, parameters))


@router.post(
    "/duplicates/apply",
    response_model=TrashSummary,
    responses=refusals(400, 403, 409, 413, 422, 503, 507),
)
async def apply(
    serving: Changeable,
    request: Annotated[
        ApplyRequest,
        Body(
            examples=[
                {
                    "created_at": "2026-11-26T12:00:00Z",
                    "groups": [{"keeper_id": 0, "copy_ids": [17, 21]}],
                }
            ]
        ),
    ],
) -> Response:
    """Move copies to the trash, each in favour of the photo that is kept.

    As `isophote duplicates --apply`: a copy moves only while it and its keeper are unchanged
    files; what stays is told in `left`. The copies leave the collection and the groups.
    """
    groups = [group.reviewed() for group in request.groups]
    moving = serving.duplicate_searches.trash(groups, created_at=request.created_at)
    summary = await asyncio.wrap_future(moving)
    # Seen a second later otherwise. The photos were moved, whatever becomes of it.
    with suppress(IsophoteError):
        await serving.queries.answer(serving.live.refresh)
    return json_answer(summary)


@router.get("/trash", response_model=TrashList, responses=refusals(400))
async def trash(serving: Served) -> Response:
    """List the runs whose photos are in the trash, the last one first."""
    return await serving.files.answer(partial(_trash, serving))


@router.post(
    "/trash/undo",
    response_model=RestoreSummary,
    responses=refusals(400, 403, 409, 413, 422),
)
async def undo(
    serving: Changeable,
    request: Annotated[UndoRequest, Body(examples=[{"run": None}])],
) -> Response:
    """Bring back the photos of a run, of the last one by default.

    As `isophote undo`: nothing is overwritten, and what stays in the trash is told in `left`. The
    photos are in the collection again after the next `isophote index`.
    """
    moving = serving.duplicate_searches.bring_back(request.run)
    summary = await asyncio.wrap_future(moving)
    return json_answer(summary)


def _duplicates(serving: Serving, parameters: DuplicatesParameters) -> Response:
    if parameters.similarity is not None and parameters.tier in ("bytes", "pixels"):
        raise InputError(f"similarity is not for the tier {parameters.tier}; leave it out")
    store = serving.collection.store
    question = DuplicateQuestion(
        created_at=store.info.created_at,
        tier=parameters.tier,
        asked=parameters.asked,
        where=serving.condition(parameters.where),
        preference=Preference(tuple(parameters.prefer)),
    )
    found = serving.duplicate_searches.ask(question, again=parameters.refresh)
    if isinstance(found, DuplicatesRunning):
        return json_answer(found, status=202)
    page = found.page(offset=parameters.offset, limit=parameters.limit, version=store.version)
    return json_answer(page)


def _trash(serving: Serving) -> Response:
    return json_answer(list_trash(trash_of(serving.settings.collection)))
