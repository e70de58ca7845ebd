// What the collection holds and what it was made with, whether it is being written to, and the
// server's own pages.

import { get, isAborted } from "./api.js";
import { element } from "./elements.js";
import { count, counted, shownBytes, shownText, shownTime } from "./format.js";

const ASK_EVERY_MILLISECONDS = 3000;

const SPACES = {
  clip: "words and photos in one space, as the model was trained",
  isoclip: "photos among photos: without the directions that only tell photos from words",
  trunk: "photos among photos, by what the image tower sees before its projection, centred",
  semantic: "photos among photos, along names of things",
};
const QUALITY_CUES = {
  magnitude: "from the length of the embedding",
  pixels: "from pixel measures such as sharpness and noise",
};

export async function show(container, parameters, page) {
  const { overview } = page;
  const request = new AbortController();
  const status = element("p", { class: "status", role: "status" });
  container.append(
    element("h1", {}, element("bdi", {}, shownText(overview.collection))),
    status,
    section("Holds", facts(holdings(overview))),
    section("Folders", overview.roots.length ? folderTable(overview.roots) : "None: it was made of vectors."),
    section("Model", facts(modelFacts(overview))),
    section("Spaces", facts(overview.spaces.map((space) => [space, spaceText(space, overview)]))),
    section("Search indexes", facts(indexFacts(overview.ann))),
    section("Server", facts(serverFacts(overview))),
  );

  async function ask() {
    try {
      const text = writingText(await get("/ingest", {}, request));
      if (status.textContent !== text) status.textContent = text;
    } catch (error) {
      if (!isAborted(error)) status.textContent = error.message;
    }
  }

  await ask();
  const timer = setInterval(ask, ASK_EVERY_MILLISECONDS);
  const leave = () => {
    clearInterval(timer);
    request.abort();
  };
  return { leave, keys: {} };
}

function section(title, ...children) {
  return element("section", {}, element("h2", {}, title), ...children);
}

const facts = (pairs) =>
  element(
    "dl",
    { class: "facts" },
    pairs.filter(Boolean).flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]),
  );

const link = (href, text) => element("a", { href }, text);

function writingText({ is_running: isRunning, writer, n_done: done, n_total: total, n_failed: failed }) {
  if (!isRunning) return "Nothing is being indexed.";
  const by = writer
    ? ` by process ${writer.pid} on ${shownText(writer.host)} since ${shownTime(writer.started_at)}`
    : "";
  if (done === null) return `It is being written to${by}.`;
  const failures = failed ? `, ${count(failed)} failed` : "";
  return `Photos are being indexed${by}: ${count(done)} of ${counted(total, "photo")}${failures}.`;
}

function holdings({ n_images, n_failures, n_rated, n_scored, formats, label_names, n_bytes, info }) {
  const kinds = Object.entries(formats).map(([format, images]) => `${count(images)} ${format}`);
  return [
    ["photos", link("/", counted(n_images, "photo"))],
    kinds.length && ["formats", kinds.join(", ")],
    ["failures", n_failures ? link("/?view=failures", counted(n_failures, "file")) : "none"],
    ["rated", `${count(n_rated)} have a quality, ${count(n_scored)} an anomaly score`],
    label_names.length && ["labels", label_names.map(shownText).join(", ")],
    ["disk use", shownBytes(n_bytes)],
    [
      "made",
      `${shownTime(info.created_at)} by isophote ${info.isophote_version}, schema ${info.schema_version}`,
    ],
  ];
}

function folderTable(roots) {
  const rows = roots.map(({ root, n_files, scanned_at }) =>
    element(
      "tr",
      {},
      element("th", { scope: "row" }, element("bdi", {}, shownText(root))),
      element("td", { class: "number" }, count(n_files)),
      element("td", {}, shownTime(scanned_at)),
    ),
  );
  const heads = ["Folder", "Files", "Last looked through"];
  return element(
    "table",
    {},
    element("thead", {}, element("tr", {}, heads.map((head) => element("th", { scope: "col" }, head)))),
    element("tbody", {}, rows),
  );
}

function modelFacts({ info, can_embed_words: words, can_embed_photos: photos }) {
  const { model } = info;
  return [
    ["model", `${model.id} (${model.family})`],
    ["embeddings", `of ${count(model.embedding_dim)} numbers, from ${count(model.feature_dim)} features`],
    ["search by", askedBy(words, photos)],
    ["weights", element("code", {}, info.weights_digest.slice(0, 16))],
    ["preprocessing", element("code", {}, info.preprocessing_fingerprint)],
    ["band", bandText(info)],
    ["quality", `${info.quality_mode} mode, ${QUALITY_CUES[model.quality_cue] ?? model.quality_cue}`],
  ];
}

function askedBy(words, photos) {
  if (words && photos) return "words, other photos and photos of the collection";
  if (photos) return "other photos and photos of the collection";
  return words ? "words and photos of the collection" : "photos of the collection";
}

function bandText({ band, band_is_default: isDefault }) {
  if (!band) return "none";
  const origin = isDefault ? "a default, nobody published one" : "published or chosen";
  return `${band.k_top} top and ${band.k_bottom} bottom left out (${origin})`;
}

function spaceText(space, { default_image_space: usual }) {
  return `${SPACES[space] ?? ""}${space === usual ? "; the usual one for photos" : ""}`;
}

function indexFacts(ann) {
  if (!ann.length) return [["none", "made by the first search that needs one"]];
  return ann.map(({ space, kind, n_rows, n_bytes, is_current: isCurrent }) => {
    const state = isCurrent
      ? "current"
      : "older than the collection, brought up to date by the next search";
    return [space, `${kind}, ${counted(n_rows, "row")}, ${shownBytes(n_bytes)}, ${state}`];
  });
}

function serverFacts({ isophote_version: version, allows_changes: allowsChanges }) {
  const changes = "moves photos to the trash and back, as it was started with --allow-changes";
  return [
    ["version", `isophote ${version}`],
    ["changes", allowsChanges ? changes : "none: it moves no photos"],
    ["API", link("/api/v1/openapi.json", "OpenAPI document")],
    ["metrics", link("/metrics", "for Prometheus")],
  ];
}
