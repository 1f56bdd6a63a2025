"""What ``up``, ``status`` and ``down`` share: one light parent process for Envoy, the processor and the
mocks.

``layout`` says where things are, ``lock`` who runs, ``demo`` what is tried out, ``child`` and ``guard`` how a
process lives and dies, ``watch`` in which order, ``probe`` when all of it answers, ``banner`` what the user
reads. Only the standard library is imported here, so that the start costs nothing but what is started.
"""
