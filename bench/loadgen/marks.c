#include "marks.h"

#include <string.h>

enum { HEX = 16, ARRIVAL_LENGTH = 1 + HEX, MARK_LENGTH = 8 + HEX };

static int read_hex(const char *digits, uint64_t *value) {
    *value = 0;
    for (int i = 0; i < HEX; i++) {
        char c = digits[i];
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (digit < 0) return 0;
        *value = *value << 4 | (uint64_t)digit;
    }
    return 1;
}

static int read_mark(const char *mark, long *index, uint64_t *sent_ns) {
    *index = 0;
    for (int i = 1; i < 7; i++) {
        if (mark[i] < '0' || mark[i] > '9') return 0;
        *index = *index * 10 + (mark[i] - '0');
    }
    return mark[7] == '@' && read_hex(mark + 8, sent_ns);
}

/* Moves to just behind the arrival mark, or to what may be its start, or to the end. */
static const char *find_arrival(Marks *marks, const char *text, const char *end) {
    const char *at;
    while ((at = memchr(text, '$', (size_t)(end - text)))) {
        if (end - at < ARRIVAL_LENGTH) return at;
        if (read_hex(at + 1, &marks->arrival)) return at + ARRIVAL_LENGTH;
        text = at + 1;
    }
    return end;
}

size_t marks_scan(Marks *marks, const char *text, size_t length, MarkSeen *seen, void *context) {
    const char *at = text, *end = text + length, *mark;
    if (!marks->arrival) at = find_arrival(marks, text, end);
    if (!marks->arrival) return (size_t)(at - text);
    while ((mark = memchr(at, '#', (size_t)(end - at)))) {
        long index;
        uint64_t sent_ns;
        if (end - mark < MARK_LENGTH) return (size_t)(mark - text);
        at = mark + 1;
        if (!read_mark(mark, &index, &sent_ns)) continue;
        if (index != marks->seen) marks->out_of_order = 1;
        marks->seen++;
        at = mark + MARK_LENGTH;
        seen(context, index, sent_ns);
    }
    return length;
}
