// What moving photos to the trash, or bringing them back, did, in the words of the command line.

import { element } from "./elements.js";
import { counted, shownBytes, shownText } from "./format.js";
import { withCode } from "./sentences.js";

// Of two views; each has only one stylesheet of its own, and one that imports another is read again
// by axe in a way that the security policy forbids.
document.head.append(element("link", { rel: "stylesheet", href: "/static/outcome.css" }));

// Of more files, the list is closed at first.
const SHOWN_FILES = 20;

// "2 photos and 1 file that go with them (5.0 MB)"
export function amount({ n_photos, n_files, n_bytes }) {
  const beside = n_files - n_photos;
  const also = beside ? ` and ${counted(beside, "file")} that go with them` : "";
  return `${counted(n_photos, "photo")}${also} (${shownBytes(n_bytes)})`;
}

// `actions` are buttons. The element takes the focus, so that it is read and seen.
export const movedOutcome = (summary, ...actions) => outcome(movedText(summary), summary, actions);

export const restoredOutcome = (summary, ...actions) =>
  outcome(restoredText(summary), summary, actions);

export const unreachedLine = (folder) =>
  element("p", {}, path(folder), " cannot be looked at: is its drive mounted?");

const path = (text) => element("bdi", { class: "path" }, shownText(text));

function outcome(parts, { left, n_pending, interrupted, unreached = [] }, actions) {
  return element(
    "section",
    { class: "outcome", tabindex: "-1", "aria-label": "What was moved" },
    element("p", {}, parts),
    interrupted && element("p", {}, `Interrupted with ${counted(n_pending, "photo")} to go.`),
    unreached.map(unreachedLine),
    left.length > 0 && leftFiles(left),
    actions.length > 0 && element("div", { class: "button-row" }, actions),
  );
}

function movedText(summary) {
  if (summary.run === null) return "Moved nothing.";
  const folders = summary.folders.flatMap((folder, place) => [place ? " and " : "", path(folder)]);
  const which = folders.length > 2 ? "those folders" : "that folder";
  const rest = `; \`isophote undo\` brings them back, and deleting ${which} frees their room.`;
  return [`Moved ${amount(summary)} to `, ...folders, ...withCode(rest)];
}

function restoredText(summary) {
  const present = counted(summary.n_present, "file");
  const told =
    `Brought back ${amount(summary)} from ${summary.runs.map(shownText).join(", ")}` +
    (summary.n_present ? `; ${present} had been in place already` : "") +
    (summary.n_files ? ". Run `isophote index` to have them in the collection again" : "");
  return withCode(`${told}.`);
}

function leftFiles(left) {
  const lines = left.map((file) => element("li", {}, path(file.path), ` ${shownText(file.reason)}`));
  const verb = left.length === 1 ? "was" : "were";
  return element(
    "details",
    { open: left.length <= SHOWN_FILES },
    element("summary", {}, `${counted(left.length, "file")} ${verb} not moved`),
    element("ul", {}, lines),
  );
}
