"""Nodes to rows and back: what their workers tell of themselves is kept as JSON, for people to look at."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import RowMapping

from danqing.core.shared_store import Node
from danqing.core.types import DeviceStatus, JobFailure, ModelStatus, WorkerState, WorkerStatus

T = TypeVar("T")
_Fields = Mapping[str, Any]  # Any: JSON values


def workers_text(workers: Sequence[WorkerStatus]) -> str:
    """The workers column. ASCII, so that no text in it is one that a database cannot hold."""
    return json.dumps([dataclasses.asdict(worker) for worker in workers], separators=(",", ":"))


def node_from(row: RowMapping) -> Node:
    """A node whose workers this version cannot read has none."""
    try:
        workers = tuple(_worker_from(fields) for fields in json.loads(row["workers"]))
    except (ValueError, TypeError, KeyError, AttributeError):
        workers = ()
    return Node(
        id=row["id"],
        name=row["name"],
        started_at=row["started_at"],
        workers=workers,
        draining=row["draining"] or row["drain_asked"],
    )


def _worker_from(fields: _Fields) -> WorkerStatus:
    return _made(
        WorkerStatus,
        fields,
        state=WorkerState(fields["state"]),
        models=tuple(fields["models"]),
        device=None if fields["device"] is None else _device_from(fields["device"]),
        failure=None if fields["failure"] is None else _made(JobFailure, fields["failure"]),
    )


def _device_from(fields: _Fields) -> DeviceStatus:
    loaded = tuple(_made(ModelStatus, model) for model in fields["loaded"])
    return _made(DeviceStatus, fields, models=tuple(fields["models"]), loaded=loaded)


def _made(kind: type[T], fields: _Fields, **read: object) -> T:
    """A dataclass of what is there. What a newer version has added is left out; what it left out has its default."""
    names = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: value for name, value in {**fields, **read}.items() if name in names})
