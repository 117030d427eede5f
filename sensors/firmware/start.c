/* Vectors, and what must happen before main. */
#include <stdint.h>

extern uint32_t _stack_top[], _data[], _data_end[], _data_image[], _bss[], _bss_end[];
int main(void);

static void reset(void)
{
    uint32_t *from = _data_image;
    for (uint32_t *to = _data; to < _data_end;) {
        *to++ = *from++;
    }
    for (uint32_t *to = _bss; to < _bss_end;) {
        *to++ = 0;
    }
    main();
}

/* No interrupt is enabled: only a fault comes here, and the watchdog ends it. */
static void stuck(void)
{
    for (;;) {
    }
}

__attribute__((section(".vectors"), used)) static const struct {
    uint32_t *stack;
    void (*handlers[47])(void);
} vectors = {_stack_top, {reset, [1 ... 46] = stuck}};
