"""Let the free voices of flite read a text in a slow, high or low, lively way: solo voice that allows any use.

    apt-get install flite
    python examples/read_aloud.py /usr/share/doc/flite/examples/alice --out VOICES

It is speech and no singing, and it comes from a machine; yet consonants, formants and harmonics are those of people,
and solo singing that allows any use is scarce. Each paragraph becomes `OUT/train/<number>_<voice>.wav`, 16 kHz, and
`OUT/licences.csv` names the voice.
"""

from __future__ import annotations

import argparse
import random
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from sepgan.atomic import replacing
from sepgan.data.credits import write_credits

# Under the licence of Festival and flite, which SPDX calls MIT-Festival: any use, names of the authors kept.
VOICES = {"slt": (130.0, 330.0), "awb": (90.0, 240.0), "kal16": (90.0, 240.0), "rms": (100.0, 100.0)}  # Hz, from to
STRETCH = (1.2, 2.6)  # singing holds its vowels
LIVELINESS_HZ = (15.0, 50.0)  # standard deviation of the pitch
LICENCE = "MIT-Festival"
LONGEST = 400  # characters at once


def paragraphs(text: str) -> list[str]:
    """Split a text at empty lines, and at the ends of sentences where a paragraph is long."""
    found = []
    for paragraph in re.split(r"\n\s*\n", text):
        plain = " ".join(paragraph.replace("`", " ").replace("'", "").split())
        while len(plain) > LONGEST and (cut := plain.find(". ", LONGEST // 2)) >= 0:
            found.append(plain[: cut + 1])
            plain = plain[cut + 2 :]
        found.append(plain)
    return [paragraph for paragraph in found if len(paragraph) > 20]


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, read aloud, list."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path, help="what is read")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, help="read so many paragraphs only")
    options = parser.parse_args(arguments)
    folder = options.out / "train"
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    chosen = paragraphs(options.text.read_text(encoding="utf-8"))[: options.limit]
    for number, paragraph in enumerate(chosen):
        draw = random.Random(f"{options.seed} {number}")
        voice = list(VOICES)[number % len(VOICES)]
        settings = {
            "duration_stretch": draw.uniform(*STRETCH),
            "int_f0_target_mean": draw.uniform(*VOICES[voice]),
            "int_f0_target_stddev": draw.uniform(*LIVELINESS_HZ),
        }
        file = folder / f"{number:03d}_{voice}.wav"
        with replacing(file) as temporary:
            setf = [part for key, value in settings.items() for part in ("--setf", f"{key}={value:.2f}")]
            subprocess.run(["flite", "-voice", voice, *setf, "-t", paragraph, "-o", str(temporary)], check=True)
        rows.append((file.stem, f"voice {voice} of flite (Debian package flite) reads {options.text.name}", LICENCE))
    write_credits(options.out, rows)
    print(f"{len(rows)} recordings in {folder}")


if __name__ == "__main__":
    main()
