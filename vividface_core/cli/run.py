"""``vividface run``: its options, and the run from the first check to the report."""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from vividface_core.cli.overwrite import add_overwrite, ask_to_replace
from vividface_core.comfy_client import report
from vividface_core.comfy_client.batch import Batch
from vividface_core.comfy_client.files import Item, find_videos
from vividface_core.comfy_client.journal import NAME as JOURNAL
from vividface_core.comfy_client.journal import Journal
from vividface_core.comfy_client.report import Console
from vividface_core.comfy_client.server import Server
from vividface_core.comfy_client.workflow import Workflow
from vividface_core.errors import InvalidOption, VividFaceError
from vividface_core.io.atomic import write_json_report
from vividface_core.io.output_guard import Source, Target, check_file, check_paths, unrelated
from vividface_core.runtime.signals import restore_sigint_for_asyncio

TOKEN = "VIVIDFACE_SERVER_TOKEN"
ADDRESS = "http://127.0.0.1:8188"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``vividface run``."""
    add = parser.add_argument
    add("workflow", type=Path, metavar="WORKFLOW", help="workflow in the API format (Workflow > Export (API))")
    add("-i", "--input", type=Path, required=True, metavar="DIR", help="folder of videos")
    add(
        "-o",
        "--output",
        type=Path,
        metavar="DIR",
        help="folder of the results (default: 'restored' in the input folder); results of earlier runs are replaced",
    )
    add(
        "--server",
        action="append",
        default=[],
        metavar="URL",
        help=f"ComfyUI server, once for each (default {ADDRESS}); {TOKEN} holds a bearer token if they want one",
    )
    add("--pattern", metavar="GLOB", help="which files (default: those with a usual suffix of videos)")
    add("--into", metavar="NODE.INPUT", help="where the video goes, if not into the only video loader")
    add(
        "--set",
        action="append",
        default=[],
        dest="changes",
        metavar="NODE.INPUT=VALUE",
        help="change an input; NODE is an id, or a title or class that only one node has; VALUE is JSON or text",
    )
    add("--retries", type=int, default=1, metavar="N", help="further attempts after an error in a node (default 1)")
    add(
        "--patience",
        type=float,
        default=120,
        metavar="SECONDS",
        help="give up when no server has answered for so long (default 120)",
    )
    add("--again", action="store_true", help="do files again that an earlier run did")
    add("--report", type=Path, metavar="FILE", help="write what became of each file as JSON")
    add_overwrite(parser)
    add("--quiet", action="store_true", help="no progress; failures and the summary only")


def run(args: argparse.Namespace) -> int:
    """Carry out ``vividface run``; returns 0 if every file is done, else 1.

    Raises:
        VividFaceError: an option is at fault, results can't be written, or no server answers.
        KeyboardInterrupt: the user stopped it; the report is written all the same.
    """
    if args.retries < 0 or args.patience < 0:
        raise InvalidOption("--retries and --patience can't be negative.")
    workflow = Workflow.read(args.workflow, into=args.into, changes=args.changes)
    token = os.environ.get(TOKEN, "").strip() or None
    opened = [Server(address, token) for address in args.server or [ADDRESS]]
    servers = list({server.address: server for server in opened}.values())  # each once
    items = find_videos(args.input, args.pattern)
    output = args.output or args.input / "restored"
    if output.resolve() == args.input.resolve():
        raise InvalidOption("--output is the input folder: results would replace the videos. Name another folder.")
    _check_paths(args, items, output)
    journal = Journal(output)
    console = Console(len(items), [server.address for server in servers], quiet=args.quiet)
    if not args.again:
        _skip_done(items, journal, workflow.digest, console)
    return _work(args, workflow, servers, items, journal, console)


def _check_paths(args: argparse.Namespace, items: list[Item], output: Path) -> None:
    """Nothing is written over the workflow or a video. A report of an earlier run is replaced: the same command goes
    on."""
    targets = [Target(output / JOURNAL, "the list of what is done")]
    if args.report:
        check_file(args.report, "--report")
        targets.append(Target(args.report, "--report"))
    check_paths(targets, [Source(args.workflow, "the workflow"), *(Source(item.path, "a video") for item in items)])
    if args.report:
        ask_to_replace(unrelated([args.report], report.KEYS), overwrite=args.overwrite)


def _skip_done(items: list[Item], journal: Journal, digest: str, console: Console) -> None:
    for item in items:
        record = journal.done(item, digest)
        if record:
            item.state, item.outputs = "skipped", [output["name"] for output in record["outputs"]]
            console.finished(item)


def _work(
    args: argparse.Namespace,
    workflow: Workflow,
    servers: list[Server],
    items: list[Item],
    journal: Journal,
    console: Console,
) -> int:
    """Run the batch and tell what became of it, also when it is cut short."""
    began, error = time.monotonic(), None
    batches: list[Batch] = []
    try:
        with restore_sigint_for_asyncio():
            asyncio.run(_batch(args, workflow, servers, items, journal, console, batches))
    except VividFaceError as caught:
        error = str(caught)
        raise
    except KeyboardInterrupt:
        error = "stopped by the user"
        raise
    finally:
        console.close()
        print(report.table(items, console.seen))
        if args.report:
            done = [item for item in items if item.state == "done"]
            losses: dict[str, Any] = batches[0].losses if batches else {}
            by_server = [
                {
                    "address": server.address,
                    "done": sum(item.server == server.address for item in done),
                    **losses.get(server.address, {}),
                }
                for server in servers
            ]
            write_json_report(
                args.report,
                report.report(
                    items,
                    by_server,
                    workflow=args.workflow.name,
                    workflow_hash=workflow.digest,
                    output=str(journal.folder),
                    seconds=round(time.monotonic() - began, 2),
                    error=error,
                ),
            )
    return 0 if all(item.state in ("done", "skipped") for item in items) else 1


async def _batch(
    args: argparse.Namespace,
    workflow: Workflow,
    servers: list[Server],
    items: list[Item],
    journal: Journal,
    console: Console,
    batches: list[Batch],
) -> None:
    async with AsyncExitStack() as stack:
        for server in servers:
            await stack.enter_async_context(server)
        batches.append(Batch(servers, workflow, items, journal, console, retries=args.retries, patience=args.patience))
        await batches[0].run()
