// Runs kernels on the host: blocks one after the other, their threads as fibers (threads.h); and gives them memory between pages that
// nobody may touch.
//
// Needs Linux on x86-64 or AArch64, with pages of 4 KiB.

#include <signal.h>
#include <ucontext.h>

#include "threads.h"

namespace host {

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
