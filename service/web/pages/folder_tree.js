// The folders that photos lie in, with those above them, as choices of a filter.

import { quoted } from "./condition.js";
import { shownText } from "./format.js";

// `listed` are folders with photos of their own; those above, which may have none, are added.
// Each is counted with all that lies below it, as its filter selects.
export function folderTree(listed) {
  const found = new Map();
  for (const { root, folder, n_images: n } of listed) {
    const names = folder ? folder.split("/") : [];
    for (let depth = 0; depth <= names.length; depth += 1) {
      const below = names.slice(0, depth).join("/");
      const path = [root, below].filter(Boolean).join("/");
      // Imported vectors have no indexed folder.
      if (!path) continue;
      const known = found.get(path) ?? { root, below, path, depth, n: 0 };
      found.set(path, { ...known, n: known.n + n });
    }
  }
  return [...found.values()].sort(byPath).map(choice);
}

// A folder comes before what lies in it, and that before a folder whose name goes on.
function byPath(one, other) {
  const [a, b] = [one, other].map(({ path }) => path.replaceAll("/", "\0"));
  return a < b ? -1 : Number(a > b);
}

function choice({ root, below, path, depth, n }) {
  const inRoot = `root = ${quoted(root)}`;
  return {
    value: below ? `${inRoot} and starts_with(path, ${quoted(`${below}/`)})` : inRoot,
    name: shownText(path),
    shown: shownText(path.slice(path.lastIndexOf("/") + 1)),
    n,
    depth,
  };
}
