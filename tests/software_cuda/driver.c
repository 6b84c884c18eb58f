// A CUDA driver in software, for tests: what pycuda and cuda-python call, without a GPU.
//
// It is strict where a GPU is forgiving by luck:
// - What needs a context is refused on a thread that has none.
// - Work is put off: what a stream is given is done when something waits for it and not before, so
//   that reading too early, or writing over what is still needed, gives wrong data every time.
// - Copies are checked against the blocks that were given out, when they are queued and when they
//   are done. Asynchronous ones take page-locked memory only, and no work takes the default stream.
// - Blocks come filled with 0xA5, lie between guards that are looked at when they are freed, and
//   are filled with 0xDD then.
// - While a stream is captured its thread may do nothing that waits or takes memory; that spoils the
//   capture. A graph keeps what it was made of, and reads and writes where that did.
// - Kernels are given addresses of blocks of the GPU or of mapped memory only, unless the GPU reads
//   pageable memory; compiled images of another architecture are refused.
// - Free memory is reported without what the system could give back (HIDDEN_BYTES), as on Tegra.
// - A handle is a number that is used once, so that one that is gone is never taken for another.
//
// Addresses on the "GPU" are addresses of this process. A launch runs the kernel of that name that
// was compiled for the CPU (kernels.hpp), whatever the module's image is. Host functions run on the
// thread that waits, without any lock held, and may not call the driver.
//
// The functions software_* steer and inspect it; tests/software_cuda/__init__.py describes them.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define API __attribute__((visibility("default")))

typedef uint64_t Address;

enum {
    SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NOT_INITIALIZED = 3, NO_DEVICE = 100,
    INVALID_DEVICE = 101, INVALID_CONTEXT = 201, INVALID_HANDLE = 400, NOT_FOUND = 500,
    NOT_READY = 600, ILLEGAL_ADDRESS = 700, CONTEXT_IS_DESTROYED = 709, NOT_PERMITTED = 800,
    NO_BINARY_FOR_GPU = 209, CAPTURE_UNSUPPORTED = 900, CAPTURE_INVALIDATED = 901,
    ILLEGAL_STATE = 401,
};

static const struct { int code; const char *name, *words; } ERRORS[] = {
    {0, "CUDA_SUCCESS", "no error"},
    {1, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {2, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {3, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {4, "CUDA_ERROR_DEINITIALIZED", "driver shutting down"},
    {34, "CUDA_ERROR_STUB_LIBRARY", "CUDA driver is a stub library"},
    {35, "CUDA_ERROR_INSUFFICIENT_DRIVER", "CUDA driver version is insufficient for CUDA runtime version"},
    {46, "CUDA_ERROR_DEVICE_UNAVAILABLE", "CUDA-capable device(s) is/are busy or unavailable"},
    {100, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {101, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {200, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
    {201, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {209, "CUDA_ERROR_NO_BINARY_FOR_GPU", "no kernel image is available for execution on the device"},
    {214, "CUDA_ERROR_ECC_UNCORRECTABLE", "uncorrectable ECC error encountered"},
    {222, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION", "the provided PTX was compiled with an unsupported toolchain."},
    {304, "CUDA_ERROR_OPERATING_SYSTEM", "OS call failed or operation not supported on this OS"},
    {400, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {500, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {600, "CUDA_ERROR_NOT_READY", "device not ready"},
    {700, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
    {702, "CUDA_ERROR_LAUNCH_TIMEOUT", "the launch timed out and was terminated"},
    {709, "CUDA_ERROR_CONTEXT_IS_DESTROYED", "context is destroyed"},
    {719, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
    {800, "CUDA_ERROR_NOT_PERMITTED", "operation not permitted"},
    {801, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"},
    {802, "CUDA_ERROR_SYSTEM_NOT_READY", "system not yet initialized"},
    {803, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", "system has unsupported display driver / cuda driver combination"},
    {804, "CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE", "forward compatibility was attempted on non supported HW"},
    {900, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", "operation not permitted when stream is capturing"},
    {901, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED", "operation failed due to a previous error during capture"},
    {999, "CUDA_ERROR_UNKNOWN", "unknown error"},
};

// From kernels.hpp.
struct kernel {
    const char *name;
    void (*run)(const unsigned *grid, const unsigned *block, void **arguments);
    int count;
    const size_t *sizes, *alignments;
    const int *pointers;
};
extern const struct kernel software_kernels[];

enum kind { BLOCK, STREAM, EVENT, MODULE, FUNCTION, GRAPH, KINDS };

enum work { COPY, LAUNCH, CALL, RECORD, WAIT, REPLAY };

struct operation {
    enum work work;
    struct operation *next;
    Address to, from;
    size_t bytes;
    const struct kernel *kernel;
    unsigned grid[3], block[3];
    void *arguments[64];
    char *room;
    void (*function)(void *);
    void *data;
    uintptr_t event;
    long turn;
    int in_graph;
};

// One type for all that has a handle keeps the book-keeping short.
struct thing {
    enum kind kind;
    uintptr_t handle;
    struct thing *next;
    int device;
    // BLOCK
    char *start;
    size_t bytes;
    int host;
    unsigned flags;  // of events too
    // STREAM
    struct operation *first, *last;  // of a graph too
    struct operation *captured, *last_captured;
    int capturing, spoilt;
    pthread_mutex_t running;
    // EVENT
    uintptr_t stream;
    long recorded, reached;
    double seconds;
    // FUNCTION
    uintptr_t module;
    const struct kernel *kernel;
};

enum { DEVICES = 4, DEPTH = 16, GUARD = 512, INJECTIONS = 8 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t kernel_lock = PTHREAD_MUTEX_INITIALIZER;
static struct thing *things, *graveyard;
static uintptr_t last_handle = 0x5000;
static unsigned generation = 1;
static int initialised;
static struct { int references; int fault; } primary[DEVICES];
static struct { char name[48]; int code; long skip, times; } injected[INJECTIONS];
static char refusal[160];

enum count {
    PUSHES, POPS, LAUNCHES, COPIES, HOST_FUNCTIONS, ALLOCATIONS, LOST, OVERRUNS, REFUSED, WAITS,
    BYTES, GRAPH_LAUNCHES, COUNTS
};
static const char *const COUNT_NAMES[COUNTS] = {
    "pushes", "pops", "launches", "copies", "host_functions", "allocations", "lost", "overruns",
    "refused", "waits", "bytes_copied", "graph_launches",
};
static long long counts[COUNTS];

static struct {
    long long devices, major, minor, integrated, can_map, total_bytes, driver, init_error, delay_us;
    long long pageable, hidden_bytes;
    char name[64];
} gpu;

static __thread unsigned my_generation;
static __thread int depth, in_host_function;
static __thread int stack[DEPTH];  // devices, whose primary contexts these are
static __thread uintptr_t my_capture;  // stream that this thread captures

// --- book-keeping ---------------------------------------------------------------------------

static int refuse(const char *routine, int code)
{
    if (code != SUCCESS && code != NOT_READY) {
        counts[REFUSED]++;
        snprintf(refusal, sizeof refusal, "%s: %d", routine, code);
    }
    return code;
}

static int injection(const char *routine)
{
    for (int i = 0; i < INJECTIONS; i++) {
        if (!injected[i].times || strcmp(injected[i].name, routine))
            continue;
        if (injected[i].skip-- > 0)
            return SUCCESS;
        injected[i].skip = 0;
        if (injected[i].times > 0)
            injected[i].times--;
        return injected[i].code;
    }
    return SUCCESS;
}

static int my_depth(void)
{
    if (my_generation != generation) {
        my_generation = generation;
        depth = 0;
    }
    return depth;
}

enum need { NOTHING, DRIVER, CONTEXT };

static int check(const char *routine, enum need need)
{
    int code = injection(routine);
    if (code)
        return code;
    if (in_host_function)
        return NOT_PERMITTED;
    if (need >= DRIVER && !initialised)
        return NOT_INITIALIZED;
    if (need < CONTEXT)
        return SUCCESS;
    if (!my_depth())
        return INVALID_CONTEXT;
    if (!primary[stack[depth - 1]].references)
        return CONTEXT_IS_DESTROYED;
    return primary[stack[depth - 1]].fault;
}

// Each routine: ENTER, its body, LEAVE. Nothing between the two waits for anything.
#define ENTER(need)                                                \
    const char *routine = __func__;                                \
    pthread_mutex_lock(&lock);                                     \
    int code = check(routine, need);                               \
    if (code)                                                      \
        goto leave;
#define FAIL(what)                                                 \
    do {                                                           \
        code = what;                                               \
        goto leave;                                                \
    } while (0)
#define LEAVE                                                      \
    leave:                                                         \
    code = refuse(routine, code);                                  \
    pthread_mutex_unlock(&lock);                                   \
    return code;

static struct thing *add(enum kind kind)
{
    struct thing *thing = calloc(1, sizeof *thing);
    thing->kind = kind;
    thing->handle = last_handle += 16;
    thing->device = depth ? stack[depth - 1] : 0;
    thing->next = things;
    pthread_mutex_init(&thing->running, NULL);
    return things = thing;
}

static struct thing *find(enum kind kind, const void *handle)
{
    for (struct thing *thing = things; thing; thing = thing->next)
        if (thing->kind == kind && thing->handle == (uintptr_t)handle)
            return thing;
    return NULL;
}

static void unlink_thing(struct thing *gone)
{
    for (struct thing **at = &things; *at; at = &(*at)->next)
        if (*at == gone) {
            *at = gone->next;
            break;
        }
}

static int anything_queued(void)
{
    for (struct thing *thing = things; thing; thing = thing->next)
        if (thing->kind == STREAM && thing->first)
            return 1;
    return 0;
}

// Memory that work in a stream may still touch is kept, filled with 0xDD, until all streams are
// empty: the work then gives wrong data, and the process goes on to say so.
static void bury(struct thing *thing)
{
    unlink_thing(thing);
    thing->next = graveyard;
    graveyard = thing;
}

static void clear_graveyard(void)
{
    while (graveyard && !anything_queued()) {
        struct thing *gone = graveyard;
        graveyard = gone->next;
        if (gone->kind == BLOCK)
            free(gone->start - GUARD);
        free(gone);
    }
}

static void free_operation(struct operation *operation)
{
    free(operation->room);
    free(operation);
}

static void drop(struct thing *thing)
{
    while (thing->first) {
        struct operation *next = thing->first->next;
        free_operation(thing->first);
        thing->first = next;
    }
    while (thing->captured) {
        struct operation *next = thing->captured->next;
        free_operation(thing->captured);
        thing->captured = next;
    }
    if (thing->kind == BLOCK)
        memset(thing->start, 0xDD, thing->bytes);
    bury(thing);
}

// --- memory ---------------------------------------------------------------------------------

static struct thing *block_at(Address address, size_t bytes, int host)
{
    for (struct thing *t = things; t; t = t->next)
        if (t->kind == BLOCK && (Address)t->start <= address
            && address + bytes <= (Address)t->start + t->bytes
            && (host ? t->host : !t->host || t->flags & 2))
            return t;
    return NULL;
}

static long long used_bytes(void)
{
    long long used = 0;
    for (struct thing *t = things; t; t = t->next)
        if (t->kind == BLOCK && (!t->host || gpu.integrated))
            used += (long long)t->bytes;
    return used;
}

static int spoils_capture(void)
{
    struct thing *stream = my_capture ? find(STREAM, (void *)my_capture) : NULL;
    if (stream && stream->capturing)
        stream->spoilt = 1;
    return stream && stream->capturing;
}

static struct thing *new_block(size_t bytes, int host, unsigned flags)
{
    if ((!host || gpu.integrated) && used_bytes() + (long long)bytes > gpu.total_bytes)
        return NULL;
    char *raw = aligned_alloc(GUARD, GUARD + (bytes + GUARD - 1) / GUARD * GUARD + GUARD);
    if (!raw)
        return NULL;
    struct thing *block = add(BLOCK);
    block->start = raw + GUARD;
    block->bytes = bytes;
    block->host = host;
    block->flags = flags;
    memset(raw, 0xFD, GUARD);
    memset(block->start, 0xA5, bytes);
    memset(block->start + bytes, 0xFD, GUARD);
    counts[ALLOCATIONS]++;
    return block;
}

static int guards_are_whole(const struct thing *block)
{
    for (int i = 0; i < GUARD; i++)
        if ((unsigned char)block->start[i - GUARD] != 0xFD
            || (unsigned char)block->start[block->bytes + i] != 0xFD)
            return 0;
    return 1;
}

static int free_block(Address address, int host)
{
    for (struct thing *t = things; t; t = t->next)
        if (t->kind == BLOCK && (Address)t->start == address && t->host == host) {
            int whole = guards_are_whole(t);
            counts[OVERRUNS] += !whole;
            drop(t);
            clear_graveyard();
            return whole ? SUCCESS : ILLEGAL_ADDRESS;
        }
    return INVALID_VALUE;
}

API int cuMemAlloc_v2(Address *pointer, size_t bytes)
{
    ENTER(CONTEXT)
    if (!pointer || !bytes)
        FAIL(INVALID_VALUE);
    if (spoils_capture())
        FAIL(CAPTURE_UNSUPPORTED);
    struct thing *block = new_block(bytes, 0, 0);
    if (!block)
        FAIL(OUT_OF_MEMORY);
    *pointer = (Address)block->start;
    LEAVE
}

static int run_until(uintptr_t stream, uintptr_t event, long turn);

static int finish_streams(void)
{
    int code = SUCCESS;
    for (struct thing *thing = things; thing && !code; thing = thing->next)
        if (thing->kind == STREAM && thing->first) {
            uintptr_t handle = thing->handle;
            pthread_mutex_unlock(&lock);
            code = run_until(handle, 0, 0);
            pthread_mutex_lock(&lock);
            thing = things;
        }
    return code;
}

API int cuMemFree_v2(Address pointer)
{
    ENTER(CONTEXT)
    FAIL(free_block(pointer, 0));
    LEAVE
}

API int cuMemHostAlloc(void **pointer, size_t bytes, unsigned flags)
{
    ENTER(CONTEXT)
    if (!pointer || !bytes || flags > 7 || (flags & 2 && !gpu.can_map))
        FAIL(INVALID_VALUE);
    if (spoils_capture())
        FAIL(CAPTURE_UNSUPPORTED);
    struct thing *block = new_block(bytes, 1, flags);
    if (!block)
        FAIL(OUT_OF_MEMORY);
    *pointer = block->start;
    LEAVE
}

API int cuMemFreeHost(void *pointer)
{
    ENTER(CONTEXT)
    FAIL(free_block((Address)pointer, 1));
    LEAVE
}

API int cuMemHostGetDevicePointer_v2(Address *pointer, void *host, unsigned flags)
{
    ENTER(CONTEXT)
    struct thing *block = block_at((Address)host, 1, 1);
    if (!pointer || flags || !block || !(block->flags & 2))
        FAIL(INVALID_VALUE);
    *pointer = (Address)host;
    LEAVE
}

API int cuMemGetInfo_v2(size_t *free_bytes, size_t *total)
{
    ENTER(CONTEXT)
    *total = (size_t)gpu.total_bytes;
    long long left = gpu.total_bytes - used_bytes() - gpu.hidden_bytes;
    *free_bytes = (size_t)(left > 0 ? left : 0);
    LEAVE
}

// --- streams --------------------------------------------------------------------------------

static struct operation *queue(struct thing *stream, enum work work)
{
    struct operation *operation = calloc(1, sizeof *operation);
    operation->work = work;
    struct operation **first = stream->capturing ? &stream->captured : &stream->first;
    struct operation **last = stream->capturing ? &stream->last_captured : &stream->last;
    operation->in_graph = stream->capturing;
    if (*first)
        (*last)->next = operation;
    else
        *first = operation;
    return *last = operation;
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static int run_until(uintptr_t stream, uintptr_t event, long turn);

static int copy(const struct operation *operation)
{
    pthread_mutex_lock(&lock);
    int to_host = block_at(operation->to, operation->bytes, 1) != NULL;
    int from_host = block_at(operation->from, operation->bytes, 1) != NULL;
    int known = (to_host || block_at(operation->to, operation->bytes, 0))
             && (from_host || block_at(operation->from, operation->bytes, 0));
    counts[COPIES]++;
    counts[BYTES] += (long long)operation->bytes;
    pthread_mutex_unlock(&lock);
    if (known)
        memmove((void *)operation->to, (const void *)operation->from, operation->bytes);
    return known ? SUCCESS : ILLEGAL_ADDRESS;
}

static int launch(struct operation *operation)
{
    pthread_mutex_lock(&lock);
    int code = injection("kernel");
    counts[LAUNCHES] += !operation->in_graph;
    pthread_mutex_unlock(&lock);
    if (code)
        return code;
    pthread_mutex_lock(&kernel_lock);
    operation->kernel->run(operation->grid, operation->block, operation->arguments);
    pthread_mutex_unlock(&kernel_lock);
    return SUCCESS;
}

static int call(const struct operation *operation)
{
    counts[HOST_FUNCTIONS] += !operation->in_graph;
    in_host_function = 1;
    operation->function(operation->data);
    in_host_function = 0;
    return SUCCESS;
}

static int record(const struct operation *operation)
{
    pthread_mutex_lock(&lock);
    struct thing *event = find(EVENT, (void *)operation->event);
    if (event) {
        event->reached = operation->turn;
        event->seconds = now();
    }
    pthread_mutex_unlock(&lock);
    return SUCCESS;
}

static int wait_for(const struct operation *operation)
{
    pthread_mutex_lock(&lock);
    struct thing *event = find(EVENT, (void *)operation->event);
    uintptr_t stream = event ? event->stream : 0;
    pthread_mutex_unlock(&lock);
    return stream ? run_until(stream, operation->event, operation->turn) : SUCCESS;
}

static int replay(const struct operation *operation);

static int execute(struct operation *operation)
{
    switch (operation->work) {
    case REPLAY: return replay(operation);
    case COPY: return copy(operation);
    case LAUNCH: return launch(operation);
    case CALL: return call(operation);
    case RECORD: return record(operation);
    default: return wait_for(operation);
    }
}

// What a graph was made of, once more. One that was destroyed meanwhile is gone for the GPU too.
static int replay(const struct operation *operation)
{
    pthread_mutex_lock(&lock);
    struct thing *graph = find(GRAPH, (void *)operation->event);
    counts[GRAPH_LAUNCHES]++;
    pthread_mutex_unlock(&lock);
    int code = graph ? SUCCESS : ILLEGAL_ADDRESS;
    for (struct operation *each = graph ? graph->first : NULL; each && !code; each = each->next)
        code = execute(each);
    return code;
}

// The next operation of a stream; NULL when it is empty or the event has come to its turn.
static struct operation *take(struct thing *stream, uintptr_t event, long turn)
{
    struct thing *until = event ? find(EVENT, (void *)event) : NULL;
    struct operation *operation = stream->first;
    if (!operation || (event && (!until || until->reached >= turn)))
        return NULL;
    stream->first = operation->next;
    return operation;
}

// Do what a stream was given, up to an event's turn or (event 0) all of it.
static int run_until(uintptr_t handle, uintptr_t event, long turn)
{
    int code = SUCCESS;
    pthread_mutex_lock(&lock);
    struct thing *stream = find(STREAM, (void *)handle);
    if (!stream) {
        pthread_mutex_unlock(&lock);
        return SUCCESS;
    }
    int device = stream->device;
    counts[WAITS]++;
    useconds_t delay = stream->first ? (useconds_t)gpu.delay_us : 0;
    pthread_mutex_unlock(&lock);
    if (delay)
        usleep(delay);
    pthread_mutex_lock(&stream->running);
    for (;;) {
        pthread_mutex_lock(&lock);
        struct operation *operation = take(stream, event, turn);
        pthread_mutex_unlock(&lock);
        if (!operation)
            break;
        if (!code)  // after a failure the rest is dropped, as on a GPU
            code = execute(operation);
        free_operation(operation);
    }
    pthread_mutex_unlock(&stream->running);
    pthread_mutex_lock(&lock);
    if (code)
        primary[device].fault = code;
    clear_graveyard();
    pthread_mutex_unlock(&lock);
    return code;
}

static int create_stream(const char *routine, void **handle, unsigned flags)
{
    pthread_mutex_lock(&lock);
    int code = check(routine, CONTEXT);
    if (!code && (!handle || flags > 1))
        code = INVALID_VALUE;
    if (!code)
        *handle = (void *)add(STREAM)->handle;
    code = refuse(routine, code);
    pthread_mutex_unlock(&lock);
    return code;
}

API int cuStreamCreate(void **handle, unsigned flags)
{
    return create_stream(__func__, handle, flags);
}

API int cuStreamCreateWithPriority(void **handle, unsigned flags, int priority)
{
    (void)priority;
    return create_stream(__func__, handle, flags);
}

API int cuStreamDestroy_v2(void *handle)
{
    ENTER(CONTEXT)
    struct thing *stream = find(STREAM, handle);
    if (!stream)
        FAIL(INVALID_HANDLE);
    if (stream->first)
        code = NOT_PERMITTED;  // a GPU would do the work first; whoever relies on that is refused
    drop(stream);
    LEAVE
}

API int cuStreamSynchronize(void *handle)
{
    ENTER(CONTEXT)
    if (!find(STREAM, handle))
        FAIL(INVALID_HANDLE);
    if (spoils_capture())
        FAIL(CAPTURE_UNSUPPORTED);
    pthread_mutex_unlock(&lock);
    code = run_until((uintptr_t)handle, 0, 0);
    pthread_mutex_lock(&lock);
    LEAVE
}

// Does one operation, so that a loop that asks until all is done comes to its end.
API int cuStreamQuery(void *handle)
{
    ENTER(CONTEXT)
    struct thing *stream = find(STREAM, handle);
    if (!stream)
        FAIL(INVALID_HANDLE);
    if (!stream->first)
        FAIL(SUCCESS);
    struct operation *operation = take(stream, 0, 0);
    pthread_mutex_unlock(&lock);
    code = execute(operation);
    free_operation(operation);
    pthread_mutex_lock(&lock);
    if (code)
        primary[stack[depth - 1]].fault = code;
    else
        code = NOT_READY;
    LEAVE
}

API int cuStreamWaitEvent(void *handle, void *event_handle, unsigned flags)
{
    ENTER(CONTEXT)
    struct thing *stream = find(STREAM, handle), *event = find(EVENT, event_handle);
    if (!stream || !event || flags)
        FAIL(INVALID_HANDLE);
    struct operation *operation = queue(stream, WAIT);
    operation->event = event->handle;
    operation->turn = event->recorded;
    LEAVE
}

API int cuCtxSynchronize(void)
{
    ENTER(CONTEXT)
    code = finish_streams();
    LEAVE
}

static int copy_async(
    const char *routine, Address to, int to_host, Address from, int from_host, size_t bytes,
    void *handle)
{
    pthread_mutex_lock(&lock);
    int code = check(routine, CONTEXT);
    struct thing *stream = find(STREAM, handle);
    if (!code && !stream)
        code = INVALID_HANDLE;
    if (!code && (!bytes || !block_at(to, bytes, to_host) || !block_at(from, bytes, from_host)))
        code = INVALID_VALUE;
    if (!code) {
        struct operation *operation = queue(stream, COPY);
        operation->to = to;
        operation->from = from;
        operation->bytes = bytes;
    }
    code = refuse(routine, code);
    pthread_mutex_unlock(&lock);
    return code;
}

API int cuMemcpyHtoDAsync_v2(Address to, const void *from, size_t bytes, void *stream)
{
    return copy_async(__func__, to, 0, (Address)from, 1, bytes, stream);
}

API int cuMemcpyDtoHAsync_v2(void *to, Address from, size_t bytes, void *stream)
{
    return copy_async(__func__, (Address)to, 1, from, 0, bytes, stream);
}

API int cuMemcpyDtoDAsync_v2(Address to, Address from, size_t bytes, void *stream)
{
    return copy_async(__func__, to, 0, from, 0, bytes, stream);
}

API int cuLaunchHostFunc(void *handle, void (*function)(void *), void *data)
{
    ENTER(CONTEXT)
    struct thing *stream = find(STREAM, handle);
    if (!stream || !function)
        FAIL(INVALID_HANDLE);
    struct operation *operation = queue(stream, CALL);
    operation->function = function;
    operation->data = data;
    LEAVE
}

// Of the attributes the kind of memory alone: 1 the CPU's, 2 the GPU's.
API int cuPointerGetAttribute(unsigned *value, int attribute, Address pointer)
{
    ENTER(CONTEXT)
    if (attribute != 2 || !block_at(pointer, 1, 0))
        FAIL(INVALID_VALUE);
    *value = block_at(pointer, 1, 1) ? 1 : 2;
    LEAVE
}

// --- graphs ---------------------------------------------------------------------------------

API int cuStreamBeginCapture_v2(void *handle, int mode)
{
    ENTER(CONTEXT)
    struct thing *stream = find(STREAM, handle);
    if (!stream || mode < 0 || mode > 2)
        FAIL(INVALID_HANDLE);
    if (stream->capturing)
        FAIL(ILLEGAL_STATE);
    stream->capturing = 1;
    stream->spoilt = 0;
    my_capture = stream->handle;
    LEAVE
}

API int cuStreamIsCapturing(void *handle, int *status)
{
    ENTER(CONTEXT)
    struct thing *stream = find(STREAM, handle);
    if (!stream)
        FAIL(INVALID_HANDLE);
    *status = stream->capturing ? 1 + stream->spoilt : 0;
    LEAVE
}

API int cuStreamEndCapture(void *handle, void **graph)
{
    ENTER(CONTEXT)
    struct thing *stream = find(STREAM, handle);
    *graph = NULL;
    if (!stream || !stream->capturing || my_capture != stream->handle)
        FAIL(ILLEGAL_STATE);
    stream->capturing = 0;
    my_capture = 0;
    struct thing *made = add(GRAPH);
    made->first = stream->captured;
    stream->captured = NULL;
    if (stream->spoilt) {
        drop(made);
        FAIL(CAPTURE_INVALIDATED);
    }
    *graph = (void *)made->handle;
    LEAVE
}

// Takes over what the graph was made of, which is then only good to be destroyed.
API int cuGraphInstantiateWithFlags(void **handle, void *graph_handle, unsigned long long flags)
{
    ENTER(CONTEXT)
    struct thing *graph = find(GRAPH, graph_handle);
    if (!handle || !graph || flags)
        FAIL(INVALID_VALUE);
    struct thing *made = add(GRAPH);
    made->first = graph->first;
    graph->first = NULL;
    *handle = (void *)made->handle;
    LEAVE
}

API int cuGraphLaunch(void *handle, void *stream_handle)
{
    ENTER(CONTEXT)
    struct thing *graph = find(GRAPH, handle), *stream = find(STREAM, stream_handle);
    if (!graph || !stream || stream->capturing)
        FAIL(INVALID_HANDLE);
    queue(stream, REPLAY)->event = graph->handle;
    LEAVE
}

static int destroy_graph(const char *routine, void *handle)
{
    pthread_mutex_lock(&lock);
    int code = check(routine, DRIVER);
    struct thing *graph = find(GRAPH, handle);
    if (!code && !graph)
        code = INVALID_VALUE;
    if (!code)
        drop(graph);
    code = refuse(routine, code);
    pthread_mutex_unlock(&lock);
    return code;
}

API int cuGraphDestroy(void *handle) { return destroy_graph(__func__, handle); }

API int cuGraphExecDestroy(void *handle) { return destroy_graph(__func__, handle); }

// --- events ---------------------------------------------------------------------------------

API int cuEventCreate(void **handle, unsigned flags)
{
    ENTER(CONTEXT)
    if (!handle || flags > 3)
        FAIL(INVALID_VALUE);
    struct thing *event = add(EVENT);
    event->flags = flags;
    *handle = (void *)event->handle;
    LEAVE
}

API int cuEventDestroy_v2(void *handle)
{
    ENTER(CONTEXT)
    struct thing *event = find(EVENT, handle);
    if (!event)
        FAIL(INVALID_HANDLE);
    drop(event);
    LEAVE
}

API int cuEventRecord(void *handle, void *stream_handle)
{
    ENTER(CONTEXT)
    struct thing *event = find(EVENT, handle), *stream = find(STREAM, stream_handle);
    if (!event || !stream)
        FAIL(INVALID_HANDLE);
    struct operation *operation = queue(stream, RECORD);
    event->stream = stream->handle;
    operation->event = event->handle;
    operation->turn = ++event->recorded;
    LEAVE
}

API int cuEventSynchronize(void *handle)
{
    ENTER(CONTEXT)
    struct thing *event = find(EVENT, handle);
    if (!event)
        FAIL(INVALID_HANDLE);
    if (event->reached >= event->recorded)
        FAIL(SUCCESS);
    if (spoils_capture())
        FAIL(CAPTURE_UNSUPPORTED);
    uintptr_t stream = event->stream;
    long turn = event->recorded;
    pthread_mutex_unlock(&lock);
    code = run_until(stream, (uintptr_t)handle, turn);
    pthread_mutex_lock(&lock);
    LEAVE
}

API int cuEventQuery(void *handle)
{
    ENTER(CONTEXT)
    struct thing *event = find(EVENT, handle);
    if (!event)
        FAIL(INVALID_HANDLE);
    if (event->reached < event->recorded)
        code = NOT_READY;
    LEAVE
}

API int cuEventElapsedTime_v2(float *milliseconds, void *since, void *until)
{
    ENTER(CONTEXT)
    struct thing *first = find(EVENT, since), *second = find(EVENT, until);
    if (!first || !second || (first->flags | second->flags) & 2)
        FAIL(INVALID_HANDLE);
    if (!first->recorded || !second->recorded)
        FAIL(INVALID_HANDLE);
    if (first->reached < first->recorded || second->reached < second->recorded)
        FAIL(NOT_READY);
    *milliseconds = (float)((second->seconds - first->seconds) * 1e3);
    LEAVE
}

API int cuEventElapsedTime(float *milliseconds, void *since, void *until)
{
    return cuEventElapsedTime_v2(milliseconds, since, until);
}

// --- modules and launches -------------------------------------------------------------------

// The architecture of a cubin is in the flags of its ELF header: in the lowest byte, or since CUDA 13
// (ABI 8) in the second. 0 for what is no ELF.
static long long architecture(const unsigned char *image)
{
    if (memcmp(image, "\177ELF", 4))
        return 0;
    return image[8] >= 8 ? image[49] : image[48];
}

static int load_module(const char *routine, void **handle, const void *image)
{
    pthread_mutex_lock(&lock);
    int code = check(routine, CONTEXT);
    if (!code && (!handle || !image))
        code = INVALID_VALUE;
    long long made_for = code ? 0 : architecture(image);
    if (made_for && made_for != gpu.major * 10 + gpu.minor)
        code = NO_BINARY_FOR_GPU;
    if (!code)
        *handle = (void *)add(MODULE)->handle;
    code = refuse(routine, code);
    pthread_mutex_unlock(&lock);
    return code;
}

API int cuModuleLoadData(void **handle, const void *image)
{
    return load_module(__func__, handle, image);
}

API int cuModuleLoadDataEx(
    void **handle, const void *image, unsigned count, int *options, void **values)
{
    (void)count, (void)options, (void)values;
    return load_module(__func__, handle, image);
}

API int cuModuleUnload(void *handle)
{
    ENTER(CONTEXT)
    struct thing *module = find(MODULE, handle);
    if (!module)
        FAIL(INVALID_HANDLE);
    for (struct thing *thing = things, *next; thing; thing = next) {
        next = thing->next;
        if (thing->kind == FUNCTION && thing->module == module->handle)
            drop(thing);
    }
    drop(module);
    LEAVE
}

API int cuModuleGetFunction(void **handle, void *module_handle, const char *name)
{
    ENTER(CONTEXT)
    struct thing *module = find(MODULE, module_handle);
    if (!module || !handle || !name)
        FAIL(INVALID_HANDLE);
    const struct kernel *kernel = software_kernels;
    while (kernel->name && strcmp(kernel->name, name))
        kernel++;
    if (!kernel->name)
        FAIL(NOT_FOUND);
    struct thing *function = add(FUNCTION);
    function->module = module->handle;
    function->kernel = kernel;
    *handle = (void *)function->handle;
    LEAVE
}

static struct thing *find_function(void *handle)
{
    struct thing *function = find(FUNCTION, handle);
    return function && find(MODULE, (void *)function->module) ? function : NULL;
}

// Out of use for long; pycuda calls it before each launch all the same.
API int cuFuncSetBlockShape(void *handle, int x, int y, int z)
{
    ENTER(CONTEXT)
    if (!find_function(handle) || x < 1 || y < 1 || z < 1)
        FAIL(INVALID_HANDLE);
    LEAVE
}

// The arguments in one room, from an array of pointers or from a buffer laid out as a structure,
// whose size must then be exactly that of what the kernel takes.
static int take_arguments(struct operation *operation, void **each, void **extra)
{
    const struct kernel *kernel = operation->kernel;
    size_t at = 0, widest = 1, given = 0;
    const char *buffer = NULL;
    if (extra) {
        if (extra[0] != (void *)1 || extra[2] != (void *)2)
            return INVALID_VALUE;
        buffer = extra[1];
        given = *(size_t *)extra[3];
    } else if (!each && kernel->count)
        return INVALID_VALUE;
    operation->room = malloc(4096);
    for (int i = 0; i < kernel->count; i++) {
        size_t size = kernel->sizes[i], alignment = kernel->alignments[i];
        at = (at + alignment - 1) / alignment * alignment;
        widest = alignment > widest ? alignment : widest;
        if (buffer && at + size > given)
            return INVALID_VALUE;
        memcpy(operation->room + at, buffer ? buffer + at : each[i], size);
        if (kernel->pointers[i] && !gpu.pageable
            && !block_at(*(Address *)(operation->room + at), 1, 0))
            return ILLEGAL_ADDRESS;
        operation->arguments[i] = operation->room + at;
        at += size;
    }
    return !buffer || given == at || given == (at + widest - 1) / widest * widest ? SUCCESS
                                                                                  : INVALID_VALUE;
}

static int shape_is_possible(const unsigned *grid, const unsigned *block)
{
    return grid[0] && grid[1] && grid[2] && block[0] && block[1] && block[2]
        && grid[0] <= 0x7FFFFFFF && grid[1] <= 65535 && grid[2] <= 65535 && block[0] <= 1024
        && block[1] <= 1024 && block[2] <= 64 && block[0] * block[1] * block[2] <= 1024;
}

API int cuLaunchKernel(
    void *handle, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
    unsigned block_y, unsigned block_z, unsigned shared, void *stream_handle, void **each,
    void **extra)
{
    ENTER(CONTEXT)
    (void)shared;
    struct thing *function = find_function(handle), *stream = find(STREAM, stream_handle);
    unsigned grid[] = {grid_x, grid_y, grid_z}, block[] = {block_x, block_y, block_z};
    if (!function || !stream)
        FAIL(INVALID_HANDLE);
    if (!shape_is_possible(grid, block))
        FAIL(INVALID_VALUE);
    struct operation *operation = calloc(1, sizeof *operation), *queued;
    operation->kernel = function->kernel;
    code = take_arguments(operation, each, extra);
    if (code) {
        free_operation(operation);
        FAIL(code);
    }
    queued = queue(stream, LAUNCH);
    operation->work = LAUNCH;
    operation->in_graph = queued->in_graph;
    memcpy(operation->grid, grid, sizeof grid);
    memcpy(operation->block, block, sizeof block);
    *queued = *operation;
    free(operation);
    LEAVE
}

// --- device and contexts --------------------------------------------------------------------

API int cuInit(unsigned flags)
{
    ENTER(NOTHING)
    if (flags)
        FAIL(INVALID_VALUE);
    if (gpu.init_error)
        FAIL((int)gpu.init_error);
    initialised = 1;
    LEAVE
}

API int cuDriverGetVersion(int *version)
{
    *version = (int)gpu.driver;
    return SUCCESS;
}

API int cuDeviceGetCount(int *count)
{
    ENTER(DRIVER)
    *count = (int)gpu.devices;
    LEAVE
}

API int cuDeviceGet(int *device, int ordinal)
{
    ENTER(DRIVER)
    if (ordinal < 0 || ordinal >= gpu.devices)
        FAIL(INVALID_DEVICE);
    *device = ordinal;
    LEAVE
}

API int cuDeviceGetName(char *name, int length, int device)
{
    ENTER(DRIVER)
    if (device < 0 || device >= gpu.devices)
        FAIL(INVALID_DEVICE);
    snprintf(name, (size_t)length, "%s", gpu.name);
    LEAVE
}

API int cuDeviceComputeCapability(int *major, int *minor, int device)
{
    ENTER(DRIVER)
    if (device < 0 || device >= gpu.devices)
        FAIL(INVALID_DEVICE);
    *major = (int)gpu.major;
    *minor = (int)gpu.minor;
    LEAVE
}

API int cuDeviceTotalMem_v2(size_t *bytes, int device)
{
    ENTER(DRIVER)
    if (device < 0 || device >= gpu.devices)
        FAIL(INVALID_DEVICE);
    *bytes = (size_t)gpu.total_bytes;
    LEAVE
}

API int cuDeviceGetAttribute(int *value, int attribute, int device)
{
    ENTER(DRIVER)
    if (device < 0 || device >= gpu.devices)
        FAIL(INVALID_DEVICE);
    switch (attribute) {
    case 18: *value = (int)gpu.integrated; break;
    case 19: *value = (int)gpu.can_map; break;
    case 88: *value = (int)gpu.pageable; break;
    case 75: *value = (int)gpu.major; break;
    case 76: *value = (int)gpu.minor; break;
    default: *value = 0;
    }
    LEAVE
}

static void *context_of(int device)
{
    return (void *)(uintptr_t)(0x1000 + 16 * device);
}

static int device_of(const void *context)
{
    for (int device = 0; device < DEVICES; device++)
        if (context == context_of(device))
            return device;
    return -1;
}

API int cuDevicePrimaryCtxRetain(void **context, int device)
{
    ENTER(DRIVER)
    if (device < 0 || device >= gpu.devices)
        FAIL(INVALID_DEVICE);
    primary[device].references++;
    *context = context_of(device);
    LEAVE
}

// With the last reference goes whatever still lives in the context; that is counted as lost.
API int cuDevicePrimaryCtxRelease_v2(int device)
{
    ENTER(DRIVER)
    if (device < 0 || device >= gpu.devices || !primary[device].references)
        FAIL(INVALID_CONTEXT);
    if (--primary[device].references)
        FAIL(SUCCESS);
    primary[device].fault = SUCCESS;
    for (struct thing *thing = things, *next; thing; thing = next) {
        next = thing->next;
        if (thing->device != device)
            continue;
        counts[LOST] += thing->kind != FUNCTION;
        drop(thing);
    }
    clear_graveyard();
    LEAVE
}

API int cuCtxPushCurrent_v2(void *context)
{
    ENTER(DRIVER)
    int device = device_of(context);
    if (device < 0)
        FAIL(INVALID_CONTEXT);
    if (!primary[device].references)
        FAIL(CONTEXT_IS_DESTROYED);
    if (my_depth() == DEPTH)
        FAIL(INVALID_VALUE);
    stack[depth++] = device;
    counts[PUSHES]++;
    LEAVE
}

API int cuCtxPopCurrent_v2(void **context)
{
    ENTER(DRIVER)
    if (!my_depth())
        FAIL(INVALID_CONTEXT);
    depth--;
    counts[POPS]++;
    if (context)
        *context = context_of(stack[depth]);
    LEAVE
}

API int cuCtxGetCurrent(void **context)
{
    ENTER(DRIVER)
    *context = my_depth() ? context_of(stack[depth - 1]) : NULL;
    LEAVE
}

API int cuCtxGetDevice(int *device)
{
    ENTER(CONTEXT)
    *device = stack[depth - 1];
    LEAVE
}

// --- names ----------------------------------------------------------------------------------

static int describe(int code, const char **text, int wants_name)
{
    for (size_t i = 0; i < sizeof ERRORS / sizeof *ERRORS; i++)
        if (ERRORS[i].code == code) {
            *text = wants_name ? ERRORS[i].name : ERRORS[i].words;
            return SUCCESS;
        }
    *text = NULL;
    return INVALID_VALUE;
}

API int cuGetErrorName(int code, const char **text) { return describe(code, text, 1); }

API int cuGetErrorString(int code, const char **text) { return describe(code, text, 0); }

// Finds the newest form of a routine that is exported here: all of them take the same arguments.
API int cuGetProcAddress_v2(
    const char *symbol, void **function, int version, uint64_t flags, int *status)
{
    (void)version, (void)flags;
    static const char *const suffixes[] = {"_v4", "_v3", "_v2", ""};
    Dl_info self;
    char name[128];
    *function = NULL;
    dladdr((void *)cuGetProcAddress_v2, &self);
    void *library = dlopen(self.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
    for (int i = 0; library && !*function && i < 4; i++) {
        snprintf(name, sizeof name, "%s%s", symbol, suffixes[i]);
        *function = dlsym(library, name);
    }
    if (library)
        dlclose(library);
    if (status)
        *status = *function ? 0 : 1;
    return *function ? SUCCESS : NOT_FOUND;
}

API int cuGetProcAddress(const char *symbol, void **function, int version, uint64_t flags)
{
    return cuGetProcAddress_v2(symbol, function, version, flags, NULL);
}

// NVRTC asks a libcuda.so.1 that is loaded for a table of NVIDIA's own and looks at its size before
// anything else, whether it was given one or not. This one says that there is nothing in it.
API int cuGetExportTable(const void **table, const void *identity)
{
    (void)identity;
    static const size_t empty[] = {sizeof(size_t)};
    *table = empty;
    return SUCCESS;
}

// --- steering and looking -------------------------------------------------------------------

static long long from_environment(const char *name, long long otherwise)
{
    char variable[64];
    snprintf(variable, sizeof variable, "SOFTWARE_CUDA_%s", name);
    const char *text = getenv(variable);
    return text ? atoll(text) : otherwise;
}

static const struct { const char *name; long long *value; long long otherwise; } PROPERTIES[] = {
    {"DEVICES", &gpu.devices, 1},
    {"MAJOR", &gpu.major, 8},
    {"MINOR", &gpu.minor, 7},
    {"INTEGRATED", &gpu.integrated, 1},
    {"CAN_MAP", &gpu.can_map, 1},
    {"TOTAL_BYTES", &gpu.total_bytes, 1LL << 30},
    {"DRIVER", &gpu.driver, 13000},
    {"INIT_ERROR", &gpu.init_error, 0},
    {"DELAY_US", &gpu.delay_us, 0},
    {"PAGEABLE", &gpu.pageable, 0},
    {"HIDDEN_BYTES", &gpu.hidden_bytes, 0},
};
enum { PROPERTY_COUNT = sizeof PROPERTIES / sizeof *PROPERTIES };

API int software_set(const char *name, long long value)
{
    for (int i = 0; i < PROPERTY_COUNT; i++)
        if (!strcmp(PROPERTIES[i].name, name)) {
            *PROPERTIES[i].value = value;
            return 1;
        }
    return 0;
}

API void __attribute__((constructor)) software_reset(void)
{
    pthread_mutex_lock(&lock);
    while (things)
        drop(things);
    clear_graveyard();
    memset(counts, 0, sizeof counts);
    memset(injected, 0, sizeof injected);
    memset(primary, 0, sizeof primary);
    refusal[0] = 0;
    initialised = 0;
    generation++;
    my_capture = 0;
    for (int i = 0; i < PROPERTY_COUNT; i++)
        *PROPERTIES[i].value = from_environment(PROPERTIES[i].name, PROPERTIES[i].otherwise);
    const char *name = getenv("SOFTWARE_CUDA_NAME");
    snprintf(gpu.name, sizeof gpu.name, "%s", name ? name : "Orin (software)");
    pthread_mutex_unlock(&lock);
}

API int software_fail(const char *routine, int code, long skip, long times)
{
    int done = 0;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < INJECTIONS && !done; i++)
        if (!injected[i].times) {
            snprintf(injected[i].name, sizeof injected[i].name, "%s", routine);
            injected[i].code = code;
            injected[i].skip = skip;
            injected[i].times = times;
            done = 1;
        }
    pthread_mutex_unlock(&lock);
    return done;
}

static long long count_things(enum kind kind, int host)
{
    long long count = 0;
    for (struct thing *thing = things; thing; thing = thing->next)
        count += thing->kind == kind && (kind != BLOCK || thing->host == host);
    return count;
}

static long long count_of(const char *what)
{
    static const char *const kinds[] = {"device_blocks", "streams", "events", "modules"};
    if (!strcmp(what, "graphs"))
        return count_things(GRAPH, 0);
    for (int i = 0; i < COUNTS; i++)
        if (!strcmp(COUNT_NAMES[i], what))
            return counts[i];
    for (int i = 0; i < 4; i++)
        if (!strcmp(kinds[i], what))
            return count_things((enum kind)i, 0);
    if (!strcmp(what, "host_blocks"))
        return count_things(BLOCK, 1);
    if (!strcmp(what, "depth"))
        return my_depth();
    if (!strcmp(what, "queued"))
        return anything_queued();
    if (strcmp(what, "references"))
        return -1;
    long long references = 0;
    for (int device = 0; device < DEVICES; device++)
        references += primary[device].references;
    return references;
}

API long long software_count(const char *what)
{
    pthread_mutex_lock(&lock);
    long long count = count_of(what);
    pthread_mutex_unlock(&lock);
    return count;
}

API const char *software_last_refusal(void) { return refusal; }
