"""What one parse may use: memory, time, and how much of everything a document may hold."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ParseLimits:
    """Bounds of one parse, enforced by the kernel where it can, by the parsers where it cannot.

    `memory_bytes` is address space. `wall_s` begins when the child has its work, `start_s` bounds the time before.
    """

    memory_bytes: int = 512 * 1024 * 1024
    cpu_s: int = 60
    wall_s: float = 90.0
    start_s: float = 20.0
    open_files: int = 32
    max_text_chars: int = 8_000_000
    max_pages: int = 5_000
    max_headings: int = 20_000
    max_html_depth: int = 5_000
    max_zip_entries: int = 5_000
    max_unzipped_bytes: int = 256 * 1024 * 1024
    max_unzip_ratio: int = 200
