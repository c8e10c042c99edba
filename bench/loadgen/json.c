#include "json.h"

#include <string.h>

static const char *skip_blanks(const char *at, const char *end) {
    while (at < end && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t')) at++;
    return at;
}

/* From the opening quote to behind the closing one; NULL when it does not close. */
static const char *skip_string(const char *at, const char *end) {
    const char *open = at++;
    while ((at = memchr(at, '"', (size_t)(end - at)))) {
        const char *before = at;
        while (before > open + 1 && before[-1] == '\\') before--;
        at++;
        if ((at - 1 - before) % 2 == 0) return at;
    }
    return NULL;
}

static const char *skip_nested(const char *at, const char *end) {
    int depth = 0;
    while (at && at < end) {
        if (*at == '"') {
            at = skip_string(at, end);
            continue;
        }
        if (*at == '{' || *at == '[') depth++;
        if ((*at == '}' || *at == ']') && --depth == 0) return at + 1;
        at++;
    }
    return NULL;
}

static const char *skip_value(const char *at, const char *end) {
    if (at >= end) return NULL;
    if (*at == '"') return skip_string(at, end);
    if (*at == '{' || *at == '[') return skip_nested(at, end);
    const char *start = at;
    while (at < end && !strchr(",}] \n\r\t", *at)) at++;
    return at > start ? at : NULL;
}

Json json_enter(Json value) {
    const char *at = skip_blanks(value.at, value.at + value.length), *end = value.at + value.length;
    if (at < end && (*at == '{' || *at == '[')) at++;
    return (Json){at, (size_t)(end - at)};
}

int json_next_element(Json *cursor, Json *value) {
    const char *end = cursor->at + cursor->length, *at = skip_blanks(cursor->at, end);
    if (at < end && *at == ',') at = skip_blanks(at + 1, end);
    const char *after = skip_value(at, end);
    if (!after) return 0;
    *value = (Json){at, (size_t)(after - at)};
    *cursor = (Json){after, (size_t)(end - after)};
    return 1;
}

int json_next_member(Json *cursor, Json *key, Json *value) {
    if (!json_next_element(cursor, key) || *key->at != '"') return 0;
    const char *end = cursor->at + cursor->length, *at = skip_blanks(cursor->at, end);
    if (at >= end || *at != ':') return 0;
    at = skip_blanks(at + 1, end);
    *cursor = (Json){at, (size_t)(end - at)};
    return json_next_element(cursor, value);
}

int json_member(Json object, const char *name, Json *value) {
    Json cursor = json_enter(object), key;
    while (json_next_member(&cursor, &key, value))
        if (json_is(key, name)) return 1;
    return 0;
}

Json json_inside(Json string) {
    if (string.length < 2 || *string.at != '"') return (Json){string.at, 0};
    return (Json){string.at + 1, string.length - 2};
}

int json_is(Json string, const char *text) {
    Json inside = json_inside(string);
    return inside.length == strlen(text) && !memcmp(inside.at, text, inside.length);
}

long json_number(Json value) {
    long number = 0;
    if (!value.length || value.length > 15) return -1;
    for (size_t i = 0; i < value.length; i++) {
        if (value.at[i] < '0' || value.at[i] > '9') return -1;
        number = number * 10 + (value.at[i] - '0');
    }
    return number;
}
