#define _GNU_SOURCE /* memmem, strcasestr */
#include "http.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { SIZE_LINE, DATA, AFTER_DATA, TRAILER, MOST_HEAD = 64 << 10 };

void http_reset(HttpResponse *response) {
    response->status = response->closes = response->chunked = response->part = 0;
    response->remaining = -1;
    response->head.length = response->line_length = 0;
}

static void read_header(HttpResponse *response, const char *line) {
    if (!strncasecmp(line, "content-length:", 15)) response->remaining = atol(line + 15);
    if (!strncasecmp(line, "transfer-encoding:", 18)) response->chunked = strcasestr(line + 18, "chunked") != NULL;
    if (!strncasecmp(line, "connection:", 11)) {
        const char *value = line + 11 + strspn(line + 11, " ");
        response->closes = !strncasecmp(value, "close", 5);
    }
}

int http_head(HttpResponse *response, const char *bytes, size_t length, size_t *used) {
    Buffer *head = &response->head;
    size_t before = head->length;
    buffer_add(head, bytes, length);
    char *end = memmem(head->bytes, head->length, "\r\n\r\n", 4);
    if (!end) return head->length > MOST_HEAD ? HTTP_INVALID : HTTP_MORE;
    *used = (size_t)(end - head->bytes) + 4 - before;
    head->length = before + *used;
    buffer_add(head, "", 1); /* ends the head as a C string */
    if (head->length < 14 || strncmp(head->bytes, "HTTP/1.1 ", 9)) return HTTP_INVALID;
    response->status = atoi(head->bytes + 9);
    for (char *line = strstr(head->bytes, "\r\n"); line && line[2] != '\r'; line = strstr(line + 2, "\r\n"))
        read_header(response, line + 2);
    return HTTP_DONE;
}

/* At the end of a line of the chunked coding; HTTP_DONE behind the trailer. */
static int end_line(HttpResponse *response) {
    int empty = response->line_length == 0;
    response->line[response->line_length] = 0;
    response->line_length = 0;
    if (response->part == TRAILER) return empty ? HTTP_DONE : HTTP_MORE;
    if (response->part == AFTER_DATA) {
        response->part = SIZE_LINE;
        return empty ? HTTP_MORE : HTTP_INVALID;
    }
    char *stop;
    response->remaining = strtol(response->line, &stop, 16);
    response->part = response->remaining ? DATA : TRAILER;
    return stop == response->line || response->remaining < 0 ? HTTP_INVALID : HTTP_MORE;
}

static int framing_byte(HttpResponse *response, char byte) {
    if (byte == '\n') return end_line(response);
    if (byte != '\r' && response->line_length < sizeof response->line - 1)
        response->line[response->line_length++] = byte;
    return HTTP_MORE;
}

static size_t pass_on(HttpResponse *response, const char *bytes, size_t length, HttpBody *body, void *context) {
    size_t part = response->remaining >= 0 && (size_t)response->remaining < length ? (size_t)response->remaining : length;
    body(context, bytes, part);
    if (response->remaining >= 0) response->remaining -= (long)part;
    return part;
}

int http_body(HttpResponse *response, const char *bytes, size_t length, HttpBody *body, void *context) {
    if (!response->chunked) {
        pass_on(response, bytes, length, body, context);
        return response->remaining == 0 ? HTTP_DONE : HTTP_MORE;
    }
    const char *end = bytes + length;
    while (bytes < end) {
        if (response->part != DATA) {
            int state = framing_byte(response, *bytes++);
            if (state != HTTP_MORE) return state;
            continue;
        }
        bytes += pass_on(response, bytes, (size_t)(end - bytes), body, context);
        if (!response->remaining) response->part = AFTER_DATA;
    }
    return HTTP_MORE;
}
