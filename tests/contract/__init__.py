"""Whether the real TensorRT has what our code calls, and what stands in for it in the tests."""
