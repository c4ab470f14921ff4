"""``icws-capacity``: plans gateways from a load (docs/scaling.md)."""
