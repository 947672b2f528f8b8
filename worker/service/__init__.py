"""The worker process: what Celery runs."""
