"""What runs many items of work (the stages of a curation, films), by the name that a command line gives it."""

from __future__ import annotations

from pathlib import Path

from vividface_core.errors import InvalidOption
from vividface_core.runtime.engines.base import Engine, LocalEngine

ENGINES = ("local", "ray")


def choose_engine(
    name: str = "local",
    address: str | None = None,
    workers: int | None = None,
    shared: Path | None = None,
    read: Path | None = None,
) -> Engine:
    """An engine; to be closed.

    Args:
        name: one of :data:`ENGINES`.
        address: of a Ray cluster that runs; ``None``: one is started on this machine.
        workers: processes; ``None``: as many as there are cores, or GPUs for what needs them.
        shared: an existing folder that all workers must see under the same path; it is proved before they work.
        read: one that they must be able to read; so is this.

    Raises:
        InvalidOption: no such engine, or an option that it has no use for.
        MissingDependency: it needs a library that is absent or broken.
    """
    if workers is not None and workers < 1:
        raise InvalidOption(f"--workers is {workers}; give 1 or more.")
    if name == "local":
        if address or workers is not None:
            raise InvalidOption(f"{'--address' if address else '--workers'} belongs to --engine ray.")
        return LocalEngine()
    if name == "ray":
        from vividface_core.runtime.engines.ray_actors import RayEngine

        return RayEngine(address, workers, shared, read)
    raise InvalidOption(f"There is no engine {name!r}; choose one of {', '.join(ENGINES)}.")
