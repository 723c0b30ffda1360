"""What to be warned of. Each alarm is a pure function of the health that was logged so far."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

IN_A_ROW = 3  # looks at which something must hold, so that one bad moment is no alarm
CERTAIN = 0.99  # AUC and rate of found real examples beyond which a discriminator has nothing left to learn
FOOLED = 0.01  # share of generated examples judged real below which the generator is told nothing useful
STILL = 1e-4  # of a learning rate a step: Adam moves weights by about one
ALIKE = 0.1  # of the diversity of real examples
SILENT_DB = -30.0
WHINE_DB = 6.0  # above the mixture: masks cannot, and nothing in the music asks for it
RISE_DB = 9.0  # of the upper half over what it was before

Health = tuple[int, Mapping[str, float]]  # step and what was logged


class Alarm(NamedTuple):
    """Something is wrong."""

    name: str
    step: int
    text: str


def raised(history: Sequence[Health]) -> list[Alarm]:
    """Alarms that the last looks raise, given all looks so far, the newest last."""
    if not history:
        return []
    step, now = history[-1]
    recent = [values for _, values in history[-IN_A_ROW:]]
    found = []
    if len(recent) == IN_A_ROW and all(_ahead(values) for values in recent):
        found.append(
            Alarm(
                "discriminator ahead",
                step,
                f"the discriminator tells held-out real and generated stems apart without error (AUC "
                f"{now['health/auc']:.3f}), so the generator learns little from it: lower adversary.learning_rate, add "
                "adversary.r1 or adversary.instance_noise, or make it smaller",
            )
        )
    movement = [values.get("health/movement", math.nan) for values in recent]
    if len(recent) == IN_A_ROW and all(value < STILL for value in movement):
        found.append(
            Alarm(
                "generator frozen",
                step,
                f"the generator's weights moved by {movement[-1]:.1g} of a learning rate a step: its gradient does not "
                "reach it, or its rate is zero",
            )
        )
    if now.get("health/diversity", 1.0) < ALIKE or now.get("health/level_db", 0.0) < SILENT_DB:
        found.append(
            Alarm(
                "collapse",
                step,
                f"generated examples of a stem are all alike (diversity {now.get('health/diversity', math.nan):.2f} of "
                f"that of real ones) or silent ({now.get('health/level_db', math.nan):.0f} dB): lower adversary.weight",
            )
        )
    before = [values["health/high_db"] for _, values in history[:-1] if "health/high_db" in values]
    rise = now.get("health/high_db", 0.0) - min(before, default=math.inf)
    whine = now.get("health/whine_db", 0.0)
    if whine > WHINE_DB or rise > RISE_DB:
        found.append(
            Alarm(
                "high-frequency noise",
                step,
                "the upper half of the spectrum of generated stems holds what is in no recording "
                f"({whine:+.1f} dB over the louder of mixture and real stem in one band, {max(rise, 0.0):+.1f} dB "
                "since its lowest): lower adversary.weight or raise adversary.r1",
            )
        )
    return found


def _ahead(values: Mapping[str, float]) -> bool:
    return values.get("health/auc", 0.0) >= CERTAIN and values.get("health/false_positive_rate", 1.0) <= FOOLED
