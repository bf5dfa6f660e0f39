// The network: each unit with what it sees, weights as signed lines.

import { numberColors, styled } from "./colors.js";
import { imageOf, sharp } from "./surface.js";

const BOX = 38, GAP = 10, TOP = 30, MAX_INPUTS = 16;

export function drawNetwork(canvas, data, picture, sizes) {
  const shown = sizes.map((size) => Math.min(size, MAX_INPUTS));
  const height = TOP + Math.max(...shown, 4) * (BOX + GAP) + 18;
  const width = Math.max(canvas.parentElement.clientWidth, sizes.length * (BOX + 38));
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const context = sharp(canvas, width, height);
  const step = (width - BOX - 24) / (sizes.length - 1);
  const x = (layer) => 12 + layer * step;
  const y = (layer, unit) =>
    TOP + (height - TOP - 18 - shown[layer] * (BOX + GAP)) / 2 + unit * (BOX + GAP);
  const ink = styled("--ink"), dim = styled("--dim"), bad = styled("--bad");
  const card = styled("--card"), positive = styled("--positive"), negative = styled("--negative");
  const colors = numberColors();

  for (let layer = 0; layer + 1 < sizes.length; layer++) {
    const weights = picture?.content[`weights${layer}`];
    const shape = picture?.shapes[`weights${layer}`];
    const largest = weights ? weights.reduce((a, b) => Math.max(a, Math.abs(b)), 1e-9) : 1;
    for (let from = 0; from < shown[layer]; from++)
      for (let to = 0; to < shown[layer + 1]; to++) {
        const weight = weights ? weights[from * shape[1] + to] / largest : 0;
        const x0 = x(layer) + BOX, y0 = y(layer, from) + BOX / 2;
        const x1 = x(layer + 1), y1 = y(layer + 1, to) + BOX / 2, half = (x0 + x1) / 2;
        context.beginPath();
        context.moveTo(x0, y0);
        context.bezierCurveTo(half, y0, half, y1, x1, y1);
        context.strokeStyle = weight < 0 ? negative : positive;
        context.globalAlpha = 0.15 + 0.8 * Math.abs(weight);
        context.lineWidth = 0.5 + 5 * Math.abs(weight);
        context.stroke();
      }
  }
  context.globalAlpha = 1;
  context.font = "12px system-ui, sans-serif";
  context.textAlign = "center";
  for (let layer = 0; layer < sizes.length; layer++) {
    const isHidden = layer > 0 && layer + 1 < sizes.length;
    const name = layer === 0 ? "inputs" : isHidden ? `layer ${layer}` : "output";
    context.fillStyle = dim;
    const more = sizes[layer] > shown[layer] ? ` (${shown[layer]} of ${sizes[layer]})` : "";
    context.fillText(name, x(layer) + BOX / 2, 13);
    if (more) context.fillText(more, x(layer) + BOX / 2, 26);
    for (let unit = 0; unit < shown[layer]; unit++) {
      const left = x(layer), top = y(layer, unit);
      context.fillStyle = card;
      context.fillRect(left, top, BOX, BOX);
      const maps = isHidden && picture?.content[`units${layer - 1}`];
      if (maps) {
        const count = picture.shapes[`units${layer - 1}`][1], size = Math.sqrt(count);
        context.drawImage(imageOf(size, (i) => colors[maps[unit * count + i]]), left, top, BOX, BOX);
      } else if (!isHidden) {
        context.fillStyle = ink;
        const label = layer === 0 ? `x${unit + 1}` : data.classes.length > 2 ? data.classes[unit].slice(0, 4) : "ŷ";
        context.fillText(label, left + BOX / 2, top + BOX / 2 + 4);
      }
      const isDead = isHidden && picture?.dead[layer - 1]?.[unit];
      context.strokeStyle = isDead ? bad : dim;
      context.lineWidth = isDead ? 2.5 : 1;
      context.strokeRect(left, top, BOX, BOX);
      if (isDead) {
        context.beginPath();
        context.moveTo(left + 6, top + 6);
        context.lineTo(left + BOX - 6, top + BOX - 6);
        context.moveTo(left + BOX - 6, top + 6);
        context.lineTo(left + 6, top + BOX - 6);
        context.stroke();
      }
    }
  }
  const dead = picture ? picture.dead.flat().filter(Boolean).length : 0;
  canvas.setAttribute("aria-label",
    `Network with ${sizes.join(", ")} units from inputs to outputs; ${dead} of those shown are dead`);
}
