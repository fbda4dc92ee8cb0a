"""Between ComfyUI and the engine: types, folders, progress, model management."""
