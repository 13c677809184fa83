"""A trawl of one's own: `trawl up` in a folder that goes with it."""

import csv
import io
import json
import shutil
import subprocess
import time

READY_SECONDS_MAX = 120


class Trawl:
    """Starts it on entry and ends it on exit."""

    def __init__(self, binaries, postgres, folder, workers):
        self.trawl, self.psql, self.folder = binaries / "trawl", postgres / "bin" / "psql", folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        ports = ["--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"]
        with open(folder / "log", "w") as log:
            self.up = subprocess.Popen([self.trawl, "up", "--workers", str(workers), "--data-dir", folder / "data", *ports],
                                       stdout=log, stderr=log)

    def __enter__(self):
        endpoints, deadline = self.folder / "data" / "endpoints.json", time.monotonic() + READY_SECONDS_MAX
        while not endpoints.exists():
            if self.up.poll() is not None or time.monotonic() > deadline:
                self.up.kill()
                raise RuntimeError(f"trawl up is not ready; its log:\n{(self.folder / 'log').read_text()}")
            time.sleep(0.2)
        self.endpoints = json.loads(endpoints.read_text())
        return self

    def __exit__(self, *_):
        self.up.terminate()
        self.up.wait()
        shutil.rmtree(self.folder)

    def run(self, study):
        """Submits a study and waits until it completed."""
        file = self.folder / f"{study['name']}.json"
        file.write_text(json.dumps(study))
        subprocess.run([self.trawl, "--server", self.endpoints["grpc"], "submit", file, "--watch"], check=True,
                       stdout=subprocess.DEVNULL)

    def rows(self, query):
        copy = [self.psql, self.endpoints["database_url"], "--no-psqlrc", "--quiet", "--command", f"COPY ({query}) TO STDOUT (FORMAT csv)"]
        return csv.reader(io.StringIO(subprocess.run(copy, check=True, capture_output=True, text=True).stdout))
