"""A checkpoint → the one self-describing ONNX file."""
