/* What a run counted and timed. */
#ifndef BENCH_RESULTS_H
#define BENCH_RESULTS_H

#include "plan.h"
#include "series.h"

typedef struct {
    long started;
    uint64_t ok, errors, bad_status, unfinished, chunks, bytes_in, reconnects, pings, open, most_open;
    int last_status;
    char fault[240]; /* of the first request that failed */
    Series added, inward, chunk, first, whole;
} Results;

void results_print(Results *results, const Plan *plan, double seconds);

#endif
