"""Prompts for the label page: from the split, from files of prompts, and from conversations."""

from __future__ import annotations

import hashlib
import heapq
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model.errors import UserError
from model.events import EventCallback, Message
from tasks.common.counts import counted
from tasks.data.file_io.files import SourceFile, unpacked_suffix
from tasks.data.formats.detect import AUTO, choose_reading
from tasks.data.parsing.base import ParseOptions
from tasks.data.questions.skip_counts import SkipCounts
from tasks.data.records import Fault, Text, Turn, compose_text, group_digest, read_shards
from tasks.data.similar_texts import SeenTexts
from tasks.data.sources.source_reading import own_files, source_path_name
from tasks.data.sources.source_types import Source
from tasks.labelling.batch_parameters import HELD_PROMPTS, VALIDATION
from tasks.labelling.item_file import ROLE_NAMES

# The folders of the split by the word of a preset.
_FOLDERS = {name: "valid" if name == VALIDATION else name for name in HELD_PROMPTS}


@dataclass(frozen=True)
class AskedPrompt:
    """A prompt after its history, and the file or part of the split that it comes from."""

    prompt: str
    history: list[Turn] = field(default_factory=list)
    origin: str = ""

    @property
    def text(self) -> str:
        """Return the whole conversation as one text, by which repeated prompts are found."""
        return "\n".join([*(turn["content"] for turn in self.history), self.prompt])

    @property
    def key(self) -> str:
        """Return a text that is equal for equal prompts after equal histories."""
        return json.dumps([self.prompt, self.history], ensure_ascii=False, sort_keys=True)

    @property
    def group(self) -> str:
        """Return the group of the labels that people give: the digest of the conversation's first question.

        It decides which part of the split the labels fall in, as for every conversation without a group.
        """
        earlier = (turn["content"] for turn in self.history if turn["role"] == "user")
        return group_digest(next(earlier, self.prompt))


def own_paths(names: Iterable[str], root: Path) -> list[Path]:
    """Return the files that some prompts, answers or items are read from, without the split's own words.

    Raises:
        UserError: A file is missing.
    """
    wanted = [name for name in names if name not in HELD_PROMPTS]
    found = [path for name in wanted for path in own_files(Source(name="label_batch", files=name), root)]
    return list(dict.fromkeys(found))


def one_path(name: str, root: Path) -> Path:
    """Return the file that a name of a single file means. Raise UserError if it means none or several."""
    found = own_paths([name], root)
    if len(found) != 1:
        raise UserError(f"label_batch: {name} means {len(found)} files; expected one")
    return found[0]


def read_prompts_of(
    names: Sequence[str], split: Path, sources: Sequence[str], root: Path, on_event: EventCallback
) -> Iterator[AskedPrompt]:
    """Yield the prompts that a preset names, in order, with their repetitions.

    Args:
        names: `train`, `validation`, files, folders and globs.
        split: The folder of the stage split.
        sources: The sources of the split's pairs; empty: all.
        root: The project's folder.
        on_event: Receives how many rows of conversations could not be read.

    Raises:
        UserError: A file is missing, or cannot be read.
    """
    for name in names:
        if name in HELD_PROMPTS:
            for row in read_shards(split / _FOLDERS[name] / "pairs"):
                if not sources or row["source"] in sources:
                    yield AskedPrompt(row["prompt"], row.get("history") or [], name)
            continue
        for path in own_paths([name], root):
            yield from _file_prompts(SourceFile(source_path_name(path, root), path=path), on_event)


def _file_prompts(file: SourceFile, on_event: EventCallback) -> Iterator[AskedPrompt]:
    if unpacked_suffix(file.origin) == ".txt":
        for _, line in file.text_lines():
            if line.strip():
                yield AskedPrompt(compose_text(line.strip()), origin=file.origin)
        return
    first = next(file.items(), None)
    if first is None:
        return
    # Rows of other formats have their conversation elsewhere, or their `prompt` is a list of turns.
    if isinstance(first.values.get("prompt"), str):
        for item in file.items():
            prompt, history = _read_prompt(item.values, item.where)
            yield AskedPrompt(prompt, history, file.origin)
        return
    form, reading = choose_reading([file], file.origin, AUTO, ParseOptions(file.origin))
    left_out = 0
    for found in form.stream([file], reading, SkipCounts()):
        if isinstance(found, Fault) or found.row.fault:
            left_out += 1
        elif not isinstance(found.row, Text):
            yield AskedPrompt(found.row.prompt, found.row.history, file.origin)
    if left_out:
        on_event(Message(f"{file.origin}: {counted(left_out, 'rows')} cannot be read; left out"))


def _read_prompt(values: Mapping[str, Any], where: str) -> tuple[str, list[Turn]]:
    """Return the prompt and the history of an object. Raise UserError if they are not valid."""
    prompt = _text_of(values, "prompt", where)
    history = values.get("history") or []
    if not isinstance(history, list):
        raise UserError(f"{where}: history is not a list; expected turns with role and content")
    turns = []
    for turn in history:
        if not isinstance(turn, Mapping) or turn.get("role") not in ROLE_NAMES:
            raise UserError(
                f"{where}: history has a turn without a role; expected one of {', '.join(ROLE_NAMES)}"
            )
        turns.append({"role": str(turn["role"]), "content": _text_of(turn, "content", where)})
    return prompt, turns


def _text_of(values: Mapping[str, Any], name: str, where: str) -> str:
    found = values.get(name)
    if not isinstance(found, str) or not found.strip():
        raise UserError(f"{where}: {name} is missing or no text; expected a text")
    return compose_text(found)


def read_given_answers(path: Path, root: Path) -> dict[str, str]:
    """Return another system's answers by the key of their prompts; the first one of a prompt counts.

    Raises:
        UserError: A line has no prompt or no completion.
    """
    found: dict[str, str] = {}
    for item in SourceFile(source_path_name(path, root), path=path).items():
        prompt, history = _read_prompt(item.values, item.where)
        answer = _text_of(item.values, "completion", item.where).strip()
        found.setdefault(AskedPrompt(prompt, history).key, answer)
    return found


def draw_prompts(
    prompts: Iterable[AskedPrompt], count: int, max_similarity: float, salt: str
) -> tuple[list[AskedPrompt], int]:
    """Return prompts in a random order, each once, and how many repetitions of them were left out.

    The order follows from the digest of each prompt and a salt, so it does not depend on that of the files.
    Only as many prompts as are drawn are in memory.

    Args:
        prompts: The prompts.
        count: The most prompts to draw.
        max_similarity: Prompts that are more similar to an earlier one are left out.
        salt: A text that enters the draw; another text gives another draw.
    """
    # Twice as many, in case some are similar to others.
    kept: dict[str, _Drawn] = {}
    heap: list[tuple[int, str]] = []
    for prompt in prompts:
        key = prompt.key
        if (known := kept.get(key)) is not None:
            known.repeated += 1
            continue
        place = int(hashlib.sha256(f"{salt}:{key}".encode("utf-8", "replace")).hexdigest()[:16], 16)
        heapq.heappush(heap, (-place, key))
        kept[key] = _Drawn(prompt)
        if len(heap) > 2 * count:
            # What is drawn in the end was never removed, so all its repetitions are counted.
            del kept[heapq.heappop(heap)[1]]
    drawn: list[AskedPrompt] = []
    seen, repeated = SeenTexts(max_similarity), 0
    for _, key in sorted(heap, reverse=True):
        if len(drawn) == count:
            break
        repeated += kept[key].repeated
        if seen.is_repeated(kept[key].prompt.text):
            repeated += 1
        else:
            drawn.append(kept[key].prompt)
    return drawn, repeated


@dataclass
class _Drawn:
    """A prompt, and how often it was seen again."""

    prompt: AskedPrompt
    repeated: int = 0
