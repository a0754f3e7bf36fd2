// What a compiled kernel and the runner know of each other; both include this.
#pragma once

namespace host {

using Word = unsigned int;
using Long = unsigned long long;

// Changes with anything below.
constexpr Word INTERFACE = 2;

struct Coordinates {
    Word x, y, z;
};

// Does a warp's common operation when the last of its lanes has come: `lanes[i]` is what lane i brought, null if it is not there.
using Complete = void (*)(void **lanes);

// What block-wide barriers find out of the threads' predicates.
enum class Barrier : Word { Sync, Count, And, Or };

// What the runner does for a kernel; `runner` is the pointer in State.
struct Services {
    int (*barrier)(void *runner, Barrier kind, int predicate, Word line);
    void (*collective)(void *runner, Word mask, void *operand, Complete complete, const char *name, Word line);
    void (*fail)(void *runner, const char *text, Word line);
    // Starts a copy of the current thread, ends its group, does all but the latest groups.
    void (*copy)(void *runner, void *to, const void *from, Word bytes, Word there);
    void (*commit)(void *runner);
    void (*arrive)(void *runner, Word latest);
};

// What a kernel reads and the runner sets. A kernel runs in one thread of the host at a time.
struct State {
    Coordinates thread, block, threads, blocks;
    unsigned char *shared;
    Word shared_bytes;
    const Services *services;
    void *runner;
};

// A parameter of a kernel.
struct Parameter {
    Word bytes;
    Word is_pointer;
    const char *type;
};

// A compiled kernel.
struct Module {
    Word interface;
    Word parameter_count;
    const Parameter *parameters;
    // Runs one thread.
    void (*thread)(void **arguments);
    State *state;
    // The kernel's `__shared__` variables.
    unsigned char *static_begin, *static_end;
};

// What is launched.
struct Launch {
    const Module *module;
    Word grid[3], block[3];
    Word shared;
    void **arguments;
};

// What went wrong.
struct Report {
    // 0: nothing, 1: `text` says it, 2: `address` was accessed in vain.
    Word kind;
    Word writes;
    Long address;
    Word block[3], thread[3];
    Word line;
    char text[1024];
};

}  // namespace host
