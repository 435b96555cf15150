"""The pages, in the order of the navigation, and the actions: one line for each."""

from pgjobs.web.page import Action, Page
from pgjobs.web.pages.failures import cancel_group, failures, retry_group
from pgjobs.web.pages.job import cancel, job, retry
from pgjobs.web.pages.jobs import jobs
from pgjobs.web.pages.overview import overview

PAGES = [
    Page("/", overview, "overview.html", "Overview"),
    Page("/jobs", jobs, "jobs.html", "Jobs"),
    Page("/jobs/{job_id}", job, "job.html"),
    Page("/failures", failures, "failures.html", "Failures"),
]
# The names are those in pgjobs/web/access.py, which says who may take an action.
ACTIONS = [
    Action("/jobs/{job_id}/retry", "retry", retry),
    Action("/jobs/{job_id}/cancel", "cancel", cancel),
    Action("/failures/retry", "retry many", retry_group),
    Action("/failures/cancel", "cancel many", cancel_group),
]
