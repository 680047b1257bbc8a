"""liblatentr3.so by ctypes: the declarations of include/latentr3.h, errors as exceptions."""

import ctypes
import os
import re
from ctypes import POINTER, byref, c_char, c_char_p, c_double, c_float, c_int, c_int32, c_size_t, c_void_p

SONAME = "liblatentr3.so.0"


class Error(Exception):
    """What the library refuses, in one line. code: as of the program's exits."""

    code = 0


class UsageError(Error, ValueError):
    """A value out of its range, an unknown option or id."""


class DataError(Error, ValueError):
    """A file, or a text, that is damaged or says what is not supported."""


class FileError(Error, OSError):
    """A file or folder that cannot be read."""


class OutOfMemory(Error, MemoryError):
    """A model or search that the machine has no memory for."""


class InternalError(Error):
    """A bug of the library."""


_errors = {2: UsageError, 3: DataError, 4: FileError, 5: OutOfMemory, 6: InternalError}


class _CError(ctypes.Structure):
    _fields_ = [("code", c_int), ("message", c_char * 1020)]


class _CHistory(ctypes.Structure):
    _fields_ = [("entry", POINTER(c_char_p)), ("n", c_int)]


class _CQuery(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("k", c_int), ("beams", c_int), ("by_id", c_int), ("exclude_seen", c_int),
                ("allow", POINTER(c_char_p)), ("deny", POINTER(c_char_p)), ("allows", c_int), ("denies", c_int)]


_signatures = {
    "latentr3_version": (c_char_p, []),
    "latentr3_log_level": (None, [c_int]),
    "latentr3_options_new": (c_void_p, []),
    "latentr3_options_set": (c_int, [c_void_p, c_char_p, c_char_p, POINTER(_CError)]),
    "latentr3_options_free": (None, [c_void_p]),
    "latentr3_open": (c_int, [POINTER(c_void_p), c_char_p, c_char_p, c_void_p, POINTER(_CError)]),
    "latentr3_close": (None, [c_void_p]),
    "latentr3_model_version": (c_char_p, [c_void_p]),
    "latentr3_items": (c_int, [c_void_p]),
    "latentr3_item_id": (c_char_p, [c_void_p, c_int]),
    "latentr3_item_title": (c_char_p, [c_void_p, c_int]),
    "latentr3_item_removed": (c_int, [c_void_p, c_int]),
    "latentr3_item_by_id": (c_int, [c_void_p, c_char_p]),
    "latentr3_item_by_title": (c_int, [c_void_p, c_char_p]),
    "latentr3_search": (c_int, [c_void_p, c_char_p, POINTER(c_int32), c_int]),
    "latentr3_recommend": (c_int, [c_void_p, POINTER(_CHistory), c_int, POINTER(_CQuery), POINTER(c_int32), POINTER(c_float),
                                   POINTER(c_int), POINTER(_CError)]),
    "latentr3_score": (c_int, [c_void_p, POINTER(_CHistory), c_int, POINTER(_CQuery), POINTER(c_int32), c_int,
                               POINTER(c_double), POINTER(c_int32), POINTER(_CError)]),
}
_loaded = None


def _path():
    named = os.environ.get("LATENTR3_LIBRARY")
    beside = os.path.join(os.path.dirname(os.path.abspath(__file__)), SONAME)
    return named or (beside if os.path.exists(beside) else SONAME)


def load():
    """The library; ImportError, which says where it was looked for, where there is none."""
    global _loaded
    if _loaded is None:
        try:
            library = ctypes.CDLL(_path())
            for name, (result, arguments) in _signatures.items():
                function = getattr(library, name)
                function.restype, function.argtypes = result, arguments
        except (OSError, AttributeError) as e:  # no library, or another one
            raise ImportError(f"{e}; install latentr3, or name its {SONAME} in LATENTR3_LIBRARY") from None
        _loaded = library
    return _loaded


def log_level(level):
    """What the library says on stderr: -1 nothing (as it is at first), 0 errors, 1 warnings, 2 what is opened, 3 more."""
    load().latentr3_log_level(level)


def check(function, *arguments, first=0):
    """Call a function whose last argument is an error, and raise what it returns. first: the number of its user 0."""
    error = _CError()
    code = function(*arguments, byref(error))
    if code:
        message = error.message.decode(errors="replace")
        users = re.match(r"users? \d+(?: to \d+)?: ", message)
        if users:
            message = re.sub(r"\d+", lambda u: str(first + int(u[0])), users[0]) + message[users.end():]
        e = _errors.get(code, InternalError)(message)
        e.code = code
        raise e


def encode(text):
    if not isinstance(text, str):
        raise TypeError(f"a text is expected, not {type(text).__name__}")
    return _whole(text.encode())


def path(path):
    return _whole(os.fsencode(path))


def _whole(text):
    if b"\0" in text:  # where C would take it to end
        raise ValueError("a text holds a NUL character")
    return text


def listed(values):
    """A list of them; one text is none, though Python would take it for its letters."""
    if isinstance(values, (str, bytes)):
        raise TypeError("a list is expected, not one text")
    return list(values)


def texts(values):
    """A C array of C strings, which it keeps alive."""
    return (c_char_p * len(values))(*[encode(v) for v in values])


def histories(entries):
    """(users) structs; an array of n texts for each."""
    out = (_CHistory * max(len(entries), 1))()
    for h, history in zip(out, entries):
        h.entry, h.n = texts(history), len(history)
    return out


def query(k=0, beams=0, by_id=False, exclude_seen=False, allow=None, deny=()):
    q = _CQuery(size=ctypes.sizeof(_CQuery), k=k, beams=beams, by_id=bool(by_id), exclude_seen=bool(exclude_seen))
    if allow is not None:
        allow = listed(allow)
        q.allow, q.allows = texts(allow or [""]), len(allow)
    deny = listed(deny)
    if deny:
        q.deny, q.denies = texts(deny), len(deny)
    return q


def open_handle(handle, model, data, options):
    """handle: a c_void_p of the caller's, who closes it whatever happens here."""
    library = load()
    o = library.latentr3_options_new()
    try:
        for name, value in options.items():
            text = str(value)
            if text in ("True", "False"):  # NumPy's too
                text = text.lower()
            check(library.latentr3_options_set, o, encode(name.replace("_", "-")), encode(text))
        check(library.latentr3_open, byref(handle), path(model), path(data), o)
    finally:
        library.latentr3_options_free(o)
