// Runs kernels on the host: the threads of a block are fibers, blocks run one after the other. A thread starts on the fiber of the
// one before it and gets one of its own only if that waits, so that kernels without barriers cost a call per thread.
//
// Needs Linux on x86-64 or AArch64.

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "shared.h"

namespace host {

constexpr Word MOST_THREADS = 1024, WARP = 32;
constexpr size_t PAGE = 4096;
// Of a thread's stack, with the page before it that nobody may touch.
constexpr size_t STACK = 256 << 10;
// Of a block's shared memory.
constexpr size_t MOST_SHARED = 228 << 10;

// Switching stacks: saves the registers that a call keeps, and their place in `*from`; goes on at `to`.
extern "C" __attribute__((visibility("hidden"))) void host_switch(void **from, void *to);
extern "C" __attribute__((visibility("hidden"))) void host_first();

#if defined(__x86_64__)
asm(R"(
.text
.globl host_switch
.hidden host_switch
host_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.globl host_first
.hidden host_first
host_first:
    movq %r12, %rdi
    callq *%r13
    ud2
)");
// What `host_switch` finds on a new stack.
static void *first_frame(unsigned char *top, void (*f)(void *), void *argument) {
    auto **frame = reinterpret_cast<void **>(top) - 9;
    memset(frame, 0, 72);
    frame[3] = argument;
    frame[2] = reinterpret_cast<void *>(f);
    frame[6] = reinterpret_cast<void *>(host_first);
    return frame;
}
#elif defined(__aarch64__)
asm(R"(
.text
.globl host_switch
.hidden host_switch
host_switch:
    sub sp, sp, #160
    stp x19, x20, [sp]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x9, sp
    str x9, [x0]
    mov sp, x1
    ldp x19, x20, [sp]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #160
    ret
.globl host_first
.hidden host_first
host_first:
    mov x0, x19
    blr x20
    brk #1
)");
static void *first_frame(unsigned char *top, void (*f)(void *), void *argument) {
    auto **frame = reinterpret_cast<void **>(top - 160);
    memset(frame, 0, 160);
    frame[0] = argument;
    frame[1] = reinterpret_cast<void *>(f);
    frame[11] = reinterpret_cast<void *>(host_first);
    return frame;
}
#else
#error "kernels run on hosts of x86-64 or AArch64"
#endif

// A stack, and where what runs on it goes on.
struct Fiber {
    void *place;
    bool used;
};

// A thread that waits.
struct Waiting {
    Fiber *fiber;
    // Null if it waits at the block's barrier.
    Complete complete;
    void *operand;
    const char *name;
    Word mask, line;
    int result;
};

// Threads of one warp.
struct Warp {
    // Lanes that are there, that have ended, and that wait for other lanes.
    Word present, ended, waiting;
};

// Copies of one thread that are on their way, oldest first.
struct Copies {
    struct Copy {
        void *to;
        const void *from;
        Word bytes, there, group;
    };
    static constexpr Word MOST = 256;
    Word count, group;
    Copy copies[MOST];
};

struct Runner {
    const Launch *launch;
    State *state;
    Report *report;
    sigjmp_buf exit;
    void *main_place;

    Word count;
    Word started, ended;
    Word current;
    bool downwards;
    Long block, blocks;

    Fiber *fiber;
    Word idle_count, ready_first, ready_count;
    Word arrived, barrier_line, positive;
    Barrier barrier_kind;

    Fiber fibers[MOST_THREADS];
    Fiber *idle[MOST_THREADS];
    unsigned short ready[MOST_THREADS];
    Coordinates coordinates[MOST_THREADS];
    Waiting waiting[MOST_THREADS];
    Warp warps[MOST_THREADS / WARP];

    unsigned char *stacks, *shared_end, *signal_stack;
    // Of each thread.
    Copies *copies;
    bool copied;
    Runner *next;
};

// Of a host's thread: the runner that is at work.
static thread_local Runner *active = nullptr;

[[noreturn]] static void give_up(Runner *r, Word kind) {
    r->report->kind = kind;
    siglongjmp(r->exit, 1);
}

static void describe(Report *report, const char *format, ...) {
    va_list list;
    va_start(list, format);
    vsnprintf(report->text, sizeof report->text, format, list);
    va_end(list);
}

static void blame(Runner *r, Word thread, Word line) {
    const Coordinates &t = r->coordinates[thread], &b = r->state->block;
    Report *report = r->report;
    report->thread[0] = t.x, report->thread[1] = t.y, report->thread[2] = t.z;
    report->block[0] = b.x, report->block[1] = b.y, report->block[2] = b.z;
    report->line = line;
}

// ---- Who runs ----

static Word thread_at(const Runner *r, Word place) { return r->downwards ? r->count - 1 - place : place; }

static void make_ready(Runner *r, Word thread) {
    r->ready[(r->ready_first + r->ready_count++) % MOST_THREADS] = (unsigned short)thread;
}

static void go_to(Runner *r, Fiber *to) {
    Fiber *from = r->fiber;
    r->fiber = to;
    host_switch(&from->place, to->place);
}

static void work(void *runner);

// A fiber that starts threads.
static Fiber *idle_fiber(Runner *r) {
    Fiber *fiber = r->idle[--r->idle_count];
    if (!fiber->used) {
        size_t i = size_t(fiber - r->fibers);
        unsigned char *stack = r->stacks + i * STACK;
        mprotect(stack + PAGE, STACK - PAGE, PROT_READ | PROT_WRITE);
        // Not all at the same place of the cache.
        fiber->place = first_frame(stack + STACK - 64 - i % 31 * 320, work, r);
        fiber->used = true;
    }
    return fiber;
}

static void resume(Runner *r, Word thread) {
    r->current = thread;
    r->state->thread = r->coordinates[thread];
}

[[noreturn]] static void deadlock(Runner *r) {
    // The first waiting thread, and one that waits elsewhere.
    Word first = MOST_THREADS, second = MOST_THREADS;
    Word waiting = 0;
    for (Word i = 0; i < r->count; i++) {
        const Waiting &w = r->waiting[i];
        if (!w.fiber) continue;
        waiting++;
        if (first == MOST_THREADS) first = i;
        const Waiting &f = r->waiting[first];
        if (second == MOST_THREADS && (w.complete != f.complete || w.line != f.line || w.mask != f.mask)) second = i;
    }
    const Waiting &f = r->waiting[first];
    blame(r, first, f.line);
    char other[300] = "";
    if (second != MOST_THREADS) {
        const Waiting &s = r->waiting[second];
        const Coordinates &t = r->coordinates[second];
        snprintf(other, sizeof other, ", thread (%u, %u, %u) at `%s` of line %u with mask 0x%08x", t.x, t.y, t.z, s.name, s.line,
                 s.mask);
    }
    describe(r->report, "%u of %u threads wait for ever (%u have ended): this one at `%s` of line %u with mask 0x%08x%s", waiting,
             r->count, r->ended, f.name, f.line, f.mask, other);
    give_up(r, 1);
}

// The current thread waits; comes back when it may go on.
static void wait(Runner *r) {
    if (r->ready_count) {
        Word next = r->ready[r->ready_first];
        r->ready_first = (r->ready_first + 1) % MOST_THREADS;
        r->ready_count--;
        resume(r, next);
        go_to(r, r->waiting[next].fiber);
    } else if (r->started < r->count) {
        go_to(r, idle_fiber(r));
    } else {
        deadlock(r);
    }
}

static void park(Runner *r, Word thread, Complete complete, void *operand, const char *name, Word mask, Word line) {
    Waiting &mine = r->waiting[thread];
    mine = {r->fiber, complete, operand, name, mask, line, 0};
    wait(r);
    mine.fiber = nullptr;
}

// ---- Barriers ----

static int barrier_result(const Runner *r, Word arrived) {
    switch (r->barrier_kind) {
        case Barrier::Count: return int(r->positive);
        case Barrier::And: return r->positive == arrived;
        case Barrier::Or: return r->positive != 0;
        default: return 0;
    }
}

// All that have not ended wait at the barrier: they go on.
static int open_barrier(Runner *r, Word except) {
    int result = barrier_result(r, r->arrived);
    for (Word place = 0; place < r->count; place++) {
        Word i = thread_at(r, place);
        if (i == except || !r->waiting[i].fiber) continue;
        r->waiting[i].result = result;
        make_ready(r, i);
    }
    r->arrived = r->positive = 0;
    return result;
}

static const char *barrier_name(Barrier kind) {
    switch (kind) {
        case Barrier::Count: return "__syncthreads_count";
        case Barrier::And: return "__syncthreads_and";
        case Barrier::Or: return "__syncthreads_or";
        default: return "__syncthreads";
    }
}

static int barrier(void *runner, Barrier kind, int predicate, Word line) {
    auto *r = static_cast<Runner *>(runner);
    if (r->arrived == 0) {
        r->barrier_kind = kind;
        r->barrier_line = line;
    } else if (r->barrier_kind != kind || r->barrier_line != line) {
        blame(r, r->current, line);
        describe(r->report, "threads of a block wait at different barriers: this one at `%s` of line %u, others at `%s` of line %u",
                 barrier_name(kind), line, barrier_name(r->barrier_kind), r->barrier_line);
        give_up(r, 1);
    }
    r->arrived++;
    r->positive += predicate != 0;
    Word me = r->current;
    if (r->arrived == r->count - r->ended) return open_barrier(r, me);
    park(r, me, nullptr, nullptr, barrier_name(kind), ~0u, line);
    return r->waiting[me].result;
}

// ---- Warps ----

// Whether all lanes of the mask that have not ended are there, at the same operation.
static bool complete_group(const Runner *r, Word warp, Word mask, Complete complete, Word also) {
    const Warp &w = r->warps[warp];
    Word needed = mask & w.present & ~w.ended;
    if (needed & ~(w.waiting | also)) return false;
    for (Word rest = needed & ~also; rest; rest &= rest - 1) {
        const Waiting &other = r->waiting[warp * WARP + Word(__builtin_ctz(rest))];
        if (other.complete != complete || other.mask != mask) return false;
    }
    return true;
}

// Does the operation of the lanes of a mask; the lanes that waited go on.
static void finish_group(Runner *r, Word warp, Word mask, Complete complete, Word me, void *operand) {
    Warp &w = r->warps[warp];
    void *lanes[WARP] = {};
    for (Word rest = mask & w.present & ~w.ended; rest; rest &= rest - 1) {
        Word lane = Word(__builtin_ctz(rest)), thread = warp * WARP + lane;
        if (thread == me) {
            lanes[lane] = operand;
            continue;
        }
        lanes[lane] = r->waiting[thread].operand;
        w.waiting &= ~(1u << lane);
        make_ready(r, thread);
    }
    complete(lanes);
}

static void collective(void *runner, Word mask, void *operand, Complete complete, const char *name, Word line) {
    auto *r = static_cast<Runner *>(runner);
    Word me = r->current, warp = me / WARP, bit = 1u << me % WARP;
    if (!(mask & bit)) {
        blame(r, me, line);
        describe(r->report, "`%s`: its mask 0x%08x is without the lane (%u) that calls it", name, mask, me % WARP);
        give_up(r, 1);
    }
    if (complete_group(r, warp, mask, complete, bit)) {
        finish_group(r, warp, mask, complete, me, operand);
        return;
    }
    r->warps[warp].waiting |= bit;
    park(r, me, complete, operand, name, mask, line);
}

[[noreturn]] static void fail(void *runner, const char *text, Word line) {
    auto *r = static_cast<Runner *>(runner);
    blame(r, r->current, line);
    describe(r->report, "%s", text);
    give_up(r, 1);
}

// ---- Copies that arrive later ----

static void start_copy(void *runner, void *to, const void *from, Word bytes, Word there) {
    auto *r = static_cast<Runner *>(runner);
    Copies &mine = r->copies[r->current];
    if ((reinterpret_cast<uintptr_t>(to) | (there ? reinterpret_cast<uintptr_t>(from) : 0)) % bytes != 0) {
        fail(r, "a copy to shared memory is not at a multiple of its bytes", 0);
    }
    if (mine.count == Copies::MOST) fail(r, "a thread has more than 256 copies to shared memory on their way", 0);
    mine.copies[mine.count++] = {to, from, bytes, there, mine.group};
    r->copied = true;
}

static void commit_copies(void *runner) {
    auto *r = static_cast<Runner *>(runner);
    r->copies[r->current].group++;
}

static void do_copies(void *runner, Word latest) {
    auto *r = static_cast<Runner *>(runner);
    Copies &mine = r->copies[r->current];
    Word done = 0;
    // Copies since the last commit belong to no group that is waited for.
    for (; done < mine.count && mine.copies[done].group + latest < mine.group; done++) {
        const Copies::Copy &copy = mine.copies[done];
        if (copy.there) memcpy(copy.to, copy.from, copy.bytes);
        else memset(copy.to, 0, copy.bytes);
    }
    mine.count -= done;
    memmove(mine.copies, mine.copies + done, mine.count * sizeof(Copies::Copy));
}

static const Services SERVICES = {barrier, collective, fail, start_copy, commit_copies, do_copies};

// ---- Blocks ----

static void begin_block(Runner *r) {
    const Word *grid = r->launch->grid;
    Long rest = r->block / grid[0];
    r->state->block = {Word(r->block % grid[0]), Word(rest % grid[1]), Word(rest / grid[1])};
    // Odd blocks run backwards: what leans on an order fails in one of them.
    r->downwards = r->block % 2 == 1;
    r->started = r->ended = 0;
    for (Word w = 0; w * WARP < r->count; w++) {
        Word lanes = r->count - w * WARP;
        r->warps[w] = {lanes >= WARP ? ~0u : (1u << lanes) - 1, 0, 0};
    }
    if (r->copied) {
        for (Word i = 0; i < r->count; i++) r->copies[i].count = r->copies[i].group = 0;
        r->copied = false;
    }
    const Module *module = r->launch->module;
    if (module->static_end != module->static_begin) {
        memset(module->static_begin, 0xFF, size_t(module->static_end - module->static_begin));
    }
    if (r->launch->shared) memset(r->state->shared, 0xFF, size_t(r->shared_end - r->state->shared));
}

static void end_thread(Runner *r, Word thread) {
    r->ended++;
    Warp &w = r->warps[thread / WARP];
    w.ended |= 1u << thread % WARP;
    // Others may have waited for this one only.
    if (r->arrived && r->arrived == r->count - r->ended) open_barrier(r, MOST_THREADS);
    for (Word rest = w.waiting; rest; rest &= rest - 1) {
        Word lane = Word(__builtin_ctz(rest)), other = thread / WARP * WARP + lane;
        const Waiting &waiting = r->waiting[other];
        if ((w.waiting >> lane & 1) && complete_group(r, thread / WARP, waiting.mask, waiting.complete, 0)) {
            finish_group(r, thread / WARP, waiting.mask, waiting.complete, MOST_THREADS, nullptr);
        }
    }
}

// What each fiber does: starts threads until there are none, then goes on with others.
static void work(void *runner) {
    auto *r = static_cast<Runner *>(runner);
    for (;;) {
        while (r->started < r->count && r->ready_count == 0) {
            Word thread = thread_at(r, r->started++);
            resume(r, thread);
            r->launch->module->thread(r->launch->arguments);
            // Another fiber's thread may have been current meanwhile, but this one is again.
            end_thread(r, r->current);
        }
        if (r->ready_count) {
            Word next = r->ready[r->ready_first];
            r->ready_first = (r->ready_first + 1) % MOST_THREADS;
            r->ready_count--;
            resume(r, next);
            r->idle[r->idle_count++] = r->fiber;
            go_to(r, r->waiting[next].fiber);
        } else if (r->ended < r->count) {
            deadlock(r);
        } else if (++r->block < r->blocks) {
            begin_block(r);
        } else {
            r->idle[r->idle_count++] = r->fiber;
            host_switch(&r->fiber->place, r->main_place);
        }
    }
}

// ---- Faults ----

static struct sigaction before[NSIG];

static void on_signal(int number, siginfo_t *info, void *context) {
    Runner *r = active;
    if (!r) {
        // Not ours: the access is done again, with the handler that was there.
        sigaction(number, &before[number], nullptr);
        return;
    }
    blame(r, r->current, 0);
    auto address = reinterpret_cast<unsigned char *>(info->si_addr);
    if (number == SIGFPE) {
        describe(r->report, "a division of integers by zero");
        give_up(r, 1);
    }
    if (number == SIGILL) {
        describe(r->report, "an instruction that the compiler put where nothing may come");
        give_up(r, 1);
    }
    if (address >= r->stacks && address < r->stacks + MOST_THREADS * STACK) {
        describe(r->report, "a thread has more than %zu KiB of local variables", STACK >> 10);
        give_up(r, 1);
    }
    unsigned char *shared = r->shared_end - MOST_SHARED - PAGE;
    if (address >= shared && address < r->shared_end + PAGE) {
        long at = address - r->state->shared;
        describe(r->report, "an access to byte %ld of %u bytes of dynamic shared memory", at, r->launch->shared);
        give_up(r, 1);
    }
    r->report->address = Long(reinterpret_cast<uintptr_t>(address));
#if defined(__x86_64__)
    r->report->writes = (static_cast<ucontext_t *>(context)->uc_mcontext.gregs[REG_ERR] & 2) != 0;
#else
    (void)context;
#endif
    give_up(r, 2);
}

static void install() {
    static const int NUMBERS[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    struct sigaction action = {};
    action.sa_sigaction = on_signal;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    for (int number : NUMBERS) sigaction(number, &action, &before[number]);
}

// ---- Runners ----

static Runner *idle_runners = nullptr;
static bool locked = false;

static void lock() {
    while (__atomic_test_and_set(&locked, __ATOMIC_ACQUIRE)) {}
}
static void unlock() { __atomic_clear(&locked, __ATOMIC_RELEASE); }

static void forget_fibers(Runner *r) {
    r->idle_count = MOST_THREADS;
    r->ready_count = r->ready_first = 0;
    r->arrived = r->positive = 0;
    for (Word i = 0; i < MOST_THREADS; i++) {
        r->idle[i] = &r->fibers[MOST_THREADS - 1 - i];
        r->fibers[i].used = false;
        r->waiting[i].fiber = nullptr;
    }
}

static void *reserve(size_t bytes, int access) {
    void *memory = mmap(nullptr, bytes, access, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return memory == MAP_FAILED ? nullptr : memory;
}

static Runner *new_runner() {
    constexpr size_t ALTERNATE = 64 << 10;
    auto *r = static_cast<Runner *>(reserve(sizeof(Runner), PROT_READ | PROT_WRITE));
    auto *stacks = static_cast<unsigned char *>(reserve(MOST_THREADS * STACK, PROT_NONE));
    auto *shared = static_cast<unsigned char *>(reserve(MOST_SHARED + 2 * PAGE, PROT_NONE));
    auto *alternate = static_cast<unsigned char *>(reserve(ALTERNATE, PROT_READ | PROT_WRITE));
    auto *copies = static_cast<Copies *>(reserve(MOST_THREADS * sizeof(Copies), PROT_READ | PROT_WRITE));
    if (!r || !stacks || !shared || !alternate || !copies) return nullptr;
    mprotect(shared + PAGE, MOST_SHARED, PROT_READ | PROT_WRITE);
    r->stacks = stacks;
    r->shared_end = shared + PAGE + MOST_SHARED;
    r->signal_stack = alternate;
    r->copies = copies;
    forget_fibers(r);
    return r;
}

static Runner *take_runner() {
    static bool installed = false;
    lock();
    if (!installed) install();
    installed = true;
    Runner *r = idle_runners;
    if (r) idle_runners = r->next;
    unlock();
    return r ? r : new_runner();
}

static void give_back(Runner *r) {
    lock();
    r->next = idle_runners;
    idle_runners = r;
    unlock();
}

// Why the launch would be refused, in the report.
static bool refused(const Launch *launch, Report *report) {
    const Word *grid = launch->grid, *block = launch->block;
    const Module *module = launch->module;
    Long threads = Long(block[0]) * block[1] * block[2];
    size_t fixed = size_t(module->static_end - module->static_begin);
    if (module->interface != INTERFACE) {
        describe(report, "it was compiled for another runner");
    } else if (!grid[0] || !grid[1] || !grid[2] || !threads) {
        describe(report, "a launch of nothing: %u x %u x %u blocks of %u x %u x %u threads", grid[0], grid[1], grid[2], block[0], block[1],
                 block[2]);
    } else if (block[0] > MOST_THREADS || block[1] > MOST_THREADS || block[2] > 64 || threads > MOST_THREADS) {
        describe(report, "blocks of %u x %u x %u threads; there may be 1024, and 64 along z", block[0], block[1], block[2]);
    } else if (grid[0] > 0x7FFFFFFF || grid[1] > 65535 || grid[2] > 65535) {
        describe(report, "%u x %u x %u blocks; there may be 2^31 - 1, 65535 and 65535", grid[0], grid[1], grid[2]);
    } else if (fixed > (48 << 10)) {
        describe(report, "%zu bytes of declared shared memory; there may be 49152", fixed);
    } else if (fixed + launch->shared > MOST_SHARED - 1024) {
        describe(report, "%zu bytes of shared memory; there may be %zu", fixed + launch->shared, MOST_SHARED - 1024);
    } else {
        return false;
    }
    report->kind = 1;
    return true;
}

static void prepare(Runner *r, const Launch *launch, Report *report) {
    const Word *grid = launch->grid, *block = launch->block;
    State *state = launch->module->state;
    r->launch = launch;
    r->report = report;
    r->state = state;
    r->count = block[0] * block[1] * block[2];
    r->block = 0;
    r->blocks = Long(grid[0]) * grid[1] * grid[2];
    Word i = 0;
    for (Word z = 0; z < block[2]; z++)
        for (Word y = 0; y < block[1]; y++)
            for (Word x = 0; x < block[0]; x++) r->coordinates[i++] = {x, y, z};
    state->threads = {block[0], block[1], block[2]};
    state->blocks = {grid[0], grid[1], grid[2]};
    state->shared = r->shared_end - (launch->shared + 15) / 16 * 16;
    state->shared_bytes = launch->shared;
    state->services = &SERVICES;
    state->runner = r;
}

// Whether all blocks came to their end.
static bool run(Runner *r) {
    if (sigsetjmp(r->exit, 1) != 0) return false;
    begin_block(r);
    Fiber *fiber = idle_fiber(r);
    r->fiber = fiber;
    host_switch(&r->main_place, fiber->place);
    return true;
}

// Runs a launch to its end; returns 0 if all is well. One launch of a module at a time.
extern "C" __attribute__((visibility("default"))) int inferrum_launch(const Launch *launch, Report *report) {
    report->kind = 0;
    if (refused(launch, report)) return 1;
    Runner *r = take_runner();
    if (!r) {
        describe(report, "no memory for the stacks of its threads");
        report->kind = 1;
        return 1;
    }
    prepare(r, launch, report);
    stack_t mine = {}, old = {};
    mine.ss_sp = r->signal_stack;
    mine.ss_size = 64 << 10;
    sigaltstack(&mine, &old);
    active = r;
    if (!run(r)) forget_fibers(r);
    active = nullptr;
    sigaltstack(&old, nullptr);
    give_back(r);
    return report->kind != 0;
}

// ---- Memory ----

static size_t pages(size_t bytes) { return (bytes + PAGE - 1) / PAGE * PAGE; }

// Memory whose last byte stands before a page that nobody may touch; so does its first page. Null if there is none.
extern "C" __attribute__((visibility("default"))) unsigned char *inferrum_allocate(size_t bytes) {
    size_t body = pages(bytes);
    if (body < bytes || body + 2 * PAGE < body) return nullptr;
    auto *whole = static_cast<unsigned char *>(reserve(body + 2 * PAGE, PROT_NONE));
    if (!whole) return nullptr;
    if (body && mprotect(whole + PAGE, body, PROT_READ | PROT_WRITE) != 0) {
        munmap(whole, body + 2 * PAGE);
        return nullptr;
    }
    return whole + PAGE + body - bytes;
}

// Gives back what `inferrum_allocate` gave for as many bytes.
extern "C" __attribute__((visibility("default"))) void inferrum_release(unsigned char *start, size_t bytes) {
    size_t body = pages(bytes);
    munmap(start + bytes - body - PAGE, body + 2 * PAGE);
}

}  // namespace host
