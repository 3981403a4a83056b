"""Stage 3: people approve, edit, choose and score; every decision is an event that is only ever appended.

They do so in the review room, a web application (`room.serve`), or in a file (`export`, `take`). An approval is bound
to the sha256 of the text approved. Answers that break a rule may be rewritten: both texts together then show what is
wanted and what is not (joshi.curation.pairs).
"""

from joshi.review.decisions import Decision, apply, decided, events, forget, refresh, rewritable
from joshi.review.exchange import export, export_events, take
from joshi.review.store import Store, open_store

__all__ = [
    "Decision",
    "Store",
    "apply",
    "decided",
    "events",
    "export",
    "export_events",
    "forget",
    "open_store",
    "refresh",
    "rewritable",
    "take",
]
