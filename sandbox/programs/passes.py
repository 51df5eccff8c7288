"""Passes: what one server hands to its clients, so that other servers know who comes, and nobody comes as another.

    issuer ── key ──> those who are to know, over channels of their own
           ── pass ─> its client, who shows it to them       NUMBER NAME MAC

The number is the client; no other ever gets it. The name is only what it wants to be called: another may have said the
same, and keeps nobody from anything by that. Whoever has the key can tell that the issuer wrote both.
"""

import hmac
import re
import secrets
from typing import Final, NamedTuple

from sandbox.descriptors import ConnectedSocket, Descriptor
from sandbox.errors import MalformedMessage
from sandbox.imc import Imc
from sandbox.programs.messages import hear, say

NAME: Final = re.compile(r"[!-~]{1,64}")
KEY_BYTES: Final = 32
PASS: Final = re.compile(r"([1-9][0-9]{0,17}) ([!-~]{1,64}) ([0-9a-f]{64})")


class Client(NamedTuple):
    """Whom a pass was written for."""

    number: int
    name: str


class Passes:
    """What can be done with a key: write passes, and read those of others who have it."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def shared(cls, imc: Imc, *channels: Descriptor) -> "Passes":
        """Draw a key, and tell it to those at the other ends of `channels` (borrowed). Raises ImcError."""
        key = secrets.token_bytes(KEY_BYTES)
        for channel in channels:
            assert isinstance(channel, ConnectedSocket)  # noqa: S101 - the topology says so
            say(imc, channel, "key", key.hex())
        return cls(key)

    @classmethod
    def learned(cls, imc: Imc, channel: Descriptor) -> "Passes":
        """Wait for the key that the issuer tells over `channel` (borrowed). Raises ImcError."""
        assert isinstance(channel, ConnectedSocket)  # noqa: S101 - the topology says so
        return cls(bytes.fromhex(hear(imc, channel).body))

    def write(self, client: Client) -> str:
        """Return a pass for `client`."""
        text = f"{client.number} {client.name}"
        return f"{text} {self._mac(text)}"

    def read(self, shown: object) -> Client:
        """Return whom a pass was written for. Raises MalformedMessage for what is none."""
        parts = PASS.fullmatch(shown) if isinstance(shown, str) else None
        if parts is None or not hmac.compare_digest(parts[3], self._mac(f"{parts[1]} {parts[2]}")):
            raise MalformedMessage("no pass")
        return Client(int(parts[1]), parts[2])

    def _mac(self, text: str) -> str:
        return hmac.digest(self._key, text.encode(), "sha256").hex()
