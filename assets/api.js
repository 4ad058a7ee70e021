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
