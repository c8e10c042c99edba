#include "connection.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define RETRY_NS 50000000ull  /* after a connection that failed */
#define FAULTY_NS 2000000ull  /* after an answer that failed: no tight loop of errors */

typedef struct {
    Load *load;
    Connection *connection;
} Reading; /* the context of the callbacks below */

int connection_busy(const Connection *c) { return c->state >= AWAITING_HEAD; }

static void watch(Load *load, Connection *c, int operation) {
    c->asked_to_write = c->state == DIALLING || c->out.length;
    struct epoll_event event = {.events = EPOLLIN | (c->asked_to_write ? EPOLLOUT : 0u), .data.ptr = c};
    epoll_ctl(load->poll, operation, c->fd, &event);
}

static void hang_up(Connection *c, uint64_t pause_ns) {
    close(c->fd);
    c->fd = -1;
    c->state = CLOSED;
    c->out.length = 0;
    c->turns = 0;
    c->turn.id[0] = 0;
    c->not_before_ns = now_ns() + pause_ns;
}

static void count_error(Results *results, const char *fault, int length) {
    results->errors++;
    if (!results->fault[0]) snprintf(results->fault, sizeof results->fault, "%.*s", length, fault);
}

/* What is wrong with the finished answer, or NULL. */
static const char *find_fault(const Plan *plan, Connection *c) {
    static char status[240];
    if (plan->api != RESPONSES_WS && c->response.status != 200) {
        snprintf(status, sizeof status, "HTTP %d: %.*s", c->response.status, (int)c->body.length,
                 c->body.length ? c->body.bytes : "");
        return status;
    }
    if (c->turn.fault[0]) return c->turn.fault;
    if (plan->api != CHAT && !c->turn.ended) return "the stream ended without its last event";
    if (c->marks.out_of_order) return "chunks out of order";
    if (!c->marks.seen) return "no chunk came";
    if (plan_streams(plan) && c->marks.seen != plan->expected_marks) return "chunks are missing";
    return NULL;
}

static void stop_counting_open(Load *load, Connection *c) {
    if (c->marks.seen) load->results->open--;
}

static void fail(Load *load, Connection *c, const char *fault) {
    if (connection_busy(c)) stop_counting_open(load, c);
    count_error(load->results, fault, (int)strlen(fault));
    load->results->reconnects++;
    hang_up(c, FAULTY_NS);
}

static void finish(Load *load, Connection *c) {
    const char *fault = find_fault(load->plan, c);
    if (load->plan->api != RESPONSES_WS) {
        load->results->last_status = c->response.status;
        load->results->bad_status += c->response.status != 200;
    }
    if (fault) {
        fail(load, c, fault);
        return;
    }
    stop_counting_open(load, c);
    load->results->ok++;
    series_add(&load->results->whole, (int64_t)(now_ns() - c->asked_ns));
    c->state = READY;
    if (load->plan->api != RESPONSES_WS && c->response.closes) hang_up(c, 0);
}

static void count_mark(void *context, long index, uint64_t sent_ns) {
    const Reading *reading = context;
    Results *results = reading->load->results;
    Connection *c = reading->connection;
    int64_t waited = (int64_t)(c->read_ns - c->asked_ns);
    results->chunks++;
    series_add(&results->chunk, (int64_t)(c->read_ns - sent_ns));
    if (c->marks.seen == 1 && ++results->open > results->most_open) results->most_open = results->open;
    if (index != 0) return;
    series_add(&results->first, waited);
    series_add(&results->inward, (int64_t)(c->marks.arrival - c->asked_ns));
    series_add(&results->added, waited - (int64_t)(sent_ns - c->marks.arrival));
}

static void scan_turn(Reading *reading) {
    Connection *c = reading->connection;
    if (c->turn.text.length == c->text_scanned) return;
    c->text_scanned += marks_scan(&c->marks, c->turn.text.bytes + c->text_scanned,
                                  c->turn.text.length - c->text_scanned, count_mark, reading);
}

static void take_event(void *context, const char *data, size_t length) {
    Reading *reading = context;
    turn_event(&reading->connection->turn, data, length);
    scan_turn(reading);
}

static void take_body(void *context, const char *bytes, size_t length) {
    Reading *reading = context;
    Connection *c = reading->connection;
    const Plan *plan = reading->load->plan;
    if (plan->api == RESPONSES && plan->stream && c->response.status == 200) {
        sse_feed(&c->sse, bytes, length, take_event, reading);
        return;
    }
    buffer_add(&c->body, bytes, length);
    if (plan->api == CHAT && c->response.status == 200)
        buffer_drop(&c->body, marks_scan(&c->marks, c->body.bytes, c->body.length, count_mark, reading));
}

static void end_body(Reading *reading) {
    Connection *c = reading->connection;
    const Plan *plan = reading->load->plan;
    if (plan->api == RESPONSES && !plan->stream && c->response.status == 200) {
        turn_object(&c->turn, c->body.bytes ? c->body.bytes : "", c->body.length);
        scan_turn(reading);
    }
    finish(reading->load, c);
}

static void take_answer(Reading *reading, const char *bytes, size_t length) {
    Connection *c = reading->connection;
    int state = HTTP_DONE;
    size_t used = 0;
    if (c->state == AWAITING_HEAD) {
        state = http_head(&c->response, bytes, length, &used);
        if (state == HTTP_DONE) c->state = AWAITING_BODY;
    }
    if (state == HTTP_DONE) state = http_body(&c->response, bytes + used, length - used, take_body, reading);
    if (state == HTTP_DONE) end_body(reading);
    if (state == HTTP_INVALID) fail(reading->load, c, "not HTTP");
}

static void flush(Load *load, Connection *c) {
    size_t written = 0;
    while (written < c->out.length) {
        ssize_t sent = send(c->fd, c->out.bytes + written, c->out.length - written, MSG_NOSIGNAL);
        if (sent < 0) break; /* full: the poll calls again; broken: reading will tell */
        written += (size_t)sent;
    }
    buffer_drop(&c->out, written);
    if ((c->out.length != 0) != c->asked_to_write) watch(load, c, EPOLL_CTL_MOD);
}

static void take_message(Reading *reading, const WsMessage *message) {
    Connection *c = reading->connection;
    if (message->opcode == WS_PING) {
        reading->load->results->pings++;
        ws_frame(&c->out, WS_PONG, message->payload, message->length);
        flush(reading->load, c);
    } else if (message->opcode == WS_CLOSE)
        turn_fault(&c->turn, "closed with %d", message->length < 2 ? 1005 : (unsigned char)message->payload[0] << 8 |
                                                                                 (unsigned char)message->payload[1]);
    else if (message->opcode == WS_TEXT)
        take_event(reading, message->payload, message->length);
    else if (message->opcode == WS_BINARY)
        turn_fault(&c->turn, "a binary message");
}

static void take_frames(Reading *reading, const char *bytes, size_t length) {
    Connection *c = reading->connection;
    WsMessage message;
    int found = WS_MORE;
    buffer_add(&c->socket.in, bytes, length);
    while (!c->turn.fault[0] && (found = ws_next(&c->socket, &message)) == WS_MESSAGE) take_message(reading, &message);
    if (found == WS_INVALID) turn_fault(&c->turn, "an invalid frame");
    if (c->state == IN_TURN && (c->turn.ended || c->turn.fault[0])) finish(reading->load, c);
    else if (c->state == READY && c->turn.fault[0]) {
        reading->load->results->reconnects++;
        hang_up(c, FAULTY_NS);
    }
}

static void take_upgrade(Reading *reading, const char *bytes, size_t length) {
    Connection *c = reading->connection;
    size_t used = 0;
    int state = http_head(&c->response, bytes, length, &used);
    if (state == HTTP_MORE) return;
    if (state == HTTP_INVALID || c->response.status != 101 || !ws_accepts(c->response.head.bytes)) {
        reading->load->results->bad_status++;
        reading->load->results->last_status = c->response.status;
        count_error(reading->load->results, c->response.head.bytes, (int)c->response.head.length);
        hang_up(c, RETRY_NS);
        return;
    }
    c->state = READY;
    take_frames(reading, bytes + used, length - used);
}

static void lose(Load *load, Connection *c) {
    if (c->state == AWAITING_BODY && !c->response.chunked && c->response.remaining < 0) {
        c->response.closes = 1;
        end_body(&(Reading){load, c});
    } else if (connection_busy(c))
        fail(load, c, "the connection was lost in the middle");
    else {
        load->results->reconnects++;
        hang_up(c, FAULTY_NS);
    }
}

static void take(Load *load, Connection *c) {
    static char bytes[256 << 10];
    ssize_t length = recv(c->fd, bytes, sizeof bytes, 0);
    if (length < 0 && errno == EAGAIN) return;
    if (length <= 0) {
        lose(load, c);
        return;
    }
    Reading reading = {load, c};
    c->read_ns = now_ns();
    load->results->bytes_in += (uint64_t)length;
    switch (c->state) {
    case UPGRADING: take_upgrade(&reading, bytes, (size_t)length); break;
    case AWAITING_HEAD:
    case AWAITING_BODY: take_answer(&reading, bytes, (size_t)length); break;
    case IN_TURN: take_frames(&reading, bytes, (size_t)length); break;
    case READY:
        if (load->plan->api == RESPONSES_WS) take_frames(&reading, bytes, (size_t)length);
        else lose(load, c); /* bytes nobody asked for */
        break;
    default: break;
    }
}

void connection_dial(Load *load, Connection *c) {
    int on = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)connect(c->fd, (const struct sockaddr *)&load->plan->address, sizeof load->plan->address);
    c->state = DIALLING;
    watch(load, c, EPOLL_CTL_ADD);
}

static void connected(Load *load, Connection *c) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) {
        load->results->reconnects++;
        hang_up(c, RETRY_NS);
        return;
    }
    c->state = READY;
    if (load->plan->api == RESPONSES_WS) {
        http_reset(&c->response);
        ws_reset(&c->socket);
        turn_reset(&c->turn);
        c->state = UPGRADING;
        buffer_add(&c->out, load->plan->head.bytes, load->plan->head.length);
    }
    flush(load, c);
}

static void reset_answer(Connection *c) {
    http_reset(&c->response);
    sse_reset(&c->sse);
    turn_reset(&c->turn);
    c->marks = (Marks){0};
    c->body.length = c->text_scanned = 0;
}

/* The JSON of the next request; in a conversation it names the response before. */
static void write_object(const Plan *plan, Connection *c, Buffer *object) {
    object->length = 0;
    buffer_add(object, "{", 1);
    if (plan->chain > 1 && c->turn.id[0] && c->turns % plan->chain)
        buffer_printf(object, "\"previous_response_id\":\"%s\",", c->turn.id);
    buffer_add(object, plan->members.bytes, plan->members.length);
    c->turns++;
}

void connection_ask(Load *load, Connection *c) {
    static Buffer object;
    write_object(load->plan, c, &object);
    reset_answer(c);
    if (load->plan->api == RESPONSES_WS)
        ws_frame(&c->out, WS_TEXT, object.bytes, object.length);
    else {
        buffer_add(&c->out, load->plan->head.bytes, load->plan->head.length);
        buffer_printf(&c->out, "Content-Length: %zu\r\n\r\n", object.length);
        buffer_add(&c->out, object.bytes, object.length);
    }
    c->state = load->plan->api == RESPONSES_WS ? IN_TURN : AWAITING_HEAD;
    c->asked_ns = now_ns();
    load->results->started++;
    flush(load, c);
}

void connection_event(Load *load, Connection *c, uint32_t events) {
    if (c->fd < 0) return;
    if (c->state == DIALLING) {
        if (events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) connected(load, c);
        return;
    }
    if (events & EPOLLOUT) flush(load, c);
    if (events & (EPOLLIN | EPOLLERR | EPOLLHUP)) take(load, c);
}
