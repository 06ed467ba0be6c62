"""Health, metrics, documentation and CORS, over real servers."""

from __future__ import annotations

import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx
import pytest

from service.api.schemas import GenerateRequest
from tests.service.conftest import ORIGIN, Metrics, Server, fake_server, stop_server, wait_until_idle
from tests.service.fake_model import TOKENS

if TYPE_CHECKING:
    from pathlib import Path

COUNTS = (
    "greentext_generation_tokens_total",
    "greentext_prompt_tokens_total",
    "greentext_request_success_total",
    "greentext_time_to_first_token_seconds_count",
    "greentext_inter_token_latency_seconds_count",
    "greentext_queue_time_seconds_count",
    "greentext_batch_size_count",
)


def test_the_service_is_well(client: httpx.Client) -> None:
    for path in ("/livez", "/readyz", "/healthz"):
        assert client.get(path).status_code == 200


def check_counts(server: Server, requests: int) -> None:
    before = Metrics(server)
    with ThreadPoolExecutor(4) as pool:
        # A connection each, so that all workers get some.
        urls = [f"{server.url}/generate{'_stream' * (i % 2)}" for i in range(requests)]
        for response in pool.map(lambda url: httpx.post(url, json={"n": 2, "prompt": "hi"}, timeout=30), urls):
            assert response.status_code == 200
    wait_until_idle(server)
    after = Metrics(server)
    grown = {name: after.value(name) - before.value(name) for name in COUNTS}
    texts = 2 * requests
    assert grown["greentext_generation_tokens_total"] == texts * len(TOKENS)
    assert grown["greentext_prompt_tokens_total"] == texts * 4
    assert grown["greentext_request_success_total"] == texts
    assert grown["greentext_time_to_first_token_seconds_count"] == texts
    assert grown["greentext_queue_time_seconds_count"] == texts
    assert grown["greentext_batch_size_count"] > 0
    # Each token but the first has one, and so has the end token.
    assert grown["greentext_inter_token_latency_seconds_count"] == pytest.approx(texts * len(TOKENS), rel=0.1)
    ended = after.value("greentext_request_success_total", finish_reason="end")
    assert ended - before.value("greentext_request_success_total", finish_reason="end") == texts
    served = "bentoml_service_request_total"
    assert after.value(served, endpoint="/generate", http_response_code="200") >= requests / 2


def test_the_counts_are_right_with_one_worker(server: Server) -> None:
    check_counts(server, 6)


def test_both_kinds_of_metrics_are_in_one_exposition(server: Server) -> None:
    metrics = Metrics(server)
    names = {sample.name for sample in metrics.samples}
    assert {*COUNTS, "greentext_requests_running", "greentext_requests_waiting"} <= names
    assert "bentoml_service_request_duration_seconds_count" in names
    text = httpx.get(f"{server.url}/metrics").text
    for family in metrics.families:
        assert text.count(f"# TYPE {family} ") + text.count(f"# TYPE {family}_total ") == 1


def test_paths_that_do_not_exist_leave_no_labels(server: Server, client: httpx.Client) -> None:
    for i in range(5):
        assert client.get(f"/nowhere/{i}").status_code == 404
        assert client.get(f"/docs/{i}").status_code == 404
    endpoints = {sample.labels.get("endpoint", "") for sample in Metrics(server).samples}
    assert not any("nowhere" in endpoint or re.search(r"/\d", endpoint) for endpoint in endpoints)


@pytest.mark.slow
def test_the_counts_are_right_with_several_workers(tmp_path: Path, bundle: Path) -> None:
    server = fake_server(tmp_path, bundle, GREENTEXT_WORKERS="2", FAKE_STEP_S="0.001")
    try:
        server.wait_until_ready()
        end = time.monotonic() + 30
        while server.log.read_text().count("serving model=") < 2 and time.monotonic() < end:
            time.sleep(0.05)
        check_counts(server, 12)
        readings = [Metrics(server).value("greentext_request_success_total") for _ in range(6)]
        assert len(set(readings)) == 1
    finally:
        stop_server(server)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/generate", 405),
        ("DELETE", "/models", 405),
        ("DELETE", "/generate", 405),
        ("GET", "/x", 404),
        ("POST", "/x", 404),
    ],
)
def test_what_is_not_there_is_told_in_json(client: httpx.Client, method: str, path: str, status: int) -> None:
    response = client.request(method, path)
    assert response.status_code == status
    assert response.json()["error"]["type"] == {404: "not_found", 405: "method_not_allowed"}[status]
    assert ("allow" in response.headers) == (status == 405)


def test_the_page_needs_nothing_from_elsewhere(client: httpx.Client) -> None:
    page = client.get("/docs")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "http" not in policy
    references = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert "/docs/swagger-ui-bundle.js" in references
    for reference in references:
        assert reference.startswith(("/", "data:"))
        if reference.startswith("/"):
            response = client.get(reference)
            assert response.status_code == 200
            assert len(response.content) > 100
    assert "<script>" not in page.text
    assert '"/openapi.json"' in client.get("/docs/start.js").text
    assert "http" not in client.get("/docs/start.js").text


def test_the_description_is_complete(client: httpx.Client) -> None:
    description = client.get("/openapi.json").json()
    assert description["openapi"].startswith("3.1")
    assert {"/generate", "/generate_stream", "/models", "/livez", "/readyz", "/metrics"} <= description["paths"].keys()
    request = description["components"]["schemas"]["GenerateRequest"]
    assert request["properties"].keys() == GenerateRequest.model_fields.keys()
    assert request["additionalProperties"] is False
    assert request["properties"]["temperature"]["default"] == 0.8
    for schema in description["components"]["schemas"].values():
        assert schema["description"]
    for field in request["properties"].values():
        assert field["description"]
    for path in ("/generate", "/generate_stream"):
        answers = description["paths"][path]["post"]["responses"]
        assert {"200", "400", "404", "408", "413", "415", "429", "500", "503", "504"} == answers.keys()
        assert "Retry-After" in answers["429"]["headers"]
    references = re.findall(r'"\$ref": "#/components/schemas/(\w+)"', json.dumps(description))
    assert set(references) <= description["components"]["schemas"].keys()


def test_a_page_of_a_configured_origin_may_call(client: httpx.Client) -> None:
    preflight = {
        "origin": ORIGIN,
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type,authorization",
    }
    response = client.options("/generate", headers=preflight)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == ORIGIN
    for body in ({"max_new_tokens": 1}, {"n": "x"}):
        answer = client.post("/generate", json=body, headers={"origin": ORIGIN})
        assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert client.options("/generate", headers={**preflight, "origin": "https://evil.example"}).status_code == 400
    other = client.post("/generate", json={"max_new_tokens": 1}, headers={"origin": "https://evil.example"})
    assert "access-control-allow-origin" not in other.headers


def test_the_log_holds_nothing_that_clients_wrote(server: Server, client: httpx.Client) -> None:
    for body in ({"prompt": "xyzzy"}, {"prompt": ["xyzzy"]}, {"xyzzy": 1}, {"model": "xyzzy"}):
        client.post("/generate", json=body)
    client.post("/generate", content=b'{"xyzzy', headers={"content-type": "application/json"})
    assert "xyzzy" not in server.log.read_text()
