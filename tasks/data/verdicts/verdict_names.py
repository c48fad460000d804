"""Recognize keys of verdicts and training masks by their names, or by words that are always verdicts."""

from __future__ import annotations

import re
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

from tasks.data.values.choices import is_choice
from tasks.data.values.field_meanings import (
    ERRORS,
    FALSE,
    KNOWN,
    MASKS,
    NEGATIVE,
    POINTERS,
    POSITIVE,
    REFUSALS,
    TICKS,
    TRUE,
    as_flag,
    flatten_name,
    plain_word,
    with_feminine,
    word_set,
)
from tasks.data.values.list_literals import read_literal
from tasks.data.values.score_values import as_score
from tasks.data.values.several_scores import is_face
from tasks.data.verdicts.foreign_flags import FOREIGN_BAD_FLAGS, FOREIGN_GOOD_FLAGS
from tasks.data.verdicts.verdict_openings import opening_of

_SHORT = 60  # characters; a longer text is a remark, unless its name is a verdict's
LONGEST_LIST = 400  # characters of a text that lists short words

VERDICT_WORDS = word_set(
    """
    accept acceptable accepted accuracy approval approve approved bad banned best better blocked coherence
    correct correctness csat decline declined deleted desirable discard discarded dislike disliked dislikes
    downvote downvoted downvotes drop dropped emoji eval evaluation exact_match exclude excluded factuality
    fail failed faithfulness feedback flag flagged flags fluency good grade graded grades groundedness harmful
    helpful helpfulness hidden ignore ignored incorrect invalid judge judgement judgment keep kept kto label
    labels like liked likes loser moderated moderation nps ok okay pass passed points preference preferred
    quality rank ranking ranks rated rating ratings reaction reactions reject rejected relevance relevancy
    removed reviewed reward rewards satisfaction score scores skip skipped spam star stars thumb thumbs
    thumbsdown thumbsup toxic toxicity truthfulness unhelpful unsafe upvote upvoted upvotes usable use useful
    valid verdict verdicts verified vote voted votes winner wrong
    """
)
# True excludes the row. Any word or number may do so too, and false means nothing.
BAD_WORDS = word_set(
    """
    abusive archived corrupt corrupted crashed deprecated disabled disqualified erroneous error errors
    hallucinated hallucinates hallucination hallucinations hateful inaccurate inactive junk misleading
    obsolete offensive opt_out opted optout outdated poisoned quarantined refusal refusals refused refuses
    retracted revoked superseded trash trashed unfaithful ungrounded untrainable unusable withdrawn
    """
)
# False excludes the row. Any other word or number may do so too, and true means nothing.
GOOD_WORDS = word_set(
    """
    accurate coherent consent consented factual faithful grounded safe truthful
    """
)
# The same for true and false only: a draft may have a number, and a permission a name.
BAD_FLAGS = (
    FOREIGN_BAD_FLAGS
    | word_set(
        """
    aborted ambiguous angry annoyed appealed archive biased blacklisted broken complained complaint complaints
    confidential conflicting contaminated contested copied dangerous defect defective defects delete deletion
    disagreement disputed draft dup dupe duplicate duplicated erased erasure escalate escalated escalation
    exclusion expired explicit fabricated fake flawed flipped forget frustrated garbage hate hide illegal
    incomplete inconclusive infringing insult insulting interrupted inverted irrelevant issue issues leaked
    mistake mistakes needs nsfw obscene pii plagiarised plagiarized preliminary private problem problems
    profane profanity provisional purged racist rejection removal remove reopened reported retired sensitive
    sexist sexual shadowbanned stale suppress suppressed suspicious swapped tainted takedown threat thumbdown
    tie tied tombstone truncated unapproved uncertain unchecked unconfirmed undecided unfinished unhappy
    unlearn unresolved unreviewed unsolved unsupported unsure untested untrusted unverified violation
    violations violence violent
    """
    )
    | word_set(
        """
    annulled breach breached canceled cancelled disregard disregarded embargo embargoed fixme held hold
    minimised
    minimized neither overridden overruled overturned recalled redo regenerated retried reversed reverted
    rework reworked strikethrough struck suspended undone void voided
    """
    )
)
GOOD_FLAGS = FOREIGN_GOOD_FLAGS | word_set(
    """
    active allow allowed appropriate attested checked complete completed confirmed current done eligible
    enabled final
    finalised finalized finished happy include included latest permission permitted proofread public published
    ready relevant resolved retained satisfied selected solved succeeded success successful suitable supported
    tested trusted visible
    """
)
# Beside `by` or `into`.
_REPLACED = word_set("merged replaced")
_NEGATIONS = word_set("dont free no non not without")
MASK_WORDS = word_set(
    """
    learn learnable learned loss mask masked masking masks supervise supervised train trainable training
    weight weighting weights
    """
)
# The choice of a comparison already contains what `score_chosen` and the like say.
_SIDES = frozenset(("chosen", "rejected"))
# Choices between two answers. Choices of a question with several answers are texts.
_CHOICES = word_set("choice pick picked selected selection")
_FILLERS = word_set("been by has human is user was")
# Keys under a verdict or a mask that say whose or which it is.
_ABOUT = frozenset(("id", "name", "user", "by", "time", "date", "at", "source", "model", "type", "offset"))
# Settings of programs whose names contain a word for a verdict.
_SETTINGS = word_set("accept_encoding accept_language skip_prompt_formatting skip_special_tokens")
# Values that are always verdicts, under any name and among any other words.
_ALWAYS = word_set(
    """
    accept accepted approved bad_answer bad_response disapproved do_not_train do_not_use dont_train dont_use
    hallucinated low_quality no_consent opt_out opted_out reject rejected thumbs_down thumbs_up thumbsdown
    thumbsup to_be_deleted unusable wrong_answer 👍 👎 do_not_train_on_this exclude_from_training
    ne_pas_utiliser nicht_benutzen nicht_verwenden no_usar non_usare not_for_training remove
    """
)
# An order not to use a row, in the spelling of `plain_word`.
_FORBIDDEN = re.compile(
    r"(?:(?:please|bitte|por_favor|merci_de)_)*"
    r"(?:(?:do_not|don['’]?t|dont|never|must_not|should_not|not_to|cannot|can['’]?t|not)_(?:be_)?"
    r"(?:use|used|train|trained|learn|learned|publish|published|release|released|include|included|ship|trust|"
    r"keep)|"
    r"(?:nicht|keinesfalls|niemals)_(?:mehr_)?(?:nutzen|benutzen|verwenden|lernen|trainieren|veroffentlichen|"
    r"freigeben|ubernehmen)|"
    r"ne_(?:pas|plus|jamais)_(?:utiliser|employer|publier|apprendre|garder)|a_ne_pas_utiliser|"
    r"no_(?:usar|utilizar|publicar|incluir)|non_(?:usare|utilizzare|pubblicare|includere)|"
    r"nao_(?:usar|utilizar|publicar|incluir)|niet_(?:gebruiken|publiceren|opnemen)|"
    r"не_(?:использовать|публиковать)|请勿使用|不要使用|勿用|使用不可|使用禁止|사용_금지)"
)
_END = re.compile(r"$|[_:;,.!(\[/–—-]")
_REVIEW = re.compile(r"(?:accept|reject)(?:ed|s)?|ignored?")
_ALWAYS_ANSWER = _ALWAYS | TRUE | FALSE
# Words for a doubt, beside a key such as `confidence`. A number there says how sure a person or a program is.
UNSURE = word_set(
    """
    doubtful guess guessed guessing low not_confident not_sure uncertain undecided unsure very_low
    """
)
# Keys that hold what the object around them is named after, as in `verdict.value`.
_HOLDERS = word_set("decision outcome result state status value")
# `answer` may be a final answer, and these words of training are also ordinary ones.
_OTHERWISE = word_set("answer loss mask masked training weight")
# Words for a remark in other languages.
_REMARKED = word_set(
    """
    kommentar kommentare begründung bemerkung anmerkung hinweis notiz commentaire raison remarque comentario
    motivo razón observación comentário observação commento motivazione nota opmerking toelichting reden
    """
)
# What a remark may be about. Under any other word for a verdict, as `rejected`, a reason is a verdict.
_JUDGED_BY = word_set(
    """
    accuracy coherence correctness csat eval evaluation factuality feedback fluency grade graded grades
    helpfulness judge judgement judgment nps points preference quality rank ranking ranks rated rating ratings
    reaction reactions relevance reward rewards satisfaction score scores star stars thumb thumbs
    truthfulness verdict verdicts vote voted votes
    """
)
# Names of removals. A long text under them is what was removed, if every row has one.
_REMOVALS = word_set("deleted discarded dropped excluded hidden ignored removed skipped")
# Words for a judgement beside a text of any length.
_JUDGED = word_set("hallucinated hallucination hallucinations inaccurate misleading unusable withdrawn")
# Names of texts about a verdict, and of texts from which somebody judges.
_WRITTEN = word_set(
    """
    analysis comment comments context criteria critique definition description detail details evidence
    example examples explanation explanations guideline guidelines instruction instructions justification link
    message note notes passage policy prompt question questions rationale reason reasoning reasons remark
    remarks rubric summary template text texts thought thoughts title url why words
    """
)
# Numbers and yes or no begin many texts.
_NUMBERS = TRUE | FALSE | frozenset(("+1", "-1"))
_REACTIONS = word_set("emoji emojis reaction reactions")
_REACTED = ("emoji", "reaction")  # what these words begin with
_WORDS = re.compile(r"[^\W\d_]{3,}\s+\S*[^\W\d_]{2,}")
_NO_LETTERS, _SEPARATORS = re.compile(r"[\W_]+"), re.compile(r"[,;|\n]+")
_DOUBTED = word_set("certainty confidence confident sure")


# A yes of one letter, as `s` for sim and `j` for ja, is a tick under the name of a removal.
_TICKED = TICKS | {"j", "s"}
# Beside one of these a weight is that of a thing.
_UNITS = word_set("birth body g gram grams gross kg kilo kilos lb lbs mg net oz pound pounds ton tonnes tons")
# Names of a text that somebody wrote in place of the answer.
CORRECTION_WORDS = word_set(
    """
    amended corrected correction corrections edit edited edits improved revised revision rewrite rewritten
    suggested suggestion updated correccion corrección correctie correzione correção autorkorrektur korrektur
    korrigiert überarbeitet überarbeitung réécrit réécrite gecorrigeerd verbeterd
    """
) | with_feminine(word_set(
    """
    ajustado corregido corretto corrigido corrigé modificado modificato modifié reescrito reformulado
    reformulé revisado riscritto révisé
    """
))  # fmt: skip
RIGHT_WORDS = word_set("better expected fixed gold golden ideal new")
_ANSWERS = word_set("answer completion content output reply response text version")


# Words by which programs say why a model stopped, of answers that are cut or failed.
_CUT = word_set(
    """
    aborted abort canceled cancelled content_filter cut_off error failed failure incomplete interrupted length
    max_length max_new_tokens max_output_tokens max_tokens model_length refusal timed_out timeout token_limit
    truncated
    """
)
_STOPS = word_set("done finish finished stop stopped termination")
_WHY = word_set("detail details reason state status type")
_HTTP = ("http_status", "http_status_code", "http_code", "status_code", "response_code", "response_status")


def is_failure(value: Any) -> bool:
    """Return whether a request ended with this reason or HTTP status without a whole answer."""
    number = as_score(value)
    if number is not None:
        return 400 <= number < 600
    return isinstance(value, str) and plain_word(value) in _CUT


def looks_like_failure(path: str, value: Any) -> bool:
    """Return whether an unread key says that its answer is cut, or that the request for it failed."""
    name, last, _ = _name_words(path)
    words = set(flatten_name(path.replace(".", "_") if "." in path else path).split("_"))
    # A model's refusal is written as a text of any length.
    failed = (last <= ERRORS | {"message"} and words & ERRORS) or last <= REFUSALS
    if failed and as_flag(value) is None:
        return isinstance(value, str)
    ended = name in _HTTP or (name == "status" and as_score(value) is not None)
    ended = ended or bool(words & _STOPS and words & _WHY)
    return ended and is_failure(value)


def value_parts(value: Any) -> list[Any]:
    """Return the items of a list, also of a text that lists them as `a, b` or `["a", "b"]`."""
    if isinstance(value, str) and len(value) <= LONGEST_LIST and not is_face(value):
        bare = value.strip()
        if bare[:1] + bare[-1:] == "[]" and bare != "[ ]":  # an empty box is no list
            try:
                value = read_literal(bare)
            except ValueError:
                return [value]
        # A decimal comma separates nothing.
        elif _SEPARATORS.search(bare) and not re.fullmatch(r"[-+]?\d+(?:\.\d{3})*,\d+(?:\.\d+)?", bare):
            return [part.strip() for part in _SEPARATORS.split(bare) if part.strip()]
    return value if isinstance(value, list) else [value]


def looks_like_verdict(path: str, value: Any) -> str:
    """Return "a verdict" or "a training mask" for an unread key that looks like one; else empty.

    Under the name of a verdict, any value counts: a long text may be a verdict with its reason. Under other
    names a long text is a remark. A value that is always a verdict, such as `reject`, counts under any name,
    in a list of tags, and before a reason.
    """
    name, last, words = _name_words(path)
    values = value if isinstance(value, list) else [value]
    if any(isinstance(one, dict | list) for one in values):
        return ""
    long = [one for one in values if isinstance(one, str) and len(one) > _SHORT]
    if long:
        looks = _named_for_texts(path, name, last)
        # A mask is a list of numbers, also one that is written as text; words are none.
        prose = looks == "a training mask" and all(_WORDS.search(one) for one in long)
        looks = "" if prose else looks
    else:
        looks = "a verdict" if KNOWN.get(name) == "review" and name not in _OTHERWISE else ""
    if looks:
        return looks
    # Of a text with a reason, only what stands before the reason is short. Other texts begin with any word.
    said = [] if last & _WRITTEN else filter(_is_answer, (opening_of(one, loose=True) for one in values))
    short = [one for one in (*values, *said) if not isinstance(one, str) or len(one) <= _SHORT]
    if short and name not in _SETTINGS:
        if words & MASK_WORDS and words.isdisjoint(_UNITS):
            return "a training mask"
        if words & VERDICT_WORDS and not words & _SIDES and not is_remark_text(path, value):
            return "a verdict"
        if any(_says_unusable(words, one) for one in short):
            return "a verdict"
        if words & _DOUBTED and any(isinstance(one, str) and plain_word(one) in UNSURE for one in short):
            return "a verdict"
        if words & _CHOICES and any(is_choice(one) or as_score(one) in (1, 2) for one in short):
            return "a verdict"
        if words & _SIDES and last - _FILLERS <= _SIDES and any(map(_is_flag, short)):
            return "a verdict"
    told = _ALWAYS_ANSWER if last == {"answer"} else _ALWAYS
    # Chat programs write a thumb as `+1` or `-1`, which elsewhere is a number.
    if any(word in path.lower() for word in _REACTED) and _REACTIONS & set(_NO_LETTERS.split(path.lower())):
        told = told | {"+1", "-1"}
    if last == {"answer"} and isinstance(value, str) and nears_review(value):
        return "a verdict"
    return "a verdict" if _holds_word(value, told) else ""


def _named_for_texts(path: str, name: str, last: frozenset[str]) -> str:
    """Return what a key with a long text looks like by its name alone; empty if that is not enough."""
    kind = KNOWN.get(name)
    if names_removal(path):
        return ""
    if kind is not None and name not in _OTHERWISE:
        return "a training mask" if kind in MASKS else "a verdict"
    words = last
    if last <= _HOLDERS:
        words = frozenset(flatten_name(path).split("_")) - last
    # The text of a rejected answer, or a remark on a verdict, is no verdict.
    if words & _WRITTEN or last & _ABOUT or name in _SETTINGS or words & _SIDES:
        return ""
    ends = name.split("_")[-1].removesuffix("s")
    if words & CORRECTION_WORDS or ends in _ANSWERS or (words & _ANSWERS and words & RIGHT_WORDS):
        return ""
    return "a verdict" if words & (VERDICT_WORDS | _JUDGED) else ""


def names_removal(path: str) -> bool:
    """Return whether a key is named after a removal alone, as `deleted`, and not after its time or reason."""
    last = _name_words(path)[1] - _FILLERS
    return bool(last) and last <= _REMOVALS


def names_rejection(path: str) -> bool:
    """Return whether a key is named after a rejected answer, as `rejected_reason`, and not after its maker.

    Beside two answers it is about the worse one. Beside one answer, or a text, it says that this is rejected.
    """
    _, last, words = _name_words(path)
    return words & _SIDES == {"rejected"} and not last & (_ABOUT - {"type"})


def names_judgement(path: str) -> bool:
    """Return whether a key's name has an English word for a judgement."""
    return bool(_name_words(path)[2] & VERDICT_WORDS)


def is_remark_text(path: str, value: Any) -> bool:
    """Return whether a value is a remark on a judgement, as `too long` under `rating_comment`.

    A remark that is itself an answer, as `good` or `4/5`, may be the judgement.
    """
    _, last, words = _name_words(path)
    if not last & (_WRITTEN | _REMARKED) or not words & VERDICT_WORDS <= _JUDGED_BY:
        return False
    values = value if isinstance(value, list) else [value]
    return all(isinstance(one, str) and not _is_answer(one.strip(" .!")) for one in values)


def names_text(name: str) -> bool:
    """Return whether a name begins or ends with a word for a text, as `comment` and `Bemerkung der QS`."""
    words = flatten_name(name).split("_")
    return not (_WRITTEN | _REMARKED).isdisjoint((words[0], words[-1]))


def holds_verdict(value: Any) -> bool:
    """Return whether a value is a verdict under any name, such as `reject`, also in a list of tags."""
    listed = isinstance(value, list) and any(isinstance(one, dict | list) for one in value)
    return not isinstance(value, dict) and not listed and _holds_word(value, _ALWAYS)


def _holds_word(value: Any, words: frozenset[str]) -> bool:
    said = (plain_word(str(one)) for one in value_parts(value) if _is_short(one))
    if any(one in words or forbids_use(one) for one in said):
        return True
    # A text may go on with the reason, as `Rejected. It is wrong`.
    begun = plain_word(opening_of(value)) if isinstance(value, str) else ""
    return bool(begun) and (begun in words - _NUMBERS or forbids_use(begun))


# Asked for each answer of a data set of exercises; words repeat.
@lru_cache(maxsize=4096)
def nears_review(value: str) -> bool:
    """Return whether a short text holds accept, reject or ignore, or nearly one, as `reject?` and `rejct`."""
    words = plain_word(value).split("_") if len(value) <= _SHORT else []
    parts = [part for word in words for part in re.findall(r"[a-z]+", word)]
    return any(_REVIEW.fullmatch(part) for part in parts) or (
        len(parts) == 1 and bool(get_close_matches(parts[0], ("accept", "reject", "ignore"), 1, 0.8))
    )


def forbids_use(value: str) -> bool:
    """Return whether a value, in the spelling of `plain_word`, forbids the use of its row."""
    found = _FORBIDDEN.match(value) if "_" in value or not value.isascii() else None
    return found is not None and _END.match(value, found.end()) is not None


# Without one of them, no name means anything to `looks_like_verdict` and the like.
NAME_WORDS = frozenset().union(
    BAD_FLAGS, BAD_WORDS, GOOD_FLAGS, GOOD_WORDS, MASK_WORDS, VERDICT_WORDS,
    ERRORS, POINTERS, REFUSALS, _CHOICES, CORRECTION_WORDS, _DOUBTED, _REACTIONS, RIGHT_WORDS, _SIDES, _STOPS,
    _HTTP, KNOWN, ("answer", "exact", "opt", "rejected", "status"),
)  # fmt: skip


@lru_cache(maxsize=4096)
def _name_words(path: str) -> tuple[str, frozenset[str], frozenset[str]]:
    """Return the last name of a path, its words, and the words that describe its values."""
    names = [flatten_name(part) for part in path.split(".")]
    *above, last = (frozenset(name.split("_")) for name in names)
    words = last if last & _ABOUT else last.union(*above)
    if "in" in last and "opted" in words:
        # BAD_WORDS has `opted`, for `opted_out`.
        words = words - {"opted"}
    # GitHub marks the reply that answers a question.
    words = words | {"accepted"} if last == {"is", "answer"} else words
    words = words | {"exact_match"} if {"exact", "match"} <= words else words
    return names[-1], last, words | {"opt_out"} if {"opt", "out"} <= words else words


def _is_answer(opening: str) -> bool:
    """Return whether what stands before a reason may answer the question that a name asks."""
    word = plain_word(opening)
    known = word in POSITIVE | NEGATIVE | _ALWAYS | UNSURE | TICKS or as_flag(opening) is not None
    return bool(opening) and (known or is_choice(opening) or as_score(opening) is not None)


def _is_flag(value: Any) -> bool:
    return as_flag(value) is not None or (isinstance(value, str) and value.strip().lower() in TICKS)


def _is_short(value: Any) -> bool:
    return len(value) <= _SHORT if isinstance(value, str) else isinstance(value, bool | int | float)


def _says_unusable(words: frozenset[str], value: Any) -> bool:
    """Return whether a key with these words in its name excludes its row."""
    ticked = isinstance(value, str) and value.strip().lower() in _TICKED
    flag, negated = ticked or as_flag(value), bool(words & _NEGATIONS)
    # The row that replaces this one, or why it was removed.
    if flag is None and words & POINTERS and words & (BAD_FLAGS | _REPLACED):
        return True
    if flag is None and words == {"rejected", "by"}:
        return True
    bad, good = words & (BAD_WORDS | BAD_FLAGS), words & (GOOD_WORDS | GOOD_FLAGS)
    if not bad and not good:
        return False
    if flag is None:
        return bool(words & (BAD_WORDS | GOOD_WORDS))
    return flag is (bool(bad) is not negated)
