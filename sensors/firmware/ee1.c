/* EE1 frames, the queue to the port, and the answers to the host. See ee1.h. */
#include "ee1.h"

#include <string.h>

static const uint8_t WIDTH[] = {[EE1_I16] = 2, [EE1_I24] = 3, [EE1_I32] = 4, [EE1_F32] = 4};

/* ---- CRC and COBS ---- */

uint32_t ee1_crc32c(uint32_t crc, const uint8_t *bytes, size_t length)
{
    /* The reflected polynomial 0x82f63b78, four bits at a time: 64 bytes of table, and 2 % of the processor's time. */
    static const uint32_t table[16] = {
        0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
        0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
    };
    crc = ~crc;
    while (length--) {
        crc ^= *bytes++;
        crc = (crc >> 4) ^ table[crc & 15];
        crc = (crc >> 4) ^ table[crc & 15];
    }
    return ~crc;
}

typedef struct {
    uint8_t *out;
    size_t code, at;  /* where the open block's length goes, and the next byte */
} cobs;

static void cobs_close(cobs *to)
{
    to->out[to->code] = (uint8_t)(to->at - to->code);
    to->code = to->at++;
}

static void cobs_put(cobs *to, const uint8_t *bytes, size_t length)
{
    while (length--) {
        if (to->at - to->code == 255) {  /* full, and only now is it known that more follows */
            cobs_close(to);
        }
        if (*bytes) {
            to->out[to->at++] = *bytes;
        } else {
            cobs_close(to);
        }
        bytes++;
    }
}

size_t ee1_cobs_decode(uint8_t *bytes, size_t length)
{
    size_t in = 0, out = 0;
    while (in < length) {
        size_t code = bytes[in++];
        if (code == 0 || code - 1 > length - in) {
            return 0;
        }
        for (size_t i = 1; i < code; i++) {
            if (bytes[in] == 0) {
                return 0;
            }
            bytes[out++] = bytes[in++];  /* out stays behind in: every block loses its code */
        }
        if (code < 255 && in < length) {
            bytes[out++] = 0;
        }
    }
    return out;
}

/* ---- numbers as bytes ---- */

static void put_le(uint8_t *to, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++) {
        to[i] = (uint8_t)(value >> (8 * i));
    }
}

static uint32_t get_le32(const uint8_t *from)
{
    return from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 | (uint32_t)from[3] << 24;
}

/* ---- frames and the ring ---- */

size_t ee1_frame(uint8_t *wire, const uint8_t header[EE1_HEADER], const uint8_t *payload, size_t length)
{
    if (length > EE1_MAX_PAYLOAD) {
        return 0;
    }
    uint8_t crc[EE1_CRC];
    put_le(crc, ee1_crc32c(ee1_crc32c(0, header, EE1_HEADER), payload, length), EE1_CRC);
    cobs to = {.out = wire, .code = 1, .at = 2};
    cobs_put(&to, header, EE1_HEADER);
    cobs_put(&to, payload, length);
    cobs_put(&to, crc, EE1_CRC);
    wire[to.code] = (uint8_t)(to.at - to.code);
    wire[0] = wire[to.at] = 0;
    return to.at + 1;
}

bool ee1_ring_put(ee1_ring *ring, const uint8_t *bytes, size_t length)
{
    uint32_t used = ring->put - ring->taken, at = ring->put % EE1_RING;
    if (length > EE1_RING - used) {
        return false;
    }
    size_t first = length < EE1_RING - at ? length : EE1_RING - at;
    memcpy(ring->bytes + at, bytes, first);
    memcpy(ring->bytes, bytes + first, length - first);
    ring->put += (uint32_t)length;
    if (used + length > ring->high) {
        ring->high = (uint32_t)(used + length);
    }
    return true;
}

size_t ee1_ring_peek(const ee1_ring *ring, const uint8_t **start)
{
    uint32_t used = ring->put - ring->taken, at = ring->taken % EE1_RING;
    *start = ring->bytes + at;
    return used < EE1_RING - at ? used : EE1_RING - at;
}

/* Seals and queues one frame; false when the port is too far behind. */
static bool send(ee1_stream *stream, uint8_t type, uint16_t samples, uint32_t index, const void *payload, size_t length)
{
    bool data = type == EE1_DATA;
    uint8_t header[EE1_HEADER] = {type, 1};
    header[2] = data ? stream->flags : 0;
    header[3] = data ? stream->sensor->channels : 0;
    header[4] = data ? stream->sensor->format : 0;
    put_le(header + 6, samples, 2);
    put_le(header + 8, stream->sequence, 4);
    put_le(header + 12, index, 4);
    put_le(header + 16, data ? stream->first_us : 0, 8);
    size_t sealed = ee1_frame(stream->wire, header, payload, length);
    if (sealed == 0 || !ee1_ring_put(&stream->ring, stream->wire, sealed)) {
        return false;
    }
    stream->sequence++;
    return true;
}

/* ---- samples ---- */

bool ee1_open(ee1_stream *stream, const ee1_sensor *sensor, const char *serial, const char *firmware)
{
    memset(stream, 0, sizeof *stream);
    stream->sensor = sensor;
    stream->serial = serial;
    stream->firmware = firmware;
    stream->streaming = true;
    return sensor->format >= EE1_I16 && sensor->format <= EE1_F32 && sensor->channels >= 1 &&
           sensor->channels <= EE1_MAX_CHANNELS && sensor->frame_samples >= 1 && sensor->rate_num >= 1 &&
           sensor->rate_den >= 1 &&
           (uint32_t)sensor->frame_samples * sensor->channels * WIDTH[sensor->format] <= EE1_MAX_PAYLOAD;
}

/* Sends what waits, though it may be less than a whole frame. */
static void flush(ee1_stream *stream)
{
    const ee1_sensor *sensor = stream->sensor;
    if (stream->waiting == 0) {
        return;
    }
    size_t length = (size_t)stream->waiting * sensor->channels * WIDTH[sensor->format];
    stream->flags |= stream->gap ? EE1_GAP_BEFORE : 0;
    stream->gap = !send(stream, EE1_DATA, stream->waiting, stream->index - stream->waiting, stream->payload, length);
    stream->dropped += stream->gap ? stream->waiting : 0;
    stream->waiting = 0;
    stream->flags = 0;
}

static void lose(ee1_stream *stream, uint32_t samples)
{
    flush(stream);  /* a frame has no gap within */
    stream->index += samples;
    stream->gap = true;
}

void ee1_batch(ee1_stream *stream, const int32_t *samples, size_t count, uint64_t now_us)
{
    const ee1_sensor *sensor = stream->sensor;
    const int width = WIDTH[sensor->format];
    stream->read_us = now_us;
    if (count > stream->fifo_high) {
        stream->fifo_high = (uint32_t)count;
    }
    if (!stream->streaming) {
        lose(stream, (uint32_t)count);
        return;
    }
    for (size_t left = count; left > 0; left--) {
        if (stream->waiting == 0) {
            stream->first_us = now_us - (left - 1) * 1000000ull * sensor->rate_den / sensor->rate_num;
        }
        uint8_t *to = stream->payload + (size_t)stream->waiting * sensor->channels * (size_t)width;
        for (int channel = 0; channel < sensor->channels; channel++, to += width) {
            int32_t value = *samples++;
            bool clipped = sensor->format != EE1_F32 && (value <= sensor->lowest || value >= sensor->highest);
            stream->flags |= clipped ? EE1_CLIPPED : 0;
            put_le(to, (uint32_t)value, width);
        }
        stream->waiting++;
        stream->index++;
        if (stream->waiting == sensor->frame_samples) {
            flush(stream);
        }
    }
}

void ee1_missed(ee1_stream *stream, uint64_t now_us)
{
    const ee1_sensor *sensor = stream->sensor;
    if (stream->index != 0) {  /* before the first sample there was none to miss */
        uint64_t taken = (now_us - stream->read_us) * sensor->rate_num / (1000000ull * sensor->rate_den);
        lose(stream, (uint32_t)taken);
        stream->dropped += stream->streaming ? (uint32_t)taken : 0;
    }
    stream->read_us = now_us;
}

/* ---- messages ---- */

typedef struct {
    size_t length;
    char bytes[EE1_MAX_JSON];
} text;

/* What does not fit is left out; the longest message is checked by a test. */
static void say(text *to, const char *words)
{
    for (; *words && to->length < EE1_MAX_JSON; words++) {
        to->bytes[to->length++] = *words;
    }
}

static void say_number(text *to, uint32_t number)
{
    if (number >= 10) {
        say_number(to, number / 10);
    }
    say(to, (const char[]){(char)('0' + number % 10), 0});
}

/* A key with the separator that belongs before it. */
static void say_key(text *to, const char *key)
{
    say(to, to->length ? ",\"" : "{\"");
    say(to, key);
    say(to, "\":");
}

static void say_text_at(text *to, const char *key, const char *value)
{
    say_key(to, key);
    say(to, "\"");
    say(to, value);
    say(to, "\"");
}

static void say_number_at(text *to, const char *key, uint32_t value)
{
    say_key(to, key);
    say_number(to, value);
}

static void say_end(text *to, ee1_stream *stream, uint8_t type)
{
    say(to, "}");
    (void)send(stream, type, 0, 0, to->bytes, to->length);  /* the host asks again, and the next is due soon */
}

void ee1_info(ee1_stream *stream)
{
    const ee1_sensor *sensor = stream->sensor;
    text json = {0};
    say_text_at(&json, "serial", stream->serial);
    say_text_at(&json, "fw", stream->firmware);
    say_text_at(&json, "sensor", sensor->name);
    say_number_at(&json, "rate_num", sensor->rate_num);
    say_number_at(&json, "rate_den", sensor->rate_den);
    say_text_at(&json, "unit", "g");
    say_number_at(&json, "channels", sensor->channels);
    say_key(&json, "scale");
    for (int channel = 0; channel < sensor->channels; channel++) {
        say(&json, channel ? "," : "[");
        say(&json, sensor->scale_g);
    }
    say(&json, "]");
    say_key(&json, "range");
    say(&json, sensor->range_g);
    say_end(&json, stream, EE1_INFO);
}

void ee1_status(ee1_stream *stream)
{
    text json = {0};
    say_number_at(&json, "dropped", stream->dropped);
    say_number_at(&json, "fifo_high", stream->fifo_high);
    say_number_at(&json, "ring_high", stream->ring.high);
    stream->fifo_high = 0;
    stream->ring.high = stream->ring.put - stream->ring.taken;
    say_end(&json, stream, EE1_STATUS);
}

void ee1_wrong_chip(ee1_stream *stream, uint32_t answered)
{
    text json = {0};
    say_text_at(&json, "event", "the chip does not answer as the sensor this firmware is for");
    say_text_at(&json, "sensor", stream->sensor->name);
    say_number_at(&json, "answered", answered);
    say_end(&json, stream, EE1_EVENT);
}

/* ---- commands ---- */

/* Copies the text that the outermost object holds under "cmd"; false when there is none, or one too long or too odd.
 * No parser: it tells strings and depth apart, which is what keeps a "cmd" within another value from being obeyed. */
static bool find_cmd(const uint8_t *json, size_t length, char *name, size_t room)
{
    bool wanted = false, colon = false;
    int depth = 0;
    for (size_t at = 0; at < length; at++) {
        if (json[at] != '"') {
            depth += (json[at] == '{' || json[at] == '[') - (json[at] == '}' || json[at] == ']');
            colon = depth == 1 ? json[at] == ':' || (colon && json[at] != ',') : colon;
            continue;
        }
        size_t start = at + 1;
        bool plain = true;  /* the name is repeated within quotes: nothing that needs an escape */
        for (at = start; at < length && json[at] != '"'; at += json[at] == '\\' ? 2 : 1) {
            plain = plain && json[at] >= ' ' && json[at] <= '~' && json[at] != '\\';
        }
        if (at >= length) {
            return false;
        }
        size_t size = at - start;
        if (depth == 1 && !colon) {
            wanted = size == 3 && !memcmp(json + start, "cmd", 3);
        } else if (depth == 1 && wanted) {
            if (size < room && plain) {
                memcpy(name, json + start, size);
                name[size] = 0;
            }
            return size < room && plain;
        }
    }
    return false;
}

static void answer(ee1_stream *stream, const char *name, uint32_t sequence)
{
    text json = {0};
    if (!strcmp(name, "info")) {
        ee1_info(stream);
        return;
    }
    bool start = !strcmp(name, "start"), stop = !strcmp(name, "stop");
    if (stop) {
        stream->flags |= EE1_LAST;
        flush(stream);
        stream->flags = 0;  /* nothing may have waited */
    }
    stream->streaming = start || (stream->streaming && !stop);
    say_text_at(&json, "cmd", name);
    say_number_at(&json, "id", sequence);
    say_key(&json, "ok");
    say(&json, start || stop ? "true" : "false");
    if (!start && !stop) {
        say_text_at(&json, "error", "unknown command");
    }
    say_end(&json, stream, EE1_ACK);
}

void ee1_receive(ee1_stream *stream, uint8_t byte)
{
    if (byte != 0) {
        if (stream->heard < EE1_MAX_COMMAND) {
            stream->command[stream->heard] = byte;
        }
        stream->heard += stream->heard <= EE1_MAX_COMMAND;  /* one beyond means: too long, wait for the next zero */
        return;
    }
    size_t sealed = stream->heard <= EE1_MAX_COMMAND ? stream->heard : 0;
    stream->heard = 0;
    size_t opened = ee1_cobs_decode(stream->command, sealed);
    if (opened < EE1_HEADER + EE1_CRC) {
        return;
    }
    const uint8_t *frame = stream->command;
    size_t content = opened - EE1_CRC;
    if (ee1_crc32c(0, frame, content) != get_le32(frame + content) || frame[0] != EE1_COMMAND || frame[1] != 1) {
        return;
    }
    char name[33];
    bool found = find_cmd(frame + EE1_HEADER, content - EE1_HEADER, name, sizeof name);
    answer(stream, found ? name : "", get_le32(frame + 8));
}
