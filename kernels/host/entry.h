// What stands after a kernel: how the runner calls it and what it says of its parameters.
#pragma once

namespace host {

template <class T> constexpr const char *type_name() { return __PRETTY_FUNCTION__; }
template <class T> constexpr bool is_pointer = false;
template <class T> constexpr bool is_pointer<T *> = true;
template <class T> constexpr bool is_pointer<T *__restrict__> = true;

template <Word... I> struct Indices {};
template <Word N, Word... I> struct Counted : Counted<N - 1, N - 1, I...> {};
template <Word... I> struct Counted<0, I...> { using Type = Indices<I...>; };

template <class... P> struct Signature {
    using Order = typename Counted<sizeof...(P)>::Type;
    // One more, since no array is empty.
    static constexpr Parameter parameters[] = {{sizeof(P), is_pointer<P>, type_name<P>()}..., {0, 0, nullptr}};
    static constexpr Word count = sizeof...(P);

    template <void (*KERNEL)(P...), Word... I> static inline void call(void **arguments, Indices<I...>) {
        KERNEL(*static_cast<P *>(arguments[I])...);
    }
};

template <class... P> Signature<P...> signature(void (*)(P...));

}  // namespace host

// From the linker: where .bss is.
extern "C" __attribute__((visibility("hidden"))) unsigned char __bss_start[], _end[];

#define HOST_ENTRY(kernel)                                                                                                   \
    namespace host {                                                                                                         \
    using Kernel = decltype(signature(::kernel));                                                                              \
    static void run_thread(void **arguments) { Kernel::call<::kernel>(arguments, Kernel::Order()); }                           \
    extern "C" __attribute__((visibility("default"))) const Module inferrum_kernel = {                                       \
        INTERFACE, Kernel::count, Kernel::parameters, run_thread, &state, __bss_start, _end};                                \
    }

// The compiler's checks (-fsanitize) call these.
namespace host {
struct Place {
    const char *file;
    Word line, column;
};
}  // namespace host
extern "C" {
__attribute__((visibility("hidden"))) void __ubsan_handle_out_of_bounds_abort(host::Place *place, unsigned long) {
    host::fail("an index is beyond its array", place->line);
    __builtin_unreachable();
}
__attribute__((visibility("hidden"))) void __ubsan_handle_type_mismatch_v1_abort(host::Place *place, unsigned long address) {
    host::fail(address ? "an access is not aligned to its type" : "an access through a null pointer", place->line);
    __builtin_unreachable();
}
__attribute__((visibility("hidden"))) void __ubsan_handle_shift_out_of_bounds_abort(host::Place *place, unsigned long, unsigned long) {
    host::fail("a shift by a negative number or by as many bits as there are", place->line);
    __builtin_unreachable();
}
}
