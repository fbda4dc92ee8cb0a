"""Judges by the names that a command line or a node gives them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from vividface_core.errors import InvalidOption
from vividface_core.mllm.judges.base import MAX_ATTEMPTS, Judge
from vividface_core.mllm.judges.panel import Panel
from vividface_core.mllm.judges.sampling import Sampling
from vividface_core.mllm.rubric import RUBRIC, Rubric

KINDS = "local:PATH, openai:URL or technical"
PASSES_TEMPERATURE = 0.7
"""With several passes, unless another one is given: without chance they would all be the same."""


@dataclass(frozen=True)
class JudgeOptions:
    """What judges are made with; each kind takes what concerns it.

    Attributes:
        model: name that a server knows its model by.
        temperature: ``None``: 0, or 0.7 with several passes.
        key_env: environment variable with a server's key.
        server: fields of :class:`~vividface_core.mllm.judges.server_settings.ServerSettings`; ``None``: as the settings
        file
            says.
        named_only: ask only servers that :mod:`~vividface_core.mllm.judges.allowed_servers` allows to workflows.
    """

    rubric: Rubric = RUBRIC
    sampling: Sampling = field(default_factory=Sampling)
    model: str = ""
    passes: int = 1
    tries: int = MAX_ATTEMPTS
    temperature: float | None = None
    max_tokens: int = 2048
    device: str = "auto"
    dtype: str = "auto"
    four_bit: bool = False
    download: bool = False
    quiet: bool = False
    key_env: str | None = None
    server: dict[str, object] = field(default_factory=dict)
    named_only: bool = False

    @property
    def effective_temperature(self) -> float:
        """The temperature that holds."""
        return self.temperature if self.temperature is not None else PASSES_TEMPERATURE if self.passes > 1 else 0.0


def make_judge(names: Sequence[str], options: JudgeOptions) -> tuple[Judge, list[str]]:
    """One judge, or a panel where there are several names or passes.

    Args:
        names: each ``local:PATH`` (or a Hub name), ``openai:URL`` or ``technical``.

    Returns:
        The judge, and notices for the user.

    Raises:
        VividFaceError: an unknown kind, an option that makes no sense, a model that isn't here …
    """
    if not names:
        raise InvalidOption(f"Name a judge: {KINDS}.")
    if options.passes < 1:
        raise InvalidOption(f"--passes is {options.passes}; give 1 or more.")
    if options.passes > 1 and options.temperature == 0:
        raise InvalidOption("With temperature 0 all passes give the same answer. Leave out --passes or --temperature.")
    if options.passes == 1 and options.temperature:
        raise InvalidOption("A temperature above 0 makes a single answer a matter of luck; use it with --passes.")
    notices: list[str] = []
    judges = [_one(name, options, notices) for name in names]
    if len(judges) == 1 and options.passes == 1:
        return judges[0], notices
    return Panel(judges, options.passes), notices


def _one(name: str, options: JudgeOptions, notices: list[str]) -> Judge:
    kind, _, place = name.partition(":")
    if kind == "technical" and not place:
        from vividface_core.mllm.judges.technical import TechnicalJudge

        if options.passes > 1:
            raise InvalidOption("The technical judge measures: all of its passes are the same. Leave out --passes.")
        return TechnicalJudge(options.sampling, options.rubric)
    if kind == "local" and place:
        from vividface_core.mllm.judges.local import LocalJudge, LocalOptions

        local = LocalOptions(
            options.device,
            options.dtype,
            options.four_bit,
            options.max_tokens,
            options.effective_temperature,
            options.download,
            options.quiet,
        )
        return LocalJudge(place, options.sampling, options.rubric, local, options.tries)
    if kind == "openai" and place:
        return _server(place, options, notices)
    raise InvalidOption(f"There is no judge {name!r}; name one as {KINDS}.")


def _server(address: str, options: JudgeOptions, notices: list[str]) -> Judge:
    from vividface_core.mllm.judges.allowed_servers import SERVERS, allowed_server
    from vividface_core.mllm.judges.http import checked_address, is_open_network
    from vividface_core.mllm.judges.server import ServerJudge
    from vividface_core.mllm.judges.server_settings import server_settings

    address, named = allowed_server(address) if options.named_only else (checked_address(address), True)
    settings, told = server_settings(address, options.key_env, **options.server)
    notices += told
    if settings.key and not named:
        settings = replace(settings, key=None)
        notices.append(f"{address} gets no key: it isn't named in {SERVERS} or the settings file.")
    if settings.key and is_open_network(address):
        notices.append(f"The key for {address} travels unencrypted (http). Use https where the server offers it.")
    return ServerJudge(
        address,
        options.model,
        options.sampling,
        options.rubric,
        settings,
        options.max_tokens,
        options.effective_temperature,
        options.tries,
    )
