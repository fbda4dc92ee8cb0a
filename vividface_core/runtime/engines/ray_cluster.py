"""The Ray cluster that the work runs on: started or connected, proved, let go of."""

from __future__ import annotations

import logging
import os
import secrets
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from vividface_core.errors import ClusterUnusable, MissingDependency, UnwritableVideo, first_line

STORE_BYTES = 128 * 2**20
"""Of the object store of a cluster on this machine: what passes through it is text."""
PROOF_SECONDS = 300
"""That the machines of a cluster have for the first answer: a busy one starts processes slowly."""
SILENT = logging.CRITICAL + 1
PACKAGE, CHECKOUT = "vividface", "as a checkout"


class Cluster:
    """See :class:`~vividface_core.runtime.engines.ray_actors.RayEngine`."""

    def __init__(self, address: str | None, workers: int | None, shared: Path | None, read: Path | None) -> None:
        self._address, self._workers, self._shared, self._read = address, workers, shared, read
        self._opened = self._connected = False
        _prepare_environment(address)
        _load_libraries(address)

    def open(self) -> None:
        """Connect, or start one, and prove that its workers can do the work. The second call does nothing.

        Raises:
            ClusterUnusable: it can't be reached or started, lacks the package, or doesn't see the shared folder.
        """
        import ray

        if self._opened:
            return
        silence_ray()
        if not ray.is_initialized():
            self._connect()
        _prove(self._shared, self._read)
        self._opened = True

    def _connect(self) -> None:
        import ray

        local = {"num_cpus": self._workers or cores(), "include_dashboard": False, "object_store_memory": STORE_BYTES}
        try:
            ray.init(
                self._address or "local",
                log_to_driver=False,
                logging_level=SILENT,
                **({} if self._address else local),
            )
        except Exception as error:
            where = f"The Ray cluster at {self._address} can't be reached" if self._address else "Ray can't start here"
            raise ClusterUnusable(f"{where}: {first_line(error).rstrip('.')}.{_advice(self._address)}") from error
        self._connected = True

    def processes(self, gpus: float = 0.0, cpus: float = 1.0) -> int:
        """How many there is room for.

        Raises:
            ClusterUnusable: not for a single one.
        """
        if not self._opened:
            return self._workers or cores()
        import ray

        there = ray.cluster_resources()
        room = int(there.get("GPU", 0) / gpus + 1e-6) if gpus else _room(cpus)
        if not room:
            raise ClusterUnusable(
                f"A worker needs {gpus:g} GPUs and Ray has {there.get('GPU', 0):g}. Use machines with more, or ask for "
                "less (--device cpu; a judge's --judge-gpus, 0 with --device cpu)."
                if gpus
                else f"A worker keeps {cpus:g} CPUs busy and no machine of Ray has so many."
            )
        if gpus or cpus > 1 or self._address is None:
            return min(self._workers or room, room)
        return self._workers or room

    def gpus(self) -> float:
        """Of the whole cluster, which is open."""
        import ray

        return float(ray.cluster_resources().get("GPU", 0))

    def close(self) -> None:
        """Leave Ray as it was."""
        if self._connected:
            import ray

            ray.shutdown()
        self._opened = self._connected = False


def _room(cpus: float) -> int:
    """Processes of so many CPUs for which the machines have room, each machine by itself."""
    import ray

    return sum(int(node["Resources"].get("CPU", 0) / cpus + 1e-6) for node in ray.nodes() if node["Alive"])


def silence_ray() -> None:
    """No notices: this command has its own."""
    import ray

    logging.getLogger("ray").setLevel(SILENT)
    # The one switch that Ray has for it: it prints the death of a worker to standard output, whatever is set.
    ray._private.worker._worker_logs_enabled = False


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _prepare_environment(address: str | None) -> None:
    """Before Ray is imported. Whoever has set one of these knows why, but for the report to Ray's makers.

    Ray's newer versions leave the GPUs visible to workers that reserve none; so do the older ones by ``…ON_ZERO``.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if address is None and "ray" not in sys.modules and "RAY_AUTH_MODE" not in os.environ:
        # A local cluster listens on the network too, and runs what it is sent.
        os.environ["RAY_AUTH_MODE"], os.environ["RAY_AUTH_TOKEN"] = "token", secrets.token_hex(32)


def _load_libraries(address: str | None) -> None:
    for module in ("ray", *(["grpc"] if (address or "").startswith("ray://") else [])):
        try:
            import_module(module)
        except Exception as error:
            raise MissingDependency(
                f"--engine ray needs Ray ({module}: {first_line(error).rstrip('.')}). Install it: "
                "pip install 'vividface[ray]'."
            ) from error


def _advice(address: str | None) -> str:
    if not address:
        return ""
    if address.startswith("ray://"):
        return " Is it the client server's port (usually 10001), and are the versions of Ray and Python the same there?"
    return (
        " This machine must belong to the cluster; from outside use ray://HOST:10001. One that asks for a token needs "
        "RAY_AUTH_MODE=token and RAY_AUTH_TOKEN here too."
    )


def _prove(shared: Path | None, read: Path | None) -> None:
    """Ask every machine that may work whether it has the package and sees the folders."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]
    if not nodes:
        raise ClusterUnusable("Ray has no machine with a CPU to work on.")
    with _token(shared) as (path, text):
        look = ray.remote(num_cpus=0)(_probe())
        told = [
            look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(
                __name__, str(path or ""), str(read or "")
            )
            for node in nodes
        ]
        try:
            answers = ray.get(told, timeout=PROOF_SECONDS)
        except ray.exceptions.GetTimeoutError as error:
            raise ClusterUnusable(f"Not all machines of the Ray cluster have answered in {PROOF_SECONDS} s.") from error
        except ray.exceptions.RayError as error:
            reason = first_line(error).rstrip(".")
            raise ClusterUnusable(f"A machine of the Ray cluster can't work: {reason}.") from error
    for node, answer in zip(nodes, answers):
        unseen = shared if shared and answer["text"] != text else read if not answer["folder"] else None
        _check_answer(node.get("NodeManagerAddress", "?"), answer, unseen)


def _check_answer(place: str, answer: dict[str, Any], unseen: Path | None) -> None:
    if answer["fault"]:
        raise ClusterUnusable(
            f"The Ray worker on {place} can't load {PACKAGE}: {answer['fault']} Install this version "
            f"of it where Ray's workers run ({answer['python']})."
        )
    here = installed_version()
    if answer["version"] != here:
        raise ClusterUnusable(
            f"The Ray worker on {place} has {PACKAGE} {answer['version']}, here is {here}. Their "
            "results might differ: install the same version."
        )
    if unseen:
        raise ClusterUnusable(
            f"The Ray worker on {place} doesn't see the files in {unseen}. Put input and output on a file "
            "system that all machines have under the same path."
        )


def _probe() -> Any:
    """A function without a home: a worker that lacks the package can still run it."""

    def probe(module: str, path: str, folder: str) -> dict[str, Any]:
        import os
        import sys

        told = {"python": sys.executable, "version": "", "fault": "", "text": "", "folder": True}
        try:
            told["version"] = __import__(module, fromlist=["installed_version"]).installed_version()
        except Exception as error:
            told["fault"] = f"{type(error).__name__}: {error}."
        try:
            if folder:
                told["folder"] = os.path.isdir(folder)
            if path:
                with open(path) as file:
                    told["text"] = file.read()
        except OSError:  # it isn't there
            pass
        return told

    probe.__module__ = "__main__"
    return probe


def installed_version() -> str:
    """Of this package, for people."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(PACKAGE)
    except PackageNotFoundError:
        return CHECKOUT


@contextmanager
def _token(folder: Path | None) -> Iterator[tuple[Path | None, str]]:
    text = uuid.uuid4().hex
    if folder is None:
        yield None, text
        return
    path = folder.absolute() / f".seen-{text}.partial"
    try:
        path.write_text(text)
    except OSError as error:
        raise UnwritableVideo(f"{folder} can't be written to: {error.strerror}.") from error
    try:
        yield path, text
    finally:
        path.unlink(missing_ok=True)
