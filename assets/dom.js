// Elements are made here and nowhere else, and what they say is text: whatever a client wrote into a log
// stays what it is.

const SVG = "http://www.w3.org/2000/svg";

/** An element: `h("a.button", { href: "/x", onclick }, "text", other)`. */
export function h(tag, attributes, ...children) {
  const [name, ...classes] = tag.split(".");
  return fill(document.createElement(name || "div"), classes, attributes, children);
}

/** The same of SVG. */
export function s(tag, attributes, ...children) {
  const [name, ...classes] = tag.split(".");
  return fill(document.createElementNS(SVG, name), classes, attributes, children);
}

function fill(element, classes, attributes, children) {
  if (classes.length) element.setAttribute("class", classes.join(" "));
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked" || name === "disabled") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function replace(parent, ...children) {
  parent.replaceChildren(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return parent;
}

/** A moment in the viewer's zone; the full one on hover. */
export function when(text) {
  if (!text) return "–";
  const date = new Date(text);
  const near = Math.abs(Date.now() - date) < 20 * 3600e3;
  const shown = near ? date.toLocaleTimeString() : date.toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
  return h("time", { datetime: text, title: date.toString() }, shown);
}

/** How long it is from now until then, roughly. */
export function left(text) {
  const secs = (new Date(text) - Date.now()) / 1000;
  if (secs <= 0) return "over";
  const [size, unit] = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]].find(([size]) => secs >= size) || [1, "s"];
  return `${Math.round(secs / size)} ${unit}`;
}

export const number = (value) => (value === undefined || value === null ? "–" : Number(value).toLocaleString());

export const words = (name) => String(name ?? "").replaceAll("_", " ");

/** The severity of a score. */
export const severity = (score) =>
  score >= 9 ? "critical" : score >= 7 ? "high" : score >= 5 ? "medium" : score >= 3 ? "low" : "informational";

export const badge = (kind, text) => h(`span.badge.${kind}`, {}, text ?? words(kind));

/** A table; rows are arrays of cells. `empty` says what to do when there are none. */
export function table(caption, heads, rows, empty) {
  if (!rows.length) return h("p.empty", {}, empty);
  const head = heads.map((head) => h("th", { scope: "col", role: "columnheader" }, head));
  return h(".scroll", { tabindex: "0", role: "region", "aria-label": caption },
    h("table", { role: "table" }, h("caption.hidden", {}, caption), h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, head)),
      h("tbody", { role: "rowgroup" }, rows.map((cells) => tableRow(heads, cells)))));
}

/** On a phone each cell stands on a line of its own with its head, and says by its role that it is one still. */
const tableRow = (heads, cells) =>
  h("tr", { role: "row" }, cells.map((cell, at) => h("td", { role: "cell", "data-head": heads[at] }, cell)));

/** A table whose rows come in parts: `first` is what `list` gives, `cells` makes a row's. */
export function longTable(caption, heads, first, cells, empty) {
  const element = table(caption, heads, first.rows.map(cells), empty);
  const body = element.querySelector("tbody");
  let { more } = first;
  if (!more) return element;
  const next = button("More", async () => {
    const part = await more();
    body.append(...part.rows.map((one) => tableRow(heads, cells(one))));
    more = part.more;
    next.hidden = !more;
  });
  return [element, next];
}

export const card = (title, ...children) => h("section.card", {}, h("h2", {}, title), children);

/** One figure with what it is. */
export const figure = (label, value, note, more) =>
  h(".figure", {}, h("span.label", {}, label), h("strong", {}, value), note ? h("small", {}, note) : null, more);

/** Says something at the lower edge for a while. */
export function tell(text, kind = "info") {
  const note = h(`p.note.${kind}`, {}, text);
  document.getElementById("notes").append(note);
  setTimeout(() => note.remove(), kind === "error" ? 12000 : 5000);
}

/** A button that asks once more before it does what cannot be undone. */
export function button(text, act, { sure, kind = "", label } = {}) {
  const element = h(`button${kind ? "." + kind : ""}`, { type: "button", "aria-label": label }, text);
  let armed = false;
  element.addEventListener("click", async () => {
    if (sure && !armed) {
      armed = true;
      element.textContent = sure;
      setTimeout(() => { armed = false; element.textContent = text; }, 4000);
      return;
    }
    element.disabled = true;
    try { await act(); } catch (error) { tell(error.message, "error"); }
    element.disabled = false;
    armed = false;
    element.textContent = text;
  });
  return element;
}

/** A form whose fields are given as `[name, label, attributes]`, a choice as `options`, each a value or
 *  `[value, what it is called]`; `send` gets what was filled in. */
export function form(fields, action, send) {
  const inputs = fields.map(([name, label, attributes]) => {
    const { options, ...others } = attributes || {};
    const id = `field-${name}-${Math.random().toString(36).slice(2, 7)}`;
    const input = options
      ? h("select", { name, id, ...others }, options.map((option) => { const [value, called = value] = [option].flat(); return h("option", { value }, called); }))
      : h("input", { name, id, type: "text", ...others });
    return h("p.field", {}, h("label", { for: id }, label), input);
  });
  const submit = h("button.primary", { type: "submit" }, action);
  return h("form", {
    onsubmit: async (event) => {
      event.preventDefault();
      submit.disabled = true;
      try { await send(Object.fromEntries(new FormData(event.target)), event.target); }
      catch (error) { tell(error.message, "error"); }
      submit.disabled = false;
    },
  }, inputs, submit);
}
