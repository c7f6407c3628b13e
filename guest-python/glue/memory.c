// Copies and fills of memory, in place of the C library's.
//
// Most of what an interpreter copies is a few words. The instructions `memory.copy` and `memory.fill` are calls of the host there, which
// cost as much as copying a hundred bytes; so the rest of the C code is compiled without them, and they are used here for what is long.

#include <stddef.h>
#include <stdint.h>
#include <string.h>

// Or the compiler makes a call of the function out of its own loop.
#define NOT_ITSELF __attribute__((no_builtin("memcpy", "memmove", "memset")))

// Above this many bytes the instruction is faster than a loop.
#define LONG_BYTES 128

// One instruction copies or fills no more than this: the host stops a guest between two of them, not within one.
#define PIECE_BYTES ((size_t)4 << 20)
// Or the compiler makes one instruction out of the loop.
#define STAYS_A_LOOP(variable) __asm__ volatile("" : "+r"(variable))

typedef uint64_t word __attribute__((aligned(1), may_alias));
typedef uint32_t half __attribute__((aligned(1), may_alias));
typedef uint16_t quarter __attribute__((aligned(1), may_alias));

// Every load comes before every store, so overlapping is allowed.
static inline void copy_short(unsigned char *to, const unsigned char *from, size_t n)
{
    if (n >= 8) {
        word first = *(const word *)from, last = *(const word *)(from + n - 8);
        *(word *)to = first;
        *(word *)(to + n - 8) = last;
    }
    else if (n >= 4) {
        half first = *(const half *)from, last = *(const half *)(from + n - 4);
        *(half *)to = first;
        *(half *)(to + n - 4) = last;
    }
    else if (n >= 2) {
        quarter first = *(const quarter *)from, last = *(const quarter *)(from + n - 2);
        *(quarter *)to = first;
        *(quarter *)(to + n - 2) = last;
    }
    else if (n == 1) {
        *to = *from;
    }
}

// Overlapping is allowed: the pieces go in the order in which none is written over before it was read.
__attribute__((target("bulk-memory"), noinline)) static void copy_long(void *to_start, const void *from_start, size_t n)
{
    unsigned char *to = to_start;
    const unsigned char *from = from_start;
    if ((uintptr_t)to - (uintptr_t)from >= n) {
        while (n > PIECE_BYTES) {
            __builtin_memmove(to, from, PIECE_BYTES);
            to += PIECE_BYTES;
            from += PIECE_BYTES;
            n -= PIECE_BYTES;
            STAYS_A_LOOP(n);
        }
    }
    else {
        while (n > PIECE_BYTES) {
            n -= PIECE_BYTES;
            __builtin_memmove(to + n, from + n, PIECE_BYTES);
            STAYS_A_LOOP(n);
        }
    }
    __builtin_memmove(to, from, n);
}

__attribute__((target("bulk-memory"), noinline)) static void fill_long(void *to_start, int byte, size_t n)
{
    unsigned char *to = to_start;
    while (n > PIECE_BYTES) {
        __builtin_memset(to, byte, PIECE_BYTES);
        to += PIECE_BYTES;
        n -= PIECE_BYTES;
        STAYS_A_LOOP(n);
    }
    __builtin_memset(to, byte, n);
}

NOT_ITSELF
void *memcpy(void *restrict to_start, const void *restrict from_start, size_t n)
{
    unsigned char *to = to_start;
    const unsigned char *from = from_start;
    if (n > LONG_BYTES) {
        copy_long(to, from, n);
        return to_start;
    }
    if (n <= 16) {
        copy_short(to, from, n);
        return to_start;
    }
    word last_low = *(const word *)(from + n - 16), last_high = *(const word *)(from + n - 8);
    unsigned char *end = to + n - 16;
    do {
        word low = *(const word *)from, high = *(const word *)(from + 8);
        *(word *)to = low;
        *(word *)(to + 8) = high;
        to += 16;
        from += 16;
    } while (to < end);
    *(word *)end = last_low;
    *(word *)(end + 8) = last_high;
    return to_start;
}

NOT_ITSELF
void *memmove(void *to_start, const void *from_start, size_t n)
{
    unsigned char *to = to_start;
    const unsigned char *from = from_start;
    if (n <= 16) {
        copy_short(to, from, n);
        return to_start;
    }
    if (n > LONG_BYTES) {
        copy_long(to, from, n);
        return to_start;
    }
    if ((uintptr_t)to - (uintptr_t)from >= n) {
        // Forward is right when the target begins before the source, or behind its end.
        word last_low = *(const word *)(from + n - 16), last_high = *(const word *)(from + n - 8);
        unsigned char *end = to + n - 16;
        do {
            word low = *(const word *)from, high = *(const word *)(from + 8);
            *(word *)to = low;
            *(word *)(to + 8) = high;
            to += 16;
            from += 16;
        } while (to < end);
        *(word *)end = last_low;
        *(word *)(end + 8) = last_high;
        return to_start;
    }
    word first_low = *(const word *)from, first_high = *(const word *)(from + 8);
    size_t left = n;
    do {
        word low = *(const word *)(from + left - 16), high = *(const word *)(from + left - 8);
        *(word *)(to + left - 16) = low;
        *(word *)(to + left - 8) = high;
        left -= 16;
    } while (left > 16);
    *(word *)to = first_low;
    *(word *)(to + 8) = first_high;
    return to_start;
}

NOT_ITSELF
void *memset(void *to_start, int byte, size_t n)
{
    unsigned char *to = to_start;
    if (n > LONG_BYTES) {
        fill_long(to, byte, n);
        return to_start;
    }
    word all = (unsigned char)byte * UINT64_C(0x0101010101010101);
    if (n >= 8) {
        unsigned char *end = to + n - 8;
        for (; to < end; to += 8) {
            *(word *)to = all;
        }
        *(word *)end = all;
    }
    else if (n >= 4) {
        *(half *)to = (half)all;
        *(half *)(to + n - 4) = (half)all;
    }
    else if (n >= 2) {
        *(quarter *)to = (quarter)all;
        *(quarter *)(to + n - 2) = (quarter)all;
    }
    else if (n == 1) {
        *to = (unsigned char)byte;
    }
    return to_start;
}
