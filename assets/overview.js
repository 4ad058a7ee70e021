// What happens now and what happened in a day.

import { h, replace, card, figure, badge, number, button, tell, when } from "/assets/dom.js";
import { columns, bars, ranked } from "/assets/chart.js";
import { poll, post } from "/assets/api.js";
import { health } from "/assets/health.js";

const names = new Intl.DisplayNames([], { type: "region" });
const country = (code) => { try { return names.of(code); } catch { return code; } };

export async function overview(main, { may }) {
  let ended = false;
  let before = null;
  const choice = chosen(() => draw(true));
  const draw = async (isChosen) => {
    const of = { since: "24h", top: 8 };
    const [status, stats, countries, kept] = await Promise.all([poll("/api/v1/status"), poll("/api/v1/stats", of), poll("/api/v1/countries", of), poll("/api/v1/analyses")]);
    // Nothing moves under who is about to press a button.
    if (ended || (!isChosen && document.activeElement?.closest("main button, main summary"))) return;
    const now = Date.now();
    const rate = before ? Math.max(0, (status.lines - before.lines) / ((now - before.at) / 1000)) : null;
    before = { lines: status.lines, at: now };
    const saved = kept.reduce((sum, one) => sum + one.tokens_saved, 0);
    const totals = stats.totals;
    const level = stats.threat_level;
    const problems = status.problems || [];
    replace(main, h("h1", {}, "Overview"),
      problems.length ? h("section.card.problems", { role: "alert" }, h("h2", {}, "Something is wrong"), h("ul", {}, problems.map((problem) => h("li", {}, problem)))) : null,
      h(".figures", {},
        figure("Threat level, a day", level ? badge(level) : badge("informational", "calm")),
        mode(status, may),
        figure("Lines a second", rate === null ? "…" : number(Math.round(rate)), `${number(status.lines)} read`),
        figure("Findings, a day", h("a", { href: "/history?since=24h" }, number(totals.findings)), totals.previous?.findings ? `${number(totals.previous.findings)} the day before` : null),
        figure(status.mode === "enforce" ? "Shut out now" : "Would be shut out", h("a", { href: "/decisions?state=active" }, number(status.active)), `${number(status.blocks)} since the start`),
        figure("Held back", h("a", { href: "/decisions?state=held" }, number(status.held)), status.held && may("analyst") ? button("Let go", async () => { await post("/api/v1/release"); tell("Let go."); }, { sure: "Really?" }) : "by the gate"),
        figure("Tokens saved", number(saved), kept.length ? `kept analyses: ${number(kept.length)}` : "no analysis is kept")),
      h(".grid", {}, Object.entries({
        "Findings by the hour": () => columns("Findings by the hour", stats.trend.map((step) => ({
          label: new Date(step.start).toLocaleString([], { weekday: "short", hour: "2-digit", minute: "2-digit" }),
          value: step.findings, part: step.blocks,
        })), ["findings", "to block"]),
        Kinds: () => bars("Kinds", ranked(stats.categories, "24h", "category"), "Nothing was found in a day."),
        Clients: () => bars("Clients", ranked(stats.clients, "24h", "client"), "Nobody stood out."),
        Networks: () => bars("Networks", ranked(stats.networks, "24h"), "Nobody stood out."),
        Paths: () => bars("Paths", ranked(stats.paths, "24h", "contains"), "Nothing was asked for that should not be."),
        Rules: () => bars("Rules", ranked(stats.rules, "24h", "rule"), "No rule matched."),
        Countries: () => bars("Countries", countries.map((one) => ({ name: country(one.country), value: one.findings })), "No country is known. Name a database of them in reputation.geoip_files."),
        Models: () => models(stats.tiers, status.triage?.tiers ?? []),
        Services: () => health(status),
      }).map(([title, fill]) => choice.shows(title) && card(title, fill()))),
      choice.element);
  };
  await draw();
  const again = setInterval(() => draw().catch(() => {}), 5000);
  return () => {
    ended = true;
    clearInterval(again);
  };
}

/** Whether anybody is blocked, and a trial of it that ends by itself. */
function mode({ mode, trial_ends_at }, may) {
  const set = (wanted, said) => async () => { await post("/api/v1/mode", wanted); tell(said); };
  const enforcing = mode === "enforce";
  const note = trial_ends_at ? ["until ", when(trial_ends_at)] : enforcing ? null : "nobody is blocked";
  const act = !may("admin") ? null
    : trial_ends_at ? button("End the trial", set({ mode: "dry_run" }, "Nobody is blocked any more."))
    : enforcing ? null : button("Try for an hour", set({ mode: "enforce", for_secs: 3600 }, "Blocking for an hour, then nobody is blocked again."), { sure: "Block for real?" });
  return figure("Mode", enforcing ? "enforcing" : "dry run", note, act);
}

/** Which cards somebody wants to see, in this browser. */
function chosen(changed) {
  const titles = ["Findings by the hour", "Kinds", "Clients", "Networks", "Paths", "Rules", "Countries", "Models", "Services"];
  const hidden = new Set(JSON.parse(localStorage.getItem("hidden") ?? "[]"));
  const box = (title) => {
    const input = h("input", { type: "checkbox", checked: !hidden.has(title), onchange: () => {
      if (input.checked) hidden.delete(title); else hidden.add(title);
      localStorage.setItem("hidden", JSON.stringify([...hidden]));
      changed();
    } });
    return h("label", {}, input, ` ${title}`);
  };
  return { shows: (title) => !hidden.has(title), element: h("details.card", {}, h("summary", {}, "What is shown"), h(".bar", {}, titles.map(box))) };
}

function models(tiers, now) {
  if (!tiers.length) return h("p.empty", {}, "No model was asked. Rules decide alone; a [[tier]] in the configuration adds one.");
  const usd = tiers.reduce((sum, tier) => sum + tier.usd, 0);
  return [h("ul.plain", {}, tiers.map((tier) => {
    const { agreed = 0, disagreed = 0 } = now.find((one) => one.name === tier.service) ?? {};
    return h("li", {}, h("strong", {}, `${tier.service} ${tier.model}`.trim()),
      ` ${number(tier.calls)} calls, ${number(tier.answered)} answered, ${Math.round(tier.mean_millis)} ms each, $${tier.usd.toFixed(4)}`,
      agreed + disagreed ? `, agrees with the tier before in ${Math.round((100 * agreed) / (agreed + disagreed))} %` : "");
  })), h("p.hint", {}, `$${usd.toFixed(4)} in all`)];
}
