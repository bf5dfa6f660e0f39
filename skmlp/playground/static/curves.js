// Losses by epoch, on a logarithmic scale.

import { styled } from "./colors.js";
import { sharp } from "./surface.js";

const shown = (power) => (power < -2 ? (10 ** power).toExponential(0) : (10 ** power).toPrecision(2));

export function drawCurves(canvas, curve) {
  const width = canvas.clientWidth || 320, height = canvas.clientHeight || 130;
  const context = sharp(canvas, width, height);
  if (!curve?.length) return;
  const values = curve.flatMap(([, train, test]) => [train, test]).map((v) => Math.log10(Math.max(v, 1e-9)));
  let low = Math.min(...values), high = Math.max(...values);
  if (high - low < 0.1) [low, high] = [low - 0.05, high + 0.05];
  const last = Math.max(curve.at(-1)[0], 2), left = 44;
  const x = (epoch) => left + ((epoch - 1) / (last - 1)) * (width - left - 6);
  const y = (loss) => 8 + ((high - Math.log10(Math.max(loss, 1e-9))) / (high - low)) * (height - 28);
  context.font = "11px system-ui, sans-serif";
  context.fillStyle = styled("--dim");
  context.strokeStyle = styled("--line");
  context.strokeRect(left, 4, width - left - 4, height - 22);
  context.textAlign = "right";
  context.fillText(shown(high), left - 4, 14);
  context.fillText(shown(low), left - 4, height - 20);
  context.fillText(`epoch ${last}`, width - 4, height - 4);
  for (const [column, color] of [[1, "--dim"], [2, "--positive"]]) {
    context.beginPath();
    curve.forEach((row, i) => context[i ? "lineTo" : "moveTo"](x(row[0]), y(row[column])));
    context.strokeStyle = styled(color);
    context.lineWidth = 2;
    context.stroke();
  }
}
