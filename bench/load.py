"""Clients that ask a running server for recommendations, one request after the other each, and how long it took.

    python3 bench/load.py URL DATA [--clients N] [--seconds S] [--titles N] [--k N] [--users new|returning|growing] [--key KEY]

Histories are made of the titles of DATA/info.txt. new: every request is another user's; returning: each of 200 users asks again and again;
growing: each client's user asks, takes a title, and asks again, up to --titles. One line of JSON: requests, errors, requests a second, and
milliseconds at the median, the 95th and the 99th percentile. Standard library alone.
"""

import argparse
import http.client
import json
import random
import threading
import time
from urllib.parse import urlparse


def arguments():
    p = argparse.ArgumentParser()
    p.add_argument("url")
    p.add_argument("data")
    p.add_argument("--clients", type=int, default=1)
    p.add_argument("--seconds", type=float, default=30)
    p.add_argument("--titles", type=int, default=10)
    p.add_argument("--k", type=int, default=10)
    p.add_argument("--users", choices=["new", "returning", "growing"], default="new")
    p.add_argument("--key")
    p.add_argument("--seed", type=int, default=1)
    return p.parse_args()


def histories(o, titles, client):
    rng = random.Random("%d %d" % (o.seed, client))
    if o.users == "returning":
        users = [random.Random("%d user %d" % (o.seed, u)).sample(titles, o.titles) for u in range(200)]
        while True:
            yield rng.choice(users)
    while True:
        whole = rng.sample(titles, o.titles)
        for n in range(1 if o.users == "growing" else o.titles, o.titles + 1):
            yield whole[:n]


def client(o, titles, number, stop, times, errors):
    where = urlparse(o.url)
    headers = {"Content-Type": "application/json"}
    if o.key:
        headers["Authorization"] = "Bearer " + o.key
    connection = None
    for history in histories(o, titles, number):
        if time.monotonic() >= stop:
            return
        began = time.monotonic()
        try:
            connection = connection or http.client.HTTPConnection(where.hostname, where.port, timeout=300)
            connection.request("POST", "/v1/recommend", json.dumps({"history": history, "k": o.k}), headers)
            reply = connection.getresponse()
            body = json.loads(reply.read())
            if reply.status != 200 or len(body["items"]) != o.k:
                errors.append(reply.status)
                time.sleep(float(reply.headers.get("Retry-After") or 0))
            else:
                times.append(time.monotonic() - began)
        except OSError as error:
            errors.append(str(error))
            connection = None


def percentile(ordered, share):
    return round(1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1) if ordered else None


def main():
    o = arguments()
    with open(o.data + "/info.txt", encoding="utf-8") as f:
        titles = [line.split("\t")[0] for line in f]
    times, errors = [], []
    start = time.monotonic()
    threads = [threading.Thread(target=client, args=(o, titles, n, start + o.seconds, times, errors)) for n in range(o.clients)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    spent = time.monotonic() - start
    ordered = sorted(times)
    print(json.dumps({"clients": o.clients, "users": o.users, "requests": len(times), "errors": len(errors),
                      "per_second": round(len(times) / spent, 2), "p50_ms": percentile(ordered, 0.5),
                      "p95_ms": percentile(ordered, 0.95), "p99_ms": percentile(ordered, 0.99)}))


main()
