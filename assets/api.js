// The API of this server, and who is signed in.

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

let signedOut = () => {};
export const onSignedOut = (act) => { signedOut = act; };

async function ask(method, path, body) {
  const options = { method, headers: {}, credentials: "same-origin" };
  if (body !== undefined) {
    options.headers["content-type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Refused(0, "the daemon does not answer; it may be restarting");
  }
  if (answer.status === 204) return null;
  const text = await answer.text();
  let value = text;
  try { value = JSON.parse(text); } catch { /* Not everything is JSON. */ }
  if (!answer.ok) {
    if (answer.status === 401 && !path.startsWith("/api/v1/auth/")) signedOut();
    throw new Refused(answer.status, value?.detail || `the daemon answered ${answer.status}`);
  }
  return value;
}

export const get = (path, query) => {
  const given = Object.entries(query || {}).filter(([, value]) => value !== "" && value !== undefined && value !== null);
  return ask("GET", given.length ? `${path}?${new URLSearchParams(given)}` : path);
};
export const post = (path, body = {}) => ask("POST", path, body);
export const patch = (path, body) => ask("PATCH", path, body);
export const remove = (path) => ask("DELETE", path);

/** Calls `each` with what is recorded from now on; gives what ends it. `state` hears whether it is connected. */
export function watch(each, state) {
  const source = new EventSource("/api/v1/events");
  source.addEventListener("open", () => state(true));
  source.addEventListener("error", () => state(false));
  source.addEventListener("news", (event) => each(JSON.parse(event.data)));
  return () => source.close();
}
