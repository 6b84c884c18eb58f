"""TensorRT engines on the device: what one was built for, where it is kept, and how it runs."""
