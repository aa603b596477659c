"""What a worker is: its name, its device, its models, and how its process builds the engine. Picklable."""

from dataclasses import dataclass

from danqing.core.batching import BatchRule
from danqing.workers.factory import ArtifactStoreFactory, EngineFactory, SetupFactory


@dataclass(frozen=True, kw_only=True)
class WorkerSpec:
    """id: stable over restarts, shown in status and kept with attempts. device: its name in the log ("cuda:0", "cpu").

    models: ids of the models that the engine makes pictures with. batches: which jobs it makes together; None: none.
    setup: run before anything else of it in the process (logging, say).
    """

    id: str
    device: str
    models: tuple[str, ...]
    engine: EngineFactory
    artifacts: ArtifactStoreFactory
    batches: BatchRule | None = None
    setup: SetupFactory | None = None


@dataclass(frozen=True, kw_only=True)
class WorkerRules:
    """When a worker counts as hung, how soon a dead one is started again. All times in seconds.

    A worker is killed when it says nothing for `heartbeat_timeout_s`, when loading takes `load_timeout_s`, or when a
    job is on its device and no step ends within max(`step_timeout_s`, `step_factor` times its usual step). Before the
    process's usual step is known (the first one may compile), before a job's first step (something may be loaded for
    it), and after its last one (decoding), that is `task_timeout_s` for each job of its batch, and `overdue_grace_s`,
    instead.
    """

    heartbeat_s: float = 1.0  # pause between two heartbeats
    heartbeat_timeout_s: float = 10.0
    step_timeout_s: float = 60.0
    step_factor: float = 20.0
    task_timeout_s: float = 300.0  # `JobRules.task_timeout_s`, after which an overdue job is asked to stop
    overdue_grace_s: float = 15.0  # more than `JobRules.stop_grace_s`, so that an overdue job can be dropped first
    load_timeout_s: float = 3600.0  # a first start may download the model
    check_s: float = 1.0  # pause between two looks at all workers
    first_backoff_s: float = 0.2  # before the first restart; doubles with each one
    max_backoff_s: float = 30.0
    stable_s: float = 60.0  # a process that was ready this long starts the back-off anew
    load_failures_until_broken: int = 3  # in a row; from then on it is tried every max_backoff_s
    ahead_s: float = 0.05  # before the device is expected to be free: from then on the next job may be claimed and sent
    max_finishing: int = 2  # batches begun and not stored yet, before the worker gets another job
    max_enlarging: int = 32  # stored ones, held in memory until they are enlarged, before the worker gets another job
    exit_grace_s: float = 5.0  # for an idle process to end as asked; at stop also for a killed one to be gone
    lost_grace_s: float = 30.0  # for a killed process to be gone, before its jobs count as lost all the same
