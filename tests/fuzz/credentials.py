"""The whole corpus of credentials at the scanner, for a stated time.

``python tests/fuzz/credentials.py --seconds 60`` (``make fuzz-scan``). Every kind in every form, hiding and place is
some millions of requests; each run draws from them with other seeds, and every so often takes a whole family of
``corpus_cases``. What must come out is known byte by byte from how the request was made
(``tests/unit/scanner/corpus.py``). The first mistake ends the run with the seed that repeats it. Deliberately has no
own way of looking for keys, which could be wrong as well.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from itertools import count
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TESTS / "unit" / "scanner"))

from corpus_cases import Corpus  # noqa: E402
from corpus_kinds import MAKERS, SETTINGS  # noqa: E402
from test_scanner_corpus import FAMILIES, SCANNER, wrong  # noqa: E402

from sovereign_ext.scanner.registry import DETECTORS  # noqa: E402

AT_ONCE = 400
"""Requests of one seed."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="make fuzz-scan", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, help="repeats what a run told")
    options = parser.parse_args()
    wrapping = [each.kind for each in DETECTORS if each.wraps]
    until = time.monotonic() + options.seconds
    seeds = (random.SystemRandom().getrandbits(32) for _ in count())
    requests = kinds = doubtful = 0
    for seed in [options.seed] if options.seed is not None else seeds:
        corpus = Corpus(MAKERS, SETTINGS, wrapping, seed)
        family = random.Random(seed).choice((*FAMILIES, *["drawn"] * 20))
        for case in corpus.drawn(AT_ONCE) if family == "drawn" else getattr(corpus, family)():
            fault = wrong(SCANNER, case)
            requests, kinds = requests + 1, kinds + len(case.findings)
            doubtful += case.also is not None
            if fault is not None:
                print(f"seed {seed}: {case.name}: {fault}\n{case.body!r}")
                return 1
        if time.monotonic() > until:
            break
    print(f"{requests:,} requests with {kinds:,} credentials: all found, nothing else changed")
    print(f"in {doubtful:,} of them the last line of a key could be a word, and might stay")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
