"""What `danqing doctor` looks at on this machine: each check is a function of the settings that returns a finding."""

import importlib.metadata
import os
import platform
import shutil
import socket
import sqlite3
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import psutil
from packaging.version import Version

from danqing.cli.findings import Finding, Verdict
from danqing.cli.server_file import find_announced
from danqing.cli.shared_checks import check_shared_parts
from danqing.config import InvalidSettings, Settings, cuda_visible_devices
from danqing.core.capabilities import ModelCard
from danqing.core.errors import DanqingError, ModelLoadFailure
from danqing.core.extras import how_to_install
from danqing.devices import installed_gpus, torch_has_cuda, visible_gpu_count
from danqing.model_files import files_state, is_local, missing_companions, obstacles, way_out
from danqing.wiring import build_catalogue, device_choice, find_upscaler, listeners, most_memory

# Below these, a published weakness can be reached through what Danqing does with the package.
SECURITY_FLOORS = {
    "pillow": "13.0.0",
    "starlette": "1.3.1",
    "diffusers": "0.42.1",
    "torch": "2.10.0",
    "transformers": "5.2.1",
}
# Releases of SQLite in which two connections that write or checkpoint at once can damage a WAL database.
WAL_RESET_FIXED = Version("3.51.3")
WAL_RESET_BACKPORTS = {(3, 44): Version("3.44.6"), (3, 50): Version("3.50.7")}

LITTLE_MEMORY_BYTES = 2 * 1024**3
LITTLE_DISK_BYTES = 1024**3
NO_DISK_BYTES = 50 * 1024**2


def all_findings(settings: Settings) -> list[Finding]:
    """Every check in the order of the report. Blocking; a second or so, and some more where a part does not answer."""
    checks: tuple[Callable[[Settings], Finding], ...] = (
        check_python,
        check_system,
        check_memory,
        check_torch,
        check_gpus,
        check_disk,
        check_data_dir,
        check_port,
        check_metrics_port,
        check_packages,
        check_upscaler,
        check_models,
    )
    stores = check_shared_parts(settings)
    if settings.database_url is None:
        stores = [check_sqlite(settings), *stores]
    return [*(check(settings) for check in checks), *stores]


def check_python(_: Settings) -> Finding:
    """Python itself; older ones cannot even import us, so this only reports."""
    return Finding(verdict=Verdict.OK, subject="Python", text=platform.python_version())


def check_system(_: Settings) -> Finding:
    """The operating system and the processor."""
    text = f"{platform.system()} {platform.release()}, {platform.machine()}, {os.cpu_count()} cores"
    if platform.system() == "Linux":
        return Finding(verdict=Verdict.OK, subject="system", text=text)
    return Finding(verdict=Verdict.WARNING, subject="system", text=f"{text}; Danqing is tested on Linux only")


def check_memory(_: Settings) -> Finding:
    """Main memory that is free now."""
    memory = psutil.virtual_memory()
    text = f"{_gb(memory.available)} free of {_gb(memory.total)}"
    if memory.available < LITTLE_MEMORY_BYTES:
        return Finding(verdict=Verdict.WARNING, subject="memory", text=f"{text}; the sample model alone needs 1.5 GB")
    return Finding(verdict=Verdict.OK, subject="memory", text=text)


def check_torch(_: Settings) -> Finding:
    """The installed torch, told by its metadata: importing it takes seconds."""
    build = "can use NVIDIA GPUs" if torch_has_cuda() else "CPU only"
    return Finding(verdict=Verdict.OK, subject="torch", text=f"{importlib.metadata.version('torch')} ({build})")


def check_gpus(settings: Settings) -> Finding:
    """The GPUs that workers would use."""
    gpus = installed_gpus()
    if not gpus:
        return Finding(verdict=Verdict.OK, subject="GPU", text="none; pictures are made on the CPU")
    names = ", ".join(f"{gpu.name} ({_gb(gpu.memory_total_bytes)})" for gpu in gpus)
    visible = visible_gpu_count(len(gpus), cuda_visible_devices())
    if not torch_has_cuda():
        text = f"{names}; not used: the installed torch is a build for CPUs"
        return Finding(verdict=Verdict.WARNING, subject="GPU", text=text)
    if not settings.cuda_available or not visible:
        return Finding(verdict=Verdict.WARNING, subject="GPU", text=f"{names}; not used: switched off by a setting")
    if settings.gpu_device_id is not None and settings.gpu_device_id >= visible:
        text = f"{names}; GPU_DEVICE_ID is {settings.gpu_device_id}, but only {visible} can be seen"
        return Finding(verdict=Verdict.FAILURE, subject="GPU", text=text)
    return Finding(verdict=Verdict.OK, subject="GPU", text=names)


def wal_reset_safe(version: Version) -> bool:
    """True for a SQLite in which the WAL-reset bug is fixed."""
    backport = WAL_RESET_BACKPORTS.get((version.major, version.minor))
    return version >= WAL_RESET_FIXED or (backport is not None and version >= backport)


def check_sqlite(_: Settings) -> Finding:
    """SQLite's version; an affected one is safe under Danqing, which writes through one connection."""
    version = sqlite3.sqlite_version
    if wal_reset_safe(Version(version)):
        return Finding(verdict=Verdict.OK, subject="SQLite", text=version)
    text = f"{version} has the WAL-reset bug; harmless while only Danqing, with its one writer, opens the database"
    return Finding(verdict=Verdict.OK, subject="SQLite", text=text)


def check_disk(settings: Settings) -> Finding:
    """Free space where pictures and the database go; the scarcer of the two."""
    places = {_existing(settings.data_dir), _existing(settings.outputs)}
    free_bytes, place = min((shutil.disk_usage(place).free, place) for place in places)
    text = f"{_gb(free_bytes)} free on {place}"
    if free_bytes < NO_DISK_BYTES:
        return Finding(verdict=Verdict.FAILURE, subject="disk", text=text)
    verdict = Verdict.WARNING if free_bytes < LITTLE_DISK_BYTES else Verdict.OK
    return Finding(verdict=verdict, subject="disk", text=text)


def check_data_dir(settings: Settings) -> Finding:
    """Whether both folders could be written, by writing a file into what there is of them."""
    for place in (settings.data_dir.absolute(), settings.outputs):
        try:
            with tempfile.TemporaryFile(dir=place if place.exists() else _existing(place)):
                pass
        except OSError:
            return Finding(verdict=Verdict.FAILURE, subject="data dir", text=f"{place} cannot be written")
    running = find_announced(settings.data_dir)
    state = f", in use by the server on {running.url}" if running else ""
    return Finding(verdict=Verdict.OK, subject="data dir", text=f"{settings.data_dir.absolute()}{state}")


def check_port(settings: Settings) -> Finding:
    """Whether the ports can be opened."""
    try:
        listeners(settings)
    except InvalidSettings as exc:
        return Finding(verdict=Verdict.FAILURE, subject="port", text=str(exc))
    running = find_announced(settings.data_dir)
    for port in (settings.port, *(extra.port for extra in settings.listen)):
        if not _can_be_opened(settings.host, port):
            if running and running.url.endswith(f":{port}"):
                text = f"{port} is in use by the server of this data dir"
                return Finding(verdict=Verdict.WARNING, subject="port", text=text)
            text = f"{settings.host}:{port} cannot be opened: in use, or not an address of this machine"
            return Finding(verdict=Verdict.FAILURE, subject="port", text=text)
    return Finding(verdict=Verdict.OK, subject="port", text=f"{settings.host}:{settings.port} is free")


def check_metrics_port(settings: Settings) -> Finding:
    """Whether the port for Prometheus can be opened, if one is wanted."""
    host, port = settings.metrics_host, settings.metrics_port
    if port is None:
        return Finding(verdict=Verdict.OK, subject="metrics port", text="none is wanted")
    if _can_be_opened(host, port):
        return Finding(verdict=Verdict.OK, subject="metrics port", text=f"{host}:{port} is free")
    text = (
        f"{host}:{port} cannot be opened: in use, or not an address of this machine. Each process of a machine needs a "
        "DANQING_METRICS_PORT of its own"
    )
    # The server of this data dir may well be who has it.
    verdict = Verdict.WARNING if find_announced(settings.data_dir) else Verdict.FAILURE
    return Finding(verdict=verdict, subject="metrics port", text=text)


def _can_be_opened(host: str, port: int) -> bool:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError:
        return False
    return True


def check_packages(_: Settings) -> Finding:
    """Packages whose known weaknesses Danqing would expose."""
    old = [
        f"{name} {installed} (needs {floor})"
        for name, floor in SECURITY_FLOORS.items()
        if Version(installed := importlib.metadata.version(name)) < Version(floor)
    ]
    if old:
        return Finding(verdict=Verdict.FAILURE, subject="packages", text=f"known weaknesses in {', '.join(old)}")
    text = f"{', '.join(SECURITY_FLOORS)} are above their security floors"
    return Finding(verdict=Verdict.OK, subject="packages", text=text)


def check_models(settings: Settings) -> Finding:
    """The files of the models that would be served, and whether a device has the memory for each."""
    try:
        cards = build_catalogue(settings).cards()
    except (DanqingError, InvalidSettings) as exc:
        return Finding(verdict=Verdict.FAILURE, subject="models", text=str(exc))
    findings = [_check_model(card, settings) for card in cards]
    verdicts = [finding.verdict for finding in findings]
    worst = next(verdict for verdict in (Verdict.FAILURE, Verdict.WARNING, Verdict.OK) if verdict in verdicts)
    lines = [finding.text for finding in findings]
    if worst is Verdict.FAILURE and (settings.redis_url or settings.broker_url):
        worst, note = Verdict.WARNING, "needed where `danqing worker` runs, and nowhere else"
        lines.append(note)
    return Finding(verdict=worst, subject="models", text="\n".join(lines))


def check_upscaler(settings: Settings) -> Finding:
    """Whether what enlarges pictures is there."""
    try:
        find_upscaler(settings.upscaler)
    except ModelLoadFailure as exc:
        return Finding(verdict=Verdict.FAILURE, subject="upscaler", text=exc.public_message)
    return Finding(verdict=Verdict.OK, subject="upscaler", text=settings.upscaler)


def _check_model(card: ModelCard, settings: Settings) -> Finding:
    files, devices = files_state(card), _devices(settings)
    on_gpu = "cpu" not in devices
    found = obstacles(card, files, on_gpu=on_gpu, memory_bytes=most_memory(settings, devices))
    package = card.precision.partition("-")[0]
    if card.precision != "native" and find_spec(package) is None:
        text = f"{card.id}: precision {card.precision} needs another package: {how_to_install(package)}"
        return Finding(verdict=Verdict.FAILURE, subject="models", text=text)
    modes = ", ".join(companion.mode for companion in missing_companions(card))
    note = f"; {modes} only after danqing models pull" if modes else ""
    if not found:
        return Finding(verdict=Verdict.OK, subject="models", text=f"{card.id}: {files.text}{note}")
    text = f"{card.id}: {', and '.join(found)}; {way_out(card)}{note}"
    may_work = files.whole or (on_gpu and not is_local(card))
    return Finding(verdict=Verdict.WARNING if may_work else Verdict.FAILURE, subject="models", text=text)


def _devices(settings: Settings) -> tuple[str, ...]:
    try:
        return device_choice(settings).devices
    except InvalidSettings:  # a GPU that is not there, beside others: `check_gpus` tells of it
        return ("cuda:0",)


def _existing(place: Path) -> Path:
    """The folder itself, or its nearest parent that exists."""
    return next(folder for folder in (place.absolute(), *place.absolute().parents) if folder.is_dir())


def _gb(size_bytes: int | None) -> str:
    return "unknown" if size_bytes is None else f"{size_bytes / 1e9:.1f} GB"
