// The decision surface, and the data on it.

import { classColor, isDark, mixed, numberColors, text } from "./colors.js";

export function imageOf(size, colorAt) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = size;
  const context = canvas.getContext("2d");
  const image = context.createImageData(size, size);
  for (let i = 0; i < size * size; i++) {
    const [r, g, b] = colorAt(i);
    image.data.set([r, g, b, 255], 4 * i);
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

export function sharp(canvas, width, height) {
  const ratio = devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  return context;
}

export function drawSurface(canvas, data, picture) {
  const size = canvas.clientWidth || 320;
  const context = sharp(canvas, size, size);
  const background = isDark() ? [38, 44, 54] : [244, 243, 240];
  const isClasses = data.classes.length > 0, colors = numberColors();
  context.fillStyle = text(background);
  context.fillRect(0, 0, size, size);
  if (picture) {
    const { surface, strength } = picture.content;
    const image = imageOf(Math.sqrt(surface.length), (i) =>
      isClasses
        ? mixed(background, classColor(surface[i]), 0.12 + (0.6 * strength[i]) / 255)
        : mixed(background, colors[surface[i]], 0.85));
    context.imageSmoothingEnabled = true;
    context.drawImage(image, 0, 0, size, size);
  }
  context.drawImage(dotsOf(data, size, colors), 0, 0, size, size);
}

// The data stay where they are from one picture to the next: their dots are drawn once.
let drawn = {};
function dotsOf(data, size, colors) {
  if (drawn.data === data && drawn.size === size && drawn.colors === colors && drawn.ratio === devicePixelRatio)
    return drawn.canvas;
  const canvas = document.createElement("canvas");
  drawn = { data, size, colors, ratio: devicePixelRatio, canvas };
  const context = sharp(canvas, size, size);
  for (const part of ["test", "train"]) {
    const places = data.content[part], codes = data.content[`${part}_codes`];
    for (let i = 0; i < codes.length; i++) {
      const color = data.classes.length > 0 ? classColor(codes[i]) : colors[codes[i]];
      context.beginPath();
      context.arc(places[2 * i] * size, (1 - places[2 * i + 1]) * size, part === "train" ? 4 : 3.6, 0, 7);
      context.fillStyle = text(part === "train" ? color : mixed(color, [255, 255, 255], 0.55));
      context.fill();
      context.lineWidth = part === "train" ? 1.2 : 1.4;
      context.strokeStyle = part === "train" ? "#fff" : text(mixed(color, [0, 0, 0], 0.35));
      context.stroke();
    }
  }
  return canvas;
}
