"""The addresses of the shop."""

from django.urls import path

from examples.django_shop import views

urlpatterns = [path("orders", views.add_order), path("jobs/<int:job_id>", views.show)]
