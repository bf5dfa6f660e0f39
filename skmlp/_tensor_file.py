"""Files of arrays: the safetensors format, read and written without the package of that name.

Eight bytes say how long the header is, a JSON object. It says of each array, of which type and
shape it is and at which bytes behind the header it lies, and under ``__metadata__`` whatever else
there is to say. The arrays follow, side by side. Nothing in such a file can be executed, and
whoever reads it here believes nothing of it: sizes are compared with that of the file before
memory is allocated for them.

The format: https://github.com/huggingface/safetensors#format. Ours have a checksum besides, that of
the whole file with zeros in its place. It tells damage: whoever means harm can write one that is
right. Later versions may write other metadata and arrays, but the checksum stays what it is.
"""

import errno
import hashlib
import json
import math
import os
import re
import reprlib
import secrets
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, NoReturn, Self, TypeAlias

import numpy as np
import numpy.typing as npt

# What files hold, and the version of what is written about it: raised whenever what earlier
# versions of skmlp would make of a file is not what is meant.
MODEL, CHECKPOINT = "skmlp-model", "skmlp-checkpoint"
CONTENTS = {MODEL: ("model", 1), CHECKPOINT: ("checkpoint", 1)}
READERS = {MODEL: "skmlp.load takes models", CHECKPOINT: "fit(..., resume_from=) takes checkpoints"}
# As the safetensors package has it. In memory a header takes some times its length.
LONGEST_HEADER = 100_000_000
# Those of all NumPy versions.
MOST_DIMENSIONS = 32
LARGEST_SIZE = 2**48
DTYPES = {
    "BOOL": "?",
    **{f"{kind.upper()}{8 * size}": f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)},
    **{f"F{8 * size}": f"f{size}" for size in (2, 4, 8)},
}
NAMES = {np.dtype(text): name for name, text in DTYPES.items()}
METADATA = "__metadata__"
# All of ours begin so, which tells one that is cut off from one of others.
BEGINNING = f'{{"{METADATA}":{{"format":"skmlp-'.encode()
AGAIN = "Copy or save it again."
DIGEST_SIZE = 32
NO_DIGEST = "0" * (2 * DIGEST_SIZE)
PIECE = 2**20
# What is left of writers that were killed is removed after so many seconds.
ABANDONED = 3600.0
# Bytes of a name that still can be a part of another one.
LONGEST_NAME = 200

AnyPath: TypeAlias = "str | os.PathLike[str]"


class FileProblem(ValueError):
    """A file that is not what it should be."""

    @classmethod
    def of(cls, path: AnyPath, problem: str) -> Self:
        """Return the problem of a file, whose name the sentence begins with."""
        return cls(f"{os.fspath(path)!r} {problem}")


class Entry(NamedTuple):
    """What the header says of an array.

    Attributes
    ----------
    dtype : dtype
        As it lies in the file, little-endian.
    shape : tuple of int
    begin, end : int
        Where it lies, in bytes behind the header.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    begin: int
    end: int


# Writing


def can_be_written(array: npt.NDArray[Any]) -> bool:
    """Whether the format has a name for the type of an array, and readers take its shape."""
    return array.dtype.newbyteorder("=") in NAMES and array.ndim <= MOST_DIMENSIONS


def write_tensors(
    path: AnyPath,
    kind: str,
    tensors: Mapping[str, npt.NDArray[Any]],
    metadata: Mapping[str, str],
    make_room: Callable[[], object] = lambda: None,
) -> None:
    """Write a file, which is there as a whole or not at all, however this ends.

    Parameters
    ----------
    path : str or path-like
        In a folder that exists. A file of that name is replaced.
    kind : str
        What it holds: one of `CONTENTS`.
    tensors : mapping of str to ndarray
        Of the types of `DTYPES`.
    metadata : mapping of str to str
        What else there is to say; "format", "version" and "checksum" are added.
    make_room : callable, optional
        Is called when all is on the disk, before the file gets its name.

    Raises
    ------
    TypeError
        If the path is none.
    FileProblem
        If readers would refuse the file.
    OSError
        If it cannot be written.
    """
    target = as_path(path)
    # Large elements first, so that all are aligned.
    arrays = dict(sorted(tensors.items(), key=lambda item: -item[1].dtype.itemsize))
    known = {"format": kind, "version": str(CONTENTS[kind][1]), "checksum": NO_DIGEST, **metadata}
    header: dict[str, Any] = {METADATA: known}
    end = 0
    for name, array in arrays.items():
        begin, end = end, end + array.nbytes
        header[name] = {
            "dtype": NAMES[array.dtype.newbyteorder("=")],
            "shape": array.shape,
            "data_offsets": (begin, end),
        }
    text = json.dumps(header, separators=(",", ":")).encode("ascii")
    text += b" " * (-len(text) % 8)
    if len(text) > LONGEST_HEADER:
        raise FileProblem.of(
            path,
            f"cannot be written: its header would have {len(text)} bytes, and readers take "
            f"{LONGEST_HEADER}. It holds all text, such as that of parameters, classes and names "
            "of features: shorten it, or use pickle.",
        )
    start = len(text).to_bytes(8, "little") + text
    digest = hashlib.blake2b(start, digest_size=DIGEST_SIZE)
    for array in arrays.values():
        digest.update(bytes_of(array))
    start = start.replace(NO_DIGEST.encode(), digest.hexdigest().encode(), 1)
    with replacing(target, make_room) as file:
        file.write(start)
        for array in arrays.values():
            file.write(bytes_of(array))


def bytes_of(array: npt.NDArray[Any]) -> memoryview:
    """Return the elements of an array in the order of C, little-endian."""
    ordered = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return ordered.reshape(-1).view(np.uint8).data


def as_path(path: AnyPath) -> Path:
    """Return a path, whatever of the two types it is given as.

    Raises
    ------
    TypeError
        If it is anything else, such as bytes.
    ValueError
        If no file can have that name.
    """
    if not isinstance(path, str | os.PathLike) or not isinstance(os.fspath(path), str):
        raise TypeError(
            f"path must be a str or path-like, but is {reprlib.repr(path)}. Bytes become one by "
            "os.fsdecode."
        )
    if "\0" in os.fspath(path):
        raise ValueError(f"path={path!r} holds a null character, which no name of a file can.")
    return Path(path)


@contextmanager
def replacing(path: Path, make_room: Callable[[], object] = lambda: None) -> Iterator[BinaryIO]:
    """Give a file to write to, which takes the place of another one when all is on the disk."""
    if not path.parent.is_dir():  # else the error would name the temporary file
        raise FileNotFoundError(errno.ENOENT, "There is no such folder", str(path.parent))
    mode = mode_before(path)
    remove_abandoned(path)
    temporary = path.with_name(f"{beginning_of_temporary(path)}{secrets.token_hex(8)}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    try:
        # The system takes from the mode what users want new files to lack.
        with os.fdopen(os.open(temporary, flags, 0o666 if mode is None else mode), "wb") as file:
            if mode is not None and os.name == "posix":
                with suppress(PermissionError):  # of file systems that know none
                    os.chmod(temporary, mode)
            yield file
            file.flush()
            os.fsync(file.fileno())
        make_room()
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    if hasattr(os, "O_DIRECTORY"):  # elsewhere folders cannot be opened
        # The file is there. Some folders may not be read, and some file systems know no such thing.
        with suppress(OSError):
            folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


def mode_before(path: Path) -> int | None:
    """Return who may do what with the file that is replaced; None if there is none.

    Raises
    ------
    OSError
        If what is there is no file.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "This is a folder, not a file", str(path))
    if not stat.S_ISREG(mode):  # a device, whose place nothing else should take
        raise FileExistsError(errno.EEXIST, "What is there is no file", str(path))
    return stat.S_IMODE(mode) & 0o777


def beginning_of_temporary(path: Path) -> str:
    """Return what the names of temporary files for a path begin with."""
    name = path.name
    if len(os.fsencode(name)) > LONGEST_NAME:
        name = hashlib.blake2b(os.fsencode(name), digest_size=DIGEST_SIZE).hexdigest()
    return f".{name}."


def remove_abandoned(path: Path) -> None:
    """Remove temporary files for the same path that nobody is writing any more."""
    pattern = re.compile(rf"{re.escape(beginning_of_temporary(path))}[0-9a-f]{{16}}\.tmp")
    with suppress(OSError), os.scandir(path.parent) as entries:
        for entry in entries:
            if pattern.fullmatch(entry.name):
                # Another process may remove it at the same time.
                with suppress(OSError):
                    found = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(found.st_mode) and time.time() - found.st_mtime > ABANDONED:
                        os.unlink(entry.path)


# Reading


class TensorFile:
    """A file whose header and checksum have been found to be right.

    Attributes
    ----------
    path : str or path-like
    metadata : dict of str to str
    entries : dict of str to Entry
    """

    def __init__(
        self,
        path: AnyPath,
        file: BufferedReader,
        metadata: dict[str, str],
        entries: dict[str, Entry],
        start: int,
    ) -> None:
        self.path, self.metadata, self.entries = path, metadata, entries
        self._file, self._start = file, start

    def read(self, name: str) -> npt.NDArray[Any]:
        """Return an array, in memory of its own.

        Raises
        ------
        FileProblem
            If it is not what the header says.
        """
        if name not in self.entries:
            self.refuse(f"has no array {name!r}. {AGAIN}")
        dtype, shape, begin, end = self.entries[name]
        buffer = np.empty(end - begin, dtype=np.uint8)
        self._file.seek(self._start + begin)
        if self._file.readinto(buffer.data) != len(buffer):
            self.refuse(f"has been cut off while it was read. {AGAIN}")
        if dtype.kind == "b" and (buffer > 1).any():
            self.refuse(f"is damaged: {name!r} holds other bytes than those of booleans. {AGAIN}")
        array = buffer.view(dtype).reshape(shape)
        return array.astype(dtype.newbyteorder("="), copy=False)

    def refuse(self, problem: str) -> NoReturn:
        """Raise a `FileProblem` of this file."""
        raise FileProblem.of(self.path, problem)


@contextmanager
def open_tensors(path: AnyPath, kind: str) -> Iterator[TensorFile]:
    """Open a file to read, after all of it has been checked that can be without its arrays.

    Parameters
    ----------
    path : str or path-like
    kind : str
        What it must hold: one of `CONTENTS`.

    Raises
    ------
    FileProblem
        If it is cut off, longer than it should be, damaged, not ours, of another kind or of a later
        version.
    TypeError
        If the path is none.
    OSError
        If it cannot be opened or read.
    """
    as_path(path)
    if not stat.S_ISREG(os.stat(path).st_mode) and not os.path.isdir(path):
        raise FileProblem.of(path, "is no file.")  # to open a pipe might take for ever
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        start = read_start(path, file, size)
        header = parsed(path, start[8:])
        metadata = metadata_of(path, header)
        entries = {name: entry_of(path, name, said) for name, said in header.items()}
        check_ranges(path, entries, size - len(start))
        check_digest(path, file, start, metadata.get("checksum"))
        check_contents(path, metadata, kind)
        yield TensorFile(path, file, metadata, entries, len(start))


def read_start(path: AnyPath, file: BufferedReader, size: int) -> bytes:
    """Return the header with its length before it."""
    start = file.read(8 + len(BEGINNING))
    length = int.from_bytes(start[:8], "little")
    if not BEGINNING.startswith(start[8:]):
        check_origin(path, file, start, length, size)
    if size < 8 + length or size < 8:
        raise FileProblem.of(
            path, f"is cut off or damaged: it has {size} bytes, fewer than a header. {AGAIN}"
        )
    if length > LONGEST_HEADER:
        raise FileProblem.of(path, f"is damaged: its header has {length} bytes. {AGAIN}")
    file.seek(0)
    return file.read(8 + length)


def check_origin(path: AnyPath, file: BufferedReader, start: bytes, length: int, size: int) -> None:
    """Refuse a file of others. What others may write for us need not begin as ours do."""
    header = None
    if start[8:9] == b"{" and 8 + length <= min(size, LONGEST_HEADER):
        file.seek(8)
        with suppress(ValueError, RecursionError):
            header = strictly_parsed(file.read(length))
    if not isinstance(header, dict):
        raise FileProblem.of(path, "is no file that skmlp has written.")
    metadata = header.get(METADATA)
    if not isinstance(metadata, dict) or metadata.get("format") not in [*CONTENTS]:
        raise FileProblem.of(path, "is a safetensors file, but none that skmlp has written.")


def parsed(path: AnyPath, text: bytes) -> dict[str, Any]:
    """Return the header."""
    try:
        header = strictly_parsed(text)
    except (ValueError, RecursionError) as error:
        raise FileProblem.of(
            path, f"is damaged: its header is not JSON ({error}). {AGAIN}"
        ) from error
    if not isinstance(header, dict):
        raise FileProblem.of(path, f"is damaged: its header is no JSON object. {AGAIN}")
    return header


def strictly_parsed(text: bytes | str) -> Any:
    """Return what JSON says that has no name twice in an object, and no numbers but finite ones.

    Raises
    ------
    ValueError
        If it is anything else, or in another encoding.
    RecursionError
        If it is nested too deeply.
    """
    text = text.decode("utf-8") if isinstance(text, bytes) else text
    return json.loads(text, object_pairs_hook=unique, parse_constant=refuse_constant)


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in an object")
    return found


def refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def metadata_of(path: AnyPath, header: dict[str, Any]) -> dict[str, str]:
    """Take the metadata out of a header."""
    metadata = header.pop(METADATA, None)
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise FileProblem.of(path, f"is damaged: its header holds no metadata. {AGAIN}")
    return metadata


def entry_of(path: AnyPath, name: str, said: Any) -> Entry:
    """Return what a header says of an array, whose size is that of its range."""
    try:
        dtype = np.dtype(DTYPES[said["dtype"]]).newbyteorder("<")
        shape, (begin, end) = tuple(said["shape"]), said["data_offsets"]
        is_valid = all(type(number) is int and number >= 0 for number in (*shape, begin, end))
        is_valid = is_valid and len(shape) <= MOST_DIMENSIONS and len(said) == 3
        is_valid = is_valid and math.prod(max(1, n) for n in shape) <= LARGEST_SIZE
        is_valid = is_valid and math.prod(shape) * dtype.itemsize == end - begin
    except (KeyError, TypeError, ValueError):
        is_valid = False
    if not is_valid:
        raise FileProblem.of(
            path, f"is damaged: its header says nothing sound of {name!r}. {AGAIN}"
        )
    return Entry(dtype, shape, begin, end)


def check_ranges(path: AnyPath, entries: dict[str, Entry], size: int) -> None:
    """Refuse arrays that do not lie side by side from the header to the end of the file."""
    end = 0
    for entry in sorted(entries.values(), key=lambda entry: (entry.begin, entry.end)):
        if entry.begin != end:
            raise FileProblem.of(path, f"is damaged: its arrays do not lie side by side. {AGAIN}")
        end = entry.end
    if size < end:
        raise FileProblem.of(path, f"is cut off: {end - size} of its bytes are missing. {AGAIN}")
    if size > end:
        raise FileProblem.of(path, f"is damaged: it has {size - end} bytes behind its end. {AGAIN}")


def check_digest(path: AnyPath, file: BufferedReader, start: bytes, said: str | None) -> None:
    """Refuse a file that is not what its checksum was computed of; it stands behind its header."""
    told = (said or "").encode("ascii", "replace")
    if len(told) != len(NO_DIGEST) or start.count(told) != 1:
        raise FileProblem.of(path, f"is damaged: its checksum is not where it should be. {AGAIN}")
    digest = hashlib.blake2b(start.replace(told, NO_DIGEST.encode()), digest_size=DIGEST_SIZE)
    while piece := file.read(PIECE):
        digest.update(piece)
    if digest.hexdigest().encode() != told:
        raise FileProblem.of(path, f"is damaged: its checksum is another one. {AGAIN}")


def check_contents(path: AnyPath, metadata: dict[str, str], kind: str) -> None:
    """Refuse a file of ours that holds something else, or that a later version has written."""
    what, version = CONTENTS[kind]
    found, format_ = metadata.get("format", ""), metadata.get("version")
    if found != kind:
        holds = f"a {CONTENTS[found][0]}" if found in CONTENTS else repr(found)
        remedy = f" {READERS[found]}." if found in READERS else ""
        raise FileProblem.of(path, f"holds {holds} of skmlp, not a {what}.{remedy}")
    if format_ != str(version):
        raise FileProblem.of(
            path,
            f"was written in format {format_}, but this version of skmlp reads format {version}. "
            f"Read it with the version that wrote it ({metadata.get('skmlp', 'unknown')}), or a "
            "later one.",
        )
