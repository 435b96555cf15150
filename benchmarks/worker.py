"""A worker process of any Python system: ``python -m benchmarks.worker ORDER``.

Prints "first" when the first job starts, and its report, as JSON, at the end. Without
``until_empty`` it ends when its stdin is closed, so at the latest with the process that started it.
"""

import asyncio
import json
import logging
import sys
import threading
import time
from dataclasses import asdict

from .orders import Order, Recorder
from .systems import SYSTEMS


async def _work(order: Order, recorder: Recorder) -> None:
    stop = asyncio.Event()
    if not order.until_empty:
        loop = asyncio.get_running_loop()

        def wait_for_end() -> None:
            sys.stdin.read()
            loop.call_soon_threadsafe(stop.set)

        threading.Thread(target=wait_for_end, daemon=True).start()
    recorder.report.began = time.monotonic()
    await SYSTEMS[order.system].work(order, recorder, stop)
    recorder.finish()


def main() -> None:
    """Runs one order."""
    logging.basicConfig(level=logging.WARNING)
    order = Order.from_json(sys.argv[1])
    recorder = Recorder(order.kind, lambda: print("first", flush=True))
    asyncio.run(_work(order, recorder))
    print(json.dumps(asdict(recorder.report)), flush=True)


if __name__ == "__main__":
    main()
