// Switching between stacks on one thread of the host.
#pragma once

#include <string.h>

namespace host {

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

}  // namespace host
