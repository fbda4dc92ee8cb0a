"""What a server's history says about a prompt."""

from __future__ import annotations

from typing import Any

from vividface_core.errors import WorkflowFailed


def outputs_of(entry: dict[str, Any]) -> list[tuple[str, dict[str, str]]]:
    """Node id and place (``filename``, ``subfolder``, ``type``) of every file that a finished prompt made.

    Previews (type ``temp``) count only where nothing was saved. A file that is named twice counts once.

    Raises:
        WorkflowFailed: the prompt failed, was interrupted, or made no file.
    """
    _check_success(entry)
    found: dict[tuple[str, ...], tuple[str, dict[str, str]]] = {}
    for node, results in (entry.get("outputs") or {}).items():
        for value in results.values() if isinstance(results, dict) else ():
            for place in value if isinstance(value, list) else ():
                if isinstance(place, dict) and place.get("filename"):
                    place = {key: str(place.get(key) or "") for key in ("filename", "subfolder", "type")}
                    found.setdefault(tuple(place.values()), (str(node), place))
    files = list(found.values())
    for kind in ("output", "temp"):
        chosen = [file for file in files if file[1]["type"] == kind]
        if chosen:
            return chosen
    raise WorkflowFailed("The workflow made no file. Give it a node that saves the result.")


def _check_success(entry: dict[str, Any]) -> None:
    status = entry.get("status") or {}
    for kind, details in status.get("messages") or ():
        if kind == "execution_error":
            message = str(details.get("exception_message", "")).strip()
            raise WorkflowFailed(
                f"{details.get('node_type')} (node {details.get('node_id')}) failed: "
                f"{details.get('exception_type')}: {message}",
                again=True,
            )
        if kind == "execution_interrupted":
            raise WorkflowFailed("Somebody interrupted it on the server.")
    if status.get("status_str") == "error":
        raise WorkflowFailed("The server says that it failed, but not why. Its log may tell.", again=True)


def refusal(answer: Any) -> str:
    """Why ``/prompt`` refused a workflow, in words; empty if it didn't."""
    if not isinstance(answer, dict):
        return str(answer)[:300]
    reasons = []
    for node, entry in (answer.get("node_errors") or {}).items():
        for error in entry.get("errors") or ():
            text = ": ".join(str(error[key]).strip() for key in ("message", "details") if error.get(key))
            reasons.append(f"{entry.get('class_type')} (node {node}): {text}")
    error = answer.get("error")
    if not reasons and error:
        parts = [error.get("message"), error.get("details")] if isinstance(error, dict) else [error]
        reasons.append(": ".join(str(part).strip() for part in parts if part))
    return "; ".join(reasons)
