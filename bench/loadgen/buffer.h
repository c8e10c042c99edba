/* A growing run of bytes with its finished front dropped, for input that arrives in pieces. */
#ifndef BENCH_BUFFER_H
#define BENCH_BUFFER_H

#include <stddef.h>

typedef struct {
    char *bytes;
    size_t length, capacity;
} Buffer;

void buffer_add(Buffer *buffer, const char *bytes, size_t length);
void buffer_drop(Buffer *buffer, size_t length);
void buffer_printf(Buffer *buffer, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
