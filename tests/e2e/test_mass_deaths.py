"""Many nodes gone at once, and a sweeper that stands still with its lock in hand: no job is lost or stuck."""

import asyncio
import signal
from pathlib import Path

import psutil
import psycopg

from danqing.core.clock import utc_now
from danqing.core.shared_store import Node, worker_of_node
from danqing.store.postgres import PostgresStores
from tests.e2e.cluster import Cluster, a_small_cluster
from tests.e2e.servers import PNG, until
from tests.fakes.domain import NO_LIMIT, a_job, a_request

NODES = 200


async def many_nodes(cluster: Cluster) -> list[str]:
    """Ids of jobs, each of which a node of its own runs. These nodes are nothing but their rows."""
    stores = await asyncio.to_thread(PostgresStores.open, cluster.database_url)
    job_ids: list[str] = []
    for number in range(NODES):
        node = Node(id=f"box-{number}-a", name=f"box-{number}", started_at=utc_now())
        assert not await stores.nodes.beat(node, lease_s=3600)
        request = a_request(model="sample", prompt=f"number {number}", width=64, height=64, num_inference_steps=4)
        job = await stores.jobs.add(a_job(request=request), NO_LIMIT)
        assert await stores.jobs.claim(job.id, worker_of_node(node.id, "cuda-0"), utc_now())
        job_ids.append(job.id)
    await stores.close()
    return job_ids


def ask(cluster: Cluster, sql: str) -> list[tuple[object, ...]]:
    with psycopg.connect(cluster.database_url) as connection:
        return connection.execute(sql.encode()).fetchall()


def test_two_hundred_nodes_die_at_once(tmp_path: Path) -> None:
    with a_small_cluster(tmp_path) as cluster:
        # Given as many nodes in the middle of a job each, two of them real
        api, real = cluster.api(), [cluster.node(f"real-{number}") for number in range(2)]
        cluster.until_consuming(*real)
        running = [api.submit("waits at the gate", side=side) for side in (64, 128)]
        for job_id in running:
            api.wait_for(job_id, "processing")
        jobs = running + asyncio.run(many_nodes(cluster))
        # When all of them are gone at once, and one other node is there
        for node in real:
            node.kill_everything()
        with psycopg.connect(cluster.database_url) as connection:
            connection.execute("UPDATE nodes SET lease_until = clock_timestamp() WHERE name LIKE 'box-%'")
        cluster.zoo.open_gate("gate")
        cluster.node("other")

        def completed() -> int:
            return len(ask(cluster, "SELECT FROM jobs WHERE state = 'completed'"))

        # Then it makes every job, in another attempt each
        while (before := completed()) < len(jobs):
            until(lambda before=before: completed() > before, "the next picture")
        attempts = ask(cluster, "SELECT count(*), min(failure_code), max(failure_code) FROM attempts GROUP BY job_id")
        assert len(attempts) == len(jobs)
        for count, *codes in attempts:  # one more where the other node stood still for longer than its lease
            assert (count in (2, 3), codes) == (True, ["server_restarted"] * 2)
        # And nothing of the dead is left but what they were
        assert ask(cluster, "SELECT DISTINCT state FROM jobs") == [("completed",)]
        assert all(api.picture(job_id).startswith(PNG) for job_id in jobs[:: NODES // 10])


def test_a_sweeper_that_stands_still_with_its_lock_holds_nobody_up(tmp_path: Path) -> None:
    with a_small_cluster(tmp_path) as cluster:
        # Given an API process that is stopped as it gives back a dead node's job, with the lock for that
        first = cluster.new_api("first", ("-m", "tests.e2e.stopping_api", str(tmp_path)))
        first.start()
        node = cluster.node("first-node")
        job_id = first.submit("waits at the gate")
        first.wait_for(job_id, "processing")
        node.kill_everything()
        until((tmp_path / "stopped").exists, "a sweeper that has the lock")
        assert first.process is not None
        stopped = psutil.Process(first.process.pid)
        until(lambda: stopped.status() == psutil.STATUS_STOPPED, "a process that stands still")
        assert ask(cluster, "SELECT state FROM jobs") == [("processing",)]
        # When others are there, then one of them has the lock once PostgreSQL has taken it from the silent one
        other, second = cluster.api("other"), cluster.node("second-node")
        until(lambda: '"orphans_given_back"' in other.log + second.log, "the job to be given back")
        cluster.zoo.open_gate("gate")
        other.wait_for(job_id, "completed")
        sql = f"SELECT count(*), min(failure_code), max(failure_code) FROM attempts WHERE job_id = '{job_id}'"
        ((count, *codes),) = ask(cluster, sql)  # one more where the other node stood still for longer than its lease
        assert (count in (2, 3), codes) == (True, ["server_restarted"] * 2)
        # And the one that stood still changes nothing any more, and works again
        first.process.send_signal(signal.SIGCONT)
        until(lambda: '"store_lock_was_lost"' in first.log, "it to hear that its lock is gone")
        again = first.submit("another one")
        first.wait_for(again, "completed")
        assert ask(cluster, sql) == [(count, *codes)]
