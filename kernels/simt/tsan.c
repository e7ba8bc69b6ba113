/* tsan.c: what g++ -fsanitize=thread calls before every access of the code that it compiles; only device code is
 * compiled so. The calls of host code in the same files (launchers) find no block under way. */
#include "kernels/simt/watch.h"

void __tsan_init(void);
void __tsan_init(void)
{
    watch_enabled = true;
}
void __tsan_func_entry(void *);
void __tsan_func_entry(void *caller)
{
    (void)caller;
}
void __tsan_func_exit(void);
void __tsan_func_exit(void) {}

/* A thread's own stack (its registers and local arrays), and the arguments of the kernel, are nobody else's. */
static inline void look(const void *at, size_t bytes, size_t alignment, bool write, bool atomic, const void *code)
{
    engine *e = simt_engine;
    if (!e || !e->running) return;
    const fibre *f = e->thread[e->current].fibre;
    if ((uintptr_t)at - (uintptr_t)f->stack < f->stack_bytes) return;
    if (!write && (uintptr_t)at - (uintptr_t)e->l->closure < e->l->closure_bytes) return;
    access a = {at, code, e->current, bytes, alignment, write, atomic};
    watch_access(e, &a);
}

#define HOOKS(bytes)                                                                                                   \
    void __tsan_read##bytes(void *);                                                                                   \
    void __tsan_read##bytes(void *at) { look(at, bytes, bytes, false, false, __builtin_return_address(0)); }           \
    void __tsan_write##bytes(void *);                                                                                  \
    void __tsan_write##bytes(void *at) { look(at, bytes, bytes, true, false, __builtin_return_address(0)); }           \
    void __tsan_unaligned_read##bytes(void *);                                                                         \
    void __tsan_unaligned_read##bytes(void *at) { look(at, bytes, 1, false, false, __builtin_return_address(0)); }     \
    void __tsan_unaligned_write##bytes(void *);                                                                        \
    void __tsan_unaligned_write##bytes(void *at) { look(at, bytes, 1, true, false, __builtin_return_address(0)); }
HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)

void __tsan_read_range(void *, unsigned long);
void __tsan_read_range(void *at, unsigned long bytes) { look(at, bytes, 1, false, false, __builtin_return_address(0)); }
void __tsan_write_range(void *, unsigned long);
void __tsan_write_range(void *at, unsigned long bytes) { look(at, bytes, 1, true, false, __builtin_return_address(0)); }

/* ------------------------------------------------------------------------------------------------ atomics */

#define ATOMICS(bits, type)                                                                                            \
    type __tsan_atomic##bits##_load(const volatile type *, int);                                                       \
    type __tsan_atomic##bits##_load(const volatile type *at, int order)                                                \
    {                                                                                                                  \
        (void)order;                                                                                                   \
        look((const void *)(uintptr_t)at, sizeof *at, sizeof *at, false, true, __builtin_return_address(0));           \
        return __atomic_load_n(at, __ATOMIC_SEQ_CST);                                                                  \
    }                                                                                                                  \
    void __tsan_atomic##bits##_store(volatile type *, type, int);                                                      \
    void __tsan_atomic##bits##_store(volatile type *at, type value, int order)                                         \
    {                                                                                                                  \
        (void)order;                                                                                                   \
        look((const void *)(uintptr_t)at, sizeof *at, sizeof *at, true, true, __builtin_return_address(0));            \
        __atomic_store_n(at, value, __ATOMIC_SEQ_CST);                                                                 \
    }                                                                                                                  \
    int __tsan_atomic##bits##_compare_exchange_strong(volatile type *, type *, type, int, int);                        \
    int __tsan_atomic##bits##_compare_exchange_strong(                                                                 \
        volatile type *at, type *expected, type value, int order, int failed)                                          \
    {                                                                                                                  \
        (void)order, (void)failed;                                                                                     \
        look((const void *)(uintptr_t)at, sizeof *at, sizeof *at, true, true, __builtin_return_address(0));            \
        return __atomic_compare_exchange_n(at, expected, value, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);                \
    }                                                                                                                  \
    ATOMIC_UPDATE(bits, type, fetch_add)                                                                               \
    ATOMIC_UPDATE(bits, type, fetch_sub)                                                                               \
    ATOMIC_UPDATE(bits, type, fetch_and)                                                                               \
    ATOMIC_UPDATE(bits, type, fetch_or)                                                                                \
    ATOMIC_UPDATE(bits, type, fetch_xor)
#define ATOMIC_UPDATE(bits, type, operation)                                                                           \
    type __tsan_atomic##bits##_##operation(volatile type *, type, int);                                                \
    type __tsan_atomic##bits##_##operation(volatile type *at, type value, int order)                                   \
    {                                                                                                                  \
        (void)order;                                                                                                   \
        look((const void *)(uintptr_t)at, sizeof *at, sizeof *at, true, true, __builtin_return_address(0));            \
        return __atomic_##operation(at, value, __ATOMIC_SEQ_CST);                                                      \
    }
ATOMICS(32, uint32_t)
ATOMICS(64, uint64_t)

void __tsan_atomic_thread_fence(int);
void __tsan_atomic_thread_fence(int order)
{
    (void)order;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}
void __tsan_atomic_signal_fence(int);
void __tsan_atomic_signal_fence(int order) { (void)order; }
