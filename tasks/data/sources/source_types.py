"""The sources of data in a preset: files, addresses, data sets, package archives, and the label page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from model.errors import UserError
from tasks.common.aspects import UNNAMED_ASPECT
from tasks.common.names import is_blank, name_fault
from tasks.common.url_secrets import conceal_secrets, display_url, same_but_for_secrets
from tasks.data.formats.detect import AUTO
from tasks.data.formats.registry import find_format
from tasks.data.parsing.base import DocumentUnit
from tasks.data.sources import huggingface
from tasks.data.sources.download import Address, parse_address
from tasks.data.sources.package_archive import Archive, leads_outside
from tasks.data.values.editorial_marks import MarkedTextsUse
from tasks.data.values.field_checks import check_fields
from tasks.dvc.remote import address_problem

__all__ = ["Archive", "DataParameters", "Source"]

IGNORABLE = ("group",)  # names that `columns` may map to no column, so that the file's own is not read
# Options of files, which the label page has no use for.
_PAGE_FORMAT = "rows"
_OF_FILES = ("prompt", "columns", "label_config", "fields", "exclude")


@dataclass(frozen=True)
class Source:
    """A source of rows, from one of five places, and the options of its parser.

    Exactly one of `files`, `urls`, `dataset`, `archive` and `labels` is set.
    """

    name: str
    """Name of the source, which no other source has."""

    format: str = AUTO
    """Parser in tasks/data/formats; `auto`: detected from the files."""

    archive: str = ""
    """One of `archives`, whose `members` are read."""

    members: tuple[str, ...] = ()
    """Files that are read from the archive. `inner.tar.gz!name` is a file of an archive inside it."""

    files: str | tuple[str, ...] = ()
    """Glob, folder, or list of them, relative to the project's folder. A glob may lead outside it; hidden
    files are skipped. A file or folder whose name equals the glob is taken by its name."""

    exclude: str | tuple[str, ...] = ()
    """Glob, folder, file, or list of them, as under `files`, whose files are not read."""

    urls: str | tuple[str, ...] = ()
    """Address, or list of them, each optionally followed by `#sha256=SUM`."""

    dataset: str = ""
    """Name of a data set on the hub, or a folder that `save_to_disk` wrote."""

    subset: str = ""
    """Subset (configuration) of the data set."""

    revision: str = ""
    """Revision of the data set; required for one on the hub."""

    split: str = ""
    """Split of the data set; required if it has several."""

    labels: Literal["", "page"] = ""
    """`page`: the judgements of the label page; see [the label page](labelling-setup.md)."""

    min_known_accuracy: float = 0.0
    """Of the label page: the judgements of people who choose the right answer of known items less often than
    this share, from 0 to 1, are left out, with a notice. People who judged fewer than five known items
    stay."""

    products: tuple[str, ...] = ()
    """Of the label page: the products whose batches are read, as in `[team, demo]`. Empty: that of the
    preset. Imported batches that name no product are always read."""

    prompt: str = ""
    """Words before a prompt that is made from a text."""

    columns: dict[str, str] = field(default_factory=dict)
    """The file's own key names by role, as in `{text: body}`; `{group: ""}` ignores the column `group`."""

    document_unit: DocumentUnit = "file"
    """What one document of a plain file is. `file`: the whole file; `paragraph`: each block between blank
    lines; `line`: each line."""

    aspect: str = UNNAMED_ASPECT
    """Aspect of labels that name none."""

    label_config: str = ""
    """Configuration file of the labelling tool."""

    annotators: tuple[str, ...] = ()
    """People whose labels are accepted; a label by anybody else stops the run. Empty: all."""

    max_bad_fraction: float | None = None
    """Largest share of this source's rows, from 0 to 1, that may break a rule; empty: as in `validate`."""

    fields: dict[str, str | dict[str, float | str]] = field(default_factory=dict)
    """Meaning of keys that look like a verdict or a training mask, as in `{quality: ignore}`: one of
    [these meanings](verdicts.md#the-meanings-of-fields), or a mapping of values as in
    `{good: 1, bad: -1}`."""

    marked_texts: MarkedTextsUse = ""
    """What happens to rows of which a text has an editorial mark, as `[DELETED]` at its beginning.
    `leave_out`: they are not learned; `keep`: they are; empty: such a row stops the run."""

    strict: bool = False
    """Whether the first row that cannot be read stops the run; otherwise it is quarantined."""

    def __post_init__(self) -> None:
        if fault := name_fault(self.name):
            raise ValueError(f"name is {self.name!a}, {fault}")
        # Presets are recorded in several places, so they must contain no secret: only this process keeps it.
        urls = self.urls
        concealed = conceal_secrets(urls) if isinstance(urls, str) else tuple(map(conceal_secrets, urls))
        # The dataclass is frozen, and its own __init__ has already set the field.
        object.__setattr__(self, "urls", concealed)
        if self.labels:
            # Known, so that nothing is guessed from the first judgements, or from none.
            object.__setattr__(self, "format", self.format if self.format != AUTO else _PAGE_FORMAT)
        for said in self._faults():
            raise ValueError(f"source {self.name}: {said}")

    def _faults(self) -> list[str]:
        """Return what is wrong with the source, in sentences that follow its name."""
        places = [name for name in ("files", "urls", "dataset", "archive", "labels") if getattr(self, name)]
        faults = []
        if len(places) != 1:
            said = " and ".join(places) or "none"
            faults.append(
                f"set exactly one of files, urls, dataset, archive with members, or labels (got {said})"
            )
        if self.archive and not self.members:
            faults.append("set members, the files to read from the archive")
        for name, place in (
            ("members", "archive"),
            ("exclude", "files"),
            *((n, "dataset") for n in ("subset", "revision", "split")),
        ):
            if getattr(self, name) and not getattr(self, place):
                faults.append(f"{name} needs {place}, which is not set")
        if self.labels not in ("", "page"):
            faults.append(f"labels is {self.labels!r}; expected page")
        if not 0 <= self.min_known_accuracy <= 1:
            faults.append(f"min_known_accuracy is {self.min_known_accuracy}; expected a share from 0 to 1")
        if self.min_known_accuracy and not self.labels:
            faults.append("min_known_accuracy needs `labels: page`, which is not set")
        if self.products and not self.labels:
            faults.append("products needs `labels: page`, which is not set")
        if any(map(is_blank, self.products)):
            faults.append("products contains an empty name")
        if self.labels:
            # The page's rows have their own keys, aspects and people.
            useless = [name for name in _OF_FILES if getattr(self, name)]
            useless += ["format"] if self.format != _PAGE_FORMAT else []
            faults += [f"{name} has no effect with labels; remove it" for name in useless]
        for member in self.members:
            if leads_outside(member):
                faults.append(f"the member {member!r} leads out of its archive; expected a path inside it")
        if any(map(is_blank, as_list(self.exclude))):
            faults.append("exclude contains an empty name; expected a glob, a folder or a file")
        for pattern in as_list(self.files):
            if not pattern.strip():
                faults.append("files contains an empty name; expected a glob, a folder or a file")
            elif "://" in pattern:
                faults.append(f"files has the address {display_url(pattern)}; it goes under urls")
        for url in as_list(self.urls):
            try:
                parse_address(url)
            except ValueError as error:
                faults.append(str(error))
        if self.format != AUTO:
            try:
                find_format(self.format)
            except UserError as error:
                faults.append(str(error))
        if self.document_unit not in get_args(DocumentUnit):
            faults.append(f"document_unit is {self.document_unit!r}; expected file, paragraph or line")
        if self.marked_texts not in get_args(MarkedTextsUse):
            faults.append(f"marked_texts is {self.marked_texts!r}; expected keep or leave_out")
        if fault := name_fault(self.aspect):
            faults.append(f"aspect is {self.aspect!a}, {fault}")
        if any(map(is_blank, self.columns)):
            faults.append("columns has an empty key; expected a role or an aspect, as in prompt")
        faults += [
            f"columns: {key!r} maps to no column"
            for key, to in self.columns.items()
            if not to and key not in IGNORABLE
        ]
        if any(map(is_blank, self.annotators)):
            faults.append("annotators contains an empty name")
        faults += check_fields(self.fields)
        if self.max_bad_fraction is not None and not 0 <= self.max_bad_fraction <= 1:
            faults.append(f"max_bad_fraction is {self.max_bad_fraction}; expected a share from 0 to 1")
        return faults

    @property
    def wanted(self) -> huggingface.Wanted:
        """The data set that the source names."""
        return huggingface.Wanted(self.dataset, self.subset, self.revision, self.split)

    @property
    def addresses(self) -> list[Address]:
        """The parsed addresses of `urls`."""
        return [parse_address(url) for url in as_list(self.urls)]


@dataclass(frozen=True)
class DataParameters:
    """The sources of ingestion, and the place of the data's versions."""

    sources: tuple[Source, ...]
    """List of sources, at least one; see [your-data.md](your-data.md)."""

    archives: dict[str, Archive] = field(default_factory=dict)
    """Package archives by name, for the sources' `archive`."""

    remote: str = ""
    """Where DVC pushes and fetches versions: a folder, or an address as in `s3://bucket/path`; empty: no
    remote."""

    endpoint: str = ""
    """Server of an S3-compatible store that is not Amazon's, as in `https://minio.example:9000`."""

    accept_changes: bool = False
    """Whether rows of the same sources that differ from those in data.dvc are accepted as a new version."""

    readmit: bool = False
    """Whether rows and people are accepted again that the last version left out as withdrawn. Set it once,
    with `--set data.readmit=true`."""

    strict: bool = False
    """Whether the first row of any source that cannot be read stops the run."""

    pinned_version: str = ""
    """Hash in `data.dvc` of a version that replaces the sources, which are not read and may be missing;
    empty: the sources are read."""

    def __post_init__(self) -> None:
        # Names identify sources in the data and in reports.
        names = [source.name for source in self.sources]
        if not names:
            raise ValueError("sources is empty; name at least one")
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"sources: {name} is given twice; source names must differ")
        for source in self.sources:
            if source.archive and source.archive not in self.archives:
                raise ValueError(f"source {source.name}: archive {source.archive!r} is not among archives")
        # Recorded addresses have no secrets, so both would share one cached download.
        if twice := same_but_for_secrets([url for source in self.sources for url in as_list(source.urls)]):
            raise ValueError(
                f"sources: {twice} is given twice, differing only in a possible secret; write "
                "${NAME} for that value with different NAMEs, and set them in the environment"
            )
        for name in ("remote", "endpoint"):
            if said := address_problem(getattr(self, name)):
                raise ValueError(f"{name} {said}")


@dataclass(frozen=True)
class IngestParameters(DataParameters):
    """The sources as a preset reads them: those of the label page have the preset's product.

    A preset without such a source has DataParameters, so that its product changes nothing in ingestion.
    """

    product: str = ""
    """Product of the preset, whose judgements a source reads that names no `products`."""

    presets: tuple[str, ...] = ()
    """Names of the presets of that product. Batches of earlier versions record their preset alone."""


def as_list(one_or_more: str | Sequence[str]) -> tuple[str, ...]:
    """Return one or several names as a tuple."""
    return (one_or_more,) if isinstance(one_or_more, str) else tuple(one_or_more)
