#include "kernels/simt/fibre.h"

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "core/base/status.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
enum { STACK_BYTES = 512 << 10 };
#else
enum { STACK_BYTES = 64 << 10 };
#endif
enum { PAGE = 4096, COLOURS = 13, COLOUR_BYTES = 320 };

bool fibre_init(fibre *f, int index)
{
    char *stack =
        mmap(NULL, PAGE + STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stack == MAP_FAILED) return false;
    mprotect(stack, PAGE, PROT_NONE);
    f->stack = stack + PAGE;
    /* Tops at the same offset of their page would compete for the same few sets of the cache. */
    f->stack_bytes = STACK_BYTES - (size_t)(index % COLOURS) * COLOUR_BYTES;
    return true;
}

void fibre_free(fibre *f)
{
    if (f->stack) munmap(f->stack - PAGE, PAGE + STACK_BYTES);
    memset(f, 0, sizeof *f);
}

/* ------------------------------------------------------------------------------------------------ announcements */

static void announce_switch(fibre *from, const fibre *to, bool forget)
{
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(forget ? NULL : &from->sanitizer, to->stack, to->stack_bytes);
#else
    (void)from, (void)to, (void)forget;
#endif
}

static void announce_return(fibre *self)
{
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(self->sanitizer, NULL, NULL);
#else
    (void)self;
#endif
}

void fibre_entered(fibre *from)
{
#ifdef __SANITIZE_ADDRESS__
    const void *stack;
    size_t bytes;
    __sanitizer_finish_switch_fiber(NULL, &stack, &bytes);
    if (!from->stack) from->stack = (char *)(uintptr_t)stack, from->stack_bytes = bytes;
#else
    (void)from;
#endif
}

/* ------------------------------------------------------------------------------------------------ switching */

#ifdef __x86_64__

/* void simt_switch(void **save, void *load): the registers that a call preserves go to the old
 * stack and come from the new one. */
void simt_switch(void **save, void *load);
__asm__(".text\n"
        ".p2align 4\n"
        ".globl simt_switch\n"
        ".hidden simt_switch\n"
        ".type simt_switch, @function\n"
        "simt_switch:\n"
        "    pushq %rbp\n"
        "    pushq %rbx\n"
        "    pushq %r12\n"
        "    pushq %r13\n"
        "    pushq %r14\n"
        "    pushq %r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    popq %r15\n"
        "    popq %r14\n"
        "    popq %r13\n"
        "    popq %r12\n"
        "    popq %rbx\n"
        "    popq %rbp\n"
        "    ret\n"
        ".size simt_switch, . - simt_switch\n");

void fibre_restart(fibre *f, void (*entry)(void))
{
    /* As if simt_switch had been called from entry's caller: six registers, entry as the return address, and a stack
     * pointer that is 8 past a multiple of 16 after the return, as on entry to any function. */
    uintptr_t top = ((uintptr_t)f->stack + f->stack_bytes) & ~(uintptr_t)63;
    void **frame = (void **)top - 2;
#ifdef __SANITIZE_ADDRESS__
    __asan_unpoison_memory_region(f->stack, f->stack_bytes);
#endif
    frame[0] = (void *)(uintptr_t)entry;
    frame[1] = NULL;
    memset(frame - 6, 0, 6 * sizeof *frame);
    f->stack_pointer = frame - 6;
}

void fibre_switch(fibre *from, fibre *to)
{
    announce_switch(from, to, false);
    simt_switch(&from->stack_pointer, to->stack_pointer);
    announce_return(from);
}

void fibre_leave(fibre *from, fibre *to)
{
    announce_switch(from, to, true);
    simt_switch(&from->stack_pointer, to->stack_pointer);
    BUG("a fibre that was left went on");
}

#else

void fibre_restart(fibre *f, void (*entry)(void))
{
    getcontext(&f->context);
    f->context.uc_stack.ss_sp = f->stack;
    f->context.uc_stack.ss_size = f->stack_bytes;
    f->context.uc_link = NULL;
    makecontext(&f->context, entry, 0);
}

void fibre_switch(fibre *from, fibre *to)
{
    announce_switch(from, to, false);
    swapcontext(&from->context, &to->context);
    announce_return(from);
}

void fibre_leave(fibre *from, fibre *to)
{
    announce_switch(from, to, true);
    setcontext(&to->context);
    BUG("a fibre that was left went on");
}

#endif
