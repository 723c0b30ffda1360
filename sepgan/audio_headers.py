"""What headers hold and libsndfile neither tells nor sets: whether a file is whole, layouts, marks of time."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from mutagen.ogg import OggPage

_UNKNOWN_RIFF_SIZE = 0x7FFFF000  # programs that write WAV into a pipe put this or more where the size would be
_OGG_PAGE_BYTES = 65307  # the largest there is
_EXTENSIBLE = 0xFFFE  # the tag of a WAVE format chunk that has a channel mask, 20 bytes in


def has_mp3_length(path: Path) -> bool:
    """Whether the first MPEG frame is a Xing or Info header, the only place where an MP3 states its length."""
    with path.open("rb") as file:
        head = file.read(10)
        tag = head.startswith(b"ID3") and len(head) == 10
        # ID3v2 sizes are 28 bits, 7 in each byte.
        file.seek(10 + sum(byte << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True)) if tag else 0)
        frame = file.read(4096)
    return b"Xing" in frame or b"Info" in frame


def has_ogg_end(path: Path) -> bool:
    """Whether the last Ogg page carries the end-of-stream flag."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _OGG_PAGE_BYTES))
        tail = file.read()
    page = tail.rfind(b"OggS")
    return 0 <= page < len(tail) - 5 and bool(tail[page + 5] & 4)


def chunks(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Walk through the chunks of a RIFF, RF64 or FORM file: name, where the content begins, and its declared size."""
    file.seek(0)
    big_endian = file.read(4) == b"FORM"
    begin = 12
    while file.seek(begin) == begin and len(header := file.read(8)) == 8:
        size = int.from_bytes(header[4:], "big" if big_endian else "little")
        yield header[:4], begin + 8, size
        begin += 8 + size + size % 2


def missing_bytes(path: Path) -> int:
    """Bytes of samples that an uncompressed file declares and does not have; libsndfile reads what is there."""
    total = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] == b"riff":
            return _missing_w64_bytes(file, total)
        if head[:4] == b"caff":
            return _missing_caf_bytes(file, total)
        if head[:4] == b".snd":
            size = int.from_bytes(head[8:], "big")
            return max(0, int.from_bytes(head[4:8], "big") + size - total) if size < _UNKNOWN_RIFF_SIZE else 0
        if head[:4] not in (b"RIFF", b"RF64", b"FORM"):
            return 0
        large = 0
        for name, begin, size in chunks(file):
            if name == b"ds64":  # sizes of 64 bits: of the file, then of the samples
                file.seek(begin + 8)
                large = int.from_bytes(file.read(8), "little")
            elif name in (b"data", b"SSND"):
                size = large or size
                return max(0, begin + size - total) if large or size < _UNKNOWN_RIFF_SIZE else 0
    return 0


def _missing_w64_bytes(file: BinaryIO, total: int) -> int:
    """The same for Sony Wave64: names of 16 bytes, sizes of 8 that count the head, and content in steps of 8."""
    begin = 40
    while begin < total and file.seek(begin) == begin and len(header := file.read(24)) == 24:
        size = int.from_bytes(header[16:], "little")
        if header[:4] == b"data":
            return max(0, begin + size - total)
        begin += max(24, size + -size % 8)
    return 0


def _missing_caf_bytes(file: BinaryIO, total: int) -> int:
    """The same for Apple's Core Audio Format: names of 4 bytes, sizes of 8, where -1 is unknown."""
    begin = 8
    while begin < total and file.seek(begin) == begin and len(header := file.read(12)) == 12:
        size = int.from_bytes(header[4:], "big", signed=True)
        if header[:4] == b"data" or size < 0:
            return max(0, begin + 12 + size - total)
        begin += 12 + size
    return 0


def wave_frames(head: bytes) -> int | None:
    """Samples per channel that the head of a WAV file declares; None where it declares none, as in a pipe."""
    align = 0
    for name, begin, size in chunks(io.BytesIO(head)):
        if name == b"fmt ":
            align = int.from_bytes(head[begin + 12 : begin + 14], "little")
        elif name == b"data":
            return size // align if align and 0 < size < _UNKNOWN_RIFF_SIZE else None
    return None


def mp3_frames(head: bytes) -> int | None:
    """Samples per channel of an MP3 whose head has LAME's counts of frames and padding; None where it has not.

    A Xing or Info header has flags, then four fields that all encoders of this kind write, 120 bytes with its name;
    LAME's name follows, and 21 bytes on, two numbers of 12 bits (LAME project, *MP3 info tag, revision 1*, 2002).
    """
    found = max(head.find(b"Xing"), head.find(b"Info"))
    sync = head.rfind(b"\xff", 0, max(found - 8, 0))
    tag = head[found : found + 144]
    if found < 0 or sync < 0 or len(tag) < 144 or tag[7] & 15 != 15 or not tag[120:124].isalpha():
        return None
    samples = 1152 if head[sync + 1] >> 3 & 3 == 3 else 576  # in a frame: MPEG-1, or one of the two others
    delay, padding = tag[141] << 4 | tag[142] >> 4, (tag[142] & 15) << 8 | tag[143]
    return int.from_bytes(tag[8:12], "big") * samples - delay - padding


def index_comes_first(head: bytes) -> bool:
    """Whether the index of an MP4 file comes before its samples, so that it can be read from front to back."""
    begin = 0
    while begin + 8 <= len(head):
        size, name = int.from_bytes(head[begin : begin + 4], "big"), head[begin + 4 : begin + 8]
        if name in (b"moov", b"mdat") or size < 8:
            return name == b"moov"
        begin += size
    return True


def bytes_behind_data(path: Path) -> int:
    """Bytes behind the samples of a WAV file that no chunk accounts for: its header counts too few samples.

    Programs that are killed leave a size of zero, and files over 4 GB that are no RF64 the rest of a division.
    """
    total = path.stat().st_size
    with path.open("rb") as file:
        behind = False
        for name, begin, size in chunks(file):
            if behind and (begin + size > total + 1 or not name.replace(b"\0", b" ").isascii()):
                return total - (begin - 8)
            behind = behind or name == b"data"
    return 0


def clear_time_stamp(path: Path) -> None:
    """Zero the time of writing in the PEAK chunk of float files: the same samples must give the same bytes."""
    with path.open("r+b") as file:
        if file.read(4) not in (b"RIFF", b"RF64", b"FORM"):
            return
        for name, begin, _ in chunks(file):
            if name == b"PEAK":
                file.seek(begin + 4)  # behind the version
                file.write(bytes(4))
                return
            if name in (b"data", b"SSND"):
                return


def set_channel_mask(path: Path, mask: int) -> None:
    """Write the channel mask into a WAVE file that has room for one."""
    with path.open("r+b") as file:
        if file.read(4) not in (b"RIFF", b"RF64"):
            return
        for name, begin, size in chunks(file):
            if name == b"fmt ":
                file.seek(begin)
                if size >= 40 and int.from_bytes(file.read(2), "little") == _EXTENSIBLE:
                    file.seek(begin + 20)
                    file.write(mask.to_bytes(4, "little"))
                return


def pin_ogg_serial(path: Path) -> None:
    """Replace the random number that an Ogg file's stream is given: the same samples must give the same bytes."""
    with path.open("r+b") as file:
        while True:
            begin = file.tell()
            try:
                page = OggPage(file)
            except EOFError:
                return
            page.serial = 1
            file.seek(begin)
            file.write(page.write())
