"""Train a stage: ``accelerate launch -m training.train training/configs/<name>.toml [table.key=value …]``.

A run that was stopped goes on when the same command is given again; ``--fresh`` begins anew (the folder must be free
of states). Ctrl-C finishes the step, saves the state and stops.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from training.command import exit_status
from training.config import Config, load_config
from training.stages.registry import make_stage
from vividface_core.errors import InvalidOption


def train(config: Config, fresh: bool = False) -> None:
    """Run a configuration to its end; see :class:`training.trainer.loop.Trainer`."""
    from training.trainer.loop import Trainer, state_folder

    if fresh and any(state_folder(config.run.output).glob("[0-9]*")):
        raise InvalidOption(f"{config.run.output} holds states of another run; choose another folder or remove them.")
    Trainer(config, make_stage(config), resume=not fresh).run()


def main(argv: list[str] | None = None) -> int:
    """Entry point: 0, 1 after an error, 130 after an interruption."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("changes", nargs="*", metavar="table.key=value", help="go before the file's values")
    parser.add_argument("--fresh", action="store_true", help="refuse to go on with an earlier run")
    args = parser.parse_args(argv)
    return exit_status(lambda: train(load_config(args.config, tuple(args.changes)), args.fresh))


if __name__ == "__main__":
    sys.exit(main())
