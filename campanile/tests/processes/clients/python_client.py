"""Connects with Python's `websockets`, receives a push and closes. Arguments: URL, API URL, API key, token."""

import asyncio
import json
import sys
import urllib.request

import websockets


def push(api: str, key: str, body: dict) -> dict:
    request = urllib.request.Request(
        f"{api}/v2/push",
        data=json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


async def main(url: str, api: str, key: str, token: str, _admin: str) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    async with websockets.connect(
        url, additional_headers=headers, subprotocols=["campanile.v2+json"]
    ) as socket:
        assert socket.subprotocol == "campanile.v2+json"
        welcome = json.loads(await asyncio.wait_for(socket.recv(), 30))
        assert welcome["welcome"]["device"] == {"user": "guido", "device": 1}, welcome
        caught_up = json.loads(await asyncio.wait_for(socket.recv(), 30))
        assert "caughtUp" in caught_up, caught_up
        await asyncio.wait_for(await socket.ping(), 30)
        answer = await asyncio.to_thread(push, api, key, {"user": "guido", "payload": {"text": "hi"}})
        assert answer["deliveredCount"] == 1, answer
        message = json.loads(await asyncio.wait_for(socket.recv(), 30))
        assert message["deliver"]["id"] == answer["messageId"], message
        assert message["deliver"]["payload"] == {"text": "hi"}, message
    print(f"received and closed with {socket.close_code}")


asyncio.run(main(*sys.argv[1:]))
