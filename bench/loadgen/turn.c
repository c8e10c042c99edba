#include "turn.h"

#include "json.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

typedef struct {
    Json type, number, delta, text, response;
} Event;

void turn_reset(Turn *turn) {
    turn->text.length = turn->part_start = 0;
    turn->next_number = 0;
    turn->ended = 0;
    turn->id[0] = turn->fault[0] = 0;
}

int turn_fault(Turn *turn, const char *format, ...) {
    if (turn->fault[0]) return 0;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(turn->fault, sizeof turn->fault, format, arguments);
    va_end(arguments);
    return 0;
}

static int read_event(Json object, Event *event) {
    Json cursor = json_enter(object), key, value;
    *event = (Event){0};
    while (json_next_member(&cursor, &key, &value)) {
        if (json_is(key, "type")) event->type = value;
        else if (json_is(key, "sequence_number")) event->number = value;
        else if (json_is(key, "delta")) event->delta = value;
        else if (json_is(key, "text")) event->text = value;
        else if (json_is(key, "response")) event->response = value;
    }
    return event->type.length && cursor.length && *cursor.at == '}';
}

static int same_text(const Buffer *text, size_t from, Json part) {
    if (text->length - from < part.length) return 0;
    return !part.length || !memcmp(text->bytes + from, part.at, part.length);
}

typedef int EachText(Turn *turn, Json text, size_t *position);

static int each_content_text(Turn *turn, Json item, EachText *each, size_t *position) {
    Json content, part, type, text;
    if (!json_member(item, "content", &content)) return 1;
    for (Json cursor = json_enter(content); json_next_element(&cursor, &part);)
        if (json_member(part, "type", &type) && json_is(type, "output_text") && json_member(part, "text", &text) &&
            !each(turn, json_inside(text), position))
            return 0;
    return 1;
}

static int each_output_text(Turn *turn, Json response, EachText *each, size_t *position) {
    Json output, item, type;
    if (!json_member(response, "output", &output)) return turn_fault(turn, "a response without output");
    for (Json cursor = json_enter(output); json_next_element(&cursor, &item);)
        if (json_member(item, "type", &type) && json_is(type, "message") &&
            !each_content_text(turn, item, each, position))
            return 0;
    return 1;
}

static int compare_text(Turn *turn, Json text, size_t *position) {
    if (!same_text(&turn->text, *position, text)) return turn_fault(turn, "the output is not the joined deltas");
    *position += text.length;
    return 1;
}

static int collect_text(Turn *turn, Json text, size_t *position) {
    buffer_add(&turn->text, text.at, text.length);
    *position += text.length;
    return 1;
}

static int check_completed(Turn *turn, Json response) {
    size_t position = 0;
    Json status;
    turn->ended = 1;
    if (!json_member(response, "status", &status) || !json_is(status, "completed"))
        return turn_fault(turn, "response.completed without status completed");
    if (!each_output_text(turn, response, compare_text, &position)) return 0;
    if (position != turn->text.length) return turn_fault(turn, "the output has less text than the deltas");
    return 1;
}

static int check_text_done(Turn *turn, Json text) {
    if (turn->text.length - turn->part_start != text.length || !same_text(&turn->text, turn->part_start, text))
        return turn_fault(turn, "output_text.done is not the joined deltas");
    turn->part_start = turn->text.length;
    return 1;
}

static void keep_id(Turn *turn, Json response) {
    Json id;
    if (!json_member(response, "id", &id)) return;
    id = json_inside(id);
    if (id.length < sizeof turn->id) snprintf(turn->id, sizeof turn->id, "%.*s", (int)id.length, id.at);
}

static int check_number(Turn *turn, const Event *event) {
    long number = json_number(event->number);
    if (number != turn->next_number)
        return turn_fault(turn, "%.*s has sequence_number %ld where %ld is due", (int)event->type.length,
                          event->type.at, number, turn->next_number);
    turn->next_number++;
    if ((number == 0) != json_is(event->type, "response.created"))
        return turn_fault(turn, "event %ld is %.*s", number, (int)event->type.length, event->type.at);
    return 1;
}

static int ends_badly(Json type) {
    return json_is(type, "error") || json_is(type, "response.failed") || json_is(type, "response.incomplete");
}

int turn_event(Turn *turn, const char *json, size_t length) {
    Event event;
    if (turn->ended) return turn_fault(turn, "an event after the last: %.*s", (int)length, json);
    if (!read_event((Json){json, length}, &event)) return turn_fault(turn, "no event: %.*s", (int)length, json);
    if (ends_badly(event.type)) return turn_fault(turn, "%.*s", (int)length, json);
    if (!check_number(turn, &event)) return 0;
    if (json_is(event.type, "response.created")) keep_id(turn, event.response);
    if (json_is(event.type, "response.completed")) return check_completed(turn, event.response);
    if (json_is(event.type, "response.output_text.done")) return check_text_done(turn, json_inside(event.text));
    if (json_is(event.type, "response.output_text.delta")) {
        Json delta = json_inside(event.delta);
        buffer_add(&turn->text, delta.at, delta.length);
    }
    return 1;
}

int turn_object(Turn *turn, const char *json, size_t length) {
    Json object = {json, length}, status;
    size_t position = 0;
    turn->ended = 1;
    if (!json_member(object, "status", &status) || !json_is(status, "completed"))
        return turn_fault(turn, "no completed response: %.*s", (int)length, json);
    keep_id(turn, object);
    return each_output_text(turn, object, collect_text, &position);
}
