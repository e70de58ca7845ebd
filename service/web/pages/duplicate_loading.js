// The groups that a question finds, page by page, and what is told of them.

import { get } from "./api.js";
import { element } from "./elements.js";
import { count, counted, shownBytes, shownShare } from "./format.js";

// Those on the first screens come at once.
const FIRST_GROUPS = 50;
const MORE_GROUPS = 500;
const ASK_AGAIN_MILLISECONDS = 500;

// Once in so many photos is never: no collection has more.
const MOST_PHOTOS = 1e9;

// Yield all pages, in order; one of offset 0 starts again, as when photos were moved meanwhile.
// `again` looks again at a collection that has changed, `onProgress` is told DuplicatesRunning.
export async function* duplicatePages(question, { again, signal, onProgress }) {
  let first = null;
  let offset = 0;
  do {
    const limit = offset ? MORE_GROUPS : FIRST_GROUPS;
    const asked = { ...question, refresh: again && !first ? true : null, offset, limit };
    const page = await found(asked, { signal, onProgress });
    if (first && (page.n_groups !== first.n_groups || page.version !== first.version)) {
      first = null;
      offset = 0;
      continue;
    }
    first ??= page;
    yield page;
    offset += page.groups.length;
  } while (!first || offset < first.n_groups);
}

async function found(asked, { signal, onProgress }) {
  let answer = await get("/duplicates", asked, { signal });
  while (answer.state === "running") {
    onProgress(answer);
    await waited(ASK_AGAIN_MILLISECONDS, signal);
    // Only the first request begins the search anew.
    answer = await get("/duplicates", { ...asked, refresh: null }, { signal });
  }
  return answer;
}

function waited(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}

// What stands where the groups will be: { element, draw(progress) }.
export function runningState() {
  const told = element("p");
  const bar = element("progress", { "aria-label": "Photos compared" });
  const draw = ({ n_done, n_total }) => {
    told.textContent = n_total
      ? `Looking for duplicates: ${count(n_done)} of ${counted(n_total, "photo")} compared`
      : "Looking for duplicates …";
    if (n_total) Object.assign(bar, { max: n_total, value: n_done });
    else bar.removeAttribute("value");
  };
  return { element: element("div", { class: "state loading" }, told, bar), draw };
}

// What was found, by which threshold, and how surely: sentences of the command line.
export function summarySentences(page) {
  const told = page.n_groups
    ? `${counted(page.n_groups, "group")} with ${counted(page.n_copies, "copy", "copies")} ` +
      `(${shownBytes(page.n_bytes)}) among ${counted(page.n_compared, "photo")}.`
    : `No photo of ${counted(page.n_compared, "photo")} has a double of tier ${page.tier}.`;
  return [
    told,
    page.threshold && `Threshold ${thresholdText(page.threshold)}.`,
    page.recall < 1 &&
      "Not all pairs were compared: of those of a sample " +
        `${(100 * page.recall).toFixed(1)}% were found.`,
    page.n_unmeasured > 0 &&
      `${counted(page.n_unmeasured, "photo")} came in with an older release, which kept no ` +
        "thumbnails, and cannot be told from others of a scene: index them into a new collection, " +
        "or choose similar.",
  ].filter(Boolean);
}

function thresholdText({ strictness, similarity, agreement, false_pair_rate: rate }) {
  const thumbnails =
    agreement === null ? "" : ` and thumbnails that agree to ${shownShare(agreement)}`;
  const told = `(${strictness ?? "given"}): cosine of ${shownShare(similarity)}${thumbnails}`;
  if (rate === null) return `${told}; too few photos to estimate how often it is wrong`;
  if (rate * MOST_PHOTOS < 1) return `${told}; expected to pair no photo with an unrelated one`;
  // Two digits mean something.
  const photos = count(Number((1 / rate).toPrecision(2)));
  return `${told}; expected to pair 1 photo in ${photos} with an unrelated one`;
}
