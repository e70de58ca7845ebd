// A list of photos of which only the pages that somebody looks at are asked for.

const PAGE = 100;

class PhotoList {
  // `ask(offset, limit, signal)` resolves to { version, length, photos, answer }.
  constructor(ask) {
    this.ask = ask;
    this.length = 0;
    this.version = null;
    this.answer = null;
    this.photos = new Map();
    this.places = new Map();
    this.pending = new Map();
    this.onload = () => {};
    this.onerror = () => {};
  }

  // Resolves when the length is known.
  async open() {
    await this.load(0, { isKept: true });
    return this;
  }

  close() {
    this.pending.forEach(({ controller }) => controller.abort());
    this.onload = this.onerror = () => {};
  }

  get(place) {
    return this.photos.get(place) ?? null;
  }

  placeOf(id) {
    return this.places.get(id) ?? -1;
  }

  async at(place) {
    if (!this.photos.has(place)) await this.load(Math.floor(place / PAGE), { isKept: true });
    return this.photos.get(place)?.image_id;
  }

  // Asks for what is missing between two places, and gives up pages that are far from them.
  want(from, to) {
    const first = Math.floor(Math.max(from, 0) / PAGE);
    const last = Math.floor(Math.min(to, this.length - 1) / PAGE);
    for (const [page, { controller, isKept }] of this.pending) {
      if (!isKept && (page < first - 1 || page > last + 1)) controller.abort();
    }
    for (let page = first; page <= last; page += 1) {
      if (!this.has(page)) this.load(page).catch((error) => this.failed(error));
    }
  }

  // All photos from one place to another, both included.
  async between(from, to) {
    for (let place = from; place <= to; place += 1) await this.at(place);
    return Array.from({ length: to - from + 1 }, (_, number) => this.get(from + number)).filter(
      Boolean,
    );
  }

  has(page) {
    return this.photos.has(page * PAGE) || this.pending.has(page);
  }

  failed(error) {
    if (error.name !== "AbortError") this.onerror(error);
  }

  // A page that is kept is not given up when somebody scrolls on.
  load(page, { isKept = false } = {}) {
    const waiting = this.pending.get(page);
    if (waiting) {
      waiting.isKept ||= isKept;
      return waiting.promise;
    }
    const controller = new AbortController();
    const promise = this.read(page, controller.signal).finally(() => this.pending.delete(page));
    this.pending.set(page, { controller, promise, isKept });
    return promise;
  }

  async read(page, signal) {
    const offset = page * PAGE;
    const { version, length, photos, answer } = await this.ask(offset, PAGE, signal);
    if (this.version === null) Object.assign(this, { version, length, answer });
    // A photo that is searched by is compared, and not among the hits.
    if (photos.length < PAGE) this.length = Math.min(this.length, offset + photos.length);
    photos.forEach((photo, number) => {
      this.photos.set(offset + number, photo);
      this.places.set(photo.image_id, offset + number);
    });
    this.onload(offset, offset + photos.length);
  }
}

export function photoList(api, { path, parameters, photos, length }) {
  return new PhotoList(async (offset, limit, signal) => {
    const answer = await api.get(path, { ...parameters, offset, limit }, { signal });
    return { version: answer.version, length: length(answer), photos: photos(answer), answer };
  });
}
