/* EE1: how samples and messages travel to echo-edge. Portable: no hardware, no heap, no library beyond memcpy.
 *
 *     frame  = 0x00 | COBS(header | payload | CRC-32C of both, little endian) | 0x00
 *     header = type, version, flags, channels, format, reserved (u8 each), u16 samples, u32 sequence, u32 index, u64 us
 *
 * The index numbers samples since the firmware started, modulo 2^32. What is lost advances it and sets GAP_BEFORE on
 * the next data frame: nothing is spliced over, nothing is invented. The sequence numbers the frames that were queued.
 */
#ifndef EE1_H
#define EE1_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { EE1_DATA = 1, EE1_INFO, EE1_STATUS, EE1_EVENT, EE1_ACK, EE1_COMMAND };
enum { EE1_GAP_BEFORE = 1, EE1_CLIPPED = 2, EE1_LAST = 8 };
enum { EE1_I16 = 1, EE1_I24, EE1_I32, EE1_F32 };

#define EE1_HEADER 24u
#define EE1_CRC 4u
#define EE1_MAX_CHANNELS 8u
#define EE1_MAX_PAYLOAD 1536u  /* 256 samples of three channels in 16 bits */
#define EE1_MAX_JSON 384u
#define EE1_MAX_COMMAND 192u   /* bytes between two zeros; the host's longest command has 46 */
#define EE1_RING 65536u        /* 390 ms of the faster sensor; must be a power of two */
#define EE1_COBS(n) ((n) + (n) / 254u + 1u)
#define EE1_MAX_WIRE (EE1_COBS(EE1_HEADER + EE1_MAX_PAYLOAD + EE1_CRC) + 2u)

_Static_assert((EE1_RING & (EE1_RING - 1)) == 0, "the ring's counters wrap at a power of two");
_Static_assert(EE1_RING >= 2 * EE1_MAX_WIRE, "the ring holds at least a frame beside the one that is being sent");
_Static_assert(EE1_MAX_JSON <= EE1_MAX_PAYLOAD, "a message fits a frame");
_Static_assert(EE1_MAX_COMMAND >= EE1_COBS(EE1_HEADER + EE1_CRC + 16u), "the shortest command fits");

/* What a sensor is. Numbers that have a fraction are text: they only ever go into the info frame. */
typedef struct {
    const char *name;
    uint32_t rate_num, rate_den;  /* samples per second */
    uint8_t channels, format;
    uint16_t frame_samples;       /* per data frame */
    const char *scale_g;          /* g per stored unit */
    const char *range_g;
    int32_t lowest, highest;      /* stored values at the ends of the range: a sample there was clipped */
} ee1_sensor;

/* Whole frames on their way to the port. The counters run freely; their difference is what waits. */
typedef struct {
    uint32_t put, taken, high;
    uint8_t bytes[EE1_RING];
} ee1_ring;

typedef struct {
    const ee1_sensor *sensor;
    const char *serial, *firmware;
    bool streaming;
    bool gap;              /* something was lost since the last data frame that was queued */
    uint8_t flags;         /* of the frame that is being filled */
    uint16_t waiting;      /* samples in payload */
    uint32_t sequence;
    uint32_t index;        /* of the next sample */
    uint32_t dropped;      /* samples lost since the start, asked-for pauses not counted */
    uint32_t fifo_high;    /* most samples found waiting in the sensor since the last status */
    uint64_t first_us;     /* time of the first sample in payload */
    uint64_t read_us;      /* when the sensor's FIFO was last emptied */
    size_t heard;          /* bytes in command; beyond its size when too long */
    uint8_t command[EE1_MAX_COMMAND];
    uint8_t payload[EE1_MAX_PAYLOAD];
    uint8_t wire[EE1_MAX_WIRE];
    ee1_ring ring;
} ee1_stream;

/* Starts from nothing; false when the sensor's frames do not fit. The sensor and the texts must outlive the stream. */
bool ee1_open(ee1_stream *stream, const ee1_sensor *sensor, const char *serial, const char *firmware);

/* Takes count samples of every channel, the last of them taken at now_us; format f32 takes the bits of the floats. */
void ee1_batch(ee1_stream *stream, const int32_t *samples, size_t count, uint64_t now_us);

/* Everything the sensor took since its FIFO was last emptied is lost; how much is known only from the clock. */
void ee1_missed(ee1_stream *stream, uint64_t now_us);

/* Takes one byte from the host; answers when it completes a command. */
void ee1_receive(ee1_stream *stream, uint8_t byte);

void ee1_info(ee1_stream *stream);
void ee1_status(ee1_stream *stream);
void ee1_wrong_chip(ee1_stream *stream, uint32_t answered);

/* Writes a frame of up to EE1_MAX_WIRE bytes; returns its length, 0 when the payload is too long. */
size_t ee1_frame(uint8_t *wire, const uint8_t header[EE1_HEADER], const uint8_t *payload, size_t length);
/* In place; returns the length, 0 when the bytes are no COBS. */
size_t ee1_cobs_decode(uint8_t *bytes, size_t length);
uint32_t ee1_crc32c(uint32_t crc, const uint8_t *bytes, size_t length);

/* All or nothing; true when it fitted. */
bool ee1_ring_put(ee1_ring *ring, const uint8_t *bytes, size_t length);
/* The longest stretch that can be sent at once; once it is sent, the caller adds its length to ring->taken. */
size_t ee1_ring_peek(const ee1_ring *ring, const uint8_t **start);

#endif
