/* What to send, to whom and how often: the command line, turned into ready pieces of a request. */
#ifndef BENCH_PLAN_H
#define BENCH_PLAN_H

#include "buffer.h"

#include <netinet/in.h>

typedef enum { CHAT, RESPONSES, RESPONSES_WS } Api;

typedef struct {
    Api api;
    int stream, store, connections;
    long max_requests; /* 0: as many as the time allows */
    long chain;        /* turns of a conversation, each naming the one before; 1: every turn for itself */
    double seconds, ramp_ms;
    long expected_marks; /* in a whole stream: the n of the mock's model name */
    struct sockaddr_in address;
    Buffer head;    /* request line and headers, up to the length of the body */
    Buffer members; /* the request's JSON object without its opening brace */
} Plan;

int plan_read(Plan *plan, int argc, char **argv); /* 0: the command line is wrong, and stderr says why */
int plan_streams(const Plan *plan);

#endif
