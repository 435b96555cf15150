"""The demo's pipeline as a worker's app: ``pgjobs worker examples.ingest:app``.

It ships with the package, so that ``pgjobs demo`` runs it anywhere: see pgjobs/demo/pipeline.py.
"""

from pgjobs.demo.pipeline import app

__all__ = ["app"]
