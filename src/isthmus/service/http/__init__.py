"""The service over HTTP: the one place that knows it. docs/serving.md is its page for users.

::

    serve(["runs/retriever", "runs/ranker"], ("127.0.0.1", 8000), "events.sqlite", settings(...))

A request goes through ``protocol`` (a head in time), ``guard`` (name, key, type and size),
``routes`` or ``admin`` (``strict`` JSON into ``bodies``), to ``state``: one thread computes it, or
the event store keeps what came; ``replies`` go back, or ``errors``.
"""
