"""Recognize files that are about the data and no part of it, as a README, a licence or a codebook."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tasks.data.file_io.files import unpacked_stem, unpacked_suffix
from tasks.data.values.field_meanings import flatten_name, plain_word, plain_words

_MOST_ALIKE = 2  # files of one such name; more of them are a collection
_TEXTS = (".txt", ".md")

# What explains values, in a file of any kind.
_LEGENDS = plain_words(
    """
    code_book codebook data_card data_description data_dictionary data_sheet datacard datadictionary datasheet
    dataset_card label_map labelmap legend legends variable_list codebuch codeplan datenbeschreibung legende
    variablenliste légende dictionnaire_des_données leyenda diccionario_de_datos legenda 凡例 コードブック
    """
)
# What a person reads before the data. `instructions.jsonl` is a usual name of data, so only texts count.
_GUIDES = plain_words(
    """
    annotation_guide annotation_guideline annotation_guidelines annotator_guidelines authors change_log
    changelog citation code_of_conduct contributing contributors copying copyright dataset_info guideline
    guidelines how_to_label instruction instructions labeling_guidelines labelling_guidelines
    labeling_instructions labelling_instructions licence license licenses notice rating_guidelines read_me
    readme release_notes terms_of_use
    anleitung annotationsrichtlinien annotationsanleitung bewertungsanleitung lies_mich liesmich lizenz
    richtlinie richtlinien urheberrecht consignes instructions_annotation licence_d_utilisation lisez_moi
    lisezmoi mode_d_emploi guía_de_anotación instrucciones leame léame licencia istruzioni leggimi licenza
    instruções leia_me leiame licença leesmij handleiding 説明書 手順書 ガイドライン 说明 说明书 指南 許諾
    """
)
_VERSION = re.compile(
    r"(?:_(?:(?:v_?)?\d+(?:_\d+)*|final|new|neu|old|draft|en|de|fr|es|it|pt|nl|ja|zh|us|gb))+\Z"
)


def names_guide(name: str) -> bool:
    """Return whether a file's name says that it is about the data, as `README.md` and `codebook.csv`."""
    word = _VERSION.sub("", plain_word(flatten_name(unpacked_stem(name))).strip("_"))
    return word in _LEGENDS or (word in _GUIDES and unpacked_suffix(name) in _TEXTS)


def guide_files(paths: Sequence[Path]) -> list[Path]:
    """Return the files that are about the data. Of a name that many have, as in a corpus, none is."""
    found = [path for path in paths if names_guide(path.name)]
    alike = Counter(path.name.casefold() for path in found)
    few = [path for path in found if alike[path.name.casefold()] <= _MOST_ALIKE]
    # A folder of such files alone is data.
    return few if len(few) < len(paths) else []
