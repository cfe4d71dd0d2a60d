"""Keeps what awaits or holds a person's decision: cases, their pictures, what they rest on.

    open -> upheld | dismissed | escalated, any of them -> reopened -> any of them

Nothing here restores itself: a case whose ground lapses returns to people, with the reason.
Every function that writes wants a write transaction.
"""

from sqlalchemy import Connection, select, update

from cache.case_tables import case_grounds, cases


def recheck_issuer(connection: Connection, issuer_id: int, *, reason: str) -> int:
    """Let every case that rests on this issuer be looked at again at once; return how many.

    To be called when its weight or its state fell; `reason` is shown with a case that lost its
    ground by it, e.g. "https://a.example is suspended".
    """
    resting = select(case_grounds.c.case_id).where(
        case_grounds.c.issuer_id == issuer_id, case_grounds.c.gone.is_(None)
    )
    due = update(cases).where(cases.c.id.in_(resting)).values(recheck=0, recheck_reason=reason)
    return int(connection.execute(due).rowcount)
