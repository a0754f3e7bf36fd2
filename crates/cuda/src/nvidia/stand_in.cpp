// For tests: a stand-in for libcuda, whose device is this process. Streams do at once what they are given, unless they are recorded.
// It knows two kernels by name, and ends the process at what a driver would not forgive: handles that are gone, copies beyond what
// is allocated, memory that is freed twice, waits for a stream that is being recorded.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

enum { OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_CONTEXT = 201, NOT_FOUND = 500, ILLEGAL_ADDRESS = 700 };
enum Kind { POOLED, PLAIN, HOST };
typedef uint64_t Address;
typedef std::vector<std::function<void()>> Work;

struct Stream { Work* recording = nullptr; bool alive = true; };
struct Graph { Work work; bool runnable, alive; };
struct Function { std::string name; std::vector<size_t> sizes; int shared = 49152; };
struct Block { size_t bytes; Kind kind; };

static std::recursive_mutex lock;
static std::map<Address, Block> blocks;
static int retained = 0, broken = OK;
static bool active = false;
static thread_local bool current = false;
static void* const CONTEXT = (void*)0x1234;

#define MUST(condition) \
  do { if (!(condition)) { fprintf(stderr, "stand-in: %s: not so: %s\n", __func__, #condition); abort(); } } while (0)
// What most functions begin with.
#define ENTER \
  std::lock_guard<std::recursive_mutex> guard(lock); \
  if (!active || !current) return INVALID_CONTEXT; \
  if (broken) return broken

static bool within(Address at, size_t bytes) {
  auto next = blocks.upper_bound(at);
  if (next == blocks.begin()) return false;
  auto block = std::prev(next);
  return at + bytes <= block->first + block->second.bytes;
}

static int take(Address* at, size_t bytes, Kind kind) {
  if (bytes == 0) return INVALID_VALUE;
  if (bytes > (size_t(1) << 34)) return OUT_OF_MEMORY;
  void* memory = nullptr;
  if (posix_memalign(&memory, 512, bytes)) return OUT_OF_MEMORY;
  memset(memory, 0xab, bytes);
  *at = (Address)memory;
  blocks[*at] = {bytes, kind};
  return OK;
}

static int give_back(Address at, Kind kind) {
  auto block = blocks.find(at);
  MUST(block != blocks.end() && block->second.kind == kind);
  memset((void*)at, 0xcd, block->second.bytes);
  blocks.erase(block);
  free((void*)at);
  return OK;
}

static int give(Stream* stream, std::function<void()> work) {
  MUST(stream && stream->alive);
  if (stream->recording) stream->recording->push_back(work);
  else work();
  return OK;
}

static int copy(Address to, Address from, size_t bytes, Stream* stream) {
  MUST(within(to, bytes) && within(from, bytes));
  return give(stream, [=] { memcpy((void*)to, (void*)from, bytes); });
}

extern "C" {
int cuInit(unsigned flags) { return flags ? INVALID_VALUE : OK; }
int cuDriverGetVersion(int* version) { *version = 13000; return OK; }
int cuGetErrorName(int, const char** text) { *text = "CUDA_ERROR_STAND_IN"; return OK; }
int cuGetErrorString(int, const char** text) { *text = "the stand-in says so"; return OK; }

int cuDeviceGetCount(int* count) { *count = 1; return OK; }
int cuDeviceGet(int* device, int number) { *device = 0; return number ? 101 : OK; }
int cuDeviceGetName(char* name, int size, int) { snprintf(name, size, "Stand-in"); return OK; }
int cuDeviceGetPCIBusId(char* name, int size, int) { snprintf(name, size, "0000:00:00.0"); return OK; }
int cuDeviceTotalMem_v2(size_t* bytes, int) { *bytes = size_t(1) << 34; return OK; }
int cuDeviceGetAttribute(int* value, int attribute, int) {
  static const std::map<int, int> values = {{13, 1980000}, {16, 132}, {36, 3201000}, {37, 6144}, {38, 62914560},
                                            {75, 9},       {76, 0},   {97, 232448},  {115, !getenv("STAND_IN_WITHOUT_POOLS")}};
  MUST(values.count(attribute));
  *value = values.at(attribute);
  return OK;
}

int cuDevicePrimaryCtxRetain(void** context, int) {
  std::lock_guard<std::recursive_mutex> guard(lock);
  if (broken) return broken;
  retained++, active = true, *context = CONTEXT;
  return OK;
}
int cuDevicePrimaryCtxRelease_v2(int) {
  std::lock_guard<std::recursive_mutex> guard(lock);
  MUST(retained > 0);
  if (--retained == 0) active = false, broken = OK;
  return OK;
}
int cuDevicePrimaryCtxReset_v2(int) {
  std::lock_guard<std::recursive_mutex> guard(lock);
  active = false, broken = OK;
  return OK;
}
int cuCtxSetCurrent(void* context) { MUST(context == CONTEXT); current = true; return OK; }
int cuCtxSynchronize() { ENTER; return OK; }

int cuStreamCreate(Stream** stream, unsigned flags) { ENTER; MUST(flags == 1); *stream = new Stream; return OK; }
int cuStreamDestroy_v2(Stream* stream) {
  ENTER;
  MUST(stream->alive && !stream->recording);
  stream->alive = false;
  return OK;
}
int cuStreamSynchronize(Stream* stream) { ENTER; MUST(stream->alive && !stream->recording); return OK; }
int cuStreamBeginCapture_v2(Stream* stream, int mode) {
  ENTER;
  MUST(stream->alive && !stream->recording && mode == 1);
  stream->recording = new Work;
  return OK;
}
int cuStreamEndCapture(Stream* stream, Graph** graph) {
  ENTER;
  MUST(stream->alive && stream->recording);
  *graph = new Graph{*stream->recording, false, true};
  delete stream->recording;
  stream->recording = nullptr;
  return OK;
}

int cuGraphInstantiateWithFlags(Graph** runnable, Graph* graph, unsigned long long flags) {
  ENTER;
  MUST(graph->alive && !graph->runnable && flags == 0);
  *runnable = new Graph{graph->work, true, true};
  return OK;
}
int cuGraphDestroy(Graph* graph) { ENTER; MUST(graph->alive && !graph->runnable); graph->alive = false; return OK; }
int cuGraphExecDestroy(Graph* graph) { ENTER; MUST(graph->alive && graph->runnable); graph->alive = false; return OK; }
int cuGraphLaunch(Graph* graph, Stream* stream) {
  ENTER;
  MUST(graph->alive && graph->runnable && stream->alive && !stream->recording);
  for (auto& work : graph->work) work();
  return OK;
}

int cuEventCreate(void** event, unsigned flags) { ENTER; MUST(flags == 0); *event = malloc(1); return OK; }
int cuEventDestroy_v2(void* event) { ENTER; free(event); return OK; }
int cuEventRecord(void*, Stream* stream) { ENTER; MUST(stream->alive && !stream->recording); return OK; }
int cuEventElapsedTime(float* milliseconds, void*, void*) { ENTER; *milliseconds = 1.5f; return OK; }

int cuMemPoolCreate(void** pool, const uint32_t* properties) {
  ENTER;
  // Page-locked, no handles, on device 0; all else zero.
  MUST(properties[0] == 1 && properties[1] == 0 && properties[2] == 1);
  for (int i = 3; i < 22; i++) MUST(properties[i] == 0);
  *pool = malloc(1);
  return OK;
}
int cuMemPoolDestroy(void* pool) { ENTER; free(pool); return OK; }
int cuMemPoolSetAttribute(void*, int attribute, void*) { ENTER; MUST(attribute == 4); return OK; }
int cuMemPoolTrimTo(void*, size_t) { ENTER; return OK; }
int cuMemAllocFromPoolAsync(Address* at, size_t bytes, void*, Stream* stream) { ENTER; MUST(stream->alive); return take(at, bytes, POOLED); }
int cuMemFreeAsync(Address at, Stream* stream) { ENTER; MUST(stream->alive); return give_back(at, POOLED); }
int cuMemAlloc_v2(Address* at, size_t bytes) { ENTER; return take(at, bytes, PLAIN); }
int cuMemFree_v2(Address at) { ENTER; return give_back(at, PLAIN); }
int cuMemHostAlloc(Address* at, size_t bytes, unsigned flags) { ENTER; MUST(flags == 1); return take(at, bytes, HOST); }
int cuMemFreeHost(Address at) { ENTER; return give_back(at, HOST); }
int cuMemGetInfo_v2(size_t* free, size_t* total) { ENTER; *free = *total = size_t(1) << 34; return OK; }
int cuMemcpyHtoDAsync_v2(Address to, Address from, size_t bytes, Stream* stream) { ENTER; return copy(to, from, bytes, stream); }
int cuMemcpyDtoHAsync_v2(Address to, Address from, size_t bytes, Stream* stream) { ENTER; return copy(to, from, bytes, stream); }
int cuMemcpyDtoDAsync_v2(Address to, Address from, size_t bytes, Stream* stream) { ENTER; return copy(to, from, bytes, stream); }
int cuMemsetD8Async(Address to, unsigned char byte, size_t bytes, Stream* stream) {
  ENTER;
  MUST(within(to, bytes));
  return give(stream, [=] { memset((void*)to, byte, bytes); });
}

int cuModuleLoadData(void** module, const char* image) {
  ENTER;
  MUST(memcmp(image, "\177ELF", 4) == 0);
  *module = malloc(1);
  return OK;
}
int cuModuleUnload(void* module) { ENTER; free(module); return OK; }
int cuModuleGetFunction(Function** function, void*, const char* name) {
  ENTER;
  if (strcmp(name, "scale") == 0) *function = new Function{name, {8, 8, 4, 4}};
  else if (strcmp(name, "turned") == 0) *function = new Function{name, {8, 4}};
  else return NOT_FOUND;
  return OK;
}
int cuFuncLoad(Function*) { ENTER; return OK; }
int cuFuncGetAttribute(int* value, int attribute, Function*) { ENTER; MUST(attribute == 1); *value = 0; return OK; }
int cuFuncSetAttribute(Function* function, int attribute, int value) {
  ENTER;
  MUST(attribute == 8 && value <= 232448);
  function->shared = value;
  return OK;
}
int cuFuncGetParamInfo(Function* function, size_t place, size_t* offset, size_t* size) {
  ENTER;
  if (place >= function->sizes.size()) return INVALID_VALUE;
  *offset = 0, *size = function->sizes[place];
  return OK;
}
int cuLaunchKernel(Function* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared, Stream* stream, void** arguments, void** extra) {
  ENTER;
  MUST(!extra);
  if (!gx || !gy || !gz || gy > 65535 || gz > 65535 || bx * by * bz > 1024 || shared > (unsigned)function->shared)
    return INVALID_VALUE;
  Address y = *(Address*)arguments[0];
  if (function->name == "turned") {
    unsigned count = *(unsigned*)arguments[1];
    return give(stream, [=] { for (unsigned i = 0; i < count; i++) ((float*)y)[i] = float(count - 1 - i); });
  }
  Address x = *(Address*)arguments[1];
  float by_what = *(float*)arguments[2];
  unsigned count = *(unsigned*)arguments[3];
  return give(stream, [=] {
    if (!within(y, count * 4) || !within(x, count * 4)) broken = ILLEGAL_ADDRESS;
    else for (unsigned i = 0; i < count; i++) ((float*)y)[i] = ((float*)x)[i] * by_what;
  });
}
}
