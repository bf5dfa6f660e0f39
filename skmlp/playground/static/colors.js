// Colors of classes, numbers and signs, told apart by those who see red and green alike too.

const CLASSES = [
  [20, 120, 190], [230, 120, 30], [20, 150, 110], [190, 90, 160], [225, 190, 50],
  [90, 180, 230], [120, 90, 60], [110, 110, 120], [150, 60, 60], [80, 60, 170],
];
// As in the displays of skmlp.inspection: blue below zero, orange above.
const LOW = [8, 119, 189], MIDDLE = [240, 240, 238], HIGH = [217, 102, 11];

export const styled = (name) => getComputedStyle(document.documentElement).getPropertyValue(name);
// As the page says, or the system where the page leaves it to that.
export function isDark() {
  const scheme = styled("color-scheme").trim();
  if (scheme === "dark" || scheme === "light") return scheme === "dark";
  return matchMedia("(prefers-color-scheme: dark)").matches;
}
export const classColor = (code) => CLASSES[code % CLASSES.length];
export const mixed = (a, b, share) => a.map((value, i) => value + share * (b[i] - value));
export const text = (color) => `rgb(${color.map(Math.round).join(",")})`;

// The colors of the bytes, 0 lowest and 255 highest. To ask for the theme takes as long as to draw a
// hundred pixels, so who colors many of them asks once.
const known = new Map();
export function numberColors() {
  const dark = isDark();
  if (!known.has(dark)) {
    const middle = dark ? [38, 44, 54] : MIDDLE;
    known.set(dark, Array.from({ length: 256 }, (_, byte) => {
      const share = byte / 127.5 - 1;
      return mixed(middle, share < 0 ? LOW : HIGH, Math.abs(share));
    }));
  }
  return known.get(dark);
}
