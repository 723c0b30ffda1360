"""Cut excerpts from the files themselves, where there is no room for decoded ones: seek, and decode no more than asked.

libsndfile seeks to a sample in WAV, FLAC, Ogg and MP3. In containers, such as `.stem.mp4`, PyAV seeks to the packet
before it; only the one stream that is asked for is decoded. The samples there equal those of a decoded file but for the
noise that AAC fills in, which depends on what was decoded before.
"""

from __future__ import annotations

from typing import Any

import av
import numpy as np
import soundfile
from numpy.typing import NDArray

from sepgan import audio
from sepgan.data.track import AudioSource
from sepgan.errors import AudioError

_PREROLL = 4096  # samples decoded and thrown away after a seek: MDCT codecs need the frame before, and AAC starts late


class DirectSamples:
    """Sound within a file.

    Args:
        source: The file and its stream.

    Raises:
        AudioError: The file cannot be opened, or states no length.
    """

    def __init__(self, source: AudioSource) -> None:
        self.source = source
        found = audio.probe(source.path, source.stream)
        if found.frames is None:
            raise AudioError(f"'{source.path}' states no length, so none can be cut from it: use data.decode=once")
        self.channels = found.channels
        self.mono = found.channels == 1
        self._length = found.frames

    def __len__(self) -> int:
        """Number of samples T."""
        return self._length

    def window(self, start: int, stop: int) -> NDArray[Any]:
        """Decode samples `[C, n]` as float32.

        Raises:
            AudioError: The file has gone or is damaged there.
        """
        stop = min(stop, self._length)
        if self.source.stream is None:
            try:
                with soundfile.SoundFile(self.source.path) as file:
                    file.seek(start)
                    samples = file.read(stop - start, dtype="float32", always_2d=True).T
            except soundfile.SoundFileError:
                samples = self._packets(0, start, stop)
        else:
            samples = self._packets(self.source.stream, start, stop)
        if samples.shape[1] < stop - start - _PREROLL:
            raise AudioError(f"'{self.source.path}' is cut off near sample {start + samples.shape[1]}: fetch it again")
        return np.asarray(samples)

    def peak(self, start: int, stop: int) -> float:
        """Return 1: whether a place is silent is known only after decoding it."""
        return 1.0

    def _packets(self, number: int, start: int, stop: int) -> NDArray[np.float32]:
        pieces: list[NDArray[np.float32]] = []
        try:
            with av.open(str(self.source.path)) as container:
                stream = container.streams.audio[number]
                rate = stream.rate
                assert stream.time_base is not None
                per_sample = 1 / (rate * stream.time_base)  # ticks
                if start > _PREROLL:
                    container.seek(int((start - _PREROLL) * per_sample), stream=stream, backward=True)
                to_float = av.AudioResampler(format="fltp")
                for frame in container.decode(stream):
                    if frame.pts is None:
                        raise AudioError(f"'{self.source.path}' has no time stamps: use data.decode=once")
                    position = round(frame.pts / per_sample)
                    if position >= stop:
                        break
                    if position + frame.samples <= start:
                        continue
                    if frame.format.name != "fltp":
                        (frame,) = to_float.resample(frame)
                    pieces.append(frame.to_ndarray()[:, max(0, start - position) : stop - position])
        except (av.FFmpegError, IndexError) as error:
            raise AudioError(f"'{self.source.path}' cannot be decoded at sample {start}: {error}") from error
        if not pieces:
            return np.zeros((self.channels, 0), dtype=np.float32)
        return np.concatenate(pieces, axis=1)
