"""The io worker: intake of inputs, and what beat asks for. One file per duty; `app` is the Celery application."""
