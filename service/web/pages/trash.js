// What is in the trash, run by run, and bringing it back.

import { get, post } from "./api.js";
import { button, element } from "./elements.js";
import { shownText, shownTime } from "./format.js";
import { withCode } from "./sentences.js";
import { emptyState, errorState, loadingState } from "./states.js";
import { amount, restoredOutcome, unreachedLine } from "./trash_outcome.js";

const NOT_ALLOWED =
  "This server moves nothing: `isophote undo` brings photos back, and so would this page if the " +
  "server were started with `isophote serve --allow-changes`.";
const EMPTYING =
  "The trash is emptied by deleting its folders, which no command of Isophote does.";

export async function show(container, parameters, page) {
  const request = new AbortController();
  const outcome = element("div", { class: "outcomes" });
  const list = element("div", {}, loadingState());
  container.append(element("h1", {}, "Trash"), outcome, list);

  async function load() {
    const listed = await get("/trash", {}, request);
    list.replaceChildren(...contents(listed, page.overview.allows_changes && bringBack));
  }

  async function bringBack(run) {
    outcome.replaceChildren(element("p", { class: "outcome", role: "status" }, "Bringing back …"));
    list.inert = true;
    try {
      outcome.replaceChildren(restoredOutcome(await post("/trash/undo", { run })));
      await load();
    } catch (error) {
      outcome.replaceChildren(errorState(error, () => bringBack(run)));
    }
    list.inert = false;
    outcome.firstChild.focus();
  }

  await load();
  return { leave: () => request.abort(), keys: {} };
}

// `bringBack` is told the run; false if this server brings nothing back.
function contents({ runs, unreached }, bringBack) {
  const folders = unreached.map(unreachedLine);
  if (!runs.length) {
    const review = element("a", { class: "button", href: "/?view=duplicates" }, "Look for duplicates");
    const told = "Photos come here from the review of duplicates.";
    return [emptyState("The trash is empty", told, review), ...folders];
  }
  const told = bringBack ? EMPTYING : `${NOT_ALLOWED} ${EMPTYING}`;
  return [
    element("p", { class: "told" }, withCode(told)),
    element("ol", { class: "runs" }, runs.map((run) => entry(run, bringBack))),
    ...folders,
  ];
}

function entry(run, bringBack) {
  const id = `run-${run.run}`;
  const label = "Bring back";
  return element(
    "li",
    {},
    element(
      "div",
      {},
      element("h2", { id }, amount(run)),
      element("p", {}, `Moved on ${shownTime(run.started_at)}, run ${shownText(run.run)}`),
      run.folders.map((folder) => element("p", { class: "folder" }, element("bdi", {}, shownText(folder)))),
    ),
    bringBack && button(label, () => bringBack(run.run), { "aria-describedby": id }),
  );
}
