// Runs a firmware in rp2040js against an imitated sensor and writes what the port sent to a file.
//   npm install rp2040js   (anywhere outside the repository; run node from there)
//   node emulate.mjs echo-edge-iis3dwb.uf2 iis3dwb 3000000 SECONDS OUT [AT_S:HEX | AT_S:hold | AT_S:go | AT_S:doze] ...
// Each sample is its own number: x = k, y = -k, z = 1000. At AT_S, HEX goes to the firmware; from hold to go the port
// sends nothing, as a stuck wire would; doze stops the processor for 40 ms, longer than a sensor's FIFO lasts.
// Not imitated: the boot ROM, the flash chip's id, the time that a read of the flash takes.
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
const { Simulator } = createRequire(process.cwd() + "/")("rp2040js");

const [, , uf2, sensor, baud, seconds, out, ...script] = process.argv;
const { clock, rp2040: mcu } = new Simulator();
const image = readFileSync(uf2);
for (let at = 0; at < image.length; at += 512)
  mcu.flash.set(image.subarray(at + 32, at + 288), image.readUInt32LE(at + 12) - 0x10000000);

const IIS = sensor === "iis3dwb";
const RATE = IIS ? 26667 : 4000, DEPTH = IIS ? 512 : 32, WATERMARK = IIS ? 128 : 16;
let startNs = -1, read = 0, overrun = false;
const waiting = () => {
  if (startNs < 0) return 0;
  const taken = Math.floor(((clock.nanos - startNs) * RATE) / 1e9);
  if (taken - read > DEPTH) [overrun, read] = [true, taken - DEPTH];
  return taken - read;
};
const axes = (k) => [k, -k, 1000];
let address = -1, reading = false, offset = 0; // of the transfer that is under way
const lost = () => { waiting(); const was = overrun; overrun = false; return was; };
const fifo = (byte, isLast, isFirst) => {
  const value = IIS ? axes(read)[(byte - 1) >> 1] : axes(read)[Math.floor(byte / 3)] << 4;
  if (isLast) read++;
  if (IIS) return byte === 0 ? 2 << 3 : (byte % 2 ? value : value >> 8) & 0xff;
  return ((value >> (16 - 8 * (byte % 3))) & 0xff) | (isFirst ? 1 : 0);
};
const answer = () => {
  if (IIS && address >= 0x78) return fifo((offset - 1) % 7, (offset - 1) % 7 === 6);
  if (!IIS && address === 0x11) return fifo((offset - 1) % 9, (offset - 1) % 9 === 8, (offset - 1) % 9 === 2);
  if (IIS) return { 0x0f: 0x7b, 0x3a: waiting() & 0xff }[address] ?? (waiting() >> 8) | (lost() ? 0x48 : 0);
  return { 0: 0xad, 1: 0x1d, 2: 0xed, 5: waiting() * 3 }[address] ?? (lost() ? 4 : 0);
};
mcu.gpio[17].addListener(() => { address = -1; offset = 0; });
mcu.spi[0].onTransmit = (byte) => {
  let reply = 0;
  if (address < 0) [address, reading] = IIS ? [byte & 0x7f, byte > 0x7f] : [byte >> 1, !!(byte & 1)];
  else if (reading) { reply = answer(); if (IIS ? address < 0x78 : address !== 0x11) address++; }
  else if (IIS ? address === 0x10 && byte === 0xa4 : address === 0x2d && byte === 0) startNs = clock.nanos;
  offset++;
  clock.createAlarm(() => mcu.spi[0].completeTransmit(reply)).schedule(896); // 8 bits at 8.9 MHz
};

const sent = [], coming = [];
let held = false;
const room = clock.createAlarm(() => held || mcu.dma.setDREQ(20)); // the emulator's UART takes bytes at any speed
mcu.uart[0].onByte = (byte) => { sent.push(byte); mcu.dma.clearDREQ(20); room.schedule(1e10 / baud); };
const arrive = clock.createAlarm(() => { // nor does it ask the DMA to fetch what came
  if (!coming.length) return;
  mcu.uart[0].feedByte(coming.shift());
  mcu.dma.setDREQ(21);
  mcu.dma.clearDREQ(21); // one byte, one transfer
  arrive.schedule(1e10 / baud);
});
const steps = script.map((step) => step.split(":")).sort((a, b) => a[0] - b[0]);
mcu.core.SP = 0x20041f00;
mcu.core.LR = 0; // as the boot ROM calls the boot block
mcu.core.PC = 0x10000000;
for (let count = 0; clock.nanos < seconds * 1e9; count++) {
  clock.tick(mcu.core.executeInstruction() * 8);
  if (count % 256) continue;
  mcu.gpio[20].setInputValue(waiting() >= WATERMARK);
  if (!steps.length || clock.nanos < steps[0][0] * 1e9 || address >= 0) continue; // never within a transfer
  const what = steps.shift()[1];
  if (what === "hold") held = true;
  else if (what === "go") { held = false; mcu.dma.setDREQ(20); }
  else if (what === "doze") clock.tick(4e7);
  else { coming.push(...Buffer.from(what, "hex")); arrive.schedule(0); }
}
writeFileSync(out, Buffer.from(sent));
const { uart, spi } = mcu;
console.log(`${sent.length} bytes, ${uart[0].baudRate} baud, ${read} samples over SPI at ${spi[0].clockFrequency} Hz`);
