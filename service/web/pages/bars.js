// A row of bars: how many photos have which value.

import { drawing } from "./elements.js";

const HEIGHT = 40;
// A bar of a single photo beside one of thousands is still seen.
const LEAST = 1.5;

// `describe` tells a screen reader what the bars show.
export function drawBars(counts, describe) {
  const most = Math.max(...counts, 1);
  const bars = counts.map((count, number) => {
    const height = count ? Math.max((count / most) * HEIGHT, LEAST) : 0;
    return drawing("rect", { x: number + 0.06, y: HEIGHT - height, width: 0.88, height });
  });
  const box = `0 0 ${Math.max(counts.length, 1)} ${HEIGHT}`;
  return drawing(
    "svg",
    {
      class: "bars",
      viewBox: box,
      preserveAspectRatio: "none",
      role: "img",
      "aria-label": describe,
    },
    ...bars,
  );
}

// Marks the bars for whose number `isKept` holds.
export function markBars(bars, isKept) {
  [...bars.children].forEach((bar, number) => bar.classList.toggle("kept", isKept(number)));
}
