"""A GET and a POST with requests, as an app would write them. usage: with_requests.py URL BODY"""

import sys

import requests

url, body = sys.argv[1:]
with requests.Session() as session:
    for answer in (session.get(url + "/get"), session.post(url + "/post", data=body.encode())):
        answer.raise_for_status()
        print(answer.text, end="")
