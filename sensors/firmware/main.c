/* The reference sensor for echo-edge: a chip on SPI, EE1 frames on the port. One loop, no interrupts.
 *
 * The loop empties the chip's FIFO, fills frames, queues them, and keeps the DMA busy sending. It never waits for the
 * port: what does not fit in the queue is dropped by whole frames and counted.
 */
#include "rp2040.h"
#include "sensor.h"

#define FIRMWARE "1.0"
#define POLL_US 5000u      /* the FIFO is read this often even if the ready line is not wired; the shorter holds 8 ms */
#define SECOND_US 1000000u
#define INFO_S 10u

static ee1_stream stream;
static sensor_batch batch;
static char serial[SERIAL_TEXT];

static bool start_sensor(void)
{
    uint32_t answered = sensor_start();
    ee1_missed(&stream, time_us());  /* while the sensor was away there were samples too */
    if (answered != sensor_identity) {
        ee1_wrong_chip(&stream, answered);
        return false;
    }
    return true;
}

static size_t read_sensor(uint64_t now_us)
{
    sensor_read(&batch);
    if (batch.lost) {
        ee1_missed(&stream, now_us);
        return 0;
    }
    ee1_batch(&stream, batch.samples, batch.count, now_us);
    return batch.count;
}

int main(void)
{
    board_start();
    flash_serial(serial);
    bool working = ee1_open(&stream, &sensor, serial, FIRMWARE) && start_sensor();
    ee1_info(&stream);
    uint64_t read_us = time_us(), tick_us = read_us + SECOND_US;
    size_t came = 0;  /* samples within this second */
    for (uint32_t seconds = 0;;) {
        watchdog_feed();
        for (int byte; (byte = port_get()) >= 0;) {
            ee1_receive(&stream, (uint8_t)byte);
        }
        uint64_t now_us = time_us();
        if (working && (data_ready() || now_us - read_us >= POLL_US)) {
            read_us = now_us;
            came += read_sensor(now_us);
        }
        if (now_us >= tick_us) {
            tick_us += SECOND_US;
            ee1_status(&stream);
            if (++seconds % INFO_S == 0) {
                ee1_info(&stream);
            }
            working = came ? working : start_sensor();  /* a chip that fell silent is set up anew */
            came = 0;
        }
        port_send(&stream.ring);
    }
}
