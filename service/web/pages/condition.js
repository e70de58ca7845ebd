// Filters as the one SQL condition that the server takes as `where`.

export const quoted = (text) => `'${text.replaceAll("'", "''")}'`;

export function condition(filters) {
  const conditions = [
    ...within("quality", filters.quality),
    ...within("anomaly", filters.anomaly),
    ...taken(filters),
    filters.folder,
    among("format", filters.formats),
    among("label", filters.labels),
    filters.where?.trim(),
  ].filter(Boolean);
  if (conditions.length < 2) return conditions[0] ?? null;
  return conditions.map((each) => `(${each})`).join(" and ");
}

function within(column, ends) {
  const [low, high] = (ends ?? []).map((end) => (end === null ? NaN : Number(end)));
  return [
    Number.isFinite(low) && `${column} >= ${low}`,
    Number.isFinite(high) && `${column} <= ${high}`,
  ];
}

function taken({ taken: ends, undated }) {
  if (undated) return ["taken_at is null"];
  const [from, to] = ends ?? [];
  return [
    isDay(from) && `taken_at >= timestamp '${from} 00:00:00'`,
    isDay(to) && `taken_at < timestamp '${dayAfter(to)} 00:00:00'`,
  ];
}

const isDay = (text) => /^\d{4}-\d\d-\d\d$/.test(text ?? "") && !Number.isNaN(Date.parse(text));

function dayAfter(day) {
  const date = new Date(`${day}T00:00:00Z`);
  date.setUTCDate(date.getUTCDate() + 1);
  return date.toISOString().slice(0, 10);
}

function among(column, values) {
  if (values.length < 2) return values.length ? `${column} = ${quoted(values[0])}` : null;
  return `${column} in (${values.map(quoted).join(", ")})`;
}
