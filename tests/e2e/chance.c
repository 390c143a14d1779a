/* Chance that repeats: what the kernel would give as random bytes depends on the name of the thread that
 * asks, and on how often it has asked. Keys of hash tables, the order in which a runtime looks at what is
 * ready, and pauses between retries are then the same in each run of the same seed.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/types.h>

static __thread uint64_t state;
static __thread int known;

static uint64_t next(void) {
    uint64_t mixed = state += 0x9E3779B97F4A7C15u;
    mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9u;
    mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EBu;
    return mixed ^ (mixed >> 31);
}

ssize_t getrandom(void *buffer, size_t length, unsigned flags) {
    (void)flags;
    if (!known) {
        char name[16] = "";
        prctl(PR_GET_NAME, name);
        for (const char *at = name; *at; at++) state = state * 131 + (unsigned char)*at;
        known = 1;
    }
    unsigned char *to = buffer;
    for (size_t left = length; left > 0;) {
        uint64_t bytes = next();
        size_t part = left < sizeof bytes ? left : sizeof bytes;
        memcpy(to, &bytes, part);
        to += part;
        left -= part;
    }
    return (ssize_t)length;
}
