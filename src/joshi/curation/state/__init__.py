"""The state of a negotiation at one moment, read from its messages where the source does not state it."""
