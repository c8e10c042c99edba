#include "sse.h"

#include <string.h>

void sse_reset(Sse *sse) { sse->pending.length = sse->searched = sse->data.length = 0; }

static void take_line(Sse *sse, const char *line, size_t length, SseEvent *event, void *context) {
    if (length && line[length - 1] == '\r') length--;
    if (!length) {
        if (sse->data.length) event(context, sse->data.bytes, sse->data.length);
        sse->data.length = 0;
        return;
    }
    if (length < 5 || memcmp(line, "data:", 5)) return;
    size_t start = length > 5 && line[5] == ' ' ? 6 : 5;
    if (sse->data.length) buffer_add(&sse->data, "\n", 1);
    buffer_add(&sse->data, line + start, length - start);
}

void sse_feed(Sse *sse, const char *bytes, size_t length, SseEvent *event, void *context) {
    buffer_add(&sse->pending, bytes, length);
    char *start = sse->pending.bytes, *end = start + sse->pending.length, *line = start, *stop;
    while ((stop = memchr(start + sse->searched, '\n', (size_t)(end - start) - sse->searched))) {
        take_line(sse, line, (size_t)(stop - line), event, context);
        line = stop + 1;
        sse->searched = (size_t)(line - start);
    }
    buffer_drop(&sse->pending, (size_t)(line - start));
    sse->searched = sse->pending.length;
}
