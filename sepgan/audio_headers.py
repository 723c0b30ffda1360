"""What headers promise and libsndfile does not tell: whether a file is whole, and whether it states its length."""

from pathlib import Path

_UNKNOWN_RIFF_SIZE = 0x7FFFF000  # programs that write WAV into a pipe put this or more where the size would be


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
    """Whether the last Ogg page carries the end-of-stream flag; pages are at most 65307 bytes long."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 65307))
        tail = file.read()
    page = tail.rfind(b"OggS")
    return 0 <= page < len(tail) - 5 and bool(tail[page + 5] & 4)


def missing_riff_bytes(path: Path) -> int:
    """Bytes that the data chunk of a WAV file declares and the file does not have; libsndfile hides the difference."""
    with path.open("rb") as file:
        file.seek(12)
        while len(header := file.read(8)) == 8:
            size = int.from_bytes(header[4:], "little")
            if header[:4] == b"data":
                known = size < _UNKNOWN_RIFF_SIZE
                return max(0, file.tell() + size - path.stat().st_size) if known else 0
            file.seek(size + size % 2, 1)
    return 0
