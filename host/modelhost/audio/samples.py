"""What sound is between the parts of a backend: one channel of floats, 16,000 a second."""

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16_000
"""Hz, of all `Samples`. Chosen, because speech recognisers are trained at it (16 kHz in whisper/audio.py, Silero and Gemma)."""

Samples = NDArray[np.float32]
"""One-dimensional, from -1 to 1, mono, at `SAMPLE_RATE`."""
