"""The command line: `treadle dev`, `serve`, `worker`, `trigger`, `runs`, `token`, `migrate`, `doctor`,
`bench`.

Nothing heavy is imported until a command runs, so that `treadle --help` is instant; each command lives in a file of its
own and imports what it needs inside its function.
"""

import os
import sys


def main() -> None:
    """Entry point of the `treadle` script."""
    from treadle.cli.app import app

    try:
        app(prog_name="treadle")
    finally:
        _flush_quietly()


def _flush_quietly() -> None:
    # `treadle runs list | head -1` closes our stdout early; that is no reason for a traceback at exit.
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
