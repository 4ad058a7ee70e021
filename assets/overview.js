// What happens now and what happened in a day.

import { h, replace, card, figure, badge, number, words, button, tell } from "/assets/dom.js";
import { columns, bars } from "/assets/chart.js";
import { get, post } from "/assets/api.js";

const client = (row) => h("a", { href: `/history?client=${encodeURIComponent(row.key)}` }, row.key);
const ranked = (rows, node) => rows.filter((row) => row.key).map((row) => ({ name: words(row.key), value: row.findings, node: node?.(row) }));

export async function overview(main, { may }) {
  let ended = false;
  let before = null;
  const draw = async () => {
    const [status, stats] = await Promise.all([get("/api/v1/status"), get("/api/v1/stats", { since: "24h", top: 8 })]);
    if (ended) return;
    const now = Date.now();
    const rate = before ? Math.max(0, (status.lines - before.lines) / ((now - before.at) / 1000)) : null;
    before = { lines: status.lines, at: now };
    const totals = stats.totals;
    const level = stats.threat_level;
    const problems = status.problems || [];
    replace(main, h("h1", {}, "Overview"),
      problems.length ? h("section.card.problems", { role: "alert" }, h("h2", {}, "Something is wrong"), h("ul", {}, problems.map((problem) => h("li", {}, problem)))) : null,
      h(".figures", {},
        figure("Threat level, a day", level ? badge(level) : badge("informational", "calm")),
        figure("Mode", status.mode === "enforce" ? "enforcing" : "dry run", status.mode === "enforce" ? null : "nobody is blocked"),
        figure("Lines a second", rate === null ? "…" : number(Math.round(rate)), `${number(status.lines)} read`),
        figure("Findings, a day", number(totals.findings), totals.previous?.findings ? `${number(totals.previous.findings)} the day before` : null),
        figure(status.mode === "enforce" ? "Shut out now" : "Would be shut out", h("a", { href: "/decisions?state=active" }, number(status.active)), `${number(status.blocks)} since the start`),
        figure("Held back", number(status.held), status.held && may("analyst") ? button("Let go", async () => { await post("/api/v1/release"); tell("Let go."); }, { sure: "Really?" }) : "by the gate")),
      h(".grid", {},
        card("Findings by the hour", columns("Findings by the hour", stats.trend.map((step) => ({
          label: new Date(step.start).toLocaleString([], { weekday: "short", hour: "2-digit", minute: "2-digit" }),
          value: step.findings, part: step.blocks,
        })), ["findings", "blocked"])),
        card("Kinds", bars("Kinds", ranked(stats.categories), "Nothing was found in a day.")),
        card("Clients", bars("Clients", ranked(stats.clients, client), "Nobody stood out.")),
        card("Networks", bars("Networks", ranked(stats.networks), "Nobody stood out.")),
        card("Paths", bars("Paths", ranked(stats.paths), "Nothing was asked for that should not be.")),
        card("Rules", bars("Rules", ranked(stats.rules), "No rule matched.")),
        card("Models", models(stats.tiers)),
        card("Logs", sources(status)),
        card("Services", services(status.services))));
  };
  await draw();
  const again = setInterval(() => draw().catch(() => {}), 5000);
  return () => {
    ended = true;
    clearInterval(again);
  };
}

function models(tiers) {
  if (!tiers.length) return h("p.empty", {}, "No model was asked. Rules decide alone; a [[tier]] in the configuration adds one.");
  return h("ul.plain", {}, tiers.map((tier) => h("li", {}, h("strong", {}, `${tier.service} ${tier.model}`.trim()),
    ` ${number(tier.calls)} calls, ${number(tier.answered)} answered, ${Math.round(tier.mean_millis)} ms each, $${tier.usd.toFixed(4)}`)));
}

function sources(status) {
  if (!status.sources.length) return h("p.empty", {}, "No log is followed. Name one as a [[source]].");
  return h("ul.plain", {}, status.sources.map((source) => h("li", {}, h("strong", {}, source.path), ` ${number(source.lines)} lines`,
    source.unparsed ? `, ${number(source.unparsed)} not understood` : "", source.error ? h("span.error", {}, ` ${source.error}`) : null)));
}

function services(known) {
  const rows = Object.entries(known || {});
  if (!rows.length) return h("p.empty", {}, "Nothing beside the daemon itself.");
  return h("ul.plain", {}, rows.map(([name, service]) => h("li", {}, h("strong", {}, name), " ", service.problem ? h("span.error", {}, service.problem) : badge("ok", "works"))));
}
