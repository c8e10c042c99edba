"""I6 and what else must hold of files: chunks follow from the bytes, and what was acknowledged is there, once."""

from collections.abc import Iterator

from tests.faults.history import Chunked, Files


def broken_files(files: Files) -> Iterator[str]:
    """Yield what the files of a run break."""
    for key, ids in files.by_key.items():
        if len(ids) > 1:
            yield f"I2 upload {key} made {len(ids)} files"
    for file_id, sha256 in files.uploaded.items():
        held = files.chunked.get(file_id)
        if file_id in files.deleted:
            if held is not None:
                yield f"I1 {file_id} exists after its delete was acknowledged"
        elif held is None:
            yield f"I1 {file_id} was acknowledged and does not exist"
        else:
            yield from _follows(file_id, sha256, held, files.undisturbed[sha256])
    for what, count in files.orphans.items():
        if count:
            yield f"I6 {count} {what}"


def _follows(file_id: str, sha256: str, held: Chunked, undisturbed: Chunked) -> Iterator[str]:
    if held.sha256 != sha256:
        yield f"I1 {file_id} is not what was uploaded"
    if (held.stage, held.sets) != (undisturbed.stage, undisturbed.sets):
        yield f"I6 {file_id} is {held.stage} with sets {held.sets}"
    elif held.digest != undisturbed.digest:
        yield f"I6 {file_id}: its chunks are not those of the same bytes, indexed in peace"
