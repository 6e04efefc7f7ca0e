"""A folder that is gone when its process is, however it ends."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stages.runtime.passing import passing_folder
from tests.helpers import ROOT, wait_for


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, 0])
def test_the_folder_is_deleted_however_the_process_ends(how: int):
    code = (
        "import sys; from stages.runtime.passing import passing_folder\n"
        "with passing_folder('test-') as folder:\n"
        "    (folder / 'clip').write_text('a face')\n"
        "    print(folder, flush=True); sys.stdin.read()"
    )
    words = [sys.executable, "-c", code]
    with subprocess.Popen(
        words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdin and process.stdout
        made = Path(process.stdout.readline().decode().strip())
        assert (made / "clip").exists() and made.stat().st_mode & 0o777 == 0o700
        if how:
            process.send_signal(how)
        else:
            process.stdin.close()
    wait_for(lambda: not made.exists(), 10)


def test_what_is_written_while_the_process_ends_is_deleted_too():
    with passing_folder("test-") as made:
        pass
    assert not made.exists()
    (made / "made").mkdir(parents=True)  # as by a child that is about to be killed
    wait_for(lambda: not made.exists(), 10)
