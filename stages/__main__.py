"""What a person runs by hand; the stages themselves are run by DVC, and listed by `dvc dag`."""

import argparse
import importlib
from collections.abc import Sequence

from stages.runtime.command import run

# name: the module whose main(words) runs it, and what it does.
COMMANDS = {
    "check": ("stages.commands.check.check", "look a corpus over before its extraction"),
    "download": ("stages.commands.download", "fetch a corpus from its publisher"),
    "predict": ("stages.commands.predict", "tell the emotion of new clips"),
    "demo": ("stages.commands.demo", "the same on a local web page, with pictures"),
    "compare": ("stages.commands.compare", "test whether two results differ significantly"),
    "robustness": ("stages.commands.robustness", "test under noise, telephone, MP3, in the dark"),
    "fairness": ("stages.commands.fairness", "recall by speaker and by sex, and the gaps"),
    "tables": ("stages.commands.tables", "run and show the tables of the paper"),
    "cache": ("stages.commands.cache", "show or empty the cache of processed clips"),
}


def main(words: Sequence[str] | None = None) -> None:
    """Run the command that `words` (default: the command line) begin with.

    A command's module is imported only when it runs, so that help does not wait for libraries.
    """
    listed = "\n".join(f"  {name:12}{purpose}" for name, (_, purpose) in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="python -m stages",
        usage="python -m stages COMMAND ...",
        description=f"{__doc__}\n\ncommands:\n{listed}",
        epilog="example: python -m stages check --help",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=COMMANDS, help=argparse.SUPPRESS)
    parser.add_argument("words", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    asked = parser.parse_args(words)
    module, _ = COMMANDS[asked.command]
    run(lambda: importlib.import_module(module).main(asked.words))


if __name__ == "__main__":
    main()
