/* unit_test.h: what every unit test includes: cmocka with the headers that it wants before it, and the status of a
 * call. */
#ifndef GRAFT_TESTS_UNIT_TEST_H
#define GRAFT_TESTS_UNIT_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/status.h"

/* The call succeeds; otherwise the test fails with the call and its message. */
#define GOOD(call)                                                                                                     \
    do {                                                                                                               \
        if ((call) != OK) fail_msg("%s: %s", #call, status_message());                                                 \
    } while (0)

#endif
