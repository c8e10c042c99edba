#define _GNU_SOURCE /* strcasestr */
#include "websocket.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* The sample key of RFC 6455, 1.3, whose answer is known without a SHA-1. */
const char WS_HANDSHAKE[] = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

int ws_accepts(const char *head) {
    return strcasestr(head, "\r\nupgrade: websocket\r\n") && strstr(head, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") &&
           !strcasestr(head, "\r\nsec-websocket-extensions:");
}

void ws_reset(WebSocket *socket) {
    socket->in.length = socket->taken = socket->fragments.length = 0;
    socket->fragmented = 0;
}

static size_t put_length(unsigned char *header, size_t length) {
    if (length < 126) {
        header[1] = (unsigned char)(0x80 | length);
        return 2;
    }
    size_t width = length < 65536 ? 2 : 8;
    header[1] = (unsigned char)(0x80 | (width == 2 ? 126 : 127));
    for (size_t i = 0; i < width; i++) header[1 + width - i] = (unsigned char)(length >> (8 * i));
    return 2 + width;
}

void ws_frame(Buffer *out, int opcode, const char *payload, size_t length) {
    unsigned char header[14] = {(unsigned char)(0x80 | opcode)};
    size_t header_length = put_length(header, length);
    uint32_t key = (uint32_t)mrand48();
    memcpy(header + header_length, &key, 4);
    unsigned char *mask = header + header_length;
    buffer_add(out, (char *)header, header_length + 4);
    size_t start = out->length;
    buffer_add(out, payload, length);
    for (size_t i = 0; i < length; i++) out->bytes[start + i] ^= (char)mask[i & 3];
}

/* The frame at the front of `bytes`: its whole length, or 0 when more must come, or -1 (a server's frame is never masked). */
static long read_frame(const unsigned char *bytes, size_t have, WsMessage *frame) {
    if (have < 2) return 0;
    if ((bytes[0] & 0x70) || (bytes[1] & 0x80)) return -1;
    size_t length = bytes[1] & 0x7f, width = length == 126 ? 2 : length == 127 ? 8 : 0;
    if (have < 2 + width) return 0;
    if (width) length = 0;
    for (size_t i = 0; i < width; i++) length = length << 8 | bytes[2 + i];
    if (length > (64u << 20)) return -1;
    if (have < 2 + width + length) return 0;
    *frame = (WsMessage){bytes[0] & 0x0f, (const char *)bytes + 2 + width, length};
    return (long)(2 + width + length);
}

/* Joins data frames to messages; a control frame may stand between fragments and is whole by itself. */
static int join(WebSocket *socket, int last, WsMessage *frame) {
    if (frame->opcode >= WS_CLOSE) return last ? WS_MESSAGE : WS_INVALID;
    if (socket->fragmented != (frame->opcode == WS_CONTINUATION)) return WS_INVALID;
    if (last && !socket->fragmented) return WS_MESSAGE;
    if (!socket->fragmented) socket->fragments.length = 0;
    buffer_add(&socket->fragments, frame->payload, frame->length);
    socket->fragmented = !last;
    if (!last) return WS_MORE;
    *frame = (WsMessage){WS_TEXT, socket->fragments.bytes, socket->fragments.length};
    return WS_MESSAGE;
}

int ws_next(WebSocket *socket, WsMessage *message) {
    for (;;) {
        const char *front = socket->in.bytes + socket->taken;
        long length = read_frame((const unsigned char *)front, socket->in.length - socket->taken, message);
        if (length < 0) return WS_INVALID;
        if (length == 0) break;
        socket->taken += (size_t)length;
        int found = join(socket, *front & 0x80, message);
        if (found != WS_MORE) return found;
    }
    buffer_drop(&socket->in, socket->taken);
    socket->taken = 0;
    return WS_MORE;
}
