// The threads of a block as fibers: who runs, who waits, and what is done when those that wait for each other have come.
//
// A thread starts on the fiber of the one before it and gets one of its own only if that waits, so that kernels without barriers cost
// a call per thread.
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "shared.h"
#include "switch.h"

namespace host {

constexpr Word MOST_THREADS = 1024, WARP = 32;
constexpr size_t PAGE = 4096;
// Of a thread's stack, with the page before it that nobody may touch.
constexpr size_t STACK = 256 << 10;
// Of a block's shared memory.
constexpr size_t MOST_SHARED = 228 << 10;

// A stack, and where what runs on it goes on.
struct Fiber {
    void *place;
    bool used;
};

// A thread that waits.
struct alignas(64) Waiting {
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

static inline __attribute__((always_inline)) void go_to(Runner *r, Fiber *to) {
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
static inline __attribute__((always_inline)) void wait(Runner *r) {
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

static inline __attribute__((always_inline)) void park(Runner *r, Word thread, Complete complete, void *operand, const char *name, Word mask, Word line) {
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

// Does the operation of the lanes of a mask if all that have not ended are there, at the same one; the lanes that waited go on. The
// lane `me` is there with `operand`, the others wait.
static bool meet(Runner *r, Word first, Word mask, Complete complete, Word me, void *operand) {
    Warp &w = r->warps[first / WARP];
    Word needed = mask & w.present & ~w.ended, others = me == WARP ? needed : needed & ~(1u << me);
    if (others & ~w.waiting) return false;
    void *lanes[WARP] = {};
    for (Word rest = others; rest; rest &= rest - 1) {
        Word lane = Word(__builtin_ctz(rest));
        const Waiting &other = r->waiting[first + lane];
        if (other.complete != complete || other.mask != mask) return false;
        lanes[lane] = other.operand;
    }
    if (me != WARP) lanes[me] = operand;
    w.waiting &= ~others;
    for (Word rest = others; rest; rest &= rest - 1) make_ready(r, first + Word(__builtin_ctz(rest)));
    complete(lanes);
    return true;
}

static void collective(void *runner, Word mask, void *operand, Complete complete, const char *name, Word line) {
    auto *r = static_cast<Runner *>(runner);
    Word thread = r->current, me = thread % WARP;
    if (!(mask >> me & 1)) {
        blame(r, thread, line);
        describe(r->report, "`%s`: its mask 0x%08x is without the lane (%u) that calls it", name, mask, me);
        give_up(r, 1);
    }
    if (meet(r, thread - me, mask, complete, me, operand)) return;
    r->warps[thread / WARP].waiting |= 1u << me;
    park(r, thread, complete, operand, name, mask, line);
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
        Word lane = Word(__builtin_ctz(rest)), first = thread / WARP * WARP;
        const Waiting &waiting = r->waiting[first + lane];
        if (w.waiting >> lane & 1) meet(r, first, waiting.mask, waiting.complete, WARP, nullptr);
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

}  // namespace host
