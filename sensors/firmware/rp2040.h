/* The few parts of an RP2040 that the firmware uses, without interrupts: the loop in main.c is never away for long. */
#ifndef RP2040_H
#define RP2040_H

#include "ee1.h"

#define SERIAL_TEXT 17u                              /* 16 hex digits and the end */

void board_start(void);                              /* clocks, resets, pins, SPI, port, watchdog */
void watchdog_feed(void);                            /* once a second at the least, or the chip starts anew */
uint64_t time_us(void);                              /* since the start */
void sleep_us(uint32_t us);
bool data_ready(void);                               /* the sensor's INT1 line */
void flash_serial(char text[SERIAL_TEXT]);           /* the flash chip's unique id: the RP2040 has none of its own */

/* Selects the sensor, sends out, then reads in. */
void spi_exchange(const uint8_t *out, size_t out_length, uint8_t *in, size_t in_length);

int port_get(void);                                  /* a byte from the host; negative when there is none */
void port_send(ee1_ring *ring);                      /* keeps the port busy with what waits; returns at once */

#endif
