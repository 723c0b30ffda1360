"""Tags and cover art: read from any file that FFmpeg knows, written into those that can hold them.

Only what is true of a stem as well is taken: title, artist, album and the like. What describes the sound of the song
itself is not: its loudness (ReplayGain, iTunNORM), its encoder's delay, its fingerprints.
"""

import base64
import contextlib
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import av
from mutagen.aiff import AIFF
from mutagen.flac import FLAC, Picture
from mutagen.id3 import APIC, COMM, ID3, Frames, PictureType
from mutagen.mp3 import MP3
from mutagen.mp4 import MP4, MP4Cover, MP4FreeForm
from mutagen.oggopus import OggOpus
from mutagen.oggvorbis import OggVorbis
from mutagen.wave import WAVE

_log = logging.getLogger(__name__)

_MAX_COVER_BYTES = 16_000_000
_MAX_TEXT = 4000  # characters: longer ones are no tags but lyrics and logs
_COVER_PACKETS = 50  # a cover comes before the sound
_MIMES = {"mjpeg": "image/jpeg", "png": "image/png"}


@dataclass(frozen=True)
class _Field:
    """How the formats call a field: what FFmpeg reads it as, the ID3 frame, and the MP4 atom."""

    read_as: tuple[str, ...]
    id3: str
    mp4: str


_FREE = "----:com.apple.iTunes:"
_FIELDS = {
    "title": _Field(("title",), "TIT2", "\xa9nam"),
    "artist": _Field(("artist",), "TPE1", "\xa9ART"),
    "albumartist": _Field(("album_artist", "albumartist"), "TPE2", "aART"),
    "album": _Field(("album",), "TALB", "\xa9alb"),
    "date": _Field(("date", "year", "tyer", "tdrc"), "TDRC", "\xa9day"),
    "tracknumber": _Field(("track", "tracknumber"), "TRCK", "trkn"),
    "discnumber": _Field(("disc", "discnumber"), "TPOS", "disk"),
    "genre": _Field(("genre",), "TCON", "\xa9gen"),
    "composer": _Field(("composer",), "TCOM", "\xa9wrt"),
    "copyright": _Field(("copyright",), "TCOP", "cprt"),
    "comment": _Field(("comment",), "COMM", "\xa9cmt"),
    "bpm": _Field(("bpm", "tbpm", "tmpo"), "TBPM", "tmpo"),
    "isrc": _Field(("isrc", "tsrc"), "TSRC", _FREE + "ISRC"),
    "label": _Field(("label", "publisher", "tpub", "organization"), "TPUB", _FREE + "LABEL"),
    "key": _Field(("initialkey", "initial_key", "tkey", "key"), "TKEY", _FREE + "initialkey"),
}
_WAV_WORDS = ("title", "artist", "album", "date", "genre", "comment", "copyright", "tracknumber")


@dataclass(frozen=True)
class Cover:
    """A picture: "image/jpeg" or "image/png", and its bytes."""

    mime: str
    data: bytes


@dataclass(frozen=True)
class Tags:
    """What a file says about a song.

    Attributes:
        fields: text by name: title, artist, albumartist, album, date, tracknumber ("3" or "3/12"), discnumber, genre,
            composer, copyright, comment, bpm, isrc, label, key.
        cover: the picture, if there is one.
    """

    fields: Mapping[str, str] = field(default_factory=dict)
    cover: Cover | None = None

    def __bool__(self) -> bool:
        """Whether there is anything."""
        return bool(self.fields) or self.cover is not None

    def for_stem(self, stem: str, title: str | None = None) -> "Tags":
        """Give the tags of a stem: those of the song with the stem in the title.

        Args:
            stem: name of the stem.
            title: taken where the song has none; without it, the stem's name alone is the title.

        >>> Tags({"title": "Falcon 69"}).for_stem("vocals").fields["title"]
        'Falcon 69 (vocals)'
        """
        song = self.fields.get("title", title)
        return replace(self, fields={**self.fields, "title": f"{song} ({stem})" if song else stem})

    def wav_words(self) -> dict[str, str]:
        """Give what the INFO chunk of a WAV file can hold, as libsndfile calls it."""
        return {name: self.fields[name] for name in _WAV_WORDS if name in self.fields}


def read_tags(path: str | Path) -> Tags:
    """Read tags and cover; a file with none, or with damaged ones, gives none."""
    try:
        with av.open(str(Path(path).absolute()), metadata_errors="replace") as container:
            return tags_of(container)
    except (av.FFmpegError, OSError, ValueError) as error:
        _log.info("%s: no tags were read (%s)", path, error)
        return Tags()


def tags_of(container: Any) -> Tags:
    """Read tags and cover of a container that PyAV has opened."""
    spoken: dict[str, str] = {}
    # Ogg files keep them with the stream.
    for source in (*container.streams.audio[:1], container):
        spoken.update({key.lower(): text for key, text in source.metadata.items()})
    fields = {}
    for name, known in _FIELDS.items():
        texts = (_clean(spoken.get(key, "")) for key in known.read_as)
        if text := next(filter(None, texts), ""):
            fields[name] = text
    return Tags(fields, _cover(container))


def write_tags(path: Path, tags: Tags, file_format: str) -> None:
    """Write tags and cover into a file, over those it has; RF64 files have their words already, and W64 files none.

    Raises:
        mutagen.MutagenError: the file cannot be written.
    """
    if tags and file_format in _WRITERS:
        _WRITERS[file_format](path, tags)


def _clean(text: str) -> str:
    text = text.replace("\0", " ").replace("\N{REPLACEMENT CHARACTER}", "").strip()
    return text if len(text) <= _MAX_TEXT else ""


def _cover(container: Any) -> Cover | None:
    pictures = {
        stream.index: _MIMES[stream.codec_context.name]
        for stream in container.streams.video
        if stream.codec_context is not None
        and stream.codec_context.name in _MIMES
        and stream.disposition & av.stream.Disposition.attached_pic
    }
    if not pictures:
        return None
    with contextlib.suppress(av.FFmpegError):
        for _, packet in zip(range(_COVER_PACKETS), container.demux(), strict=False):
            if packet.stream.index in pictures and 0 < packet.size <= _MAX_COVER_BYTES:
                return Cover(pictures[packet.stream.index], bytes(packet))
    return None


def _write_id3(kind: Callable[[Path], Any], path: Path, tags: Tags) -> None:
    file = kind(path)
    if file.tags is None:
        file.add_tags()
    id3: ID3 = file.tags
    for name, text in tags.fields.items():
        if name == "comment":
            id3.add(COMM(encoding=3, lang="XXX", desc="", text=[text]))
        else:
            id3.add(Frames[_FIELDS[name].id3](encoding=3, text=[text]))
    if tags.cover is not None:
        id3.add(APIC(encoding=3, mime=tags.cover.mime, type=PictureType.COVER_FRONT, desc="", data=tags.cover.data))
    id3.update_to_v23()  # which everything that plays files can read
    file.save(v2_version=3)


def _write_vorbis(kind: Callable[[Path], Any], path: Path, tags: Tags) -> None:
    file = kind(path)
    if file.tags is None:
        file.add_tags()
    for name, text in tags.fields.items():
        file[name] = [text]
    if tags.cover is not None:
        picture = Picture()
        picture.type, picture.mime, picture.data = PictureType.COVER_FRONT, tags.cover.mime, tags.cover.data
        if isinstance(file, FLAC):
            file.add_picture(picture)
        else:
            file["metadata_block_picture"] = [base64.b64encode(picture.write()).decode("ascii")]
    file.save()


def _write_mp4(path: Path, tags: Tags) -> None:
    file = MP4(path)
    if file.tags is None:
        file.add_tags()
    for name, text in tags.fields.items():
        atom = _FIELDS[name].mp4
        if atom.startswith(_FREE):
            file[atom] = [MP4FreeForm(text.encode("utf-8"))]
        elif atom in ("trkn", "disk", "tmpo"):
            if (numbers := re.fullmatch(r"(\d{1,4})(?:\.\d+)?(?:/(\d{1,4}))?", text)) is not None:
                first, last = int(numbers[1]), int(numbers[2] or 0)
                file[atom] = [first] if atom == "tmpo" else [(first, last)]
            if atom == "tmpo":
                file[_FREE + "BPM"] = [MP4FreeForm(text.encode("utf-8"))]  # FFmpeg does not read the other
        else:
            file[atom] = [text]
    if tags.cover is not None:
        kind = MP4Cover.FORMAT_PNG if tags.cover.mime == "image/png" else MP4Cover.FORMAT_JPEG
        file["covr"] = [MP4Cover(tags.cover.data, imageformat=kind)]
    file.save()


_WRITERS: dict[str, Callable[[Path, Tags], None]] = {
    "wav": lambda path, tags: _write_id3(WAVE, path, tags),
    "aiff": lambda path, tags: _write_id3(AIFF, path, tags),
    "mp3": lambda path, tags: _write_id3(MP3, path, tags),
    "flac": lambda path, tags: _write_vorbis(FLAC, path, tags),
    "ogg": lambda path, tags: _write_vorbis(OggVorbis, path, tags),
    "opus": lambda path, tags: _write_vorbis(OggOpus, path, tags),
    "alac": _write_mp4,
    "m4a": _write_mp4,
    "stem.mp4": _write_mp4,
    "stem.alac": _write_mp4,
}
