/* Cuts server-sent events out of bytes that arrive in pieces of any size.
 *
 * Source: the HTML standard, "Server-sent events"; LF and CRLF end a line (a lone CR, which no known server sends, does not).
 */
#ifndef BENCH_SSE_H
#define BENCH_SSE_H

#include "buffer.h"

typedef struct {
    Buffer pending; /* bytes of lines that have not ended */
    size_t searched;
    Buffer data;
} Sse;

typedef void SseEvent(void *context, const char *data, size_t length);

void sse_reset(Sse *sse);
void sse_feed(Sse *sse, const char *bytes, size_t length, SseEvent *event, void *context);

#endif
