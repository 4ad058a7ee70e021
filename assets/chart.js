// Small charts, as SVG: values show on hover and are read out.

import { h, s, number, words } from "/assets/dom.js";

/** Columns over time: `points` of `{ label, value, part }`, where `part` is a share of `value`. */
export function columns(title, points, names) {
  const [width, height] = [600, 140];
  const most = Math.max(1, ...points.map((point) => point.value));
  const step = width / Math.max(1, points.length);
  const bars = points.map((point, at) => {
    const tall = (value) => (value / most) * (height - 8);
    const said = `${point.label}: ${number(point.value)} ${names[0]}` + (names[1] ? `, ${number(point.part)} ${names[1]}` : "");
    return s("g", {},
      s("title", {}, said),
      s("rect.target", { x: at * step, y: 0, width: step, height }),
      s("rect.bar", { x: at * step + 0.5, y: height - tall(point.value), width: Math.max(0.5, step - 1), height: tall(point.value) }),
      point.part ? s("rect.part", { x: at * step + 0.5, y: height - tall(point.part), width: Math.max(0.5, step - 1), height: tall(point.part) }) : null);
  });
  const sum = points.reduce((sum, point) => sum + point.value, 0);
  return h("figure.chart", {},
    s("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": `${title}: ${number(sum)} in all, ${number(most)} at most` }, bars),
    h("figcaption", {}, h("span", {}, points[0]?.label ?? ""), h("span", {}, `most: ${number(most)}`), h("span", {}, points.at(-1)?.label ?? "")),
    names[1] ? h("p.legend", { "aria-hidden": "true" }, h("span.of-bar", {}, names[0]), h("span.of-part", {}, names[1])) : null);
}

/** How far `value` is on the way to a hundred, which is best. */
export const gauge = (title, value) =>
  s("svg.gauge", { viewBox: "0 0 100 8", preserveAspectRatio: "none", role: "img", "aria-label": `${title}: ${value} of 100` },
    s("rect.back", { x: 0, y: 0, width: 100, height: 8 }), s(`rect.${value < 50 ? "part" : "bar"}`, { x: 0, y: 0, width: value, height: 8 }));

/** Rows of statistics for `bars`; each leads to its findings since then, by the filter `by`. */
export const ranked = (rows, since, by) => rows.filter((row) => row.key).map((row) => {
  const name = by === "category" ? words(row.key) : row.key;
  // Every path contains the first one.
  const leads = by && row.key !== "/";
  return { name, value: row.findings, node: leads ? h("a", { href: `/history?${new URLSearchParams({ since, [by]: row.key })}` }, name) : null };
});

/** Bars with their names: `rows` of `{ name, value, node }`. */
export function bars(title, rows, empty) {
  const most = Math.max(1, ...rows.map((row) => row.value));
  if (!rows.length) return h("p.empty", {}, empty);
  return h("ul.bars", { "aria-label": title }, rows.map((row) =>
    h("li", {},
      h("span.name", {}, row.node ?? row.name),
      s("svg", { viewBox: "0 0 100 8", preserveAspectRatio: "none", "aria-hidden": "true" },
        s("rect.back", { x: 0, y: 0, width: 100, height: 8 }),
        s("rect.bar", { x: 0, y: 0, width: (row.value / most) * 100, height: 8 })),
      h("span.value", {}, number(row.value)))));
}
