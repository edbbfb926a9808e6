"""One framework in one process: prepares cases and times them on demand.

Reads JSON lines, answers JSON lines; `benchmarks.run` talks to it.
"""

import json
import os
import sys
import time

from benchmarks.cases import Case, Run, prepare
from benchmarks.machine import Clock, matmul_peak


def main(framework: str) -> None:
    """Answers until the input ends."""
    answers = os.fdopen(os.dup(1), "w")  # what libraries print goes elsewhere
    os.dup2(2, 1)
    if framework == "jvae":
        from jvae.experiments.process import keep_freed_memory

        keep_freed_memory()  # as its runs do; PyTorch gains nothing from it (BUILD_NOTES)
    else:
        import torch

        torch.set_num_threads(len(os.sched_getaffinity(0)))
    runs: dict[tuple[Case, str], Run] = {}
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "peak":
            answer = {"gflops": matmul_peak(framework)}
        elif request["do"] == "forget":  # the case is over: its memory is needed
            runs.clear()
            answer = {}
        else:
            key = Case(*request["case"]), request["contestant"]
            answer = {}
            if key not in runs:
                start = time.perf_counter()
                runs[key] = prepare(*key)
                runs[key]()
                answer["first"] = time.perf_counter() - start
                runs[key]()
            with Clock() as clock:
                for _ in range(request["repeat"]):
                    runs[key]()
            answer |= {"seconds": clock.seconds / request["repeat"], "foreign": clock.foreign}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
