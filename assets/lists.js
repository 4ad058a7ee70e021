// Decisions, clients, and who is never blocked.

import { h, replace, card, badge, when, left, words, button, tell, table, longTable, number, form } from "/assets/dom.js";
import { get, list, post, remove } from "/assets/api.js";

const STATES = ["", "active", "pending", "held", "expired", "lifted", "refused"];

export async function decisions(main, context) {
  const asked = new URLSearchParams(location.search);
  const state = asked.get("state") ?? "";
  const first = await list("/api/v1/decisions", { state, limit: 200 });
  const again = () => decisions(main, context);
  const choose = h("select", { "aria-label": "State", onchange: (event) => context.go(`/decisions?state=${event.target.value}`) },
    STATES.map((name) => h("option", { value: name, selected: name === state }, name || "all")));
  const lift = (decision) => context.may("analyst") && ["active", "pending", "held"].includes(decision.state)
    ? button("Let go", async () => { await remove(`/api/v1/decisions/${decision.target}`); tell(`${decision.target} is let go.`); await again(); }) : "";
  const ban = form([["target", "Address or network", { required: true, placeholder: "203.0.113.7" }], ["hours", "Hours", { type: "number", min: 1, value: "4" }], ["reason", "Reason", {}]],
    "Ban", async (given) => {
      await post("/api/v1/decisions", { target: given.target, duration_secs: Math.round(given.hours * 3600), reason: given.reason });
      tell(`${given.target} is banned.`);
      await again();
    });
  replace(main, h("h1", {}, "Decisions"),
    context.may("analyst") ? h("details.card", {}, h("summary", {}, "Ban by hand"), ban) : null,
    h(".bar", {}, choose),
    longTable("Decisions", ["Who", "State", "Why", "Since", "Ends", "Kind", "Do"], first, (decision) => [
      h("a", { href: `/case/${encodeURIComponent(decision.id)}` }, decision.target),
      [badge(decision.state === "active" ? "critical" : "low", words(decision.state)), decision.simulated ? h("small", {}, " dry run") : null],
      [h("span.cut", { title: decision.reason }, decision.reason), decision.note ? h("div", {}, h("small", {}, decision.note)) : null], when(decision.created_at),
      decision.permanent ? "by hand" : decision.state === "active" ? left(decision.expires_at) : when(decision.expires_at),
      words(decision.category ?? decision.proposer), lift(decision),
    ], "Nothing was decided yet. Palisade tells here whom it shuts out, or would."));
}

export async function clients(main) {
  const stats = await get("/api/v1/stats", { since: "7d", top: 100 });
  const rows = stats.clients.filter((row) => row.key);
  replace(main, h("h1", {}, "Clients"), h("p.hint", {}, "Who was found in seven days, the most findings first."),
    table("Clients", ["Client", "Findings", "To block", "The week before", "More"], rows.map((row) => [
      h("a", { href: `/history?client=${encodeURIComponent(row.key)}` }, row.key), number(row.findings), number(row.blocks),
      number(row.previous.findings), h("a", { href: `/case/${encodeURIComponent(row.key)}` }, "decisions")]),
    "Nobody was found in seven days."));
}

export async function allowed(main, context) {
  const rows = await get("/api/v1/allow");
  const again = () => allowed(main, context);
  const add = form([["network", "Address or network", { required: true, placeholder: "192.0.2.0/24" }], ["note", "What for", {}]], "Never block", async (given) => {
    await post("/api/v1/allow", given);
    tell(`${given.network} is never blocked.`);
    await again();
  });
  replace(main, h("h1", {}, "Never blocked"),
    h("p.hint", {}, "Besides these the configuration's own, this host, its gateways and name servers, SSH sessions, CDNs and verified crawlers."),
    context.may("admin") ? card("Add", add) : null,
    table("Never blocked", ["Network", "What for", "Since", "Do"], rows.map((row) => [row.network, row.note, when(row.created_at),
      context.may("admin") ? button("Remove", async () => { await remove(`/api/v1/allow/${row.network}`); await again(); }, { sure: "Really?" }) : ""]),
    "Nothing was added. Your office and your monitoring belong here."));
}
