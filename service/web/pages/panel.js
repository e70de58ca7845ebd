// The panel of one photo: the picture, and all there is to know of it.

import { ApiError, isAborted } from "./api.js";
import { button, element, iconButton, refill } from "./elements.js";
import { originalUrl, shownFolder, shownName, thumbnailUrl } from "./format.js";
import { details } from "./photo_details.js";
import { copied } from "./selection.js";
import { errorState } from "./states.js";
import { withPart } from "./url_state.js";

const PREVIEW_SIDE = 1280;
const N_SIMILAR = 12;
const SWIPE_PIXELS = 48;

// What there is to say of a photo whose file is not the one that was indexed.
const STATES = {
  changed: "The file has changed since it was indexed. Index its folder again to see it as it is.",
  vanished: "The file is no longer there. It leaves the index when its folder is indexed again.",
  outside: "The file is a link that leads out of the indexed folder, and is not shown.",
  none: "There is no file: this vector was imported.",
};

// `closed(id)` is told which photo was shown last.
export function createPanel(dialog, page, closed) {
  let shown = null;
  let record = null;
  let neighbours = [];
  let place = -1;
  let controller = new AbortController();

  const stage = element("div", { class: "stage" });
  const facts = element("div", { class: "about" });
  const previous = iconButton("left", "Previous photo", () => step(-1), {
    class: "icon step previous",
  });
  const next = iconButton("right", "Next photo", () => step(1), { class: "icon step next" });
  const close = iconButton("close", "Close", () => dialog.close(), {
    class: "icon step leave",
    autofocus: true,
  });
  dialog.append(close, element("div", { class: "stage-area" }, stage, previous, next), facts);
  dialog.addEventListener("close", () => {
    controller.abort();
    const last = shown;
    shown = record = null;
    stage.replaceChildren();
    closed(last);
  });
  dialog.addEventListener("keydown", pressed);
  onSwipe(stage, step);

  const keys = {
    "ArrowLeft ArrowRight": { does: "previous and next photo" },
    s: { does: "find similar photos", action: () => similar() },
    a: { does: "add to the search", action: () => add(1) },
    w: { does: "search without what is like it", action: () => add(-1) },
    o: {
      does: "open the original",
      action: () => canOpen() && open(originalUrl(shown), "_blank", "noopener"),
    },
    c: { does: "copy the path", action: () => copyPath() },
    Escape: { does: "close" },
  };
  const actions = {
    ...keys,
    ArrowLeft: { action: () => step(-1) },
    ArrowRight: { action: () => step(1) },
  };

  function pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, textarea"))
      return;
    const { action } = actions[event.key] ?? {};
    if (!action || localStorage.getItem("isophote-keys") === "off") return;
    event.preventDefault();
    action();
  }

  const canOpen = () => record?.file_state === "present";
  const similar = () => page.go({ q: `id:${shown}` });
  const add = (sign) => page.go(withPart(location.search, `id:${shown}`, sign));

  async function copyPath() {
    if (record)
      page.announce(
        (await copied(record.path)) ? "Path copied" : "The browser did not allow to copy",
      );
  }

  async function step(by) {
    const target = place + by;
    if (place < 0 || target < 0 || target >= neighbours.length) return;
    try {
      const id = await at(target);
      if (id !== undefined) page.openPhoto(id, neighbours);
    } catch (error) {
      if (!isAborted(error)) page.announce(error.message);
    }
  }

  const at = (number) => (Array.isArray(neighbours) ? neighbours[number] : neighbours.at(number));

  async function show(id, among) {
    if (id === shown) return;
    neighbours = among;
    place = Array.isArray(among) ? among.indexOf(id) : among.placeOf(id);
    previous.disabled = place <= 0;
    next.disabled = place < 0 || place >= neighbours.length - 1;
    previous.hidden = next.hidden = place < 0;
    controller.abort();
    controller = new AbortController();
    shown = id;
    record = null;
    drawPicture(id);
    if (!dialog.open) dialog.showModal();
    await loadRecord(id, controller.signal);
    preload();
  }

  async function loadRecord(id, signal) {
    try {
      const answer = await page.api.get(`/images/${id}`, {}, { signal });
      if (id !== shown) return;
      record = answer;
      drawRecord();
      await loadSimilar(id, signal);
    } catch (error) {
      if (isAborted(error) || id !== shown) return;
      if (!(error instanceof ApiError)) throw error;
      stage.replaceChildren();
      facts.replaceChildren(errorState(error, () => loadRecord(id, controller.signal)));
    }
  }

  // The thumbnail is there at once, and stays below while the preview loads.
  function drawPicture(id) {
    if (!page.overview.has_files) {
      stage.replaceChildren(element("p", { class: "missing" }, STATES.none));
      return;
    }
    const preview = element("img", { class: "preview", alt: "", decoding: "async" });
    preview.addEventListener("load", () => preview.classList.add("there"));
    preview.addEventListener("error", () => id === shown && drawMissing());
    const small = element("img", { class: "small", src: thumbnailUrl(id), alt: "" });
    small.addEventListener("error", () => small.remove());
    preview.src = thumbnailUrl(id, PREVIEW_SIDE);
    stage.replaceChildren(small, preview);
  }

  function drawMissing() {
    const why = STATES[record?.file_state] ?? "This photo cannot be shown.";
    stage.replaceChildren(element("p", { class: "missing" }, why));
  }

  function drawRecord() {
    dialog.setAttribute("aria-label", shownName(record.path));
    stage.querySelectorAll("img").forEach((image) => {
      if (record.width && record.height)
        image.style.aspectRatio = `${record.width} / ${record.height}`;
    });
    stage.querySelector(".preview")?.setAttribute("alt", shownName(record.path));
    const scrolled = facts.scrollTop;
    refill(
      facts,
      element("h2", { title: shownName(record.path) }, element("bdi", {}, shownName(record.path))),
      element("p", { class: "folder" }, element("bdi", {}, shownFolder(record.path))),
      STATES[record.file_state] && element("p", { class: "warning" }, STATES[record.file_state]),
      buttons(),
      ...details(record, page.overview),
      element(
        "section",
        { class: "strip", "aria-label": "Similar photos" },
        element("h3", {}, "Similar"),
        element("div", { class: "row-of-photos" }),
      ),
    );
    facts.scrollTop = scrolled;
    if (record.file_state !== "present" && !stage.querySelector(".there")) drawMissing();
  }

  function buttons() {
    const original = element(
      "a",
      { class: "button", href: originalUrl(shown), target: "_blank", rel: "noopener" },
      "Open original",
    );
    return element(
      "div",
      { class: "buttons" },
      button("Similar", similar, { class: "primary", "aria-keyshortcuts": "s" }),
      button("Add", () => add(1), { title: "Add to the search", "aria-keyshortcuts": "a" }),
      button("Without", () => add(-1), {
        title: "Search without what is like it",
        "aria-keyshortcuts": "w",
      }),
      canOpen() && original,
      button("Copy path", copyPath, { "aria-keyshortcuts": "c" }),
    );
  }

  async function loadSimilar(id, signal) {
    const { hits } = await page.api.get(`/images/${id}/similar`, { limit: N_SIMILAR }, { signal });
    if (id !== shown) return;
    const ids = hits.map(({ image_id }) => image_id);
    const strip = facts.querySelector(".strip");
    strip.hidden = !hits.length;
    strip.lastChild.replaceWith(
      element("div", { class: "row-of-photos" }, ...hits.map((hit) => similarButton(hit, ids))),
    );
  }

  function similarButton(hit, ids) {
    const image = element("img", { src: thumbnailUrl(hit.image_id), alt: "", loading: "lazy" });
    image.addEventListener("error", () => image.replaceWith(shownName(hit.path)));
    return button(
      page.overview.has_files ? image : shownName(hit.path),
      () => page.openPhoto(hit.image_id, ids),
      {
        "aria-label": `${shownName(hit.path)}, similarity ${hit.similarity.toFixed(2)}`,
        title: shownName(hit.path),
      },
    );
  }

  // So that the next photo is there when it is asked for.
  async function preload() {
    const following =
      neighbours.length && place >= 0 && place + 1 < neighbours.length
        ? await at(place + 1)
        : undefined;
    if (following !== undefined && page.overview.has_files)
      new Image().src = thumbnailUrl(following, PREVIEW_SIDE);
  }

  return { show, close: () => dialog.open && dialog.close(), keys };
}

// `step` is given 1 for a swipe to the left, which brings the next photo, and -1 for the other.
function onSwipe(stage, step) {
  let from = null;
  stage.addEventListener(
    "touchstart",
    ({ touches }) => {
      from = touches.length === 1 ? touches[0].clientX : null;
    },
    { passive: true },
  );
  stage.addEventListener(
    "touchend",
    ({ changedTouches }) => {
      const way = from === null ? 0 : changedTouches[0].clientX - from;
      if (Math.abs(way) > SWIPE_PIXELS) step(way < 0 ? 1 : -1);
    },
    { passive: true },
  );
}
