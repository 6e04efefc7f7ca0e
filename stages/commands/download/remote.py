"""One file from the network: resumed, checked, and under its final name only when it is right.

What has come so far lies beside it as `<name>.part`, with a note `<name>.part.from` of the address
and of the version there (ETag or Last-Modified), so that two versions are never joined. Size and
checksum are known beforehand of every file that is fetched, and have the last word.
"""

import contextlib
import hashlib
import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from stages.io.files import require_space
from stages.runtime.errors import UserError, one_line
from stages.runtime.progress import track

TIMEOUT = 30.0  # seconds without a byte
RETRIES = 4  # attempts that bring nothing new, before an address is given up
PAUSE = 1.0  # seconds before the first of them; doubled each time
LONGEST_PAUSE = 120.0  # seconds, also where a server asks for more
PASSING = (408, 425, 429, 500, 502, 503, 504)  # HTTP states that may be over soon
AGENT = {"User-Agent": "fdan-pipeline"}  # some servers refuse Python's own
CHUNK = 1 << 20
LARGEST_JSON = 16 << 20
MB = 1_000_000

T = TypeVar("T")


@dataclass(frozen=True)
class Remote:
    """A file to fetch.

    Attributes:
        addresses: where it can be had (http or https); the next is tried where one fails.
        size: bytes.
        checksum: "md5:<hex>" or "sha256:<hex>".
        headers: sent along, though not to where a server redirects to.
        note: for the error about another content, e.g. who recorded the checksum.
    """

    addresses: tuple[str, ...]
    size: int
    checksum: str
    headers: Mapping[str, str] = field(default_factory=dict)
    note: str = ""


class _Broken(Exception):
    """May go well the next time; `pause`: seconds that the server asks to wait."""

    def __init__(self, reason: str, pause: float = 0.0):
        super().__init__(reason)
        self.pause = pause


class _Refused(Exception):
    """Will not go well at this address."""


def fetch(remote: Remote, path: Path, label: str = "") -> None:
    """Fetch a file to `path`, or check the one that lies there; with a bar if it has a `label`.

    Raises:
        UserError: no address gives it, all give another content, there is no room, or what lies
            at `path` already is another file.
    """
    if path.exists():
        if wrong := _difference(path, remote):
            raise UserError(f"{path}: {wrong}; delete it and run the same command again")
        return
    part = path.with_name(f"{path.name}.part")
    reasons = []
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        require_space(path, remote.size - file_size(part))
        for address in remote.addresses:
            try:
                _fetch_from(address, remote, part, label)
                os.replace(part, path)
                _note(part).unlink(missing_ok=True)
                return
            except _Refused as reason:
                reasons.append(f"{address}: {reason}")
    except OSError as error:  # those of the network are _Broken or _Refused by now
        raise UserError(f"{part}: cannot be written: {error}; free space or mend access") from error
    raise UserError(
        f"{'; '.join(reasons)}; run the same command again, which goes on at {file_size(part):,} "
        f"of {remote.size:,} bytes, or fetch the file elsewhere and put it at {path}"
    )


def request_json(
    address: str, content: Mapping[str, Any] | None = None, kind: str = "application/json"
) -> dict[str, Any]:
    """The JSON object at an address; `content` is posted there as JSON of that media `kind`.

    Raises:
        UserError: the address does not answer, or not with a JSON object.
    """
    body = None if content is None else json.dumps(content).encode()

    def attempt() -> bytes:
        with _open(address, {"Accept": kind, "Content-Type": kind}, body) as response:
            return _network(partial(response.read, LARGEST_JSON))

    try:
        answer = json.loads(_persist(attempt))
    except _Refused as reason:
        raise UserError(f"{address}: {reason}; run the same command again later") from reason
    except ValueError as error:
        raise UserError(f"{address}: answers no JSON; run the same command again later") from error
    if not isinstance(answer, dict):
        raise UserError(f"{address}: answers no JSON object; run the same command again later")
    return answer


def show(positions: Iterable[int], total: int, label: str) -> None:
    """Run through `positions`, bytes done of `total`, and show them in MB."""

    def megabytes() -> Iterator[int]:
        shown = 0
        for position in positions:
            yield from range(shown, position // MB)
            shown = max(shown, position // MB)

    deque(track(megabytes(), total // MB, label, "MB") if label else positions, maxlen=0)


def file_size(path: Path) -> int:
    """Bytes of a file; 0 where there is none."""
    return path.stat().st_size if path.exists() else 0


def _fetch_from(address: str, remote: Remote, part: Path, label: str) -> None:
    """Complete `part` from one address and check it; a wrong one is deleted."""

    def attempt() -> None:
        if file_size(part) != remote.size:
            show(_receive(address, remote, part), remote.size, label)

    _persist(attempt, lambda: file_size(part))
    if wrong := _difference(part, remote):
        _delete(part)
        raise _Refused(f"other content, deleted: {wrong}{remote.note and f' ({remote.note})'}")
    with open(part, "rb") as file:
        os.fsync(file.fileno())


def _receive(address: str, remote: Remote, part: Path) -> Iterator[int]:
    """Append what is missing to `part`, or write it anew; yields its length in bytes."""
    have, version = file_size(part), _version_of(part, address)
    headers = dict(remote.headers)
    if have:
        headers["Range"] = f"bytes={have}-"
        if version:
            headers["If-Range"] = version
    with _open(address, headers) as response:
        start = _start(response, remote.size)
        offered = _version(response)
        if start not in (0, have) or (start and version not in (None, offered)):
            _delete(part)
            raise _Broken("the file there has changed")
        if start == 0:
            _note(part).write_text(f"{address}\n{offered}", encoding="utf-8")
        position = start
        with open(part, "ab" if start else "wb") as file:
            while position < remote.size:
                chunk = _network(partial(response.read1, min(CHUNK, remote.size - position)))
                if not chunk:
                    raise _Broken(f"broke off after {position:,} of {remote.size:,} bytes")
                file.write(chunk)
                position += len(chunk)
                yield position


def _start(response: HTTPResponse, size: int) -> int:
    """The byte that an answer begins with; _Refused if the whole is announced of another size."""
    if response.status == 206:
        span, _, total = response.headers.get("Content-Range", "").partition("/")
        first = span.removeprefix("bytes ").partition("-")[0]
        start = int(first) if first.isdecimal() else -1
    else:
        total, start = response.headers.get("Content-Length", ""), 0
    if total.isdecimal() and int(total) != size:
        raise _Refused(f"announces {int(total):,} bytes, {size:,} were expected")
    return start


def _open(address: str, headers: Mapping[str, str], body: bytes | None = None) -> HTTPResponse:
    if not address.startswith(("http://", "https://")):
        raise _Refused("is neither http nor https")

    def send() -> HTTPResponse:
        request = Request(address, body, AGENT)
        for name, value in headers.items():
            # A ticket to one server is not for another; where to go on in a file is.
            add = request.add_header if "Range" in name else request.add_unredirected_header
            add(name, value)
        return urlopen(request, timeout=TIMEOUT)

    return _network(send)


def _network(call: Callable[[], T]) -> T:
    """Do something on the network; its errors become _Broken or _Refused."""
    try:
        return call()
    except HTTPError as error:
        error.close()
        after = error.headers.get("Retry-After", "")
        if error.code in PASSING:
            raise _Broken(str(error), float(after) if after.isdecimal() else 0.0) from error
        raise _Refused(one_line(error)) from error
    except (OSError, HTTPException) as error:
        reason = " ".join(str(getattr(error, "reason", error)).split())
        raise _Broken(reason[:200] or type(error).__name__) from error
    except ValueError as error:  # of an address that is none
        raise _Refused(str(error)) from error


def _persist(attempt: Callable[[], T], progress: Callable[[], int] = lambda: 0) -> T:
    """Try until it goes well; _Refused after RETRIES further attempts without `progress`."""
    furthest, failures = progress(), 0
    while True:
        try:
            return attempt()
        except _Broken as reason:
            failures = 0 if progress() > furthest else failures + 1
            furthest = max(furthest, progress())
            if failures > RETRIES:
                raise _Refused(f"cannot be fetched ({reason})") from reason
            time.sleep(min(LONGEST_PAUSE, max(reason.pause, PAUSE * 2**failures)))


def _difference(path: Path, remote: Remote) -> str:
    """What is wrong with a file, or ""."""
    if file_size(path) != remote.size:
        return f"expected {remote.size:,} bytes, found {file_size(path):,}"
    algorithm, _, expected = remote.checksum.partition(":")
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, algorithm).hexdigest()
    return "" if found == expected else f"expected {algorithm} {expected}, found {found}"


def _version(response: HTTPResponse) -> str:
    """What the server calls this version of the file; weak ETags may not be resumed from."""
    etag = response.headers.get("ETag", "")
    return etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified", "")


def _version_of(part: Path, address: str) -> str | None:
    """The version that `part` is of; None if it is from elsewhere: then the checksum judges."""
    with contextlib.suppress(OSError, ValueError):
        origin, version = _note(part).read_text(encoding="utf-8").split("\n")
        return version if origin == address else None
    return None


def _note(part: Path) -> Path:
    return part.with_name(f"{part.name}.from")


def _delete(part: Path) -> None:
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)
