"""Every system as one entry: how its checkpoints are recognised, loaded and saved, what clips it takes, what it offers.

Loader, command line, nodes, benchmark, curation and trainer ask the entry of a checkpoint's system; none of them names
a system. An entry is data: what it does is named as ``module:attribute`` and imported when it is first used.

Other packages add systems by an entry point in the group :data:`GROUP` whose object is a :class:`System`; a program
may also call :func:`register`.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vividface_core.errors import InvalidOption, UnsupportedCheckpoint
from vividface_core.io.atomic import read_json
from vividface_core.io.tensors import read_tensors
from vividface_core.restorers.execution import ExecutionConfig, Option, check_values, options_of
from vividface_core.restorers.lengths import ClipLengths

if TYPE_CHECKING:
    from vividface_core.restorers.base import Restorer

CARD = "vividface.json"
"""In every checkpoint folder of the project: a JSON object whose ``system`` names the entry."""
LOOSE = "loose files"
"""Kind of a folder that holds parts of a checkpoint, and maybe other files."""
GROUP = "vividface.systems"
"""Group of the entry points through which other packages add systems."""
LATENTS = "latents"
"""Capability: samples may be stored as latents; the restorer has a ``vae``."""
SHARED_WINDOW = "shared window"
"""Capability: several devices may share one window (:meth:`Restorer.share_window`)."""
AS_RELEASED = "as released"
"""Capability: the system's released script takes any clip in one window, which can be followed exactly."""


class Contents:
    """What lies at a path, read once however many systems look at it.

    Attributes:
        path: a file or a folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @cached_property
    def card(self) -> dict[str, Any] | None:
        """The card of a checkpoint folder; ``None`` for anything else.

        Raises:
            UnsupportedCheckpoint: it is no JSON object.
        """
        place = self.path / CARD
        return read_json(place) if place.is_file() else None

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """All tensors of the file, or of a folder's one set of weights, by their names in it.

        Raises:
            MissingWeights, UnsupportedCheckpoint, MissingDependency: they can't be read.
        """
        return read_tensors(self.path)


@dataclass(frozen=True)
class Found:
    """What a system says of contents that it recognises.

    Attributes:
        kind: in words: ``checkpoint folder``, ``empty prompt`` …
        restores: whether a restorer can be loaded by this path; otherwise it is a part of one.
        config: of the network, or the folder's card with the defaults for what it leaves out.
        format: how the weights are stored: kind of file and types of the numbers; "" where that can't be told.
        tasks: what a restorer by this path was trained for, of :data:`vividface_core.restorers.base.TASKS`.
    """

    kind: str
    restores: bool = False
    config: dict[str, Any] = field(default_factory=dict)
    format: str = ""
    tasks: tuple[str, ...] = ("restore",)


@dataclass(frozen=True)
class CheckpointFiles:
    """What a system loads from.

    Attributes:
        path: the folder or file that was named.
        search: folders in which parts that aren't beside it may lie.
    """

    path: Path
    search: tuple[Path, ...] = ()


@dataclass(frozen=True)
class System:
    """One restoration system. Functions and classes are named as ``module:attribute``.

    Attributes:
        id: its name in cards and messages.
        detect: ``detect(contents: Contents) -> Found | None``: whether these contents are of this system.
        load: ``load(files: CheckpointFiles, execution) -> Restorer``.
        save: ``save(path, restorer, meta, dtype)`` writes a checkpoint folder whose card has the entries ``meta``.
        execution: the system's :class:`~vividface_core.restorers.execution.ExecutionConfig`, which declares its own
            options: its options schema.
        valid_lengths, size_multiple: native clip lengths, and sides in pixels; a restorer pads other clips itself.
        native_size, native_frames: side and length of the clips that it was trained on, where the card says nothing.
        color_default: what ``color = auto`` means for a face of this system.
        capabilities: of :data:`LATENTS`, :data:`SHARED_WINDOW`, :data:`AS_RELEASED`.
        unchanged: options with which a loaded restorer keeps its modules as they are stored: to train and to export.
        stages: stages of training by name.
        save_original: ``save_original(restorer, folder, name, dtype) -> list[Path]``: files in the layout of the
            system's own code; "": there is none.
        convert: a module with ``add_options(parser)`` (among them ``output``), ``check(args)`` and ``run(args, bar)``
        for ``vividface models convert``,
            which makes a checkpoint out of the files of the system's own code; "": there is nothing to convert.
        describe: ``describe(meta) -> str``: a sentence for the model card; "": a general one.
        tags: of its checkpoints on the Hub.
    """

    id: str
    detect: str
    load: str
    save: str
    execution: str
    valid_lengths: ClipLengths
    size_multiple: int
    native_size: int
    native_frames: int
    color_default: str
    capabilities: frozenset[str] = frozenset()
    unchanged: Mapping[str, Any] = field(default_factory=dict)
    stages: Mapping[str, str] = field(default_factory=dict)
    save_original: str = ""
    convert: str = ""
    describe: str = ""
    tags: tuple[str, ...] = ()

    @property
    def options(self) -> dict[str, Option]:
        """Its own options by name."""
        return options_of(resolve(self.execution))

    def configure(
        self,
        options: Mapping[str, Any],
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
        runs_on: torch.device | str | None = None,
    ) -> ExecutionConfig:
        """The system's execution config.

        Raises:
            InvalidOption: an option that the system doesn't have, or a value that it doesn't take.
        """
        check_values(self.options, options, repr(self.id))
        return resolve(self.execution)(device=device, dtype=dtype, runs_on=runs_on, **options)

    def restorer(self, files: CheckpointFiles, execution: ExecutionConfig) -> Restorer:
        """Load a checkpoint of this system; raises what its loader raises."""
        return resolve(self.load)(files, execution)

    def stage(self, name: str) -> type:
        """The class of a stage of training.

        Raises:
            InvalidOption: the system has no stage of that name.
        """
        if name not in self.stages:
            known = ", ".join(self.stages) or "none"
            raise InvalidOption(f"The system {self.id!r} has no stage {name!r}; its stages are: {known}.")
        return resolve(self.stages[name])


VIVIDFACE = System(
    id="vividface",
    detect="vividface_core.restorers.one_step_files:detect",
    load="vividface_core.restorers.one_step_files:load",
    save="vividface_core.restorers.one_step_save:save",
    execution="vividface_core.restorers.one_step_options:OneStepExecution",
    valid_lengths=ClipLengths(4, 1),
    size_multiple=16,
    native_size=512,
    native_frames=81,
    color_default="wavelet",
    capabilities=frozenset({LATENTS, SHARED_WINDOW, AS_RELEASED}),
    unchanged={"plain": True},
    stages={
        "autoencoder": "training.stages.autoencoder:AutoencoderStage",
        "latent": "training.stages.one_step:LatentStage",
        "encoder": "training.stages.encoder:EncoderStage",
        "decoder": "training.stages.conditional:DecoderStage",
        "pixel": "training.stages.pixel:PixelStage",
        "control": "training.stages.control:ControlStage",
    },
    save_original="vividface_core.restorers.one_step_save:save_original",
    convert="vividface_core.restorers.one_step_convert",
    describe="vividface_core.restorers.one_step_save:describe",
    tags=("one-step-diffusion", "wan"),
)

BFVR_STC = System(
    id="bfvr_stc",
    detect="vividface_core.restorers.codebook_files:detect",
    load="vividface_core.restorers.codebook_files:load",
    save="vividface_core.restorers.codebook_files:save",
    execution="vividface_core.restorers.codebook_files:CodebookExecution",
    valid_lengths=ClipLengths(2),
    size_multiple=8,
    native_size=512,
    native_frames=24,
    color_default="wavelet",
    stages={
        "autoencoder": "training.stages.codebook:CodebookStage",
        "lookup": "training.stages.lookup:LookupStage",
    },
    tags=("codebook",),
)

DVFACE = System(
    id="dvface",
    detect="vividface_core.restorers.dvface_files:detect",
    load="vividface_core.restorers.dvface_files:load",
    save="vividface_core.restorers.dvface_files:save",
    execution="vividface_core.restorers.one_step_options:OneStepExecution",
    valid_lengths=ClipLengths(4, 1),
    size_multiple=16,
    native_size=512,
    native_frames=81,
    color_default="wavelet",
    capabilities=frozenset({LATENTS, SHARED_WINDOW}),
    unchanged={"plain": True},
    stages={"fusion": "training.stages.dvface:FusionStage"},
    describe="vividface_core.restorers.one_step_save:describe",
    tags=("one-step-diffusion", "wan", "codebook"),
)

MEASURED_BRIGHTNESS = System(
    id="measured_brightness",
    detect="vividface_core.restorers.measured_brightness:detect",
    load="vividface_core.restorers.measured_brightness:load",
    save="vividface_core.restorers.measured_brightness:save",
    execution="vividface_core.restorers.execution:ExecutionConfig",
    valid_lengths=ClipLengths(2),  # as of the other de-flickerers, whose windows it stands in for
    size_multiple=8,
    native_size=128,
    native_frames=24,
    color_default="none",
)

_SYSTEMS: dict[str, System] = {system.id: system for system in (VIVIDFACE, BFVR_STC, DVFACE, MEASURED_BRIGHTNESS)}
_plugins_read = False


def register(system: System) -> System:
    """Add a system in this process; the same one may be added again.

    Processes that this one starts (``--devices``, training on several) know only those with an entry point.

    Raises:
        InvalidOption: another system has its name, or one of its flags means something else to another system.
    """
    known = _SYSTEMS.get(system.id)
    if known is not None and known != system:
        raise InvalidOption(f"Two systems are called {system.id!r}; rename or remove one of the packages.")
    _check_flags(system)
    _SYSTEMS[system.id] = system
    return system


def unregister(system_id: str) -> None:
    """Take a system out again, as if it had never been added."""
    _SYSTEMS.pop(system_id, None)


def systems() -> tuple[System, ...]:
    """All systems, the first one the default; reads the entry points of other packages once.

    A package whose entry can't be used is left out with a warning: it may not take the others along.
    """
    global _plugins_read
    if not _plugins_read:
        _plugins_read = True
        for point in entry_points(group=GROUP):
            try:
                _register_point(point)
            except Exception as error:  # whatever another package does at import
                warnings.warn(f"The system {point.name!r} ({point.value}) is left out: {error}", stacklevel=2)
    return tuple(_SYSTEMS.values())


def _register_point(point: EntryPoint) -> None:
    entry = point.load()
    if not isinstance(entry, System):
        raise InvalidOption("it is no System.")
    register(entry)


def default_system() -> System:
    """The system that is meant where nothing tells which."""
    return systems()[0]


def system_named(name: str) -> System:
    """A system by its id.

    Raises:
        InvalidOption: there is none of that name.
    """
    known = {system.id: system for system in systems()}
    if name not in known:
        raise InvalidOption(f"There is no system {name!r}; known are {', '.join(known)}.")
    return known[name]


def stage_class(system: str, name: str) -> Any:
    """The class of a stage of training.

    Args:
        system: id of a system; "": the default one.
        name: of the stage.

    Raises:
        InvalidOption: there is no such system, or it has no such stage.
    """
    return (system_named(system) if system else default_system()).stage(name)


def recognise(contents: Contents) -> tuple[System, Found] | None:
    """The system to which the contents belong, and what it says of them.

    Raises:
        VividFaceError: they can't be read; see :class:`Contents`.
    """
    for system in systems():
        found = resolve(system.detect)(contents)
        if found is not None:
            return system, found
    return None


def unknown_system(contents: Contents) -> UnsupportedCheckpoint | None:
    """The error for a card that names a system which isn't here; ``None`` for everything else."""
    card = contents.card
    if card is None or card.get("system") in (None, *(system.id for system in systems())):
        return None
    names = ", ".join(repr(system.id) for system in systems())
    return UnsupportedCheckpoint(
        f"{contents.path} is of system {card['system']!r}; this version loads {names}. Update, or choose another "
        "checkpoint."
    )


def shared_options() -> dict[str, list[tuple[System, Option]]]:
    """The options of all systems by name, each with the systems that have it."""
    found: dict[str, list[tuple[System, Option]]] = {}
    for system in systems():
        for name, option in system.options.items():
            found.setdefault(name, []).append((system, option))
    return found


def resolve(name: str) -> Any:
    """What ``module:attribute`` names; a module where there is no attribute."""
    module, _, attribute = name.partition(":")
    found = import_module(module)
    return getattr(found, attribute) if attribute else found


def _check_flags(system: System) -> None:
    """Options of one name have one flag and one type in all systems."""
    for other in _SYSTEMS.values():
        for name, option in other.options.items() if other.id != system.id else ():
            same = system.options.get(name)
            if same is not None and (same.kind, same.flag) != (option.kind, option.flag):
                raise InvalidOption(f"The systems {other.id!r} and {system.id!r} disagree on the option {name!r}.")
