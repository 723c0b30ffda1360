"use strict";
(() => {
  const SWITCH_S = 0.004; // time constant of a switch: no click, and no gap that one could hear
  const AHEAD_S = 0.05; // all sources of a group are told to start at one moment that has not passed yet

  let context = null;
  const clock = () => (context ??= new AudioContext());
  const players = [];

  // Tracks of one length on one clock: every track always runs, switching only moves gains.
  class Group {
    constructor(root) {
      this.root = root;
      this.duration = Number(root.dataset.duration);
      this.tracks = [...root.querySelectorAll(".tracks li")].map((element) => ({
        element, solo: false, mute: false, buffer: null, source: null, gain: null,
      }));
      this.wanted = false; // playing is wanted, though the audio may still be decoded
      this.playing = false;
      this.offset = 0; // position while paused, and where the running sources started
      this.started = 0; // time of the clock when they did
      this.abx = null;
      this.find = (selector) => root.querySelector(selector);
      if (root.dataset.mode === "switch") this.tracks[0].solo = true;
      this.bind();
      this.show();
    }

    bind() {
      const on = (selector, event, action) => this.root.querySelectorAll(selector)
        .forEach((element, index) => element.addEventListener(event, (happened) => action(index, element, happened)));
      on(".play", "click", () => this.toggle());
      on(".seek", "input", (_, element) => this.seek(Number(element.value)));
      on(".loop input", "change", (_, element) => this.loop(element.checked));
      on(".listen", "click", (index) => this.listen(index));
      on(".solo", "click", (index) => this.flip(index, "solo"));
      on(".mute", "click", (index) => this.flip(index, "mute"));
      on(".picture", "click", (_, element, happened) => {
        const box = element.getBoundingClientRect();
        this.seek(((happened.clientX - box.left) / box.width) * this.duration);
      });
      on(".start", "click", () => this.startTrials());
      on(".hear", "click", (_, element) => this.hear(element.dataset.hear));
      on(".guess", "click", (_, element) => this.guess(Number(element.dataset.guess)));
      on(".reveal", "click", () => this.reveal());
      this.root.addEventListener("keydown", (event) => {
        if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("select, input[type=search]")) return;
        const digit = /^[1-9]$/.test(event.key) ? Number(event.key) - 1 : -1;
        if (event.key === "k" || event.key === "K") this.toggle();
        else if (this.abx && /^[abx]$/i.test(event.key)) this.hear(event.key.toUpperCase());
        else if (!this.abx && digit >= 0 && digit < this.tracks.length) this.listen(digit);
        else return;
        event.preventDefault();
      });
    }

    async load() {
      this.loading ??= Promise.all(this.tracks.map(async (track) => {
        const text = track.element.querySelector(".audio").textContent;
        const binary = atob(text);
        const bytes = new Uint8Array(binary.length);
        for (let index = 0; index < binary.length; index += 1) bytes[index] = binary.charCodeAt(index);
        track.buffer = await clock().decodeAudioData(bytes.buffer);
      }));
      await this.loading;
    }

    async play() {
      players.forEach((other) => other !== this && other.pause());
      this.wanted = true;
      try {
        await Promise.all([this.load(), clock().resume()]);
      } catch (error) {
        this.find(".error").textContent = `The audio cannot be played: ${error.message}. This page needs a browser that decodes Ogg Vorbis.`;
        this.find(".error").hidden = false;
        this.wanted = false;
        return;
      }
      if (!this.wanted) return; // paused meanwhile
      this.stopSources();
      const looping = this.find(".loop input").checked;
      if (this.offset >= this.duration - 0.01) this.offset = 0;
      this.started = clock().currentTime + AHEAD_S;
      this.tracks.forEach((track) => {
        track.gain = new GainNode(clock(), { gain: 0 });
        track.source = new AudioBufferSourceNode(clock(), { buffer: track.buffer, loop: looping, loopEnd: this.duration });
        track.source.connect(track.gain).connect(this.output ?? clock().destination);
        track.source.start(this.started, this.offset);
      });
      const first = this.tracks[0].source;
      first.onended = () => { if (this.playing && this.tracks[0].source === first) this.finish(); };
      this.playing = true;
      this.show();
      this.draw();
    }

    stopSources() {
      this.tracks.forEach((track) => {
        if (!track.source) return;
        track.source.onended = null;
        track.source.stop();
        track.source.disconnect();
        track.gain.disconnect();
        track.source = track.gain = null;
      });
    }

    pause() {
      this.wanted = false;
      if (!this.playing) return;
      this.offset = this.position();
      this.playing = false;
      this.stopSources();
      this.show();
    }

    finish() {
      this.wanted = this.playing = false;
      this.offset = 0;
      this.stopSources();
      this.show();
    }

    toggle() { return this.wanted ? this.pause() : this.play(); }

    position() {
      if (!this.playing) return this.offset;
      const passed = this.offset + Math.max(0, clock().currentTime - this.started);
      return this.find(".loop input").checked ? passed % this.duration : Math.min(passed, this.duration);
    }

    seek(position) {
      this.offset = Math.min(Math.max(position, 0), this.duration);
      if (this.playing) this.play();
      else this.show();
    }

    // A source cannot end where it should once it has looped, so the group starts again from where it is.
    loop(looping) {
      if (!this.playing) return;
      const passed = this.offset + Math.max(0, clock().currentTime - this.started);
      this.offset = looping ? Math.min(passed, this.duration) : passed % this.duration;
      this.play();
    }

    // Hear one track alone.
    listen(index) {
      this.tracks.forEach((track, other) => { track.solo = other === index; });
      this.tracks[index].mute = false;
      this.show();
    }

    flip(index, what) {
      this.tracks[index][what] = !this.tracks[index][what];
      this.show();
    }

    audible(index) {
      if (this.abx) return index === this.abx.heard;
      const track = this.tracks[index];
      return !track.mute && (track.solo || !this.tracks.some((other) => other.solo));
    }

    show() {
      this.tracks.forEach((track, index) => {
        const audible = this.audible(index);
        track.gain?.gain.setTargetAtTime(audible ? 1 : 0, clock().currentTime, SWITCH_S);
        const press = (name, pressed) => track.element.querySelector(name).setAttribute("aria-pressed", String(pressed));
        const alone = track.solo && !track.mute && this.tracks.every((other) => other === track || !other.solo);
        press(".listen", !this.abx && alone);
        press(".solo", !this.abx && track.solo);
        press(".mute", !this.abx && track.mute);
        track.element.dataset.audible = String(!this.abx && audible); // a blind test must not show it
        track.element.querySelectorAll("button").forEach((button) => { button.disabled = Boolean(this.abx); });
      });
      const play = this.find(".play");
      play.textContent = this.playing ? "Pause" : "Play";
      play.setAttribute("aria-label", play.textContent);
      this.root.classList.toggle("blind", Boolean(this.abx));
      this.tell();
    }

    tell() {
      const position = this.position();
      this.find(".seek").value = position;
      this.find(".time").textContent = `${position.toFixed(1)} / ${this.duration.toFixed(1)} s`;
      this.root.querySelectorAll(".playhead").forEach((line) => {
        line.style.display = this.playing || position > 0 ? "block" : "none";
        line.style.left = `${(100 * position) / this.duration}%`;
      });
    }

    draw() {
      if (!this.playing) return;
      this.tell();
      requestAnimationFrame(() => this.draw());
    }

    startTrials() {
      const labels = this.tracks.map((track) => track.element.querySelector(".label").textContent);
      const pair = [this.find(".first"), this.find(".second")].map((select) => labels.indexOf(select.value));
      if (pair[0] === pair[1]) {
        this.find(".score").textContent = "Choose two different systems.";
        return;
      }
      if (coin()) pair.reverse();
      this.abx = { pair, names: pair.map((index) => labels[index]), x: coin(), right: 0, trials: 0, heard: pair[0] };
      this.find(".setup").hidden = true;
      this.find(".trial").hidden = false;
      this.find(".score").textContent = "No trials yet.";
      this.hear("A");
      if (!this.playing) this.play();
    }

    hear(name) {
      const { pair, x } = this.abx;
      this.abx.heard = pair[{ A: 0, B: 1, X: x }[name]];
      this.root.querySelectorAll(".hear")
        .forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.hear === name)));
      this.show();
    }

    guess(answer) {
      const right = answer === this.abx.x;
      this.abx.trials += 1;
      this.abx.right += Number(right);
      this.abx.x = coin();
      this.find(".score").textContent = `${right ? "Right" : "Wrong"}. ${this.result()}`;
      this.hear("X");
    }

    reveal() {
      const { names, trials } = this.abx;
      this.find(".score").textContent = `A was ${names[0]}, B was ${names[1]}. ${trials ? this.result() : "No trials."}`;
      this.abx = null;
      this.find(".setup").hidden = false;
      this.find(".trial").hidden = true;
      this.show();
    }

    result() {
      const { right, trials } = this.abx;
      const p = atLeast(right, trials);
      const shown = p < 0.001 ? "below 0.001" : p.toFixed(3);
      return `${right} of ${trials} right; guessing alone gets as many or more with a probability of ${shown}.`;
    }
  }

  const coin = () => crypto.getRandomValues(new Uint8Array(1))[0] & 1;

  // Probability of at least that many heads among tosses of a fair coin.
  function atLeast(heads, tosses) {
    let term = 0.5 ** tosses;
    let sum = 0;
    for (let count = 0; count <= tosses; count += 1) {
      if (count >= heads) sum += term;
      term *= (tosses - count) / (count + 1);
    }
    return sum;
  }

  // Tables: a head sorts by its column, smallest first and then largest first; undefined values stay last.
  function sortable(table) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const cells = [...table.tBodies[0].rows].map((row) => row.cells[column]);
      head.classList.toggle("number", cells.some((cell) => cell.classList.contains("number")));
      head.querySelector("button").addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const rows = [...table.tBodies[0].rows];
        rows.sort((a, b) => compare(a.cells[column], b.cells[column], down ? -1 : 1));
        table.tBodies[0].append(...rows);
      });
    });
  }

  function compare(a, b, sign) {
    const x = a.dataset.value, y = b.dataset.value;
    if (x === undefined && y === undefined) return sign * a.textContent.localeCompare(b.textContent, undefined, { numeric: true });
    if (!x || !y) return Number(!x) - Number(!y); // a column may mix text and numbers; undefined ones are empty
    return sign * (Number(x) - Number(y));
  }

  function filtered(box) {
    const rows = [...box.closest(".table").querySelectorAll("tbody tr")];
    box.addEventListener("input", () => {
      const wanted = box.value.trim().toLowerCase();
      rows.forEach((row) => { row.hidden = !row.textContent.toLowerCase().includes(wanted); });
    });
  }

  document.querySelectorAll("table").forEach(sortable);
  document.querySelectorAll(".filter input").forEach(filtered);
  document.querySelectorAll(".players").forEach((root) => players.push(new Group(root)));
  window.sepgan = { players, clock, atLeast };
})();
