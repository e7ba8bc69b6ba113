/* fibre.h: stacks that one OS thread runs by turns. Switching costs a few nanoseconds on x86-64 (six
 * registers); elsewhere ucontext stands in. */
#ifndef GRAFT_SIMT_FIBRE_H
#define GRAFT_SIMT_FIBRE_H

#include <stdbool.h>
#include <stddef.h>

#ifndef __x86_64__
#include <ucontext.h>
#endif

/* A suspended computation; a zeroed one becomes the running computation's when that switches away. */
typedef struct fibre {
    void *stack_pointer;
    char *stack; /* lowest address; NULL: not ours */
    size_t stack_bytes;
    void *sanitizer;
    struct fibre *next_free;
#ifndef __x86_64__
    ucontext_t context;
#endif
} fibre;

/* Gives a zeroed fibre a stack with a guard page below it. index spreads stacks over the
 * cache's sets. False: out of memory. */
bool fibre_init(fibre *f, int index);
void fibre_free(fibre *f);

/* The next switch to f calls entry, which never returns. What f was doing is forgotten. */
void fibre_restart(fibre *f, void (*entry)(void));

void fibre_switch(fibre *from, fibre *to);
/* The first thing that `entry` calls; from: who switched here. */
void fibre_entered(fibre *from);
/* A switch without return: what `from` was doing is forgotten. */
void fibre_leave(fibre *from, fibre *to) __attribute__((noreturn));

#endif
