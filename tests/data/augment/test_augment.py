"""Effects on stems: what each does, that seeds alone decide, and that a batch equals its items."""

import numpy as np
import pydantic
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchaudio import functional

from sepgan.data.augment import Augmenter, Drawn, Tags, Warp, draw, match
from sepgan.data.augment.codec import round_trip
from sepgan.data.augment.distortion import Distortion, distort
from sepgan.data.augment.filters import Band, Room, room_impulse
from sepgan.errors import UsageError
from sepgan.recipe import AugmentationRecipe
from tests import synth

SAMPLE_RATE = 44100
EXACT_DB = -100.0  # float32, through a pair of transforms
ALL = AugmentationRecipe(
    polarity=0.5,
    speed=0.5,
    pitch=0.5,
    tempo=0.5,
    distortion=0.5,
    eq=0.5,
    reverb=0.5,
    lowpass=0.5,
    quantise=0.5,
    codec=0.5,
)


def _apply(waveform: NDArray[np.float32], drawn: Drawn, sample_rate: int = SAMPLE_RATE) -> NDArray[np.float32]:
    augmenter = Augmenter(AugmentationRecipe(), sample_rate)
    return np.asarray(augmenter.apply(torch.from_numpy(waveform)[None], [drawn])[0].numpy())


def _difference_db(one: Tensor | NDArray[np.float32], other: Tensor | NDArray[np.float32]) -> float:
    first, second = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    return float(10 * np.log10(np.square(first - second).sum() / np.square(first).sum() + 1e-30))


def _peak_hz(waveform: NDArray[np.float32]) -> float:
    middle = waveform[:, waveform.shape[1] // 4 : -waveform.shape[1] // 4]
    spectrum = np.abs(np.fft.rfft(middle[0] * np.hanning(middle.shape[1]), 8 * middle.shape[1]))
    return float(np.argmax(spectrum) * SAMPLE_RATE / (8 * middle.shape[1]))


def _clicks(every_s: float, duration_s: float) -> NDArray[np.float32]:
    """Bursts of 5 ms, whose times can be found after a change of tempo."""
    samples = round(duration_s * SAMPLE_RATE)
    time_s = np.arange(samples) / SAMPLE_RATE
    burst = np.random.default_rng(0).standard_normal(samples) * ((time_s % every_s) < 0.005)
    return np.tile(0.3 * burst, (2, 1)).astype(np.float32)


def _click_period_s(waveform: NDArray[np.float32]) -> float:
    envelope = np.square(waveform[0]).cumsum()[::441]  # 100 a second
    pulses = np.diff(envelope) - np.diff(envelope).mean()
    spectrum = np.abs(np.fft.rfft(pulses * np.hanning(pulses.size), 1 << 16))
    rates_hz = np.fft.rfftfreq(1 << 16, 0.01)
    near = (rates_hz > 3.5) & (rates_hz < 7)
    return float(1 / rates_hz[near][np.argmax(spectrum[near])])


def test_an_empty_recipe_changes_nothing() -> None:
    config = AugmentationRecipe()
    crop = synth.noise(0.2)
    assert not config.active
    assert ALL.active
    changed = Augmenter(config, SAMPLE_RATE)(np.random.default_rng(0), crop)
    assert np.array_equal(changed, crop)


def test_draws_depend_on_the_seed_alone_and_each_effect_comes_as_often_as_asked() -> None:
    drawn = [draw(ALL, np.random.default_rng(seed)) for seed in range(400)]
    assert drawn == [draw(ALL, np.random.default_rng(seed)) for seed in range(400)]
    shares = {
        "polarity": np.mean([one.polarity == -1 for one in drawn]),
        "distortion": np.mean([one.distortion is not None for one in drawn]),
        "eq": np.mean([bool(one.bands) for one in drawn]),
        "reverb": np.mean([one.room is not None for one in drawn]),
        "lowpass": np.mean([one.lowpass_hz is not None for one in drawn]),
        "codec": np.mean([one.codec is not None for one in drawn]),
        "quantise": np.mean([one.bits is not None for one in drawn]),
    }
    assert all(share == pytest.approx(0.5, abs=0.1) for share in shares.values()), shares
    assert np.mean([not one.warp.active for one in drawn]) == pytest.approx(0.5**3, abs=0.05)  # three coins
    assert {one.codec[0] for one in drawn if one.codec} == {"mp3", "aac"}
    assert {one.bits for one in drawn if one.bits} == {8, 9, 10, 11, 12}
    for one in drawn:
        assert 6000 <= (one.lowpass_hz or 6000) <= 16000
        assert all(abs(band.gain_db) <= 6 for band in one.bands)
        assert one.distortion is None or 0 <= one.distortion.drive_db <= 30
        assert one.room is None or (0.2 <= one.room.decay_s <= 1.2 and -24 <= one.room.level_db <= -8)


def test_switching_one_effect_off_leaves_the_others_as_they_were() -> None:
    for seed in range(20):
        with_all = draw(ALL, np.random.default_rng(seed))
        without = draw(ALL.model_copy(update={"eq": 0.0, "pitch": 0.0}), np.random.default_rng(seed))
        assert without.bands == ()
        assert (without.room, without.lowpass_hz, without.codec) == (with_all.room, with_all.lowpass_hz, with_all.codec)


def test_crops_keep_shape_and_are_not_changed_in_place() -> None:
    augmenter = Augmenter(ALL, SAMPLE_RATE)
    for seed in range(8):
        crop = synth.noise(0.3, seed=seed)
        before = crop.copy()
        changed = augmenter(np.random.default_rng(seed), crop, frozenset({0}))
        assert changed.shape == crop.shape
        assert changed.dtype == np.float32
        assert np.isfinite(changed).all()
        assert np.array_equal(crop, before)
        assert np.array_equal(changed, augmenter(np.random.default_rng(seed), crop, frozenset({0})))


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_a_batch_equals_its_items(channels: int) -> None:
    config = ALL.model_copy(update={"codec": 0.0, "quantise": 0.0})
    augmenter = Augmenter(config, SAMPLE_RATE)
    waveforms = torch.from_numpy(np.stack([synth.noise(0.4, seed=seed, channels=channels) for seed in range(6)]))
    effects = [draw(config, np.random.default_rng(seed)) for seed in range(6)]
    together = augmenter.apply(waveforms, effects)
    for row in range(6):
        alone = augmenter.apply(waveforms[row : row + 1], effects[row : row + 1])[0]
        assert _difference_db(alone, together[row]) < EXACT_DB


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_device_gives_what_the_processor_gives() -> None:
    config = ALL.model_copy(update={"quantise": 0.0})
    augmenter = Augmenter(config, SAMPLE_RATE)
    waveforms = torch.from_numpy(np.stack([synth.noise(0.4, seed=seed) for seed in range(6)]))
    effects = [draw(config, np.random.default_rng(seed)) for seed in range(6)]
    on_device = augmenter.apply(waveforms.cuda(), effects).cpu()
    assert _difference_db(augmenter.apply(waveforms, effects), on_device) < -60


def test_polarity_nulls_with_the_original() -> None:
    crop = synth.noise(0.1)
    assert np.array_equal(_apply(crop, Drawn(polarity=-1)), -crop)


@pytest.mark.parametrize(
    ("band", "reference"),
    [
        (Band("peak", 1000.0, 6.0, 1.5), lambda x: functional.equalizer_biquad(x, SAMPLE_RATE, 1000.0, 6.0, 1.5)),
        (Band("peak", 200.0, -9.0, 0.7), lambda x: functional.equalizer_biquad(x, SAMPLE_RATE, 200.0, -9.0, 0.7)),
        (Band("low", 150.0, 6.0), lambda x: functional.bass_biquad(x, SAMPLE_RATE, 6.0, 150.0, 0.5**0.5)),
        (Band("high", 4000.0, -5.0), lambda x: functional.treble_biquad(x, SAMPLE_RATE, -5.0, 4000.0, 0.5**0.5)),
    ],
)
def test_equaliser_equals_torchaudio(band: Band, reference: object) -> None:
    crop = synth.noise(0.5)
    expected = reference(torch.from_numpy(crop).double() / 4) * 4  # type: ignore[operator]  # it clips at full scale
    assert _difference_db(expected, _apply(crop, Drawn(bands=(band,)))) < -80


def test_a_band_beyond_the_sample_rate_does_nothing() -> None:
    crop = synth.noise(0.2, sample_rate=16000)
    assert _difference_db(crop, _apply(crop, Drawn(bands=(Band("high", 9000.0, 6.0),)), 16000)) < EXACT_DB


def test_a_room_decays_as_it_says_and_is_no_louder() -> None:
    room = Room(decay_s=0.5, level_db=-10.0, damp_hz=6000.0, delay_s=0.02, seed=1)
    impulse = room_impulse(room, 2, SAMPLE_RATE)
    assert float(impulse.square().sum(1)[0]) == pytest.approx(10 ** (-10 / 10), rel=1e-3)
    assert float(impulse[:, : round(0.02 * SAMPLE_RATE)].abs().max()) == 0
    # Schroeder's integral of what is left: from -5 to -25 dB it falls as a decay of 60 dB in 0.5 s does.
    left = np.cumsum(np.square(functional.lowpass_biquad(impulse, SAMPLE_RATE, 1000.0).numpy()[0])[::-1])[::-1]
    level_db = 10 * np.log10(left / left[0])
    fall_s = (np.argmax(level_db < -25) - np.argmax(level_db < -5)) / SAMPLE_RATE
    assert fall_s * 3 == pytest.approx(0.5, rel=0.15)
    assert abs(np.corrcoef(impulse.numpy())[0, 1]) < 0.1  # wide
    dry = synth.noise(0.5)
    wet = _apply(dry, Drawn(room=room)) - dry
    assert 10 * np.log10(np.square(wet).mean() / np.square(dry).mean()) == pytest.approx(-10.5, abs=2)


def test_the_end_of_a_crop_does_not_return_at_its_beginning() -> None:
    crop = np.zeros((2, 22050), np.float32)
    crop[:, -100:] = 0.5
    room = Room(decay_s=1.0, level_db=0.0, damp_hz=8000.0, delay_s=0.0, seed=0)
    drawn = Drawn(room=room, bands=(Band("low", 60.0, 12.0),), lowpass_hz=4000.0)
    assert np.abs(_apply(crop, drawn)[:, :20000]).max() < 1e-5


def test_lowpass_cuts_what_is_above_and_keeps_what_is_below() -> None:
    low, high = synth.tone(2000.0, 0.5), synth.tone(9000.0, 0.5)
    crop = 0.5 * (low + high)
    filtered = _apply(crop, Drawn(lowpass_hz=6000.0))[:, 2000:-2000]
    assert _difference_db(0.5 * low[:, 2000:-2000], filtered) < -60


def test_an_amplifier_adds_the_difference_of_two_tones_played_together() -> None:
    """A power chord of 220 and 330 Hz gains its root an octave below, 110 Hz, which neither tone alone gains."""
    amplifier = Distortion(drive_db=24.0, speaker_hz=5000.0)
    tones = [synth.tone(hz, 1.0) for hz in (220.0, 330.0)]

    def level_db(waveform: NDArray[np.float32], hz: float) -> float:
        power = np.square(np.abs(np.fft.rfft(waveform[0])))
        return float(10 * np.log10(power[round(hz)] / power.sum() + 1e-12))  # bins of 1 Hz

    chord = _apply(tones[0] + tones[1], Drawn(distortion=amplifier))
    assert level_db(tones[0] + tones[1], 110.0) < -80
    assert level_db(chord, 110.0) > -30
    assert all(level_db(_apply(tone, Drawn(distortion=amplifier)), 110.0) < -80 for tone in tones)
    assert np.square(chord).mean() == pytest.approx(np.square(tones[0] + tones[1]).mean(), rel=1e-3)


def test_little_drive_changes_little_and_silence_stays() -> None:
    crop = synth.tone(440.0, 0.3)
    assert _difference_db(crop, distort(torch.from_numpy(crop), Distortion(-60.0, 20000.0), SAMPLE_RATE)) < -60
    silence = torch.zeros(2, 1001)
    assert torch.equal(distort(silence, Distortion(30.0, 5000.0), SAMPLE_RATE), silence)


def test_a_loudspeaker_gives_no_highest_frequencies() -> None:
    crop = synth.noise(0.5)
    heard = np.square(np.abs(np.fft.rfft(_apply(crop, Drawn(distortion=Distortion(30.0, 4000.0)))[0])))
    assert heard[4000:].sum() < 0.02 * heard.sum(), "above 8 kHz"


@pytest.mark.parametrize(
    ("warp", "pitch", "tempo"),
    [
        (Warp(2 ** (2 / 12), 1.0), 2 ** (2 / 12), 1.0),
        (Warp(2 ** (-3 / 12), 1.0), 2 ** (-3 / 12), 1.0),
        (Warp(1.0, 1.1), 1.0, 1.1),
        (Warp(1.06, 1.06), 1.06, 1.06),
        (Warp(0.94, 0.94), 0.94, 0.94),
    ],
)
def test_warp_sets_pitch_and_tempo_apart(warp: Warp, pitch: float, tempo: float) -> None:
    assert _peak_hz(_apply(synth.tone(440.0, 1.5), Drawn(warp=warp))) == pytest.approx(440 * pitch, rel=2e-3)
    period_s = _click_period_s(_apply(_clicks(0.2, 4.0), Drawn(warp=warp)))
    assert period_s == pytest.approx(0.2 / tempo, rel=0.02)


def test_speed_alone_uses_no_phase_vocoder() -> None:
    """Resampling is clean; a phase vocoder smears drums and must only be used where pitch and tempo differ."""
    assert Warp(1.06, 1.06).stretch == 1.0
    assert Warp(1.06, 1.0).stretch != 1.0


def test_a_shortened_crop_goes_on_from_its_beginning() -> None:
    crop = synth.noise(1.0)
    changed = _apply(crop, Drawn(warp=Warp(1.25, 1.25)))
    frames = np.square(changed[0, : 44100 // 441 * 441]).reshape(100, 441).mean(1)
    assert frames.min() > 0.3 * frames.mean()


@pytest.mark.parametrize("codec", ["mp3", "aac"])
@pytest.mark.parametrize("channels", [1, 2])
def test_codecs_lie_over_the_original_and_lose_something(codec: str, channels: int) -> None:
    crop = synth.mixture(synth.song(1.0, channels=channels))
    good, bad = (round_trip(crop, SAMPLE_RATE, codec, kbps) for kbps in (160, 48))
    errors_db = [_difference_db(crop, coded) for coded in (good, bad)]
    assert errors_db[0] < -8  # one sample of delay alone gives more in the drums' band
    assert errors_db[0] < errors_db[1] < 0
    lags = [np.vdot(crop[0, 2000:-2000], np.roll(good[0], lag)[2000:-2000]) for lag in range(-3, 4)]
    assert np.argmax(lags) == 3
    loud = round_trip(4 * crop, SAMPLE_RATE, codec, 160)
    assert _difference_db(4 * crop, loud) == pytest.approx(errors_db[0], abs=3)  # no clipping


def test_codecs_refuse_what_they_cannot_code() -> None:
    with pytest.raises(UsageError, match="mp3 or aac"):
        round_trip(synth.noise(0.1), SAMPLE_RATE, "atrac", 128)
    with pytest.raises(UsageError, match="one or two channels"):
        round_trip(synth.noise(0.1, channels=5), SAMPLE_RATE, "mp3", 128)
    silence = np.zeros((2, 1000), np.float32)
    assert np.array_equal(round_trip(silence, SAMPLE_RATE, "mp3", 128), silence)


def test_quantising_leaves_so_many_steps() -> None:
    crop = synth.tone(100.0, 0.2)
    coarse = _apply(crop, Drawn(bits=8))
    assert np.array_equal(coarse * 128, np.round(coarse * 128))
    assert 0 < np.abs(coarse - crop).max() <= 0.5 / 128 + 1e-7


@pytest.mark.parametrize(
    ("stem", "song", "pitch", "tempo"),
    [
        (Tags(120.0, 0), Tags(126.0, 2), 2 ** (2 / 12), 1.05),
        (Tags(120.0, 11), Tags(120.0, 1), 2 ** (2 / 12), 1.0),  # round the octave
        (Tags(60.0), Tags(126.0), 1.0, 1.05),  # at half speed
        (Tags(key=9, minor=True), Tags(key=0), 1.0, 1.0),  # A minor has the notes of C major
        (Tags(), Tags(126.0, 2), 1.0, 1.0),  # nothing known, nothing changed
    ],
)
def test_matching_brings_a_stem_to_key_and_tempo(stem: Tags, song: Tags, pitch: float, tempo: float) -> None:
    warp = match(stem, song)
    assert warp is not None
    assert warp.pitch == pytest.approx(pitch)
    assert warp.tempo == pytest.approx(tempo)


def test_what_is_too_far_apart_does_not_match() -> None:
    assert match(Tags(key=0), Tags(key=6)) is None
    assert match(Tags(100.0), Tags(135.0)) is None
    assert match(Tags(100.0), Tags(135.0), most_tempo=0.4) is not None


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("distortion_db", (20.0, 10.0), "must rise"),
        ("reverb_s", (1.0, 0.5), "must rise"),
        ("reverb_s", (0.0, 0.5), "above 0"),
        ("lowpass_hz", (-1.0, 0.5), "above 0"),
        ("quantise_bits", (1, 8), "2 to 24"),
        ("codec_kbps", (8, 64), "32 to 320"),
        ("codecs", (), "at least 1"),
        ("codecs", ("atrac",), "mp3"),
        ("eq", 1.5, "less than or equal to 1"),
    ],
)
def test_recipes_that_make_no_sense_are_refused(key: str, value: object, message: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=message):
        AugmentationRecipe.model_validate({key: value})
