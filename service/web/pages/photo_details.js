// What is known of a photo, as sections.

import { element } from "./elements.js";
import {
  count,
  shownBytes,
  shownDate,
  shownPercent,
  shownShare,
  shownSize,
  shownText,
  shownTime,
} from "./format.js";

const CUES = {
  quality_sim: "prompts",
  quality_mag: "magnitude",
};

export function details(record, overview) {
  return [
    facts(record),
    quality(record.quality_reason),
    anomaly(record.anomaly_reason),
    measures(record),
    given(record),
  ]
    .concat(overview.has_files ? hashes(record) : [])
    .filter(Boolean);
}

function list(pairs) {
  const known = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return element(
    "dl",
    { class: "facts" },
    ...known.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]),
  );
}

function facts(record) {
  const { label, label_confidence: confidence, frames } = record;
  const sure =
    confidence === null || confidence === undefined ? "" : ` (${shownPercent(confidence)} sure)`;
  const file = [record.file_size !== null && shownBytes(record.file_size), record.format];
  return list([
    ["Taken", record.taken_at && shownDate(record.taken_at)],
    ["Camera", record.camera && shownText(record.camera)],
    ["Place", coordinates(record)],
    ["Size", shownSize(record)],
    ["File", file.filter(Boolean).join(", ")],
    ["Frames", frames > 1 ? count(frames) : null],
    ["Label", label && `${shownText(label)}${sure}`],
    ["Indexed", shownTime(record.indexed_at)],
    ["Id", String(record.image_id)],
  ]);
}

function coordinates({ latitude, longitude }) {
  if (latitude === null || longitude === null) return null;
  const north = `${Math.abs(latitude).toFixed(5)}° ${latitude < 0 ? "S" : "N"}`;
  return `${north}, ${Math.abs(longitude).toFixed(5)}° ${longitude < 0 ? "W" : "E"}`;
}

function quality(reason) {
  if (!reason) return null;
  const told = reason.reason ? `Held down most: ${reason.reason}.` : "Nothing holds it down.";
  return element(
    "section",
    {},
    element("h3", {}, `Quality ${shownShare(reason.quality)}`),
    element("p", {}, `${told} Better than ${shownPercent(reason.better_than)} of the photos.`),
    element(
      "dl",
      { class: "cues" },
      ...Object.entries(reason.cues).flatMap(([name, value]) => cue(CUES[name] ?? name, value)),
    ),
  );
}

// `value` is in [0, 1], higher is better.
function cue(name, value) {
  const filled = element("span", { class: "filled" });
  filled.style.inlineSize = `${Math.max(0, Math.min(1, value)) * 100}%`;
  return [
    element("dt", {}, name.replaceAll("_", " ")),
    element(
      "dd",
      {},
      element("span", { class: "track", "aria-hidden": "true" }, filled),
      shownShare(value),
    ),
  ];
}

const capitalised = (text) => text.charAt(0).toUpperCase() + text.slice(1);

function anomaly(reason) {
  if (!reason) return null;
  return element(
    "section",
    {},
    element("h3", {}, `Anomaly ${reason.anomaly.toFixed(2)}`),
    element(
      "p",
      {},
      `${capitalised(shownText(reason.reason))}. Stranger than ${shownPercent(reason.stranger_than)} of the photos.`,
    ),
    list([
      ["Reference", shownText(reason.reference)],
      ["Closest class", reason.anomaly_class && shownText(reason.anomaly_class)],
      ["Words", reason.words.map(shownText).join(", ")],
      ["Internal", reason.internal?.toFixed(3)],
      ["External", reason.external?.toFixed(3)],
    ]),
  );
}

const number = (value) =>
  Number.isInteger(value) ? count(value) : value.toPrecision(4).replace(/\.?0+$/, "");

function measures(record) {
  const pairs = Object.entries(record.measures).map(([name, value]) => [
    name.replaceAll("_", " "),
    number(value),
  ]);
  return pairs.length > 0 && folded("Measures", list(pairs));
}

function given(record) {
  const pairs = Object.entries(record.given).map(([name, value]) => [
    shownText(name),
    value === null ? null : shownText(String(value)),
  ]);
  return pairs.length > 0 && folded("Given with it", list(pairs));
}

function hashes(record) {
  const pairs = [
    ["Bytes", record.content_hash],
    ["Pixels", record.pixel_hash],
  ];
  return folded("Hashes", list(pairs));
}

function folded(title, content) {
  return element("details", {}, element("summary", {}, title), content);
}
