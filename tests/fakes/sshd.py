"""A real OpenSSH server on loopback that serves SFTP to whoever runs the tests.

Needs the program `sshd` (Debian: `apt-get install openssh-server`; it need not run as a service).
"""

import getpass
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

from tests.waiting import PATIENCE

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin:/sbin")

CONFIG = """
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_ed25519
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PermitRootLogin yes
PasswordAuthentication no
Subsystem sftp internal-sftp
"""


def make_key(path, passphrase=""):
    """Make an Ed25519 key; returns its fingerprint."""
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", str(path)]
    subprocess.run(command, check=True)
    shown = subprocess.run(
        ["ssh-keygen", "-lf", f"{path}.pub"], check=True, capture_output=True, text=True
    )
    return shown.stdout.split()[1]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Sshd:
    """One server with a host key and one user key, in `folder`."""

    def __init__(self, folder: Path):
        self.folder, self.port, self.user = folder, free_port(), getpass.getuser()
        self.fingerprint = make_key(folder / "host_ed25519")
        self.key_file = folder / "user_ed25519"
        make_key(self.key_file)
        shutil.copy(f"{self.key_file}.pub", folder / "authorized_keys")
        self.known_hosts = folder / "known_hosts"
        host_key = (folder / "host_ed25519.pub").read_text()
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {host_key}")
        (folder / "sshd_config").write_text(CONFIG.format(port=self.port, folder=folder))

    def start(self):
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # where sshd separates its privileges
        config = self.folder / "sshd_config"
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [SSHD or "sshd", "-D", "-e", "-f", str(config)], stderr=log
            )
        self._wait()

    def _wait(self):
        end = time.monotonic() + 10
        while time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise AssertionError((self.folder / "log").read_text())

    def drop_connections(self):
        """End the connections that are open; new ones are taken."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        for child in children.read_text().split():
            os.kill(int(child), 9)

    def stop(self):
        self._process.terminate()
        self._process.wait(PATIENCE)
