"""The group-commit thread, over a real SQLite file and functions of the test's own."""

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from pathlib import Path

import pytest
from sqlalchemy import Connection

from danqing.core.errors import StorageFailure
from danqing.store.connections import open_writing
from danqing.store.writer import GroupCommitWriter

WAIT_S = 10.0


class Bench:
    """A writer, what SQLite was told on its connection, and what the writer said was committed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sql: list[str] = []
        self.committed: list[int] = []
        self.connection = open_writing(path)
        with self.connection.begin():
            self.connection.exec_driver_sql("CREATE TABLE numbers (number INTEGER PRIMARY KEY)")
            self.connection.exec_driver_sql(
                "CREATE TABLE children (number REFERENCES numbers DEFERRABLE INITIALLY DEFERRED)"
            )
        driver = self.connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        driver.set_trace_callback(self.sql.append)
        self.writer = GroupCommitWriter(self.connection)

    def submit(self, work: Callable[[Connection], int], *, durable: bool) -> Future[int]:
        """Queues a call whose result is kept in `committed`."""
        return self.writer.submit(work, durable=durable, on_commit=self.committed.append)

    def insert(self, number: int) -> Callable[[Connection], int]:
        def work(connection: Connection) -> int:
            connection.exec_driver_sql("INSERT INTO numbers VALUES (?)", (number,))
            return number

        return work

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Inside, the writer's thread has just committed a first call (number 0), so that others queue up behind it."""
        started, go = threading.Event(), threading.Event()

        def hold(number: int) -> None:
            self.committed.append(number)
            started.set()
            assert go.wait(WAIT_S)

        first = self.writer.submit(self.insert(0), durable=True, on_commit=hold)
        assert started.wait(WAIT_S)
        yield
        go.set()
        assert first.result(WAIT_S) == 0

    @contextlib.contextmanager
    def at_work(self, *, durable: bool) -> Iterator[Future[int]]:
        """Inside, a first call (number 1) is being run, so that others come while its transaction is written."""
        running, go = threading.Event(), threading.Event()

        def work(connection: Connection) -> int:
            running.set()
            assert go.wait(WAIT_S)
            return self.insert(1)(connection)

        first = self.submit(work, durable=durable)
        assert running.wait(WAIT_S)
        yield first
        go.set()

    def stored(self) -> set[int]:
        """What another connection sees."""
        with contextlib.closing(sqlite3.connect(self.path)) as connection:
            return {row[0] for row in connection.execute("SELECT number FROM numbers")}

    def count(self, word: str) -> int:
        return sum(statement.upper().startswith(word) for statement in self.sql)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path / "numbers.db")
    yield bench
    bench.writer.close()


def test_waiting_calls_share_one_commit(bench: Bench) -> None:
    # Given fifty calls that wait while the first one is written
    with bench.held():
        calls = [bench.submit(bench.insert(n), durable=True) for n in range(1, 51)]
    # When all are answered
    assert [call.result(WAIT_S) for call in calls] == list(range(1, 51))
    # Then there were two commits, and everything is there, in order
    assert bench.count("COMMIT") == 2
    assert bench.stored() == set(range(51))
    assert bench.committed == list(range(51))


@pytest.mark.parametrize("is_first_durable", [True, False])
@pytest.mark.parametrize("is_later_durable", [True, False])
def test_what_comes_while_a_transaction_is_written_shares_it(
    bench: Bench, is_first_durable: bool, is_later_durable: bool
) -> None:
    # Given a call that is just being run when another one comes
    with bench.at_work(durable=is_first_durable) as first:
        later = [bench.submit(bench.insert(n), durable=is_later_durable) for n in (2, 3)]
    # Then all are answered in order, with one commit; but what is promised is not left to one that is not synced
    assert [call.result(WAIT_S) for call in (first, *later)] == [1, 2, 3]
    assert bench.stored() == {1, 2, 3}
    assert bench.committed == [1, 2, 3]
    assert bench.count("COMMIT") == (2 if is_later_durable and not is_first_durable else 1)


@pytest.mark.parametrize("durable", ["ndd", "nnddnd", "ndnd", "ndn"])
def test_none_is_lost_or_overtaken_while_one_is_left_for_the_next_transaction(bench: Bench, durable: str) -> None:
    # Given a call that is not synced, and others that come while it is run, of which some (d) are promises
    with bench.at_work(durable=False):
        later = [bench.submit(bench.insert(n), durable=kind == "d") for n, kind in enumerate(durable, 2)]
    # Then all are answered, in order
    numbers = list(range(2, 2 + len(durable)))
    assert [call.result(WAIT_S) for call in later] == numbers
    assert bench.committed == [1, *numbers]


def test_closing_runs_what_was_left_for_the_next_transaction(bench: Bench) -> None:
    # Given a call that is not synced, and promises that come while it is run
    with bench.at_work(durable=False):
        later = [bench.submit(bench.insert(n), durable=True) for n in (2, 3, 4)]
        assert later[0].cancel()
        closer = threading.Thread(target=bench.writer.close)
        closer.start()
    closer.join(WAIT_S)
    assert [call.result(0) for call in later[1:]] == [3, 4]
    assert bench.stored() == {1, 3, 4}


def test_a_transaction_takes_only_so_many_calls(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("danqing.store.writer.MAX_CALLS_PER_TRANSACTION", 4)
    with bench.at_work(durable=True):
        later = [bench.submit(bench.insert(n), durable=True) for n in range(2, 10)]
    assert [call.result(WAIT_S) for call in later] == list(range(2, 10))
    assert bench.count("COMMIT") == 3


def test_a_latecomer_that_fails_takes_no_other_with_it(bench: Bench) -> None:
    with bench.at_work(durable=True) as first:
        twice, after = bench.submit(bench.insert(1), durable=True), bench.submit(bench.insert(2), durable=True)
    assert (first.result(WAIT_S), after.result(WAIT_S)) == (1, 2)
    assert isinstance(twice.exception(WAIT_S), StorageFailure)
    assert bench.stored() == {1, 2}


def test_results_of_any_kind_are_told_to_whom_it_concerns(bench: Bench) -> None:
    # Given calls with results of different kinds, one of which nobody wants to be told of
    texts: list[str] = []
    with bench.held():
        calls = [
            bench.writer.submit(lambda _: "text", durable=True, on_commit=texts.append),
            bench.writer.submit(lambda _: None, durable=False),
        ]
    # Then each caller has its own
    assert [call.result(WAIT_S) for call in calls] == ["text", None]
    assert (texts, bench.committed) == (["text"], [0])


def test_a_call_that_fails_takes_no_other_with_it(bench: Bench) -> None:
    # Given three calls of one transaction, the second of which breaks a rule after it wrote something
    def breaking(connection: Connection) -> int:
        bench.insert(2)(connection)
        return bench.insert(1)(connection)

    with bench.held():
        calls = [bench.submit(work, durable=True) for work in (bench.insert(1), breaking, bench.insert(3))]
    # Then it alone fails, and nothing of it is stored
    assert calls[0].result(WAIT_S) == 1
    assert isinstance(calls[1].exception(WAIT_S), StorageFailure)
    assert calls[2].result(WAIT_S) == 3
    assert bench.stored() == {0, 1, 3}
    assert bench.committed == [0, 1, 3]


def test_a_failed_commit_fails_its_calls_and_no_later_ones(bench: Bench) -> None:
    # Given two calls of one transaction, one of which breaks a rule that SQLite checks at the commit
    def orphan(connection: Connection) -> int:
        connection.exec_driver_sql("INSERT INTO children VALUES (99)")
        return 99

    with bench.held():
        calls = [bench.submit(work, durable=True) for work in (bench.insert(1), orphan)]
    # Then both fail, none is stored or counted, and the next call works
    assert all(isinstance(call.exception(WAIT_S), StorageFailure) for call in calls)
    assert bench.submit(bench.insert(2), durable=True).result(WAIT_S) == 2
    assert bench.stored() == {0, 2}
    assert bench.committed == [0, 2]


def test_a_lost_transaction_fails_all_its_calls(bench: Bench) -> None:
    # Given a call under which SQLite rolls the whole transaction back, as it does when the disk is full
    def losing(connection: Connection) -> int:
        connection.exec_driver_sql("ROLLBACK")
        return bench.insert(0)(connection)

    with bench.held():
        calls = [bench.submit(work, durable=True) for work in (bench.insert(1), losing, bench.insert(3))]
    # Then all of that transaction fail, none is stored or counted, and the next call works
    assert all(isinstance(call.exception(WAIT_S), StorageFailure) for call in calls)
    assert bench.submit(bench.insert(4), durable=True).result(WAIT_S) == 4
    assert bench.stored() == {0, 4}
    assert bench.committed == [0, 4]


def test_only_promises_are_synced(bench: Bench) -> None:
    # Given calls one after the other, each its own transaction
    def run(number: int, *, durable: bool) -> None:
        bench.submit(bench.insert(number), durable=durable).result(WAIT_S)

    run(1, durable=False)
    run(2, durable=False)
    run(3, durable=True)
    run(4, durable=False)
    # Then the setting is changed when the kind changes
    settings = [statement.split()[-1] for statement in bench.sql if "synchronous" in statement]
    assert settings == ["NORMAL", "FULL", "NORMAL"]
    assert bench.count("COMMIT") == 4


def test_a_promise_makes_its_whole_transaction_durable(bench: Bench) -> None:
    with bench.held():
        bench.sql.clear()
        lazy = bench.submit(bench.insert(1), durable=False)
        promised = bench.submit(bench.insert(2), durable=True)
    assert (lazy.result(WAIT_S), promised.result(WAIT_S)) == (1, 2)
    assert not any("NORMAL" in statement for statement in bench.sql)


def test_a_call_cancelled_in_time_is_not_run(bench: Bench) -> None:
    with bench.held():
        call = bench.submit(bench.insert(1), durable=True)
        assert call.cancel()
    with pytest.raises(CancelledError):
        call.result(WAIT_S)
    bench.writer.close()
    assert bench.stored() == {0}


def test_closing_runs_what_is_queued_and_refuses_the_rest(bench: Bench) -> None:
    # Given calls in the queue when the writer is closed from several threads
    calls: list[Future[int]] = []
    with bench.held():
        calls += [bench.submit(bench.insert(n), durable=True) for n in range(1, 6)]
        closers = [threading.Thread(target=bench.writer.close) for _ in range(3)]
        for closer in closers:
            closer.start()
    for closer in closers:
        closer.join(WAIT_S)
        assert not closer.is_alive()
    # Then they were run, and no further call is taken
    assert [call.result(0) for call in calls] == [1, 2, 3, 4, 5]
    with pytest.raises(StorageFailure):
        bench.submit(bench.insert(6), durable=True)
    assert bench.stored() == set(range(6))


def test_a_locked_file_fails_the_call_and_works_again_later(bench: Bench) -> None:
    # Given another program that holds the file's lock, and a writer that does not wait for it
    driver = bench.connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    driver.execute("PRAGMA busy_timeout = 0")
    with contextlib.closing(sqlite3.connect(bench.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        # When a call comes
        call = bench.submit(bench.insert(1), durable=True)
        # Then it fails
        assert isinstance(call.exception(WAIT_S), StorageFailure)
        other.execute("ROLLBACK")
    # And the next one works.
    assert bench.submit(bench.insert(2), durable=True).result(WAIT_S) == 2
    assert bench.stored() == {2}


def test_a_commit_that_cannot_be_counted_is_told_to_its_caller_alone(bench: Bench) -> None:
    def broken(_: int) -> None:
        raise RuntimeError

    with bench.held():
        calls = [
            bench.submit(bench.insert(1), durable=True),
            bench.writer.submit(bench.insert(2), durable=True, on_commit=broken),
            bench.submit(bench.insert(3), durable=True),
        ]
    assert calls[0].result(WAIT_S) == 1
    assert isinstance(calls[1].exception(WAIT_S), StorageFailure)
    assert calls[2].result(WAIT_S) == 3
    assert (bench.stored(), bench.committed) == ({0, 1, 2, 3}, [0, 1, 3])
