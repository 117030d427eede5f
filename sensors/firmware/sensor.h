/* What main.c asks of a sensor's driver; one of adxl355.c and iis3dwb.c is built in. */
#ifndef SENSOR_H
#define SENSOR_H

#include "ee1.h"

#define SENSOR_MAX_BATCH 512u  /* samples: the deeper FIFO of the two */

typedef struct {
    size_t count;                                    /* samples of three channels, oldest first */
    bool lost;                                       /* the FIFO overflowed: the samples are no longer one stretch */
    int32_t samples[SENSOR_MAX_BATCH * 3u];
} sensor_batch;

extern const ee1_sensor sensor;
extern const uint32_t sensor_identity;               /* what the right chip answers */

uint32_t sensor_start(void);                         /* sets the chip up; returns what it answered for its identity */
void sensor_read(sensor_batch *batch);               /* empties the chip's FIFO */

#endif
