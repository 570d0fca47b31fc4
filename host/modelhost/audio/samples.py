"""What sound is between the parts of a backend: one channel of floats, 16,000 a second."""

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16_000
"""Hz, of all `Samples`: the rate that speech recognisers are trained at."""

Samples = NDArray[np.float32]
"""One-dimensional, from -1 to 1, mono, at `SAMPLE_RATE`."""
