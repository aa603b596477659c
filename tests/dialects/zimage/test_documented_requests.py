"""The seed document's requests, sent as they stand to a real port, in the order in which a client would send them."""

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests as http
import schemathesis

from danqing.dialects.zimage.dialect import zimage
from danqing.http.keys import Keys
from tests.dialects.house import House, ids_from, served
from tests.dialects.zimage.seed_document import JOB_ID, KEY, TASK_ID, example, requests

BATCH_ID = "uuid-string-of-batch"  # of the document's body
DEADLINE_S = 60
HEADERS = {"X-Auth-Key": KEY}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that knows the document's key, and whose first task gets the id that its examples show."""
    root: Path = tmp_path_factory.mktemp("outputs")
    keys = Keys(enabled=True, ordinary=frozenset({KEY}))

    with served(lambda: House(root, automatic=True, keys=keys, new_id=ids_from(JOB_ID)), [zimage()]) as address:
        yield address


def finished(client: http.Session, url: str, status_url: str) -> Any:  # noqa: ANN401 - JSON
    """As the document has clients do it: asking again until the task has ended."""
    until = time.monotonic() + DEADLINE_S
    while time.monotonic() < until:
        status = client.get(url + status_url, headers=HEADERS, timeout=DEADLINE_S).json()
        if status["status"] in ("SUCCESS", "FAILURE", "REVOKED"):
            return status
        time.sleep(0.05)
    raise AssertionError(status_url)


def shape(value: object) -> object:
    """Names, and the kinds of values; where the document shows null, anything."""
    if isinstance(value, dict):
        return {name: shape(member) for name, member in value.items()}
    return [shape(value[0])] if isinstance(value, list) else type(value)


def test_a_client_that_does_what_the_document_says(url: str) -> None:
    client = http.Session()
    client.trust_env = False
    sent = {f"{one.method} {one.target}": one for one in requests()}

    def send(line: str, **names: str) -> http.Response:
        one = sent[line]
        return client.request(one.method, url + one.target.format(**names), headers=one.headers, timeout=DEADLINE_S)

    # When the document's body is sent for each image of its batch of four
    body, accepted = example("3.1"), []
    for index in range(4):
        body["metadata"]["batch_index"], body["seed"] = index, 42 + index
        answer = client.post(f"{url}/v1/images/generate", json=body, headers=HEADERS, timeout=DEADLINE_S)
        accepted.append(answer.json())

    # Then the first answer is the document's to the letter, and every task ends with a picture
    assert accepted[0] == example("3.1", number=1)
    ended = [finished(client, url, one["status_url"]) for one in accepted]
    assert ended[0]["result"].pop("adjustments")  # ours: the model here makes smaller pictures
    assert shape(ended[0]) == shape(example("3.2"))
    assert [one["status"] for one in ended] == ["SUCCESS"] * 4
    assert ended[0]["result"]["auth_key"] == KEY
    for one in ended:
        picture = client.get(url + one["image_url"], timeout=DEADLINE_S)
        assert (picture.status_code, picture.headers["content-type"]) == (200, "image/webp")

    # And the history shows the batch as the document does
    (summary,) = send("GET /v1/history?limit=20&offset=0").json()
    documented = example("4.1")[0]
    assert shape(summary) == shape(documented)
    changing = {"task_id", "created_at", "relative_path", "image_url"}
    assert {k: v for k, v in summary.items() if k not in changing} == {
        k: v for k, v in documented.items() if k not in changing
    }
    assert re.fullmatch(rf"/generated-images/\d{{8}}/\d{{6}}_{TASK_ID}\.webp\?.+", summary["image_url"])
    assert summary["task_id"] == BATCH_ID

    detail = send("GET /v1/history/{batch_id}", batch_id=BATCH_ID).json()
    assert shape(detail) == shape(example("4.2"))
    assert [(item["index"], item["seed"], item["status"]) for item in detail["items"]] == [
        (index, 42 + index, "success") for index in range(4)
    ]

    # When the batch is deleted, its answer is the document's, and then it is gone
    deleted = send("DELETE /v1/history/{batch_id}", batch_id=BATCH_ID).json()
    assert deleted == example("4.3") | {"task_id": BATCH_ID}
    assert send("DELETE /v1/history/{batch_id}", batch_id=BATCH_ID).status_code == 404
    assert send("GET /v1/history?limit=20&offset=0").json() == []


def test_the_documents_root_and_health(url: str) -> None:
    assert http.get(f"{url}/", headers={"Accept": "application/json"}, timeout=DEADLINE_S).json() == example("2.1")
    assert http.get(f"{url}/health", timeout=DEADLINE_S).json() == example("2.2")


def test_answers_about_finished_tasks_are_as_declared(url: str) -> None:
    # Given a finished task with adjustments, and a batch of it
    body = {"prompt": "a cat", "metadata": {"batch_id": "declared"}, "width": 100, "height": 70}
    accepted = http.post(f"{url}/v1/images/generate", json=body, headers=HEADERS, timeout=DEADLINE_S).json()
    with http.Session() as client:
        assert finished(client, url, accepted["status_url"])["result"]["adjustments"]

    # Then the OpenAPI document describes what is said of them
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    for path, names in (
        ("/v1/tasks/{task_id}", {"task_id": accepted["task_id"]}),
        ("/v1/history/{batch_id}", {"batch_id": "declared"}),
        ("/v1/history", {}),
    ):
        case = schema[path]["GET"].Case(path_parameters=names)
        answer = case.call(headers=HEADERS)
        assert answer.status_code == 200
        case.validate_response(answer)
