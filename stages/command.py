"""How a stage starts as a command, and how it ends when a person must mend something."""

import argparse
import os
import signal
import sys
from collections.abc import Callable

from stages.failures import UserError


def run(main: Callable[[], None]) -> None:
    """Run a stage's `main`; print a `UserError` as one line and exit with code 2."""
    # A stopped stage must unwind, so that no temporary file stays behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        # Worker processes may still hold a clip; nothing of theirs is under a final name.
        os._exit(128 + signal.SIGINT)


def run_on_corpus(main: Callable[[str], None], description: str) -> None:
    """Like `run`, for a stage that works on the one corpus named on its command line."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", help="one of params.yaml's corpora, e.g. sample")
    corpus = parser.parse_args().corpus
    run(lambda: main(corpus))
