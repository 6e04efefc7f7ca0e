"""What an earlier commit or an experiment made, read from DVC's cache or its remote."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dvc.exceptions import DvcException, PathMissingError
from dvc.scm import RevError

from stages.runtime.errors import UserError, one_line


def check_git() -> None:
    """Raise UserError where the revisions of this project cannot be read."""
    import pygit2  # as DVC does

    try:
        pygit2.Repository(".")
    except pygit2.GitError as error:
        folder = Path.cwd()
        advice = "clone the project by git"
        if "not owned" in str(error):
            advice = f"if you trust it: git config --global --add safe.directory {folder}"
        raise UserError(f"{folder}: git cannot read it: {one_line(error)}; {advice}") from error


def check_one_meaning(revision: str) -> None:
    """Raise UserError where an experiment has the name of a branch or tag, which DVC would take."""
    import pygit2

    names = list(pygit2.Repository(".").references)
    experiments = [
        name for name in names if name.startswith("refs/exps/") and name.endswith(f"/{revision}")
    ]
    others = [name for name in (f"refs/heads/{revision}", f"refs/tags/{revision}") if name in names]
    if experiments and others:
        raise UserError(
            f"{revision!r}: is an experiment and a git branch or tag; say which: {experiments[0]} "
            f"or {others[0]}"
        )


@contextmanager
def reading(path: Path, revision: str, command: str, stage: str) -> Iterator[None]:
    """Wrap the reading of what a revision made, so that its failures become a UserError.

    Args:
        path: what is read.
        command: what the user would do again once it is there, e.g. "compare".
        stage: the stage that makes it.

    Raises:
        UserError: there is no such revision, it has not made it, or it is neither in the cache nor
            on its remote.
    """
    check_git()
    check_one_meaning(revision)
    source = f"{path} of {revision}"
    try:
        if not revision:  # DVC would take it for HEAD
            raise RevError("an empty name is no revision")
        yield
    except RevError as error:
        raise UserError(
            f"{revision!r}: is neither a git revision nor an experiment that has run; see git log "
            "and dvc exp list --all-commits"
        ) from error
    except (PathMissingError, FileNotFoundError) as error:
        # Made in place, a commit's may have other bytes, as on another CPU, and be none of its own.
        raise UserError(
            f"{source}: is neither in git nor in DVC's cache or remote; push it where it was made "
            "(dvc push -A), or commit your work and make it: an experiment by dvc exp apply "
            f"{revision}; dvc repro {stage}, a commit by git checkout -b again {revision}; dvc "
            f"repro; git commit -am again, and {command} again"
        ) from error
    except (DvcException, OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{source}: cannot be read: {one_line(error)}; see whether git checkout {revision} and "
            "dvc status work"
        ) from error
