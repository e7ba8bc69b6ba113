/* session.h: the memory of one variant's call, for checking and timing. Blocks stand between guard bands on the host; a
 * CUDA variant works on copies on the device, bands included.
 *
 *     session s;
 *     session_open(&s, &c, k, &(session_options){.dev = dev, .state = state, .alias = -1});
 *     if (session_start(&s, k) == OK) k->run(&s.call);
 *     session_close(&s);
 */
#ifndef GRAFT_TESTS_SESSION_H
#define GRAFT_TESTS_SESSION_H

#include "tests/check/check.h"

typedef struct guarded {
    char *base, *at;
    size_t bytes;
    device *dev; /* NULL: the host's memory */
    char *remote; /* the copy of base on dev */
    bool exact;  /* no bands               */
} guarded;

typedef struct session {
    guarded in[KERNEL_MAX_IN], out[KERNEL_MAX_OUT], scratch, packed;
    device *dev;
    kernel_call call;
} session;

typedef struct session_options {
    device *dev;    /* for CUDA variants */
    void *state;    /* made by create    */
    int garbage;    /* byte under outputs and scratch */
    int32_t alias;  /* input i on output o, as i + 16 * o; -1: none */
    bool exact;
} session_options;

void session_open(session *s, const check_case *c, const kernel *k, const session_options *o);
void session_close(session *s);
status session_start(session *s, const kernel *k); /* sends everything to the device, packs */
status session_each(session *s, status (*visit)(const guarded *));

#endif
