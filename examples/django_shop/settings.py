"""The settings of the project; the database is the one that pgjobs is installed in."""

import os

from psycopg.conninfo import conninfo_to_dict

from pgjobs import App

given = conninfo_to_dict(App().dsn)

SECRET_KEY = os.environ.get("SECRET_KEY", "a real project keeps it secret")
ALLOWED_HOSTS = ["*"]
USE_TZ = True
INSTALLED_APPS = ["examples.django_shop"]
MIDDLEWARE = ["examples.django_shop.tracing.trace_requests"]
ROOT_URLCONF = "examples.django_shop.urls"
WSGI_APPLICATION = "examples.django_shop.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": given.get("dbname", ""), "USER": given.get("user", ""),
        "PASSWORD": given.get("password", ""),
        "HOST": given.get("host", ""), "PORT": given.get("port", ""),
        # Each view is a transaction, and the jobs that it enqueues are a part of it.
        "ATOMIC_REQUESTS": True,
        # A connection that the server has closed, as its restart does, is noticed before its use.
        "CONN_MAX_AGE": 600, "CONN_HEALTH_CHECKS": True,
    }
}
LOGGING_CONFIG = None  # see tracing.py
