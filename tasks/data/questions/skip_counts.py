"""Ask what the keys mean that reading skips, and list what it skipped: nothing is dropped silently."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from model.errors import UserError
from tasks.common.aspects import KNOWN_ASPECTS
from tasks.common.counts import counted
from tasks.data.questions.key_counts import KeyCounts
from tasks.data.questions.proposed_meanings import (
    GOLD,
    GOLD_LIST,
    OTHER_CHOICE,
    REJECTION,
    RIGHT,
    UNKNOWN,
    VOTE_COLUMN,
    propose_meaning,
    propose_vote,
)
from tasks.data.questions.question_text import (
    NAMED_VOTES,
    REPLACED_ROW,
    describe_aspect,
    describe_companion,
    describe_listed,
    describe_listed_field,
    describe_literal,
    describe_nameless,
    describe_others,
    describe_quarantined,
    describe_special,
    describe_times,
    describe_two_scales,
    describe_unknown_columns,
    describe_unread,
    describe_vote_columns,
    describe_word,
    format_example,
    values_mapping,
)
from tasks.data.questions.seen_keys import Seen
from tasks.data.questions.text_properties import without_properties
from tasks.data.questions.unknown_columns import find_unknown_columns
from tasks.data.questions.vote_columns import describe_values, find_vote_columns
from tasks.data.values.annotators import PEOPLE, listed_person, names_annotator
from tasks.data.values.choices import contradicts_choices
from tasks.data.values.field_meanings import ACCEPT, ANNOTATOR, KNOWN, REJECT, VOTES, flatten_name, word_set
from tasks.data.values.key_text import ascii_controls, shown_key, yaml_key
from tasks.data.values.scale_direction import scale_direction
from tasks.data.values.score_values import as_score
from tasks.data.values.several_scores import find_counts, find_reactions
from tasks.data.values.verdict_scales import find_two_scales, rises
from tasks.data.verdicts.decision_states import look_decided
from tasks.data.verdicts.marking_texts import look_marked
from tasks.data.verdicts.name_words import RANKS
from tasks.data.verdicts.negative_names import looks_deducted, speaks_against
from tasks.data.verdicts.survey_columns import is_coded_question
from tasks.data.verdicts.verdict_pairs import look_like_approval, look_opposite
from tasks.data.verdicts.verdict_phrases import look_like_phrases
from tasks.data.verdicts.verdict_values import (
    LONG,
    bare_words,
    look_like_openings,
    look_like_verdicts,
)

VERDICT = "a verdict"
# Kinds in KNOWN that are the verdict on an answer.
RATED = ("thumb", "thumb_down", "word", "number")
# What the votes of all people say, which is nobody's vote.
_SUMMARIES = word_set(
    "consensus majority konsens mehrheit mehrheitsurteil majorité majorite mayoría maggioranza maioria"
)
# Names of the question that a label answers.
_ASPECTS = word_set(
    "aspect aspekt aspecto aspetto criteria criterion criterio criterium critère dimension facet kriterium"
)
# Keys of conversations, whose turns have answers.
TURN_LISTS = ("messages", "conversations", "conversation", "chat", "turns", "dialog", "dialogue")
_ODD = 0.1  # the share of choices that name no answer, above which their meaning is asked for
_NAMED = 12  # keys that a message lists
_PROPOSED = 40  # keys for which a message proposes a meaning


@dataclass
class SkipCounts(KeyCounts):
    """Counts of what reading one source skips, and the questions that follow from them.

    The counts of parts are added up with `add` in their order.
    """

    def _read_columns(self) -> tuple[dict[str, str], frozenset[str]]:
        """Return the columns that count votes, with their meanings, and the values of all vote columns."""
        people = find_vote_columns(self.cells, among=self.unread)
        votes = frozenset[str]().union(*(self.values[name] for name in people))
        reactions = find_reactions(self.values)
        if not self.pairs:
            return dict.fromkeys(reactions, "ignore"), votes
        return {**find_counts(self.values), **reactions}, votes

    def propose(
        self, path: str, looks: str, columns: tuple[dict[str, str], frozenset[str]] | None = None
    ) -> str:
        """Return a proposal for the meaning of a key. `columns` is what `_read_columns` returns."""
        if path in self.inside or looks == OTHER_CHOICE:
            return "ignore"
        if looks in (NAMED_VOTES, REPLACED_ROW):
            return UNKNOWN
        counts, votes = columns or self._read_columns()
        if path in counts:
            return counts[path]
        if looks == VOTE_COLUMN:
            # Somebody may have given one number only, so the scale is that of all people.
            values = votes | self.values.get(path, set())
            # Pairs with votes in other columns are ratings.
            if set(flatten_name(path).split("_")) & _SUMMARIES:
                return "ignore"
            able, sides = self.pairs > 0 or bool(self.votes.read and not self.compared), self.numbered
            return propose_vote(path, values, self.cells[path], able, self.compared, sides)
        able = (self.answers if looks in RIGHT else self.pairs) > 0
        return propose_meaning(path, looks, self.values.get(path, ()), able, path in self.understood)

    def _propose_listed(self, asks: Collection[str]) -> dict[str, str]:
        """Return the meanings of the verdict beside one person in the objects of each list.

        Of several verdicts a person must say which one counts: ignore learns the answers that they reject.
        """
        found: dict[str, str] = {}
        for path in (one for one in asks if one in self.inside):
            person, (name, _, _) = listed_person(path, self.unread), path.rpartition("[].")
            judged = [one for one in asks if one.startswith(f"{name}[].") and one != person]
            if person and path in judged and self._takes_votes(path) and self._is_of_row_or_turn(path):
                found |= {path: "vote" if judged == [path] else UNKNOWN, person: ANNOTATOR}
        return found

    def _is_of_row_or_turn(self, path: str) -> bool:
        """Return whether a key is in a list of a row, or in one of a turn."""
        outer, _, last = path.partition("[].")
        return "[]" not in last or (last.count("[]") == 1 and outer in TURN_LISTS)

    def _takes_votes(self, path: str) -> bool:
        """Return whether the rows have answers to rate, and no key of this list is read as the vote yet."""
        name = path.rpartition("[].")[0]
        return self.answers > 0 and not any(one.startswith(f"{name}[].") for one in self.votes.read)

    def propose_all(self, asks: Mapping[str, Seen]) -> dict[str, str]:
        """Return a proposal for each key that is asked about, such that a row can be read with all of them.

        An answer has one verdict. Where several keys could be it, flags are reviews, or remove rows if
        their names are against these. A person must say which of the others counts.
        """
        mixed, columns = self._mixed_keys(), self._read_columns()
        found = {
            path: mixed.get(path) or self.propose(path, seen.looks, columns) for path, seen in asks.items()
        }
        found |= self._propose_listed(asks)
        rated = [path for path, said in found.items() if said in ("verdict", "penalty") and "[]" not in path]
        read = [path for path in self.understood if KNOWN.get(flatten_name(path)) in RATED]
        taken = bool({*VOTES, "upvotes", "downvotes"} & set(found.values())) or any(
            path not in found for path in read
        )
        if len(rated) + taken > 1:
            flags = [path for path in rated if set(self.values.get(path, ())) - {""} <= ACCEPT | REJECT]
            numbers = [path for path in rated if path not in flags]
            found |= {path: self._flag_meaning(path, found[path]) for path in flags}
            found |= dict.fromkeys(numbers[0 if taken else 1 :], UNKNOWN)
        return found

    @staticmethod
    def _flag_meaning(path: str, meaning: str) -> str:
        """Return the meaning of a flag beside the verdict. Under a name against the row, yes removes it."""
        if meaning != "penalty" and not speaks_against(path):
            return "review"
        # Of a rank, 1 may be the best.
        return UNKNOWN if set(flatten_name(path).split("_")) & RANKS else "deleted"

    def asks(self, votes: Collection[str] = ()) -> dict[str, Seen]:
        """Return the keys whose meaning the preset must say, found by their names or by all their values.

        Args:
            votes: The columns that the preset calls votes; others with such names are asked about too.
        """
        # Columns of votes are found first, as each of them alone would look like a verdict.
        reactions = find_reactions(unread := {p: self.values[p] for p in self.unread if p in self.values})
        people = tuple(p for p in find_vote_columns(self.cells, votes, self.unread) if p not in reactions)
        people += tuple(path for path in unread if path in self.choosers and path not in people)
        found = {path: replace(self.unread[path], looks=VOTE_COLUMN) for path in people}
        unasked = {*(() if self.answers else (GOLD, GOLD_LIST)), *((REJECTION,) if self.comparisons else ())}
        asked = without_properties(self.asked, self.cells, self.values, self.rows, self.answers > 0)
        found |= {path: s for path, s in asked.items() if path not in found and s.looks not in unasked}
        counts = [path for path in find_counts(unread) if path not in found]
        counts += [path for path, side in reactions.items() if side != "ignore" and path not in found]
        found |= {path: replace(self.unread[path], looks=VERDICT) for path in counts}
        reviews = self.reviews.asked(self.unread, self.understood, VERDICT)
        found |= {path: seen for path, seen in reviews if path not in found}
        # Some odd words are rows with an error, which validation quarantines.
        often = {path: seen for path, seen in self.choices.items() if seen.count > _ODD * self.rows}
        found |= {path: seen for path, seen in often.items() if path not in found}
        for path, seen in self.unread.items():
            sides = self.sides.get(path, Counter())
            if path not in found and sides.total() == seen.count and sides["a"] + sides["b"]:
                found[path] = replace(seen, looks=OTHER_CHOICE)
            values = self.values.get(path, ())
            bare = bare_words(values)
            told = path in self.ties or self._tells_verdict(path, values)
            told = told or (bare != values and self._tells_verdict(path, bare))
            told = told or (self.answers > 0 and looks_deducted(path, values))
            unrated = seen.count - self.answers + self.pairs
            told = told or look_marked(path, values, unrated, self.shapes, path in self.understood)
            told = told or is_coded_question(path, values, seen.count, self.answers + self.comparisons)
            told = told or look_like_openings(path, self.openings.get(path, ()), values)
            if path not in found and told:
                found[path] = replace(seen, looks=VERDICT)
            if path not in found and contradicts_choices(self.margins.get(path, ())):
                found[path] = replace(seen, looks=OTHER_CHOICE)
        return found

    def _tells_verdict(self, path: str, values: Collection[str]) -> bool:
        """Return whether all values of a key together look like a verdict."""
        return (
            look_like_phrases(path, values, self.answers > 0)
            or look_like_verdicts(values)
            or look_opposite(path, values)
            or look_like_approval(path, values)
            or look_decided(path, values)
        )

    def asks_for_choices(self, fields: Mapping[str, Any] | None) -> bool:
        """Return whether rows of two answers wait for the meaning of people's columns to be read at all."""
        asked = self.asks(self.votes_in(fields)).values()
        return self.compared and any(seen.looks == VOTE_COLUMN for seen in asked)

    def aspect_keys(self) -> dict[str, Seen]:
        """Return the keys that may name a label's aspect. Without it, two of a person's labels are one."""
        labels = self.comparisons + self.answers - self.pairs
        named = {path: self.values.get(path, set()) for path in self.unread if flatten_name(path) in _ASPECTS}
        return {
            path: self.unread[path]
            for path, values in named.items()
            if labels and LONG not in values and not all(as_score(value) is not None for value in values)
            if len(values) > 1 or values & set(KNOWN_ASPECTS)
        }

    def unknown_columns(self, asks: Mapping[str, Seen]) -> dict[str, Seen]:
        """Return the columns beside answers whose names no rule knows, and which may judge their rows.

        Args:
            asks: The keys that look like a verdict, which have a question of their own.
        """
        if not self.answers + self.comparisons:
            return {}
        known = {*asks, *self.companions, *self.aspect_keys()}
        compared, cells = self.comparisons > 0, self.cells_by_value
        found = find_unknown_columns(self.unread, self.values, cells, self.rows, compared, self.elsewhere)
        return {path: s for path, s in found.items() if path not in known and not _names_person(path)}

    def kinds_of(self, paths: Iterable[str]) -> dict[str, Collection[str]]:
        """Return the repeated values of columns of kinds, and some values of any others."""
        return {path: self.cells_by_value[path].few() or self.values[path] for path in paths}

    def propose_fields(self, asks: Mapping[str, Seen]) -> dict[str, str]:
        """Return a proposal for every key that stops a run. A column that no rule knows is ignored."""
        return {**self.propose_all(asks), **dict.fromkeys(self.unknown_columns(asks), "ignore")}

    def check(self, source: str, fields: Mapping[str, Any] | None = None) -> None:
        """Raise UserError with a line for each question that the preset must answer first.

        Raises:
            UserError: A key looks like a verdict or a training mask and nothing reads it; or verdicts are on
                two scales; or `fields`, the source's own, names a key that no row has.
        """
        told = self.votes_in(fields)
        asks = self.asks(told)
        # The question about the scales of a key asks for the meaning of all its values.
        mixed = self._mixed_keys()
        asks = {path: seen for path, seen in asks.items() if path not in mixed}
        votes = [path for path, seen in asks.items() if seen.looks == VOTE_COLUMN]
        questions = []
        if votes:
            questions.append(self._describe_votes(votes, asks, bool(told)) + self._other_keys(asks, votes))
        elif asks:
            meanings = self.propose_all(asks)
            # The vote of a list says what its person is.
            path = next(one for one in asks if meanings[one] != ANNOTATOR)
            said = self._describe_key(path, asks[path], meanings[path])
            questions.append(said + self._other_keys(asks, [path]))
        if unknown := self.unknown_columns(asks):
            questions.append(describe_unknown_columns(unknown, self.kinds_of(unknown), self.rows))
        questions += [
            describe_companion(path, seen.where, seen.sample, seen.looks)
            for path, seen in self.companions.items()
        ]
        questions += [describe_aspect(path, seen, KNOWN_ASPECTS) for path, seen in self.aspect_keys().items()]
        questions += [*self._scale_questions(fields or {}), *self._field_questions(fields or {})]
        questions += [*self.votes.questions(), *self.marked.questions()]
        # A preset that gives the key a meaning has decided.
        scored = [key for scales in self.scales.values() for key, _ in scales.values()]
        if key := next((key for key in scored if key not in (fields or {})), ""):
            questions += self.file_scales.questions(key) or self.scale_changes.questions(key)
        if questions:
            # Two aspects may have one question.
            lines = dict.fromkeys(f"source {source}: {question}" for question in questions)
            raise UserError("\n".join(lines))

    def _describe_key(self, path: str, seen: Seen, meaning: str) -> str:
        if said := describe_special(path, seen, meaning):
            return said
        if path in self.inside:
            # If the list's votes are read, this key is something else.
            rated = self._takes_votes(path) and self._is_of_row_or_turn(path)
            person = listed_person(path, self.unread)
            return describe_listed(path, seen, f"fields: {{{yaml_key(path)}: ignore}}", rated, person)
        example = f"fields: {{{yaml_key(path)}: {meaning}}}"
        if direction := scale_direction(path, self.values.get(path, ())):
            example += f", as its name says that {direction}"
        example += describe_quarantined(self.understood[path], meaning, self.values.get(path, ()))
        if meaning == UNKNOWN != self.propose(path, seen.looks):
            example += " (an answer has one verdict, and another key is read as it)"
        example += format_example(seen.looks, meaning)
        return (
            f"{seen.where}: the key {shown_key(path)} is {seen.sample} and looks like {seen.looks}; "
            f"set its meaning in the source's fields, as in {example}"
        )

    def _other_keys(self, asks: Mapping[str, Seen], said: Sequence[str]) -> str:
        """Return the other keys that are asked about, and a proposal that answers all of them."""
        others = {path: seen for path, seen in asks.items() if path not in said}
        if not others:
            return ""
        named = ", ".join(
            f"{shown_key(path)} ({seen.sample})" for path, seen in list(others.items())[:_NAMED]
        )
        more = ", …" if len(others) > _NAMED else ""
        pairs, told = list(self.propose_all(asks).items()), self._read_columns()
        fields = ", ".join(f"{yaml_key(path)}: {said}" for path, said in pairs[:_PROPOSED])
        fields += ", …" if len(asks) > _PROPOSED else ""
        unclear = any(said == UNKNOWN != self.propose(path, asks[path].looks, told) for path, said in pairs)
        listed = not self.inside.isdisjoint(others)
        return describe_others(f"{len(others)} more such keys: {named}{more}", fields, listed, unclear)

    def _mixed_keys(self) -> dict[str, str]:
        """Return the keys whose own values are on two scales, each with a mapping to fill in."""
        found = {}
        for scales in self.scales.values():
            keys = {scales[scale][0] for scale in find_two_scales(scales)}
            key = keys.pop() if len(keys) == 1 else ""
            if key in self.values and key not in self.understood:
                found[key] = values_mapping(self.values[key])
        return found

    def _scale_questions(self, fields: Mapping[str, Any]) -> Iterator[str]:
        # Scores of "4/5" and "80%" under one aspect would be compared as 4 and 80.
        for scales in self.scales.values():
            if two := find_two_scales(scales):
                yield describe_two_scales(two, [scales[scale] for scale in two], self._mixed_keys())

        if self.legends.found:
            keys = [
                key for scales in self.scales.values() for scale, (key, _) in scales.items() if rises(scale)
            ]
            # A preset that gives the key a meaning has decided.
            yield from (self.legends.question(key) for key in dict.fromkeys(keys) if key not in fields)

    def _field_questions(self, fields: Mapping[str, Any]) -> Iterator[str]:
        for path in fields:
            # A mistyped key in `fields` would otherwise leave a verdict unread, without a word.
            if path in self.inside and fields[path] != "ignore":
                yield describe_listed_field(path)
            elif path not in self.used and self.rows + self.faults:
                which = "no row that can be read" if self.faults else "no row"
                yield f"fields has the key {shown_key(path)}, which {which} has"

    def _describe_votes(self, votes: Sequence[str], asks: Mapping[str, Seen], told: bool) -> str:
        # Pairs with votes in columns that the preset names are ratings already.
        rated, columns = self.pairs > 0 or told or self.compared, self._read_columns()
        fields = {path: self.propose(path, VOTE_COLUMN, columns) if rated else "ignore" for path in votes}
        where, values = asks[votes[0]].where, describe_values(votes, self.values)
        graded = any(self.cells[path].grades for path in votes)
        return describe_vote_columns(where, fields, values, rated, graded and not self.compared)

    def lines(self, fields: Mapping[str, Any] | None = None) -> Iterator[str]:
        """Yield a line for each thing that was skipped, as plain text for a terminal.

        `fields` is that of `check`: a key that stops the run there is not called unused here.
        """
        asks = self.asks(self.votes_in(fields))
        asked = {**self.companions, **self.aspect_keys(), **asks, **self.unknown_columns(asks)}
        yield from describe_unread(self.unread, asked)
        people = [path for path in self.unread if _names_person(path)]
        if self.nameless and people:
            yield describe_nameless(self.nameless, people[0])
        for reason, count in sorted(self.left_out.items(), key=lambda item: (-item[1], item[0])):
            yield f"left out: {counted(count, reason)}"
        yield from self.votes.lines()
        yield from self.reviews.lines(self.understood)
        yield from describe_times(self.times)
        for key, seen in list(self.words.items())[:_NAMED]:
            yield describe_word(key, seen)
        yield from filter(None, (describe_literal(key, seen) for key, seen in self.asked.items()))
        if self.faults:
            first = ascii_controls(self.first_fault)
            rows = counted(self.faults, "rows")
            yield f"cannot be read: {rows}, quarantined by validation; the first: {first}"


def _names_person(path: str) -> bool:
    return flatten_name(path) in PEOPLE or names_annotator(path)


def compare_sources(tallies: Sequence[SkipCounts]) -> None:
    """Tell the counts of each source which values its keys have in the other sources.

    One source may have the good rows, and another one the rejected ones.
    """
    held: dict[str, set[str]] = {}
    for tally in tallies:
        for path in tally.unread.keys() & tally.cells_by_value.keys():
            held.setdefault(path, set()).update(tally.cells_by_value[path].few())
    for tally in tallies:
        tally.elsewhere = {path: frozenset(held[path]) for path in tally.unread if path in held}
