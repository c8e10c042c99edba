/* The client's half of a WebSocket, without I/O: the handshake, masked frames out, whole messages in.
 *
 * Source: RFC 6455. No extension is offered, so a reserved bit is an error; messages may come in fragments.
 */
#ifndef BENCH_WEBSOCKET_H
#define BENCH_WEBSOCKET_H

#include "buffer.h"

enum { WS_CONTINUATION = 0, WS_TEXT = 1, WS_BINARY = 2, WS_CLOSE = 8, WS_PING = 9, WS_PONG = 10 };
enum { WS_INVALID = -1, WS_MORE = 0, WS_MESSAGE = 1 };

typedef struct {
    Buffer in;        /* bytes of frames not yet taken */
    size_t taken;     /* length at the front of `in` that ws_next has handed out */
    Buffer fragments; /* a message whose last frame has not come */
    int fragmented;
} WebSocket;

typedef struct {
    int opcode; /* WS_TEXT, WS_BINARY or a control opcode */
    const char *payload;
    size_t length;
} WsMessage; /* lives until the next call on its socket */

extern const char WS_HANDSHAKE[]; /* header lines of the upgrade request */

int ws_accepts(const char *head); /* the response head, ending in a blank line, takes up the handshake */
void ws_reset(WebSocket *socket);
void ws_frame(Buffer *out, int opcode, const char *payload, size_t length);
int ws_next(WebSocket *socket, WsMessage *message);

#endif
