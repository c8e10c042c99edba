#include "results.h"

#include <stdio.h>

static void print_text(const char *name, const char *text) {
    printf("\"%s\":\"", name);
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\') printf("\\%c", c);
        else if (c < 0x20 || c > 0x7e) printf("\\u%04x", c);
        else putchar(c);
    }
    printf("\",");
}

void results_print(Results *results, const Plan *plan, double seconds) {
    printf("{\"stream\":%d,\"connections\":%d,\"seconds\":%.3f,", plan_streams(plan), plan->connections, seconds);
    printf("\"ok\":%lu,\"errors\":%lu,\"bad_status\":%lu,\"unfinished\":%lu,\"last_status\":%d,\"reconnects\":%lu,",
           results->ok, results->errors, results->bad_status, results->unfinished, results->last_status,
           results->reconnects);
    print_text("fault", results->fault);
    printf("\"rps\":%.1f,\"chunks\":%lu,\"chunks_per_s\":%.1f,\"bytes_in\":%lu,\"max_open\":%lu,\"pings\":%lu,",
           (double)results->ok / seconds, results->chunks, (double)results->chunks / seconds, results->bytes_in,
           results->most_open, results->pings);
    series_print("added_ms", &results->added);
    series_print("inward_ms", &results->inward);
    series_print("chunk_ms", &results->chunk);
    series_print("ttft_ms", &results->first);
    series_print("total_ms", &results->whole);
    printf("\"request_bytes\":%zu}\n", plan->members.length + 1);
}
