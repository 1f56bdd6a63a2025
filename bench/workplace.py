"""Where a measurement is made and how it ends: its directory, its signals, its words on the terminal."""

from __future__ import annotations

import argparse
import contextlib
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import psutil  # type: ignore[import-untyped]

from bench.children import BenchError


@contextlib.contextmanager
def workplace(name: str) -> Iterator[Path]:
    """A directory for one measurement, on the checkout's disk; errors end the program with their text.

    It is under ``build`` and not a temporary directory, which may be kept in memory where fsync costs nothing.
    """

    def end(received: int, _: FrameType | None) -> None:
        raise SystemExit(128 + received)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    Path("build").mkdir(exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix=f"{name}-", dir="build")).resolve()
    try:
        yield directory
    except (BenchError, psutil.Error) as error:
        raise SystemExit(f"{name}: {error}") from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def say(text: str) -> None:
    """Progress, on standard error."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


def at_least_one(text: str) -> int:
    """An option's value; ``argparse`` says what is wrong with it."""
    if text.isascii() and text.isdigit() and int(text) >= 1:
        return int(text)
    raise argparse.ArgumentTypeError(f"expected a number from 1, got {text!r}")
