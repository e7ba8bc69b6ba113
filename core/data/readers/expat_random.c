/* expat_random.c: what Debian's libexpat.a asks glibc 2.36 for, from an older one. Only the
 * bundle of `make dist` holds it.
 *
 * Expat takes a few bytes from here as the secret of its hash tables. getrandom (glibc
 * 2.25) gives up to 256 bytes whole.
 */
#include <stddef.h>
#include <stdlib.h>
#include <sys/random.h>

__attribute__((visibility("hidden"))) void arc4random_buf(void *bytes, size_t count);

void arc4random_buf(void *bytes, size_t count)
{
    if (getrandom(bytes, count, 0) != (ssize_t)count) abort();
}
