// Numbers, dates and names as text, as the command line prints them.

const UNITS = ["bytes", "kB", "MB", "GB", "TB"];

export const count = (number) => number.toLocaleString("en");

export function counted(number, singular, plural = `${singular}s`) {
  return `${count(number)} ${number === 1 ? singular : plural}`;
}

// A share in [0, 1] or a cosine: three decimals, without the zero before the point.
export const shownShare = (share) => share.toFixed(3).replace(/^0/, "");

export const shownPercent = (share) => {
  const percent = share * 100;
  return `${percent.toFixed(percent > 0 && percent < 10 ? 1 : 0)}\u00a0%`;
};

// In the largest unit that leaves a number above 1.
export function shownBytes(bytes) {
  const power = Math.max(0, Math.min(UNITS.length - 1, Math.floor(Math.log10(bytes) / 3)));
  return `${(bytes / 1000 ** power).toFixed(power ? 1 : 0)} ${UNITS[power]}`;
}

// Cameras tell the time where they were, and no zone: "2023-07-01T12:30:00" is shown as it stands.
export const shownDate = (text) => text.slice(0, 16).replace("T", " ");

// The time of something that happened on the server, in the zone of who looks at it.
export function shownTime(text) {
  const time = new Date(/[Z+]|-\d\d:\d\d$/.test(text.slice(10)) ? text : `${text}Z`);
  return time.toLocaleString("sv").slice(0, 16);
}

// Control characters would break lines, and U+10FF80 and above stand for bytes that are no UTF-8
// (see indexer.scan); both have no glyph.
export function shownText(text) {
  return text.replace(/[\0-\x1f\x7f-\x9f]|[\u{10ff80}-\u{10ffff}]/gu, (character) => {
    const byte = character.codePointAt(0) & 0xff;
    return `\\x${byte.toString(16).padStart(2, "0")}`;
  });
}

const slash = (path) => path.lastIndexOf("/");

export const shownName = (path) => shownText(path.slice(slash(path) + 1));
export const shownFolder = (path) => shownText(path.slice(0, Math.max(slash(path), 0)));

export function shownSize({ width, height }) {
  return width === null || height === null ? null : `${count(width)} × ${count(height)} pixels`;
}

// Ids are never used again within a collection, but another collection may be served next.
let thumbnailKey = "";

export function useThumbnailsOf(overview) {
  thumbnailKey = encodeURIComponent(overview.info.created_at);
}

export const thumbnailUrl = (id, side = 256) =>
  `/api/v1/images/${id}/thumbnail?side=${side}&v=${thumbnailKey}`;

export const originalUrl = (id) => `/api/v1/images/${id}/original`;
