"""Sends or receives a gibibyte with requests, keeping none of it. usage: bulk.py URL up|down

The body is 1024 blocks of 1 MiB, each its own number (8 bytes, big-endian) and a filler; the origin knows it too.
"""

import sys

import requests

BLOCKS = 1024
FILLER = (bytes(range(251)) * 4200)[: 1024 * 1024 - 8]


def blocks():
    for number in range(BLOCKS):
        yield number.to_bytes(8, "big") + FILLER


url, direction = sys.argv[1:]
if direction == "up":
    answer = requests.put(url + "/up", data=blocks())
    answer.raise_for_status()
    print(answer.text)
else:
    with requests.get(url + "/down", stream=True) as answer:
        answer.raise_for_status()
        for expected in blocks():
            assert answer.raw.read(len(expected)) == expected
        assert answer.raw.read() == b""
    print("received")
