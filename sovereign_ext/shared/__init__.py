"""What several routers keep together in one Valkey or Redis: counts of limits, reservations, health of providers.

IO lives here. What is counted, and what a verdict means, is ``tenants.ledger``'s and ``routing.health``'s to say; the
truth about money is the database's, so that all of it may be lost here and is found again (docs/adr/0014).
"""
