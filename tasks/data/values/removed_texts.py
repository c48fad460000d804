"""Recognize texts that are only the mark of a removed one, as forums and chat programs write it."""

from __future__ import annotations

import re

_REMOVED = (
    r"(?:deleted|removed|redacted|withdrawn|unavailable|gelöscht|entfernt|supprimée?|retirée?|eliminad[oa]|"
    r"borrad[oa]|removid[oa]|apagad[oa]|excluíd[oa]|eliminat[oa]|rimoss[oa]|verwijderd|удалено|已删除|削除済み|削除)"
)
# As forums and chat programs write it: [deleted], [ Removed by Reddit ], <message deleted>.
_BY = r"(?:\s+(?:by|von|par|por|da|door)(?:\s+\w+){1,3})?"
_MARK = re.compile(rf"[\[(<{{*]\s*(?:[^\W\d]+\s+){{0,2}}{_REMOVED}{_BY}\s*[\])>}}*]\.?", re.I)
_SENTENCE = re.compile(
    r"(?:this|the)\s+(?:message|comment|post|answer|content|reply)\s+(?:was|has\s+been)\s+(?:deleted|removed)"
    r"(?:\s+by\s+[\w\s]{1,30})?\.?|you\s+deleted\s+this\s+message\.?|<media\s+omitted>|"
    r"diese\s+nachricht\s+wurde\s+gelöscht\.?|ce\s+message\s+a\s+été\s+supprimé\.?|"
    r"se\s+eliminó\s+este\s+mensaje\.?|mensagem\s+apagada\.?|questo\s+messaggio\s+è\s+stato\s+eliminato\.?",
    re.I,
)
_LONGEST = 80  # characters of such a mark


def is_removed(text: str) -> bool:
    """Return whether a text is only the mark of a removed one, such as `[deleted]`."""
    bare = text.strip()
    return 0 < len(bare) <= _LONGEST and bool(_MARK.fullmatch(bare) or _SENTENCE.fullmatch(bare))
