"""Put the guards around an app, in the order that matters."""

from collections.abc import Iterable, Sequence

from fastapi import FastAPI

from service.web.guards.answers import Faults, HeadsAsGets, StrictHeaders
from service.web.guards.gate import Gate
from service.web.guards.lanes import LANES, Lane, Lanes
from service.web.guards.origins import HostRule
from service.web.guards.tokens import Door
from service.web.login import login_router
from service.web.metrics import Measured, Metrics


def add_guards(
    app: FastAPI,
    *,
    metrics: Metrics,
    door: Door | None,
    names: Iterable[str] = (),
    lanes: Sequence[Lane] = LANES,
) -> None:
    """Guard an app and, where a token is asked for, give it a login page.

    Parameters
    ----------
    app : FastAPI
    metrics : Metrics
        Told of all requests, refused ones too.
    door : Door, optional
        None lets everybody in who calls the server by its name.
    names : iterable of str
        By which the server may be called, besides addresses and the machine's own names.
    lanes : sequence of Lane
    """
    if door is not None:
        app.include_router(login_router(door))
    # The last one added is the first that a request meets. Strangers take no turn from others,
    # and what they are told has the strict headers too.
    app.add_middleware(HeadsAsGets)
    app.add_middleware(Lanes, lanes=lanes)
    app.add_middleware(Gate, hosts=HostRule.of(names), door=door)
    app.add_middleware(Faults)
    app.add_middleware(Measured, metrics=metrics)
    app.add_middleware(StrictHeaders)
