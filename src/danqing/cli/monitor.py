"""`danqing monitor`: how a running server is doing, once or again and again."""

import time
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, cast

import typer

from danqing.cli.options import DataDir
from danqing.cli.running_server import Beside, Key, Url, client_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from danqing.cli.genserve_client import GenServeClient


def monitor(
    continuous: Annotated[
        float | None,
        typer.Option("--continuous", min=0.1, metavar="SECONDS", help="Look again every so many seconds."),
    ] = None,
    url: Url = None,
    key: Key = None,
    data_dir: DataDir = None,
    beside: Beside = None,
) -> None:
    """Print how a running server is doing: processes, queue, models, GPU memory and, from the second look on, its rate.

    Ctrl-C ends it.

    Examples:

        danqing monitor

        danqing monitor --continuous 30

        danqing monitor --url http://192.168.1.20:12411 --key sesame
    """
    from danqing.cli.options import UserError

    with client_of(url, key, data_dir, beside) as client:
        look = take_look(client)
        print(_described(look, None), flush=True)
        if continuous is None:
            return
        try:
            while True:
                time.sleep(continuous)
                before = look
                try:
                    look = take_look(client)
                except UserError as exc:  # a server that is restarted is watched on
                    print(f"\n{_clock()}  {exc}", flush=True)
                    continue
                print(f"\n{_described(look, before)}", flush=True)
        except KeyboardInterrupt:
            print()


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a server said at a moment. figures: None where it does not tell them. answered_s: how long `/status` took.

    at: seconds on a clock that only goes forward.
    """

    at: float
    answered_s: float
    status: "Mapping[str, object]"
    models: "tuple[Mapping[str, object], ...]"
    figures: "Mapping[str, object] | None"


def take_look(client: "GenServeClient") -> Look:
    """Raises UserError if the server does not answer."""
    began = time.perf_counter()
    status = client.status()
    answered = time.perf_counter()
    return Look(
        at=answered,
        answered_s=answered - began,
        status=status,
        models=tuple(client.models()),
        figures=client.figures(),
    )


def _clock() -> str:
    return datetime.now().strftime("%H:%M:%S")


def _described(look: Look, before: Look | None) -> str:
    manager = _fields(look.status, "concurrent_manager")
    lines = [
        f"{_clock()}  {look.status.get('status')}, answers in {1000 * look.answered_s:.1f} ms",
        f"  processes   {manager.get('alive_processes')} alive, {manager.get('dead_processes')} dead, "
        f"{manager.get('total_restarts')} restarts",
        f"  queue       {manager.get('global_queue_size')} waiting{_queue_rest(look)}",
        f"  rate        {_rate(look, before)}",
        f"  GPU memory  {_memory(look)}",
    ]
    for number, model in enumerate(look.models):
        features = ", ".join(map(str, cast("list[object]", model.get("supported_features") or [])))
        lines.append(
            f"  {'models' if number == 0 else '':<10}  {model.get('model_id')} ({model.get('model_name')}): "
            f"{model.get('available_gpu_processes')} of {model.get('total_gpu_processes')} processes, {features}"
        )
    return "\n".join(lines)


def _queue_rest(look: Look) -> str:
    queue = _fields(look.figures, "queue")
    if not queue:
        return ""
    return (
        f", {queue.get('processing_tasks')} being made, {queue.get('completed_tasks')} completed, "
        f"{queue.get('failed_tasks')} failed or cancelled"
    )


def _rate(look: Look, before: Look | None) -> str:
    now, then = (_fields(one.figures, "queue").get("completed_tasks") if one else None for one in (look, before))
    if look.figures is None:
        return "not told on this port"
    if before is None or not isinstance(now, int) or not isinstance(then, int):
        return "known from the second look on"
    return f"{60 * max(0, now - then) / (look.at - before.at):.1f} pictures a minute"


def _memory(look: Look) -> str:
    if look.figures is None:
        return "not told on this port"
    gpu = _fields(look.figures, "gpu")
    if gpu.get("available") is not True:
        return "no GPU in use"
    return (
        f"{gpu.get('memory_allocated_gb')} of {gpu.get('memory_total_gb')} GB on {gpu.get('device')} "
        f"({gpu.get('memory_usage_percent')} %)"
    )


def _fields(parent: "Mapping[str, object] | None", name: str) -> "Mapping[str, object]":
    """The object of that name; an empty one if there is none."""
    value = parent.get(name) if parent else None
    return cast("Mapping[str, object]", value) if isinstance(value, dict) else {}
