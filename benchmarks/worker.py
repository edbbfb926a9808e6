"""One framework in one process: prepares cases and times them on demand.

    python -m benchmarks.worker FRAMEWORK DEVICE [tf32]

Reads JSON lines, answers JSON lines; `benchmarks.run` talks to it.
"""

import json
import os
import sys
import time

from benchmarks import device as devices
from benchmarks.cases import Case, Run, prepare
from benchmarks.machine import Clock, matmul_peak
from jvae.runs.process import keep_freed_memory


def main(framework: str, device: str, tf32: bool) -> None:
    """Answers until the input ends."""
    answers = os.fdopen(os.dup(1), "w")  # what libraries print goes elsewhere
    os.dup2(2, 1)
    keep_freed_memory()  # as jvae's runs do; PyTorch, which does not by itself, is given it too
    devices.use(framework, device, tf32)
    runs: dict[tuple[Case, str], Run] = {}
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "describe":
            gflops = matmul_peak(framework, device)
            answer = {"device": devices.name(framework, device), "gflops": gflops}
        elif request["do"] == "forget":  # the case is over: its memory is needed
            runs.clear()
            answer = {}
        else:
            key = Case(*request["case"]), request["contestant"]
            answer = {}
            if key not in runs:
                start = time.perf_counter()
                runs[key] = prepare(*key, device)
                runs[key]()
                answer["first"] = time.perf_counter() - start
                runs[key]()
            with Clock() as clock:  # every run waits for its device, so none is under way
                for _ in range(request["repeat"]):
                    runs[key]()
            answer |= {"seconds": clock.seconds / request["repeat"], "foreign": clock.foreign}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], "tf32" in sys.argv[3:])
