"""The document is the vendor's, and what is taken from it is there."""

import hashlib

from tests.dialects.zimage.seed_document import BATCH_ID, KEY, SEED, TASK_ID, blocks, requests, without_comments


def test_the_document_is_the_vendors_to_the_byte() -> None:
    assert hashlib.sha256(SEED.read_bytes()).hexdigest() == (
        "1168d591a525e6009c94426ef5601eca3217b92fe607c28f04cd0680fe33669c"
    )


def test_the_document_has_these_examples() -> None:
    # One answer or body for each endpoint, but two for the one that makes tasks; one header, and three requests
    assert (len(blocks("json")), len(blocks("http"))) == (9, 4)
    assert [(each.method, each.target) for each in requests()] == [
        ("GET", "/v1/history?limit=20&offset=0"),
        ("GET", "/v1/history/{batch_id}"),
        ("DELETE", "/v1/history/{batch_id}"),
    ]
    assert all(each.headers == {"X-Auth-Key": KEY} for each in requests())


def test_the_ids_are_the_documents() -> None:
    text = SEED.read_text("utf-8")

    assert TASK_ID in text
    assert BATCH_ID in text


def test_comments_go_and_strings_stay() -> None:
    assert without_comments('{"a": "http://b", // c\n"d": "\\"// e"} // f') == '{"a": "http://b", \n"d": "\\"// e"} '
