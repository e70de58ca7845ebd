// From a day to a day, over a small chart of months or years.

import { drawBars, markBars } from "./bars.js";
import { button, element } from "./elements.js";
import { count, counted } from "./format.js";

// More bars than these are too thin to be hit: then there is one for each year.
const MAX_BARS = 60;

// `changed` is given { taken: [from, to] or null, undated }.
export function createDateFilter(page, { changed }) {
  let spans = [];
  let now = { taken: null, undated: false };

  const from = day("Taken from");
  const to = day("Taken until");
  const chart = element("div", { class: "histogram clickable" });
  const undated = element("input", { type: "checkbox", onchange: () => commit() });
  const undatedText = element("span", {}, "Without a date");
  const clear = button("Clear", () => changed({ taken: null, undated: false }), {
    class: "plain small",
    "aria-label": "Clear dates",
  });
  const section = element(
    "section",
    { "aria-label": "Taken" },
    element("div", { class: "title" }, element("h3", {}, "Taken"), clear),
    chart,
    element("div", { class: "days" }, from, element("span", { "aria-hidden": "true" }, "–"), to),
    element("label", { class: "check" }, undated, undatedText),
  );

  function day(label) {
    return element("input", { type: "date", "aria-label": label, onchange: commit });
  }

  function commit() {
    const ends = [from.value || null, to.value || null];
    const taken = undated.checked || (!ends[0] && !ends[1]) ? null : ends;
    changed({ taken, undated: undated.checked });
  }

  // A shortcut for the pointer; with the keyboard, the days are typed.
  chart.addEventListener("click", ({ target }) => {
    const number = [...(chart.firstChild?.children ?? [])].indexOf(target);
    if (number >= 0) changed({ taken: [spans[number].from, spans[number].to], undated: false });
  });

  async function load(signal) {
    const { months, n_undated } = await page.api.get("/dates", {}, { signal });
    undatedText.textContent = `Without a date (${count(n_undated)})`;
    undated.closest("label").hidden = !n_undated;
    spans = spansOf(months);
    if (!spans.length) chart.hidden = true;
    else
      chart.replaceChildren(
        drawBars(
          spans.map(({ n }) => n),
          described(spans),
        ),
      );
    [...(chart.firstChild?.children ?? [])].forEach((bar, number) => titled(bar, spans[number]));
    update(now);
  }

  function update(filters) {
    now = { taken: filters.taken, undated: filters.undated };
    from.value = now.taken?.[0] ?? "";
    to.value = now.taken?.[1] ?? "";
    undated.checked = now.undated;
    from.disabled = to.disabled = now.undated;
    clear.hidden = !now.taken && !now.undated;
    section.classList.toggle("on", !clear.hidden);
    const [first, last] = [now.taken?.[0] ?? "", now.taken?.[1] ?? "9999"];
    if (chart.firstChild) {
      markBars(
        chart.firstChild,
        (number) => !now.undated && spans[number].to >= first && spans[number].from <= last,
      );
    }
  }

  return { element: section, load, update };
}

function titled(bar, { name, n }) {
  const title = document.createElementNS(bar.namespaceURI, "title");
  title.textContent = `${name}: ${counted(n, "photo")}`;
  bar.append(title);
}

function described(spans) {
  const most = spans.reduce((best, span) => (span.n > best.n ? span : best));
  return `Photos from ${spans[0].name} to ${spans.at(-1).name}, most in ${most.name}`;
}

// Consecutive months, those without photos too; years if there are many months.
function spansOf(months) {
  if (!months.length) return [];
  const number = (month) => Number(month.slice(0, 4)) * 12 + Number(month.slice(5)) - 1;
  const [first, last] = [number(months[0].month), number(months.at(-1).month)];
  const isYears = last - first >= MAX_BARS;
  const step = isYears ? 12 : 1;
  const start = isYears ? first - (first % 12) : first;
  const spans = Array.from({ length: Math.floor((last - start) / step) + 1 }, (_, place) =>
    isYears ? year((start + place * 12) / 12) : month(start + place),
  );
  months.forEach(
    ({ month: name, n_images: n }) => (spans[Math.floor((number(name) - start) / step)].n += n),
  );
  return spans;
}

const padded = (value, length) => String(value).padStart(length, "0");

function year(value) {
  const name = padded(value, 4);
  return { name, from: `${name}-01-01`, to: `${name}-12-31`, n: 0 };
}

function month(value) {
  const [years, months] = [Math.floor(value / 12), (value % 12) + 1];
  const name = `${padded(years, 4)}-${padded(months, 2)}`;
  const lastDay = new Date(Date.UTC(years, months, 0)).getUTCDate();
  return { name, from: `${name}-01`, to: `${name}-${lastDay}`, n: 0 };
}
