"The command line in this process, which has imported already what a process of its own needs seconds for."

import io
import logging
import signal
import sys
from contextlib import redirect_stderr, redirect_stdout
from typing import NamedTuple
from unittest.mock import patch

from tiktok_mm.cli import main


class Answer(NamedTuple):
    "What a command came to."

    returncode: int
    stdout: str
    stderr: str


def tiktok_mm(*arguments) -> Answer:
    "What `tiktok-mm` with these arguments prints, and its exit code."
    log, code = logging.getLogger("tiktok_mm"), 0
    handlers, level, handler = list(log.handlers), log.level, signal.getsignal(signal.SIGTERM)
    with redirect_stdout(io.StringIO()) as output, redirect_stderr(io.StringIO()) as errors:
        try:
            with patch.object(sys, "argv", ["tiktok-mm", *map(str, arguments)]):
                main()
        except SystemExit as end:
            code = end.code or 0
        finally:
            signal.signal(signal.SIGTERM, handler)
            log.handlers, log.level = handlers, level
    return Answer(code, output.getvalue(), errors.getvalue())
