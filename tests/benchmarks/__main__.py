"""How quick the pipeline is, against how it is usually done.

    python -m tests.benchmarks                    # all of it, an hour or more on two cores
    python -m tests.benchmarks media training     # some of media, faces, features, training,
                                                  # speech, whole
    python -m tests.benchmarks gpu                # what needs a GPU, or some groups of it: gpu.py

Prints tables in Markdown. A ratio is the median, over interleaved repeats in one run, of the usual
way's seconds by ours, with its range; run it on a machine that does nothing else.
"""

import argparse

from tests.benchmarks.timing import REPEATS, cores, rows_of

GROUPS = ("media", "faces", "features", "training")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("groups", nargs="*", help="which; all without")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--dry-run", action="store_true", help="gpu: on the CPU, and little")
    given = parser.parse_args()
    if given.groups[:1] == ["gpu"]:
        from tests.benchmarks import gpu

        for line in gpu.table(given.dry_run, given.groups[1:]):
            print(line, flush=True)
        return
    unknown = set(given.groups) - {*GROUPS, "speech", "whole"}
    if unknown:
        parser.error(f"no group {', '.join(sorted(unknown))}")
    chosen = given.groups or [*GROUPS, "speech", "whole"]
    ratios = [group for group in GROUPS if group in chosen]
    if ratios:
        print(f"Medians of {given.repeats} interleaved repeats, {cores()} cores.\n")
        print("| | ours | usual | times as quick | aim | ms ours | ms usual |")
        print("|---|---|---|---|---|---|---|")
    for group in ratios:
        for row in rows_of(group, given.repeats):
            ratio, times = "not measured", " | "
            if row.found:
                ratio = f"{row.found.ratio:.2f} [{row.found.low:.2f}, {row.found.high:.2f}]"
                times = f"{1000 * row.found.ours:.1f} | {1000 * row.found.usual:.1f}"
            cells = f"{ratio} | {'' if row.aim is None else f'{row.aim:g}'} | {times}"
            print(f"| {row.group} | {row.what} | {row.usual} | {cells} |", flush=True)
    if "speech" in chosen:
        from tests.benchmarks import speech

        print()
        for line in speech.table(given.repeats):
            print(line, flush=True)
    if "whole" in chosen:
        from tests.benchmarks import whole

        print()
        for line in whole.tables():
            print(line, flush=True)


if __name__ == "__main__":
    main()
