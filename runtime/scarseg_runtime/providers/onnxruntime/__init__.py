"""ONNX Runtime: CPU and CUDA."""
