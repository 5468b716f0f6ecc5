"""What an SDK does: no key, no start; and the key it finds goes out as it is. usage: with_sdk_key.py URL BODY"""

import os
import sys

import requests

url, body = sys.argv[1:]
key = os.environ.get("API_KEY")
if not key:
    sys.exit("API_KEY is not set")
headers = {"Authorization": f"Bearer {key}"}
requests.get(url + "/get", headers=headers).raise_for_status()
requests.post(url + "/post", headers=headers, data=body.encode()).raise_for_status()
print("key:", key)
