// Wires the page: the form and buttons to messages, messages to pictures.

import { Connection } from "./connection.js";
import { classColor, text } from "./colors.js";
import { drawCurves } from "./curves.js";
import { DigitPad } from "./digits.js";
import { drawNetwork } from "./network.js";
import { SettingsForm } from "./settings.js";
import { drawSurface } from "./surface.js";
import { makeTour } from "./tour.js";

const $ = (id) => document.getElementById(id);
const MAX_CSV = 2_000_000;
let data = null, picture = null, settings = null, state = "ready", table = null;

function inFragment() {
  try {
    return JSON.parse(decodeURIComponent(location.hash.slice(1)));
  } catch {
    return null;
  }
}

const form = new SettingsForm(() => connection.send("configure", { settings: form.read() }));
const pad = new DigitPad((pixels) => connection.send("draw", { pixels }));
makeTour((wanted) => connection.send("configure", { settings: wanted }));

const connection = new Connection({
  opened() {
    const wanted = settings ?? inFragment();
    if (table && wanted?.data === "csv") connection.send("csv", table);
    const plain = wanted && !table && wanted.data === "csv" ? { ...wanted, data: "circles" } : wanted;
    connection.send("configure", { settings: plain && typeof plain === "object" ? plain : {} });
    connection.send("speed", { epochs_per_second: Number($("speed").value) });
    connection.send("ack");
  },
  closed(reason) {
    data = picture = null;
    state = "ready";
    say(reason || "The connection is closed. Trying again…", true);
    $("run").textContent = "▶ Run";
  },
  received(message) {
    RECEIVERS[message.type]?.(message);
  },
});

function say(what, isBad = false) {
  if ($("status").textContent !== what) $("status").textContent = what;
  $("status").classList.toggle("bad", isBad);
}

const RECEIVERS = {
  configured(message) {
    settings = message.settings;
    form.clear();
    form.offer(message.choices, message.toys);
    form.write(settings);
    history.replaceState(null, "", `#${encodeURIComponent(JSON.stringify(settings))}`);
    $("digit-card").hidden = settings.data !== "digits";
    pad.clear();
  },
  data(message) {
    data = message;
    picture = null;
    showNumbers();
    $("past").disabled = true;
    const key = $("surface-key");
    key.replaceChildren();
    message.classes.forEach((name, code) => {
      const label = document.createElement("span");
      label.textContent = `● ${name} `;
      label.style.color = text(classColor(code));
      key.append(label);
    });
    const kind = message.classes.length ? "" : `Target from ${message.range[0].toPrecision(3)} (blue) to ${message.range[1].toPrecision(3)} (orange). `;
    const plane = message.is_projected ? ` Drawn on the plane of the two principal components of ${message.n_features} features.` : "";
    key.append(`${kind}Full dots: trained on (${message.n_train}); pale dots: held out (${message.n_test}).${plane}`);
    $("score-name").textContent = message.classes.length ? "Held-out accuracy" : "Held-out R²";
    draw();
  },
  picture(message) {
    if (!data || message.fit < data.fit) {
      connection.send("ack");
      return;
    }
    picture = message;
    // The next one comes when this one is on the screen.
    let isShown = false;
    const show = () => {
      if (isShown) return;
      isShown = true;
      if (!message.is_past) connection.send("ack");
      draw();
      showNumbers();
    };
    requestAnimationFrame(show);
    setTimeout(show, 200); // tabs that are covered are given no frames
  },
  state(message) {
    if (data && message.fit < data.fit) return; // late, and of an earlier network
    state = message.state;
    $("run").textContent = ["running", "starting"].includes(state) ? "❚❚ Pause" : "▶ Run";
    $("run").disabled = $("step").disabled = ["done", "failed"].includes(state);
    const told = {
      ready: "Ready. Press Run.",
      starting: "Starting. The first run on a machine compiles for a minute or so.",
      running: "Learning…",
      paused: "Paused. Move the slider to look back.",
      done: "The fit has ended. Move the slider to look back.",
      failed: `The fit has failed. ${message.error}`,
    };
    say(told[state], state === "failed");
    if (state === "paused" || state === "done") $("past").disabled = !picture;
    if (state === "running") $("past").disabled = true;
  },
  problems: ({ problems }) => {
    const places = { configure: "data", export: "export", draw: "draw", csv: "csv" };
    form.problems(Object.fromEntries(Object.entries(problems).map(([name, what]) => [places[name] ?? name, what])));
    if (problems.csv) table = null;
  },
  python(message) {
    $("code").textContent = message.text;
    if (!$("python").open) $("python").showModal();
  },
  answer: (message) => pad.answer(message),
  file: (message) => download(message.name, new Blob([message.content.content])),
};

function showNumbers() {
  const shown = (value) => (value === undefined ? "–" : value < 0.001 ? value.toExponential(1) : value.toPrecision(3));
  $("epoch").textContent = picture?.epoch ?? 0;
  $("train-loss").textContent = shown(picture?.train_loss);
  $("test-loss").textContent = shown(picture?.test_loss);
  $("test-score").textContent = picture
    ? data.classes.length ? `${(100 * picture.test_score).toFixed(1)} %` : picture.test_score.toFixed(3)
    : "–";
  if (!picture) return;
  $("past").max = picture.last_epoch;
  if (!picture.is_past) $("past").value = picture.epoch;
  $("past").disabled = !["paused", "done", "failed"].includes(state);
  $("past").setAttribute("aria-valuetext", `epoch ${picture.epoch}`);
}

function draw() {
  if (!data) return;
  const outputs = data.classes.length > 2 ? data.classes.length : 1;
  drawSurface($("surface"), data, picture);
  drawNetwork($("network"), data, picture, picture?.sizes ?? [data.n_features, ...settings.hidden_layer_sizes, outputs]);
  drawCurves($("curves"), picture?.curve);
  $("surface").setAttribute("aria-label", picture
    ? `Decision surface after epoch ${picture.epoch}, held-out score ${picture.test_score.toFixed(2)}`
    : "The data; no network has been trained yet");
}

function download(name, blob) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

async function take(file) {
  if (!file) return;
  if (file.size > MAX_CSV) {
    form.problems({ csv: `${file.name} has more than ${MAX_CSV} bytes. Choose a smaller table.` });
    return;
  }
  table = { name: file.name, text: await file.text() };
  connection.send("csv", table);
}

$("run").onclick = () => connection.send(["running", "starting"].includes(state) ? "pause" : "run");
$("step").onclick = () => connection.send("step");
$("reset").onclick = () => connection.send("reset");
$("speed").onchange = () => connection.send("speed", { epochs_per_second: Number($("speed").value) });
$("past").oninput = () => connection.send("look", { epoch: Number($("past").value) });
$("show-python").onclick = () => connection.send("python");
$("save").onclick = () => connection.send("export", { format: "skmlp" });
$("onnx").onclick = () => connection.send("export", { format: "onnx" });
$("png").onclick = () => ["surface", "network", "curves"].forEach((name) => $(name).toBlob((blob) => download(`${name}.png`, blob)));
$("close").onclick = () => $("python").close();
$("copy").onclick = () => copy($("code").textContent, $("copy"));
$("link").onclick = () => copy(location.href, $("link"));
$("file").onchange = ({ target }) => {
  take(target.files[0]);
  target.value = "";
};

async function copy(what, button) {
  try {
    await navigator.clipboard.writeText(what);
  } catch {
    say("The browser does not allow it. Select the text and copy it by hand.", true);
    return;
  }
  say(button.id === "link" ? "The link is copied. It holds the whole setting." : "Copied.");
}

addEventListener("dragover", (event) => {
  if (!event.dataTransfer.types.includes("Files")) return;
  event.preventDefault();
  document.body.classList.add("dropping");
});
addEventListener("dragleave", (event) => event.relatedTarget ?? document.body.classList.remove("dropping"));
addEventListener("drop", (event) => {
  document.body.classList.remove("dropping");
  if (!event.dataTransfer.types.includes("Files")) return;
  event.preventDefault();
  take(event.dataTransfer.files[0]);
});
addEventListener("hashchange", () => {
  const wanted = inFragment();
  if (wanted) connection.send("configure", { settings: wanted });
});
addEventListener("resize", () => draw());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw());
