#include "plan.h"

#include "websocket.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *url, *key, *model, *path, *api;
    int messages, message_length;
    Buffer headers;
} Words;

static const char *const API_NAMES[] = {"chat", "responses", "responses-ws"};
static const char *const API_PATHS[] = {"/chat/completions", "/responses", "/responses"};

int plan_streams(const Plan *plan) { return plan->stream || plan->api == RESPONSES_WS; }

static int read_option(Plan *plan, Words *words, const char *name, const char *value) {
    if (!strcmp(name, "--url")) words->url = value;
    else if (!strcmp(name, "--key")) words->key = value;
    else if (!strcmp(name, "--model")) words->model = value;
    else if (!strcmp(name, "--api")) words->api = value;
    else if (!strcmp(name, "--path")) words->path = value;
    else if (!strcmp(name, "--header")) buffer_printf(&words->headers, "%s\r\n", value);
    else if (!strcmp(name, "--messages")) words->messages = atoi(value);
    else if (!strcmp(name, "--bytes")) words->message_length = atoi(value);
    else if (!strcmp(name, "--stream")) plan->stream = atoi(value);
    else if (!strcmp(name, "--store")) plan->store = atoi(value);
    else if (!strcmp(name, "--connections")) plan->connections = atoi(value);
    else if (!strcmp(name, "--seconds")) plan->seconds = atof(value);
    else if (!strcmp(name, "--ramp-ms")) plan->ramp_ms = atof(value);
    else if (!strcmp(name, "--max-requests")) plan->max_requests = atol(value);
    else if (!strcmp(name, "--chain")) plan->chain = atol(value);
    else return 0;
    return 1;
}

static int read_api(Plan *plan, Words *words) {
    for (int api = CHAT; api <= RESPONSES_WS; api++) {
        if (strcmp(words->api, API_NAMES[api])) continue;
        plan->api = (Api)api;
        if (!words->path) words->path = API_PATHS[api];
        return 1;
    }
    return 0;
}

/* Splits http://a.b.c.d:port/prefix; names are not looked up, so that no resolver is in a measurement. */
static int read_address(Plan *plan, const char *url, Buffer *host, const char **prefix) {
    char numeric[64];
    const char *start = strstr(url, "://");
    start = start ? start + 3 : url;
    size_t length = strcspn(start, "/"), name_length = strcspn(start, ":/");
    *prefix = start + length;
    buffer_printf(host, "%.*s", (int)length, start);
    snprintf(numeric, sizeof numeric, "%.*s", (int)name_length, start);
    plan->address.sin_family = AF_INET;
    plan->address.sin_port = htons(start[name_length] == ':' ? (uint16_t)atoi(start + name_length + 1) : 80);
    return inet_pton(AF_INET, numeric, &plan->address.sin_addr) == 1;
}

static void build_head(Plan *plan, Words *words, const Buffer *host, const char *prefix) {
    const char *accept = plan->stream ? "text/event-stream" : "application/json";
    buffer_printf(&plan->head, "%s %s%s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nUser-Agent: loadgen\r\n",
                  plan->api == RESPONSES_WS ? "GET" : "POST", prefix, words->path, host->bytes, words->key);
    if (words->headers.length) buffer_add(&plan->head, words->headers.bytes, words->headers.length);
    if (plan->api == RESPONSES_WS) buffer_printf(&plan->head, "%s\r\n", WS_HANDSHAKE);
    else buffer_printf(&plan->head, "Content-Type: application/json\r\nAccept: %s\r\n", accept);
}

static void build_text(Buffer *members, int length) {
    static const char words[] = "please tell me a little more about the weather in the old town and the sea beyond it ";
    for (int i = 0; i < length; i++) buffer_add(members, &words[(size_t)i % (sizeof words - 1)], 1);
}

/* A conversation that ends with the user's message. */
static void build_messages(Buffer *members, const Words *words) {
    for (int i = 0; i < words->messages; i++) {
        const char *role = (words->messages - i) % 2 ? "user" : "assistant";
        buffer_printf(members, "%s{\"role\":\"%s\",\"content\":\"", i ? "," : "", role);
        build_text(members, words->message_length);
        buffer_printf(members, "\"}");
    }
}

static void build_members(Plan *plan, const Words *words) {
    Buffer *members = &plan->members;
    buffer_printf(members, "\"model\":\"%s\",", words->model);
    if (plan->api == RESPONSES_WS) buffer_printf(members, "\"type\":\"response.create\",");
    else buffer_printf(members, "\"stream\":%s,", plan->stream ? "true" : "false");
    if (plan->api != CHAT) buffer_printf(members, "\"store\":%s,", plan->store ? "true" : "false");
    buffer_printf(members, plan->api == CHAT ? "\"messages\":[" : "\"input\":[");
    build_messages(members, words);
    buffer_printf(members, "]}");
}

int plan_read(Plan *plan, int argc, char **argv) {
    Words words = {"http://127.0.0.1:9100/v1", "sk-none", "mock-n50-d0", NULL, "chat", 1, 64, {0}};
    Buffer host = {0};
    const char *prefix, *count;
    *plan = (Plan){.store = 1, .connections = 1, .chain = 1, .seconds = 5};
    for (int i = 1; i < argc; i += 2)
        if (i + 1 == argc || !read_option(plan, &words, argv[i], argv[i + 1]))
            return fprintf(stderr, "unknown option or no value: %s\n", argv[i]), 0;
    if (!read_api(plan, &words)) return fprintf(stderr, "--api is chat, responses or responses-ws\n"), 0;
    if (plan->connections < 1 || words.messages < 1) return fprintf(stderr, "a count below 1\n"), 0;
    if (!read_address(plan, words.url, &host, &prefix))
        return fprintf(stderr, "--url needs a numeric address: %s\n", words.url), 0;
    count = strstr(words.model, "mock-n");
    plan->expected_marks = count ? atol(count + 6) : 50;
    build_head(plan, &words, &host, prefix);
    build_members(plan, &words);
    return 1;
}
