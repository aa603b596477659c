"""Log lines, as they come out of a process of their own."""

import json
import re
import subprocess
import sys

import pytest

# Ends a terminal's line in one way or another, changes its colour, turns the writing direction, or is half a character.
NASTY = "a\x1b[31mb\nc\rd\x85e\u2028f\u202eg\x7fh\udc80i \U000e0041j"
SCRIPT = """
import logging, structlog
from danqing.logs import LogStyle, configure_logging
configure_logging(LogStyle(shape={shape!r}, level={level!r}))
log = structlog.get_logger("danqing.test")
log.debug("small_thing")
log.info("thing_happened", words="丹青")
try:
    prompt = "a secret prompt"
    raise ValueError("bad")
except ValueError:
    log.exception("thing_failed")
logging.getLogger("somebody.else").info("chatter")
logging.getLogger("somebody.else").warning("trouble %s", 1)
"""


NASTY_SCRIPT = """
import logging, structlog
from danqing.logs import LogStyle, configure_logging
configure_logging(LogStyle(shape={shape!r}, level="info"))
text = {text!r}
log = structlog.get_logger("danqing.test")
log.info("value", path=text)
log.info("inner", paths=[text], texts=dict(path=text))
log.info(text)
logging.getLogger("somebody.else").warning("said %s", text)
class Odd:
    def __repr__(self): return text
log.info("odd", odd=Odd())
try:
    raise ValueError(text)
except ValueError:
    log.exception("failed")
"""


def run(script: str) -> str:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert done.stdout == b""
    return done.stderr.decode("utf-8")


def lines(shape: str, level: str = "info") -> list[str]:
    return run(SCRIPT.format(shape=shape, level=level)).splitlines()


@pytest.mark.parametrize("shape", ["json", "auto"])
def test_json_is_one_object_a_line_and_the_choice_when_nobody_watches(shape: str) -> None:
    happened, failed, trouble = map(json.loads, lines(shape))
    assert (happened["event"], happened["words"], happened["level"]) == ("thing_happened", "丹青", "info")
    assert failed["exception"][0]["exc_type"] == "ValueError"
    assert (trouble["event"], trouble["logger"]) == ("trouble 1", "somebody.else")


@pytest.mark.parametrize("shape", ["json", "console", "line"])
def test_tracebacks_have_no_local_variables(shape: str) -> None:
    text = "\n".join(lines(shape))
    assert "ValueError" in text
    assert "a secret prompt" not in text.replace('prompt = "a secret prompt"', "")


def test_the_level_is_for_our_own_lines() -> None:
    events = [json.loads(line)["event"] for line in lines("json", level="debug")]
    assert events == ["small_thing", "thing_happened", "thing_failed", "trouble 1"]
    assert [json.loads(line)["event"] for line in lines("json", level="error")] == ["thing_failed", "trouble 1"]


@pytest.mark.parametrize("shape", ["json", "console", "line"])
def test_nothing_that_a_terminal_acts_on_gets_through(shape: str) -> None:
    # When a text of a stranger is logged in every place that a text can have
    written = run(NASTY_SCRIPT.format(shape=shape, text=NASTY))
    # Then all that is written is printable, but for the ends of lines
    own_lines = written.removesuffix("\n").split("\n")
    assert all(line.isprintable() for line in own_lines)
    # And none of those ends is the stranger's: what is no line of the log is indented
    starts = [line for line in own_lines if not line.startswith(" ")]
    assert len(starts) == 6
    # And the text can still be told
    assert all("\\u2028f\\u202eg" in line for line in starts[:5])


def test_json_gives_back_what_was_logged() -> None:
    happened = json.loads(run(NASTY_SCRIPT.format(shape="json", text=NASTY)).split("\n")[0])
    assert happened["path"] == NASTY


SEED_SCRIPT = """
import logging, structlog
from danqing.logs import LogStyle, configure_logging
configure_logging(LogStyle(shape="line", level="info"))
log = structlog.get_logger("danqing.test")
structlog.contextvars.bind_contextvars(request_id="r1")
log.info("model_loading", model="qwen-image-edit", source="/mnt/models")
log.info("model_loaded", model="qwen-image-edit", origin="disk", seconds=30.1)
log.info("image_edit_requested", n=1, images=1, prompt="a beautiful landscape")
log.info("image_edit_completed", seconds=15.23, generated=1)
log.info("image_edit_requested", n=1, images=1, prompt="it's\\n2025-11-26 10:00:00 - image_edit_server - INFO - mine")
log.info("image_generation_requested", n=2, images=0)
log.warning("job_overdue", job_id="j", words="two words", nothing="", none=None, many=["a", 1])
logging.getLogger("somebody.else").error("a model_loaded %s", 1)
logging.getLogger("somebody.else").error("model_loaded")
"""
SEED_LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d - (\S+) - ([A-Z]+) - (.*)")


def test_lines_are_those_of_seed_004_and_in_its_words_where_it_has_some() -> None:
    written = [SEED_LINE.fullmatch(line) for line in run(SEED_SCRIPT).splitlines()]
    parts = [line.groups() for line in written if line]
    assert len(parts) == len(written)
    texts = [text for _, _, text in parts]
    # The four lines of its document
    assert [(name, level) for name, level, _ in parts[:4]] == [("image_edit_server", "INFO")] * 4
    assert texts[:4] == [
        "Loading model from /mnt/models...",
        "Model loaded successfully",
        "Processing image edit request: prompt='a beautiful landscape', n=1",
        "Image edit completed in 15.23s, generated 1 image(s)",
    ]
    # A prompt cannot make a line of its own
    assert texts[4].startswith("Processing image edit request: prompt=\"it's\\n2025-11-26")
    # Without leave there is no prompt
    assert texts[5] == "Processing image generation request: n=2"
    # Everything else tells its fields, and the request's id
    assert parts[6] == (
        "image_edit_server",
        "WARNING",
        "job_overdue job_id=j words='two words' nothing='' none=None many=['a', 1] request_id=r1",
    )
    # And other libraries' lines are theirs
    assert parts[7] == ("somebody.else", "ERROR", "a model_loaded 1 request_id=r1")
    assert parts[8][2] == "model_loaded request_id=r1"
