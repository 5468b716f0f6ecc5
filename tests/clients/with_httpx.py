"""A GET and a POST with httpx, as an app would write them. usage: with_httpx.py URL BODY"""

import sys

import httpx

url, body = sys.argv[1:]
with httpx.Client() as client:
    for answer in (client.get(url + "/get"), client.post(url + "/post", content=body.encode())):
        answer.raise_for_status()
        print(answer.text, end="")
