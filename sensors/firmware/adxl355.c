/* ADXL355: three axes of 20 bits at 4 kHz, read from its FIFO of 32 samples (8 ms).
 *
 * The range is +-8 g: with 20 bits a step is 15.6 ug, far below the part's own noise (22.5 ug per root Hz, 0.7 mg in
 * 1 kHz), so the widest range costs nothing, and a machine's shocks on top of gravity pass 2 g easily.
 */
#include "rp2040.h"
#include "sensor.h"

enum {  /* registers; a read sends the address shifted up with the lowest bit set */
    DEVID_AD = 0x00,  /* followed by DEVID_MST and PARTID */
    STATUS = 0x04,    /* followed by FIFO_ENTRIES */
    FIFO_DATA = 0x11,
    FILTER = 0x28,
    FIFO_SAMPLES = 0x29,
    INT_MAP = 0x2a,
    RANGE = 0x2c,
    POWER_CTL = 0x2d,
    RESET = 0x2f,
};
enum { FIFO_ENTRIES = 96, WATERMARK = 48 };          /* an entry is one axis */
enum { FIFO_OVERRUN = 1 << 2 };                      /* in STATUS */
enum { IS_X = 1, IS_EMPTY = 2 };                     /* in an entry's last byte, below its 20 bits */

const ee1_sensor sensor = {
    .name = "adxl355",
    .rate_num = 4000,
    .rate_den = 1,
    .channels = 3,
    .format = EE1_I24,
    .frame_samples = 80,                             /* 20 ms */
    .scale_g = "9.765625e-07",                       /* 1 / 64000 g per step of 20 bits, left-justified in 24 */
    .range_g = "8",
    .lowest = -0x800000,
    .highest = 0x7ffff0,
};
const uint32_t sensor_identity = 0xad1ded;
_Static_assert(80 * 3 * 3 <= EE1_MAX_PAYLOAD, "a frame holds 80 samples");
_Static_assert(BAUD / 10 * 10 / 11 >= 50 * (EE1_COBS(EE1_HEADER + 80 * 3 * 3 + EE1_CRC) + 2), "the port is too slow");
_Static_assert(EE1_RING >= 10 * (EE1_COBS(EE1_HEADER + 80 * 3 * 3 + EE1_CRC) + 2), "the ring holds 200 ms");

static int axis = 3;                                 /* of the last entry; 3: no X seen yet */
static int32_t row[3];

static void write(uint8_t address, uint8_t value)
{
    spi_exchange((const uint8_t[]){(uint8_t)(address << 1), value}, 2, 0, 0);
}

static void read(uint8_t address, uint8_t *bytes, size_t length)
{
    spi_exchange((const uint8_t[]){(uint8_t)(address << 1 | 1)}, 1, bytes, length);
}

uint32_t sensor_start(void)
{
    uint8_t id[3];
    write(RESET, 0x52);
    sleep_us(10000);                                 /* UNVERIFIED: how long a reset takes */
    read(DEVID_AD, id, sizeof id);
    write(FILTER, 0x00);                             /* 4 kHz, low pass at 1 kHz, no high pass */
    write(FIFO_SAMPLES, WATERMARK);
    write(INT_MAP, 0x02);                            /* INT1 while the FIFO holds the watermark */
    write(RANGE, 0x43);                              /* +-8 g; INT1 is high when it has something to say */
    write(POWER_CTL, 0x00);                          /* measure */
    axis = 3;
    return (uint32_t)id[0] << 16 | (uint32_t)id[1] << 8 | id[2];
}

void sensor_read(sensor_batch *batch)
{
    static uint8_t bytes[FIFO_ENTRIES * 3];
    uint8_t status[2];
    read(STATUS, status, sizeof status);
    size_t entries = status[1] & 0x7f;
    entries = entries < FIFO_ENTRIES ? entries : FIFO_ENTRIES;
    batch->count = 0;
    /* The address stays: every three bytes are the next entry. The maker's own driver reads so too. */
    read(FIFO_DATA, bytes, entries * 3);
    batch->lost = (status[0] & FIFO_OVERRUN) != 0;
    for (const uint8_t *entry = bytes; entry < bytes + entries * 3; entry += 3) {
        if (entry[2] & IS_EMPTY) {
            break;
        }
        bool starts = entry[2] & IS_X;
        batch->lost |= axis < 3 && starts != (axis == 2);  /* an axis is missing or too many */
        axis = starts ? 0 : axis < 2 ? axis + 1 : 3;
        if (axis < 3) {
            uint32_t value = (uint32_t)entry[0] << 24 | (uint32_t)entry[1] << 16 | (uint32_t)(entry[2] & 0xf0) << 8;
            row[axis] = (int32_t)value >> 8;         /* the shift carries the sign down */
        }
        if (axis == 2) {
            for (int i = 0; i < 3; i++) {
                batch->samples[batch->count * 3 + (size_t)i] = row[i];
            }
            batch->count++;
        }
    }
}
