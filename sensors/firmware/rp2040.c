/* RP2040: registers by their data sheet's names. See rp2040.h. */
#include "rp2040.h"

#define REG(address) (*(volatile uint32_t *)(address))

/* Pins; the README's wiring table says the same. */
enum { UART_TX = 0, UART_RX = 1, SPI_MISO = 16, SPI_CS = 17, SPI_SCK = 18, SPI_MOSI = 19, READY = 20 };
enum { FUNCTION_SPI = 1, FUNCTION_UART = 2, FUNCTION_SIO = 5 };

#define CLOCK_HZ 125000000u
#define UART_DIVISOR ((CLOCK_HZ * 4u + BAUD / 2u) / BAUD)  /* in 64ths; 3 Mbaud comes out 0.2 % slow */
_Static_assert(UART_DIVISOR >= 64 && UART_DIVISOR < 65536 * 64, "the port cannot do this baud rate");

#define RESETS_RESET 0x4000c000u
#define RESETS_RESET_DONE 0x4000c008u
#define CLK_REF_CTRL 0x40008030u
#define CLK_REF_SELECTED 0x40008038u
#define CLK_SYS_CTRL 0x4000803cu
#define CLK_SYS_SELECTED 0x40008044u
#define CLK_PERI_CTRL 0x40008048u
#define XOSC_CTRL 0x40024000u
#define XOSC_STATUS 0x40024004u
#define XOSC_STARTUP 0x4002400cu
#define PLL_SYS_CS 0x40028000u
#define PLL_SYS_PWR 0x40028004u
#define PLL_SYS_FBDIV 0x40028008u
#define PLL_SYS_PRIM 0x4002800cu
#define PSM_WDSEL 0x40010008u
#define WATCHDOG_CTRL 0x40058000u
#define WATCHDOG_LOAD 0x40058004u
#define WATCHDOG_TICK 0x4005802cu
#define TIMER_RAWH 0x40054024u
#define TIMER_RAWL 0x40054028u
#define GPIO_CTRL(pin) (0x40014004u + 8u * (pin))
#define PAD(pin) (0x4001c004u + 4u * (pin))
#define SIO_IN 0xd0000004u
#define SIO_OUT_SET 0xd0000014u
#define SIO_OUT_CLR 0xd0000018u
#define SIO_OE_SET 0xd0000024u
#define SPI_CR0 0x4003c000u
#define SPI_CR1 0x4003c004u
#define SPI_DR 0x4003c008u
#define SPI_SR 0x4003c00cu
#define SPI_CPSR 0x4003c010u
#define UART_DR 0x40034000u
#define UART_IBRD 0x40034024u
#define UART_FBRD 0x40034028u
#define UART_LCR_H 0x4003402cu
#define UART_CR 0x40034030u
#define UART_DMACR 0x40034048u
#define DMA_READ(channel) (0x50000000u + 0x40u * (channel))
#define DMA_WRITE(channel) (0x50000004u + 0x40u * (channel))
#define DMA_COUNT(channel) (0x50000008u + 0x40u * (channel))
#define DMA_CTRL_TRIG(channel) (0x5000000cu + 0x40u * (channel))
#define SSI_CTRLR0 0x18000000u
#define SSI_SSIENR 0x18000008u
#define SSI_RXFLR 0x18000024u
#define SSI_DR0 0x18000060u

enum { DMA_SEND, DMA_HEAR };
enum { DREQ_UART0_TX = 20, DREQ_UART0_RX = 21 };
enum { DMA_ENABLE = 1, DMA_INCR_READ = 1 << 4, DMA_INCR_WRITE = 1 << 5, DMA_BUSY = 1 << 24 };
#define HEARD_BITS 10u  /* 1024 bytes: 3 ms at 3 Mbaud, the longest the loop can be away */
#define SEND_AT_ONCE 1024u  /* the ring's room comes back in steps of this */

static uint8_t heard[1u << HEARD_BITS] __attribute__((aligned(1u << HEARD_BITS)));

static void clocks_start(void)
{
    REG(CLK_SYS_CTRL) = 0;  /* away from the PLL, which a debugger's restart leaves running */
    while (REG(CLK_SYS_SELECTED) != 1) {
    }
    REG(XOSC_STARTUP) = 47;  /* x 256 cycles = 1 ms */
    REG(XOSC_CTRL) = 0xfabaa0;
    while (!(REG(XOSC_STATUS) & 1u << 31)) {
    }
    REG(CLK_REF_CTRL) = 2;  /* the crystal */
    while (REG(CLK_REF_SELECTED) != 1u << 2) {
    }
    const uint32_t needed = 1u << 2 | 1u << 5 | 1u << 8 | 1u << 12 | 1u << 16 | 1u << 21 | 1u << 22;
    REG(RESETS_RESET) |= needed;  /* DMA, IO_BANK0, PADS_BANK0, PLL_SYS, SPI0, TIMER, UART0 */
    REG(RESETS_RESET) &= ~needed;
    const uint32_t clocked_later = 1u << 16 | 1u << 22;  /* SPI0 and UART0 wait for clk_peri */
    while ((REG(RESETS_RESET_DONE) & needed & ~clocked_later) != (needed & ~clocked_later)) {
    }
    REG(PLL_SYS_CS) = 1;
    REG(PLL_SYS_FBDIV) = 125;  /* 12 MHz x 125 = 1500 MHz */
    REG(PLL_SYS_PWR) = 1u << 3 | 1u << 2;  /* on, but for the post dividers; no fractions */
    while (!(REG(PLL_SYS_CS) & 1u << 31)) {
    }
    REG(PLL_SYS_PRIM) = 6u << 16 | 2u << 12;  /* / 6 / 2 = 125 MHz */
    REG(PLL_SYS_PWR) = 1u << 2;
    REG(CLK_SYS_CTRL) = 1;
    while (REG(CLK_SYS_SELECTED) != 1u << 1) {
    }
    REG(CLK_PERI_CTRL) = 1u << 11;  /* from clk_sys */
    while ((REG(RESETS_RESET_DONE) & needed) != needed) {
    }
    REG(WATCHDOG_TICK) = 1u << 9 | 12;  /* 1 MHz, for the timer too */
}

void board_start(void)
{
    clocks_start();
    REG(GPIO_CTRL(UART_TX)) = REG(GPIO_CTRL(UART_RX)) = FUNCTION_UART;
    REG(GPIO_CTRL(SPI_MISO)) = REG(GPIO_CTRL(SPI_SCK)) = REG(GPIO_CTRL(SPI_MOSI)) = FUNCTION_SPI;
    REG(GPIO_CTRL(SPI_CS)) = REG(GPIO_CTRL(READY)) = FUNCTION_SIO;
    REG(PAD(SPI_MISO)) = REG(PAD(READY)) = 0x56;  /* input, pulled down: a sensor that is not there reads as nothing */
    REG(PAD(UART_RX)) = 0x5a;  /* input, pulled up: a port that is not there is a quiet one */
    REG(SIO_OUT_SET) = 1u << SPI_CS;
    REG(SIO_OE_SET) = 1u << SPI_CS;
    REG(SPI_CPSR) = 2;
    REG(SPI_CR0) = 6u << 8 | 7;  /* 125 MHz / 2 / 7 = 8.9 MHz (both sensors allow 10), mode 0, 8 bits */
    REG(SPI_CR1) = 1u << 1;
    REG(UART_IBRD) = UART_DIVISOR / 64;
    REG(UART_FBRD) = UART_DIVISOR % 64;
    REG(UART_LCR_H) = 3u << 5 | 1u << 4;  /* 8N1, FIFOs */
    REG(UART_DMACR) = 3;
    REG(UART_CR) = 1u << 9 | 1u << 8 | 1;
    REG(DMA_READ(DMA_HEAR)) = UART_DR;
    REG(DMA_WRITE(DMA_HEAR)) = (uint32_t)(uintptr_t)heard;
    REG(DMA_COUNT(DMA_HEAR)) = 0x7fffffff;  /* years of commands */
    REG(DMA_CTRL_TRIG(DMA_HEAR)) = DMA_ENABLE | DMA_INCR_WRITE | HEARD_BITS << 6 | 1u << 10 | DMA_HEAR << 11 |
                                   DREQ_UART0_RX << 15;
    REG(PSM_WDSEL) = 0x1fffc;  /* the watchdog restarts all but the oscillators */
    watchdog_feed();
    REG(WATCHDOG_CTRL) = 1u << 30;
}

void watchdog_feed(void)
{
    REG(WATCHDOG_LOAD) = 2000000;  /* 1 s: it counts two at every tick (erratum E1) */
}

uint64_t time_us(void)
{
    uint32_t high = REG(TIMER_RAWH);
    for (;;) {
        uint32_t low = REG(TIMER_RAWL), again = REG(TIMER_RAWH);
        if (again == high) {
            return (uint64_t)high << 32 | low;
        }
        high = again;
    }
}

void sleep_us(uint32_t us)
{
    for (uint64_t until = time_us() + us; time_us() < until;) {
    }
}

bool data_ready(void)
{
    return REG(SIO_IN) >> READY & 1;
}

/* ---- SPI ---- */

void spi_exchange(const uint8_t *out, size_t out_length, uint8_t *in, size_t in_length)
{
    size_t sent = 0, got = 0, total = out_length + in_length;
    REG(SIO_OUT_CLR) = 1u << SPI_CS;
    while (got < total) {  /* at most 8 bytes are under way, the FIFO's depth: none can be lost */
        uint32_t status = REG(SPI_SR);
        if (sent < total && sent - got < 8 && status & 1u << 1) {
            REG(SPI_DR) = sent < out_length ? out[sent] : 0;
            sent++;
        }
        if (status & 1u << 2) {
            uint8_t byte = (uint8_t)REG(SPI_DR);
            if (got >= out_length) {
                in[got - out_length] = byte;
            }
            got++;
        }
    }
    REG(SIO_OUT_SET) = 1u << SPI_CS;
}

/* ---- the port ---- */

int port_get(void)
{
    static uint32_t at;
    uint32_t end = REG(DMA_WRITE(DMA_HEAR)) - (uint32_t)(uintptr_t)heard;
    if (at == end) {
        return -1;
    }
    int byte = ((volatile uint8_t *)heard)[at];
    at = (at + 1) % sizeof heard;
    return byte;
}

void port_send(ee1_ring *ring)
{
    static size_t under_way;
    if (REG(DMA_CTRL_TRIG(DMA_SEND)) & DMA_BUSY) {
        return;
    }
    const uint8_t *start;
    ring->taken += (uint32_t)under_way;
    under_way = ee1_ring_peek(ring, &start);
    under_way = under_way < SEND_AT_ONCE ? under_way : SEND_AT_ONCE;
    if (under_way) {
        __asm volatile("dmb" ::: "memory");  /* the ring's bytes are written before the DMA reads them */
        REG(DMA_READ(DMA_SEND)) = (uint32_t)(uintptr_t)start;
        REG(DMA_WRITE(DMA_SEND)) = UART_DR;
        REG(DMA_COUNT(DMA_SEND)) = under_way;
        REG(DMA_CTRL_TRIG(DMA_SEND)) = DMA_ENABLE | DMA_INCR_READ | DMA_SEND << 11 | DREQ_UART0_TX << 15;
    }
}

/* ---- flash ---- */

/* Command 4Bh, four bytes of waiting, eight of id: 13, which the controller's FIFO of 16 takes in one go, so that the
 * chip stays selected throughout. Runs from RAM, for meanwhile no code can be fetched from the flash.
 * UNVERIFIED on a chip: the emulator has no such controller. A flash without 4Bh answers with zeros or ones. */
__attribute__((section(".ram_code"), noinline)) static void read_flash_id(uint8_t id[13])
{
    uint32_t execute_in_place = REG(SSI_CTRLR0);
    REG(SSI_SSIENR) = 0;
    REG(SSI_CTRLR0) = 7u << 16;  /* 8 bits, both ways at once */
    REG(SSI_SSIENR) = 1;
    REG(SSI_DR0) = 0x4b;
    for (int i = 1; i < 13; i++) {
        REG(SSI_DR0) = 0;
    }
    for (int i = 0; i < 13; i++) {
        for (int patience = 10000; patience && !REG(SSI_RXFLR); patience--) {
        }
        id[i] = (uint8_t)REG(SSI_DR0);
    }
    REG(SSI_SSIENR) = 0;
    REG(SSI_CTRLR0) = execute_in_place;
    REG(SSI_SSIENR) = 1;
}

void flash_serial(char text[SERIAL_TEXT])
{
    uint8_t id[13];
    read_flash_id(id);
    for (int i = 0; i < 16; i++) {
        text[i] = "0123456789ABCDEF"[id[5 + i / 2] >> (i % 2 ? 0 : 4) & 15];
    }
    text[16] = 0;
}
