"""A shop of Django: an order and the job of its receipt are both stored, or neither.

    python -m django migrate --settings=examples.django_shop.settings
    gunicorn --preload -w 2 -k gthread --threads 8 examples.django_shop.wsgi    # the web processes
    pgjobs worker examples.django_shop.worker:app                               # the worker process

Each line of the logs has the id of the web request that caused it, also in the worker.
"""
