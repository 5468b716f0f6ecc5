"""Checks AWS requests as the service would, with botocore's own signing code and the real keys.

usage: verify_sigv4.py ACCESS_KEY SECRET_KEY [SESSION_TOKEN]
Reads one request a line (JSON: method, url, fields, body in base64), prints one line a request: "ok SERVICE", or
what is wrong with it.
"""

import base64
import hashlib
import json
import re
import sys
import zlib

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/(?P<date>\d{8})/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request, "
    r"SignedHeaders=(?P<signed>[^,]+), Signature=(?P<signature>[0-9a-f]{64})"
)


class Refused(Exception):
    pass


def expect(is_so, otherwise):
    if not is_so:
        raise Refused(otherwise)


def verify(request, credentials):
    fields = [(name.lower(), value) for name, value in request["fields"]]
    names = [name for name, _ in fields]
    expect(len(names) == len(set(names)), "a field is there twice: " + " ".join(names))
    fields = dict(fields)
    claim = AUTHORIZATION.fullmatch(fields.get("authorization", ""))
    expect(claim, "no signature")
    expect(claim["key"] == credentials.access_key, "another access key")
    expect(fields.get("x-amz-security-token") == credentials.token, "another session token")
    signed = claim["signed"].split(";")
    expect("host" in signed, "the host is not signed")
    unsigned = [name for name in fields if name.startswith("x-amz-") and name not in signed]
    expect(not unsigned, "not signed: " + " ".join(unsigned))
    body = base64.b64decode(request["body"])
    check_body(fields, body)

    kind = S3SigV4Auth if claim["service"] == "s3" else SigV4Auth
    auth = kind(credentials, claim["service"], claim["region"])
    rebuilt = AWSRequest(
        method=request["method"],
        url=request["url"],
        headers={name: value for name, value in fields.items() if name in signed},
        data=body,
    )
    rebuilt.context["timestamp"] = fields["x-amz-date"]
    canonical = auth.canonical_request(rebuilt)
    signature = auth.signature(auth.string_to_sign(rebuilt, canonical), rebuilt)
    expect(signature == claim["signature"], f"another signature; signed should be {canonical!r}")
    return claim["service"]


def check_body(fields, body):
    """The body is what x-amz-content-sha256 says it is; without that field the signature has its hash."""
    said = fields.get("x-amz-content-sha256")
    if said == "STREAMING-UNSIGNED-PAYLOAD-TRAILER":
        content, trailers = decoded(body)
        expect(int(fields["x-amz-decoded-content-length"]) == len(content), "another decoded length")
        expect(fields["content-encoding"] == "aws-chunked", "another coding")
        checksum = base64.b64encode(zlib.crc32(content).to_bytes(4, "big")).decode()
        expect(fields["x-amz-trailer"] == "x-amz-checksum-crc32", "another trailer announced")
        expect(trailers == {"x-amz-checksum-crc32": checksum}, f"{trailers} does not fit the body")
    elif said not in (None, "UNSIGNED-PAYLOAD"):
        expect(said == hashlib.sha256(body).hexdigest(), "another body than was signed")


def decoded(body):
    """Takes the chunks of an aws-chunked body apart."""
    content = b""
    while True:
        size, _, body = body.partition(b"\r\n")
        size = int(size, 16)
        if size == 0:
            break
        content += body[:size]
        expect(body[size : size + 2] == b"\r\n", "a chunk does not end where it should")
        body = body[size + 2 :]
    lines = body.removesuffix(b"\r\n").decode().splitlines()
    return content, dict(line.split(":") for line in lines)


credentials = Credentials(*sys.argv[1:])
for line in sys.stdin:
    try:
        print("ok", verify(json.loads(line), credentials), flush=True)
    except Refused as why:
        print(why, flush=True)
