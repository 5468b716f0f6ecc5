"""Adds one field, and finds the origin without a resolver."""

from mitmproxy import ctx


def server_connect(data):
    data.server.address = ("127.0.0.1", data.server.address[1])


def requestheaders(flow):
    flow.request.headers["authorization"] = "{{CREDENTIAL}}"
    # Bodies pass as they come; keeping them would be another job.
    flow.request.stream = True


def responseheaders(flow):
    flow.response.stream = True
