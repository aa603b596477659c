"""What is known of named clients, and how much of it is kept."""

from danqing.core.types import Job
from danqing.dialects.live.clients import MAX_ABSENT, MAX_AWAITED, MAX_ENDED, Client, Clients
from danqing.dialects.live.schemas import RequestId


class Nobody:
    def __init__(self) -> None:
        self.recalls = 0

    def recall(self) -> None:
        self.recalls += 1

    def prepare(self, job: Job, *, previews: bool) -> None: ...

    def abandon(self, job: Job) -> None: ...

    def follow(self, job: Job, request_id: RequestId | None, *, previews: bool) -> None: ...


ANNA, BEN = Client(owner="local", name="anna"), Client(owner="local", name="ben")


def test_a_client_knows_an_end_once_it_was_delivered_until_that_is_doubted_or_it_asks_again() -> None:
    clients, connection = Clients(), Nobody()
    visit = clients.enter(ANNA, connection)
    clients.asked(ANNA, "job", "r1")
    assert not clients.knows_end(ANNA, "job")

    clients.delivered(ANNA, visit, "job")
    assert clients.knows_end(ANNA, "job")
    assert not clients.knows_end(BEN, "job")
    assert not clients.knows_end(Client(owner="key-1", name="anna"), "job")

    clients.doubt(ANNA, visit, ["job"])
    assert not clients.knows_end(ANNA, "job")
    assert connection.recalls == 1

    clients.delivered(ANNA, visit, "job")
    clients.asked(ANNA, "job", "r2")
    assert not clients.knows_end(ANNA, "job")
    assert clients.request_ids(ANNA, "job") == ("r1", "r2")


def test_what_was_told_over_another_connection_too_is_not_doubted() -> None:
    clients = Clients()
    first, second = clients.enter(ANNA, Nobody()), clients.enter(ANNA, Nobody())
    clients.delivered(ANNA, first, "job")
    clients.delivered(ANNA, second, "job")

    clients.doubt(ANNA, first, ["job"])

    assert clients.knows_end(ANNA, "job")


def test_memory_is_bounded() -> None:
    clients = Clients()
    for number in range(MAX_ABSENT + 50):
        client, connection = Client(owner="local", name=str(number)), Nobody()
        clients.enter(client, connection)
        clients.asked(client, "job", None)
        clients.leave(client, connection)
    for number in range(MAX_AWAITED + 50):
        clients.asked(ANNA, str(number), None)
    for number in range(50):
        clients.asked(ANNA, "last", str(number))

    # The oldest are forgotten
    assert clients.request_ids(Client(owner="local", name="0"), "job") == ()
    assert clients.request_ids(Client(owner="local", name=str(MAX_ABSENT)), "job") == (None,)
    assert clients.request_ids(ANNA, "0") == ()
    assert clients.request_ids(ANNA, str(MAX_AWAITED)) == (None,)
    assert clients.request_ids(ANNA, "last")[-1] == "49"
    assert len(clients.request_ids(ANNA, "last")) < 50


def test_a_job_that_is_awaited_is_not_forgotten_for_many_that_ended() -> None:
    clients = Clients()
    visit = clients.enter(ANNA, Nobody())
    clients.asked(ANNA, "awaited", "r")
    for number in range(MAX_ENDED + 50):
        clients.asked(ANNA, str(number), None)
        clients.delivered(ANNA, visit, str(number))

    assert clients.request_ids(ANNA, "awaited") == ("r",)
    assert [clients.knows_end(ANNA, str(number)) for number in (0, 49, 50, MAX_ENDED)] == [False, False, True, True]


def test_connected_clients_are_never_forgotten() -> None:
    clients, connection = Clients(), Nobody()
    clients.enter(ANNA, connection)
    clients.asked(ANNA, "job", "r")
    for number in range(MAX_ABSENT + 50):
        client, other = Client(owner="local", name=str(number)), Nobody()
        clients.enter(client, other)
        clients.leave(client, other)

    assert clients.recipients(ANNA) == (connection,)
    assert clients.request_ids(ANNA, "job") == ("r",)
