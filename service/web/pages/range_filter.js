// Two thumbs over the histogram of a column: the least and the greatest value to show.

import { drawBars, markBars } from "./bars.js";
import { button, element } from "./elements.js";
import { counted, shownPercent } from "./format.js";

const STEPS = 200;
const DECIMALS = 3;
// With the keyboard a thumb is moved step by step; each would be an entry of the history.
const COMMIT_MILLISECONDS = 250;

// `changed` is given [low, high] as texts, null for an open end, or null for no filter.
export function createRangeFilter(page, { column, title, changed }) {
  let histogram = null;
  let asked = null;
  let committing;

  const low = thumb(`Lowest ${column}`, 0);
  const high = thumb(`Highest ${column}`, STEPS);
  const bars = element("div", { class: "histogram" });
  const told = element("p", { class: "told" }, " ");
  const clear = button("Clear", () => changed(null), {
    class: "plain small",
    "aria-label": `Clear ${column}`,
    hidden: true,
  });
  const section = element(
    "section",
    { "aria-label": title },
    element("div", { class: "title" }, element("h3", {}, title), clear),
    bars,
    element("div", { class: "thumbs" }, low, high),
    told,
  );

  function thumb(label, value) {
    const attributes = {
      type: "range",
      min: 0,
      max: STEPS,
      value,
      disabled: true,
      "aria-label": label,
    };
    return element("input", { ...attributes, oninput: moved, onchange: commitSoon });
  }

  // The thumbs cannot pass each other.
  function moved({ target }) {
    const [a, b] = [low.valueAsNumber, high.valueAsNumber];
    if (target === low) low.value = Math.min(a, b);
    else high.value = Math.max(a, b);
    tell();
  }

  const edges = () => [histogram.edges[0], histogram.edges.at(-1)];

  function valueAt(step) {
    const [first, last] = edges();
    return first + ((last - first) * step) / STEPS;
  }

  function stepOf(value) {
    const [first, last] = edges();
    return Math.max(
      0,
      Math.min(STEPS, Math.round(((value - first) / (last - first || 1)) * STEPS)),
    );
  }

  // What was given in the address stays as it is while its thumb is not moved.
  function end(input, open, given) {
    if (input.valueAsNumber === open) return null;
    if (given !== null && stepOf(Number(given)) === input.valueAsNumber) return given;
    return valueAt(input.valueAsNumber).toFixed(DECIMALS);
  }

  const ends = () => [end(low, 0, asked?.[0] ?? null), end(high, STEPS, asked?.[1] ?? null)];

  function commitSoon() {
    clearTimeout(committing);
    committing = setTimeout(commit, COMMIT_MILLISECONDS);
  }

  function commit() {
    const [from, to] = ends();
    changed(from === null && to === null ? null : [from, to]);
  }

  function tell() {
    const [from, to] = ends();
    const [a, b] = [Number(from ?? edges()[0]), Number(to ?? edges()[1])];
    const { counts, n_known: n } = histogram;
    const share = keptShare(histogram, a, b);
    const keeps = `keeps ${shownPercent(share)} of ${counted(n, "photo")}`;
    low.setAttribute("aria-valuetext", `${shown(a)}, ${keeps}`);
    high.setAttribute("aria-valuetext", `${shown(b)}, ${keeps}`);
    section.classList.toggle("on", from !== null || to !== null);
    clear.hidden = from === null && to === null;
    told.textContent = clear.hidden
      ? `${shown(a)} to ${shown(b)}`
      : `${shown(a)} to ${shown(b)}: keeps ${shownPercent(share)}`;
    const middle = (number) => (histogram.edges[number] + histogram.edges[number + 1]) / 2;
    if (counts.length)
      markBars(bars.firstChild, (number) => middle(number) >= a && middle(number) <= b);
  }

  async function load(signal) {
    histogram = await page.api.get(`/histograms/${column}`, {}, { signal });
    const { counts, n_known: n } = histogram;
    if (!counts.length) {
      told.textContent = `No photo has ${column === "anomaly" ? "an anomaly score" : `a ${column}`} yet.`;
      return;
    }
    const [first, last] = edges();
    const describe = `${title} of ${counted(n, "photo")}: ${shown(first)} to ${shown(last)}, most often ${mostOften(histogram)}`;
    bars.replaceChildren(drawBars(counts, describe));
    low.disabled = high.disabled = false;
    update(asked);
  }

  function update(now) {
    asked = now;
    if (!histogram?.counts.length) return;
    low.value = now?.[0] ? stepOf(Number(now[0])) : 0;
    high.value = now?.[1] ? stepOf(Number(now[1])) : STEPS;
    tell();
  }

  return { element: section, load, update };
}

const shown = (value) => value.toFixed(2);

function mostOften({ counts, edges }) {
  const top = counts.indexOf(Math.max(...counts));
  return `${shown(edges[top])} to ${shown(edges[top + 1])}`;
}

// The share of photos from a to b, as if those of a bin were spread over it evenly.
function keptShare({ counts, edges, n_known: n }, a, b) {
  const kept = counts.reduce((sum, count, bin) => {
    const [from, to] = [edges[bin], edges[bin + 1]];
    const overlap = Math.min(b, to) - Math.max(a, from);
    return (
      sum +
      count * Math.max(0, Math.min(1, to > from ? overlap / (to - from) : Number(overlap >= 0)))
    );
  }, 0);
  return n ? kept / n : 0;
}
