"""Server-sent events with httpx; asks for the next only when one has arrived. usage: events.py URL"""

import sys

import httpx

(url,) = sys.argv[1:]
with httpx.Client() as client, client.stream("GET", url + "/events") as events:
    events.raise_for_status()
    for line in events.iter_lines():
        if line.startswith("data: "):
            print(line, flush=True)
            client.get(url + "/seen/" + line.removeprefix("data: ")).raise_for_status()
