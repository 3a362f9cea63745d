"""A model file as a model repository for NVIDIA Triton, which KServe v2 servers speak to."""
