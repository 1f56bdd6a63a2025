"""What the gateway costs on this machine, measured beside bare Envoy (``run``) and other gateways (``peers``).

Figures come from one run in which the sides take turns, so that whatever else the machine does hits both.
Deliberately not here: tests (nothing fails because a machine is slow), and any load on anything but loopback.
"""
