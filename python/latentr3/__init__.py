"""Recommendations by language models that think in a latent vector before they answer.

    from latentr3 import Recommender

    with Recommender.load("rl", "data") as r:
        for item in r.recommend(["Toy Story (1995)", "Babe (1995)"], k=5):
            print(item.score, item.title)

The package is pure Python over the C library liblatentr3.so, which it looks for in this order: the file that the
environment variable LATENTR3_LIBRARY names, a liblatentr3.so.0 beside this file, and what the system's loader finds.

A Recommender may be shared by threads: calls that compute wait for each other, and let other Python threads run. It does
not survive a fork (multiprocessing's "fork"): load it in the child. NumPy is needed for recommend_arrays alone.
"""

import math
from numbers import Integral
from typing import NamedTuple

from . import _library
from ._library import DataError, Error, FileError, InternalError, OutOfMemory, UsageError, log_level

__all__ = ["Recommender", "Recommendation", "Error", "UsageError", "DataError", "FileError", "OutOfMemory",
           "InternalError", "log_level", "version"]


def version():
    """The version of the C library."""
    return _library.load().latentr3_version().decode()


class Recommendation(NamedTuple):
    """One item of a list. id: the shop's own, where the data folder has it. number: its line of info.txt, from 0."""

    id: str
    title: str
    score: float
    number: int


class Recommender:
    """An opened model over the items of a data folder. Made by Recommender.load."""

    def __init__(self, handle, beams):
        self._handle, self._beams = handle, beams

    @classmethod
    def load(cls, model, data, **options):
        """Open a model and a data folder.

        model: a model folder, a GGUF file, or one of "popularity", "item-knn", "repeat-last", "random".
        options: those of `latentr3 serve` but for HTTP's, dashes written as underscores: threads=4, dtype="f32",
        max_beams=100, batch=16 (users of a call who are searched for together, 1 where not given).
        """
        return cls(_library.open_handle(model, data, options), int(options.get("beams", 10)))

    def close(self):
        """Give back model and memory. No other thread may be in a call."""
        if self._handle:
            _library.load().latentr3_close(self._handle)
        self._handle = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __del__(self):
        if getattr(self, "_handle", None):
            self.close()

    @property
    def _open(self):
        if not self._handle:
            raise ValueError("the recommender is closed")
        return self._handle

    # ---- items ----

    @property
    def model_version(self):
        """32 hexadecimal digits that the weights decide."""
        return _library.load().latentr3_model_version(self._open).decode()

    def __len__(self):
        """How many items the catalogue has, those that were removed included."""
        return _library.load().latentr3_items(self._open)

    def id(self, number):
        """The id of the item of that number."""
        return self._text(_library.load().latentr3_item_id, number)

    def title(self, number):
        """The title of the item of that number."""
        return self._text(_library.load().latentr3_item_title, number)

    def number(self, id=None, title=None):
        """The number of the item of that id, or of the first one of that title. KeyError where there is none."""
        if (id is None) == (title is None):
            raise TypeError("an id or a title is expected")
        library = _library.load()
        find = library.latentr3_item_by_title if id is None else library.latentr3_item_by_id
        found = find(self._open, _library.encode(title if id is None else id))
        if found < 0:
            raise KeyError(title if id is None else id)
        return found

    def search(self, text, most=10):
        """Items whose title begins with the text, then those with a word that does, as (id, title)."""
        found = (_library.c_int32 * max(most, 1))()
        n = _library.load().latentr3_search(self._open, _library.encode(text), found, most)
        return [(self.id(i), self.title(i)) for i in found[:n]]

    def _text(self, read, number):
        self._check_number(number)
        return read(self._open, number).decode()

    def _check_number(self, number):  # ctypes would cut off what is beyond 32 bits
        if not 0 <= number < len(self):
            raise IndexError(f"item {number}: the catalogue's numbers are 0 to {len(self) - 1}")

    # ---- recommending ----

    def recommend(self, history, *, k=None, beams=0, exclude_seen=False, by_id=False, allow=None, deny=()):
        """The next items for a history, best first: a list of Recommendation; or for several, a list of such lists.

        history: what the user enjoyed, oldest first: titles, or ids where by_id is true, or item numbers (int); or a list,
        or NumPy array, of such histories. Of numbers, negative ones are passed over, so that rows of an array can be filled
        up with -1. k: items of a list; 10, or as many as there are beams where these are fewer, if not given. beams: 0 takes
        the option's, or k where that is more. allow: the ids that may be recommended. deny: ids that may not.
        """
        one = not _is_nested(history)
        histories = [history] if one else history
        users = self._rank(histories, self._length(k, beams), beams, exclude_seen, by_id, allow, deny)
        lists = [[Recommendation(self.id(i), self.title(i), s, i) for i, s in zip(items[:n], scores[:n])]
                 for items, scores, n in users]
        return lists[0] if one else lists

    def recommend_arrays(self, histories, *, k=None, beams=0, **query):
        """As recommend, for several histories, as NumPy arrays: item numbers (users, k) int32, behind the end of a list -1;
        scores (users, k) float32, there 0; lengths of the lists (users,) int32."""
        import numpy

        k = self._length(k, beams)
        item, score, found = self._rank_flat(histories, k, beams, **query)
        users = len(found)
        return (numpy.array(item, numpy.int32).reshape(users, k), numpy.array(score, numpy.float32).reshape(users, k),
                numpy.array(found, numpy.int32))

    def score(self, history, items, *, by_id=False):
        """How likely items (numbers) come next: [(score, tokens)]. Of a language model the natural logarithm of the
        title's probability, and its number of tokens; of other models their score, and 0. Each item costs a prompt."""
        items = [int(i) for i in _library.listed(items)]
        for number in items:
            self._check_number(number)
        with_ids, entries = self._entries([history], by_id)
        query = _library.query(by_id=with_ids)
        out = (_library.c_double * max(len(items), 1))()
        tokens = (_library.c_int32 * max(len(items), 1))()
        numbers = (_library.c_int32 * max(len(items), 1))(*items)
        _library.check(_library.load().latentr3_score, self._open, _library.histories(entries), 1, query, numbers, len(items),
                       out, tokens)
        return list(zip(out[:len(items)], tokens[:len(items)]))

    def evaluate(self, histories, targets, *, at=(1, 5, 10), **query):
        """{"HR@1": ..., "NDCG@1": ...} over users whose next item is known. targets: its id, for each history. Ranks are
        within the list of max(at) items, as `latentr3 eval` counts them by item."""
        histories, targets = _library.listed(histories), _library.listed(targets)
        if len(histories) != len(targets) or not targets:
            raise ValueError(f"{len(histories)} histories, {len(targets)} targets")
        lists = self.recommend(histories, k=max(at), **query)
        ranks = [next((r for r, item in enumerate(items, 1) if item.id == t), math.inf) for items, t in zip(lists, targets)]
        metrics = {}
        for n in at:
            hits = [r for r in ranks if r <= n]
            metrics[f"HR@{n}"] = len(hits) / len(ranks)
            metrics[f"NDCG@{n}"] = sum(1 / math.log2(1 + r) for r in hits) / len(ranks)
        return metrics

    # ---- how ----

    def _entries(self, histories, by_id):
        """Histories of one kind of texts: whether they are ids, and the texts. Numbers become ids."""
        texts, numbers = [], 0
        for history in histories:
            history = _library.listed(history.tolist() if hasattr(history, "tolist") else history)
            if any(isinstance(x, Integral) for x in history):
                numbers += 1
                history = [self.id(x) for x in history if x >= 0]
            texts.append(history)
        if numbers and numbers < len(texts) and not by_id:
            raise TypeError("some histories are numbers, others titles")
        return bool(by_id or numbers), texts

    def _length(self, k, beams):
        """Of the lists: k, or what the library takes where none is given."""
        if k is None:
            return min(10, beams or self._beams)
        if k < 1:
            raise ValueError(f"k is {k}")
        return k

    def _rank_flat(self, histories, k, beams=0, exclude_seen=False, by_id=False, allow=None, deny=()):
        with_ids, entries = self._entries(histories, by_id)
        users = len(entries)
        query = _library.query(k, beams, with_ids, exclude_seen, allow, deny)
        item = (_library.c_int32 * max(users * k, 1))()
        score = (_library.c_float * max(users * k, 1))()
        found = (_library.c_int * max(users, 1))()
        _library.check(_library.load().latentr3_recommend, self._open, _library.histories(entries), users, query, item, score,
                       found)
        return item[:users * k], score[:users * k], found[:users]

    def _rank(self, histories, k, *query):
        item, score, found = self._rank_flat(histories, k, *query)
        return [(item[u * k:(u + 1) * k], score[u * k:(u + 1) * k], n) for u, n in enumerate(found)]


def _is_nested(history):
    """Whether it is several histories. An empty one is one."""
    if hasattr(history, "ndim"):
        return history.ndim > 1
    return len(history) > 0 and not isinstance(history[0], (str, bytes, Integral)) and hasattr(history[0], "__len__")
