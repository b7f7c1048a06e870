"""Subscribes to a channel with Python's `websockets`, goes away, comes back and misses nothing; with every offer of
compression that the library can make. Arguments: URL, API URL, API key, token, operators' URL."""

import asyncio
import json
import sys
import urllib.request

import websockets
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

ACCEPTED = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
LARGE = "goal! " * 5000


class Api:
    def __init__(self, url: str, key: str, admin: str) -> None:
        self.url, self.key, self.admin = url, key, admin

    def call(self, path: str, body: dict | None = None, at: str | None = None) -> str:
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{at or self.url}{path}", data=data, headers=headers)
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.read().decode()

    async def publish(self, channel: str, payload: dict) -> dict:
        path = f"/v2/channels/{channel}/publish"
        return json.loads(await asyncio.to_thread(self.call, path, {"payload": payload}))

    async def bytes_sent(self) -> int:
        lines = (await asyncio.to_thread(self.call, "/metrics", None, self.admin)).splitlines()
        named = [line for line in lines if line.startswith("campanile_channel_bytes_sent_total")]
        assert named, lines
        return sum(int(line.rsplit(" ", 1)[1]) for line in named)


class Client:
    """A session; used as a context."""

    def __init__(self, url: str, token: str, **offer) -> None:
        headers = {"Authorization": f"Bearer {token}"}
        self.connecting = websockets.connect(
            url, additional_headers=headers, subprotocols=["campanile.v2+json"], **offer
        )

    async def __aenter__(self) -> "Client":
        self.socket = await self.connecting
        assert "welcome" in await self.next()
        assert "caughtUp" in await self.next()
        return self

    async def __aexit__(self, *_) -> None:
        await self.socket.close()

    def accepted(self) -> str | None:
        return self.socket.response.headers.get("Sec-WebSocket-Extensions")

    async def next(self) -> dict:
        return json.loads(await asyncio.wait_for(self.socket.recv(), 30))

    async def subscribe(self, channel: str, **position) -> dict:
        await self.socket.send(json.dumps({"subscribe": {"ref": "1", "channel": channel, **position}}))
        answer = await self.next()
        assert answer.get("subscribed", {}).get("ref") == "1", answer
        return answer["subscribed"]

    async def expect(self, first: int, last: int) -> list[dict]:
        """The messages with these numbers, and nothing in between."""
        messages = [(await self.next())["channelMessage"] for _ in range(first, last + 1)]
        assert [int(message["offset"]) for message in messages] == list(range(first, last + 1)), messages
        return messages


async def comes_back(url: str, api: Api, token: str) -> None:
    async with Client(url, token) as client:
        epoch = (await client.subscribe("score:1"))["position"]["epoch"]
        for number in range(1, 21):
            await api.publish("score:1", {"json": number})
        messages = await client.expect(1, 20)
        assert [message["payload"]["json"] for message in messages] == list(range(1, 21)), messages
        # As when a line breaks: without a word.
        client.socket.transport.abort()
    for number in range(21, 51):
        await api.publish("score:1", {"json": number})
    async with Client(url, token) as client:
        subscribed = await client.subscribe("score:1", since={"epoch": epoch, "offset": "20"})
        assert subscribed["recovered"] is True, subscribed
        assert subscribed["position"] == {"epoch": epoch, "offset": "50"}, subscribed
        await client.expect(21, 50)
        await api.publish("score:1", {"json": 51})
        await client.expect(51, 51)


async def offers(url: str, api: Api, token: str, accepted: str | None, **offer) -> None:
    """A large message arrives as it was, from a back end and from a client, and compressed if that was agreed."""
    async with Client(url, token, **offer) as client:
        assert client.accepted() == accepted, client.accepted()
        offset = int((await client.subscribe("score:2"))["position"].get("offset", 0))
        before = await api.bytes_sent()
        await api.publish("score:2", {"text": LARGE})
        [message] = await client.expect(offset + 1, offset + 1)
        assert message["payload"] == {"text": LARGE}
        sent = await api.bytes_sent() - before
        is_small = 0 < sent < len(LARGE) / 20
        assert is_small if accepted else sent > len(LARGE), (sent, accepted)
        # What the client sends is compressed, too, if that was agreed.
        publish = {"ref": "2", "channel": "score:2", "kind": "chat", "payload": {"text": LARGE}}
        await client.socket.send(json.dumps({"publish": publish}))
        answers = [await client.next(), await client.next()]
        [published] = [answer["published"] for answer in answers if "published" in answer]
        [message] = [answer["channelMessage"] for answer in answers if "channelMessage" in answer]
        assert published["position"]["offset"] == message["offset"] == str(offset + 2), published
        assert message["payload"] == {"text": LARGE}
        assert message["from"] == {"user": "guido", "device": 1}, message["from"]


async def main(url: str, api_url: str, key: str, token: str, admin: str) -> None:
    api = Api(api_url, key, admin)
    await comes_back(url, api, token)
    # What the library offers by itself, and what it can be told to offer.
    await offers(url, api, token, ACCEPTED)
    await offers(url, api, token, None, compression=None)
    for accepted, parameters in [
        (ACCEPTED, {"client_max_window_bits": 10}),
        (ACCEPTED, {"client_max_window_bits": None}),
        (ACCEPTED, {"server_no_context_takeover": True, "client_no_context_takeover": True}),
        (f"{ACCEPTED}; server_max_window_bits=15", {"server_max_window_bits": 15, "client_max_window_bits": 15}),
        # A smaller window would need a compressor of its own.
        (None, {"server_max_window_bits": 12}),
    ]:
        factory = ClientPerMessageDeflateFactory(**parameters)
        await offers(url, api, token, accepted, compression=None, extensions=[factory])
    print("nothing was missed")


asyncio.run(main(*sys.argv[1:]))
