"""Requests as nobody should send them, to each dialect, and what each is answered."""

import json
import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from danqing.http.wire_guard import MAX_FRAGMENTS, MAX_PIPELINED
from tests.security.asking import Answer, Asker, a_frame, form
from tests.security.hostile_pictures import GOOD, GOOD_TEXT

Send = Callable[[Asker], Answer]
INVALID = "参数验证失败"
MEBIBYTE = 1024 * 1024
HOST = b"Host: localhost\r\n"
UNKNOWN = "00000000-0000-4000-8000-000000000000"


@dataclass(frozen=True)
class Case:
    """group: the part of the page where it is told; where: path or dialect."""

    group: str
    name: str
    where: str
    send: Send
    status: int
    contains: str = ""


@dataclass(frozen=True)
class Endpoint:
    """Where a dialect takes JSON. said: a good request's fields; refused: status of one that is not; no_json: of a body
    that is no JSON; unreadable: of one that json itself gives up on.
    """

    path: str
    said: dict[str, Any]
    refused: int
    no_json: int
    unreadable: int = 400

    def post(self, fields: object) -> Send:
        body = {**self.said, **fields} if isinstance(fields, dict) else fields
        return lambda asker: asker.post_json(self.path, body)


SMALL = {"width": 64, "height": 64}
ENDPOINTS = {
    "turbo": Endpoint("/api/generate", {"prompt": "p", "num_inference_steps": 1, **SMALL}, 400, 400),
    "zimage": Endpoint("/v1/images/generate", {"prompt": "p", "num_inference_steps": 1, **SMALL}, 422, 422),
    "openai": Endpoint("/v1/images/generations", {"prompt": "p", "size": "64x64"}, 400, 400),
    "genserve": Endpoint("/generate", {"prompt": "p", "num_inference_steps": 1, **SMALL}, 400, 400),
}
LONG = "x" * 100_000
CONTROLS = "".join(map(chr, range(1, 32))) + "\x7f\x85\u2028\u202e\u200b\x1b[31m\x1b]0;x\x07"


def _to_each() -> list[Case]:
    """Text and numbers that are wrong everywhere."""
    cases: list[Case] = []
    for dialect, at in ENDPOINTS.items():
        many = [
            ("prompt of 100,000 characters", {"prompt": LONG}, at.refused, ""),
            ("prompt with a NUL", {"prompt": "a\0b"}, at.refused, ""),
            ("prompt with half a surrogate pair", {"prompt": "a\ud800b"}, at.refused, ""),
            ("prompt of blanks", {"prompt": " \n\t "}, at.refused, ""),
            ("prompt that is a list", {"prompt": ["p"]}, at.refused, ""),
            ("prompt of control characters", {"prompt": f"a{CONTROLS}b"}, 200, ""),
            ("prompt that looks like a path", {"prompt": "../../../../etc/passwd"}, 200, ""),
            ("prompt that looks like SQL", {"prompt": "'); DROP TABLE jobs; --"}, 200, ""),
            ("seed of 2^63", {"seed": 2**63}, at.refused, ""),
            ("negative seed", {"seed": -1}, at.refused, ""),
            ("no prompt", {"prompt": None}, at.refused, ""),
            ("JSON, 100,000 arrays deep", b"[" * 100_000, at.unreadable, ""),
            ("JSON, 100,000 objects deep", b'{"a":' * 100_000, at.unreadable, ""),
            ("integer of 5,000 digits", b'{"prompt": "p", "seed": ' + b"9" * 5000 + b"}", at.unreadable, ""),
            ("JSON cut short", b'{"prompt": "p", ', at.no_json, ""),
            ("no UTF-8", b'{"prompt": "\xff\xfe\xfd"}', at.unreadable, ""),
            ("no body", b"", at.no_json, ""),
            ("array instead of an object", b"[]", at.no_json, ""),
        ]
        cases += [Case("Text and numbers", name, dialect, at.post(said), *answer) for name, said, *answer in many]
    for dialect in ("turbo", "zimage", "genserve"):
        at = ENDPOINTS[dialect]
        cases += [
            Case("Text and numbers", f"width of {width}", dialect, at.post({"width": width}), at.refused)
            for width in (0, -1, 10**9, "64")
        ]
        good = json.dumps(at.said)[1:]
        twice = f'{{"prompt": "first", {good}'.encode()
        if dialect == "genserve":
            half = at.post({"model_id": "a\ud800b"})
            cases.append(Case("Text and numbers", "model_id with half a surrogate pair", dialect, half, 400, "ab"))
        cases.append(Case("Text and numbers", "prompt given twice: the later counts", dialect, at.post(twice), 200))
        for number in ("NaN", "Infinity", "1e999"):
            name = "guidance_scale" if dialect == "zimage" else "cfg" if dialect == "genserve" else "height"
            body = f'{{"{name}": {number}, {good}'.replace('"height": 64', '"x": 0').encode()
            cases.append(Case("Text and numbers", f"{name} of {number}", dialect, at.post(body), at.refused))
    return cases


def _bodies() -> list[Case]:
    cases: list[Case] = []
    limits = {"turbo": (1, 400), "zimage": (1, 413), "openai": (256, 413), "genserve": (204, 413)}
    for dialect, (mebibytes, status) in limits.items():
        path = ENDPOINTS[dialect].path.encode()
        declared = b"POST %s HTTP/1.1\r\n%sConnection: close\r\nContent-Length: %d\r\n\r\n{" % (
            *(path, HOST),
            mebibytes * MEBIBYTE * 3,
        )
        cases.append(
            Case(
                "Bodies", "declared larger than is taken", dialect, lambda asker, sent=declared: asker.raw(sent), status
            )
        )
    chunked = (
        b"POST /v1/images/generate HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    )
    large = b"10000\r\n" + bytes(65536) + b"\r\n"

    def endless(asker: Asker) -> Answer:
        answer = asker.raw(chunked, *[large] * 64, b"0\r\n\r\n")
        return Answer(answer.status or 413, answer.text, {})  # closed before the answer could be read

    def hung_up(asker: Asker) -> Answer:
        for path in (at.path for at in ENDPOINTS.values()):
            start = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500000\r\n\r\n"
            asker.raw(start.encode(), bytes(1000), hang_up=True)
        return asker.http("GET", "/livez")

    def many_at_once(asker: Asker) -> Answer:
        connections = [threading.Thread(target=hung_up, args=(asker,)) for _ in range(20)]
        for thread in connections:
            thread.start()
        for thread in connections:
            thread.join()
        return asker.http("GET", "/livez")

    part = b'--b\r\nContent-Disposition: form-data; name="images"; filename="a.png"\r\n\r\nxx\r\n'
    form_head = (
        b"POST /v1/images/edits HTTP/1.1\r\nHost: localhost\r\nContent-Length: 200000000\r\n"
        b"Content-Type: multipart/form-data; boundary=b\r\n\r\n"
    )

    def many_files(asker: Asker) -> Answer:
        with ExitStack() as stack:
            for _ in range(8):
                connection = stack.enter_context(socket.create_connection(asker.address, timeout=60))
                connection.sendall(form_head + part * 199 + part.rstrip())
            return asker.http("GET", "/livez")

    return [
        *cases,
        Case("Bodies", "grows larger than is taken, in chunks", "zimage", endless, 413),
        Case("Bodies", "never comes to its end, the client hangs up", "all", hung_up, 200),
        Case("Bodies", "80 that never come to their end, at once", "all", many_at_once, 200),
        Case("Bodies", "8 forms of 200 small files that never come to their end, at once", "openai", many_files, 200),
        Case(
            *("Bodies", "not said to be JSON", "genserve"),
            lambda asker: asker.http("POST", "/generate", data=b"{}", headers={"Content-Type": "text/plain"}),
            *(400, "application/json"),
        ),
        Case(
            *("Bodies", "60,000 members", "openai"),
            ENDPOINTS["openai"].post({"prompt": "p", "loras": [{"name": "t"} | {f"a{at}": 1 for at in range(60_000)}]}),
            *(400, "too many members or entries"),
        ),
        Case(
            *("Bodies", "a parameter's member with the end of a line", "openai"),
            ENDPOINTS["openai"].post({"prompt": "p", "size": "64x64", "user[\r\nX: 1]": "x"}),
            *(200, ""),
        ),
        Case(
            *("Bodies", "more than 512 KiB beside the pictures", "genserve"),
            ENDPOINTS["genserve"].post({"prompt": "p", "x": "y" * 600_000}),
            *(400, "beside its pictures"),
        ),
    ]


def _base64() -> list[Case]:
    at = ENDPOINTS["genserve"]
    wrong = f"{INVALID}: input_image is not valid base64."

    def sent(text: object, name: str = "input_image") -> Send:
        return at.post({"mode": "img2img", name: text})

    def bomb(asker: Asker) -> Answer:
        body = b'{"prompt": "p", "mode": "img2img", "input_image": "' + b"iVBORw0K" * (9 * MEBIBYTE) + b'"}'
        return asker.post_json("/generate", body)

    def three_bombs(asker: Asker) -> Answer:
        text = b'": "' + b"iVBORw0K" * (7 * MEBIBYTE) + b'"'
        fields = b", ".join(b'"' + name + text for name in (b"input_image", b"mask_image", b"control_image"))
        return asker.post_json("/generate", b'{"prompt": "p", "mode": "fill", ' + fields + b"}")

    return [
        Case("Base64", name, "genserve", send, status, contains)
        for name, send, status, contains in [
            ("of another alphabet", sent("AA-_"), 400, wrong),
            ("padding in the middle", sent("AA==" + GOOD_TEXT), 400, wrong),
            ("an address of this network instead", sent("http://169.254.169.254/latest/meta-data"), 400, wrong),
            ("an address of a file instead", sent("file:///etc/passwd"), 400, wrong),
            ("data URL that is not base64", sent("data:image/png,AAAA"), 400, "is a data URL that is not base64."),
            ("data URL that says it is SVG, and is PNG", sent("data:image/svg+xml;base64," + GOOD_TEXT), 200, ""),
            ("2 MB of blanks", sent(" " * 2_000_000), 400, "input_image is empty."),
            ("every slash escaped", at.post(_escaped()), 200, ""),
            ("no text", sent(5), 400, "input_image must be a string."),
            ("empty", sent(""), 400, "input_image is required"),
            ("72 MB", bomb, 400, "input_image is larger than 50 MiB"),
            ("three of 56 MB", three_bombs, 400, "input_image is not a PNG, JPEG or WebP image."),
            ("the same picture 1,000 times", at.post(_again()), 400, "more than 6 pictures"),
            ("a mask of another size", at.post(_two()), 400, "they must have the same size"),
        ]
    ]


def _data_urls() -> list[Case]:
    path, good = "/v1/images/edits", f"data:image/png;base64,{GOOD_TEXT}"

    def sent(*images: object, **fields: object) -> Send:
        body = {"prompt": "p", "size": "64x64", "images": list(images), **fields}
        return lambda asker: asker.post_json(path, body)

    def url(text: object) -> Send:
        return sent({"image_url": text})

    def bomb(asker: Asker) -> Answer:
        start = b'{"prompt": "p", "images": [{"image_url": "data:image/png;base64,'
        return asker.post_json(path, start + b"iVBORw0K" * (9 * MEBIBYTE) + b'"}]}')

    elsewhere = "images[0].image_url must be a data URL with base64"
    return [
        Case("Data URLs", name, "openai", send, status, contains)
        for name, send, status, contains in [
            ("an address of this network", url("http://169.254.169.254/latest/meta-data"), 400, elsewhere),
            ("an address of a file", url("file:///etc/passwd"), 400, elsewhere),
            ("base64 alone", url(GOOD_TEXT), 400, elsewhere),
            ("data URL of HTML", url("data:text/html;base64,PGI+"), 400, "is not a PNG, JPEG or WebP image."),
            ("a file's name", sent({"file_id": "../../etc/passwd"}), 400, "Not supported: images[0].file_id"),
            ("17 pictures", sent(*[{"image_url": good}] * 17), 400, "images must have at most 16 entries."),
            ("1,000 pictures", sent(*[{"image_url": good}] * 1000), 400, "more than 34 pictures"),
            ("10,000 that are none", sent(*[5] * 10_000), 400, "images"),
            ("100,000 that are none", sent(*[5] * 100_000), 400, "too many members or entries"),
            ("pictures deeper than they may be", sent([[[{"image_url": good}]]]), 400, "images[0] is not valid."),
            (
                "more than 512 KiB beside the pictures",
                sent({"image_url": good}, x=LONG * 6),
                400,
                "beside its pictures",
            ),
            ("72 MB", bomb, 400, "images[0].image_url is larger than 50 MiB"),
            ("as it should be", url(good), 200, ""),
        ]
    ]


def _escaped() -> bytes:
    body = json.dumps({**ENDPOINTS["genserve"].said, "mode": "img2img", "input_image": GOOD_TEXT})
    return body.replace("/", "\\/").encode()


def _again() -> bytes:
    return ('{"prompt": "p"' + f', "input_image": "{GOOD_TEXT}"' * 1000 + "}").encode()


def _two() -> dict[str, str]:
    return {"mode": "fill", "input_image": GOOD_TEXT, "mask_image": GOOD_TEXT_OF_ANOTHER_SIZE}


GOOD_TEXT_OF_ANOTHER_SIZE = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def _forms() -> list[Case]:
    fields = [('name="prompt"', b"p"), ('name="size"', b"64x64")]
    image = 'name="image"; filename="{}"\r\nContent-Type: {}'

    def edit(*parts: tuple[str, bytes], boundary: str = "b", kind: str | None = None) -> Send:
        headers = {"Content-Type": kind or f"multipart/form-data; boundary={boundary}"}
        return lambda asker: asker.http("POST", "/v1/images/edits", data=form(*parts), headers=headers)

    def named(name: str, kind: str = "image/png") -> Send:
        return edit(*fields, (image.format(name, kind), GOOD))

    good = (image.format("a.png", "image/png"), GOOD)
    return [
        Case("Forms", name, "openai", send, status, contains)
        for name, send, status, contains in [
            ("file name ../../../etc/passwd", named("../../../etc/passwd"), 200, ""),
            ("file name of 10,000 characters", named("x" * 10_000), 400, ""),
            ("file name with a NUL", named("a\0.png"), 200, ""),
            ("PNG said to be image/svg+xml", named("a.svg", "image/svg+xml"), 200, ""),
            ("PNG said to be a program", named("a.php", "application/x-httpd-php"), 200, ""),
            ("no boundary", edit(good, kind="multipart/form-data"), 400, ""),
            ("another boundary than is said", edit(*fields, good, boundary="c"), 400, ""),
            ("1,000 fields", edit(*[(f'name="f{at}"', b"x") for at in range(1000)], good), 400, ""),
            ("100 files", edit(*fields, *[good] * 100), 400, ""),
            ("17 images", edit(*fields, *[good] * 17), 400, "At most 16 images"),
            ("field of 1 MB", edit(('name="prompt"', bytes(MEBIBYTE)), good), 400, ""),
            ("part with a header of 100 KB", edit((f'name="prompt"\r\nX: {"y" * 100_000}', b"p"), good), 400, ""),
            ("text where a file should be", edit(*fields, ('name="image"', b"text")), 400, "image must be a file."),
            ("field given twice", edit(*fields, *fields, good), 400, "is given more than once"),
            ("part without a name", edit(*fields, good, ('filename="x"', b"x")), 400, ""),
            ("prompt with a NUL", edit(('name="prompt"', b"a\0b"), ('name="size"', b"64x64"), good), 400, "NUL"),
            ("empty file", edit(*fields, (image.format("a.png", "image/png"), b"")), 400, "empty file"),
            (
                "charset=punycode",
                edit(*fields, good, kind="multipart/form-data; boundary=b; charset=punycode"),
                400,
                "",
            ),
            ("charset=idna", edit(*fields, good, kind="multipart/form-data; boundary=b; charset=idna"), 400, ""),
            ("a parameter's member 日", edit(*fields, ('name="user[日]"', b"x"), good), 200, ""),
            ("n of 10^9", edit(*fields, ('name="n"', b"1000000000"), good), 400, "n must be at most"),
        ]
    ]


def _addresses() -> list[Case]:
    def get(target: str) -> Send:
        return lambda asker: asker.get_raw(target)

    refused = [
        "/api/task/../../../etc/passwd",
        "/api/task/..%2f..%2f..%2fetc%2fpasswd",
        "/api/result/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/api/result/%00",
        "/api/image/..%2f..%2fdanqing.sqlite",
        "/api/image/..%5c..%5cdanqing.sqlite",
        "/generated-images/../../danqing.sqlite",
        "/generated-images/%2fetc%2fpasswd",
        "/generated-images/....//....//etc/passwd",
        "/v1/files/..%2f..%2fetc%2fpasswd",
        "/v1/files/" + "a" * 5000,
        "/v1/history/..%2f..%2fetc%2fpasswd",
        "/v1/history/%ff%fe",
        f"/api/result/{UNKNOWN}%0d%0aSet-Cookie:%20a=b",
        "/docs/5.35.0/..%2f..%2f__init__.py",
        "//etc/passwd",
        "/v1/models/..%2f..%2fetc%2fpasswd",
    ]
    cases = [Case("Addresses", f"`{target[:60]}`", "GET", get(target), 404) for target in refused]
    return [
        *cases,
        Case(
            "Addresses", "of another server: `http://evil.example/livez`", "GET", get("http://evil.example/livez"), 200
        ),
        Case("Addresses", "`/v1/history?owner=%00`", "GET", get("/v1/history/b?owner=%00"), 422, "NUL"),
        Case("Addresses", "`/api/ws?client_id=%00`", "live", lambda a: a.socket("{}", query="?client_id=%00"), 400),
        Case("Addresses", "60,000 characters", "GET", get("/" + "x" * 60_000), 404),
        Case("Addresses", "200,000 characters", "GET", get("/" + "x" * 200_000), 431),
        Case("Addresses", "with raw control characters", "GET", get("/\x01\x02"), 400),
    ]


def _from_elsewhere() -> list[Case]:
    cases: list[Case] = []
    for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "evil.example:8000", "", "[::2]"):
        send: Send = lambda asker, host=host: asker.get_raw("/api/status", f"Host: {host}")  # noqa: E731
        cases.append(Case("Forged hosts and origins", f"Host: {host or '(empty)'}", "GET", send, 403))
    two = "Host: localhost\r\nHost: evil.example"
    cases.append(
        Case("Forged hosts and origins", "two Hosts", "GET", lambda asker: asker.get_raw("/api/status", two), 403)
    )
    for origin in (
        "http://evil.example",
        "null",
        "file://",
        "http://localhost.evil.example",
        "http://localhost@evil.example",
    ):
        for method in ("GET", "POST", "DELETE", "OPTIONS"):
            send = lambda asker, origin=origin, method=method: asker.http(  # noqa: E731
                method, "/v1/history/b", headers={"Origin": origin, "Access-Control-Request-Method": "POST"}
            )
            cases.append(Case("Forged hosts and origins", f"{method} with Origin: {origin}", "all", send, 403))
        send = lambda asker, origin=origin: asker.socket(headers={"Origin": origin})  # noqa: E731
        cases.append(Case("Forged hosts and origins", f"WebSocket with Origin: {origin}", "live", send, 403))
    return [
        *cases,
        Case(
            *("Forged hosts and origins", "WebSocket with Host: evil.example", "live"),
            lambda asker: asker.raw(
                b"GET /api/ws HTTP/1.1\r\nHost: evil.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            ),
            403,
        ),
        Case(
            *("Forged hosts and origins", "X-Forwarded-Host: evil.example is not believed", "zimage"),
            lambda asker: asker.http("GET", "/v1/history", headers={"X-Forwarded-Host": "evil.example"}),
            200,
        ),
    ]


def _wire() -> list[Case]:
    start = b"POST /api/generate HTTP/1.1\r\n" + HOST + b"Connection: close\r\n"
    chunked = start + b"Transfer-Encoding: chunked\r\n"

    def raw(*pieces: bytes) -> Send:
        return lambda asker: asker.raw(*pieces)

    def pipelined(asker: Asker) -> Answer:
        one = b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n"
        last = b"GET /nothing HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"
        return asker.raw(one * MAX_PIPELINED + last)

    def flood(asker: Asker) -> Answer:
        return asker.raw((b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n") * 1000)

    return [
        Case("The wire", name, "HTTP", send, status)
        for name, send, status in [
            ("no HTTP at all", raw(b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(200)), 400),
            ("Content-Length and chunks at once", raw(chunked + b"Content-Length: 4\r\n\r\n0\r\n\r\n"), 400),
            ("two Content-Lengths", raw(start + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcd"), 400),
            ("negative Content-Length", raw(start + b"Content-Length: -1\r\n\r\n"), 400),
            ("chunk whose length is none", raw(chunked + b"\r\nxyz\r\nabc\r\n0\r\n\r\n"), 400),
            ("chunk of 2^68 bytes", raw(chunked + b"\r\n" + b"f" * 17 + b"\r\n"), 400),
            ("header with a bare line feed", raw(b"GET /livez HTTP/1.1\n" + HOST + b"X: a\n b\r\n\r\n"), 400),
            ("header name with a blank", raw(b"GET /livez HTTP/1.1\r\n" + HOST + b"X y: z\r\n\r\n"), 400),
            ("10,000 headers", raw(b"GET /livez HTTP/1.1\r\n" + HOST + b"X: y\r\n" * 10_000), 431),
            ("header of 1 MB", raw(b"GET /livez HTTP/1.1\r\n" + HOST + b"X: " + b"y" * MEBIBYTE), 431),
            ("method BREW", lambda asker: asker.raw(b"BREW /api/status HTTP/1.1\r\n" + HOST + b"\r\n"), 400),
            ("method TRACE", lambda asker: asker.http("TRACE", "/api/status"), 405),
            ("method DELETE where there is none", lambda asker: asker.http("DELETE", "/api/status"), 405),
            ("17 requests at once on one connection", pipelined, 200),
            ("1,000 requests at once on one connection: closed without a word", flood, 0),
            ("range of a page", lambda asker: asker.http("GET", "/livez", headers={"Range": "bytes=0-0,1-1"}), 200),
        ]
    ]


def _socket() -> list[Case]:
    create = {"type": "create_job", "task_type": "text_to_image", "params": {"prompt": "p", "width": 64, "height": 64}}

    def said(message: object) -> Send:
        text = message if isinstance(message, str | bytes) else json.dumps(message)
        return lambda asker: asker.socket(text)

    def wanted(**params: object) -> Send:
        return said({**create, "params": {**create["params"], **params}})  # type: ignore[dict-item]

    fragments = [a_frame(1, b"", final=False)] + [a_frame(0, b"", final=False)] * (MAX_FRAGMENTS + 10)
    return [
        Case("The WebSocket", name, "live", send, status, contains)
        for name, send, status, contains in [
            ("no JSON", said("hello"), 200, "not valid JSON"),
            ("JSON, 100,000 arrays deep", said("[" * 100_000), 200, "not valid JSON"),
            ("message of 600,000 characters", said("x" * 600_000), 200, "too large"),
            ("binary message", said(b"\0\1\2"), 200, "must be JSON in text frames"),
            ("unknown type", said({"type": "shut_down"}), 200, "Unknown type"),
            ("prompt of 100,000 characters", wanted(prompt=LONG), 200, "prompt must have at most"),
            ("prompt with a NUL", wanted(prompt="a\0b"), 200, "prompt must have no NUL"),
            ("prompt with half a surrogate pair", wanted(prompt="a\ud800b"), 200, "not valid Unicode"),
            ("width of 10^30", wanted(width=10**30), 200, '"error"'),
            ("job id that is a path", said({"type": "get_status", "job_id": "../../etc/passwd"}), 200, "not found"),
            ("1,000 messages of nonsense", lambda asker: asker.socket(*["nonsense"] * 1000), 200, "not valid JSON"),
            ("message of 2 MB", lambda asker: asker.frames(a_frame(1, b"x" * 2 * MEBIBYTE)), 1009, ""),
            ("frame said to have 2^62 bytes", lambda asker: asker.frames(b"\x81\xff" + b"\x3f" + bytes(20)), 1009, ""),
            ("frame without a mask", lambda asker: asker.frames(a_frame(1, b"{}", masked=False)), 1002, ""),
            ("frame of a kind that there is not", lambda asker: asker.frames(a_frame(5, b"{}")), 1002, ""),
            ("text that is no UTF-8", lambda asker: asker.frames(a_frame(1, b"\xff\xfe")), 1007, ""),
            ("ping of 200 bytes", lambda asker: asker.frames(a_frame(9, bytes(200))), 1002, ""),
            ("endless empty fragments", lambda asker: asker.frames(*fragments), 1009, ""),
        ]
    ]


def cases() -> list[Case]:
    """All of them."""
    return [
        *_to_each(),
        *_bodies(),
        *_base64(),
        *_data_urls(),
        *_forms(),
        *_addresses(),
        *_from_elsewhere(),
        *_wire(),
        *_socket(),
    ]
