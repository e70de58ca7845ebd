// The shell around the views: address, navigation, keys, and the panel of a photo.
//
// The address is `/?view=photos|duplicates|trash|failures|collection&...`; photos if it has none.
// `photo=ID` in it opens the panel of that photo above any view.
//
// A view is a module, loaded when it is first shown, with
//
//   export async function show(container, parameters, page)
//
// that fills the container, first with what stands there while it waits, and returns
//
//   leave()             aborts requests and removes listeners outside of the container
//   keys                key -> { does, action }, told by the help dialog; an entry without an
//                       action is only told of, for keys that an element listens to itself
//   update(parameters)  optional: shows another state of the view; without it, it is shown anew
//   photoClosed(id)     optional: the panel was closed; give the focus back
//   focus()             optional: give the focus to what the view is about, for the skip link
//
// `parameters` is a URLSearchParams without `photo`. An error that show() or update() throws is
// shown with its sentence. `page` has
//
//   overview            what GET /collection answered
//   api                 the module api.js: get, post, url, ApiError
//   go(parameters, { replace })   to another address; an object (lists are repeated) or
//                       URLSearchParams. Plain links to `/?...` do the same
//   openPhoto(id, neighbours)     neighbours are ids, or an object with length, placeOf(id), and
//                       at(place), which resolves to an id
//   announce(text)      tells a screen reader, politely
//   refresh()           asks for the overview again, and shows the view anew

import * as api from "./api.js";
import { element } from "./elements.js";
import { useThumbnailsOf } from "./format.js";
import { openHelp, usesKeys } from "./help.js";
import { createPanel } from "./panel.js";
import { errorState } from "./states.js";
import { watchCollection } from "./watch.js";

const VIEWS = {
  photos: { title: "Photos", load: () => import("./photos.js") },
  duplicates: { title: "Duplicates", load: () => import("./duplicates.js"), style: "duplicates" },
  trash: { title: "Trash", load: () => import("./trash.js"), style: "trash" },
  failures: { title: "Failures", load: () => import("./failures.js"), style: "failures" },
  collection: { title: "Collection", load: () => import("./collection.js"), style: "collection" },
};

// The scroll position is kept in the history when it has been still for so long; Safari refuses
// more than 100 changes in 30 seconds.
const SCROLL_KEPT_MILLISECONDS = 400;

const main = document.getElementById("main");
const announcer = document.getElementById("announcer");

const page = { overview: null, api, go, openPhoto, announce, refresh };
const panel = createPanel(document.getElementById("photo"), page, panelClosed);

let shown = { view: null, key: null, parameters: null, handle: {} };
let turn = 0;
let neighbours = [];

function announce(text) {
  // The same text again would not be read.
  announcer.textContent = "";
  requestAnimationFrame(() => (announcer.textContent = text));
}

function go(parameters, { replace = false, state = {} } = {}) {
  const text = api.query(parameters).toString();
  const address = text ? `/?${text}` : "/";
  if (address === location.pathname + location.search) return;
  keepScroll();
  if (replace) history.replaceState(history.state, "", address);
  else history.pushState(state, "", address);
  render({ scroll: null });
}

function keepScroll() {
  history.replaceState({ ...history.state, scroll: scrollY }, "");
}

function openPhoto(id, among = []) {
  neighbours = among;
  const parameters = new URLSearchParams(location.search);
  const isOpen = parameters.has("photo");
  parameters.set("photo", id);
  // From photo to photo nothing is added to the history, so that Back closes the panel.
  go(parameters, { replace: isOpen, state: { isPanel: true } });
}

function panelClosed(id) {
  const parameters = new URLSearchParams(location.search);
  if (parameters.has("photo")) {
    parameters.delete("photo");
    // A shared link begins with the panel: there is nothing to go back to.
    if (history.state?.isPanel) history.back();
    else go(parameters, { replace: true });
  }
  shown.handle.photoClosed?.(id);
}

function viewOf(parameters) {
  const named = parameters.get("view");
  return Object.hasOwn(VIEWS, named ?? "") ? named : "photos";
}

// `scroll` is where to go back to; null for the top.
async function render({ scroll }) {
  const parameters = new URLSearchParams(location.search);
  const photo = parameters.get("photo");
  parameters.delete("photo");
  if (photo === null) panel.close();
  if (parameters.toString() !== shown.key) await showView(parameters, scroll);
  // Meanwhile somebody may have gone on.
  if (photo !== null && new URLSearchParams(location.search).get("photo") === photo) {
    panel.show(Number(photo), neighbours);
  }
}

async function showView(parameters, scroll) {
  const view = viewOf(parameters);
  const before = shown;
  const mine = ++turn;
  const canUpdate = before.view === view && before.handle.update;
  shown = { view, parameters, key: parameters.toString(), handle: canUpdate ? before.handle : {} };
  markNavigation(view, parameters);
  try {
    if (canUpdate) await before.handle.update(parameters);
    else await replaceView(before, view, parameters, mine);
  } catch (error) {
    if (!api.isAborted(error) && mine === turn) showError(error);
  }
  if (mine === turn) scrollTo(0, scroll ?? 0);
}

async function replaceView(before, view, parameters, mine) {
  before.handle.leave?.();
  const container = element("div", { class: `view ${view}` });
  main.replaceChildren(container);
  const [module] = await Promise.all([VIEWS[view].load(), styled(VIEWS[view].style)]);
  if (mine !== turn) return;
  const handle = await module.show(container, parameters, page);
  if (mine === turn) shown.handle = handle;
  else handle.leave();
}

function showError(error) {
  shown.handle.leave?.();
  shown = { ...shown, handle: {} };
  main.replaceChildren(element("div", { class: "view" }, errorState(error, refresh)));
}

// Resolves when the style is there, so that a view is never seen without.
function styled(name) {
  const address = `/static/${name}.css`;
  if (!name || document.querySelector(`link[href="${address}"]`)) return null;
  return new Promise((resolve) => {
    const link = { rel: "stylesheet", href: address, onload: resolve, onerror: resolve };
    document.head.append(element("link", link));
  });
}

function markNavigation(view, parameters) {
  const list = view === "photos" ? parameters.get("list") || null : null;
  for (const link of document.querySelectorAll("nav a")) {
    const target = new URLSearchParams(link.search);
    const isHere = viewOf(target) === view && target.get("list") === list;
    if (!isHere) {
      link.removeAttribute("aria-current");
      continue;
    }
    link.setAttribute("aria-current", "page");
    document.title = `${link.textContent} · Isophote`;
    // On a narrow screen it may be beyond the edge.
    link.parentElement.scrollLeft = link.offsetLeft - link.parentElement.clientWidth / 2;
  }
}

async function refresh() {
  const scroll = scrollY;
  try {
    await readOverview();
  } catch (error) {
    showError(error);
    return;
  }
  shown.handle.leave?.();
  shown = { view: null, key: null, parameters: null, handle: {} };
  await render({ scroll });
}

async function readOverview() {
  page.overview = await api.get("/collection");
  useThumbnailsOf(page.overview);
}

function followLink(event) {
  const link = event.target.closest?.("a[href]");
  const isPlain =
    event.button === 0 && !(event.ctrlKey || event.metaKey || event.shiftKey || event.altKey);
  if (!link || !isPlain || event.defaultPrevented || link.target || link.hasAttribute("download"))
    return;
  if (link.origin !== location.origin || link.pathname !== "/" || link.hash) return;
  event.preventDefault();
  go(new URLSearchParams(link.search));
}

const isTyping = (element) =>
  element.matches("input:not([type=checkbox], [type=radio], [type=range]), textarea, select");

function actionOf(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || !usesKeys())
    return null;
  if (document.querySelector("dialog:modal") || isTyping(event.target)) return null;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  return { ...shown.handle.keys, ...keys }[key]?.action;
}

const keys = { "?": { does: "show these keys", action: () => showHelp() } };

function showHelp() {
  openHelp(document.getElementById("help"), { ...shown.handle.keys, ...keys }, panel.keys);
}

function listen() {
  history.scrollRestoration = "manual";
  let still;
  addEventListener(
    "scroll",
    () => {
      clearTimeout(still);
      still = setTimeout(keepScroll, SCROLL_KEPT_MILLISECONDS);
    },
    { passive: true },
  );
  addEventListener("popstate", () => {
    clearTimeout(still);
    render({ scroll: history.state?.scroll });
  });
  document.addEventListener("click", followLink);
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault();
    if (shown.handle.focus) shown.handle.focus();
    else main.focus();
  });
  document.addEventListener("keydown", (event) => {
    const action = actionOf(event);
    if (!action) return;
    event.preventDefault();
    action(event);
  });
}

async function start() {
  document.getElementById("keys").addEventListener("click", showHelp);
  listen();
  const place = placeBefore();
  if (place) history.replaceState({}, "", `/${place}`);
  try {
    await readOverview();
  } catch (error) {
    main.replaceChildren(
      element(
        "div",
        { class: "view" },
        errorState(error, () => location.reload()),
      ),
    );
    return;
  }
  await render({ scroll: history.state?.scroll });
  watchCollection(page, document.getElementById("notices"));
}

function placeBefore() {
  const place = api.placeBeforeLogin();
  return location.search ? null : place;
}

start();
