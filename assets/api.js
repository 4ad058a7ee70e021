// The API of this server, and who is signed in.

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

let signedOut = () => {};
export const onSignedOut = (act) => { signedOut = act; };

async function send(method, path, body, headers = {}) {
  const options = { method, headers, credentials: "same-origin" };
  if (body !== undefined) {
    headers["content-type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Refused(0, "the daemon does not answer; it may be restarting");
  }
  const text = await answer.text();
  let value = text || null;
  try { value = JSON.parse(text); } catch { /* Not everything is JSON. */ }
  if (!answer.ok && answer.status !== 304) {
    if (answer.status === 401 && !path.startsWith("/api/v1/auth/")) signedOut();
    throw new Refused(answer.status, value?.detail || `the daemon answered ${answer.status}`);
  }
  return { value, answer };
}

const ask = async (...what) => (await send(...what)).value;

const place = (path, query) => {
  const given = Object.entries(query || {}).filter(([, value]) => value !== "" && value !== undefined && value !== null);
  return given.length ? `${path}?${new URLSearchParams(given)}` : path;
};

export const get = (path, query) => ask("GET", place(path, query));

const known = new Map();

/** The same for who asks again and again: what has not changed is not sent anew, and is the same object. */
export async function poll(path, query) {
  const at = place(path, query);
  const last = known.get(at);
  const { value, answer } = await send("GET", at, undefined, last ? { "if-none-match": last.tag } : {});
  if (answer.status === 304) return last.value;
  const tag = answer.headers.get("etag");
  if (tag) known.set(at, { tag, value });
  return value;
}

/** A list's first rows, and what gives the following ones, if there are more. */
export async function list(path, query) {
  const { value, answer } = await send("GET", place(path, query));
  const [, next] = (answer.headers.get("link") ?? "").match(/^<([^>]*)>; rel="next"$/) ?? [];
  return { rows: value, more: next ? () => list(next) : null };
}

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

/** Sends a log and hears how far it is; gives what came of it. */
export async function upload(path, query, log, progress) {
  const given = Object.entries(query).filter(([, value]) => value !== "" && value !== undefined);
  const answer = await fetch(`${path}?${new URLSearchParams(given)}`, { method: "POST", body: log, credentials: "same-origin", headers: { "content-type": "application/octet-stream" } });
  if (!answer.ok) {
    const problem = await answer.json().catch(() => null);
    throw new Refused(answer.status, problem?.detail || `the daemon answered ${answer.status}`);
  }
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    text += value ?? "";
    const events = text.split("\n\n");
    text = events.pop();
    for (const event of events) {
      const [, name, data] = event.match(/^event: (\w+)\ndata: (.*)$/s) ?? [];
      if (name === "progress") progress(JSON.parse(data));
      if (name === "error") throw new Refused(400, JSON.parse(data).detail);
      if (name === "analysis") return JSON.parse(data);
    }
    if (done) throw new Refused(0, "the daemon ended before the analysis did");
  }
}

/** Has an analysis written down and saves the file. */
export async function download(path, analysis, name) {
  const answer = await fetch(path, { method: "POST", body: JSON.stringify(analysis), credentials: "same-origin", headers: { "content-type": "application/json" } });
  if (!answer.ok) throw new Refused(answer.status, (await answer.json().catch(() => null))?.detail || `the daemon answered ${answer.status}`);
  const [, ending] = (answer.headers.get("content-disposition") ?? "").match(/filename=".*?\.([\w.]+)"/) ?? [null, "txt"];
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await answer.blob());
  link.download = `${name}.${ending}`;
  link.click();
  URL.revokeObjectURL(link.href);
}
