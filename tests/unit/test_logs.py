"""Log lines, as they come out of a process of their own."""

import json
import subprocess
import sys

import pytest

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


def lines(shape: str, level: str = "info") -> list[str]:
    script = SCRIPT.format(shape=shape, level=level)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    return done.stderr.splitlines()


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
