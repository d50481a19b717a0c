"""Running the command line as a user does."""

from __future__ import annotations

import os
import subprocess
import sys


def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """`eventtree ARGUMENTS` with more environment."""
    return subprocess.run(
        [sys.executable, "-m", "eventtree", *arguments],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=300,
    )
