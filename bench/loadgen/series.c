#include "series.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define MOST_KEPT (16u << 20) /* 64 MB; later samples still count in the mean */

uint64_t now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000ull + (uint64_t)time.tv_nsec;
}

void series_add(Series *series, int64_t ns) {
    if (ns < 0) ns = 0;
    series->seen++;
    series->sum_ms += (double)ns / 1e6;
    if (series->kept == series->capacity) {
        if (series->capacity >= MOST_KEPT) return;
        series->capacity = series->capacity ? series->capacity * 2 : 4096;
        series->tenths_us = realloc(series->tenths_us, series->capacity * sizeof *series->tenths_us);
        if (!series->tenths_us) abort();
    }
    int64_t tenths = ns / 100;
    series->tenths_us[series->kept++] = tenths > UINT32_MAX ? UINT32_MAX : (uint32_t)tenths;
}

static int ascending(const void *left, const void *right) {
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return a < b ? -1 : a > b;
}

static double quantile_ms(const Series *series, double part) {
    return (double)series->tenths_us[(size_t)(part * (double)(series->kept - 1))] / 1e4;
}

void series_print(const char *name, Series *series) {
    if (!series->kept) {
        printf("\"%s\":null,", name);
        return;
    }
    qsort(series->tenths_us, series->kept, sizeof *series->tenths_us, ascending);
    printf("\"%s\":{\"n\":%zu,\"mean\":%.4f,\"p50\":%.4f,\"p90\":%.4f,\"p99\":%.4f,\"max\":%.4f},", name, series->seen,
           series->sum_ms / (double)series->seen, quantile_ms(series, 0.5), quantile_ms(series, 0.9),
           quantile_ms(series, 0.99), quantile_ms(series, 1.0));
}
