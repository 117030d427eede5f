/* IIS3DWB: three axes of 16 bits at 26,667 Hz, read from its FIFO of 512 samples (19 ms).
 *
 * The range is +-16 g: a step is 0.488 mg while the part's own noise is 6 mg in its 6.3 kHz, so the widest range costs
 * nothing, and the shocks of bearings and gears pass 8 g.
 */
#include "rp2040.h"
#include "sensor.h"

enum {  /* registers; a read sends the address with its highest bit set */
    FIFO_CTRL1 = 0x07,    /* watermark, low bits; FIFO_CTRL2 has the ninth */
    FIFO_CTRL2 = 0x08,
    FIFO_CTRL3 = 0x09,
    FIFO_CTRL4 = 0x0a,
    INT1_CTRL = 0x0d,
    WHO_AM_I = 0x0f,
    CTRL1_XL = 0x10,
    CTRL3_C = 0x12,
    CTRL6_C = 0x15,
    FIFO_STATUS1 = 0x3a,  /* words waiting, low bits; FIFO_STATUS2 has two more */
    FIFO_DATA_OUT_TAG = 0x78,
};
enum { FIFO_WORDS = 512, WATERMARK = 128 };      /* 4.8 ms */
enum { FIFO_OVERRUN = 1 << 6 | 1 << 3 };         /* in FIFO_STATUS2: now, and since it was last read */
enum { WORD = 7, TAG_ACCELEROMETER = 2 };        /* a tag and three axes */

const ee1_sensor sensor = {
    .name = "iis3dwb",
    .rate_num = 26667,
    .rate_den = 1,
    .channels = 3,
    .format = EE1_I16,
    .frame_samples = 256,                        /* 9.6 ms */
    .scale_g = "0.000488",
    .range_g = "16",
    .lowest = -32768,
    .highest = 32767,
};
const uint32_t sensor_identity = 0x7b;
_Static_assert(FIFO_WORDS <= SENSOR_MAX_BATCH, "a batch holds the whole FIFO");
_Static_assert(256 * 3 * 2 <= EE1_MAX_PAYLOAD, "a frame holds 256 samples");
_Static_assert(BAUD / 11 >= 105 * EE1_MAX_WIRE, "the port is too slow");
_Static_assert(EE1_RING >= 21 * EE1_MAX_WIRE, "the ring holds 200 ms");

static void write(uint8_t address, uint8_t value)
{
    spi_exchange((const uint8_t[]){address, value}, 2, 0, 0);
}

static void read(uint8_t address, uint8_t *bytes, size_t length)
{
    spi_exchange((const uint8_t[]){address | 0x80}, 1, bytes, length);
}

uint32_t sensor_start(void)
{
    uint8_t id;
    write(CTRL3_C, 0x01);                        /* software reset */
    sleep_us(10000);                             /* UNVERIFIED: how long a reset takes */
    read(WHO_AM_I, &id, 1);
    write(CTRL3_C, 0x44);                        /* a value's two bytes belong together; addresses advance */
    write(CTRL6_C, 0x00);                        /* all three axes */
    write(FIFO_CTRL1, WATERMARK);
    write(FIFO_CTRL2, 0x00);
    write(FIFO_CTRL3, 0x0a);                     /* accelerometer into the FIFO at 26,667 Hz */
    write(INT1_CTRL, 0x08);                      /* INT1 while the FIFO holds the watermark */
    write(FIFO_CTRL4, 0x00);                     /* empty it */
    write(FIFO_CTRL4, 0x06);                     /* continuous: the newest stay */
    write(CTRL1_XL, 0xa4);                       /* on, +-16 g, flat to 6.3 kHz */
    return id;
}

void sensor_read(sensor_batch *batch)
{
    static uint8_t bytes[FIFO_WORDS * WORD];
    uint8_t status[2];
    read(FIFO_STATUS1, status, sizeof status);
    size_t words = status[0] | (size_t)(status[1] & 3) << 8;
    words = words < FIFO_WORDS ? words : FIFO_WORDS;
    batch->count = 0;
    batch->lost = (status[1] & FIFO_OVERRUN) != 0;
    /* From 7Eh the address goes back to the tag at 78h within one burst. The maker's own driver reads so too. */
    read(FIFO_DATA_OUT_TAG, bytes, words * WORD);
    for (const uint8_t *word = bytes; word < bytes + words * WORD; word += WORD) {
        if (word[0] >> 3 != TAG_ACCELEROMETER) {
            continue;                            /* a temperature or a time, which nobody asked for */
        }
        for (size_t i = 0; i < 3; i++) {
            batch->samples[batch->count * 3 + i] = (int16_t)(word[1 + 2 * i] | word[2 + 2 * i] << 8);
        }
        batch->count++;
    }
}
