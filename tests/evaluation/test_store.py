"""The store: who works on a run, what is kept when things fail, and what messages do not show."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

import postgresql
from policyrank.errors import EvidenceError
from policyrank.evaluation import Store, evaluate, store as store_room
from policyrank.evidence.databases import Query

POLICIES = {name: lambda task, seed, k=k: float(k + seed % 7) for k, name in enumerate("abc")}
TASKS = ["x", "y"]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    if postgresql.find() is None:
        pytest.skip(
            "PostgreSQL is not tested: its server is not installed (apt install postgresql)"
        )
    pytest.importorskip("psycopg")
    # Not below pytest's folder, which only its user may enter.
    folder = Path("/tmp") / f"policyrank-postgresql-{os.getpid()}"
    found = postgresql.Server(folder)
    found.start()
    yield found
    found.stop()
    subprocess.run(["rm", "-r", folder], check=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request, tmp_path):
    """An empty store in each kind of database."""
    if request.param == "sqlite":
        return tmp_path / "store.db"
    address = request.getfixturevalue("server").address()
    with sa.create_engine(address).begin() as db:
        for table in (store_room.RUNS, store_room.RESULTS):
            db.execute(sa.text(f"drop table if exists {table.name}"))
    return address


@pytest.fixture
def results():
    return evaluate(POLICIES, TASKS, budget=60, workers=0).results


@pytest.fixture
def fast(monkeypatch):
    monkeypatch.setattr(store_room, "HEART", 0.1)
    monkeypatch.setattr(store_room, "LEASE", 0.8)


def elsewhere(monkeypatch, name):
    monkeypatch.setattr(store_room, "_place", lambda: name)
    monkeypatch.setattr(store_room.socket, "gethostname", lambda: name)


def test_runs_go_on_where_they_stood(where):
    first = evaluate(POLICIES, TASKS, budget=20, workers=0, store=where)
    more = evaluate(POLICIES, TASKS, budget=45, workers=0, store=where)
    whole = evaluate(POLICIES, TASKS, budget=45, workers=0)
    values = [(result.policy, result.task, result.value) for result in whole.results]
    assert [(result.policy, result.task, result.value) for result in more.results] == values
    assert len(first.results) == 20
    with pytest.raises(EvidenceError, match="other settings: seed 0, here 1"):
        evaluate(POLICIES, TASKS, budget=45, workers=0, store=where, seed=1)


@pytest.mark.parametrize("clock", ["runs", "stands still", "runs backwards"])
def test_two_machines_never_work_on_one_run(where, results, fast, monkeypatch, clock):
    """Whatever their clocks say, and however long a policy brings no result."""
    if clock != "runs":
        now = iter(range(10**9, 0, -1))
        monkeypatch.setattr(time, "time", lambda: 10**9 if clock == "stands still" else next(now))
    elsewhere(monkeypatch, "one")
    first = Store(where, "r")
    time.sleep(1.0)
    elsewhere(monkeypatch, "two")
    with pytest.raises(EvidenceError, match=f"process {os.getpid()} on one works on run 'r'"):
        Store(where, "r")
    first.add(results[0])
    first._over.set()  # it is stopped, or cut off
    second = Store(where, "r")
    second.add(results[1])
    with pytest.raises(EvidenceError, match="another process has taken run 'r'"):
        first.add(results[2])
    first.close()
    second.add(results[3])
    assert [one.replicate for one in second.results()] == [results[k].replicate for k in (0, 1, 3)]
    elsewhere(monkeypatch, "three")
    with pytest.raises(EvidenceError, match="on two works"):
        Store(where, "r")
    second.close()
    third = Store(where, "r")  # at once
    assert len(third.results()) == 3
    third.close()


def test_of_many_that_start_at_once_one_works(where, fast, monkeypatch):
    elsewhere(monkeypatch, "one")
    Store(where, "r").close()
    got, refused, gate = [], [], threading.Barrier(6)

    def take(name):
        gate.wait()
        try:
            found = Store.__new__(Store)
            monkeypatch.setattr(store_room, "_place", lambda: name)
            found.__init__(where, "r")
            got.append(found)
        except EvidenceError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=take, args=(f"place {k}",)) for k in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    holding = [found for found in got if found._row()["owner"] == found.owner]
    assert len(holding) == 1
    for found in got:
        found.close()


def test_a_process_of_the_same_number_is_another_one(where):
    store = Store(where, "r")
    store._over.set()
    values = {"pid": os.getppid(), "born": store_room._born(os.getppid())}
    store._change(values, sa.true())
    with pytest.raises(EvidenceError, match=f"process {os.getppid()} on"):
        Store(where, "r")
    store._change({"born": "12345"}, sa.true())  # it ended, and its number was given away
    Store(where, "r").close()


def test_stores_of_before_leases_are_read(tmp_path, results):
    path = tmp_path / "old.db"
    store = Store(path, "r")
    store.add(results[0])
    store.close()
    with sqlite3.connect(path) as db:
        for column in ("owner", "place", "born"):
            db.execute(f"alter table policyrank_runs drop column {column}")
    again = Store(path, "r")
    assert len(again.results()) == 1
    again.add(results[1])
    again.close()


@pytest.mark.parametrize("extra", range(0, 40, 3))
def test_a_disk_that_fills_at_any_page(tmp_path, results, extra):
    """What was kept is there, and every call ends in one line or well."""
    path = tmp_path / "full.db"
    Store(path, "r").close()
    with sqlite3.connect(path) as db:
        pages = db.execute("pragma page_count").fetchone()[0]
    store = Store(path, "r")
    sa.event.listen(
        store.engine, "connect", lambda c, _: c.execute(f"pragma max_page_count={pages + extra}")
    )
    store.engine.dispose()
    kept, said = [], ""
    for result in results * 3:
        result = replace(result, replicate=len(kept), error="x" * 3000)
        try:
            store.add(result)
        except EvidenceError as error:
            said = str(error)
            break
        kept.append(result.replicate)
    assert "full" in said
    assert "\n" not in said
    store.close()
    again = Store(path, "r")
    assert [one.replicate for one in again.results()] == kept
    again.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
@pytest.mark.parametrize("room", [96, 160, 256])
def test_a_real_disk_that_is_full(tmp_path, command, monkeypatch, room):
    """The store's side files and the closing included."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", f"size={room}k", "none", disk]
    if subprocess.run(mounted, capture_output=True, check=False).returncode:
        pytest.skip("not tested: nothing can be mounted here")
    try:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "path", [*sys.path])
        spec = "POLICIES = {n: lambda t, s: 1.0 for n in 'ab'}\nTASKS = ['x' * 300]\n"
        (tmp_path / "spec.py").write_text(spec)
        words = ("evaluate", "spec.py", "--store", disk / "s.db", "--workers", 0, "--budget", 900)
        code, said = command(*words)
        assert code == 1
        assert said.err.strip().count("\n") == 0
        assert "s.db" in said.err
        (disk / "s.db").stat()
        subprocess.run(["mount", "-o", "remount,size=20m", disk], check=True)
        code, said = command(*words)
        assert (code, "900 evaluations" in said.err) == (0, True)
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_a_damaged_store_ends_in_one_line(tmp_path, results):
    path = tmp_path / "s.db"
    store = Store(path, "r")
    for k, result in enumerate(results):
        store.add(replace(result, replicate=k, error="x" * 2000))
    store.close()
    whole = path.read_bytes()
    ended = set()
    for page in range(len(whole) // 4096):
        path.write_bytes(whole[: page * 4096] + b"\xaa" * 4096 + whole[(page + 1) * 4096 :])
        for side in ("-wal", "-shm"):
            Path(f"{path}{side}").unlink(missing_ok=True)
        try:
            damaged = Store(path, "r")
            ended.add(len(damaged.results()))
            damaged.close()
        except EvidenceError as error:
            ended.add(str(error))
    told = [one for one in ended if isinstance(one, str)]
    assert told
    assert not any("\n" in one for one in told)


def test_a_server_that_goes_away(server, results):
    address = server.address()
    store = Store(address, "gone", {})
    store.add(results[0])
    server.stop()
    try:
        for call in (lambda: store.add(results[1]), store.results, lambda: Store(address, "r")):
            with pytest.raises(EvidenceError, match=r"\*\*\*") as said:
                call()
            assert "\n" not in str(said.value)
            assert "p@ss" not in str(said.value)
            assert "p%40ss" not in str(said.value)
        store.close()
    finally:
        server.start()
    again = Store(address, "gone", {})
    assert len(again.results()) == 1
    again.add(results[1])
    again.close()


SPEC = """
import time
POLICIES = {n: lambda t, s: time.sleep(.01) or float(s % 7) for n in "ab"}
TASKS = ["x"]
"""


def test_killed_and_resumed_on_a_server(server, tmp_path):
    (tmp_path / "spec.py").write_text(SPEC)
    run = [sys.executable, "-m", "policyrank", "evaluate", "spec.py", "--budget", "150"]
    run += ["--workers", "2", "--store", server.address(), "--run", "killed"]
    engine = sa.create_engine(server.address())
    query = sa.select(store_room.RESULTS.c.id).where(store_room.RESULTS.c.run == "killed")

    def kept():
        with engine.connect() as db:
            return (
                len(db.execute(query).all())
                if sa.inspect(db).has_table("policyrank_results")
                else 0
            )

    process = subprocess.Popen(run, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while kept() < 20 and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert 20 <= kept() < 150
    done = subprocess.run(
        run, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=90
    )
    assert done.returncode == 0, done.stderr
    assert kept() == 150


@pytest.mark.parametrize(
    "address",
    [
        "postgresql+psycopg://me:hush@127.0.0.1:1/x",
        "postgresql+psycopg://me:hush@127.0.0.1:none/x",
        "postgresql+nobody://me:hush@127.0.0.1/x",
        "nonsense://me:hush@127.0.0.1/x?password=hush",
        "postgresql+psycopg://127.0.0.1:1/x?password=hush&user=me",
        "mysql+pymysql://me:hush@127.0.0.1/x",
    ],
)
def test_passwords_are_not_shown(address, command, tmp_path, monkeypatch):
    with pytest.raises(EvidenceError) as said:
        Store(address, "r")
    with pytest.raises(EvidenceError) as asked:
        Query(address, "select 1").frame()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "spec.py").write_text(SPEC)
    code, typed = command("evaluate", "spec.py", "--store", address, "--workers", 0)
    assert code == 1
    _, read = command("rank", "--sql", address, "--query", "select 1")
    for text in (str(said.value), str(asked.value), typed.err, read.err):
        assert "hush" not in text
        assert text.strip().count("\n") == 0


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://me:hush hush@host/x",
        "mssql+pyodbc:///?odbc_connect=DRIVER%3D1%3BPWD%3Dhush%3B",
        "s3://bucket/x.csv?X-Amz-Security-Token=hush",
        "az://c/x.csv?sv=1&sig=hush",
        "hf://me:hush@datasets/x.csv",
        "http://hush@host/x.csv",
        "postgresql://me:hush@host/x?options=a@b",
        "https://h/x?auth=hush&code=hush#access_token=hush",
        "postgresql://me:a+hush@host/x?passfile=hush",
    ],
)
def test_secrets_of_all_kinds(address):
    from policyrank.evidence.addresses import shown_address, without_secrets

    assert "hush" not in shown_address(address)
    assert "host" in shown_address(address) or "host" not in address
    secret = "hush hush" if " " in address else "a+hush" if "a+" in address else "hush"
    if "odbc" not in address:
        assert "hush" not in without_secrets(f"denied: {secret}", address)


def test_one_process_does_not_work_twice_on_a_run(where, results):
    first = Store(where, "r", {})
    with pytest.raises(EvidenceError, match=f"process {os.getpid()} on"):
        Store(where, "r", {})
    first.add(results[0])
    first.close()
    second = Store(where, "r", {})
    assert len(second.results()) == 1
    second.close()


def test_a_wrong_password_is_not_shown(server):
    for secret in ("wr0ng", "wr%2F0ng"):
        address = server.address(password=secret)
        with pytest.raises(EvidenceError, match="authentication failed") as said:
            Store(address, "r")
        assert "0ng" not in str(said.value)
