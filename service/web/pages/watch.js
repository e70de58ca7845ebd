// What happens on the server while somebody looks at the page: photos that are being indexed, a
// collection that has changed, a server that is gone.

import { isAborted } from "./api.js";
import { button, element } from "./elements.js";
import { count, counted } from "./format.js";

const ASK_EVERY_MILLISECONDS = 5000;

export function watchCollection(page, container) {
  const progress = element("div", { class: "notice progress", hidden: true });
  const notice = element("div", { class: "notice", hidden: true, role: "status" });
  container.replaceChildren(progress, notice);

  async function ask() {
    if (document.hidden) return;
    try {
      const status = await page.api.get("/ingest");
      showProgress(progress, status);
      showChange(notice, status, page);
    } catch (error) {
      if (!isAborted(error)) showTrouble(notice, error);
    }
  }

  ask();
  setInterval(ask, ASK_EVERY_MILLISECONDS);
  document.addEventListener("visibilitychange", ask);
}

function showProgress(line, { is_running, n_done, n_total, n_failed }) {
  line.hidden = !is_running;
  if (!is_running) return;
  const isKnown = n_done !== null && n_total !== null;
  const failed = n_failed ? `, ${count(n_failed)} failed` : "";
  const told = isKnown
    ? `Indexing: ${count(n_done)} of ${counted(n_total, "photo")}${failed}`
    : "Indexing …";
  const bar = element("progress", { "aria-label": "Photos indexed" });
  if (isKnown) Object.assign(bar, { max: Math.max(n_total, 1), value: n_done });
  line.replaceChildren(element("span", {}, told), bar);
}

function showChange(line, { version, n_images }, page) {
  if (version === page.overview.version) {
    line.hidden = true;
    return;
  }
  const more = n_images - page.overview.n_images;
  const told = more > 0 ? counted(more, "new photo") : "The collection has changed";
  // Drawn again only if it says something else: its button may have the focus.
  if (!line.hidden && line.dataset.told === told) return;
  line.dataset.told = told;
  line.hidden = false;
  const show = button("Show", () => {
    line.hidden = true;
    page.refresh();
  });
  line.replaceChildren(element("span", {}, told), show);
}

function showTrouble(line, error) {
  const told = error.status === 0 ? "The server does not answer. Trying again …" : error.message;
  if (!line.hidden && line.dataset.told === told) return;
  line.dataset.told = told;
  line.hidden = false;
  line.replaceChildren(element("span", {}, told));
}
