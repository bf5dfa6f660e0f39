// The pad on which a digit is drawn, and what the network says of it.

import { numberColors, text } from "./colors.js";

const $ = (id) => document.getElementById(id);
const SIZE = 32; // as the bitmaps that scikit-learn's digits were made of
// Corners of strokes in a square, for those who draw with keys.
const STROKES = {
  0: "5,1 3,2 2.5,5 3,8 5,9 7,8 7.5,5 7,2 5,1", 1: "3.5,3 5.3,1 5.3,9", 2: "3,2.5 5,1 7,2.5 6.5,4.5 3,9 7.5,9",
  3: "3,1.5 6,1 7,3 5,4.8 7,6.5 6,9 3,8.6", 4: "6,9 6,1 2.5,6 8,6", 5: "7,1 3.5,1 3.3,4.5 6,4.3 7.2,6.5 6,8.8 3,8.8",
  6: "6,1 3.5,4 3,7 5,9 7,7.5 6.5,5.5 3.5,6", 7: "3,1 7.5,1 5,9", 8: "5,5 3.2,3 5,1 6.8,3 5,5 3,7.2 5,9 7,7.2 5,5",
  9: "7,4 5,5 3,3.5 4,1.2 6.5,1.5 7,4 6.5,9",
};

export class DigitPad {
  constructor(drawn) {
    this.drawn = drawn;
    this.canvas = $("pad");
    this.context = this.canvas.getContext("2d", { willReadFrequently: true });
    this.canvas.onpointerdown = (event) => {
      this.canvas.setPointerCapture(event.pointerId);
      this.last = this.place(event);
      this.line(this.last, this.last);
    };
    this.canvas.onpointermove = (event) => {
      if (!this.last) return;
      const here = this.place(event);
      this.line(this.last, here);
      this.last = here;
    };
    this.canvas.onpointerup = this.canvas.onpointercancel = () => {
      this.last = null;
      this.tell();
    };
    this.canvas.onkeydown = ({ key }) => {
      if (!(key in STROKES)) return;
      this.clear();
      const corners = STROKES[key].split(" ").map((pair) => pair.split(",").map((v) => v * 22.4));
      corners.slice(1).forEach((corner, i) => this.line(corners[i], corner));
      this.tell();
    };
    $("clear").onclick = () => this.clear();
    this.clear();
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect();
    const scale = this.canvas.width / box.width;
    return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
  }

  line([x0, y0], [x1, y1]) {
    this.context.lineWidth = 22;
    this.context.lineCap = this.context.lineJoin = "round";
    this.context.beginPath();
    this.context.moveTo(x0, y0);
    this.context.lineTo(x1, y1 + 0.01);
    this.context.stroke();
    this.isEmpty = false;
  }

  clear() {
    this.context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    this.isEmpty = true;
    $("bars").replaceChildren();
    $("unit-bars").replaceChildren();
  }

  tell() {
    if (!this.isEmpty) this.drawn(this.pixels());
  }

  // As in the data set: the digit fills a bitmap of 32 x 32, of which blocks of 4 x 4 are counted.
  pixels() {
    const { width, height } = this.canvas;
    const ink = this.context.getImageData(0, 0, width, height).data;
    const is = (x, y) => ink[4 * (y * width + x) + 3] > 127;
    let [left, top, right, bottom] = [width, height, 0, 0];
    for (let y = 0; y < height; y++)
      for (let x = 0; x < width; x++)
        if (is(x, y)) [left, top, right, bottom] = [Math.min(left, x), Math.min(top, y), Math.max(right, x + 1), Math.max(bottom, y + 1)];
    const side = Math.max(bottom - top, right - left);
    const pixels = new Array(64).fill(0);
    for (let row = 0; row < SIZE; row++)
      for (let column = 0; column < SIZE; column++) {
        const x = Math.floor((left + right - side) / 2 + ((column + 0.5) * side) / SIZE);
        const y = Math.floor((top + bottom - side) / 2 + ((row + 0.5) * side) / SIZE);
        if (x >= 0 && y >= 0 && x < width && y < height && is(x, y)) pixels[8 * (row >> 2) + (column >> 2)]++;
      }
    return pixels;
  }

  answer({ classes, probabilities, units }) {
    const best = probabilities.indexOf(Math.max(...probabilities));
    $("bars").replaceChildren(...classes.map((name, i) => {
      const row = document.createElement("div");
      row.className = i === best ? "best" : "";
      const label = document.createElement("span");
      label.textContent = name;
      const meter = document.createElement("meter");
      meter.value = probabilities[i];
      meter.setAttribute("aria-label", `Probability of ${name}`);
      const percent = document.createElement("span");
      percent.textContent = `${Math.round(100 * probabilities[i])} %`;
      row.append(label, meter, percent);
      return row;
    }));
    $("unit-bars").replaceChildren(...units.flatMap((layer) => {
      const largest = Math.max(...layer.map(Math.abs), 1e-9);
      const squares = layer.map((value) => {
        const square = document.createElement("canvas");
        square.width = square.height = 1;
        const context = square.getContext("2d");
        context.fillStyle = text(numberColors()[Math.round(127.5 * (1 + value / largest))]);
        context.fillRect(0, 0, 1, 1);
        return square;
      });
      return [...squares, document.createElement("br")];
    }));
  }
}
