"""Where a corpus comes from and on what terms; `python -m stages download` fetches it."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Archive:
    """An archive as its publisher offers it.

    Attributes:
        addresses: where it can be had; the next is tried where one fails.
        size: bytes.
        checksum: "md5:<hex>" or "sha256:<hex>".
    """

    addresses: tuple[str, ...]
    size: int
    checksum: str


@dataclass(frozen=True)
class Source:
    """A corpus has `archives`, a `record`, `repositories`, or `folders` that a person puts there.

    Attributes:
        terms: licence and citation, shown before anything is fetched.
        archives: by file name.
        record: address of a Zenodo record, which lists archives.
        repositories: git repositories of the same content, with the media in Git LFS.
        folders: what must be there where a corpus cannot be fetched without registration.
    """

    terms: str
    archives: Mapping[str, Archive] = field(default_factory=dict)
    record: str = ""
    repositories: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
