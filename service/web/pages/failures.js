// Files that could not be indexed: why, grouped by reason, and which.

import { get } from "./api.js";
import { saveFile } from "./downloads.js";
import { button, element } from "./elements.js";
import { count, counted, shownBytes, shownFolder, shownName, shownText, shownTime } from "./format.js";
import { withCode } from "./sentences.js";
import { emptyState, loadingState } from "./states.js";

const STAGES = {
  scan: "Folders that could not be listed",
  read: "Files that could not be read",
  decode: "Files that are no photo, or a damaged one",
  encode: "Photos that could not be embedded",
};
const COLUMNS = ["path", "stage", "reason", "error_class", "file_size", "failed_at"];
const PAGE = 500;
const MAX_FAILURES = 10_000;
const SHOWN_FILES = 100;

export async function show(container, parameters, page) {
  let request = new AbortController();
  const body = element("div");
  const stages = element("select", {
    id: "stage",
    onchange: ({ target }) => page.go({ view: "failures", stage: target.value }),
  });
  stages.append(
    element("option", { value: "" }, "All"),
    ...Object.entries(STAGES).map(([stage, told]) => element("option", { value: stage }, told)),
  );
  container.append(
    element("h1", {}, "Failures"),
    element("div", { class: "stage-choice" }, element("label", { for: "stage" }, "Show"), stages),
    body,
  );

  async function update(changed) {
    request.abort();
    request = new AbortController();
    const stage = changed.get("stage") ?? "";
    stages.value = stage;
    body.replaceChildren(loadingState());
    const selection = { stage, where: changed.get("where") };
    const { failures, n_failures: total } = await allFailures(selection, request);
    const isSelection = changed.has("stage") || changed.has("where");
    body.replaceChildren(...(total ? contents(failures, total) : [nothing(isSelection)]));
  }

  await update(parameters);
  return { leave: () => request.abort(), update, keys: {} };
}

// Return the first MAX_FAILURES, and how many there are.
async function allFailures(selection, { signal }) {
  const failures = [];
  let page;
  do {
    page = await get("/failures", { ...selection, offset: failures.length, limit: PAGE }, { signal });
    failures.push(...page.failures);
  } while (page.failures.length && failures.length < Math.min(page.n_failures, MAX_FAILURES));
  return { failures, n_failures: page.n_failures };
}

function nothing(isSelection) {
  const title = isSelection ? "No failure matches" : "Every file could be indexed";
  const all = element("a", { class: "button", href: "/?view=failures" }, "Show all failures");
  return emptyState(title, null, ...(isSelection ? [all] : []));
}

function contents(failures, total) {
  const part = failures.length < total ? ` The first ${count(failures.length)} are shown.` : "";
  const told =
    `${counted(total, "file")} could not be indexed.${part} \`isophote index\` tries them again ` +
    "when they change, `isophote failures --retry` now.";
  const save = button("Save as CSV", () => saveFile("failures.csv", "text/csv", csvOf(failures)));
  return [
    element("div", { class: "summary" }, element("p", {}, withCode(told)), save),
    ...byReason(failures).map(([reason, files]) => reasonGroup(reason, files)),
  ];
}

// Reasons that differ in numbers only are one; the most frequent first.
function byReason(failures) {
  const groups = new Map();
  for (const failure of failures) {
    const reason = failure.reason.replace(/\d[\d,.]*/g, "…");
    if (!groups.has(reason)) groups.set(reason, []);
    groups.get(reason).push(failure);
  }
  return [...groups].sort(([, one], [, other]) => other.length - one.length);
}

function reasonGroup(reason, files) {
  const told = shownText(files.length === 1 ? files[0].reason : reason);
  const list = element("ul");
  const more = button("", showMore);

  function showMore() {
    const next = files.slice(list.childElementCount, list.childElementCount + SHOWN_FILES);
    list.append(...next.map((failure) => entry(failure, told)));
    const left = files.length - list.childElementCount;
    more.hidden = !left;
    more.textContent = `Show ${counted(Math.min(left, SHOWN_FILES), "more file")}`;
  }

  return element(
    "details",
    // A long list takes time to draw: only when it is asked for.
    { class: "reason", ontoggle: ({ target }) => target.open && !list.childElementCount && showMore() },
    element("summary", {}, element("strong", {}, count(files.length)), element("span", {}, told)),
    list,
    more,
  );
}

// `told` is the reason that the list has already told.
function entry({ path, stage, reason, file_size: bytes, failed_at: at }, told) {
  const rest = shownText(reason) === told ? "" : ` ${shownText(reason)}`;
  const facts = [stage, bytes === null ? null : shownBytes(bytes), shownTime(at)].filter(Boolean);
  return element(
    "li",
    {},
    element("p", {}, element("bdi", { class: "name" }, shownName(path)), rest),
    element("p", { class: "folder" }, element("bdi", {}, shownFolder(path)), ` · ${facts.join(" · ")}`),
  );
}

// The columns of `isophote failures --export`.
function csvOf(failures) {
  const cell = (value) => (value === null ? "" : `"${String(value).replaceAll('"', '""')}"`);
  const lines = failures.map((failure) => COLUMNS.map((column) => cell(failure[column])).join(","));
  return [COLUMNS.map(cell).join(","), ...lines, ""].join("\n");
}
