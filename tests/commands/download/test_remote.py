"""One file from a server that breaks off, lies, changes, refuses or hangs."""

import errno
import hashlib
import os
import random
from pathlib import Path

import pytest

from stages.commands.download import remote
from stages.commands.download.remote import Remote, fetch, file_size, request_json
from stages.runtime.errors import UserError
from tests.file_server import Served, Server, serving

CONTENT = random.Random(1).randbytes(3_500_000)
OTHER = random.Random(2).randbytes(3_500_000)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(remote, "PAUSE", 0.001)
    monkeypatch.setattr(remote, "LONGEST_PAUSE", 0.002)
    with serving() as running:
        running.served["/file"] = Served(CONTENT)
        yield running


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "downloads/file.zip"


def wanted(server: Server, *paths: str, checksum: str = "sha256", size: int = 0) -> Remote:
    digest = hashlib.new(checksum, CONTENT).hexdigest()
    addresses = tuple(server.address + item for item in paths or ("/file",))
    return Remote(addresses, size or len(CONTENT), f"{checksum}:{digest}")


def error_of(remote_file: Remote, path: Path) -> str:
    """The one line of the UserError, with nothing under the final name."""
    with pytest.raises(UserError) as caught:
        fetch(remote_file, path)
    assert not path.exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def begin(server: Server, path: Path, have: int) -> None:
    """Leave the first `have` bytes of /file as a run that was stopped leaves them."""
    server.served["/file"].breaks = [have]
    server.served["/file"].states = []
    retries, remote.RETRIES = remote.RETRIES, -1
    try:
        error_of(wanted(server), path)
    finally:
        remote.RETRIES = retries
    assert path.with_name("file.zip.part").stat().st_size == have
    server.requests.clear()


@pytest.mark.parametrize("checksum", ["md5", "sha256"])
def test_a_file_comes_whole(server: Server, path: Path, checksum: str, capfd):
    fetch(wanted(server, checksum=checksum), path, "file.zip")
    assert path.read_bytes() == CONTENT
    assert list(path.parent.iterdir()) == [path]
    assert capfd.readouterr().err.startswith("file.zip: 3 MB in ")


def test_a_second_run_asks_nothing(server: Server, path: Path):
    fetch(wanted(server), path)
    server.requests.clear()
    fetch(wanted(server), path)
    assert server.requests == []


def test_another_file_in_its_place_is_kept_and_named(server: Server, path: Path):
    path.parent.mkdir()
    for content in (b"mine", OTHER):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"file\.zip: expected .*, found .*; delete it"):
            fetch(wanted(server), path)
        assert path.read_bytes() == content
    assert server.requests == []


def test_it_goes_on_where_the_line_broke(server: Server, path: Path):
    server.served["/file"].breaks = [1_000_000, 500_000, 1, 2, 3, 4, 5, 6]
    fetch(wanted(server), path)
    assert path.read_bytes() == CONTENT
    assert server.ranges()[:4] == ["", "bytes=1000000-", "bytes=1500000-", "bytes=1500001-"]


def test_the_next_run_goes_on_where_the_last_stopped(server: Server, path: Path):
    begin(server, path, 2_000_000)
    fetch(wanted(server), path)
    assert path.read_bytes() == CONTENT
    assert server.ranges() == ["bytes=2000000-"]
    assert server.requests[0][1]["If-Range"] == '"1"'
    assert list(path.parent.iterdir()) == [path]


def test_a_part_that_was_complete_is_checked_without_a_request(server: Server, path: Path):
    path.parent.mkdir()
    path.with_name("file.zip.part").write_bytes(CONTENT)
    fetch(wanted(server), path)
    assert path.read_bytes() == CONTENT and server.requests == []


@pytest.mark.parametrize("blind", [False, True], ids=["told by If-Range", "told by the ETag"])
def test_a_file_that_changed_meanwhile_is_not_joined(server: Server, path: Path, blind: bool):
    server.served["/file"].content = OTHER
    begin(server, path, 1_000_000)
    server.served["/file"] = Served(CONTENT, version='"2"', blind=blind)
    fetch(wanted(server), path)
    assert path.read_bytes() == CONTENT


def test_without_a_version_the_checksum_judges(server: Server, path: Path):
    server.served["/file"] = Served(OTHER, version="")
    begin(server, path, 1_000_000)
    server.served["/file"].content = CONTENT
    assert "other content, deleted" in error_of(wanted(server), path)
    assert list(path.parent.iterdir()) == []
    fetch(wanted(server), path)
    assert path.read_bytes() == CONTENT


def test_a_page_before_the_file_is_not_joined_to_it(server: Server, path: Path):
    """As from a network that wants a log-in first: no length, no version, soon over."""
    server.served["/file"] = Served(b"<html>", version="", length=-1)
    begin(server, path, 6)
    server.served["/file"] = Served(CONTENT, blind=True)
    fetch(wanted(server), path)
    assert path.read_bytes() == CONTENT
    assert server.ranges() == ["bytes=6-", ""]


def test_a_weak_version_is_not_resumed_by(server: Server, path: Path):
    server.served["/file"].version = 'W/"1"'
    server.served["/file"].headers["Last-Modified"] = "Sat, 01 Jan 2022 00:00:00 GMT"
    begin(server, path, 1_000_000)
    server.served["/file"].blind = True
    fetch(wanted(server), path)
    assert server.requests[0][1]["If-Range"] == "Sat, 01 Jan 2022 00:00:00 GMT"


def test_a_server_without_ranges_starts_anew(server: Server, path: Path):
    server.served["/file"].ranges = False
    begin(server, path, 1_000_000)
    server.served["/file"].breaks = [2_000_000, 10]
    fetch(wanted(server), path)
    assert path.read_bytes() == CONTENT
    assert [bool(asked) for asked in server.ranges()] == [True, True, True]


def test_a_server_without_ranges_that_always_breaks_off_is_given_up(server: Server, path: Path):
    server.served["/file"].ranges = False
    server.served["/file"].breaks = [1_000_000, 500_000] * 25
    assert "broke off after 500,000 of 3,500,000 bytes" in error_of(wanted(server), path)
    assert len(server.requests) == remote.RETRIES + 2


@pytest.mark.parametrize("where", ["bytes 5-3499999/3500000", "bytes */3500000", "junk", ""])
def test_an_answer_for_another_place_is_not_appended(server: Server, path: Path, where: str):
    begin(server, path, 1_000_000)
    server.served["/file"].headers["Content-Range"] = where
    fetch(wanted(server), path)
    assert path.read_bytes() == CONTENT
    assert server.ranges() == ["bytes=1000000-", ""]


def test_a_length_too_short(server: Server, path: Path):
    server.served["/file"].length = 1000
    assert "announces 1,000 bytes, 3,500,000 were expected" in error_of(wanted(server), path)
    assert len(server.requests) == 1


def test_a_length_too_long(server: Server, path: Path):
    server.served["/file"].length = len(CONTENT) + 1000
    assert "announces 3,501,000 bytes, 3,500,000" in error_of(wanted(server), path)


def test_a_length_that_is_never_kept(server: Server, path: Path):
    server.served["/file"].length = len(CONTENT)
    server.served["/file"].content = CONTENT[:-7]
    server.served["/file"].headers["Content-Range"] = "bytes 3499993-3499999/3500000"
    line = error_of(wanted(server), path)
    assert f"{server.address}/file: cannot be fetched (broke off after 3,499,993" in line
    assert "goes on at 3,499,993 of 3,500,000 bytes" in line and f"put it at {path}" in line


def test_no_length_and_too_much_content(server: Server, path: Path):
    server.served["/file"] = Served(CONTENT + b"more", length=-1)
    fetch(wanted(server), path)
    assert path.read_bytes() == CONTENT


def test_a_total_that_is_another_when_going_on(server: Server, path: Path):
    begin(server, path, 1_000_000)
    server.served["/file"].content += b"longer"
    assert "announces 3,500,006 bytes" in error_of(wanted(server), path)


def test_wrong_bytes_are_deleted_and_named(server: Server, path: Path):
    server.served["/file"].content = OTHER
    line = error_of(wanted(server, checksum="md5"), path)
    expected, found = (hashlib.md5(each).hexdigest() for each in (CONTENT, OTHER))
    assert f"{server.address}/file: other content, deleted: expected md5 {expected}" in line
    assert f"found {found}" in line
    assert list(path.parent.iterdir()) == []


def test_who_recorded_the_checksum_is_said(server: Server, path: Path):
    server.served["/file"].content = OTHER
    noted = Remote((f"{server.address}/file",), len(CONTENT), "md5:0", note="by third parties")
    assert "(by third parties)" in error_of(noted, path)


@pytest.mark.parametrize(
    "first", [Served(states=[404] * 9), Served(OTHER), Served(length=3, content=b"abc")]
)
def test_the_next_address_is_tried(server: Server, path: Path, first: Served):
    server.served["/first"] = first
    fetch(wanted(server, "/first", "/file"), path)
    assert path.read_bytes() == CONTENT


def test_the_next_address_goes_on_where_the_first_broke(server: Server, path: Path):
    server.served["/first"] = Served(CONTENT, breaks=[1_000_000], version='"a"')
    server.served["/first"].breaks += [0] * 9
    fetch(wanted(server, "/first", "/file"), path)
    assert path.read_bytes() == CONTENT
    assert server.requests[-1] == ("/file", server.requests[-1][1])
    assert server.ranges()[-1] == "bytes=1000000-"
    assert "If-Range" not in server.requests[-1][1]


def test_passing_states_are_waited_for(server: Server, path: Path):
    server.served["/file"].states = [503, 429, 500, 502]
    server.served["/file"].headers["Retry-After"] = "1"
    fetch(wanted(server), path)
    assert path.read_bytes() == CONTENT


def test_retry_after_is_obeyed(server: Server, path: Path, monkeypatch: pytest.MonkeyPatch):
    slept = []
    monkeypatch.setattr(remote, "LONGEST_PAUSE", 120.0)
    monkeypatch.setattr(remote.time, "sleep", slept.append)
    server.served["/file"].states = [429, 429, 503]
    server.served["/file"].headers["Retry-After"] = "77"
    fetch(wanted(server), path)
    assert slept == [77.0, 77.0, 77.0]


@pytest.mark.parametrize(("state", "requests"), [(404, 1), (403, 1), (503, remote.RETRIES + 1)])
def test_a_state_that_stays_is_an_error(server: Server, path: Path, state: int, requests: int):
    server.served["/file"].states = [state] * 20
    line = error_of(wanted(server), path)
    assert f"HTTP Error {state}" in line and "run the same command again" in line
    assert len(server.requests) == requests


def test_a_server_that_hangs(server: Server, path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(remote, "TIMEOUT", 0.1)
    server.served["/file"].seconds = 20
    assert "timed out" in error_of(wanted(server), path)


def test_no_server_at_all(server: Server, path: Path):
    nowhere = Remote(("http://127.0.0.1:9/file",), 5, "md5:0")
    line = error_of(nowhere, path)
    assert "http://127.0.0.1:9/file: cannot be fetched" in line and "Connection refused" in line


@pytest.mark.parametrize("address", ["file:///etc/passwd", "data:,x", "nonsense", "http://[x/"])
def test_other_than_http_is_refused(path: Path, address: str):
    assert address in error_of(Remote((address,), 5, "md5:0"), path)


def test_a_ticket_is_sent_but_not_to_another_server(server: Server, path: Path):
    server.served["/moved"] = Served(
        states=[302] * 9, headers={"Location": f"{server.address}/file"}
    )
    begin(server, path, 1_000_000)
    moved = wanted(server, "/moved")
    fetch(Remote(moved.addresses, moved.size, moved.checksum, {"Authorization": "x"}), path)
    assert path.read_bytes() == CONTENT
    (_, to_first), (_, to_second) = server.requests
    assert to_first["Authorization"] == "x" and "Authorization" not in to_second
    assert to_second["Range"] == "bytes=1000000-"
    assert "Python" not in to_first["User-Agent"]


def test_no_room(server: Server, path: Path):
    huge = Remote((f"{server.address}/file",), 1 << 60, "md5:0")
    assert "no space" in error_of(huge, path)
    assert server.requests == []


def test_a_disk_that_fills_up(server: Server, path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(remote.os, "fsync", full)
    line = error_of(wanted(server), path)
    assert "No space left" in line and "free space" in line
    assert len(server.requests) == 1


def test_json(server: Server):
    server.served["/json"] = Served(b'{"a": 1}', states=[503])
    assert request_json(f"{server.address}/json") == {"a": 1}
    server.served["/post"] = Served(posted=lambda body: b'{"got": ' + body + b"}")
    assert request_json(f"{server.address}/post", {"b": 2}, "x/y") == {"got": {"b": 2}}
    assert server.requests[-1][1]["Content-Type"] == "x/y"


@pytest.mark.parametrize(
    ("content", "what"), [(b"<html>", "no JSON"), (b"[]", "no JSON object"), (b"\xff", "no JSON")]
)
def test_other_than_json(server: Server, content: bytes, what: str):
    server.served["/json"] = Served(content)
    with pytest.raises(UserError, match=f"{server.address}/json: answers {what}"):
        request_json(f"{server.address}/json")
    with pytest.raises(UserError, match="/none: HTTP Error 404"):
        request_json(f"{server.address}/none")


def test_size_of_nothing(tmp_path: Path):
    assert file_size(tmp_path / "none") == 0
