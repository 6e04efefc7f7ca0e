"""Weights that cannot be had: one line that says which, where from, and where to put them."""

import hashlib
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import torch

from stages.encoders.weights import (
    checkpoint_path,
    fetching,
    sha256_prefix_ok,
    warn_if_renamed,
)
from stages.io.files import file_sha256
from stages.runtime.errors import UserError

CONTENT = b"not really weights"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path / "hub/checkpoints"


@pytest.fixture
def server():
    """Serves CONTENT everywhere, cut short below /cut/ and not at all below /gone/."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(404 if self.path.startswith("/gone/") else 200)
            longer = 1000 if self.path.startswith("/cut/") else 0
            self.send_header("Content-Length", str(len(CONTENT) + longer))
            self.end_headers()
            self.wfile.write(CONTENT)

        def log_message(self, *arguments):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


def load(url: str) -> None:
    with fetching(url):
        torch.hub.load_state_dict_from_url(url, progress=False, check_hash=True)


def test_no_network(cache: Path):
    url = "http://127.0.0.1:9/net-0123abcd.pth"
    with pytest.raises(UserError) as caught:
        load(url)
    line = str(caught.value)
    assert "\n" not in line
    assert url in line and f"put it at {cache}/net-0123abcd.pth" in line
    assert list(cache.iterdir()) == []


def test_not_on_the_server(cache: Path, server: str):
    with pytest.raises(UserError, match="404.*put it at"):
        load(f"{server}/gone/net.pth")
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("path", ["/net-0123abcd.pth", "/cut/net-0123abcd.pth"])
def test_other_content_than_the_hash_in_the_name(cache: Path, server: str, path: str):
    with pytest.raises(UserError, match="download is damaged.*invalid hash value.*0123abcd"):
        load(server + path)
    assert list(cache.iterdir()) == []


def test_without_a_hash_a_damaged_file_is_named(cache: Path, server: str):
    with pytest.raises(UserError, match=rf"{cache}/net\.pth is damaged.*delete it"):
        load(f"{server}/cut/net.pth")


def test_a_server_that_does_not_answer_does_not_hang(cache: Path, monkeypatch):
    monkeypatch.setattr("stages.encoders.weights.TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/net.pth"
        with pytest.raises(UserError, match="timed out"):
            load(url)
    assert socket.getdefaulttimeout() is None


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match="Not a directory"):
        load("http://127.0.0.1:9/net.pth")


def test_other_errors_pass(cache: Path):
    for error in (KeyError("x"), torch.OutOfMemoryError("x"), UserError("x")):
        with pytest.raises(type(error)), fetching("http://127.0.0.1:9/net.pth"):
            raise error


def test_sha256_of_a_file_and_of_its_name(cache: Path, capsys):
    cache.mkdir(parents=True)
    digest = hashlib.sha256(CONTENT).hexdigest()
    names = {f"net-{digest[:8]}.pth.tar": True, "net-0123abcd.pth": False, "net-a.pth": True}
    for name, ok in names.items():
        path = checkpoint_path(f"https://example.org/v1/{name}?download=1")
        assert path == cache / name
        path.write_bytes(CONTENT)
        assert file_sha256(path) == digest
        assert sha256_prefix_ok(path) == ok
        warn_if_renamed(path)
        warning = capsys.readouterr().err
        assert (f"warning: {path}" in warning) != ok and warning.count("\n") == (not ok)
