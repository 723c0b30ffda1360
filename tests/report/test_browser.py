"""A page in a headless Chromium: it plays, switches on one clock, sorts, and never leaves the file."""

from pathlib import Path

import pytest

from sepgan.report import page, sound
from sepgan.report.blocks import Column, Interval, Page, Section, Table
from tests import synth
from tests.report.chromium import Tab

RATE = 44100  # Hz
TONES_HZ = {"mixture": 400.0, "ours": 1000.0, "theirs": 2500.0}
DURATION_S = 2.0

# Names the tone that is heard: the loudest bin of what goes to the loudspeaker, or 0 for silence. On a busy machine it
# may take a while until the expected one is.
_LISTEN = """
async (group) => {
  const output = new AnalyserNode(sepgan.clock(), { fftSize: 4096, smoothingTimeConstant: 0 });
  output.connect(sepgan.clock().destination);
  group.output = output;
  window.heard = async (expected) => {
    for (let attempt = 0; ; attempt += 1) {
      await new Promise((done) => setTimeout(done, 250)); // longer than the analyser's memory and the switch
      const levels = new Float32Array(output.frequencyBinCount);
      output.getFloatFrequencyData(levels);
      const bin = levels.indexOf(Math.max(...levels));
      const hz = Math.max(...levels) < -90 ? 0 : (bin * sepgan.clock().sampleRate) / output.fftSize;
      if (Math.abs(hz - expected) < 15 || attempt === 60) return hz;
    }
  };
}
"""


@pytest.fixture
def opened(tab: Tab, tmp_path: Path) -> Tab:
    tones = [(label, synth.tone(hz, DURATION_S), RATE) for label, hz in TONES_HZ.items()]
    table = Table(
        "Scores",
        [Column("track"), Column("ours")],
        [["b 10", 2.0], ["b 9", float("nan")], ["a", Interval(-3.0, -4.0, -2.0)], ["c", 11.0]],
        filtered=True,
    )
    group = sound.player_group("Tones", tones, compare=("ours", "theirs"))
    stems = sound.player_group("Stems", tones, mode="mix")
    path = tmp_path / "page.html"
    path.write_text(page.render(Page("Page", [Section("All", [table, group, stems])])), encoding="utf-8")
    tab.resize(1000, 800)
    tab.open(path)
    return tab


def test_every_player_decodes_and_nothing_leaves_the_page(opened: Tab) -> None:
    lengths = opened.evaluate(
        "Promise.all(sepgan.players.map((group) => group.load()))"
        ".then(() => sepgan.players.flatMap((group) => group.tracks.map((track) => track.buffer.duration)))"
    )
    assert lengths == pytest.approx([DURATION_S] * 6, abs=1 / RATE)
    outside = [url for url in opened.requests() if not url.startswith(("file:", "data:"))]
    assert outside == []
    assert sum(url.startswith("file:") for url in opened.requests()) == 1
    assert opened.complaints() == []


def test_the_browser_refuses_requests(opened: Tab) -> None:
    """Even a script inside the page cannot reach out."""
    answer = opened.evaluate("fetch('ftp.invalid/x').then(() => 'sent', () => 'refused')")
    assert answer == "refused"
    loaded = opened.evaluate(
        "new Promise((done) => { const image = new Image(); image.onload = () => done('sent');"
        "image.onerror = () => done('refused'); image.src = 'file:///x.png'; })"
    )
    assert loaded == "refused"


def test_switching_changes_what_is_heard_while_the_clock_goes_on(opened: Tab) -> None:
    opened.evaluate(f"({_LISTEN})(sepgan.players[0]).then(() => sepgan.players[0].play())")
    sources = "window.sources = sepgan.players[0].tracks.map((track) => track.source), sources.length"
    assert opened.evaluate(sources) == 3
    places = []
    for index, hz in enumerate(TONES_HZ.values()):
        opened.evaluate(f"document.querySelectorAll('.listen')[{index}].click()")
        assert opened.evaluate(f"heard({hz})") == pytest.approx(hz, abs=15)
        places.append(opened.evaluate("sepgan.clock().currentTime - sepgan.players[0].started"))
    assert places == sorted(places)
    assert places[0] > 0
    assert places[2] - places[0] >= 0.4, "the clock went on during two switches"
    assert opened.evaluate("sources.every((source, index) => source === sepgan.players[0].tracks[index].source)")
    opened.evaluate("sepgan.players[0].pause()")
    assert opened.evaluate("heard(0)") == 0


def test_tracks_are_locked_to_the_sample(opened: Tab) -> None:
    """The sources of a group, rendered with the offset they play from, start at the same sample."""
    onsets = opened.evaluate("""
        (async () => {
          const group = sepgan.players[0];
          await group.load();
          const lag = (a, b) => {
            let best = [-1, 0];
            for (let shift = -40; shift <= 40; shift += 1) {
              let sum = 0;
              for (let i = 4000; i < 9000; i += 1) sum += a[i] * b[i + shift];
              if (sum > best[0]) best = [sum, shift];
            }
            return best[1];
          };
          const rate = group.tracks[0].buffer.sampleRate;
          return group.tracks.map((track, index) => {
            const hz = [400, 1000, 2500][index];
            const ideal = Float32Array.from({ length: 10000 }, (_, i) => Math.sin(2 * Math.PI * hz * i / rate));
            return lag(ideal, track.buffer.getChannelData(0));
          });
        })()
    """)
    assert onsets == [0, 0, 0]


def test_solo_and_mute(opened: Tab) -> None:
    def press(kind: str, index: int) -> list[bool]:
        opened.evaluate(f"sepgan.players[1].root.querySelectorAll('.{kind}')[{index}].click()")
        audible: list[bool] = opened.evaluate("sepgan.players[1].tracks.map((_, i) => sepgan.players[1].audible(i))")
        return audible

    assert opened.evaluate("sepgan.players[1].tracks.map((_, i) => sepgan.players[1].audible(i))") == [True] * 3
    assert press("mute", 0) == [False, True, True]
    assert press("solo", 1) == [False, True, False]
    assert press("solo", 2) == [False, True, True]
    assert press("mute", 2) == [False, True, False]
    assert press("listen", 2) == [False, False, True]


def test_keys_play_and_switch(opened: Tab) -> None:
    opened.evaluate("document.querySelector('.play').focus()")
    opened.press("k")
    playing = "const wait = () => sepgan.players[0].playing ? done(true) : setTimeout(wait, 20); wait();"
    assert opened.evaluate(f"new Promise((done) => {{ {playing} }})")
    opened.press("3")
    assert opened.evaluate("sepgan.players[0].tracks.map((_, index) => sepgan.players[0].audible(index))") == [
        False,
        False,
        True,
    ]
    pressed = "[...document.querySelectorAll('.listen')].slice(0, 3).map((one) => one.getAttribute('aria-pressed'))"
    assert opened.evaluate(pressed) == ["false", "false", "true"]
    opened.press("k")
    assert opened.evaluate("sepgan.players[0].playing") is False


def test_one_group_plays_at_a_time_and_ends_where_it_should(opened: Tab) -> None:
    opened.evaluate("sepgan.players[0].play().then(() => sepgan.players[1].play())")
    assert opened.evaluate("sepgan.players.map((group) => group.playing)") == [False, True]
    opened.evaluate("document.querySelectorAll('.loop input')[1].click()")
    opened.evaluate("sepgan.players[1].seek(1.9)")
    ended = "const wait = () => sepgan.players[1].playing ? setTimeout(wait, 50) : done(); setTimeout(wait, 50);"
    opened.evaluate(f"new Promise((done) => {{ {ended} }})")
    assert opened.evaluate("[sepgan.players[1].playing, sepgan.players[1].position()]") == [False, 0]


def test_a_blind_comparison_counts_right_answers_and_hides_the_rest(opened: Tab) -> None:
    opened.evaluate(f"({_LISTEN})(sepgan.players[0]).then(() => sepgan.players[0].startTrials())")
    assert opened.evaluate("[...document.querySelectorAll('.listen')].slice(0, 3).every((one) => one.disabled)")
    telling = (
        "document.querySelectorAll('.tracks')[0].querySelectorAll('[aria-pressed=true], [data-audible=true]').length"
    )
    assert opened.evaluate(telling) == 0
    for wrong in (0, 0, 0, 0, 1):
        opened.evaluate(f"document.querySelectorAll('.guess')[sepgan.players[0].abx.x ^ {wrong}].click()")
    assert "4 of 5 right" in opened.evaluate("document.querySelector('.score').textContent")
    assert opened.evaluate("sepgan.atLeast(4, 5)") == pytest.approx(6 / 32)
    assert opened.evaluate("sepgan.atLeast(0, 0)") == 1
    names = opened.evaluate("sepgan.players[0].abx.names")
    for name, label in zip("AB", names, strict=True):
        opened.evaluate(f"document.querySelector('[data-hear={name}]').click()")
        assert opened.evaluate(f"heard({TONES_HZ[label]})") == pytest.approx(TONES_HZ[label], abs=15)
    opened.evaluate("document.querySelector('.reveal').click()")
    assert f"A was {names[0]}, B was {names[1]}" in opened.evaluate("document.querySelector('.score').textContent")
    opened.evaluate("sepgan.players[0].pause()")


def test_tables_sort_and_filter(opened: Tab) -> None:
    rows = "[...document.querySelectorAll('tbody tr')].filter((row) => !row.hidden)"
    shown = f"{rows}.map((row) => row.cells[0].textContent)"
    opened.evaluate("document.querySelectorAll('thead button')[1].focus()")
    opened.press("Enter")
    assert opened.evaluate(shown) == ["a", "b 10", "c", "b 9"]
    opened.press("Enter")
    assert opened.evaluate(shown) == ["c", "b 10", "a", "b 9"]
    assert opened.evaluate("document.querySelectorAll('thead th')[1].getAttribute('aria-sort')") == "descending"
    opened.evaluate("document.querySelectorAll('thead button')[0].click()")
    assert opened.evaluate(shown) == ["a", "b 9", "b 10", "c"]
    opened.evaluate("document.querySelector('.filter input').focus()")
    for key in "B ":
        opened.press(key)
    assert opened.evaluate(shown) == ["b 9", "b 10"]


@pytest.mark.parametrize("width", [360, 1000])
def test_nothing_is_wider_than_the_screen(opened: Tab, width: int) -> None:
    opened.resize(width, 800)
    assert opened.evaluate("document.documentElement.scrollWidth") == width


def test_a_pause_while_the_audio_is_decoded_holds(opened: Tab) -> None:
    impatient = "const played = sepgan.players[0].play(); sepgan.players[0].pause(); return played;"
    opened.evaluate(f"(() => {{ {impatient} }})()")
    assert opened.evaluate("sepgan.players[0].playing") is False
