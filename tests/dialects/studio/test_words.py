"""The page has words, in both languages, for all that the server may tell it."""

import re
from pathlib import Path
from string import Formatter

import pytest

import danqing
from danqing.core.errors import DanqingError
from danqing.core.sentences import SENTENCES
from tests.dialects.studio.test_errors import subclasses

WEB = Path(danqing.__file__).parent / "web"
ENTRY = re.compile(r'^  (\w+): "(.*)",$', re.MULTILINE)
NOT_BY_THE_PAGE = {"at_most", "takes_no_picture", "side_when_upscaled"}  # it sends no such request


def words(language: str) -> tuple[dict[str, str], dict[str, str]]:
    """Of errors and of sentences, by code."""
    errors, sentences = (WEB / "later" / f"said_{language}.js").read_text().split("Sentences = {")
    return dict(ENTRY.findall(errors)), dict(ENTRY.findall(sentences))


def fields(text: str) -> set[str]:
    return {name.partition("|")[0] for _, name, _, _ in Formatter().parse(text) if name}


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_core_error_has_words(language: str) -> None:
    errors, _ = words(language)
    general = dict(ENTRY.findall((WEB / "lib" / "said.js").read_text().partition("const GENERAL = {")[2]))
    assert general
    for kind in subclasses(DanqingError):
        assert general.get(kind.code, kind.code) in errors, kind.code


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_sentence_has_words_that_use_only_what_it_tells(language: str) -> None:
    _, sentences = words(language)
    assert set(sentences) == set(SENTENCES) - NOT_BY_THE_PAGE
    for code, text in sentences.items():
        assert fields(text) <= fields(SENTENCES[code]), code


def test_both_languages_have_the_same_words() -> None:
    assert [set(part) for part in words("en")] == [set(part) for part in words("zh")]
