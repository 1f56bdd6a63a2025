"""What operators see of a running gateway from outside: metrics, in Prometheus' exposition format.

Facts of calls flow in at the edge (``extproc``, ``app``), as values that hold no prompt, no answer and no secret;
nothing below the edge knows this package. ``families`` has one module per family of metrics, ``registry`` one line for
each.
"""
