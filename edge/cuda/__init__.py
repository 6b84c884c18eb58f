"""CUDA behind one small seam, filled by pycuda or cuda-python."""
