"""eGeMAPSv02: the 88 functionals of the voice that speech emotion recognition is compared with.

Computed by openSMILE, which is no free software: the audEERING Research License allows
**no commercial use** (teaching, academic research and personal use, and such company research as is
done to be published). It is therefore not in requirements.txt.

Paper: Eyben et al. 2016, "The Geneva Minimalistic Acoustic Parameter Set (GeMAPS) for Voice
Research and Affective Computing".
"""

from importlib import import_module
from typing import Any

import numpy as np

from stages.encoders.speech import SAMPLE_RATE, Encoded, SpeechEncoder
from stages.runtime.errors import UserError, one_line

NAME = "eGeMAPSv02"
PACKAGE = "opensmile==2.6.0"
SHORTEST = 960  # samples, 60 ms: openSMILE's longest window, below which it gives NaN
FULL_SCALE = 32767 / 32768  # in 16 bits, which openSMILE reads; its wrapper has 1.0 wrap to -1.0


def load() -> SpeechEncoder:
    """The functionals as the pooled vector [88], the low-level descriptors as sequence [T, 25].

    The descriptors are 100 a second. They come in units of their own (semitones, Hz, dB), so that
    they are to be standardised.

    Raises:
        UserError: openSMILE is not installed.
    """
    try:
        opensmile: Any = import_module("opensmile")
    except (ImportError, OSError) as error:  # OSError: its library is not for this machine
        raise UserError(
            f"params.yaml: encoders.acoustic.name: {NAME}: openSMILE cannot be loaded "
            f"({one_line(error)[:200]}); pip install {PACKAGE} (not for commercial use)"
        ) from error
    functionals, descriptors = (
        opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, level)
        for level in (
            opensmile.FeatureLevel.Functionals,
            opensmile.FeatureLevel.LowLevelDescriptors,
        )
    )

    def encode(wave: np.ndarray) -> Encoded:
        clipped = np.clip(wave, -1, FULL_SCALE)
        pooled = functionals(clipped, SAMPLE_RATE)[0, :, 0]
        sequence = descriptors(clipped, SAMPLE_RATE)[0].T
        return Encoded(pooled.astype(np.float32), sequence.astype(np.float16))

    return SpeechEncoder(
        name=NAME,
        source=f"opensmile {opensmile.__version__}",
        licence="audEERING Research License, no commercial use",
        dim=functionals.num_features,
        shortest=SHORTEST,
        encode=encode,
    )
