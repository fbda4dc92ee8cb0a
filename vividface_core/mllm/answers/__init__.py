"""Reading the answers of multimodal judges."""
