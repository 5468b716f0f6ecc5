"""Text, binary, a ping and a login over a WebSocket with websockets. usage: with_websockets.py URL PLACEHOLDER"""

import asyncio
import json
import os
import sys

import websockets


async def main(url, placeholder):
    async with websockets.connect(url) as socket:
        # Longer than each length's encoding (RFC 6455 section 5.2), and longer than one read.
        for message in ("Größe", "x" * 300, os.urandom(70_000), os.urandom(3)):
            await socket.send(message)
            assert await socket.recv() == message
        await (await socket.ping(b"are you there"))
        # In two frames of one message, then whole.
        await socket.send(iter(["in two ", "frames"]))
        assert await socket.recv() == "in two frames"
        await socket.send(json.dumps({"token": placeholder}))
        print(await socket.recv())


asyncio.run(main(*sys.argv[1:]))
