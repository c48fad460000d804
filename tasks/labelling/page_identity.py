"""The name of the label page in its own store, which backups and restorations keep."""

from __future__ import annotations

from sqlalchemy import insert, select

from tasks.labelling.schema import PAGE_TABLE, LabelStore

_SITE = "site"


def page_site(store: LabelStore, first: str) -> str:
    """Return the name of the page in a store; one that has none gets the name `first`."""
    with store.write() as connection:
        found = connection.execute(select(PAGE_TABLE.c.value).where(PAGE_TABLE.c.name == _SITE)).scalar()
        if found is None:
            connection.execute(insert(PAGE_TABLE).values(name=_SITE, value=first))
    return str(found or first)
