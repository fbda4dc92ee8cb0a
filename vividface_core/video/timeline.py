"""The parts' frames on one clock: when each is shown, and in which order they are decoded."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av

from vividface_core.errors import UnwritableVideo
from vividface_core.video.opening import media_name
from vividface_core.video.writer import PartRecord, time_base_of


@dataclass
class Timeline:
    """Times of all frames of all parts, in ``time_base``: 8 bytes a frame and order.

    The parts' own decoding times can't be joined: each part's would begin before its first frame, inside the part
    before. So they are made anew. With the joint order of display p_0 < p_1 < …, the packet that is n-th in decoding
    order is decoded at p_(n-d), where d is the largest number of places by which any frame is decoded early; that is
    never later than its own display and always grows.
    """

    parts: list[Path]
    records: list[PartRecord]
    time_base: Fraction
    shown: array = field(default_factory=lambda: array("q"))  # in order of decoding
    sorted: array = field(default_factory=lambda: array("q"))
    delay: int = 0

    @classmethod
    def read(cls, parts: Sequence[Path]) -> Timeline:
        """Look through all parts without decoding.

        Raises:
            UnwritableVideo: a part is missing, is no part, was encoded differently, or begins too early.
        """
        if not parts:
            raise UnwritableVideo("There is no part to join: not a single frame was written.")
        records: list[PartRecord] = []
        first = None
        timeline = cls(list(parts), records, Fraction(1))
        for path in parts:
            with _open(path) as container:
                stream, record = container.streams.video[0], _record(container, path)
                # (codec, size, headers): packets of different ones can't follow each other in one track
                key = (stream.codec_context.name, stream.width, stream.height, stream.codec_context.extradata)
                first = first or key
                if key != first or (records and record.time_base != records[0].time_base):
                    raise UnwritableVideo(
                        f"{path.name} was encoded with other settings than {parts[0].name}, so they can't be joined. "
                        "Run again without --resume."
                    )
                records.append(record)
                timeline.time_base = time_base_of(record)
                timeline._add(path, record, container, stream)
        return timeline

    def _add(
        self, path: Path, record: PartRecord, container: av.container.InputContainer, stream: av.VideoStream
    ) -> None:
        begin = len(self.shown)
        for packet in container.demux(stream):
            if packet.size:
                assert packet.pts is not None  # the writer gave it
                self.shown.append(record.first + round(packet.pts * packet.time_base / self.time_base))
        times = array("q", sorted(self.shown[begin:]))
        if self.sorted and times and times[0] <= self.sorted[-1]:
            raise UnwritableVideo(f"{path.name} begins before the part ahead of it ends; the parts are out of order.")
        for place, pts in enumerate(self.shown[begin:]):
            self.delay = max(self.delay, place - bisect_left(times, pts))
        self.sorted.extend(times)

    def __len__(self) -> int:
        return len(self.shown)

    def decoded_at(self, place: int) -> int:
        """Decoding time of the packet at this place in decoding order."""
        if place >= self.delay:
            return self.sorted[place - self.delay]
        return self.sorted[0] - (self.delay - place) * self.usual_step

    @property
    def usual_step(self) -> int:
        """Distance of the first two frames."""
        return self.sorted[1] - self.sorted[0] if len(self.sorted) > 1 else 1

    def packets(self, last_duration: int) -> Iterator[av.Packet]:
        """The packets of all parts, in decoding order, with their final times and durations."""
        place = 0
        for path in self.parts:
            with _open(path) as container:
                for packet in container.demux(container.streams.video[0]):
                    if not packet.size:
                        continue
                    packet.time_base = self.time_base
                    packet.pts, packet.dts = self.shown[place], self.decoded_at(place)
                    following = bisect_right(self.sorted, packet.pts)
                    is_last = following == len(self.sorted)
                    packet.duration = last_duration if is_last else self.sorted[following] - packet.pts
                    place += 1
                    yield packet


def _open(path: Path) -> av.container.InputContainer:
    try:
        return av.open(media_name(path))
    except (av.FFmpegError, OSError) as error:
        raise UnwritableVideo(f"The part {path} can't be read ({error}). Run again without --resume.") from error


def _record(container: av.container.InputContainer, path: Path) -> PartRecord:
    try:
        return PartRecord.load(container.metadata["comment"])
    except (KeyError, TypeError, ValueError) as error:
        raise UnwritableVideo(f"{path} is no part of VideoWriter's making, so it can't be joined.") from error
