// Plays RECORDED, a list of frames: the data, then pictures of a network.

const [data, ...pictures] = RECORDED.map((text) =>
  unpack(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer));
const part = (name) => document.querySelector(`#recorded-run [data-part=${name}]`);
const PAUSE = 90; // milliseconds from one picture to the next
let timer = null;

function show() {
  const picture = pictures[part("slider").value];
  drawSurface(part("surface"), data, picture);
  drawNetwork(part("network"), data, picture, picture.sizes);
  drawCurves(part("curves"), picture.curve.filter(([epoch]) => epoch <= picture.epoch));
  const score = `${(100 * picture.test_score).toFixed(0)} %`;
  part("told").textContent = `Epoch ${picture.epoch}: ${score} of the points held out are right`;
  part("slider").setAttribute("aria-valuetext", `epoch ${picture.epoch}`);
}

function stop() {
  clearInterval(timer);
  timer = null;
  part("play").textContent = "▶ Run";
}

function play() {
  if (timer) return stop();
  if (Number(part("slider").value) === pictures.length - 1) part("slider").value = 0;
  part("play").textContent = "❚❚ Pause";
  timer = setInterval(() => {
    part("slider").value = Number(part("slider").value) + 1;
    show();
    if (Number(part("slider").value) === pictures.length - 1) stop();
  }, PAUSE);
}

part("slider").max = pictures.length - 1;
part("slider").value = pictures.length - 1;
part("slider").oninput = () => {
  stop();
  show();
};
part("play").onclick = play;
addEventListener("resize", show);
// The theme of the site is an attribute, and may differ from that of the system.
new MutationObserver(show).observe(document.documentElement, { attributeFilter: ["data-theme"] });
document.getElementById("recorded-run").hidden = false;
show();
