"""The short run of what `make chaos` does at length: a real server, and a real cluster, killed where something is lost
most easily.
"""

from pathlib import Path

import pytest

from tests.chaos.cluster_runner import ClusterChaos
from tests.chaos.points import ClusterPoint, Point
from tests.chaos.runner import Chaos, plan

POINTS = (
    Point.HALF_WRITTEN,
    Point.WRITTEN_SERVER,
    Point.STOPPED,
    Point.DISK_FULL,
    Point.COMMITTED,
)


CLUSTER_POINTS = (
    ClusterPoint.BEFORE_ANSWER,
    ClusterPoint.STEP_NODE,
    ClusterPoint.WRITTEN_WORKER,
    ClusterPoint.REDIS,
    ClusterPoint.API,
)


@pytest.mark.timeout(300)
def test_nothing_is_lost_whatever_dies(tmp_path: Path) -> None:
    # Given a server under load from clients of every dialect
    chaos = Chaos(tmp_path, seed=5)
    # When it, its worker and its disk are struck
    report = chaos.run(POINTS)
    # Then every strike came, and all that was promised is there, once and whole
    assert report.is_clean, "\n".join(report.lines())
    assert report.strikes == dict.fromkeys(POINTS, 1)
    assert report.kills == 4
    assert len(report.promises.job_ids) > 10
    assert report.findings.ends["completed"] > 10


@pytest.mark.timeout(300)
def test_nothing_is_lost_of_a_cluster_whatever_dies(tmp_path: Path) -> None:
    # Given two API processes and two nodes over PostgreSQL, Redis and an object store, under load as above
    chaos = ClusterChaos(tmp_path, seed=5)
    # When one of each is struck
    report = chaos.run(CLUSTER_POINTS)
    # Then every strike came, and all that was promised is there, once and whole
    assert report.is_clean, "\n".join(report.lines())
    assert report.strikes == dict.fromkeys(CLUSTER_POINTS, 1)
    assert report.kills == 5
    assert len(report.promises.job_ids) > 10
    assert report.findings.ends["completed"] > 10


def test_a_plan_has_its_kills_and_every_point_equally_often() -> None:
    # Given the plan of a long run
    planned = plan(500, Point, seed=1)
    # Then it is the same whenever it is made, and another with another seed
    assert planned == plan(500, Point, seed=1) != plan(500, Point, seed=2)
    # And no point is left out
    assert {planned.count(point) for point in Point} == {len(planned) // len(Point)}
    assert sum(point.kills for point in planned) >= 500
