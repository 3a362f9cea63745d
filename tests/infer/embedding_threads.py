"""A host whose threads all start at once, with nothing imported yet; run by test_embedding.py.

Prints how many files each thread wrote, and how many different tables there are among them.
"""

from __future__ import annotations

import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from scarseg_infer import Segmenter
from scarseg_infer.demo import DEMO_ECG, DEMO_STUDY

THREADS = 4


def main(out: Path) -> None:
    """Read, run and write in all threads at once."""
    segmenter = Segmenter.from_model(provider="cpu", threads=1, background=True)
    together = threading.Barrier(THREADS)

    def one(index: int) -> int:
        together.wait()
        result = segmenter.run(DEMO_STUDY, DEMO_ECG)
        together.wait()
        return len(result.write(out / str(index), only=["all"]))

    with ThreadPoolExecutor(THREADS) as pool:
        counts = list(pool.map(one, range(THREADS)))
    tables = {(out / str(index) / "segments.csv").read_bytes() for index in range(THREADS)}
    print(json.dumps([counts, len(tables)]))  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]))
