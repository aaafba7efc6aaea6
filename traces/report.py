"""What a reader did to a file on the way in."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ReadReport:
    """What was kept of a trace, and in words what was dropped and repaired."""

    source: str  # the file, or files
    kept: tuple[str, ...] = ()  # "279 PMs", "2089 VMs"
    dropped: tuple[str, ...] = ()
    repaired: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"{self.source}: kept {', '.join(self.kept) or 'nothing'}"]
        lines += [f"dropped: {what}" for what in self.dropped]
        lines += [f"repaired: {what}" for what in self.repaired]
        return "\n".join(lines)
