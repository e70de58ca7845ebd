"""The OpenAPI document taken at its word: what it allows is answered as it says.

Schemathesis makes requests of the document, some that it allows and some that it does not, and
compares the answers with it: no fault, no status or type that is not described, no body of
another form, and nothing accepted that should not be.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from service.web.options import ServingOptions
from tests.makers.libraries import indexed_colours
from tests.service.web.apps import CHANGE, app_of
from tests.service.web.servers import running_server

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
]

# Of each kind for each of some 25 operations: a minute in all.
N_REQUESTS = 60


@pytest.fixture(scope="module")
def operations(tmp_path_factory) -> Iterator[list[Any]]:
    """What the document describes, of a running server."""
    folder = tmp_path_factory.mktemp("library")
    indexed_colours(folder, folder / "collection")
    app = app_of(folder / "collection", options=ServingOptions(allows_changes=True))
    with running_server(app) as port:
        document = schemathesis.openapi.from_url(f"http://127.0.0.1:{port}/api/v1/openapi.json")
        yield [found.ok() for found in document.get_all_operations() if isinstance(found, Ok)]


def difference(operation, mode: GenerationMode) -> str | None:
    """Return how an answer differs from the document; None if none does."""

    @settings(
        max_examples=N_REQUESTS,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def compare(case) -> None:
        case.call_and_validate(checks=CHECKS, headers=CHANGE)

    try:
        compare()
    except FailureGroup as group:
        return f"{operation.label}: {group}"
    except Unsatisfiable:  # nothing is forbidden where nothing can be given
        pass
    return None


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("mode", GenerationMode)
def test_requests_are_answered_as_described(operations, mode):
    assert len(operations) > 20
    found = [difference(operation, mode) for operation in operations]
    assert not list(filter(None, found)), "\n\n".join(filter(None, found))
