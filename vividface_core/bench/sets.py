"""The data sets that the papers measure on, and which of their tables each fills."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vividface_core.errors import InvalidOption

if TYPE_CHECKING:
    from vividface_core.bench.tables import PaperTable


@dataclass(frozen=True)
class DataSet:
    """A data set.

    Attributes:
        clips: how many it has; ``None``: as many as there are.
        degraded: whether it holds degraded clips without a truth; otherwise truths, which are degraded first.
        tables: numbers of the papers' tables that it fills.
        told: how to get it.
    """

    name: str
    clips: int | None
    degraded: bool
    tables: tuple[str, ...]
    told: str

    def paper_tables(self) -> list[PaperTable]:
        """The tables themselves."""
        from vividface_core.bench.tables import paper_tables  # with it come all metrics

        return [paper_tables()[number] for number in self.tables]


SETS = {
    entry.name: entry
    for entry in (
        DataSet(
            "vfhq-test",
            50,
            False,
            ("1", "3", "7", "bfvr", "dvface"),
            "VFHQ-test (liangbinxie.github.io/projects/vfhq): a folder with one folder of 512×512 pictures, or one "
            "video, for each of the 50 clips.",
        ),
        DataSet(
            "rfv-lq",
            329,
            True,
            ("2",),
            "RFV-LQ (github.com/kepengxu/PGTFormer): a folder with one folder of pictures, or one video, for each "
            "of the 329 clips.",
        ),
        DataSet(
            "folder",
            None,
            False,
            ("1", "3", "7", "bfvr", "dvface"),
            "Any folder of sharp face clips: videos, or folders of pictures.",
        ),
    )
}


def data_set(name: str) -> DataSet:
    """A data set by name.

    Raises:
        InvalidOption: there is none of that name.
    """
    if name not in SETS:
        raise InvalidOption(f"There is no data set {name!r}; choose one of {', '.join(SETS)}.")
    return SETS[name]
