// Links that download a list of photos.

import { element } from "./elements.js";

export const EXPORT_FORMATS = [
  { format: "csv", name: "Table (CSV)" },
  { format: "jsonl", name: "JSON lines" },
  { format: "parquet", name: "Parquet" },
  { format: "paths", name: "Paths, for xargs -0" },
];

// `parameters` are those of /images or of /search.
export function exportLink(page, { format, name }, parameters) {
  const href = page.api.url("/export", { format, ...parameters });
  return element("a", { href, download: true }, name);
}
