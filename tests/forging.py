"""Files of models changed by hand: their checksums are right, whatever else they say."""

import hashlib
import json

import skmlp
from skmlp._tensor_file import METADATA, NO_DIGEST, FileProblem


def outcome(path, content):
    """Return what loading such a file says."""
    path.write_bytes(content)
    return said_of(path)


def said_of(path):
    try:
        skmlp.load(path)
    except FileProblem as error:
        return str(error).removeprefix(f"{str(path)!r} ")
    return "loaded"


def header_length(content):
    return 8 + int.from_bytes(content[:8], "little")


def parts_of(content):
    """Return the header and what follows it."""
    begin = header_length(content)
    return json.loads(content[8:begin]), content[begin:]


def unsigned(header):
    """Return a header without its checksum."""
    return {**header, METADATA: {**header[METADATA], "checksum": NO_DIGEST}}


def forged(header, arrays=b"", *, length=None):
    """Return a file of this header, an object or a text, with its checksum."""
    if not isinstance(header, bytes):
        header = json.dumps(unsigned(header)).encode()
    start = (len(header) if length is None else length).to_bytes(8, "little") + header
    digest = hashlib.blake2b(start + arrays, digest_size=32).hexdigest()
    return start.replace(NO_DIGEST.encode(), digest.encode()) + arrays


def edited(content, change, names):
    """Return a file whose texts of these names, and entries, a function has changed."""
    header, arrays = parts_of(content)
    texts = {n: json.loads(header[METADATA][n]) for n in names if n in header[METADATA]}
    change(header, texts)
    header[METADATA] |= {name: json.dumps(value) for name, value in texts.items()}
    return forged(header, arrays)


def set_in(*path):
    """Return a change: it replaces what stands at a place in the texts by the last argument."""

    def change(header, texts):
        place = texts
        for key in path[:-2]:
            place = place[key]
        place[path[-2]] = path[-1]

    return change


def places(value, path=()):
    """Yield where in nested lists and dictionaries something stands."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        yield (*path, key)
        if isinstance(item, dict | list):
            yield from places(item, (*path, key))
