"""Handlers that run in child processes: tests import this module, and so do the children."""

import ctypes
import logging
import os
import signal
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from pgjobs import App, RunningJob
from pgjobs.logs import job_fields

app = App()
SECOND = timedelta(seconds=1)


@app.job("double", run_in="process")
def double(job: RunningJob[int]) -> dict[str, int]:
    return {"doubled": 2 * job.payload, "pid": os.getpid(), "attempt": job.attempt}


@app.job("report", run_in="process")
def report(job: RunningJob[int]) -> None:
    for part in range(job.payload):
        job.report_progress(part + 1, job.payload)
    time.sleep(1.5)
    job.report_progress(-1)  # too late to be written


@app.job("raise", run_in="process", max_retries=0)
def raise_error(job: RunningJob[str]) -> None:
    raise LookupError(job.payload)


@app.job("exit", run_in="process", max_retries=0)
def leave(job: RunningJob[int]) -> None:
    raise SystemExit(job.payload)


@app.job("die", run_in="process")
def die(job: RunningJob[str]) -> None:
    if job.payload == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif job.payload == "faulted":
        ctypes.string_at(0)
    os._exit(3)


@app.job("endless", run_in="process", timeout=SECOND / 5, max_retries=0)
def endless(job: RunningJob[Any]) -> None:
    while True:
        pass


@app.job("stubborn", run_in="process", timeout=SECOND / 5, max_retries=0)
def stubborn(job: RunningJob[Any]) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(60)


@app.job("clean", run_in="process", timeout=SECOND / 5, max_retries=0)
def clean(job: RunningJob[str]) -> None:
    """Removes its file when it is stopped."""
    Path(job.payload).touch()
    try:
        time.sleep(60)
    finally:
        Path(job.payload).unlink()


@app.job("wait", run_in="process")
def wait(job: RunningJob[str]) -> str:
    """Ends soon after it is asked to; its file says that it runs."""
    Path(job.payload).write_text(str(os.getpid()))
    while True:
        job.raise_if_stopping()
        time.sleep(0.01)


@app.job("log", run_in="process")
def speak(job: RunningJob[str]) -> None:
    logging.getLogger("in a child").warning("says %s", job.payload)


class OnlyHere:
    """What another process cannot read; to pickle it logs once more."""

    def __reduce__(self) -> Any:
        logging.getLogger("in a child").warning("while it is pickled")
        raise TypeError


@app.job("log odd", run_in="process")
def speak_oddly(job: RunningJob[Any]) -> None:
    odd: list[Any] = [OnlyHere()]
    logging.getLogger("in a child").warning("odd", extra={"odd": odd, "plain": {"a": [1]}})


class LogsWhenEncoded:
    """Reading it in another process raises."""

    def __reduce__(self) -> Any:
        return int, ("no number",)


@app.job("log unreadable", run_in="process")
def speak_unreadably(job: RunningJob[Any]) -> str:
    logging.getLogger("in a child").warning("odd", extra={"odd": LogsWhenEncoded()})
    time.sleep(0.1)
    return "its own result"


@app.job("reconfigure", run_in="process")
def reconfigure(job: RunningJob[Any]) -> None:
    logging.basicConfig(force=True)


@app.job("fork", run_in="process")
def fork(job: RunningJob[Any]) -> str:
    """Both processes return."""
    if child := os.fork():
        os.waitpid(child, 0)
    return "child" if child == 0 else "parent"


@app.job("leave one behind", run_in="process")
def leave_one_behind(job: RunningJob[Any]) -> None:
    """Dies; a process that lives on has all that it had."""
    os.system("sleep 20 &")
    os.kill(os.getpid(), signal.SIGKILL)


@app.job("close all", run_in="process", timeout=SECOND, max_retries=0)
def close_all(job: RunningJob[str]) -> None:
    Path(job.payload).write_text(str(os.getpid()))
    os.closerange(3, 256)
    time.sleep(60)


@app.job("signalled", run_in="process", max_retries=0)
def signalled(job: RunningJob[Any]) -> str:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.1)
    return "went on"


@app.job("length", run_in="process")
def length(job: RunningJob[str]) -> int:
    return len(job.payload)


@app.job("tell_fields", run_in="process")
def tell_fields(job: RunningJob[None]) -> dict[str, Any]:
    logging.getLogger("shop").info("in the child")
    return job_fields()
