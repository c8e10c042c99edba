/* Finds the time marks of mock_upstream in any text: "$arrival " once, then "#index@sent " for every chunk. */
#ifndef BENCH_MARKS_H
#define BENCH_MARKS_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    long seen;        /* marks so far, which is also the index due next */
    int out_of_order; /* an index came that was not due */
    uint64_t arrival; /* when the request reached the mock, ns; 0: not seen yet */
} Marks;

typedef void MarkSeen(void *context, long index, uint64_t sent_ns);

/* Returns how many bytes are done with; the rest may be the start of a mark and must come again with more behind it. */
size_t marks_scan(Marks *marks, const char *text, size_t length, MarkSeen *seen, void *context);

#endif
