// Requests to this server. Every answer of 400 and above is an ApiError with the server's sentence.

const ROOT = "/api/v1";
const RETURN_KEY = "isophote-return";

export class ApiError extends Error {
  constructor(status, code, message) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.code = code;
  }
}

// Lists are repeated (q=a&q=b); what is undefined, null or empty is left out.
export function query(parameters = {}) {
  if (parameters instanceof URLSearchParams) return parameters;
  const pairs = Object.entries(parameters).flatMap(([name, values]) =>
    [values].flat().map((value) => [name, value]),
  );
  return new URLSearchParams(
    pairs.filter(([, value]) => value !== undefined && value !== null && value !== ""),
  );
}

export function url(path, parameters) {
  const text = query(parameters).toString();
  return text ? `${ROOT}${path}?${text}` : `${ROOT}${path}`;
}

export function get(path, parameters, { signal } = {}) {
  return request(url(path, parameters), { signal });
}

// `body` is sent as JSON, but a File or Blob as it is.
export function post(path, body, { signal } = {}) {
  const isFile = body instanceof Blob;
  return request(url(path), {
    method: "POST",
    signal,
    body: isFile ? body : JSON.stringify(body ?? {}),
    // The server takes changes only with a header that no form of another site can send.
    headers: {
      "Isophote-Request": "1",
      "Content-Type": isFile ? "application/octet-stream" : "application/json",
    },
  });
}

export const isAborted = (error) => error.name === "AbortError";

async function request(address, options) {
  const response = await answered(address, options);
  if (response.ok) return response.status === 204 ? null : response.json();
  if (response.status === 401) goToLogin();
  throw await errorOf(response);
}

async function answered(address, options) {
  try {
    return await fetch(address, options);
  } catch (error) {
    if (isAborted(error)) throw error;
    throw new ApiError(
      0,
      "unreachable",
      "The server does not answer. Is `isophote serve` running?",
    );
  }
}

async function errorOf(response) {
  try {
    const { error } = await response.json();
    return new ApiError(response.status, error.code, error.message);
  } catch {
    // A proxy between may answer with a page of its own.
    return new ApiError(
      response.status,
      "unknown",
      `The server answered with status ${response.status}.`,
    );
  }
}

function goToLogin() {
  sessionStorage.setItem(RETURN_KEY, location.search);
  location.assign("/login");
}

// Where to go on after the token was asked for, once; null if it was not.
export function placeBeforeLogin() {
  const place = sessionStorage.getItem(RETURN_KEY);
  sessionStorage.removeItem(RETURN_KEY);
  return place;
}
