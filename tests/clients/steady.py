"""Calls a URL again and again on several threads until a file exists; every call has to be answered with 200.

usage: steady.py URL THREADS FILE
"""

import os
import sys
import threading

import requests

url, threads, end = sys.argv[1], int(sys.argv[2]), sys.argv[3]
answered = []
begun = threading.Barrier(threads + 1)


def call():
    session = requests.Session()
    is_first = True
    while not os.path.exists(end):
        session.get(url, timeout=60).raise_for_status()
        answered.append(1)
        if is_first:
            begun.wait()
        is_first = False


workers = [threading.Thread(target=call) for _ in range(threads)]
for worker in workers:
    worker.start()
begun.wait()
print("ready", flush=True)
for worker in workers:
    worker.join()
print("answered", len(answered), flush=True)
