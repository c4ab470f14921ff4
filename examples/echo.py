import asyncio

from icwsgw.client.asyncio_client import AsyncioClient
from icwsgw.client.codecs import CandidCodec
from icwsgw.client.root_key import fetch_root_key
from icwsgw.ic.candid import Record, Text


async def main() -> None:
    root_key = await asyncio.to_thread(fetch_root_key, "http://127.0.0.1:4943")
    async with AsyncioClient(
        "ws://127.0.0.1:8080",
        "bkyz2-fmaaa-aaaaa-qaaaq-cai",
        root_key=root_key,
        codec=CandidCodec(Record({"text": Text})),
    ) as client:
        client.send({"text": "hello"})
        async for message in client:
            print(message["text"])
            break


asyncio.run(main())
