"""Files and formats: tensors, GGUF, quantization, the Hub."""
