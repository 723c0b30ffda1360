from pathlib import Path

import av
import numpy as np
import soundfile

from tests import synth


def test_a_song_is_seeded_and_never_clips() -> None:
    first, again, other = (synth.song(0.5, seed=seed) for seed in (1, 1, 2))
    assert tuple(first) == synth.STEMS
    for stem in synth.STEMS:
        assert first[stem].shape == (2, 22050)
        np.testing.assert_array_equal(first[stem], again[stem])
        assert np.abs(first[stem] - other[stem]).max() > 0.01
    assert np.abs(synth.mixture(first)).max() < 1.0


def test_a_stem_mp4_has_five_streams(tmp_path: Path) -> None:
    path = synth.stem_mp4(tmp_path / "train" / "A - One.stem.mp4", synth.song(0.5))
    with av.open(str(path)) as container:
        assert [stream.rate for stream in container.streams.audio] == [44100] * 5


def test_trees_keep_the_layout_of_the_real_datasets(tmp_path: Path) -> None:
    synth.musdb18hq_tree(tmp_path / "hq", duration_s=0.2)
    assert (tmp_path / "hq/test/C - Three/mixture.wav").is_file()
    synth.folder_tree(tmp_path / "folder", duration_s=0.2, suffix=".flac")
    assert sorted(path.name for path in (tmp_path / "folder/train/no bass").iterdir()) == [
        "drums.flac",
        "other.flac",
        "vocals.flac",
    ]
    synth.pairs_tree(tmp_path / "pairs", duration_s=0.2)
    assert soundfile.info(tmp_path / "pairs/valid/cat_1_01/accompaniment.wav").samplerate == 16000
    synth.singles_tree(tmp_path / "singles", duration_s=0.2)
    assert len(list((tmp_path / "singles/train").iterdir())) == 2
