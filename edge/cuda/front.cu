// The front end on the GPU: regions of a frame, cut out, resized and written as an engine's input.
//
// The arithmetic is the CPU's, to the bit, and all in integers:
// - Resizing is Pillow's BILINEAR (src/libImaging/Resample.c): one axis first, to 8 bits, then the
//   other, with weights of 22 fractional bits that the host has worked out.
// - NV12 becomes BGR as OpenCV does it (color_yuv.simd.hpp): limited range, 20 fractional bits, each
//   U and V for the four pixels above it; by BT.601 (format 1), or BT.709 (2) in the same way.
//
// Why two passes with a picture between them, and not one that recomputes the rows under each
// pixel: where a picture is made smaller, each of its rows lies under two rows of the output, so
// that one pass would read, convert and sum everything twice. What lies between is small (for 1080
// rows to a width of 224, 0.7 MB), and the second pass reads it row by row without gaps.
//
// Why a thread for each level in these two and not for each pixel: the threads of a warp then read
// bytes that lie together, about eleven pixels of the output instead of 32. Only cutting, where
// neighbours lie together anyway, has a thread for each pixel.
//
// A plan is an array of ints. It begins with RECORD ints for each box: where it lies in the frame,
// where in the plan its two axes begin, across and down, and which of them goes first. An axis is,
// for each of its positions, the first pixel under it in the box and the number of pixels; then as
// many rows of weights as the widest position has pixels.

typedef unsigned char u8;

enum { LEFT, TOP, WIDTH, HEIGHT, ACROSS, DOWN, DOWN_FIRST, RECORD };

static __device__ __forceinline__ u8 clip(int level)
{
    return level < 0 ? 0 : level > 255 ? 255 : level;
}

// One channel (0 blue, 1 green, 2 red) of a pixel of NV12.
static __device__ __forceinline__ u8 nv12_level(
    const u8 *__restrict__ frame, int height, int width, int is_709, int row, int column,
    int channel)
{
    const u8 *chroma = frame + (height + row / 2) * width + column / 2 * 2;
    const int blue = is_709 ? 2215014 : 2116026, red = is_709 ? 1879825 : 1673527;
    const int green_u = is_709 ? -223607 : -409993, green_v = is_709 ? -558796 : -852492;
    const int of_u = channel == 0 ? blue : channel == 1 ? green_u : 0;
    const int of_v = channel == 0 ? 0 : channel == 1 ? green_v : red;
    const int bright = frame[row * width + column] - 16;
    const int colour = (1 << 19) + of_u * (chroma[0] - 128) + of_v * (chroma[1] - 128);
    return clip(((bright < 0 ? 0 : bright) * 1220542 + colour) >> 20);
}

static __device__ __forceinline__ u8 level_at(
    const u8 *__restrict__ frame, int height, int width, int format, int row, int column,
    int channel)
{
    return format ? nv12_level(frame, height, width, format == 2, row, column, channel)
                  : frame[(row * width + column) * 3 + channel];
}

// Boxes as they are. x: column of the output, y: row, z: box.
extern "C" __global__ void cut(
    const u8 *__restrict__ frame, int height, int width, int format,
    const int *__restrict__ plan, u8 *__restrict__ out, int out_height, int out_width)
{
    const int x = blockIdx.x * blockDim.x + threadIdx.x;
    const int y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= out_width || y >= out_height)
        return;
    const int *box = plan + blockIdx.z * RECORD;
    u8 *pixel = out + (((size_t)blockIdx.z * out_height + y) * out_width + x) * 3;
    for (int channel = 0; channel < 3; channel++)
        pixel[channel] =
            level_at(frame, height, width, format, box[TOP] + y, box[LEFT] + x, channel);
}

// The picture between the passes of a box is that of its place among the boxes: slot bytes for each.
//
// One axis of the boxes for which this is the first pass, or the second.
// x: level of a row of the output, y: row of the box or of what lies between, z: box.
extern "C" __global__ void squeeze_across(
    const u8 *__restrict__ frame, int height, int width, int format,
    const int *__restrict__ plan, int is_second, u8 *between, long long slot,
    u8 *__restrict__ out, int out_height, int out_width)
{
    const int x = blockIdx.x * blockDim.x + threadIdx.x;
    const int y = blockIdx.y * blockDim.y + threadIdx.y;
    const int *box = plan + blockIdx.z * RECORD;
    const int rows = is_second ? out_height : box[HEIGHT];
    if (box[DOWN_FIRST] != is_second || x >= out_width * 3 || y >= rows)
        return;
    u8 *middle = between + blockIdx.z * slot;
    const u8 *source = is_second ? middle : frame;
    u8 *target = is_second ? out + (size_t)blockIdx.z * out_height * out_width * 3 : middle;

    const int position = x / 3, channel = x % 3;
    const int *first = plan + box[ACROSS] + position, *count = first + out_width;
    const int *weight = count + out_width;
    const int row = is_second ? y : box[TOP] + y;
    const int column = is_second ? *first : box[LEFT] + *first;
    const int pitch = is_second ? box[WIDTH] : width;
    int sum = 1 << 21;
    for (int tap = 0; tap < *count; tap++)
        sum += weight[tap * out_width]
             * level_at(source, height, pitch, is_second ? 0 : format, row, column + tap, channel);
    target[(size_t)y * out_width * 3 + x] = clip(sum >> 22);
}

// The other axis. x: level of a row of the box or of what lies between, y: row of the output, z: box.
extern "C" __global__ void squeeze_down(
    const u8 *__restrict__ frame, int height, int width, int format,
    const int *__restrict__ plan, int is_second, u8 *between, long long slot,
    u8 *__restrict__ out, int out_height, int out_width)
{
    const int x = blockIdx.x * blockDim.x + threadIdx.x;
    const int y = blockIdx.y * blockDim.y + threadIdx.y;
    const int *box = plan + blockIdx.z * RECORD;
    const int columns = is_second ? out_width : box[WIDTH];
    if (box[DOWN_FIRST] == is_second || x >= columns * 3 || y >= out_height)
        return;
    u8 *middle = between + blockIdx.z * slot;
    const u8 *source = is_second ? middle : frame;
    u8 *target = is_second ? out + (size_t)blockIdx.z * out_height * out_width * 3 : middle;

    const int channel = x % 3;
    const int *first = plan + box[DOWN] + y, *count = first + out_height;
    const int *weight = count + out_height;
    const int row = is_second ? *first : box[TOP] + *first;
    const int column = is_second ? x / 3 : box[LEFT] + x / 3;
    const int pitch = is_second ? out_width : width;
    int sum = 1 << 21;
    for (int tap = 0; tap < *count; tap++)
        sum += weight[tap * out_height]
             * level_at(source, height, pitch, is_second ? 0 : format, row + tap, column, channel);
    target[(size_t)y * columns * 3 + x] = clip(sum >> 22);
}
