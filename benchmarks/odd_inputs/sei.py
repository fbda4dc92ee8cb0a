"""Messages that cameras and broadcasters put between the pictures of H.264 and H.265, byte by byte."""

from __future__ import annotations

from pathlib import Path

from benchmarks.odd_inputs.material import Make

_REGISTERED = 4
"""Payload type: user data registered by ITU-T T.35."""
CAPTIONS = bytes.fromhex("b5 0031 47413934 03 c1 ff fc 9420 ff")
"""ATSC A/53: one pair of line 21, "resume caption loading"."""


class _Bits:
    """Numbers of any width, the highest bit first."""

    def __init__(self) -> None:
        self._bits = ""

    def add(self, value: int, width: int) -> None:
        self._bits += f"{value:0{width}b}"

    def bytes(self) -> bytes:
        padded = self._bits + "0" * (-len(self._bits) % 8)
        return bytes(int(padded[at : at + 8], 2) for at in range(0, len(padded), 8))


def _hdr10_plus() -> bytes:
    """SMPTE ST 2094-40 with one window, no tone curve."""
    bits = _Bits()
    for value, width in (
        (0xB5, 8),  # country
        (0x003C, 16),  # provider
        (0x0001, 16),  # the provider's own code
        (4, 8),  # application
        (1, 8),  # its version
        (1, 2),  # windows
        (4000, 27),  # luminance of the display
        (0, 1),  # no actual peak luminance of the display
        (10000, 17),  # brightest of each channel
        (10000, 17),
        (10000, 17),
        (5000, 17),  # average
        (1, 4),  # percentiles
        (99, 7),
        (9000, 17),
        (0, 10),  # bright pixels
        (0, 1),  # no actual peak luminance of the master
        (0, 1),  # no tone curve
        (0, 1),  # no saturation
    ):
        bits.add(value, width)
    return bits.bytes()


HDR10_PLUS = _hdr10_plus()


def with_sei(name: str, payload: bytes, *, hevc: bool = False) -> Make:
    """Put a message before each picture of a raw stream."""

    def make(folder: Path) -> None:
        path = folder / name
        path.write_bytes(_inserted(path.read_bytes(), _unit(payload, hevc), hevc))

    return make


def _unit(payload: bytes, hevc: bool) -> bytes:
    body = bytes([_REGISTERED, len(payload)]) + payload + b"\x80"
    safe = bytearray()
    for byte in body:
        if safe[-2:] == b"\0\0" and byte <= 3:
            safe.append(3)  # so that nothing looks like a start code
        safe.append(byte)
    return b"\0\0\0\1" + (bytes([39 << 1, 1]) if hevc else b"\x06") + bytes(safe)


def _inserted(stream: bytes, unit: bytes, hevc: bool) -> bytes:
    made = b""
    for part in stream.split(b"\0\0\1")[1:]:
        kind = part[0] >> 1 & 0x3F if hevc else part[0] & 0x1F
        first = part[2] & 0x80 if hevc else part[1] & 0x80
        picture = kind < 32 if hevc else kind in (1, 5)
        made += (unit if picture and first else b"") + b"\0\0\1" + part
    return made
