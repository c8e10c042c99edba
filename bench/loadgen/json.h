/* Walks JSON text in place, without building a tree: members of an object, elements of an array. */
#ifndef BENCH_JSON_H
#define BENCH_JSON_H

#include <stddef.h>

typedef struct {
    const char *at;
    size_t length;
} Json; /* one value as written, quotes and brackets included */

/* Both take the cursor from inside the object or array (json_enter) and return 0 at its end or where it is broken. */
Json json_enter(Json value);
int json_next_member(Json *cursor, Json *key, Json *value);
int json_next_element(Json *cursor, Json *value);

int json_member(Json object, const char *name, Json *value);
int json_is(Json string, const char *text); /* a string without escapes and equal to text */
Json json_inside(Json string);              /* what is between the quotes, still escaped; empty if no string */
long json_number(Json value);               /* -1 when it is no whole number from 0 */

#endif
