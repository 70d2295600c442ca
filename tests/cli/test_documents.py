"""What the page on reading shows is what the commands print."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs/howto/read.md"
FILE = re.compile(r"^`(\S+)`\n\n```csv\n(.*?)```$", re.MULTILINE | re.DOTALL)
SHOWN = re.compile(r"^```console\n\$ policyrank (.*?)\n(.*?)```$", re.MULTILINE | re.DOTALL)


def printed(command, folder):
    words = [sys.executable, "-m", "policyrank", *command.split()]
    done = subprocess.run(words, capture_output=True, text=True, cwd=folder)
    return done.stdout + done.stderr


@pytest.mark.parametrize("command", [found[0] for found in SHOWN.findall(PAGE.read_text())])
def test_the_page_on_reading_shows_what_is_printed(tmp_path, command):
    page = PAGE.read_text()
    for name, text in FILE.findall(page):
        (tmp_path / name).write_text(text)
    (shown,) = [text for found, text in SHOWN.findall(page) if found == command]
    assert printed(command, tmp_path) == shown
