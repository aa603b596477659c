"""The Celery queue over real brokers: its own messages, its own worker threads."""

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from dataclasses import replace
from typing import ClassVar
from urllib.parse import urlsplit

import pytest
from kombu import Producer, Queue
from kombu.exceptions import ChannelError
from structlog.testing import capture_logs

from danqing.core.types import Job
from danqing.queue.celery_app import Broker, celery_app, queue_of
from danqing.queue.celery_depths import CeleryDepths
from danqing.queue.celery_feed import CeleryFeed, FeedEnds
from danqing.queue.celery_publisher import CeleryPublisher, job_id_of, task_id_of
from danqing.queue.celery_taking import CeleryTaking, TakingRules
from danqing.workers.claims import TakingQueue
from tests.contracts.job_queue import SOON_S, JobQueueContract, numbered
from tests.fakes.domain import NOW
from tests.fakes.line import InMemoryLine
from tests.services.cutting_proxy import CuttingProxy
from tests.services.rabbitmq import empty_queues, rabbitmq_url
from tests.services.redis import RedisServer, this_process_redis
from tests.zoo.house import until

MODELS = ("tiny", "large")
END_S = 60.0  # Celery ends when it pleases
ROUNDS = 3  # of which one alone shows little
THREADS = 32  # more than the jobs of a test, each of which keeps its message


class CeleryHouse:
    """Everything between `publish` and `take`, with what the dispatcher and the store do around them."""

    def __init__(self, url: str, *, max_running_of_owner: int | None = None, max_passes: int = 2) -> None:
        self.line = InMemoryLine()
        broker = Broker(url=url, models=MODELS, longest_s=60.0)
        self.publisher = CeleryPublisher(celery_app(broker))
        rules = TakingRules(max_running_of_owner=max_running_of_owner, max_passes=max_passes, patience_s=0.5)
        self.taking = CeleryTaking(line=self.line, publisher=self.publisher, rules=rules)
        self.asked_to_end = threading.Event()
        self.revoked: list[str] = []
        self.feed = CeleryFeed(
            celery_app(broker, self.taking.deliver),
            models=MODELS,
            hostname="danqing@tests",
            threads=THREADS,
            ends=FeedEnds(asked_to_end=self.asked_to_end.set, revoked=self.revoked.append),
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._takers = (f"taker-{number}" for number in itertools.count())
        self._taker_of: dict[str, str] = {}  # by job

    def start(self) -> None:
        self.publisher.start()
        self.feed.start()
        assert self.feed.consuming.wait(SOON_S)

    async def close(self) -> None:
        self.feed.end()
        self.taking.close()
        assert await asyncio.to_thread(self.feed.join, END_S)
        await asyncio.to_thread(self.publisher.close, within_s=SOON_S)

    def offer(self, job: Job) -> bool:
        return self.taking.offer(job)

    def came_back(self, job_id: str) -> bool:
        return self.taking.came_back(job_id)

    def is_refused(self, job_id: str) -> bool:
        return self.taking.is_refused(job_id)

    async def publish(self, job: Job) -> None:
        self.line.put(job)
        await self.taking.publish(job)

    async def move_up(self, job: Job) -> None:
        self.line.move_up(job)
        await self.taking.move_up(job)

    async def withdraw(self, job_id: str) -> None:
        self.line.withdraw(job_id)
        await self.taking.withdraw(job_id)

    async def take(self, models: Collection[str], *, warm: Collection[str] = (), taker: str = "") -> str:
        taker = taker or next(self._takers)
        while True:
            named = await self.taking.take(models, warm=warm, taker=taker)
            if (job := await self.taking.claim(named, taker, NOW)) is not None:
                self._taker_of[job.id] = taker
                return job.id
            self.missed(named, taker=taker)

    async def take_like(self, job: Job, most: int) -> Sequence[str]:
        return [job_id for job_id in await self.taking.take_like(job, most) if self.line.claim_named(job_id)]

    def done(self, job_id: str, *, taker: str = "") -> None:
        self.taking.done(job_id, taker=taker or self._taker_of.get(job_id, ""))
        if (job := self.line.end(job_id)) is not None:
            task = asyncio.create_task(self.settled(job))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def missed(self, job_id: str, *, taker: str = "") -> None:
        self.taking.missed(job_id, taker=taker)

    async def settled(self, job: Job) -> None:
        await self.taking.settled(job)


class CeleryContract(JobQueueContract):
    """On one broker."""

    implementation = CeleryTaking
    leaves_jobs_to_those_who_come = False  # they learn of them by messages that are under way
    scheme: ClassVar[str]

    @pytest.fixture(autouse=True)
    async def houses(self, url: str) -> AsyncIterator[None]:
        self.url = url
        self.opened: list[CeleryHouse] = []
        yield
        for house in self.opened:
            await house.close()

    def queue_of(self, *, max_running_of_owner: int | None = None, max_passes: int = 2) -> TakingQueue:
        assert not self.opened  # a second Celery worker in the process would be told to end with the first
        house = CeleryHouse(self.url, max_running_of_owner=max_running_of_owner, max_passes=max_passes)
        self.opened.append(house)
        house.start()
        return house

    def implementation_of(self, queue: TakingQueue) -> type:
        assert isinstance(queue, CeleryHouse)
        assert self.url.startswith(self.scheme)
        return type(queue.taking)


class TestCeleryOnRedis(CeleryContract):
    scheme = "redis"

    @pytest.fixture
    def url(self) -> str:
        server = this_process_redis()
        server.flush()
        return server.url


class TestCeleryOnRabbitMQ(CeleryContract):
    scheme = "amqp"

    @pytest.fixture
    def url(self) -> str:
        url = rabbitmq_url()
        empty_queues(url, [queue_of(model) for model in MODELS])
        return url


@pytest.fixture(params=["redis", "amqp"])
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    """A broker in which nothing waits."""
    if request.param == "amqp":
        url = rabbitmq_url()
        queues = [queue_of(model) for model in (*MODELS, "third")]
        empty_queues(url, queues)
        yield Broker(url=url, models=MODELS)
        empty_queues(url, queues)
    else:
        this_process_redis().flush()
        yield Broker(url=this_process_redis().url, models=MODELS)


async def test_what_waits_in_the_broker_is_counted_by_model(broker: Broker) -> None:
    # Given three messages
    publisher = CeleryPublisher(celery_app(broker))
    publisher.start()
    for job in (numbered(1), numbered(2), numbered(3, model="large")):
        await publisher.publish(job)
    await asyncio.to_thread(publisher.close, within_s=SOON_S)
    # Then they are counted, and a queue that is not there yet has none
    assert CeleryDepths(celery_app(broker)).of(["tiny", "large", "third"]) == {"tiny": 2, "large": 1, "third": 0}


async def test_a_message_may_be_sent_for_a_model_that_this_process_does_not_name(broker: Broker) -> None:
    # Given a process that fetches nothing of the model, and knows another one
    publisher = CeleryPublisher(celery_app(replace(broker, models=("third",))))
    publisher.start()
    # When it is to send for a job of that model, as the sweeper does, and for one of its own
    for job in (numbered(1, model="large"), numbered(2, model="third")):
        await publisher.publish(job)
    await asyncio.to_thread(publisher.close, within_s=SOON_S)
    # Then both messages are there
    assert CeleryDepths(celery_app(broker)).of(["large", "third"]) == {"large": 1, "third": 1}


async def test_a_message_that_is_refused_holds_up_nobody(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a broker that refuses whatever is of one model
    app = celery_app(broker)
    send = app.send_task

    def refuse_large(
        name: str, args: tuple[str], *, queue: Queue, task_id: str, producer: Producer, retry: bool
    ) -> None:
        if queue.name == queue_of("large"):
            raise ChannelError
        send(name, args, queue=queue, task_id=task_id, producer=producer, retry=retry)

    monkeypatch.setattr(app, "send_task", refuse_large)
    publisher = CeleryPublisher(app)
    # When such ones come before another
    with capture_logs() as logs:
        for job in (numbered(1, model="large"), numbered(2, model="large"), numbered(3)):
            await publisher.publish(job)
        publisher.start()
        await until(lambda: not publisher.waiting, "a publisher that has nothing left")
        await asyncio.to_thread(publisher.close, within_s=SOON_S)
    # Then that one is sent, and what was refused is told once; nobody calls it the broker's absence
    assert CeleryDepths(celery_app(broker)).of(MODELS) == {"tiny": 1, "large": 0}
    assert [(told["event"], told.get("model"), told.get("job_id")) for told in logs] == [
        ("message_refused", "large", "job-1")
    ]


async def test_what_waits_for_the_broker_is_counted_and_has_an_age() -> None:
    # Given a publisher that has not begun, and room for one
    publisher = CeleryPublisher(celery_app(Broker(url="redis://127.0.0.1:1/0", models=MODELS)), most_waiting=1)
    assert (publisher.waiting, publisher.waiting_s) == (0, 0.0)
    # Then it says what it keeps, also when it is given that twice
    assert publisher.send("tiny", "job-1")
    assert publisher.send("tiny", "job-1")
    assert not publisher.send("tiny", "job-2")
    assert publisher.waiting == 1
    assert publisher.waiting_s > 0


async def test_a_broker_that_does_not_answer_has_no_count_and_holds_nobody_up() -> None:
    # Given a Redis that is not there
    server = RedisServer()
    broker = Broker(url=server.url, models=MODELS)
    publisher = CeleryPublisher(celery_app(broker), most_waiting=2)
    publisher.start()
    assert CeleryDepths(celery_app(broker)).of(MODELS) is None
    # When more is sent than may wait, then nobody is held up, and nothing more is kept
    for number in range(5):
        await publisher.publish(numbered(number))
    assert publisher.waiting <= 3  # one may just be tried
    # And when it comes, what was kept is sent
    server.start()
    try:
        depths = CeleryDepths(celery_app(broker))
        await until(lambda: bool((depths.of(["tiny"]) or {}).get("tiny")), "a message")
    finally:
        await asyncio.to_thread(publisher.close, within_s=SOON_S)
        server.kill()


def test_a_jobs_task_has_its_uuid() -> None:
    job_id = "0f0a4d3e-3b8f-4dc5-9e43-53a0a3c0f9aa"
    assert task_id_of(job_id) == "0f0a4d3e3b8f4dc59e4353a0a3c0f9aa"
    assert job_id_of(task_id_of(job_id)) == job_id
    assert job_id_of(task_id_of("no uuid")) == "no uuid"


def test_the_brokers_password_is_nowhere_to_be_read() -> None:
    broker = Broker(url="redis://:secret@somewhere/0", models=MODELS)
    assert "secret" not in f"{broker!r} {celery_app(broker)!r}"


async def test_nothing_is_fetched_for_devices_that_cannot_work(broker: Broker) -> None:
    # Given a node that fetches nothing for now
    house = CeleryHouse(broker.url)
    house.start()
    house.feed.paused.set()
    await until(lambda: not house.feed.is_fetching, "a feed that has heard it")
    # When a job comes, then its message stays in the broker, for others
    await house.publish(numbered(1))
    depths = CeleryDepths(celery_app(broker))
    await until(lambda: (depths.of(["tiny"]) or {}).get("tiny") == 1, "a message that waits")
    assert house.taking.waiting == 0
    # Until it can work again
    house.feed.paused.clear()
    assert await asyncio.wait_for(house.take(MODELS), SOON_S) == "job-1"
    await house.close()


def test_only_celerys_own_loop_talks_to_the_broker_about_how_much_to_fetch() -> None:
    app = celery_app(Broker(url="amqp://127.0.0.1:1", models=MODELS))
    assert app.conf.worker_enable_prefetch_count_reduction is False  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.filterwarnings("ignore::celery.exceptions.CPendingDeprecationWarning")  # at each reconnection
async def test_a_connection_that_breaks_with_messages_in_hand_fetches_again_and_as_many_as_before() -> None:
    # Given a RabbitMQ behind a network that can be cut, and a worker that keeps at most four messages
    url, queues = rabbitmq_url(), [queue_of(model) for model in MODELS]
    empty_queues(url, queues)
    there = urlsplit(url)
    proxy = CuttingProxy(there.port or 5672)
    broker = Broker(url=url.replace(f":{there.port}", f":{proxy.port}"), models=MODELS)
    got: list[str] = []
    may_go = threading.Event()

    def deliver(model: str, job_id: str) -> bool:
        got.append(job_id)
        return may_go.wait(END_S)

    ends = FeedEnds(asked_to_end=lambda: None, revoked=lambda job_id: None)
    app = celery_app(broker, deliver)
    feed = CeleryFeed(app, models=MODELS, hostname="danqing@tests", threads=4, ends=ends)
    publisher = CeleryPublisher(celery_app(replace(broker, url=url)))
    publisher.start()
    feed.start()
    try:
        assert await asyncio.to_thread(feed.consuming.wait, SOON_S)
        for cut in range(ROUNDS):
            # When it is cut while two are in hand, and those are given back once it is there again
            for number in range(2):
                publisher.send("tiny", f"held-{cut}-{number}")
            await until(lambda cut=cut: {f"held-{cut}-0", f"held-{cut}-1"} <= {*got}, "two messages in hand")
            proxy.cut_all()
            await until(lambda cut=cut: got.count(f"held-{cut}-0") == 2, "the same messages once more")
            may_go.set()
            # Then another one comes at once
            publisher.send("large", f"new-{cut}")
            await until(lambda cut=cut: f"new-{cut}" in got, "a new message")
            may_go.clear()
        # And there may still be four of them in hand, and no more
        depths = CeleryDepths(celery_app(replace(broker, url=url)))
        for number in range(6):
            publisher.send("tiny", f"last-{number}")
        await until(lambda: sum(job_id.startswith("last-") for job_id in got) == 4, "four messages in hand")
        await until(lambda: (depths.of(["tiny"]) or {}).get("tiny") == 2, "two messages that wait")
    finally:
        may_go.set()
        feed.end()
        assert await asyncio.to_thread(feed.join, END_S)
        await asyncio.to_thread(publisher.close, within_s=SOON_S)
        proxy.close()
        empty_queues(url, queues)
