"""The seven emotions of the paper (Section 3.1), in its order, and their two-letter codes."""

EMOTIONS = ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")
CODES = ("AN", "DI", "FE", "HA", "NE", "SA", "SU")
