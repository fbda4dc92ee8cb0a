"""A node for tests, put into a server's custom_nodes folder: reads a video, takes its time, and copies it."""

import shutil
import time
import uuid
from pathlib import Path

import av
import comfy.model_management
import comfy.utils
import execution
import folder_paths


class SlowCopy:
    """Fails on what is no video; can be interrupted."""

    CATEGORY = "tests"
    FUNCTION = "run"
    RETURN_TYPES = ()
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"file": ("STRING", {}), "seconds": ("FLOAT", {"min": 0.0, "max": 600.0})}}

    def run(self, file, seconds):
        source = Path(folder_paths.get_annotated_filepath(file))
        with av.open(str(source)) as container:
            next(container.decode(video=0))
        bar = comfy.utils.ProgressBar(20)
        for _ in range(20):
            time.sleep(seconds / 20)
            comfy.model_management.throw_exception_if_processing_interrupted()
            bar.update(1)
        name = f"copy-{uuid.uuid4().hex}.mp4"
        shutil.copyfile(source, Path(folder_paths.get_output_directory()) / name)
        return {"ui": {"images": [{"filename": name, "subfolder": "", "type": "output"}]}}


def _execute_later(self, *arguments, execute=execution.PromptExecutor.execute):
    """A prompt counts as running before its run begins, which forgets an interruption: as long as on a busy machine."""
    time.sleep(0.5)
    return execute(self, *arguments)


execution.PromptExecutor.execute = _execute_later
NODE_CLASS_MAPPINGS = {"SlowCopy": SlowCopy}
