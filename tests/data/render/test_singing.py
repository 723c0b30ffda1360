"""Singing laid over songs: in key, on beats, and never two phrases at once."""

import shutil
from dataclasses import replace
from pathlib import Path

import librosa
import mido
import numpy as np
import pytest

from sepgan import audio
from sepgan.data.augment import Tags, match
from sepgan.data.augment.matching import estimate_key
from sepgan.data.render import fluidsynth, midi, singing
from sepgan.data.render.performance import PLAIN, draw
from sepgan.data.render.singing import Placed, Recording, listen, place, sing
from sepgan.data.render.song import RenderSettings, SoundFont, plan_jobs, render_song, sha256_of
from sepgan.errors import DatasetError
from tests import synth
from tests.data.render.instruments import midi_file, soundfont

SCALE = (0, 2, 4, 5, 7, 9, 11, 12, 7, 4, 0)  # semitones of a major scale, from its tonic
RATE = 22050


def _sung_scale(path: Path, tonic: int) -> Path:
    """Two phrases with a pause between: the scale up and down, and the tonic chord, as plain harmonic tones."""
    phrases = [SCALE, (0, 4, 7, 0)]
    pieces = []
    for notes in phrases:
        for note in notes:
            pitch_hz = 440 * 2 ** ((tonic + note - 69) / 12)
            tones = [synth.tone(k * pitch_hz, 0.4, sample_rate=RATE, channels=1) / k for k in range(1, 5)]
            pieces.append(0.3 * sum(tones[1:], tones[0]))
        pieces.append(np.zeros((1, RATE), np.float32))
    return synth.write(path, np.concatenate(pieces, 1), sample_rate=RATE)


def _recording(key: int, phrases: tuple[tuple[float, float], ...] = ((0.0, 2.0), (3.0, 4.5))) -> Recording:
    return Recording(Path(f"{key}.wav"), str(key), Tags(key=key), phrases)


@pytest.mark.parametrize("tonic", [0, 3, 7, 10])
def test_keys_are_told_by_pitch_classes(tonic: int) -> None:
    major = np.zeros(12)
    for note, weight in zip(SCALE, (3, 1, 2, 1, 2, 1, 1, 2, 1, 1, 3), strict=True):
        major[(tonic + note) % 12] += weight
    assert estimate_key(major) == Tags(key=tonic, minor=False)
    minor = np.zeros(12)
    for note, weight in zip((0, 2, 3, 5, 7, 8, 10), (3, 1, 2, 1, 2, 1, 1), strict=True):
        minor[(tonic + note) % 12] += weight
    assert estimate_key(minor) == Tags(key=tonic, minor=True)
    assert estimate_key(np.ones(12)) == Tags()


def test_listening_finds_key_and_phrases(tmp_path: Path) -> None:
    recording = listen(_sung_scale(tmp_path / "voice.wav", 62), "digest")
    assert recording is not None
    assert recording.tags == Tags(key=2, minor=False)
    found = [second for phrase in recording.phrases for second in phrase]
    assert found == pytest.approx([0.0, 4.4, 5.4, 7.0], abs=0.15)
    silence = synth.write(tmp_path / "silence.wav", np.zeros((1, RATE), np.float32), sample_rate=RATE)
    assert listen(silence, "digest") is None


def test_phrases_begin_on_beats_and_do_not_overlap() -> None:
    beats = [0.5 * number for number in range(200)]
    recordings = [_recording(key) for key in (0, 2, 5)]
    placed = place(recordings, Tags(key=1), beats, 60.0, np.random.default_rng(0))
    assert placed == place(recordings, Tags(key=1), beats, 60.0, np.random.default_rng(0))
    assert len(placed) > 8
    ends = [phrase.at_s + phrase.end_s - phrase.start_s for phrase in placed]
    assert all(phrase.at_s in beats for phrase in placed)
    assert all(end + singing._GAPS_S[0] <= phrase.at_s for end, phrase in zip(ends, placed[1:], strict=False))
    assert max(ends) <= 60
    # Five semitones is too far for the recording in F.
    assert {(phrase.recording.tags.key, phrase.semitones) for phrase in placed} == {(0, 1), (2, -1)}


def test_no_recording_in_a_fitting_key_means_no_vocals() -> None:
    assert place([_recording(0)], Tags(key=6), [0.0, 1.0], 60.0, np.random.default_rng(0)) == []


def test_the_voice_is_shifted_and_put_in_its_place(tmp_path: Path) -> None:
    path = synth.write(tmp_path / "voice.wav", synth.tone(440.0, 4.0, sample_rate=RATE, channels=1), sample_rate=RATE)
    recording = Recording(path, "digest", Tags(key=9), ((0.5, 2.5),))
    placed = [Placed(recording, 0.5, 2.5, 1.0, 2)]
    voice = sing(placed, 5 * RATE, RATE, np.random.default_rng(0))
    assert voice.shape == (2, 5 * RATE)
    assert np.abs(voice[:, : RATE - 10]).max() < 1e-4
    middle = voice[0, round(1.5 * RATE) : round(2.5 * RATE)]
    strongest_hz = np.argmax(np.abs(np.fft.rfft(middle * np.hanning(middle.size))))
    assert strongest_hz == pytest.approx(440 * 2 ** (2 / 12), abs=1.5)
    assert np.abs(voice[:, round(4.9 * RATE) :]).max() < 0.1 * np.abs(voice).max()


def test_beats_follow_the_tempo_of_file_and_performance(tmp_path: Path) -> None:
    path = midi_file(
        tmp_path / "song.mid", [(0, 45, 0, 5)], extra=[(2, mido.MetaMessage("set_tempo", tempo=1_000_000))]
    )
    plain = draw("song", 0, 0, 1, midi.STEMS, PLAIN)
    score = midi.read(path)
    assert midi.beats_s(score, plain) == pytest.approx([0, 0.5, 1, 2, 3, 4])
    assert midi.beats_s(score, replace(plain, tempo=2.0)) == pytest.approx([0, 0.25, 0.5, 1, 1.5, 2])


def test_a_song_gets_vocals_in_its_key(tmp_path: Path) -> None:
    """The song is in C sharp, the recording in C: it must come out a semitone higher."""
    if shutil.which(fluidsynth.PROGRAM) is None:
        pytest.skip("needs fluidsynth")
    notes = [(1, 61 + note, 2 * index, 2.0) for index, note in enumerate(SCALE)]
    midi_file(tmp_path / "midi/song.mid", [*notes, (9, 38, 0, 1)])
    font = soundfont(tmp_path / "saw.sf2")
    recording = listen(_sung_scale(tmp_path / "voice.wav", 60), "digest")
    assert recording is not None
    settings = RenderSettings((SoundFont(font, sha256_of(font)),), ranges=PLAIN, recordings=(recording,))
    (job,) = plan_jobs(tmp_path / "midi", 1)
    render_song(job, tmp_path / "out", settings, fluidsynth.find_synthesiser())
    vocals, other = (
        audio.read(tmp_path / f"out/song/{stem}.flac", sample_rate=RATE)[0] for stem in ("vocals", "other")
    )
    assert vocals.shape == other.shape
    chroma = librosa.feature.chroma_stft(y=vocals.mean(0), sr=RATE, n_fft=4096).sum(1)
    found = match(estimate_key(chroma), Tags(key=1))
    assert found is not None
    assert found.pitch == pytest.approx(1.0)


def test_a_folder_without_recordings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no recording of singing"):
        singing.find(tmp_path)
