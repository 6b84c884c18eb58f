// What lets a CUDA source be compiled for the CPU and be launched by driver.c, thread by thread.
//
// Kernels that share memory within a block, or wait for one another, cannot be run so.

#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>

struct Index {
    unsigned x, y, z;
};

// One kernel runs at a time.
static Index blockIdx, threadIdx, blockDim, gridDim;

#define __global__
#define __device__
#define __forceinline__ inline
#define __restrict__ __restrict

struct Kernel {
    const char *name;
    void (*run)(const unsigned *grid, const unsigned *block, void **arguments);
    int count;
    const size_t *sizes, *alignments;
    const int *pointers;
};

template <typename Function, Function kernel> struct Launcher;

template <typename... Types, void (*kernel)(Types...)> struct Launcher<void (*)(Types...), kernel> {
    static constexpr int count = sizeof...(Types);
    static constexpr size_t sizes[] = {sizeof(Types)..., 0}, alignments[] = {alignof(Types)..., 0};
    static constexpr int pointers[] = {std::is_pointer_v<Types>..., 0};

    template <size_t... place>
    static void call(void **arguments, std::index_sequence<place...>)
    {
        kernel(*static_cast<Types *>(arguments[place])...);
    }

    static void block(const unsigned *size, void **arguments)
    {
        for (threadIdx.z = 0; threadIdx.z < size[2]; threadIdx.z++)
            for (threadIdx.y = 0; threadIdx.y < size[1]; threadIdx.y++)
                for (threadIdx.x = 0; threadIdx.x < size[0]; threadIdx.x++)
                    call(arguments, std::index_sequence_for<Types...>{});
    }

    static void run(const unsigned *grid, const unsigned *size, void **arguments)
    {
        gridDim = {grid[0], grid[1], grid[2]};
        blockDim = {size[0], size[1], size[2]};
        for (blockIdx.z = 0; blockIdx.z < grid[2]; blockIdx.z++)
            for (blockIdx.y = 0; blockIdx.y < grid[1]; blockIdx.y++)
                for (blockIdx.x = 0; blockIdx.x < grid[0]; blockIdx.x++)
                    block(size, arguments);
    }
};

#define KERNEL(space, name)                                                                        \
    {                                                                                              \
        #name, Launcher<decltype(&space::name), &space::name>::run,                                \
            Launcher<decltype(&space::name), &space::name>::count,                                 \
            Launcher<decltype(&space::name), &space::name>::sizes,                                 \
            Launcher<decltype(&space::name), &space::name>::alignments,                            \
            Launcher<decltype(&space::name), &space::name>::pointers                               \
    }
