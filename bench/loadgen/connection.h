/* One connection of the load: dials, asks, reads an answer to its end, checks it, and is ready to ask again. */
#ifndef BENCH_CONNECTION_H
#define BENCH_CONNECTION_H

#include "http.h"
#include "marks.h"
#include "plan.h"
#include "results.h"
#include "sse.h"
#include "turn.h"
#include "websocket.h"

typedef enum { CLOSED, DIALLING, UPGRADING, READY, AWAITING_HEAD, AWAITING_BODY, IN_TURN } State;

typedef struct {
    int fd;
    State state;
    int asked_to_write; /* the poll waits for room to write, too */
    Buffer out;
    HttpResponse response;
    WebSocket socket;
    Sse sse;
    Buffer body; /* of chat: what may be the start of a mark; of an error or a plain response: all of it */
    Turn turn;
    size_t text_scanned;
    Marks marks;
    long turns; /* of the conversation so far */
    uint64_t asked_ns, read_ns, not_before_ns;
} Connection;

/* What all connections of a run share. */
typedef struct {
    const Plan *plan;
    Results *results;
    int poll;
} Load;

void connection_dial(Load *load, Connection *connection);
void connection_ask(Load *load, Connection *connection);
void connection_event(Load *load, Connection *connection, uint32_t events);
int connection_busy(const Connection *connection); /* a request is under way */

#endif
