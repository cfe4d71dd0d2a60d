"""One SFTP session with a server whose key is pinned; opened when needed, again when it broke.

A key is never accepted because it is new: either the settings name its fingerprint, or a file
holds it. Every call ends in time. What is listed, read or deleted is left to `sftp.py`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import asyncssh

from scanner.errors import SourceChanged, SourceError, SourceUnreachable
from scanner.sources.settings import SftpSettings

T = TypeVar("T")
Alive = Callable[[], None]
"""Called between the steps of a long call: each step may take `timeout_seconds`."""
Call = Callable[[asyncssh.SFTPClient, Alive], Awaitable[T]]

BROKEN = (
    asyncssh.ConnectionLost,
    asyncssh.ChannelOpenError,
    asyncssh.SFTPConnectionLost,
    asyncssh.SFTPNoConnection,
    ConnectionError,
)
"""What a new session may mend."""


class _Client(asyncssh.SSHClient):
    """Trusts the one key whose fingerprint the settings name, and keeps what was shown."""

    def __init__(self, fingerprint: str | None) -> None:
        self._fingerprint = fingerprint
        self.shown: str | None = None

    def validate_host_public_key(
        self, host: str, addr: str, port: int, key: asyncssh.SSHKey
    ) -> bool:
        """Compare fingerprints; called for keys that no known_hosts file holds."""
        del host, addr, port
        self.shown = key.get_fingerprint()
        return self.shown == self._fingerprint


class SftpSession:
    """Gives an SFTP client to one call after another."""

    def __init__(self, settings: SftpSettings) -> None:
        self._settings = settings
        self._connection: asyncssh.SSHClientConnection | None = None
        self._sftp: asyncssh.SFTPClient | None = None
        self._opening = asyncio.Lock()

    @property
    def location(self) -> str:
        """The account, the host and the folder."""
        settings = self._settings
        path = settings.path if settings.path.startswith("/") else f"/~/{settings.path}"
        return f"sftp://{settings.user}@{settings.host}:{settings.port}{path}"

    async def run(self, what: str, call: Call[T]) -> T:
        """Return what a call with the client returns; once more when the session broke.

        Raises SourceChanged for what is gone, SourceUnreachable, or SourceError.
        """
        where = f"cannot {what} in {self.location}"
        try:
            return await self._once(where, call)
        except BROKEN:
            pass
        try:
            return await self._once(where, call)
        except BROKEN as error:
            raise SourceUnreachable(f"{where}: the connection broke twice") from error

    async def _once(self, where: str, call: Call[T]) -> T:
        sftp = await self._client()
        try:
            return await self._timed(call, sftp)
        except BROKEN:
            self._drop(sftp)
            raise
        except TimeoutError as error:
            raise SourceUnreachable(f"{where}: {self._late}") from error
        except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath) as error:
            raise SourceChanged(f"{where}: there is no such file or folder") from error
        except asyncssh.SFTPPermissionDenied as error:
            raise SourceError(f"{where}: no permission") from error
        except asyncssh.Error as error:
            raise SourceError(f"{where}: {ascii(error.reason)[:200]}") from error

    async def _timed(self, call: Call[T], sftp: asyncssh.SFTPClient) -> T:
        """Return what a call returns; raises TimeoutError when one of its steps takes too long.

        Time ends the session instead of cancelling the call, which would then wait for the
        server's answer to its cleaning up.
        """
        late = False

        def expire() -> None:
            nonlocal late
            late = True
            self._drop(sftp)

        loop, seconds = asyncio.get_running_loop(), self._settings.timeout_seconds
        expiry = loop.call_later(seconds, expire)

        def alive() -> None:
            nonlocal expiry
            expiry.cancel()
            if not late:
                expiry = loop.call_later(seconds, expire)

        try:
            return await call(sftp, alive)
        except (asyncssh.Error, OSError) as error:
            if late:
                raise TimeoutError from error
            raise
        finally:
            expiry.cancel()

    @property
    def _late(self) -> str:
        return f"no answer within {self._settings.timeout_seconds:g} s; look at timeout_seconds"

    async def _client(self) -> asyncssh.SFTPClient:
        async with self._opening:
            if self._sftp is None:
                self._sftp = await self._open()
            return self._sftp

    async def _open(self) -> asyncssh.SFTPClient:
        client = _Client(self._settings.host_key)
        where = f"cannot connect to {self.location}"
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                self._connection, _ = await asyncssh.create_connection(
                    lambda: client, self._settings.host, self._settings.port, **self._options()
                )
                return await self._connection.start_sftp_client(path_errors="surrogateescape")
        except TimeoutError as error:
            raise SourceUnreachable(f"{where}: {self._late}") from error
        except asyncssh.HostKeyNotVerifiable as error:
            raise SourceUnreachable(f"{where}: {self._untrusted(client.shown)}") from error
        except asyncssh.PermissionDenied as error:
            raise SourceUnreachable(
                f"{where}: the server refuses the account; look at user, key_file, password"
            ) from error
        except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
            raise SourceUnreachable(
                f"{where}: key_file or known_hosts cannot be read; look at them and at passphrase"
            ) from error
        except asyncssh.Error as error:
            raise SourceUnreachable(f"{where}: {ascii(error.reason)[:200]}") from error
        except (OSError, ValueError) as error:
            cause = getattr(error, "strerror", None) or "the server or a key file cannot be read"
            raise SourceUnreachable(f"{where}: {cause}") from error

    def _untrusted(self, shown: str | None) -> str:
        pinned = "host_key" if self._settings.host_key else str(self._settings.known_hosts)
        key = f" ({shown})" if shown else ""
        return (
            f"the server shows a key{key} that {pinned} does not name. Ask the server's admin "
            "for its fingerprint before you change the setting: someone may sit in between"
        )

    def _options(self) -> dict[str, Any]:
        settings = self._settings
        secrets = {
            name: secret.get_secret_value()
            for name, secret in (
                ("password", settings.password),
                ("passphrase", settings.passphrase),
            )
            if secret is not None
        }
        known = str(settings.known_hosts) if settings.known_hosts else ([], [], [])
        return {
            "username": settings.user,
            "known_hosts": known,  # never None, which would accept any key
            "client_keys": [str(settings.key_file)] if settings.key_file else None,
            "config": None,  # neither the account's nor the machine's ssh_config
            "keepalive_interval": settings.timeout_seconds,
            **({} if settings.agent else {"agent_path": None}),
            **secrets,
        }

    def _drop(self, sftp: asyncssh.SFTPClient) -> None:
        """End a session, unless another call has opened the next one already."""
        if self._sftp is sftp:
            self.close()

    def close(self) -> None:
        """End the session; the next call opens another."""
        connection, self._connection, self._sftp = self._connection, None, None
        if connection is not None:
            connection.abort()
