"""The words of a key's name that say which way its values point: for its row, against it, or round."""

from __future__ import annotations

from tasks.data.values.field_meanings import LOWER_IS_BETTER, plain_word, word_set
from tasks.data.verdicts.mark_columns import REFUSED
from tasks.data.verdicts.verdict_names import BAD_FLAGS, BAD_WORDS, GOOD_FLAGS, GOOD_WORDS

# Turn the rest of a name round, as in `not_helpful` and `error_free`.
DENIES = word_set("dont free never no non not nottrain without")
# Turn a quality round, as in `low_quality`.
LITTLE = word_set("few insufficient lacking lacks less low lower missing poor weak worse worst")
# Take a row or a turn out of the training, as in `exclude_from_training`.
REMOVES = word_set(
    """
    avoid ban banned block blocked denied deny disable disabled drop dropped except exclude excluded excludes
    excluding exclusion forbid forbidden ignore ignored omit omitted optout out prohibit prohibited restrict
    restricted skip skipped suppress suppressed untrainable withheld withhold
    """
)
MASK_VERBS = word_set("mask masked masking masks")
# True excludes the row.
LEFT_OUT = (
    BAD_FLAGS
    | BAD_WORDS
    | REMOVES
    | word_set("deleted discard discarded flag flagged harmful hidden opt removed spam toxic unsafe")
)
# False excludes the row.
KEEPS = (
    GOOD_FLAGS
    | GOOD_WORDS
    | word_set("audited checked inspected keep kept reviewed usable use valid validated verified vetted")
)
# Judge an answer: true is bad, and more is worse.
AGAINST = (
    LOWER_IS_BETTER
    | REFUSED
    | word_set(
        """
        bad declined dislike disliked downvote downvoted fail failed incorrect invalid loser reject rejected
        thumbsdown unhelpful wrong
        """
    )
)
RANKS = word_set("loss perplexity position rank ranking ranks")
# In German, 1 is the best grade; in French, 1 is the worst.
NOTES = word_set("note noten")
# Words of a mask's name of which none turns its meaning round.
TO_LEARN = word_set(
    """
    allow allowed and answer assistant be can completion do does eligible enable enabled example fine finetune
    finetuning for include included includes is item keep kept learn learnable learned learning loss mask may
    message messages model of ok on response row sample selected sft should step supervise supervised target
    that the this to token tokens train trainable trained training tune tuning turn turns usable use used
    weight weights with
    """
)
# Values that keep a row beside others that remove it.
CLEAR = KEEPS | {plain_word(word) for word in GOOD_FLAGS} | word_set(
    """
    certain confident current fatto feito fine intact klaar listo live none okay pret pronto restored sure
    upheld
    """
)  # fmt: skip
# Values that are reasons for which a whole answer ends.
WHOLE_ENDS = word_set(
    """
    complete completed done end end_of_text end_of_turn end_turn eos eos_token finished function_call natural
    ok stop stop_sequence stop_string stopped success succeeded tool_call tool_calls tool_use turn_end
    """
)
