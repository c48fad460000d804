"""Recognize values that keep a row out of the training, as `holdout`, `never`, `exclude` and `redo`.

Other values of the key decide too: `never` beside `often` is an answer to a question.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from tasks.data.values.field_meanings import TIME_WORDS, word_set
from tasks.data.verdicts.verdict_openings import orders_removal
from tasks.data.verdicts.verdict_values import LONG, MOST_VALUES

# Parts of a data set that nobody learns from, in the spelling of `plain_word`.
_KEPT_BACK = r"hold_?out|held_?out|heldback|kept_back|out_of_sample"
_TESTED = r"test|testing|tst|valid|validation|validate|val|dev|development|eval|evaluation|evaluate|benchmark"
_MORE = r"(?:_?(?:set|split|data|dataset|fold|part|partition|only|sft|gen|prefs|rm|[a-z]?\d{1,2}))*"
_HELD_OUT = re.compile(rf"(?:the_|in_|for_)?(?:{_KEPT_BACK}|{_TESTED}){_MORE}")
_SURELY_HELD_OUT = re.compile(rf"(?:the_|in_|for_)?(?:{_KEPT_BACK}){_MORE}")
_TRAINING = re.compile(rf"(?:the_|in_|for_)?(?:train|training|trn|learn|learning|tune|finetune){_MORE}")
# Other parts beside these.
_PARTS = word_set("- all calibration challenge extra full none other pretrain public rest unlabeled unused")
_SPLITS = word_set(
    """
    fold folds partition partitions portion set split splits subset usage use used_for
    aufteilung teilmenge répartition partición particion partição partizione
    """
)
# What a row is to be, or is not to be.
_LEFT_OUT = re.compile(
    r"(?:to_(?:be_)?)?(?:exclu(?:de|ded|ding|sion)|omit|omitted|discard|discarded|redo|re_?do(?:ne)?|rework|"
    r"start_over|do_over|do_again|redone|leave_out|left_out|throw_out|throw_away|"
    r"ausschließen|ausschliessen|ausgeschlossen|exclure|exclu|excluir|excluido|escludere|escluso|uitsluiten)"
    r"(?:_(?:this|it|one|row|me|from_\w+|because\w*|please|now|all))*"
)
# What a site says to the robots that gather training texts.
_NO_ROBOTS = re.compile(
    r"no_?(?:ai|ml|image_?ai|train|training|ai_training|index|crawl|robots|scraping|tdm|llm)|"
    r"(?:ai|ml|tdm|train|training)_(?:disallow(?:ed)?|forbidden|reserved|denied|opt_?out)"
)
# Words of which two with an underscore are ordinary ones outside of a notice to robots.
_ROBOT_NAMES = word_set(
    "crawl directive directives indexing license licence meta policy rights robots tdm terms"
)
_OFTEN = word_set(
    """
    always current currently daily divorced ever every_day former formerly frequently hardly hardly_ever
    married monthly mostly now often occasionally once rarely regularly seldom single sometimes twice
    usually weekly widowed yearly yes
    """
)
_EDITS = word_set("undo get post put patch insert select update create")
_LAST = TIME_WORDS | word_set("last expiry expires expiration ends frequency often")


def held_out_values(values: Collection[str]) -> set[str]:
    """Return those of a key's values that keep their rows out of the training.

    The values are in the spelling of `plain_word`. `valid` is a judgement, unless `train` beside it makes it
    a part of a data set.
    """
    patterns = (_HELD_OUT, _LEFT_OUT, _NO_ROBOTS)
    found = {value for value in values if value == "never" or any(p.fullmatch(value) for p in patterns)}
    found |= {value for value in values if orders_removal("", value.replace("_", " "))}
    return found if any(map(is_training_part, values)) else found - {"valid"}


def is_training_part(value: str) -> bool:
    """Return whether a value says that its row is for training, as `train` and `training set`."""
    return _TRAINING.fullmatch(value) is not None


def look_held_out(words: Collection[str], values: Collection[str]) -> bool:
    """Return whether some of the few values of a key are parts of a data set to evaluate with.

    Args:
        words: The words of its name. Under `split`, one such value is enough.
        values: All its different values, as `short_values` spells them.
    """
    found = {value for value in values if value}
    if LONG in found or len(found) > MOST_VALUES:
        return False
    if any(map(_SURELY_HELD_OUT.fullmatch, found)):
        return True
    held = {value for value in found if _HELD_OUT.fullmatch(value)}
    others = {value for value in found - held if not is_training_part(value)}
    trained = len(held) + len(others) < len(found)
    return bool(held) and (not _SPLITS.isdisjoint(words) or (trained and others <= _PARTS))


def look_left_out(words: Collection[str], values: Collection[str]) -> bool:
    """Return whether some of the few values of a key leave its row out, or ask to do it again.

    Args:
        words: The words of its name.
        values: All its different values, as `short_values` spells them.
    """
    found = {value for value in values if value}
    if LONG in found or len(found) > MOST_VALUES:
        return False
    if "never" in found and not found & _OFTEN and _LAST.isdisjoint(words):
        return True
    return not found & _EDITS and any(map(_LEFT_OUT.fullmatch, found))


def look_closed_to_robots(words: Collection[str], values: Collection[str]) -> bool:
    """Return whether some values of a key forbid training, as a site tells it to robots.

    Args:
        words: The words of its name. Under the name of a notice, as `license`, `no-ai` is one too.
        values: All its different values, as `short_values` spells them.
    """
    told = not _ROBOT_NAMES.isdisjoint(words)
    return any(_NO_ROBOTS.fullmatch(value) and (told or "_" not in value) for value in values)
