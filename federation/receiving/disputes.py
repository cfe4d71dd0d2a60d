"""What peers dispute of ours."""

from sqlalchemy import Connection

from federation.instance import Instance
from federation.wire.activity import Flag


def may_dispute(conn: Connection, instance: Instance, flag: Flag) -> bool:
    """Tell whether a Flag is worth taking down."""
    return False


def note_dispute(conn: Connection, instance: Instance, flag: Flag) -> None:
    """Write a dispute down."""
