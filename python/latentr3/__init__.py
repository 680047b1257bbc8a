"""Recommendations by language models that think in a latent vector before they answer.

    from latentr3 import Recommender

    with Recommender.load("rl", "data") as r:
        for item in r.recommend(["Toy Story (1995)", "Babe (1995)"], k=5):
            print(item.score, item.title)

The package is pure Python over the C library liblatentr3.so, which it looks for in this order: the file that the
environment variable LATENTR3_LIBRARY names, a liblatentr3.so.0 beside this file, and what the system's loader finds.

A Recommender may be shared by threads: calls that compute wait for each other, and let other Python threads run. The child of
a fork (multiprocessing's "fork", a web server that loads first) goes on with its parent's, whose weights they share, unless
another thread was in a call just then, or they are on a GPU. NumPy is needed for recommend_arrays alone.
"""

import math
import operator
import os
import sys
from numbers import Integral
from typing import NamedTuple

from . import _library
from ._library import DataError, Error, FileError, InternalError, OutOfMemory, UsageError, log_level

__all__ = ["Recommender", "Recommendation", "Error", "UsageError", "DataError", "FileError", "OutOfMemory",
           "InternalError", "log_level", "version"]

_MOST = 1000  # of the option max_beams


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

    def __init__(self):
        self._handle = _library.c_void_p()

    @classmethod
    def load(cls, model, data, **options):
        """Open a model and a data folder.

        model: a model folder, a GGUF file, or one of "popularity", "item-knn", "repeat-last", "random".
        options: those of `latentr3 serve` but for HTTP's, dashes written as underscores: threads=4, dtype="f32",
        max_beams=100, batch=16 (users of a call who are searched for together, 1 where not given).
        """
        r = cls()
        name = os.fsdecode(model)
        try:
            _library.open_handle(r._handle, model, data, options)
            r._beams, r._batch = int(options.get("beams", 10)), int(options.get("batch", 1))
            # Users of one call of the library: Python hears of Ctrl-C between two. "random" numbers the users of a call.
            r._users = sys.maxsize if name == "random" else r._batch
        except BaseException:  # an interrupt too, which may come when the model is there already
            r.close()
            raise
        return r

    def close(self):
        """Give back model and memory. No other thread may be in a call."""
        if not self._handle:
            return
        close = _library.load().latentr3_close
        handle, self._handle = self._handle, None  # first, so that an interrupt of the call leaves nothing to close again
        close(handle)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __del__(self):
        if getattr(self, "_handle", None):
            self.close()

    def __reduce__(self):  # copy and pickle ask it: a second owner of the handle would close it again
        raise TypeError("a Recommender can be neither copied nor pickled: load it again")

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
        most = max(0, min(most, len(self)))
        found = (_library.c_int32 * most)()
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
        array or pandas Series, of such histories. An empty list is one history, which is refused. A language model reads
        the last ten entries, a SASRec more. Of numbers, negative ones are passed over, so that rows of an array can be
        filled up with -1. k: items of a list; 10, or as many as there are beams where these are fewer, if not given. beams: 0 takes
        the option's, or k where that is more. allow: the ids that may be recommended. deny: ids that may not.
        """
        query = self._length(k, beams), beams, exclude_seen, by_id, allow, deny
        return self._rank(history, *query) if _is_nested(history) else self._rank([history], *query)[0]

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
        items = [operator.index(i) for i in _library.listed(items)]  # int() would take an id for a number
        for number in items:
            self._check_number(number)
        with_ids, entries = self._entries([history], by_id)
        history, query = _library.histories(entries), _library.query(by_id=with_ids)
        scores, most = [], self._batch
        while True:
            some = items[len(scores):len(scores) + most]
            n = len(some)
            out, tokens, numbers = (_library.c_double * n)(), (_library.c_int32 * n)(), (_library.c_int32 * n)(*some)
            _library.check(_library.load().latentr3_score, self._open, history, 1, query, numbers, n, out, tokens)
            scores += zip(out, tokens)
            if len(scores) == len(items):
                return scores
            if not tokens[0]:  # no language model: each call scores the whole catalogue
                most = len(items)

    def evaluate(self, histories, targets, *, at=(1, 5, 10), **query):
        """{"HR@1": ..., "NDCG@1": ..., "targets_outside": ...} over users whose next item is known. targets: its id, a text,
        for each history. Ranks are within the list of max(at) items, as `latentr3 eval` counts them by item; targets_outside
        are those that the catalogue lacks, or that were removed from it: always a miss."""
        histories, targets, at = _library.listed(histories), _library.listed(targets), tuple(at)
        if len(histories) != len(targets) or not targets:
            raise ValueError(f"{len(histories)} histories, {len(targets)} targets")
        outside = sum(self._is_outside(t) for t in targets)  # and none is a number, which would equal no id
        lists = self._rank(histories, self._length(max(at), query.get("beams", 0)), **query)
        ranks = [next((r for r, item in enumerate(items, 1) if item.id == t), math.inf) for items, t in zip(lists, targets)]
        metrics = {}
        for n in at:
            hits = [r for r in ranks if r <= n]
            metrics[f"HR@{n}"] = len(hits) / len(ranks)
            metrics[f"NDCG@{n}"] = sum(1 / math.log2(1 + r) for r in hits) / len(ranks)
        return metrics | {"targets_outside": outside}

    # ---- how ----

    def _is_outside(self, id):
        library = _library.load()
        return bool(library.latentr3_item_removed(self._open, library.latentr3_item_by_id(self._open, _library.encode(id))))

    def _entries(self, histories, by_id):
        """Histories of one kind of texts: whether they are ids, and the texts. Numbers become ids."""
        texts, numbers = [], [0, 0]  # entries that are numbers, and all
        for history in _as_list(histories):
            history = _library.listed(_as_list(history))
            n = sum(isinstance(x, Integral) for x in history)
            numbers = [numbers[0] + n, numbers[1] + len(history)]
            if 0 < n < len(history):
                raise TypeError(f"user {len(texts)}: some entries are numbers, others are not")
            texts.append([self.id(x) for x in history if x >= 0] if n else history)
        if 0 < numbers[0] < numbers[1] and not by_id:
            raise TypeError("some histories are numbers, others titles")
        return bool(by_id or numbers[0]), texts

    def _length(self, k, beams):
        """Of the lists: k, or what the library takes where none is given. What no max_beams lets through is refused before
        there are arrays for it, or ctypes cuts off what is beyond 32 bits."""
        if not 0 <= beams <= _MOST:
            raise ValueError(f"beams is {beams}: at most {_MOST}")
        if k is None:
            return min(10, beams or self._beams)
        if not 1 <= k <= _MOST:
            raise ValueError(f"k is {k}: 1 to {_MOST}")
        return k

    def _rank_flat(self, histories, k, beams=0, exclude_seen=False, by_id=False, allow=None, deny=()):
        with_ids, entries = self._entries(histories, by_id)
        users = len(entries)
        query, library = _library.query(k, beams, with_ids, exclude_seen, allow, deny), _library.load()
        # Of no items: what is at fault with any history is said before the first search.
        _library.check(library.latentr3_score, self._open, _library.histories(entries), users, query, None, 0, None, None)
        items, scores, lengths = [], [], []
        for first in range(0, users or 1, self._users):
            some = entries[first:first + self._users]
            n = len(some)
            item, score, found = (_library.c_int32 * (n * k))(), (_library.c_float * (n * k))(), (_library.c_int * n)()
            _library.check(library.latentr3_recommend, self._open, _library.histories(some), n, query, item, score, found,
                           first=first)
            items += item
            scores += score
            lengths += found
        return items, scores, lengths

    def _rank(self, histories, k, *query, **named):
        """A list of Recommendation for each history."""
        item, score, found = self._rank_flat(histories, k, *query, **named)
        lists = []
        for u, n in enumerate(found):
            places = range(u * k, u * k + n)
            lists.append([Recommendation(self.id(item[i]), self.title(item[i]), score[i], item[i]) for i in places])
        return lists


def _as_list(values):
    return values.tolist() if hasattr(values, "tolist") else values


def _is_nested(history):
    """Whether it is several histories. An empty one is one."""
    history = _as_list(history)
    return len(history) > 0 and not isinstance(history[0], (str, bytes, Integral)) and hasattr(history[0], "__len__")
