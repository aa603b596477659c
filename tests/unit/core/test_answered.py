"""What a submit was answered with is known for a while, here and at the neighbours."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from danqing.core import answered as module
from danqing.core.answered import Answered
from danqing.core.keeping import KEPT_AT_LEAST
from danqing.core.states import JobState
from tests.fakes.domain import a_job

HOUR_S = KEPT_AT_LEAST.total_seconds()
DONE = replace(a_job(), state=JobState.COMPLETED)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Room:
    """Everybody in it hears what the others say."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[str], None]] = []

    def say(self, topic: str, words: str) -> None:
        for heard in self._listeners:
            heard(words)

    def hear(self, topic: str, heard: Callable[[str], None]) -> None:
        self._listeners.append(heard)


def test_an_answer_is_known_for_an_hour_since_it_was_one_last() -> None:
    clock = Clock()
    answered = Answered(clock=clock)
    assert not answered.lately(DONE.id)
    answered.note(DONE)
    clock.now = HOUR_S
    assert answered.lately(DONE.id)
    answered.note(DONE)
    clock.now = 2 * HOUR_S
    assert answered.lately(DONE.id)
    clock.now += 1
    assert not answered.lately(DONE.id)


def test_a_job_that_is_under_way_has_its_hour_when_it_ends() -> None:
    answered = Answered()
    under_way = a_job()
    answered.note(under_way)
    assert not answered.lately(under_way.id)


def test_neighbours_know_it_too() -> None:
    room = Room()
    here, there = Answered(neighbours=room), Answered(neighbours=room)
    here.note(DONE)
    assert there.lately(DONE.id)


def test_neither_what_is_old_nor_what_is_too_much_takes_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 3)
    clock = Clock()
    answered, jobs = Answered(clock=clock), [replace(DONE, id=str(number)) for number in range(6)]
    for job in (*jobs[:3], jobs[0], jobs[3]):
        answered.note(job)
    assert [answered.lately(job.id) for job in jobs] == [True, False, True, True, False, False]
    clock.now = HOUR_S + 1
    answered.note(jobs[5])
    assert list(answered._at) == [jobs[5].id]
