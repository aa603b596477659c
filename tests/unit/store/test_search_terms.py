"""The numbers by which jobs are found: who has what is looked for has its numbers, and they stay what they are."""

from hypothesis import given
from hypothesis import strategies as st

from danqing.core.batches import BatchFilter
from danqing.core.types import Mode
from danqing.store.search_terms import MOST_WANTED, TERMS, terms_of, terms_wanted


@given(st.text(max_size=40), st.text(min_size=1, max_size=20), st.text(max_size=40))
def test_a_prompt_has_all_terms_of_what_is_in_it(before: str, word: str, after: str) -> None:
    wanted = BatchFilter(words=(word,), model="tiny", mode=Mode.EDIT)
    its = terms_of("me", "tiny", "edit", before + (word.upper() if word.isascii() else word) + after)
    assert set(terms_wanted("me", wanted)) <= its
    assert all(0 <= term < TERMS for term in its)


def test_what_is_no_part_of_it_has_other_terms() -> None:
    its = terms_of("me", "tiny", "text2img", "一只猫 on a table")
    for wanted in (
        BatchFilter(words=("狗",)),
        BatchFilter(words=("只狗",)),
        BatchFilter(words=("basilisk",)),
        BatchFilter(model="other"),
        BatchFilter(mode=Mode.EDIT),
    ):
        assert not set(terms_wanted(None, wanted)) <= its
    assert not set(terms_wanted("you", BatchFilter(words=("猫",)))) <= its


def test_not_all_terms_of_long_words_are_looked_for() -> None:
    long = BatchFilter(words=tuple("abcdefghijklmnopqrstuvwxyz"[start:] for start in range(5)), model="tiny")
    assert 3 < len(terms_wanted("me", long)) <= MOST_WANTED + 2
    assert set(terms_wanted("me", long)) <= terms_of("me", "tiny", "edit", "abcdefghijklmnopqrstuvwxyz")


def test_without_words_model_and_mode_there_is_only_the_owner_to_look_for() -> None:
    assert terms_wanted(None, BatchFilter(promising=True)) == []
    # And whoever has few jobs need not look at everybody's
    assert set(terms_wanted("me", BatchFilter(promising=True))) <= terms_of("me", "tiny", "edit", "")
    assert not set(terms_wanted("you", BatchFilter(promising=True))) <= terms_of("me", "tiny", "edit", "")


def test_the_numbers_are_those_that_databases_hold() -> None:
    """Others would make every index that is stored useless, and searches miss what is there."""
    assert sorted(terms_of("local", "tiny", "edit", "A猫")) == [5964, 7696, 8391, 12287, 14390, 16316]
