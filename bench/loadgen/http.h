/* Reads one HTTP/1.1 response that arrives in pieces: the head, then the body by length, by chunks or until the close.
 *
 * Source: RFC 9112.
 */
#ifndef BENCH_HTTP_H
#define BENCH_HTTP_H

#include "buffer.h"

enum { HTTP_INVALID = -1, HTTP_MORE = 0, HTTP_DONE = 1 };

typedef struct {
    int status, closes; /* closes: the server will not keep the connection */
    int chunked, part;  /* part of the chunked coding: size line, data, line behind the data, trailer */
    long remaining;     /* bytes left of the body or chunk; -1: until the close */
    Buffer head;
    char line[64];
    size_t line_length;
} HttpResponse;

typedef void HttpBody(void *context, const char *bytes, size_t length);

void http_reset(HttpResponse *response);
/* Takes bytes into the head; HTTP_DONE when it is whole, and then *used says how many of them were head. */
int http_head(HttpResponse *response, const char *bytes, size_t length, size_t *used);
int http_body(HttpResponse *response, const char *bytes, size_t length, HttpBody *body, void *context);

#endif
