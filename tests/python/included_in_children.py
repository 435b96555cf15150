"""Plain functions in child processes, of an app that another app includes."""

from typing import Any

from pgjobs import App, Job

app = App()


@app.job("included", run_in="process")
def included(job: Job[None]) -> Any:
    from python.middleware_in_children import request_id

    return request_id.get()
