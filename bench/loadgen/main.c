/* loadgen: closed-loop load on a chat server, over Chat Completions or Responses, plain, SSE or WebSocket.
 *
 *   loadgen --url http://127.0.0.1:8000/v1 --key sk-x --api responses-ws --model mock-n50-d20 --connections 100
 *
 * Pairs with mock_upstream: the time marks inside its text give one-way delays, whatever lies between, and every answer
 * is checked whole and in order (turn.h has the rules for Responses). One thread; one JSON object on stdout:
 *   added_ms   the client's wait for the first content less the mock's own time: what the target adds, both ways
 *   inward_ms  request sent -> the mock has it            chunk_ms  the mock sends a chunk -> the client has it, each
 *   ttft_ms    request sent -> first content              total_ms  request sent -> end of the answer
 *
 * Options: --api chat|responses|responses-ws  --stream 0|1  --store 0|1  --connections N  --seconds S  --max-requests N
 *          --ramp-ms R (spread the starts)  --messages N --bytes B (length of the conversation sent)
 *          --chain N (N turns a conversation, by previous_response_id)  --path P  --header "K: V" (repeatable)
 */
#include "connection.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#define GRACE_NS 60000000000ull /* for answers that are under way when the time is up */
enum { MOST_EVENTS = 512, ROUNDS_A_SCAN = 16 };

typedef struct {
    Load load;
    Connection *connections;
    uint64_t end_ns;
} Run;

static int may_start(const Run *run) {
    const Plan *plan = run->load.plan;
    return (!plan->max_requests || run->load.results->started < plan->max_requests) && now_ns() < run->end_ns;
}

static int waits_to_start(const Connection *connection) {
    return connection->state == CLOSED || connection->state == READY;
}

static void start(Run *run, Connection *connection) {
    if (connection->state == CLOSED) connection_dial(&run->load, connection);
    else connection_ask(&run->load, connection);
}

/* Starts what is due. Returns how long the poll may sleep, in ms; -1: nothing is left to do. */
static int scan(Run *run) {
    int sleep_ms = -1;
    uint64_t now = now_ns();
    for (int i = 0; i < run->load.plan->connections; i++) {
        Connection *connection = &run->connections[i];
        int waits = waits_to_start(connection);
        if (waits && !may_start(run)) continue;
        if (!waits && !connection_busy(connection) && !may_start(run)) continue; /* still dialling: not needed now */
        if (sleep_ms < 0) sleep_ms = 20;
        if (!waits) continue;
        if (connection->not_before_ns <= now) start(run, connection);
        else sleep_ms = 1;
    }
    return sleep_ms;
}

static void poll_events(Run *run, int sleep_ms) {
    struct epoll_event events[MOST_EVENTS];
    for (int round = 0; round < ROUNDS_A_SCAN; round++) {
        int count = epoll_wait(run->load.poll, events, MOST_EVENTS, round ? 0 : sleep_ms);
        if (count <= 0) return;
        for (int i = 0; i < count; i++) {
            Connection *connection = events[i].data.ptr;
            connection_event(&run->load, connection, events[i].events);
            if (connection->state == READY && may_start(run)) connection_ask(&run->load, connection);
        }
    }
}

static void count_unfinished(Run *run) {
    for (int i = 0; i < run->load.plan->connections; i++)
        run->load.results->unfinished += (uint64_t)connection_busy(&run->connections[i]);
    run->load.results->errors += run->load.results->unfinished;
    if (run->load.results->unfinished && !run->load.results->fault[0])
        strcpy(run->load.results->fault, "answers still under way a minute after the time was up");
}

static void drive(Run *run) {
    const Plan *plan = run->load.plan;
    uint64_t start_ns = now_ns();
    int sleep_ms;
    run->end_ns = start_ns + (uint64_t)(plan->seconds * 1e9);
    for (int i = 0; i < plan->connections; i++) {
        run->connections[i].fd = -1;
        run->connections[i].not_before_ns = start_ns + (uint64_t)(plan->ramp_ms * 1e6 * i / plan->connections);
    }
    while ((sleep_ms = scan(run)) >= 0 && now_ns() < run->end_ns + GRACE_NS) poll_events(run, sleep_ms);
    count_unfinished(run);
    results_print(run->load.results, plan, (double)(now_ns() - start_ns) / 1e9);
}

int main(int argc, char **argv) {
    static Plan plan;
    static Results results;
    if (!plan_read(&plan, argc, argv)) return 2;
    signal(SIGPIPE, SIG_IGN);
    Run run = {{&plan, &results, epoll_create1(0)}, calloc((size_t)plan.connections, sizeof(Connection)), 0};
    if (!run.connections) return 1;
    drive(&run);
    return 0;
}
