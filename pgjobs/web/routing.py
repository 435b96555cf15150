"""The pages, in the order of the navigation, and the actions: one line for each."""

from pgjobs.web.page import Action, Page
from pgjobs.web.pages import audit, metrics, queues, schedules, system, types, workers
from pgjobs.web.pages.copy import MAX_COPY_FORM_BYTES, copy, run_copy
from pgjobs.web.pages.failures import cancel_group, failures, retry_group
from pgjobs.web.pages.job import cancel, delete, job, retry, run_now
from pgjobs.web.pages.jobs import jobs
from pgjobs.web.pages.many import STEPS, many
from pgjobs.web.pages.overview import overview

PAGES = [
    Page("/", overview, "overview.html", "Overview"),
    Page("/jobs", jobs, "jobs.html", "Jobs"),
    Page("/jobs/many", many, "many.html"),
    Page("/jobs/{job_id}", job, "job.html"),
    Page("/jobs/{job_id}/copy", copy, "copy.html"),
    Page("/failures", failures, "failures.html", "Failures"),
    Page("/queues", queues.queues, "queues.html", "Queues"),
    Page("/queue", queues.queue, "queue.html"),
    Page("/schedules", schedules.schedules, "schedules.html", "Schedules"),
    Page("/schedule", schedules.schedule, "schedule.html"),
    Page("/workers", workers.workers, "workers.html", "Workers"),
    Page("/types", types.types, "types.html", "Types"),
    Page("/audit", audit.audit, "audit.html", "Audit"),
    Page("/system", system.system, "system.html", "System"),
    Page("/metrics", metrics.metrics, None),
]
# The names are those in pgjobs/web/access.py, which says who may take an action.
ACTIONS = [
    *STEPS,  # /jobs/many/retry, cancel, run, delete
    Action("/jobs/{job_id}/retry", "retry", retry),
    Action("/jobs/{job_id}/cancel", "cancel", cancel),
    Action("/jobs/{job_id}/run", "run now", run_now),
    Action("/jobs/{job_id}/copy", "copy", run_copy, MAX_COPY_FORM_BYTES),
    Action("/jobs/{job_id}/delete", "delete", delete),
    Action("/failures/retry", "retry many", retry_group),
    Action("/failures/cancel", "cancel many", cancel_group),
    Action("/queue/pause", "pause queue", queues.pause),
    Action("/queue/resume", "resume queue", queues.resume),
    Action("/schedule/run", "run schedule", schedules.run),
    Action("/schedule/pause", "pause schedule", schedules.pause),
    Action("/schedule/resume", "resume schedule", schedules.resume),
]
