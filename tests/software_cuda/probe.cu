// Kernels that only tests launch.

// to[i] = from[i] * factor + offset
extern "C" __global__ void scale(
    const int *from, int *to, int count, int factor, long long offset)
{
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count)
        to[i] = (int)(from[i] * factor + offset);
}

// Writes one past the end.
extern "C" __global__ void overrun(int *to, int count)
{
    if (blockIdx.x == 0 && threadIdx.x == 0)
        to[count] = 7;
}
