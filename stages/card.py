"""Card: the model card of the bundle, to be read where the models lie.

In:  models/bundle/model.json
Out: models/README.md   what the model is for and not for, data, results, limits
Run: dvc repro card, or python -m stages.card
"""

from stages.io.files import read_json, write_text
from stages.recognition.model_card import render
from stages.runtime.command import run_stage
from stages.runtime.paths import BUNDLE, CONTENTS, MODEL_CARD


def main() -> None:
    """Write the card."""
    write_text(MODEL_CARD, render(read_json(BUNDLE / CONTENTS)))


if __name__ == "__main__":
    run_stage(main, __doc__)
