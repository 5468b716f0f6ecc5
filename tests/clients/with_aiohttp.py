"""A GET and a POST with aiohttp, as an app would write them. usage: with_aiohttp.py URL BODY"""

import asyncio
import sys

import aiohttp


async def main(url, body):
    async with aiohttp.ClientSession(trust_env=True, raise_for_status=True) as session:
        async with session.get(url + "/get") as answer:
            print(await answer.text(), end="")
        async with session.post(url + "/post", data=body.encode()) as answer:
            print(await answer.text(), end="")


asyncio.run(main(*sys.argv[1:]))
