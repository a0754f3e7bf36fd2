// What stands after a kernel: how the runner calls it and what it says of its parameters.
#pragma once

namespace host {

template <class Any> constexpr const char *type_name() { return __PRETTY_FUNCTION__; }
template <class Any> constexpr bool is_pointer = false;
template <class Any> constexpr bool is_pointer<Any *> = true;
template <class Any> constexpr bool is_pointer<Any *__restrict__> = true;

template <Word... At> struct Indices {};
template <Word Size, Word... At> struct Counted : Counted<Size - 1, Size - 1, At...> {};
template <Word... At> struct Counted<0, At...> { using Type = Indices<At...>; };

template <class... Given> struct Signature {
    using Order = typename Counted<sizeof...(Given)>::Type;
    // One more, since no array is empty.
    static constexpr Parameter parameters[] = {{sizeof(Given), is_pointer<Given>, type_name<Given>()}..., {0, 0, nullptr}};
    static constexpr Word count = sizeof...(Given);

    template <void (*KERNEL)(Given...), Word... At> static inline void call(void **arguments, Indices<At...>) {
        KERNEL(*static_cast<Given *>(arguments[At])...);
    }
};

template <class... Given> Signature<Given...> signature(void (*)(Given...));

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
