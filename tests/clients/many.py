"""Many streams of events at once with aiohttp; asks for the next event only when every stream has one.

usage: many.py URL COUNT
"""

import asyncio
import sys

import aiohttp


async def main(url, count):
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, trust_env=True, raise_for_status=True) as session:
        streams = await asyncio.gather(*(session.get(url + "/events") for _ in range(int(count))))
        for event in ("1", "2", "3"):
            received = await asyncio.gather(*(stream.content.readuntil(b"\n\n") for stream in streams))
            assert set(received) == {f"data: {event}\n\n".encode()}, set(received)
            await session.get(url + "/seen/" + event)
        rest = await asyncio.gather(*(stream.read() for stream in streams))
        assert set(rest) == {b""}, set(rest)
    print(len(streams), "streams had every event")


asyncio.run(main(*sys.argv[1:]))
