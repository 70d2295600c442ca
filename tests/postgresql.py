"""A real PostgreSQL server for tests: Debian's package, on a port of its own, gone afterwards."""

import os
import shutil
import socket
import subprocess
from pathlib import Path

PASSWORD = "s3cret/p@ss"


class Server:
    """A cluster in a folder; as root it runs as the user postgres, which it insists on."""

    def __init__(self, folder):
        self.folder, self.programs = Path(folder), find()
        self.folder.mkdir(mode=0o755)
        self.before = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        if self.before:
            shutil.chown(self.folder, "postgres")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        secret = self.folder / "secret"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        made = ("-D", self.folder / "data", "-U", "tester", "--pwfile", secret, "--no-sync")
        self._run("initdb", *made, "--auth", "scram-sha-256")

    def address(self, password="s3cret%2Fp%40ss", database="postgres"):
        return f"postgresql+psycopg://tester:{password}@127.0.0.1:{self.port}/{database}"

    def start(self):
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        log = self.folder / "log"
        self._run("pg_ctl", "-D", self.folder / "data", "-w", "-l", log, "-o", options, "start")

    def stop(self):
        self._run("pg_ctl", "-D", self.folder / "data", "-m", "immediate", "stop")

    def _run(self, program, *words):
        done = subprocess.run(
            [*self.before, self.programs / program, *words],
            cwd="/",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def find():
    """The folder of the server's programs; None where it is not installed."""
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (folder / "initdb").exists():
            return folder
    found = shutil.which("initdb")
    return Path(found).parent if found else None
