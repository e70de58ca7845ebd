"""The numbers for Prometheus."""

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from service.web.metrics import CollectionSize, Measured, Metrics
from tests.service.web.servers import TOKEN, small_app


@pytest.fixture
def client() -> TestClient:
    return TestClient(small_app(), base_url="http://127.0.0.1:1", raise_server_exceptions=False)


def samples(client: TestClient) -> dict[tuple[str, ...], float]:
    """Values by name and labels, in the order of the labels' names."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_requests_are_counted_by_the_template_of_their_route(client):
    for image_id in range(20):
        client.get(f"/api/v1/images/{image_id}")
    found = samples(client)
    template = "/api/v1/images/{image_id}"
    assert found["isophote_requests_total", "GET", template, "2xx"] == 20
    assert found["isophote_request_seconds_count", template] == 20
    assert 0 < found["isophote_request_seconds_sum", template] < 20
    assert not [key for key in found if "/api/v1/images/3" in key]


def test_failed_and_refused_requests_are_counted(client):
    client.get("/fault")
    client.get("/health", headers={"Host": "evil.example"})
    found = samples(client)
    assert found["isophote_requests_total", "GET", "/fault", "5xx"] == 1
    assert found["isophote_requests_total", "GET", "other", "4xx"] == 1


def test_what_strangers_make_up_adds_no_series(client):
    def n_series() -> int:
        return len(samples(client))

    client.request("M0", "/nothing/0", headers={"Isophote-Request": "1"})
    samples(client)
    before = n_series()
    for number in range(1, 20):
        client.request(f"M{number}", f"/nothing/{number}", headers={"Isophote-Request": "1"})
    assert n_series() == before


def test_the_size_of_the_collection_is_measured_when_asked(client):
    found = samples(client)
    assert found["isophote_images",] == 5
    assert found["isophote_failures",] == 1
    assert found["isophote_version",] == 7


def test_the_process_is_measured_too(client):
    found = samples(client)
    assert found["process_resident_memory_bytes",] > 10e6
    assert found["process_cpu_seconds_total",] > 0


def test_the_request_for_them_is_in_flight(client):
    assert samples(client)["isophote_requests_in_flight",] == 1


def test_an_app_that_fails_has_no_request_left_in_flight():
    metrics = Metrics(lambda: CollectionSize(0, 0, 0))

    async def failing(scope, receive, send) -> None:
        raise RuntimeError("failed")

    client = TestClient(Measured(failing, metrics=metrics), raise_server_exceptions=False)
    assert client.get("/").status_code == 500
    assert metrics.registry.get_sample_value("isophote_requests_in_flight") == 0
    labels = {"route": "other", "method": "GET", "status": "5xx"}
    assert metrics.registry.get_sample_value("isophote_requests_total", labels) == 1


def test_two_servers_in_one_process_count_apart(client):
    client.get("/health")
    other = TestClient(small_app(), base_url="http://127.0.0.1:1")
    assert ("isophote_requests_total", "GET", "/health", "2xx") not in samples(other)


def test_they_need_the_token():
    locked = TestClient(small_app(token=TOKEN), base_url="http://127.0.0.1:1")
    assert locked.get("/metrics").status_code == 401
    assert locked.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).is_success
