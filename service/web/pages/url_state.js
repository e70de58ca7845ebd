// What the photos view shows, as it stands in the address, and as it is asked of the server.

import { condition } from "./condition.js";

const DEFAULT_SORT = "-taken_at";

// Hits of one search that can be paged through (schemas.http.MAX_FOUND).
export const MAX_FOUND = 10_000;

const WEIGHTED = /^(.+)\^(\d+(?:\.\d*)?|\.\d+)$/s;

// A part of a query: `content` is words, "id:17" or "upload:ID".
export function partOf(text, sign = 1) {
  const [, content, weight] = text.match(WEIGHTED) ?? [null, text, "1"];
  return { sign, content, weight: Number(weight) };
}

const partText = ({ content, weight }) => (weight === 1 ? content : `${content}^${weight}`);

export const isPhoto = ({ content }) => /^(id:\d+|upload:.+)$/.test(content);

export function readState(parameters) {
  const parts = [
    ...parameters.getAll("q").map((text) => partOf(text)),
    ...parameters.getAll("minus").map((text) => partOf(text, -1)),
  ].filter(({ content }) => content.trim());
  return {
    parts,
    space: parameters.get("space"),
    list: parts.length ? null : parameters.get("list") || null,
    order: parameters.get("order") === "best" ? "best" : "worst",
    reference: parameters.get("reference"),
    sort: parameters.get("sort") ?? DEFAULT_SORT,
    filters: {
      quality: range(parameters.get("quality")),
      anomaly: range(parameters.get("anomaly")),
      taken: range(parameters.get("taken")),
      undated: parameters.get("undated") === "yes",
      folder: parameters.get("folder"),
      formats: parameters.getAll("format"),
      labels: parameters.getAll("label"),
      where: parameters.get("where"),
    },
  };
}

// "a..b", either of which may be left out; null for no range.
function range(text) {
  if (!text?.includes("..")) return null;
  const [low, high] = text.split("..", 2);
  return low || high ? [low || null, high || null] : null;
}

const rangeText = (ends) => ends && `${ends[0] ?? ""}..${ends[1] ?? ""}`;

const signed = (parts, sign) => parts.filter((part) => part.sign === sign).map(partText);

// What go() takes; what is as it is by default is left out.
export function address({ parts, space, list, order, reference, sort, filters }) {
  return {
    q: signed(parts, 1),
    minus: signed(parts, -1),
    space,
    ...(parts.length
      ? {}
      : {
          list,
          order: list === "quality" && order === "best" ? order : null,
          reference: list === "anomalies" ? reference : null,
          sort: list || sort === DEFAULT_SORT ? null : sort,
        }),
    quality: rangeText(filters.quality),
    anomaly: rangeText(filters.anomaly),
    taken: rangeText(filters.taken),
    undated: filters.undated ? "yes" : null,
    folder: filters.folder,
    format: filters.formats,
    label: filters.labels,
    where: filters.where,
  };
}

export const noFilters = () => readState(new URLSearchParams()).filters;

// Which list is asked for: where, with what, and how an answer says how long it is.
export function request(state) {
  const where = condition(state.filters);
  if (state.parts.length) {
    const { space, parts } = state;
    return {
      path: "/search",
      parameters: { q: signed(parts, 1), minus: signed(parts, -1), space, where },
      photos: (answer) => answer.hits,
      length: (answer) => Math.min(answer.n_searched, MAX_FOUND),
    };
  }
  const photos = (answer) => answer.images;
  if (state.list === "quality") {
    const parameters = { order: state.order, where };
    return { path: "/quality", parameters, photos, length: (answer) => answer.n_rated };
  }
  if (state.list === "anomalies") {
    const parameters = { reference: state.reference, where };
    return { path: "/anomalies", parameters, photos, length: (answer) => answer.n_scored };
  }
  return {
    path: "/images",
    parameters: { sort: state.sort, where },
    photos,
    length: (answer) => answer.n_images,
  };
}

// The address of the photos view with one more part than there are in it now.
export function withPart(search, text, sign) {
  const now = new URLSearchParams(search);
  const isHere = (now.get("view") ?? "photos") === "photos";
  const state = readState(isHere ? now : new URLSearchParams());
  return address({ ...state, parts: [...state.parts, partOf(text, sign)] });
}
