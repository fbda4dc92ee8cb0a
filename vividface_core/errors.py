"""Every failure a user can meet, one class a cause.

A message says three things: what happened, with which file or input, and what to do next. The command line
prints it as one line and exits non-zero; a node lets it through as it is.
"""

from __future__ import annotations


class VividFaceError(Exception):
    """Base of all errors that a user, not a programmer, can put right."""


class UnreadableVideo(VividFaceError):
    """The input is missing, is no video, has no video stream, or holds no frame that decodes."""


class UnwritableVideo(VividFaceError):
    """The output can't be written: folder missing, no such codec here, preset and size don't fit, disk full."""


class NoFaceFound(VividFaceError):
    """A face was required (a reference picture, say) and none was found."""


class MissingWeights(VividFaceError):
    """A checkpoint isn't on disk. Names the file, the folder it belongs in and the address it comes from."""


class UnsupportedCheckpoint(VividFaceError):
    """A file was found but its content is no checkpoint that can be used. Names the keys or shapes at fault."""


class InvalidOutput(VividFaceError):
    """The model produced NaN or infinite values; the result is refused rather than written as a black video."""


class OutOfMemory(VividFaceError):
    """What is asked for doesn't fit the device."""


class DeviceLost(VividFaceError):
    """A process that worked on a device ended by itself, again and again."""


class InvalidOption(VividFaceError):
    """An option's value makes no sense for this input."""


class AnotherRun(InvalidOption):
    """What an interrupted run left was asked for with other options."""


class MissingDependency(VividFaceError):
    """An optional library is absent or broken. Names it, the feature that needs it and how to install it."""


class ServerLost(VividFaceError):
    """A ComfyUI server can't be reached, stopped answering, forgot its prompt, or isn't a ComfyUI server."""


class WorkflowFailed(VividFaceError):
    """A ComfyUI server refused a workflow or failed in it, for one file.

    Attributes:
        again: whether another attempt might help. A refused workflow stays refused.
    """

    def __init__(self, message: str, *, again: bool = False) -> None:
        super().__init__(message)
        self.again = again


class InvalidAnswer(VividFaceError):
    """What a multimodal judge wrote is no complete assessment: a refusal, a cut answer, placeholders left as they were.

    Attributes:
        raw: the whole answer.
    """

    def __init__(self, message: str, *, raw: str = "") -> None:
        super().__init__(message)
        self.raw = raw


class JudgeFailed(VividFaceError):
    """A judge gave no answer: its server can't be reached or refuses, its model can't run, or all its passes failed."""


class ClusterUnusable(VividFaceError):
    """A Ray cluster can't be reached or started, or lacks what the work needs: the package, the files, a GPU."""


class WorkerLost(VividFaceError):
    """An item of work killed the processes that were to do it, again and again."""


class Interrupted(VividFaceError):
    """The user stopped the run. Finished shots are kept for a resume."""


def first_line(error: BaseException) -> str:
    """What an error says, short enough for a message of one line; its kind, if it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
