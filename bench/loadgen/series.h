/* Samples of a duration and their quantiles, printed as one JSON member; and the clock they are read from. */
#ifndef BENCH_SERIES_H
#define BENCH_SERIES_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint32_t *tenths_us;
    size_t kept, capacity, seen;
    double sum_ms;
} Series;

uint64_t now_ns(void); /* the clock that mock_upstream puts in its marks */
void series_add(Series *series, int64_t ns);
void series_print(const char *name, Series *series); /* milliseconds; null when nothing was seen */

#endif
