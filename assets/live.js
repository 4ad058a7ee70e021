// Every finding as it comes, with its reason, and what to do about it.

import { h, replace, badge, severity, when, words, button, tell, number } from "/assets/dom.js";
import { get, post, remove, watch } from "/assets/api.js";

const KEPT = 300;

/** What an operator may do about a finding. */
export function actions(finding, { may }, done = () => {}) {
  if (!may("analyst")) return [];
  const client = finding.client || finding.source_ip;
  const did = (text) => { tell(text); done(); };
  return [
    client && button("Ban", async () => { await post("/api/v1/decisions", { target: client, reason: "from the dashboard" }); did(`${client} is banned.`); }, { sure: "Ban?" }),
    client && button("Let go", async () => { await remove(`/api/v1/decisions/${client}`); did(`${client} is let go.`); }),
    may("admin") && client && button("Always allow", async () => { await post("/api/v1/allow", { network: client, note: "from the dashboard" }); did(`${client} is never blocked any more.`); }, { sure: "Allow for good?" }),
    finding.id && button("Benign", async () => { await post(`/api/v1/findings/${finding.id}/verdict`, { verdict: "benign" }); did("Noted: benign, and all that looks like it."); }, { sure: "Benign, always?" }),
  ];
}

export function row(finding, context, done) {
  const { score, decision } = finding;
  const who = finding.client || finding.source_ip;
  return h("article.row", { "data-id": finding.id },
    h(".row-head", {}, when(finding.time), badge(severity(score), `${score}`), h("strong", {}, words(finding.category)),
      who ? h("a.client", { href: `/history?client=${encodeURIComponent(who)}` }, who) : h("span", {}, "no client"),
      badge(decision === "block" ? "critical" : "low", { block: "to block", monitor: "to watch", none: "noted" }[decision] ?? decision),
      h("a", { href: `/case/${encodeURIComponent(finding.case_id || who || "")}` }, "why"), h(".actions", {}, actions(finding, context, done))),
    h("code.uri", {}, `${finding.method} ${finding.uri}`.trim(), finding.status ? h("small", {}, ` → ${finding.status}`) : null),
    h("p.reason", {}, finding.reasoning || finding.rule_ids.join(", "), ` (${words(finding.decided_by)})`));
}

export async function live(main, context) {
  const list = h(".rows", {});
  const state = h("span.badge.low", {}, "connecting");
  const hidden = h("span", {});
  let paused = false;
  let notShown = 0;
  const wanted = h("input", { type: "search", placeholder: "client, path, rule, kind", "aria-label": "Show only", oninput: () => filter() });
  const pause = h("button", { type: "button", onclick: () => { paused = !paused; pause.textContent = paused ? "Go on" : "Pause"; } }, "Pause");
  const text = (element) => element.textContent.toLowerCase();
  const filter = () => {
    const asked = wanted.value.toLowerCase();
    for (const element of list.children) element.hidden = asked !== "" && !text(element).includes(asked);
  };
  const known = new Set();
  const take = (findings) => {
    for (const finding of [...findings].reverse()) {
      if (known.has(finding.id)) continue;
      known.add(finding.id);
      list.prepend(row(finding, context));
    }
    while (list.children.length > KEPT) { known.delete(list.lastChild.dataset.id); list.lastChild.remove(); }
    filter();
  };
  replace(main, h("h1", {}, "Live"), h(".bar", {}, wanted, pause, state, hidden), list);
  const empty = h("p.empty", { hidden: true }, "Nothing was found yet. It appears here as it happens; try a request such as /?file=../../etc/passwd on your site.");
  list.before(empty);
  return watch((news) => {
    if (paused) return;
    notShown += news.not_shown;
    hidden.textContent = notShown ? `${number(notShown)} more came too fast to be shown` : "";
    take(news.findings);
    empty.hidden = known.size > 0;
  }, async (connected) => {
    state.textContent = connected ? "live" : "the daemon does not answer; trying again";
    state.className = `badge ${connected ? "ok" : "high"}`;
    // What came before, and what came while nobody listened.
    if (connected) {
      take(await get("/api/v1/findings", { limit: 50 }));
      empty.hidden = known.size > 0;
    }
  });
}
