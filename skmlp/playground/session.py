"""What one tab has: data, settings, a thread that trains, and a record of networks."""

import json
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.pipeline import make_pipeline

from skmlp._optional import needed
from skmlp._skl2onnx import register_skl2onnx
from skmlp.callbacks import FunctionCallback
from skmlp.playground.pictures import View, frame
from skmlp.playground.settings import (
    OFFERED,
    Settings,
    as_python,
    is_number,
    make_network,
    read_settings,
    split_data,
)
from skmlp.playground.tables import Table, read_table

Message = str | bytes
PICTURES_PER_SECOND = 30
MAX_RECORDED = 120


class Session:
    """Answers the messages of a page, and trains.

    Parameters
    ----------
    wake : callable
        Called, from any thread, when `take` has something.
    """

    def __init__(self, wake: Callable[[], None] = lambda: None) -> None:
        self._wake = wake
        self._condition = threading.Condition()
        self._thread: threading.Thread | None = None
        self._table: Table | None = None
        self._pending: list[Message] = []
        # Counts networks: a page leaves out what comes late and is of an earlier one.
        self._fit = 0
        self._pace = 0.0
        self._may_send = True
        self._use(Settings())

    def _use(self, settings: Settings, table: Table | None = None) -> None:
        """Begin with settings; a ValueError says what is wrong, and nothing has changed then."""
        table = table or self._table
        data = split_data(settings, table)
        view = View(data)
        network = make_network(settings, data)
        self.close()
        self.settings, self._table, self._data, self._view = settings, table, data, view
        self._network = network
        self._clear()

    def _clear(self) -> None:
        self.state, self.epoch, self.error = "ready", 0, ""
        self._running, self._steps, self._stop = False, 0, False
        self._shown, self._last_picture, self._next_epoch = 0, 0.0, 0.0
        self._latest: Any = None
        self._record: dict[int, Any] = {}
        self._curve: dict[int, dict[str, float]] = {}
        self._distance = 1
        self._fit += 1
        if any(isinstance(message, bytes) for message in self._pending):
            self._may_send = True  # that picture will never be taken
        self._pending = []

    # Messages

    def handle(self, text: str) -> list[Message]:
        """Answer a message."""
        try:
            message = json.loads(text)
        except (ValueError, RecursionError):
            return [problem("message", "This is no JSON.")]
        kind = message.get("type") if isinstance(message, dict) else None
        answer = self.ANSWERS.get(kind) if isinstance(kind, str) else None
        if answer is None:
            return [problem("message", "type must be one of " + ", ".join(self.ANSWERS) + ".")]
        try:
            return list(answer(self, message))
        except (ValueError, ImportError) as error:
            return [problem(str(kind), str(error))]

    def take(self) -> list[Message]:
        """Return what is to be sent by now."""
        with self._condition:
            taken, self._pending = self._pending, []
        return taken

    def _configure(self, message: dict[str, Any]) -> list[Message]:
        settings, problems = read_settings(message.get("settings"))
        if settings is None:
            return [as_text({"type": "problems", "problems": problems})]
        try:
            self._use(settings)
        except ValueError as error:
            return [problem("data", str(error))]
        return self._configured()

    def _configured(self) -> list[Message]:
        plain = {"type": "configured", "settings": self.settings.as_plain(), **OFFERED}
        return [as_text(plain), self._view.described(self._fit), self._told()]

    def _csv(self, message: dict[str, Any]) -> list[Message]:
        name, text = message.get("name"), message.get("text")
        if not isinstance(name, str) or not isinstance(text, str):
            raise ValueError("name and text of a table must be text.")
        table = read_table(name[:100], text)
        self._use(Settings(**{**self.settings.as_plain(), "data": "csv"}), table)
        return self._configured()

    def _run(self, message: dict[str, Any]) -> list[Message]:
        with self._condition:
            if self.state not in ("done", "failed"):
                self._running = True
                self._begin_or_go_on()
        return []

    def _step(self, message: dict[str, Any]) -> list[Message]:
        with self._condition:
            if self.state not in ("done", "failed"):
                self._running = False
                if self._thread is not None:
                    self._steps = min(self._steps + 1, 1000)
                self._begin_or_go_on()
        return []

    def _begin_or_go_on(self) -> None:
        if self._thread is None:
            self._tell("starting")
            self._thread = threading.Thread(target=self._train, daemon=True, name="playground")
            self._thread.start()
        elif self.state == "paused" and self._running:
            self._tell("running")
        self._condition.notify_all()

    def _pause(self, message: dict[str, Any]) -> list[Message]:
        with self._condition:
            self._running, self._steps = False, 0
            self._condition.notify_all()
        return []

    def _reset(self, message: dict[str, Any]) -> list[Message]:
        self.close()
        self._clear()
        return [self._view.described(self._fit), self._told()]

    def _speed(self, message: dict[str, Any]) -> list[Message]:
        pace = message.get("epochs_per_second")
        if not is_number(pace, whole=False) or not 0 <= pace <= 1e6:  # type: ignore[operator]
            raise ValueError("epochs_per_second must be a number from 0, no limit, to 1e6.")
        with self._condition:
            self._pace = float(pace)  # type: ignore[arg-type]
            self._condition.notify_all()
        return []

    def _ack(self, message: dict[str, Any]) -> list[Message]:
        with self._condition:
            self._may_send = True
            if self.state == "done" and self._shown != self.epoch:
                self._show()
            self._condition.notify_all()
            taken, self._pending = self._pending, []
        return taken

    def _look(self, message: dict[str, Any]) -> list[Message]:
        epoch = message.get("epoch")
        if not is_number(epoch, whole=True):
            raise ValueError("epoch must be a whole number.")
        with self._condition:
            if not self._record:
                return []
            nearest = min(self._record, key=lambda known: abs(known - epoch))  # type: ignore[operator]
            network = self._record[nearest]
            header = self._header(nearest, network)
        return [self._view.picture(network, {**header, "is_past": True})]

    def _draw(self, message: dict[str, Any]) -> list[Message]:
        pixels = message.get("pixels")
        if (
            not isinstance(pixels, list)
            or len(pixels) != 64
            or not all(is_number(pixel, whole=False) and 0 <= pixel <= 16 for pixel in pixels)
        ):
            raise ValueError("pixels must be 64 numbers from 0 to 16.")
        if self.settings.data != "digits":
            raise ValueError("Only a network for the digits can read one. Choose the digits.")
        network = self._trained()
        return [as_text(self._view.answer(network, np.array([pixels], dtype=float)))]

    def _python(self, message: dict[str, Any]) -> list[Message]:
        text = as_python(self.settings, self._data, self._table, max(self.epoch, 1))
        return [as_text({"type": "python", "text": text})]

    def _export(self, message: dict[str, Any]) -> list[Message]:
        network, form = self._trained(), message.get("format")
        if form == "skmlp":
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "network.safetensors"
                network.save(path)
                content = path.read_bytes()
            name = "network.safetensors"
        elif form == "onnx":
            register_skl2onnx()
            to_onnx = needed("skl2onnx", "A pipeline in ONNX", install="skmlp[skl2onnx]").to_onnx

            pipeline = make_pipeline(self._view.scaler, network)
            sample = self._data.X_train[:1].astype(np.float32)
            content, name = to_onnx(pipeline, sample).SerializeToString(), "pipeline.onnx"
        else:
            raise ValueError("format must be 'skmlp' or 'onnx'.")
        array = np.frombuffer(content, dtype=np.uint8)
        return [frame({"type": "file", "name": name}, {"content": array})]

    ANSWERS = {  # noqa: RUF012 - never written
        "configure": _configure,
        "csv": _csv,
        "run": _run,
        "pause": _pause,
        "step": _step,
        "reset": _reset,
        "speed": _speed,
        "ack": _ack,
        "look": _look,
        "draw": _draw,
        "python": _python,
        "export": _export,
    }

    # Training

    def _trained(self) -> Any:
        if self._latest is None:
            raise ValueError("There is no trained network yet. Run first.")
        return self._latest

    def _told(self) -> str:
        told = {"type": "state", "state": self.state, "epoch": self.epoch, "error": self.error}
        return as_text({**told, "fit": self._fit})

    def _tell(self, state: str) -> None:
        if state != self.state:
            self.state = state
            # The last one says all: nothing piles up for a page that does not listen.
            pictures = [message for message in self._pending if isinstance(message, bytes)]
            self._pending = [*pictures, self._told()]
            self._wake()

    def _train(self) -> None:
        """Fit the network: what the thread does."""
        network = self._network
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                network.set_callbacks(FunctionCallback(self._look_at))
                network.fit(self._view.train, self._data.y_train)
        except Exception as error:  # whatever it is, the page shall tell it
            with self._condition:
                self.error = str(error)
                if not self._stop:
                    self._tell("failed")
            return
        with self._condition:
            if not self._stop:
                self._tell("done")
                if self._may_send and self._shown != self.epoch:
                    self._show()

    def _look_at(self, epoch: Any) -> bool:
        """Look at an epoch, wait where that is wanted, and say whether to end."""
        with self._condition:
            network = epoch.model()
            if network is None:  # no numbers any more: the fit says so itself
                return self._stop
            self.epoch, self._latest = epoch.number, network
            if epoch.number % self._distance == 0:
                self._remember(epoch.number, network)
            while not self._stop:
                is_halted = not self._running and self._steps == 0
                now = time.monotonic()
                due = is_halted or now - self._last_picture >= 1 / PICTURES_PER_SECOND
                if due and self._may_send and self._shown != epoch.number:
                    self._show()
                if is_halted:
                    self._tell("paused")
                    self._condition.wait()
                elif self._pace and self._running and now < self._next_epoch:
                    self._condition.wait(min(self._next_epoch - now, 0.1))
                else:
                    if self._pace:
                        self._next_epoch = max(self._next_epoch, now - 0.1) + 1 / self._pace
                    self._steps = max(self._steps - 1, 0)
                    if self._running:
                        self._tell("running")
                    return False
            return True

    def _remember(self, number: int, network: Any) -> None:
        self._record[number] = network
        self._curve[number] = self._view.measures(network)
        if len(self._record) > MAX_RECORDED:
            self._distance *= 2
            kept = [known for known in self._record if known % self._distance == 0]
            self._record = {known: self._record[known] for known in kept}
            self._curve = {known: self._curve[known] for known in kept}

    def _header(self, number: int, network: Any) -> dict[str, Any]:
        measures = self._view.measures(network)
        curve = [
            [known, found["train_loss"], found["test_loss"]] for known, found in self._curve.items()
        ]
        if not curve or curve[-1][0] < number:
            curve.append([number, measures["train_loss"], measures["test_loss"]])
        return {
            "fit": self._fit,
            "epoch": number,
            "last_epoch": self.epoch,
            "curve": curve,
            **measures,
        }

    def _show(self) -> None:
        """Put a picture of the latest network among what is to be sent."""
        self._shown, self._may_send = self.epoch, False
        header = self._header(self.epoch, self._latest)
        self._pending.append(self._view.picture(self._latest, header))
        self._last_picture = time.monotonic()
        self._wake()

    def close(self) -> None:
        """End the thread, if there is one; it is waited for, also while it compiles."""
        thread = self._thread
        if thread is None:
            return
        with self._condition:
            self._stop = True
            self._condition.notify_all()
        thread.join()
        self._thread = None


def problem(field: str, text: str) -> str:
    """Return the message that something was wrong with a field."""
    return as_text({"type": "problems", "problems": {field: text}})


def as_text(message: dict[str, Any]) -> str:
    """Return a message as JSON."""
    return json.dumps(message)
