// Which page is shown, and for whom.

import { h, replace, tell, form } from "/assets/dom.js";
import { get, post, onSignedOut } from "/assets/api.js";
import { overview } from "/assets/overview.js";
import { live } from "/assets/live.js";
import { caseOf } from "/assets/case.js";
import { decisions, clients, allowed } from "/assets/lists.js";
import { rules } from "/assets/rules.js";
import { history } from "/assets/history.js";
import { analyze, keptAnalysis } from "/assets/analyze.js";
import { ask } from "/assets/ask.js";
import { settings, users, audit, account } from "/assets/admin.js";
import { reference } from "/assets/reference.js";

const ROLES = ["viewer", "analyst", "admin"];

// Path, name, what shows it, who may look.
const PAGES = [
  ["/", "Overview", overview, "viewer"],
  ["/live", "Live", live, "viewer"],
  ["/decisions", "Decisions", decisions, "viewer"],
  ["/clients", "Clients", clients, "viewer"],
  ["/rules", "Rules", rules, "viewer"],
  ["/history", "History", history, "viewer"],
  ["/ask", "Ask", ask, "viewer"],
  ["/analyze", "Analyze", analyze, "viewer"],
  ["/allowed", "Never blocked", allowed, "viewer"],
  ["/settings", "Settings", settings, "viewer"],
  ["/users", "Users", users, "admin"],
  ["/audit", "Audit", audit, "admin"],
];

// Found from the account's name and from each other.
const UNLISTED = [["/account", "Account", account, "viewer"], ["/reference", "API", reference, "viewer"]];

// One of many, named by the rest of the path.
const WITHIN = [["/case/", "Case", caseOf, "viewer"], ["/analysis/", "Analysis", keptAnalysis, "viewer"]];

const main = document.getElementById("main");
const top_ = document.getElementById("top");
let me = null;
let leave = () => {};

export const may = (role) => me && ROLES.indexOf(me.role) >= ROLES.indexOf(role);

/** Goes to another page without loading anything anew. */
export function go(path) {
  window.history.pushState({}, "", path);
  show();
}

document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[href^='/']");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || link.target || link.hasAttribute("download")) return;
  event.preventDefault();
  go(link.getAttribute("href"));
});
window.addEventListener("popstate", show);
onSignedOut(() => {
  me = null;
  show();
});

async function show() {
  leave();
  leave = () => {};
  const path = location.pathname;
  if (path === "/welcome") return welcome();
  if (!me) {
    try { me = await get("/api/v1/auth/me"); } catch (error) {
      if (error.status === 401) return login();
      return replace(main, h("p.empty", {}, error.message), h("p", {}, h("a", { href: path }, "Try again")));
    }
  }
  header(path);
  const page = PAGES.find(([of]) => of === path);
  const within = WITHIN.find(([of]) => path.startsWith(of));
  const named = within ?? UNLISTED.find(([of]) => of === path) ?? page;
  if (!named) return replace(main, h("h1", {}, "No such page"), h("p", {}, h("a", { href: "/" }, "To the overview")));
  const [, name, fill, role] = named;
  document.title = `${name} – Palisade`;
  if (!may(role)) return replace(main, h("h1", {}, name), h("p.empty", {}, `Only ${role}s may look at this.`));
  replace(main, h("h1", {}, name), h("p.empty", {}, "…"));
  try {
    leave = (await fill(main, { me, may, go })) || (() => {});
  } catch (error) {
    replace(main, h("h1", {}, name), h("p.empty.error", {}, error.message));
  }
  main.focus({ preventScroll: true });
}

function header(path) {
  top_.hidden = false;
  const links = PAGES.filter(([, , , role]) => may(role)).map(([of, name]) =>
    h("li", {}, h("a", { href: of, "aria-current": of === path ? "page" : null }, name)));
  replace(top_, h("a.brand", { href: "/" }, "Palisade"), h("nav", { "aria-label": "Pages" }, h("ul", {}, links)),
    h(".who", {}, theme(), h("a", { href: "/account" }, me.name), me.name === me.role ? null : h("small", {}, me.role)));
  // On a phone the list of pages is wider than the screen.
  top_.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
}

function theme() {
  const root = document.documentElement;
  const kept = localStorage.getItem("theme");
  if (kept) root.dataset.theme = kept;
  const isDark = () => (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  return h("button.quiet", {
    type: "button", "aria-label": "Dark or light", title: "Dark or light",
    onclick: () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      localStorage.setItem("theme", root.dataset.theme);
    },
  }, "◐");
}

function login() {
  top_.hidden = true;
  document.title = "Sign in – Palisade";
  const fields = [
    ["name", "Name", { autocomplete: "username", required: true, autofocus: true }],
    ["password", "Password", { type: "password", autocomplete: "current-password", required: true }],
  ];
  replace(main, h("section.card.narrow", {}, h("h1", {}, "Palisade"), form(fields, "Sign in", async (given) => {
    me = await post("/api/v1/auth/login", given);
    show();
  }), h("p.hint", {}, "No password yet? ", h("code", {}, "palisade user invite NAME"), " on the server prints a link.")));
}

function welcome() {
  top_.hidden = true;
  document.title = "Welcome – Palisade";
  const key = location.hash.slice(1);
  const password = { type: "password", autocomplete: "new-password", required: true, minlength: 10 };
  const fields = [["password", "Password, ten letters at least", { ...password, autofocus: true }], ["again", "Once more", password]];
  replace(main, h("section.card.narrow", {}, h("h1", {}, "Welcome to Palisade"), form(fields, "Choose this password", async (given) => {
    if (given.password !== given.again) throw new Error("these are two different passwords");
    me = await post("/api/v1/auth/welcome", { key, password: given.password });
    window.history.replaceState({}, "", "/");
    tell("You are signed in.");
    show();
  })));
}

theme();
show();
