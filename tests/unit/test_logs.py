"""Log lines, as they come out of a process of their own."""

import json
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


@pytest.mark.parametrize("shape", ["json", "console"])
def test_tracebacks_have_no_local_variables(shape: str) -> None:
    text = "\n".join(lines(shape))
    assert "ValueError" in text
    assert "a secret prompt" not in text.replace('prompt = "a secret prompt"', "")


def test_the_level_is_for_our_own_lines() -> None:
    events = [json.loads(line)["event"] for line in lines("json", level="debug")]
    assert events == ["small_thing", "thing_happened", "thing_failed", "trouble 1"]
    assert [json.loads(line)["event"] for line in lines("json", level="error")] == ["thing_failed", "trouble 1"]


@pytest.mark.parametrize("shape", ["json", "console"])
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
