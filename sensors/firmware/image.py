"""Seals the boot block of a raw flash image with its checksum and packs the image for the RPI-RP2 drive (UF2)."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

FLASH = 0x10000000
BOOT_BLOCK = 256
SECTOR = 4096  # the boot ROM erases by sectors: a part of one would leave the rest of it undefined
UF2_DATA = 256
UF2_HEADER = struct.Struct("<8I")
UF2_MAGIC = 0x0A324655, 0x9E5D5157, 0x0AB16F30
UF2_HAS_FAMILY = 0x2000
RP2040_FAMILY = 0xE48BFF56


def boot_checksum(block: bytes) -> int:
    """Return the CRC-32 the boot ROM computes: polynomial 04C11DB7, highest bit first, from all ones, not inverted."""
    crc = 0xFFFFFFFF
    for byte in block:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc >> 31 else 0)) & 0xFFFFFFFF
    return crc


def sealed(raw: bytes) -> bytes:
    """Return the image with the boot block's checksum, filled up to whole sectors."""
    block = raw[: BOOT_BLOCK - 4]
    image = block + struct.pack("<I", boot_checksum(block)) + raw[BOOT_BLOCK:]
    return image + bytes(-len(image) % SECTOR)


def uf2(image: bytes) -> bytes:
    """Return the image as UF2 blocks of 512 bytes, each with 256 bytes of it."""
    blocks = len(image) // UF2_DATA
    return b"".join(
        UF2_HEADER.pack(*UF2_MAGIC[:2], UF2_HAS_FAMILY, FLASH + at, UF2_DATA, at // UF2_DATA, blocks, RP2040_FAMILY)
        + image[at : at + UF2_DATA].ljust(476, b"\0")
        + struct.pack("<I", UF2_MAGIC[2])
        for at in range(0, len(image), UF2_DATA)
    )


def main(raw: str, binary: str, packed: str) -> None:
    """Read the raw image; write the sealed one and its UF2."""
    image = sealed(Path(raw).read_bytes())
    Path(binary).write_bytes(image)
    Path(packed).write_bytes(uf2(image))


if __name__ == "__main__":
    main(*sys.argv[1:])
