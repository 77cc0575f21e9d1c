"""A plug-in method that ends, or does not end, in a way of its choice; for tests."""

METHOD = """
    import ctypes
    import os
    import resource
    import signal
    import sys
    import time
    from dataclasses import dataclass
    from pathlib import Path
    from typing import ClassVar

    from baselines.ape import Ape

    CALM = Path(__file__).parent / "calm"


    class Odd(BaseException):
        pass


    @dataclass(frozen=True, kw_only=True)
    class Ending(Ape):
        how: str = "well"
        version: ClassVar[int] = 1

        def fit(self, problem, budget, *, seed, progress):
            fit = super().fit(problem, budget, seed=seed, progress=progress)
            if not CALM.exists():
                getattr(self, self.how)()
            return fit

        def well(self):
            pass

        def exit(self):
            sys.exit(0)

        def interrupt(self):
            raise KeyboardInterrupt

        def odd(self):
            raise Odd("neither fish nor flesh")

        def long(self):
            raise RuntimeError("HEAD" + "x" * 3_000_000 + "TAIL")

        def sleep(self):
            time.sleep(10_000)

        def stubborn(self):
            while True:
                try:
                    time.sleep(10_000)
                except Exception:
                    pass

        def hold(self):
            # PyDLL keeps the interpreter's lock: no other thread of Python's runs until it is back.
            ctypes.PyDLL(None).sleep(10_000)

        def vanish(self):
            os._exit(0)

        def segfault(self):
            ctypes.string_at(0)

        def abort(self):
            os.abort()

        def killed(self):
            os.kill(os.getpid(), signal.SIGKILL)

        def memory(self):
            limits = resource.getrlimit(resource.RLIMIT_AS)
            resource.setrlimit(resource.RLIMIT_AS, (2 * 1024**4, limits[1]))
            try:
                bytearray(3 * 1024**4)
            finally:
                resource.setrlimit(resource.RLIMIT_AS, limits)

        def tensor(self):
            import torch

            limits = resource.getrlimit(resource.RLIMIT_AS)
            resource.setrlimit(resource.RLIMIT_AS, (2 * 1024**4, limits[1]))
            try:
                torch.empty(3 * 1024**4, dtype=torch.uint8)
            finally:
                resource.setrlimit(resource.RLIMIT_AS, limits)
"""


def sweep_of(*hows: str, timeout_s: float | None = None) -> str:
    """``endings.yaml``: one pair, and a method of one cell for each way to end, with a limit for those that hang."""
    lines = [
        "name: endings",
        "data: {kind: synthetic, rows: 300, image_encoders: 1, text_encoders: 1, image_dims: [8], text_dims: [8]}",
        "seeds: [0]",
        "storage: runs",
        "methods:",
    ]
    for how in hows:
        limit = f", resources: {{timeout_s: {timeout_s}}}" if timeout_s is not None else ""
        lines.append(f"  {how}: {{method: './ending.py:Ending', how: {how}, epochs: 1, batch_size: 64{limit}}}")
    return "\n".join(lines) + f"\nreference: {hows[0]}\n"
