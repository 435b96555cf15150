"""The views of the shop. ATOMIC_REQUESTS makes each of them a transaction."""

from datetime import timedelta

from django.core.exceptions import PermissionDenied
from django.db import connection, transaction
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_POST

from examples.django_shop.jobs import Receipt, app, send_receipt
from examples.django_shop.models import Order


def charge(card: str) -> None:
    """A real shop would ask a bank."""
    if card == "refused":
        raise PermissionDenied("the card was refused")


@require_POST
def add_order(request: HttpRequest) -> JsonResponse:
    """Stores the order and enqueues its receipt; what raises afterwards undoes both."""
    order = Order.objects.create(item=request.POST["item"])
    job = send_receipt.sync.enqueue(
        Receipt(order=order.id), reference=("order", order.id), conn=connection
    )
    charge(request.POST["card"])
    return JsonResponse({"order": order.id, "job": job.id}, status=202)


@transaction.non_atomic_requests
def show(request: HttpRequest, job_id: int) -> JsonResponse:
    """Tells the outcome of a job, and waits for it for a while, outside of a transaction."""
    [outcome] = app.sync.wait([job_id], timeout=timedelta(seconds=5))
    return JsonResponse(
        {"status": outcome.status, "result": outcome.result, "error": outcome.error}
    )
