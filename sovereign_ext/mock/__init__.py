"""A provider that is not one: a real HTTP server speaking each provider's native wire format, faults
included.

Used by the demo, by anyone who wants to try a configuration without an account, by the tests and as the
upstream of benchmarks. It never calls a model and never checks credentials. Only ``cli`` imports this
package; the gateway meets it over HTTP like any other provider. Start with ``MockServer`` in ``server`` or
``RunningMock`` in ``thread``.
"""
