// Files that are made by the page itself.

import { element } from "./elements.js";

const KEPT_MILLISECONDS = 1000;

// Let the browser save a text as a file.
export function saveFile(name, type, text) {
  const link = element("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), KEPT_MILLISECONDS);
}
