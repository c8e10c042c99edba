/* mock_upstream: a very fast stand-in for an OpenAI-compatible model server.
 *
 *   bench/build/mock_upstream --port 9100 --threads 1 [--host 127.0.0.1]
 *
 * The behaviour of one request is read from its model name, so it survives any gateway in between:
 *   mock-n200-d20-t300   200 content chunks, 20 ms between chunks, 300 ms before the first byte
 *   mock-n0 / mock       defaults: n=50 d=0 t=0
 *   ...-e503             answer HTTP 503 instead (error path)
 *   ...-x10              drop the TCP connection after 10 content chunks (broken upstream)
 *
 * Every content chunk carries a marker "#iiiiii@tttttttttttttttt " (index, decimal; CLOCK_MONOTONIC send
 * time in ns, hex) and the first also "$rrrrrrrrrrrrrrrr " (time the request arrived), so a load generator on
 * the same machine measures one-way delays, loss and order of chunks exactly, whatever lies between.
 *
 * GET /v1/models lists models; GET /stats gives counters (requests, streams, chunks, aborted streams, open).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define IN_CAP (4u << 20)
#define OUT_CAP (128u << 10)
#define ROOM 1024u /* more than the largest single piece appended in one step */

typedef struct Conn {
    int fd, alive;
    char *in;
    size_t in_len, in_cap;
    char *out;
    size_t out_len, out_off;
    int want_out;
    /* the response under way */
    int streaming, waiting; /* waiting: a timer is armed */
    long n, i, delay_ms, first_ms, drop_at;
    int want_usage, stage, close_after, status, is_stream;
    uint64_t arrived, due;
    int heap_pos;
} Conn;

typedef struct Worker {
    int epfd, lfd, port;
    Conn **heap;
    int heap_len, heap_cap;
    Conn **dead;
    int dead_len, dead_cap;
    uint64_t requests, streams, chunks, aborted;
    int64_t open;
} Worker;

static Worker *workers;
static int n_workers = 1;
static const char *host = "127.0.0.1";

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

/* ---- timers: a binary heap by due time ---- */
static void heap_swap(Worker *w, int a, int b) {
    Conn *t = w->heap[a];
    w->heap[a] = w->heap[b];
    w->heap[b] = t;
    w->heap[a]->heap_pos = a;
    w->heap[b]->heap_pos = b;
}
static void heap_up(Worker *w, int i) {
    while (i > 0 && w->heap[i]->due < w->heap[(i - 1) / 2]->due) {
        heap_swap(w, i, (i - 1) / 2);
        i = (i - 1) / 2;
    }
}
static void heap_down(Worker *w, int i) {
    for (;;) {
        int l = 2 * i + 1, r = l + 1, m = i;
        if (l < w->heap_len && w->heap[l]->due < w->heap[m]->due) m = l;
        if (r < w->heap_len && w->heap[r]->due < w->heap[m]->due) m = r;
        if (m == i) return;
        heap_swap(w, i, m);
        i = m;
    }
}
static void timer_add(Worker *w, Conn *c, uint64_t due) {
    if (w->heap_len == w->heap_cap) {
        w->heap_cap = w->heap_cap ? w->heap_cap * 2 : 256;
        w->heap = realloc(w->heap, sizeof(Conn *) * (size_t)w->heap_cap);
    }
    c->due = due;
    c->waiting = 1;
    c->heap_pos = w->heap_len;
    w->heap[w->heap_len++] = c;
    heap_up(w, c->heap_pos);
}
static void timer_del(Worker *w, Conn *c) {
    if (!c->waiting) return;
    int i = c->heap_pos;
    c->waiting = 0;
    w->heap_len--;
    if (i != w->heap_len) {
        w->heap[i] = w->heap[w->heap_len];
        w->heap[i]->heap_pos = i;
        heap_up(w, i);
        heap_down(w, w->heap[i]->heap_pos);
    }
}

static void conn_close(Worker *w, Conn *c) {
    if (!c->alive) return;
    timer_del(w, c);
    if (c->streaming && c->stage < 4) w->aborted++;
    close(c->fd);
    c->alive = 0;
    w->open--;
    if (w->dead_len == w->dead_cap) {
        w->dead_cap = w->dead_cap ? w->dead_cap * 2 : 64;
        w->dead = realloc(w->dead, sizeof(Conn *) * (size_t)w->dead_cap);
    }
    w->dead[w->dead_len++] = c;
}

static const char HEX[] = "0123456789abcdef";
static void put_hex(char *p, uint64_t v) {
    for (int i = 15; i >= 0; i--, v >>= 4) p[i] = HEX[v & 15];
}
static void put_dec6(char *p, long v) {
    for (int i = 5; i >= 0; i--, v /= 10) p[i] = (char)('0' + v % 10);
}

static void out_raw(Conn *c, const char *s, size_t n) {
    memcpy(c->out + c->out_len, s, n);
    c->out_len += n;
}
/* one SSE event as one HTTP chunk */
static void out_event(Conn *c, const char *s, size_t n) {
    c->out_len += (size_t)sprintf(c->out + c->out_len, "%zx\r\n", n + 8);
    out_raw(c, "data: ", 6);
    out_raw(c, s, n);
    out_raw(c, "\n\n\r\n", 4);
}
#define HEAD "{\"id\":\"chatcmpl-mock0000000000000000000001\",\"object\":\"chat.completion.chunk\",\"created\":1760000000," \
             "\"model\":\"mock\",\"system_fingerprint\":\"fp_mock\",\"choices\":[{\"index\":0,\"delta\":{"
static void out_content(Worker *w, Conn *c) {
    static const char a[] = HEAD "\"content\":\"", z[] = "\"},\"logprobs\":null,\"finish_reason\":null}]}";
    char b[512];
    size_t n = sizeof a - 1;
    memcpy(b, a, n);
    if (c->i == 0) {
        b[n++] = '$';
        put_hex(b + n, c->arrived);
        n += 16;
        b[n++] = ' ';
    }
    b[n++] = '#';
    put_dec6(b + n, c->i);
    n += 6;
    b[n++] = '@';
    put_hex(b + n, now_ns());
    n += 16;
    b[n++] = ' ';
    memcpy(b + n, z, sizeof z - 1);
    n += sizeof z - 1;
    out_event(c, b, n);
    c->i++;
    w->chunks++;
}

static void flush_out(Worker *w, Conn *c) {
    while (c->alive && c->out_off < c->out_len) {
        ssize_t k = send(c->fd, c->out + c->out_off, c->out_len - c->out_off, MSG_NOSIGNAL);
        if (k < 0) {
            if (errno == EAGAIN) break;
            conn_close(w, c);
            return;
        }
        c->out_off += (size_t)k;
    }
    if (c->out_off == c->out_len) c->out_off = c->out_len = 0;
    int want = c->out_len > 0;
    if (want != c->want_out) {
        struct epoll_event e = {.events = EPOLLIN | (want ? EPOLLOUT : 0u), .data.ptr = c};
        epoll_ctl(w->epfd, EPOLL_CTL_MOD, c->fd, &e);
        c->want_out = want;
    }
}

static void answer_json(Conn *c, int status, const char *body, size_t n) {
    c->out_len += (size_t)sprintf(c->out + c->out_len,
                                  "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
                                  status, status == 200 ? "OK" : "Error", n);
    out_raw(c, body, n);
}

/* about 1 KiB, the marker of chunk 0 inside */
static void answer_complete(Worker *w, Conn *c) {
    char b[1600], m[64];
    m[0] = '$';
    put_hex(m + 1, c->arrived);
    memcpy(m + 17, " #000000@", 9);
    put_hex(m + 26, now_ns());
    m[42] = 0;
    int n = sprintf(b,
                    "{\"id\":\"chatcmpl-mock0000000000000000000001\",\"object\":\"chat.completion\",\"created\":1760000000,"
                    "\"model\":\"mock\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"%s ", m);
    for (int k = 0; k < 9; k++)
        n += sprintf(b + n, "The quick brown fox jumps over the lazy dog, and so on it goes. ");
    n += sprintf(b + n,
                 "\",\"refusal\":null},\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":24,"
                 "\"completion_tokens\":128,\"total_tokens\":152},\"system_fingerprint\":\"fp_mock\"}");
    answer_json(c, 200, b, (size_t)n);
    w->chunks++;
}

/* Move the streamed response of c forward as far as room, timers and the socket allow. */
static void pump(Worker *w, Conn *c) {
    while (c->alive && c->streaming && !c->waiting) {
        if (c->out_len + ROOM > OUT_CAP) {
            flush_out(w, c);
            if (!c->alive || c->out_len + ROOM > OUT_CAP) return; /* socket full: EPOLLOUT calls again */
        }
        if (c->stage == 0) {
            static const char h[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
                                    "Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n";
            static const char role[] = HEAD "\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,\"finish_reason\":null}]}";
            out_raw(c, h, sizeof h - 1);
            out_event(c, role, sizeof role - 1);
            c->stage = 1;
        } else if (c->stage == 1) {
            if (c->drop_at >= 0 && c->i >= c->drop_at) {
                flush_out(w, c);
                c->stage = 4;
                conn_close(w, c);
                return;
            }
            if (c->i < c->n) {
                out_content(w, c);
                if (c->delay_ms > 0 && c->i < c->n) {
                    flush_out(w, c);
                    if (c->alive) timer_add(w, c, now_ns() + (uint64_t)c->delay_ms * 1000000ull);
                    return;
                }
            } else
                c->stage = 2;
        } else if (c->stage == 2) {
            static const char fin[] = HEAD "},\"logprobs\":null,\"finish_reason\":\"stop\"}]}";
            out_event(c, fin, sizeof fin - 1);
            if (c->want_usage) {
                char b[400];
                int n = sprintf(b,
                                "{\"id\":\"chatcmpl-mock0000000000000000000001\",\"object\":\"chat.completion.chunk\",\"created\":"
                                "1760000000,\"model\":\"mock\",\"choices\":[],\"usage\":{\"prompt_tokens\":24,"
                                "\"completion_tokens\":%ld,\"total_tokens\":%ld}}", c->n, c->n + 24);
                out_event(c, b, (size_t)n);
            }
            out_event(c, "[DONE]", 6);
            out_raw(c, "0\r\n\r\n", 5);
            c->stage = 4;
            c->streaming = 0;
            flush_out(w, c);
        }
    }
}

static void *find(const char *h, size_t n, const char *needle) { return memmem(h, n, needle, strlen(needle)); }

/* value of "key" : <here>, blanks skipped; NULL if absent */
static const char *json_at(const char *b, size_t n, const char *key) {
    const char *p = find(b, n, key), *end = b + n;
    if (!p) return NULL;
    p += strlen(key);
    while (p < end && (*p == ' ' || *p == ':')) p++;
    return p < end ? p : NULL;
}

static void begin(Worker *w, Conn *c, const char *head, size_t head_n, const char *body, size_t n) {
    w->requests++;
    if (!find(head, head_n < 256 ? head_n : 256, "/chat/completions")) {
        char b[400];
        if (find(head, head_n < 64 ? head_n : 64, "/stats")) {
            uint64_t r = 0, s = 0, ch = 0, ab = 0;
            int64_t op = 0;
            for (int i = 0; i < n_workers; i++) {
                r += workers[i].requests;
                s += workers[i].streams;
                ch += workers[i].chunks;
                ab += workers[i].aborted;
                op += workers[i].open;
            }
            int k = sprintf(b, "{\"requests\":%lu,\"streams\":%lu,\"chunks\":%lu,\"aborted\":%lu,\"open\":%ld}", r, s, ch, ab, op);
            answer_json(c, 200, b, (size_t)k);
        } else {
#define M(id) "{\"id\":\"" id "\",\"object\":\"model\",\"created\":1760000000,\"owned_by\":\"mock\"}"
            static const char m[] = "{\"object\":\"list\",\"data\":[" M("mock") "," M("mock-n1-d0") "," M("mock-n5-d2") ","
                M("mock-n20-d0") "," M("mock-n50-d20") "," M("mock-n1000-d0") "," M("mock-n30-d500") "]}";
            answer_json(c, 200, m, sizeof m - 1);
        }
        flush_out(w, c);
        return;
    }
    c->arrived = now_ns();
    c->n = 50;
    c->delay_ms = c->first_ms = c->i = c->stage = 0;
    c->drop_at = -1;
    c->status = 200;
    const char *p = json_at(body, n, "\"model\""), *end = body + n;
    if (p && *p == '"') {
        for (p++; p < end && *p != '"'; p++)
            if (*p == '-' && p + 2 < end && p[2] >= '0' && p[2] <= '9') {
                long v = strtol(p + 2, NULL, 10);
                if (p[1] == 'n') c->n = v;
                if (p[1] == 'd') c->delay_ms = v;
                if (p[1] == 't') c->first_ms = v;
                if (p[1] == 'e') c->status = (int)v;
                if (p[1] == 'x') c->drop_at = v;
            }
    }
    p = json_at(body, n, "\"stream\"");
    c->is_stream = p && *p == 't';
    p = json_at(body, n, "\"include_usage\"");
    c->want_usage = p && *p == 't';
    if (c->status != 200) {
        static const char m[] = "{\"error\":{\"message\":\"mock error\",\"type\":\"server_error\",\"param\":null,\"code\":\"mock\"}}";
        answer_json(c, c->status, m, sizeof m - 1);
        flush_out(w, c);
        return;
    }
    c->streaming = 1;
    if (c->is_stream) w->streams++;
    if (c->first_ms > 0) {
        timer_add(w, c, c->arrived + (uint64_t)c->first_ms * 1000000ull);
        return;
    }
    if (c->is_stream) {
        pump(w, c);
    } else {
        answer_complete(w, c);
        c->streaming = 0;
        flush_out(w, c);
    }
}

/* Take complete requests off the input buffer, one at a time while no response is under way. */
static void take(Worker *w, Conn *c) {
    while (c->alive && !c->streaming && c->in_len) {
        char *he = find(c->in, c->in_len, "\r\n\r\n");
        if (!he) return;
        size_t head_n = (size_t)(he - c->in) + 4, body_n = 0, total;
        int chunked = 0;
        for (char *l = c->in; l < he;) {
            char *e = find(l, (size_t)(he + 2 - l), "\r\n");
            if (!strncasecmp(l, "content-length:", 15)) body_n = strtoul(l + 15, NULL, 10);
            if (!strncasecmp(l, "transfer-encoding:", 18)) chunked = 1;
            if (!strncasecmp(l, "expect:", 7) && c->in_len == head_n) {
                out_raw(c, "HTTP/1.1 100 Continue\r\n\r\n", 25);
                flush_out(w, c);
            }
            l = e + 2;
        }
        if (chunked) { /* the text between the framing is only searched, so the framing may stay in it */
            char *e = find(c->in + head_n - 2, c->in_len - head_n + 2, "\r\n0\r\n\r\n");
            if (!e) return;
            total = (size_t)(e - c->in) + 7;
            body_n = total - head_n;
        } else
            total = head_n + body_n;
        if (c->in_len < total) return;
        begin(w, c, c->in, head_n, c->in + head_n, body_n);
        if (!c->alive) return;
        memmove(c->in, c->in + total, c->in_len - total);
        c->in_len -= total;
    }
}

static void *work(void *arg) {
    Worker *w = arg;
    struct epoll_event ev[256];
    for (;;) {
        int timeout = -1;
        if (w->heap_len) {
            uint64_t t = now_ns(), d = w->heap[0]->due;
            timeout = d <= t ? 0 : (int)((d - t + 999999) / 1000000);
        }
        int k = epoll_wait(w->epfd, ev, 256, timeout);
        for (int j = 0; j < k; j++) {
            Conn *c = ev[j].data.ptr;
            if (!c) {
                for (;;) {
                    int fd = accept4(w->lfd, NULL, NULL, SOCK_NONBLOCK);
                    if (fd < 0) break;
                    int one = 1;
                    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                    c = calloc(1, sizeof *c);
                    c->fd = fd;
                    c->alive = 1;
                    c->in_cap = 4096;
                    c->in = malloc(c->in_cap);
                    c->out = malloc(OUT_CAP); /* pages are touched on use only */
                    w->open++;
                    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
                    epoll_ctl(w->epfd, EPOLL_CTL_ADD, fd, &e);
                }
                continue;
            }
            if (!c->alive) continue;
            if (ev[j].events & (EPOLLIN | EPOLLERR | EPOLLHUP)) {
                if (c->in_len == c->in_cap) {
                    if (c->in_cap >= IN_CAP) {
                        conn_close(w, c);
                        continue;
                    }
                    c->in = realloc(c->in, c->in_cap *= 2);
                }
                ssize_t n = recv(c->fd, c->in + c->in_len, c->in_cap - c->in_len, 0);
                if (n == 0 || (n < 0 && errno != EAGAIN)) {
                    conn_close(w, c);
                    continue;
                }
                if (n > 0) c->in_len += (size_t)n;
                take(w, c);
            }
            if (c->alive && (ev[j].events & EPOLLOUT)) {
                flush_out(w, c);
                pump(w, c);
                if (c->alive) take(w, c);
            }
        }
        if (w->heap_len) {
            uint64_t t = now_ns();
            while (w->heap_len && w->heap[0]->due <= t) {
                Conn *c = w->heap[0];
                timer_del(w, c);
                if (c->is_stream)
                    pump(w, c);
                else {
                    answer_complete(w, c);
                    c->streaming = 0;
                    flush_out(w, c);
                }
                if (c->alive) take(w, c);
            }
        }
        for (int j = 0; j < w->dead_len; j++) {
            free(w->dead[j]->in);
            free(w->dead[j]->out);
            free(w->dead[j]);
        }
        w->dead_len = 0;
    }
    return NULL;
}

int main(int argc, char **argv) {
    int port = 9100;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--port")) port = atoi(argv[i + 1]);
        if (!strcmp(argv[i], "--threads")) n_workers = atoi(argv[i + 1]);
        if (!strcmp(argv[i], "--host")) host = argv[i + 1];
    }
    signal(SIGPIPE, SIG_IGN);
    workers = calloc((size_t)n_workers, sizeof(Worker));
    pthread_t th = 0;
    for (int i = 0; i < n_workers; i++) {
        Worker *w = &workers[i];
        int one = 1;
        w->lfd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        setsockopt(w->lfd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        /* one thread does without: a second mock on the port would silently take half of the load */
        if (n_workers > 1) setsockopt(w->lfd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
        inet_pton(AF_INET, host, &a.sin_addr);
        if (bind(w->lfd, (struct sockaddr *)&a, sizeof a) || listen(w->lfd, 4096)) {
            perror("listen");
            return 1;
        }
        w->epfd = epoll_create1(0);
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL};
        epoll_ctl(w->epfd, EPOLL_CTL_ADD, w->lfd, &e);
        pthread_create(&th, NULL, work, w);
    }
    fprintf(stderr, "mock_upstream: http://%s:%d/v1, %d thread(s)\n", host, port, n_workers);
    pthread_join(th, NULL);
    return 0;
}
