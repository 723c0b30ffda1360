"""Effects on stems of a remix, each drawn from a seed before any audio is touched.

`draw` turns a recipe and a generator into a few numbers, `apply` turns numbers and waveforms into waveforms, on any
device: everything that is linear (equaliser, room, low-pass) is one multiplication of spectra for the whole batch, and
an item of a batch comes out as it would alone. Pitch and tempo need torchaudio; the codecs run on the processor.
"""

from sepgan.data.augment.augmenter import Augmenter
from sepgan.data.augment.drawing import Drawn, draw
from sepgan.data.augment.matching import Tags, match
from sepgan.data.augment.warp import Warp

__all__ = ["Augmenter", "Drawn", "Tags", "Warp", "draw", "match"]
