"""The playground without a browser: its sessions as objects, its server through a socket."""

import collections
import http.client
import json
import struct
import sys
import threading
import time
import warnings

import numpy as np
import pytest

from skmlp import load
from skmlp.__main__ import main
from skmlp.playground.session import MAX_RECORDED, Session
from skmlp.playground.settings import NUMBERS, Settings, read_settings
from skmlp.playground.tables import MAX_BYTES, read_table

PATIENCE = 120  # seconds, of a machine that compiles


def ask(session, kind, **fields):
    return [opened(answer) for answer in session.handle(json.dumps({"type": kind, **fields}))]


def opened(message):
    """Return what a message says; arrays by their names in "content"."""
    if isinstance(message, str):
        return json.loads(message)
    (length,) = struct.unpack("<I", message[:4])
    header, offset = json.loads(message[4 : 4 + length]), 4 + length
    header["content"] = {}
    for array in header["arrays"]:
        count = int(np.prod(array["shape"]))
        values = np.frombuffer(message, array["type"], count, offset).reshape(array["shape"])
        header["content"][array["name"]] = values
        offset += values.nbytes
    assert offset == len(message)
    return header


def wait_for(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.005)


def run_to(session, epoch):
    """Run until an epoch is reached, then pause; return the last picture."""
    ask(session, "run")
    pictures = []

    def reached():
        pictures.extend(opened(message) for message in session.take())
        pictures.extend(ask(session, "ack"))
        return session.epoch >= epoch or session.state in ("done", "failed")

    wait_for(reached)
    ask(session, "pause")

    def seen():
        pictures.extend(opened(message) for message in session.take())
        pictures.extend(ask(session, "ack"))
        found = [picture for picture in pictures if picture["type"] == "picture"]
        at_rest = session.state in ("paused", "done", "failed")
        return at_rest and found and found[-1]["epoch"] == session.epoch

    wait_for(seen)
    return [picture for picture in pictures if picture["type"] == "picture"][-1]


@pytest.fixture
def session():
    session = Session()
    yield session
    session.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "playground"]


def configure(session, **settings):
    return ask(session, "configure", settings=settings)


def test_circles_are_learned_and_shown(session):
    told, data, state = configure(session, data="circles", hidden_layer_sizes=[6, 3])
    assert told["settings"]["hidden_layer_sizes"] == [6, 3]
    assert data["content"]["train"].shape == (150, 2)
    assert data["content"]["train"].min() > 0
    assert state["state"] == "ready"
    picture = run_to(session, 300)
    assert picture["test_score"] > 0.9
    assert picture["sizes"] == [2, 6, 3, 1]
    content = picture["content"]
    assert content["surface"].size == content["strength"].size == 2500
    assert content["units0"].shape == (6, 625)
    # The inner class, 1, in the middle and the outer one in the corner.
    surface = content["surface"].reshape(50, 50)
    assert (surface[25, 25], surface[0, 0]) == (1, 0)
    assert len(session._record) <= MAX_RECORDED
    (past,) = ask(session, "look", epoch=1)
    assert past["epoch"] < 10
    assert past["train_loss"] > picture["train_loss"]


def test_step_pause_and_reset(session):
    for epoch in (1, 2, 3):
        ask(session, "step")
        wait_for(lambda: session.state == "paused" and session.epoch == epoch)  # noqa: B023
        ask(session, "ack")
    ask(session, "reset")
    assert (session.state, session.epoch) == ("ready", 0)
    assert session._thread is None


SHOWN = [
    {"data": "moons", "hidden_layer_sizes": [5], "dropout": 0.2, "normalization": "batch"},
    {"data": "hills", "solver": "lbfgs", "activation": "gelu", "alpha": 0.01},
    {"data": "wine", "hidden_layer_sizes": [], "solver": "sgd", "batch_size": 500},
    {"data": "csv", "hidden_layer_sizes": [3]},
]


@pytest.mark.parametrize("settings", SHOWN, ids=lambda settings: settings["data"])
def test_python_that_is_shown_gives_the_same_network(session, settings, tmp_path, monkeypatch):
    text = "a,b,kind\n" + "".join(f"{i % 7},{i % 5},{'xy'[i % 2]}\n" for i in range(40))
    if settings["data"] == "csv":
        name = "it's.csv"
        (tmp_path / name).write_text(text)
        monkeypatch.chdir(tmp_path)
        assert ask(session, "csv", name=name, text=text)[0]["type"] == "configured"
    assert configure(session, **settings)[0]["type"] == "configured"
    run_to(session, 20)
    (python,) = ask(session, "python")
    ran = {}
    exec(compile(python["text"], "shown", "exec"), ran)
    network, model = session._latest, ran["model"]
    for ours, theirs in zip(network.coefs_, model[-1].coefs_, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    X = session._data.X_test
    expected = network.predict(session._view.scaler.transform(X))
    np.testing.assert_array_equal(model.predict(X), expected)


def test_a_divergence_is_told(session):
    configure(session, data="plane", solver="sgd", learning_rate_init=1000.0, activation="relu")
    ask(session, "run")
    wait_for(lambda: session.state == "failed")
    told = opened(session.take()[-1])
    assert "learning_rate" in told["error"]
    ask(session, "reset")
    assert session.state == "ready"


def test_digits_are_read_and_exported(session, tmp_path):
    configure(session, data="digits", hidden_layer_sizes=[16], batch_size=100)
    assert "no trained network" in str(ask(session, "draw", pixels=[0] * 64))
    assert run_to(session, 30)["test_score"] > 0.9
    (answer,) = ask(session, "draw", pixels=session._data.X_test[0].tolist())
    assert answer["classes"][int(np.argmax(answer["probabilities"]))] == str(
        session._data.y_test[0]
    )
    assert len(answer["units"][0]) == 16
    for pixels in ([0] * 63, [17] * 64, ["a"] * 64, None, [float("nan")] * 64):
        assert ask(session, "draw", pixels=pixels)[0]["type"] == "problems"
    (file,) = ask(session, "export", format="skmlp")
    path = tmp_path / file["name"]
    path.write_bytes(file["content"]["content"].tobytes())
    X = session._view.test
    np.testing.assert_array_equal(load(path).predict(X), session._latest.predict(X))


def test_a_pipeline_is_exported_to_onnx(session):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("skl2onnx")
    configure(session, data="iris")
    run_to(session, 30)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of onnx's own
        (file,) = ask(session, "export", format="onnx")
    model = runtime.InferenceSession(file["content"]["content"].tobytes())
    X = session._data.X_test
    labels = model.run(None, {model.get_inputs()[0].name: X.astype(np.float32)})[0]
    np.testing.assert_array_equal(
        labels, session._latest.predict(session._view.scaler.transform(X))
    )


WRONG = [
    *[(name, value) for name, (_, high, _) in NUMBERS.items() for value in (-1, high + 1, "3")],
    *[(name, value) for name in NUMBERS for value in (None, True, float("nan"), 1e400, [])],
    *[("hidden_layer_sizes", value) for value in (3, [0], [65], [1.5], [1] * 7, ["a"], None)],
    *[(name, value) for name in ("data", "solver", "activation") for value in ("exec", 1, [], {})],
    ("surprise", 1),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_setting_is_named_and_changes_nothing(name, value):
    settings, problems = read_settings({name: value})
    assert settings is None
    assert list(problems) == [name]


def test_wrong_messages_change_nothing(session):
    before = session.settings
    for text in ("", "{", "[]", "1", '{"type": 1}', '{"type": ["run"]}', "[" * 100_000):
        (answer,) = session.handle(text)
        assert json.loads(answer)["type"] == "problems"
    assert configure(session, noise=3)[0]["problems"].keys() == {"noise"}
    assert configure(session, data="csv")[0]["problems"].keys() == {"data"}
    assert configure(session, data="wine", test_size=0.1, n_samples=20)[0]["type"] == "configured"
    assert ask(session, "speed", epochs_per_second=-1)[0]["type"] == "problems"
    assert ask(session, "look", epoch="x")[0]["type"] == "problems"
    assert ask(session, "export", format="pickle")[0]["type"] == "problems"
    assert before == Settings()


BAD_TABLES = {
    "": "no CSV table",
    "a\n1\n2\n3\n4\n": "columns",
    "a,b\n1,2\n": "rows",
    "a,b\n1,x\n,x\n3,y\n4,y\n": "gaps",
    "a,b\nq,x\n1,x\n3,y\n4,y\n": "not numbers",
    "a,b\n1,x\n2,x\n3,y\n4,z\n": "one row",
    "a,b\n1,x\n2,x\n3,x\n4,x\n": "classes",
    "a,b\n1e300,x\n2,x\n3,y\n4,y\n": "1e30",
    "a,b\n1,2,3\n1,2,3,4,5\n": "no CSV table",
    "x" * (MAX_BYTES + 1): "bytes",
}


@pytest.mark.parametrize(("text", "says"), BAD_TABLES.items(), ids=BAD_TABLES.values())
def test_bad_tables_are_refused(session, text, says):
    (answer,) = ask(session, "csv", name="a.csv", text=text)
    assert says in answer["problems"]["csv"]
    assert session.settings == Settings()


def test_tables_of_numbers_are_regression():
    table = read_table("a.csv", "a,b\n1,0.5\n2,1.5\n3,2.5\n4,9\n")
    assert not table.is_classes


def test_a_thousand_quick_messages(session):
    configure(session, n_samples=50)
    for number in range(1000):
        ask(session, ("run", "pause", "step", "ack", "python")[number % 5])
        assert len(session._pending) < 10
        if number % 100 == 99:
            ask(session, "reset")
    assert run_to(session, 50)["epoch"] >= 50


def test_pictures_do_not_queue(session):
    ask(session, "run")
    wait_for(lambda: session.epoch > 2000)
    pictures = [opened(message) for message in session.take()]
    assert len([picture for picture in pictures if picture["type"] == "picture"]) == 1


@pytest.fixture(scope="module")
def served():
    """Run a server in a thread; return its address."""
    for name in ("starlette", "uvicorn", "websockets"):
        pytest.importorskip(name)
    from skmlp.playground.server import make_server

    server, listening, address = make_server()
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield address
    server.should_exit = True
    thread.join()
    listening.close()


def parts_of(address):
    host, token = address.removeprefix("http://").rstrip("/").split("/")
    return host, token


def fetch(host, path, **headers):
    connection = http.client.HTTPConnection(host)
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    answer = response.status, response.read(), response.headers
    connection.close()
    return answer


def test_files_need_token_and_host(served):
    host, token = parts_of(served)
    status, content, headers = fetch(host, f"/{token}/")
    assert status == 200
    assert b"<title>" in content
    assert "default-src 'none'" in headers["content-security-policy"]
    assert fetch(host, f"/{token}/main.js")[0] == 200
    port = host.partition(":")[2]
    for path, name in [
        ("/", host),
        ("/x/", host),
        (f"/{token[:-1]}/", host),
        ("/%C3%A9/", host),
        (f"/{token}/", f"evil.example:{port}"),
        (f"/{token}/..%2Fserver.py", host),
        (f"/{token}/session.py", host),
    ]:
        assert fetch(host, path, Host=name)[0] == 404


def test_sockets_need_token_and_origin(served):
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect

    host, token = parts_of(served)
    address = f"ws://{host}/{token}/socket"
    for place, origin in [
        (address, None),
        (address, "http://evil.example"),
        (address, f"https://{host}"),
        (f"ws://{host}/wrong/socket", f"http://{host}"),
    ]:
        with pytest.raises(InvalidStatus), connect(place, origin=origin):
            pass


def test_two_sockets_have_sessions_of_their_own(served):
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.client import connect

    host, token = parts_of(served)

    def say(socket, kind, **fields):
        socket.send(json.dumps({"type": kind, **fields}))

    where = f"ws://{host}/{token}/socket"
    with (
        connect(where, origin=f"http://{host}") as one,
        connect(where, origin=f"http://{host}") as two,
    ):
        say(one, "configure", settings={"data": "xor"})
        say(two, "configure", settings={"data": "iris"})
        assert opened(one.recv())["settings"]["data"] == "xor"
        assert opened(two.recv())["settings"]["data"] == "iris"
        say(one, "run")
        while opened(one.recv(PATIENCE))["type"] != "picture":
            pass
        say(two, "csv", name="a", text="x" * 4_000_000)
        with pytest.raises(ConnectionClosed):
            collections.deque(iter(two.recv, None), maxlen=0)
    wait_for(lambda: not [t for t in threading.enumerate() if t.name == "playground"])


def test_what_is_missing_is_answered_with_the_command(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.setitem(sys.modules, "starlette", None)
    with pytest.raises(SystemExit):
        main(["playground", "--no-browser"])
    assert "pip install 'skmlp[playground]'" in capsys.readouterr().err


@pytest.mark.parametrize("given", ["99999", "-1", "http"])
def test_a_port_that_is_none(given, capsys):
    with pytest.raises(SystemExit):
        main(["playground", f"--port={given}"])
    told = capsys.readouterr().err
    assert f"--port: must be a whole number from 0 to 65535, got '{given}'" in told


def test_a_port_that_is_taken(served, capsys):
    port = served.split(":")[2].split("/")[0]
    with pytest.raises(SystemExit):
        main(["playground", "--no-browser", "--port", port])
    assert f"cannot listen at port {port}: Address already in use" in capsys.readouterr().err
