"""What `pgjobs worker` loads: handlers use models, so Django has to be set up first."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "examples.django_shop.settings")
django.setup()

from examples.django_shop.jobs import app  # noqa: E402

__all__ = ["app"]
