/* Second-stage boot block: the boot ROM copies these 256 bytes to RAM and runs them, if the checksum in the last four
 * is right (image.py puts it there). It lets code be fetched from the flash with the plain read command 03h, one data
 * line at 31 MHz: every flash chip on an RP2040 board knows it, and the cache holds this whole firmware.
 * UNVERIFIED on a chip: the emulator ran these instructions but imitates neither the ROM nor the flash. */
    .syntax unified
    .cpu cortex-m0plus
    .thumb
    .section .boot, "ax"
    .global boot
    .thumb_func
boot:
    push {lr}
    ldr r3, =0x18000000         @ XIP_SSI
    movs r0, #0
    str r0, [r3, #0x08]         @ SSIENR: off while it is set up
    movs r1, #4
    str r1, [r3, #0x14]         @ BAUDR: 125 MHz / 4
    ldr r1, =(31 << 16 | 3 << 8)
    str r1, [r3, #0x00]         @ CTRLR0: 32 bits a frame, command and address then data ("EEPROM read"), one line
    str r0, [r3, #0x04]         @ CTRLR1: one frame a read
    ldr r1, =(0x03 << 24 | 2 << 8 | 6 << 2)
    ldr r2, =0x180000f4
    str r1, [r2]                @ SPI_CTRLR0: command 03h, 8 bits of command, 24 of address
    movs r1, #1
    str r1, [r3, #0x10]         @ SER: the flash's select line
    str r1, [r3, #0x08]         @ SSIENR: on
    pop {r0}
    cmp r0, #0                  @ the ROM's boot comes with 0 here; a caller wants to go on after its call
    beq 1f
    bx r0
1:  ldr r0, =0x10000100
    ldr r1, =0xe000ed08         @ VTOR
    str r0, [r1]
    ldmia r0!, {r1, r2}
    msr msp, r1
    bx r2
    .ltorg
