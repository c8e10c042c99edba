/* Checks one Responses turn against the promises of its stream, and joins its text.
 *
 * Source: the event types of the Responses API. A stream is whole when its sequence numbers run gapless from 0, event 0
 * (and only it) is response.created, the last is response.completed, and the joined deltas are the text of every
 * output_text.done and of the completed output. Texts are compared as written in JSON; the mock's text needs no escapes.
 */
#ifndef BENCH_TURN_H
#define BENCH_TURN_H

#include "buffer.h"

typedef struct {
    Buffer text;       /* joined deltas */
    size_t part_start; /* where the text of the current content part begins */
    long next_number;
    int ended;
    char id[96];
    char fault[240]; /* what was wrong first; empty: nothing */
} Turn;

void turn_reset(Turn *turn);
int turn_event(Turn *turn, const char *json, size_t length);  /* 0: at fault */
int turn_object(Turn *turn, const char *json, size_t length); /* a plain, unstreamed response; 0: at fault */
int turn_fault(Turn *turn, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
