"""A GET and a POST with the whole https URL in the request line, sent to the proxy in the clear, as HTTP
libraries do that leave the TLS of a URL to their proxy. usage: with_absolute_form.py URL BODY"""

import base64
import os
import socket
import sys
import urllib.parse

url, body = sys.argv[1:]
proxy = urllib.parse.urlsplit(os.environ["https_proxy"])
pair = f"{urllib.parse.unquote(proxy.username)}:{urllib.parse.unquote(proxy.password)}"
credential = base64.b64encode(pair.encode()).decode()
for method, path, content in (("GET", "/get", b""), ("POST", "/post", body.encode())):
    head = [
        f"{method} {url}{path} HTTP/1.1",
        "Host: whatever",
        f"Proxy-Authorization: Basic {credential}",
        f"Content-Length: {len(content)}",
    ]
    with socket.create_connection((proxy.hostname, proxy.port)) as stream:
        stream.sendall("\r\n".join([*head, "", ""]).encode() + content)
        answer = stream.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 200 "), answer
